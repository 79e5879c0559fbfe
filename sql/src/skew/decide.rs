//! Decides which joins of a plan are salted, from what is known of their keys.
//!
//! Called by `Coordinator::plan` for every query once its passes have run. For each shuffled join it predicts the work of
//! every partition with and without salt, in nanoseconds of one thread, and salts when the slowest partition and the sum
//! both say so. Heavy rows are not heavy work: a key whose rows are cheap is left alone. Every decision carries its reason.

mod work;

use super::profile::{KeyProfile, KeyProfiles};
use super::salt::{Copies, HeavyKey, MAX_HEAVY_KEYS, Salt};
use crate::optimizer::salt_join::{Choice, Shuffle, Site, SiteKind, sites};
use crate::settings::{SaltlakeOptions, Skew};
use datafusion::common::Result;
use datafusion::physical_plan::joins::HashJoinExec;
use datafusion::physical_plan::{ExecutionPlan, StatisticsArgs, StatisticsContext};
use std::sync::Arc;
use std::time::Duration;
use work::Inputs;

/// Keys of each input that `force` salts, whatever they weigh.
const FORCED_KEYS: usize = 8;

/// Load of a partition by one key, relative to the mean, from which the key is heavy.
const HEAVY_SHARE: f64 = 0.5;

/// Part of the predicted time that salting must save.
const MIN_GAIN: f64 = 0.33;

/// How much more work in all salting may make.
const MAX_EXTRA_WORK: f64 = 1.15;

/// What a join does with its rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Strategy {
    /// Sends the build side to all tasks.
    Broadcast,
    /// Shuffles both sides by the key.
    Shuffle,
    /// Shuffles both sides, heavy keys spread.
    Salt,
}

impl Strategy {
    /// Returns its name in EXPLAIN and `system.join_decisions`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Broadcast => "broadcast",
            Self::Shuffle => "shuffle",
            Self::Salt => "salt",
        }
    }
}

/// Where a join's partitions run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slots {
    /// Tasks of a stage.
    pub n_tasks: usize,
    /// Threads over all tasks.
    pub n_threads: usize,
}

/// A heavy key as EXPLAIN shows it.
#[derive(Debug, Clone, PartialEq)]
pub struct ShownKey {
    /// Its values.
    pub label: String,
    /// Its share of the build side's rows.
    pub left_share: f64,
    /// Its share of the probe side's rows.
    pub right_share: f64,
}

/// What was decided for one join, and why.
#[derive(Debug, Clone, PartialEq)]
pub struct JoinDecision {
    /// The join: type and keys.
    pub join: String,
    /// What it does.
    pub strategy: Strategy,
    /// Why.
    pub reason: String,
    /// The keys that were spread.
    pub heavy: Vec<ShownKey>,
    /// Predicted maximum over mean work of the partitions as they would be, and as they are.
    pub skew: Option<(f64, f64)>,
    /// Rows that copies add, predicted.
    pub replicated_rows: u64,
    /// Where the profiles are from.
    pub source: String,
    /// What they cost.
    pub took: Duration,
}

/// Returns one line about the joins of a query that were salted; `None` when none was.
pub fn notice(decisions: &[JoinDecision]) -> Option<String> {
    let mut salted = decisions.iter().filter(|decision| decision.strategy == Strategy::Salt);
    let first = salted.next()?;
    let others = match salted.count() {
        0 => String::new(),
        1 => " and one more join".to_string(),
        n => format!(" and {n} more joins"),
    };
    let keys = match first.heavy.as_slice() {
        [] => String::new(),
        [key] => format!(" (heavy key {})", key.label),
        keys => format!(" ({} heavy keys)", keys.len()),
    };
    Some(format!("join salted: {}{keys}{others}, see EXPLAIN", first.join))
}

/// Decides for every join of a plan.
pub async fn decide(
    plan: &Arc<dyn ExecutionPlan>,
    profiles: &dyn KeyProfiles,
    options: &SaltlakeOptions,
    slots: Slots,
) -> (Vec<JoinDecision>, Vec<Choice>) {
    let (mut decisions, mut choices) = (vec![], vec![]);
    if options.skew == Skew::Off {
        return (decisions, choices);
    }
    for site in sites(plan) {
        let (decision, choice) = decide_site(site, profiles, options, slots).await;
        decisions.push(decision);
        choices.extend(choice);
    }
    (decisions, choices)
}

