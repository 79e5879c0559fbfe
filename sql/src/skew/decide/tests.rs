//! Decisions from made-up profiles.

use super::super::profile::HeavyHitter;
use super::super::salt::Side;
use super::*;
use arrow::array::{ArrayRef, Int64Array, RecordBatch};
use datafusion::datasource::MemTable;
use datafusion::prelude::{SessionConfig, SessionContext};
use futures::future::BoxFuture;
use std::collections::HashMap;

/// Profiles by the name of the first key column.
struct Known(HashMap<&'static str, KeyProfile>);

impl KeyProfiles for Known {
    fn profile<'a>(
        &'a self,
        input: &'a Arc<dyn ExecutionPlan>,
        keys: &'a [usize],
    ) -> BoxFuture<'a, Result<Option<Arc<KeyProfile>>>> {
        let name = input.schema().field(keys[0]).name().clone();
        let known = self.0.get(name.as_str()).cloned().map(Arc::new);
        Box::pin(std::future::ready(Ok(known)))
    }
}

fn profile(n_rows: u64, rows_per_key: f64, null_share: f64, heavy: &[(u64, f64)]) -> KeyProfile {
    let heavy = heavy.iter().map(|(hash, share)| HeavyHitter {
        hash: *hash,
        label: format!("key {hash}"),
        share: *share,
    });
    KeyProfile {
        n_sampled: 65_536,
        n_rows: Some(n_rows),
        null_share,
        rows_per_key,
        heavy: heavy.collect(),
        source: "sample".to_string(),
        took: Duration::from_millis(3),
    }
}

async fn plan(sql: &str) -> Arc<dyn ExecutionPlan> {
    let mut config = SessionConfig::new().with_target_partitions(4);
    let optimizer = &mut config.options_mut().optimizer;
    optimizer.hash_join_single_partition_threshold = 0;
    optimizer.hash_join_single_partition_threshold_rows = 0;
    let context = SessionContext::new_with_config(config);
    for (name, key) in [("fact", "fk"), ("dim", "dk")] {
        let column: ArrayRef = Arc::new(Int64Array::from(vec![1, 2]));
        let batch =
            RecordBatch::try_from_iter([(key, Arc::clone(&column)), ("x", column)]).unwrap();
        let partitions = vec![vec![batch.clone()], vec![batch.clone()]];
        let table = MemTable::try_new(batch.schema(), partitions).unwrap();
        context.register_table(name, Arc::new(table)).unwrap();
    }
    context.sql(sql).await.unwrap().create_physical_plan().await.unwrap()
}

/// Decides for a query of one join on a cluster of 4 tasks with 4 partitions each.
async fn decided(
    sql: &str,
    fact: KeyProfile,
    dim: KeyProfile,
    options: &SaltlakeOptions,
) -> (JoinDecision, Option<Salt>) {
    let profiles = Known(HashMap::from([("fk", fact), ("dk", dim)]));
    let slots = Slots { n_tasks: 4, n_threads: 16 };
    let (mut joins, choices) = decide(&plan(sql).await, &profiles, options, slots).await;
    assert_eq!(joins.len(), 1, "{joins:?}");
    (joins.remove(0), choices.into_iter().next().map(|choice| choice.salt))
}

fn auto() -> SaltlakeOptions {
    SaltlakeOptions { skew: Skew::Auto, skew_min_rows: 0, ..SaltlakeOptions::default() }
}

const INNER: &str = "SELECT count(*), sum(f.x * d.x) FROM fact f JOIN dim d ON f.fk = d.dk";

#[tokio::test]
async fn a_heavy_key_is_spread_over_all_partitions() {
    let fact = profile(20_000_000, 10.0, 0.0, &[(7, 0.6)]);
    let (decision, salt) = decided(INNER, fact, profile(2_000_000, 1.0, 0.0, &[]), &auto()).await;
    let salt = salt.unwrap_or_else(|| panic!("{decision:?}"));
    assert_eq!((decision.strategy, salt.n_partitions), (Strategy::Salt, 16));
    // The side with the heavy key has no operator of its own.
    let heavy_side =
        if salt.heavy[0].left_rows > salt.heavy[0].right_rows { Side::Left } else { Side::Right };
    assert!(!salt.copies_rows_of(heavy_side), "{salt:?}");
    let (before, after) = decision.skew.unwrap();
    assert!(before > 5.0 && after < 1.1, "{before} {after}");
    assert!(decision.replicated_rows < 1_000);
    assert_eq!(decision.heavy.len(), 1);
    assert_eq!(decision.heavy[0].label, "key 7");
}