async fn decide_site(
    site: Site,
    profiles: &dyn KeyProfiles,
    options: &SaltlakeOptions,
    slots: Slots,
) -> (JoinDecision, Option<Choice>) {
    let join = describe(&site.join);
    let plain = |strategy, reason: String| JoinDecision {
        join: join.clone(),
        strategy,
        reason,
        heavy: vec![],
        skew: None,
        replicated_rows: 0,
        source: String::new(),
        took: Duration::ZERO,
    };
    let shuffle = match site.kind {
        SiteKind::Broadcast => {
            let reason = "every task has the whole build side".to_string();
            return (plain(Strategy::Broadcast, reason), None);
        }
        SiteKind::Unfit(reason) => return (plain(Strategy::Shuffle, reason), None),
        SiteKind::Shuffled(shuffle) => shuffle,
    };
    let Some(hash_join) = site.join.downcast_ref::<HashJoinExec>() else {
        return (plain(Strategy::Shuffle, "not a hash join".to_string()), None);
    };
    let estimates = [estimate(hash_join.left()), estimate(hash_join.right())];
    let most = [hash_join.left(), hash_join.right()].into_iter().filter_map(largest_scan).max();
    if options.skew == Skew::Auto && most.is_none_or(|rows| rows < options.skew_min_rows as u64) {
        let reason = match most {
            Some(rows) => format!("{rows} scanned rows are few"),
            None => "the number of rows is not known".to_string(),
        };
        return (plain(Strategy::Shuffle, reason), None);
    }
    let (left, right) = futures::join!(
        profiles.profile(hash_join.left(), &shuffle.left_keys),
        profiles.profile(hash_join.right(), &shuffle.right_keys),
    );
    let (mut left, mut right) = (known(left), known(right));
    // A hint names a column of one table: where both keys have its name, that of the larger input.
    let is_left_larger = estimates[0].n_rows > estimates[1].n_rows;
    let (left_name, right_name) = (
        only_key(hash_join.left(), &shuffle.left_keys),
        only_key(hash_join.right(), &shuffle.right_keys),
    );
    if left_name != right_name || is_left_larger {
        left = hinted(left, hash_join.left(), left_name.as_deref(), options);
    }
    if left_name != right_name || !is_left_larger {
        right = hinted(right, hash_join.right(), right_name.as_deref(), options);
    }
    let facts = Facts { left: left.as_deref(), right: right.as_deref(), estimates, slots };
    let mut decision = plain(Strategy::Shuffle, String::new());
    decision.source = facts.source();
    decision.took = facts.took();
    let outcome = facts.outcome(hash_join, &shuffle, options);
    decision.skew = outcome.skew;
    decision.reason = outcome.reason;
    let Some(salt) = outcome.salt else { return (decision, None) };
    decision.strategy = Strategy::Salt;
    decision.replicated_rows = salt.replicated_rows();
    decision.heavy = salt.heavy.iter().map(|key| facts.shown(key.hash)).collect();
    (decision, Some(Choice { join: Arc::clone(&site.join), shuffle, salt }))
}

/// A profile that cannot be read is one that is not known: the query itself will say what is wrong with its files.
fn known(profile: Result<Option<Arc<KeyProfile>>>) -> Option<Arc<KeyProfile>> {
    profile.unwrap_or_else(|error| {
        tracing::debug!(%error, "keys were not sampled");
        None
    })
}

/// The name of a key that is one column.
fn only_key(input: &Arc<dyn ExecutionPlan>, keys: &[usize]) -> Option<String> {
    let [key] = keys else { return None };
    Some(input.schema().field(*key).name().clone())
}

/// Adds the user's hints.
fn hinted(
    profile: Option<Arc<KeyProfile>>,
    input: &Arc<dyn ExecutionPlan>,
    key: Option<&str>,
    options: &SaltlakeOptions,
) -> Option<Arc<KeyProfile>> {
    let Some(key) = key.filter(|key| options.skew_hint.names(key)) else { return profile };
    let schema = input.schema();
    let Some((_, field)) = schema.fields().find(key) else { return profile };
    let nothing = || {
        let source = "nothing".to_string();
        KeyProfile { source, rows_per_key: 1.0, ..KeyProfile::default() }
    };
    let mut profile = profile.map_or_else(nothing, |profile| profile.as_ref().clone());
    options.skew_hint.add_to(&mut profile, key, field.data_type());
    Some(Arc::new(profile))
}

/// Rows of the largest scan below a node. Estimates above filters guess, and a guess must not hide a large join.
fn largest_scan(node: &Arc<dyn ExecutionPlan>) -> Option<u64> {
    match node.children().as_slice() {
        [] => estimate(node).n_rows,
        children => children.iter().filter_map(|child| largest_scan(child)).max(),
    }
}

/// Rows of an input and bytes of each, as the planner estimates them.
#[derive(Debug, Clone, Copy)]
struct Estimate {
    n_rows: Option<u64>,
    row_bytes: f64,
}

fn estimate(input: &Arc<dyn ExecutionPlan>) -> Estimate {
    let statistics = StatisticsContext::new().compute(input.as_ref(), &StatisticsArgs::new());
    let statistics = statistics.ok();
    let value = |precision: datafusion::common::stats::Precision<usize>| {
        precision.get_value().map(|value| *value as u64)
    };
    let n_rows = statistics.as_ref().and_then(|statistics| value(statistics.num_rows));
    let n_bytes = statistics.as_ref().and_then(|statistics| value(statistics.total_byte_size));
    let row_bytes = match (n_rows, n_bytes) {
        (Some(rows), Some(bytes)) if rows > 0 && bytes > 0 => bytes as f64 / rows as f64,
        _ => 16.0 * input.schema().fields().len() as f64,
    };
    Estimate { n_rows, row_bytes }
}

/// What is known of a join's inputs.
struct Facts<'a> {
    left: Option<&'a KeyProfile>,
    right: Option<&'a KeyProfile>,
    estimates: [Estimate; 2],
    slots: Slots,
}

struct Outcome {
    reason: String,
    skew: Option<(f64, f64)>,
    salt: Option<Salt>,
}