#[tokio::test]
async fn even_keys_are_left_alone() {
    let fact = profile(20_000_000, 10.0, 0.0, &[(7, 0.001), (8, 0.001)]);
    let (decision, salt) = decided(INNER, fact, profile(2_000_000, 1.0, 0.0, &[]), &auto()).await;
    assert!(salt.is_none());
    assert_eq!(
        (decision.strategy, decision.reason.as_str()),
        (Strategy::Shuffle, "no heavy hitters")
    );
}

#[tokio::test]
async fn a_key_heavy_on_both_sides_gets_a_grid() {
    let fact = profile(2_000_000, 10.0, 0.0, &[(7, 0.1)]);
    let dim = profile(1_000_000, 4.0, 0.0, &[(7, 0.1)]);
    let (_, salt) = decided(INNER, fact, dim, &auto()).await;
    let salt = salt.unwrap();
    let grid = salt.grid(&salt.heavy[0]);
    assert_eq!((salt.copies, grid.rows * grid.columns), (Copies::Both, 16));
    assert!(grid.rows > 1 && grid.columns > 1, "{grid:?}");
}

#[tokio::test]
async fn an_outer_join_spreads_its_nulls_and_copies_nothing_for_them() {
    let sql = "SELECT count(*), sum(d.x) FROM fact f LEFT JOIN dim d ON f.fk = d.dk";
    let fact = profile(400_000_000, 10.0, 0.5, &[]);
    let (decision, salt) = decided(sql, fact, profile(2_000_000, 1.0, 0.0, &[]), &auto()).await;
    let salt = salt.unwrap_or_else(|| panic!("{decision:?}"));
    assert!(salt.spread_nulls && salt.heavy.is_empty());
    assert_eq!(decision.replicated_rows, 0);
}

#[tokio::test]
async fn what_does_not_pay_is_declined_with_a_reason() {
    let dim = || profile(2_000_000, 1.0, 0.0, &[]);
    // Copies beyond the budget.
    let heavy = profile(2_000_000, 4.0, 0.0, &[(7, 0.5)]);
    let options = SaltlakeOptions { skew_max_replicated_rows: 1_000, ..auto() };
    let fact = profile(20_000_000, 10.0, 0.0, &[(7, 0.6)]);
    let (decision, salt) = decided(INNER, fact, heavy, &options).await;
    assert!(salt.is_none(), "{decision:?}");
    // Rows that an aggregation above wants by key.
    let grouped = "SELECT f.fk, count(*) FROM fact f JOIN dim d ON f.fk = d.dk GROUP BY f.fk";
    let fact = profile(20_000_000, 10.0, 0.0, &[(7, 0.6)]);
    let (decision, salt) = decided(grouped, fact, dim(), &auto()).await;
    assert!(salt.is_none() && decision.reason.contains("by key"), "{decision:?}");
    // Few rows.
    let fact = profile(20_000_000, 10.0, 0.0, &[(7, 0.6)]);
    let (decision, salt) = decided(
        INNER,
        fact,
        dim(),
        &SaltlakeOptions { skew: Skew::Auto, ..SaltlakeOptions::default() },
    )
    .await;
    assert!(salt.is_none() && decision.reason.contains("are few"), "{decision:?}");
}

#[tokio::test]
async fn force_and_off_do_what_they_say() {
    let options = SaltlakeOptions { skew: Skew::Force, ..SaltlakeOptions::default() };
    let fact = || profile(10, 1.0, 0.0, &[(7, 0.2)]);
    let (decision, salt) = decided(INNER, fact(), profile(10, 1.0, 0.0, &[]), &options).await;
    assert_eq!((decision.strategy, salt.unwrap().heavy.len()), (Strategy::Salt, 1));
    let options = SaltlakeOptions { skew: Skew::Off, ..auto() };
    let profiles = Known(HashMap::new());
    let slots = Slots { n_tasks: 4, n_threads: 16 };
    let (joins, choices) = decide(&plan(INNER).await, &profiles, &options, slots).await;
    assert!(joins.is_empty() && choices.is_empty());
}

#[tokio::test]
async fn a_hint_stands_in_for_a_sample() {
    let fact = || profile(20_000_000, 10.0, 0.0, &[]);
    let dim = || profile(2_000_000, 1.0, 0.0, &[]);
    let options = SaltlakeOptions { skew_hint: "fact.fk = (7)".parse().unwrap(), ..auto() };
    let (decision, salt) = decided(INNER, fact(), dim(), &options).await;
    assert_eq!(decision.strategy, Strategy::Salt, "{decision:?}");
    assert_eq!((salt.unwrap().heavy.len(), decision.heavy[0].label.as_str()), (1, "7"));
    let options = SaltlakeOptions { skew_hint: "fact.other = (7)".parse().unwrap(), ..auto() };
    assert_eq!(decided(INNER, fact(), dim(), &options).await.0.strategy, Strategy::Shuffle);
}