impl Facts<'_> {
    fn source(&self) -> String {
        let name = |profile: Option<&KeyProfile>| {
            profile.map_or_else(|| "not known".to_string(), |profile| profile.source.clone())
        };
        format!("build {}; probe {}", name(self.left), name(self.right))
    }

    fn took(&self) -> Duration {
        let took = |profile: Option<&KeyProfile>| profile.map_or(Duration::ZERO, |p| p.took);
        took(self.left).max(took(self.right))
    }

    fn shown(&self, hash: u64) -> ShownKey {
        let find = |profile: Option<&KeyProfile>| {
            profile.and_then(|profile| profile.heavy.iter().find(|key| key.hash == hash).cloned())
        };
        let (left, right) = (find(self.left), find(self.right));
        let label = right.as_ref().or(left.as_ref()).map(|key| key.label.clone());
        ShownKey {
            label: label.unwrap_or_default(),
            left_share: left.map_or(0.0, |key| key.share),
            right_share: right.map_or(0.0, |key| key.share),
        }
    }

    fn outcome(
        &self,
        join: &HashJoinExec,
        shuffle: &Shuffle,
        options: &SaltlakeOptions,
    ) -> Outcome {
        let n_partitions = shuffle.n_partitions * self.slots.n_tasks.max(1);
        let inputs = Inputs::new(self, *join.join_type(), shuffle, n_partitions);
        let is_forced = options.skew == Skew::Force;
        let plain = |reason: String, skew| Outcome { reason, skew, salt: None };
        let mut heavy = self.heavy_keys(&inputs, shuffle.copies, n_partitions, is_forced);
        heavy.truncate(MAX_HEAVY_KEYS);
        let mut salt = Salt {
            n_partitions,
            copies: shuffle.copies,
            spread_nulls: shuffle.spread_nulls,
            heavy,
        };
        fit_budget(&mut salt, options.skew_max_replicated_rows as u64);
        narrow(&mut salt);
        let spreads_nulls = salt.spread_nulls && inputs.null_rows() > 0.0;
        if salt.heavy.is_empty() && !spreads_nulls && !is_forced {
            return plain("no heavy hitters".to_string(), None);
        }
        let (before, after) = (inputs.plain_work(&salt), inputs.salted_work(&salt));
        let n_threads = self.slots.n_threads;
        let (slow, fast) = (before.time(n_threads), after.time(n_threads));
        let skew = Some((before.skew(), after.skew()));
        let times = format!("predicted {:.2} s salted, {:.2} s plain", fast / 1e9, slow / 1e9);
        if is_forced {
            let reason = format!("saltlake.skew = force; {times}");
            return Outcome { reason, skew, salt: Some(salt) };
        }
        if self.slots.n_tasks < 2 && !join.dynamic_expressions_produced().is_empty() {
            let reason = format!("its dynamic filter saves more in one process; {times}");
            return plain(reason, skew);
        }
        if shuffle.is_used_above {
            let reason = format!("an operator above needs its rows by key; {times} without it");
            return plain(reason, skew);
        }
        let least_ns = options.skew_min_saving_ms as f64 * 1e6;
        if fast > slow * (1.0 - MIN_GAIN) || slow - fast < least_ns {
            return plain(format!("heavy hitters, but little to gain: {times}"), skew);
        }
        if after.sum() > before.sum() * MAX_EXTRA_WORK {
            let extra = 100.0 * (after.sum() / before.sum() - 1.0);
            return plain(format!("salting would add {extra:.0} % of work: {times}"), skew);
        }
        Outcome { reason: times, skew, salt: Some(salt) }
    }

    /// Returns keys worth spreading, the heaviest first, with their rows on both sides.
    fn heavy_keys(
        &self,
        inputs: &Inputs,
        copies: Copies,
        n_partitions: usize,
        is_forced: bool,
    ) -> Vec<HeavyKey> {
        let mut keys: Vec<HeavyKey> = vec![];
        for profile in [self.left, self.right].into_iter().flatten() {
            let taken = if is_forced { FORCED_KEYS } else { MAX_HEAVY_KEYS };
            for found in profile.heavy.iter().take(taken) {
                if copies != Copies::None && keys.iter().all(|key| key.hash != found.hash) {
                    let (left_rows, right_rows) = inputs.rows_of(found.hash);
                    keys.push(HeavyKey { hash: found.hash, left_rows, right_rows });
                }
            }
        }
        let mean = inputs.total_work() / n_partitions as f64;
        if !is_forced {
            keys.retain(|key| inputs.key_work(key) >= HEAVY_SHARE * mean);
        }
        keys.sort_by(|a, b| inputs.key_work(b).total_cmp(&inputs.key_work(a)));
        keys
    }
}

/// Leaves out the keys whose copies cost most, until the rest fits the budget.
fn fit_budget(salt: &mut Salt, max_rows: u64) {
    let cost =
        |salt: &Salt, key: &HeavyKey| Salt { heavy: vec![*key], ..salt.clone() }.replicated_rows();
    while salt.replicated_rows() > max_rows {
        let dearest = (0..salt.heavy.len()).max_by_key(|idx| cost(salt, &salt.heavy[*idx]));
        let Some(dearest) = dearest else { return };
        salt.heavy.remove(dearest);
    }
}

/// Copies one side only where the grids copy one side only: the other one then needs no operator.
fn narrow(salt: &mut Salt) {
    if salt.copies != Copies::Both {
        return;
    }
    let grids: Vec<_> = salt.heavy.iter().map(|key| salt.grid(key)).collect();
    if grids.iter().all(|grid| grid.columns == 1) {
        salt.copies = Copies::Right;
    } else if grids.iter().all(|grid| grid.rows == 1) {
        salt.copies = Copies::Left;
    }
}

fn describe(join: &Arc<dyn ExecutionPlan>) -> String {
    match join.downcast_ref::<HashJoinExec>() {
        Some(join) => type_and_keys(join),
        None => join.name().to_string(),
    }
}

/// Returns a join's type and keys: `Inner on a = b`.
pub(crate) fn type_and_keys(join: &HashJoinExec) -> String {
    let name = |expr: &dyn std::fmt::Display| {
        let text = expr.to_string();
        text.split('@').next().unwrap_or_default().to_string()
    };
    let keys: Vec<_> =
        join.on().iter().map(|(left, right)| format!("{} = {}", name(left), name(right))).collect();
    format!("{} on {}", join.join_type(), keys.join(" and "))
}

#[cfg(test)]
mod tests;
