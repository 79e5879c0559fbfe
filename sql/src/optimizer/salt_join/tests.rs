//! Salted joins give the same rows as the plain ones, and what must not be salted is not.

use super::*;
use crate::exec::router::hash_keys;
use crate::skew::salt::HeavyKey;
use arrow::array::{ArrayRef, Int64Array, RecordBatch};
use arrow::compute::{cast, concat_batches};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use datafusion::catalog::memory::{DataSourceExec, MemorySourceConfig};
use datafusion::common::{JoinSide, JoinType, NullEquality};
use datafusion::datasource::MemTable;
use datafusion::logical_expr::Operator;
use datafusion::physical_expr::expressions::{BinaryExpr, lit};
use datafusion::physical_plan::joins::PartitionMode;
use datafusion::physical_plan::joins::utils::{ColumnIndex, JoinFilter};
use datafusion::physical_plan::{collect, displayable};
use datafusion::prelude::{SessionConfig, SessionContext};
use std::collections::HashMap;

const JOIN_TYPES: [JoinType; 10] = [
    JoinType::Inner,
    JoinType::Left,
    JoinType::Right,
    JoinType::Full,
    JoinType::LeftSemi,
    JoinType::RightSemi,
    JoinType::LeftAnti,
    JoinType::RightAnti,
    JoinType::LeftMark,
    JoinType::RightMark,
];

/// Numbers that look random and are the same in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % n
    }

    fn one_of<T: Clone>(&mut self, from: &[T]) -> T {
        from[self.below(from.len() as u64) as usize].clone()
    }
}

fn key_types() -> Vec<DataType> {
    let dictionary = |values| DataType::Dictionary(Box::new(DataType::Int32), Box::new(values));
    vec![
        DataType::Int64,
        DataType::Int16,
        DataType::UInt32,
        DataType::Utf8,
        DataType::LargeUtf8,
        DataType::Utf8View,
        DataType::Binary,
        DataType::BinaryView,
        DataType::Date32,
        DataType::Timestamp(TimeUnit::Microsecond, None),
        DataType::Decimal128(12, 2),
        DataType::Boolean,
        dictionary(DataType::Utf8),
        dictionary(DataType::Int64),
    ]
}

/// Rows of one input: an id and key columns, one value with many rows.
fn table(random: &mut Random, n_rows: u64, types: &[DataType], first_id: i64) -> RecordBatch {
    let n_keys = 1 + random.below(40);
    let (n_heavy, n_null) = (random.below(90), random.below(30));
    let mut fields = vec![Field::new("id", DataType::Int64, false)];
    let ids = (0..n_rows as i64).map(|id| id + first_id);
    let mut columns: Vec<ArrayRef> = vec![Arc::new(Int64Array::from_iter_values(ids))];
    let is_heavy: Vec<_> = (0..n_rows).map(|_| random.below(100) < n_heavy).collect();
    for (idx, data_type) in types.iter().enumerate() {
        let value = |is_heavy: &bool| match () {
            () if random.below(100) < n_null => None,
            () if *is_heavy => Some(3),
            () => Some(random.below(n_keys) as i64),
        };
        let values: Int64Array = is_heavy.iter().map(value).collect();
        columns.push(key_column(&values, data_type));
        fields.push(Field::new(format!("k{idx}"), data_type.clone(), true));
    }
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap()
}

fn key_column(values: &Int64Array, data_type: &DataType) -> ArrayRef {
    let through = match data_type {
        DataType::Date32 => cast(values, &DataType::Int32).unwrap(),
        DataType::Binary | DataType::BinaryView => cast(values, &DataType::Utf8).unwrap(),
        _ => Arc::new(values.clone()),
    };
    cast(&through, data_type).unwrap()
}

/// A scan of a batch, in several partitions of small batches.
fn scan(batch: &RecordBatch, n_partitions: usize) -> Arc<dyn ExecutionPlan> {
    let mut partitions = vec![vec![]; n_partitions];
    let mut start = 0;
    while start < batch.num_rows() {
        let n_rows = 37.min(batch.num_rows() - start);
        partitions[start % n_partitions].push(batch.slice(start, n_rows));
        start += n_rows;
    }
    let source = MemorySourceConfig::try_new(&partitions, batch.schema(), None).unwrap();
    DataSourceExec::from_data_source(source)
}

/// How two inputs are joined.
#[derive(Debug, Clone)]
struct Case {
    join_type: JoinType,
    null_equality: NullEquality,
    is_filtered: bool,
    n_partitions: usize,
    n_keys: usize,
}

impl Case {
    fn join(&self, left: &RecordBatch, right: &RecordBatch) -> Arc<dyn ExecutionPlan> {
        let exchange = |batch: &RecordBatch, n_scan| -> Arc<dyn ExecutionPlan> {
            let keys = (1..=self.n_keys)
                .map(|idx| Arc::new(Column::new(&format!("k{}", idx - 1), idx)) as _)
                .collect();
            let by_hash = Partitioning::Hash(keys, self.n_partitions);
            Arc::new(RepartitionExec::try_new(scan(batch, n_scan), by_hash).unwrap())
        };
        let on = (1..=self.n_keys)
            .map(|idx| {
                let column = Column::new(&format!("k{}", idx - 1), idx);
                (Arc::new(column.clone()) as _, Arc::new(column) as _)
            })
            .collect();
        let join = HashJoinExec::try_new(
            exchange(left, 2),
            exchange(right, 3),
            on,
            self.is_filtered.then(ids_differ_in_parity),
            &self.join_type,
            None,
            PartitionMode::Partitioned,
            self.null_equality,
            false,
        );
        Arc::new(join.unwrap())
    }
}

/// A residual filter: one id is even and one is odd.
fn ids_differ_in_parity() -> JoinFilter {
    let schema = Schema::new(vec![
        Field::new("l", DataType::Int64, false),
        Field::new("r", DataType::Int64, false),
    ]);
    let binary = |left, op, right| Arc::new(BinaryExpr::new(left, op, right)) as _;
    let parity =
        |name, idx| binary(Arc::new(Column::new(name, idx)) as _, Operator::Modulo, lit(2_i64));
    let expr = binary(parity("l", 0), Operator::NotEq, parity("r", 1));
    let indices = vec![
        ColumnIndex { index: 0, side: JoinSide::Left },
        ColumnIndex { index: 0, side: JoinSide::Right },
    ];
    JoinFilter::new(expr, indices, Arc::new(schema))
}

async fn rows(plan: Arc<dyn ExecutionPlan>) -> Vec<String> {
    let context = SessionContext::new();
    crate::functions::all().into_iter().for_each(|function| {
        context.register_udf(function.as_ref().clone());
    });
    let schema = plan.schema();
    let batches = collect(plan, context.task_ctx()).await.unwrap();
    text_rows(&schema, &batches)
}

fn text_rows(schema: &SchemaRef, batches: &[RecordBatch]) -> Vec<String> {
    let options = FormatOptions::default().with_null("NULL");
    let whole = concat_batches(schema, batches).unwrap();
    let columns: Vec<_> = whole
        .columns()
        .iter()
        .map(|column| ArrayFormatter::try_new(column.as_ref(), &options).unwrap())
        .collect();
    let mut rows: Vec<_> = (0..whole.num_rows())
        .map(|row| columns.iter().map(|c| c.value(row).to_string()).collect::<Vec<_>>().join("|"))
        .collect();
    rows.sort_unstable();
    rows
}

/// Some keys of both inputs, with their rows: not always the heavy ones, which only costs time.
fn some_keys(random: &mut Random, left: &RecordBatch, right: &RecordBatch) -> Vec<HeavyKey> {
    let mut found: HashMap<u64, HeavyKey> = HashMap::new();
    for (batch, is_left) in [(left, true), (right, false)] {
        let mut hashes = vec![];
        hash_keys(&batch.columns()[1..], &mut hashes).unwrap();
        for hash in hashes {
            let key = found.entry(hash).or_insert(HeavyKey { hash, left_rows: 0, right_rows: 0 });
            if is_left { key.left_rows += 1 } else { key.right_rows += 1 }
        }
    }
    let mut keys: Vec<_> = found.into_values().collect();
    keys.sort_unstable_by_key(|key| (std::cmp::Reverse(key.left_rows + key.right_rows), key.hash));
    keys.truncate(random.below(6) as usize);
    keys
}

fn shuffle_of(join: &Arc<dyn ExecutionPlan>) -> Shuffle {
    match sites(join).remove(0).kind {
        SiteKind::Shuffled(shuffle) => shuffle,
        other => panic!("{other:?}"),
    }
}

fn choice(join: &Arc<dyn ExecutionPlan>, copies: Copies, heavy: Vec<HeavyKey>) -> Choice {
    let shuffle = shuffle_of(join);
    let (n_partitions, spread_nulls) = (shuffle.n_partitions, shuffle.spread_nulls);
    let salt = Salt { n_partitions, copies, spread_nulls, heavy };
    Choice { join: Arc::clone(join), shuffle, salt }
}

/// Every allowed way to copy less than a join type allows is right too.
fn allowed_copies(join_type: JoinType) -> Vec<Copies> {
    [Copies::None, Copies::Left, Copies::Right, Copies::Both]
        .into_iter()
        .filter(|copies| copies.is_within(Copies::allowed(join_type)))
        .collect()
}

#[tokio::test]
async fn salted_joins_give_the_rows_of_plain_ones() {
    let mut random = Random(0x9E37_79B9_7F4A_7C15);
    let mut n_replicated = 0;
    for round in 0..260 {
        let n_keys = 1 + random.below(2) as usize;
        let types: Vec<_> = (0..n_keys).map(|_| random.one_of(&key_types())).collect();
        let sizes = [0, 1, 40, 400];
        let left = table(&mut random, sizes[round % 4], &types, 0);
        let n_right = random.one_of(&sizes);
        let right = table(&mut random, n_right, &types, 1_000_000);
        let case = Case {
            join_type: JOIN_TYPES[round % 10],
            null_equality: random
                .one_of(&[NullEquality::NullEqualsNothing, NullEquality::NullEqualsNull]),
            is_filtered: random.below(2) == 0,
            n_partitions: random.one_of(&[2, 3, 8]),
            n_keys,
        };
        let join = case.join(&left, &right);
        let expected = rows(Arc::clone(&join)).await;
        let heavy = some_keys(&mut random, &left, &right);
        for copies in allowed_copies(case.join_type) {
            let choice = choice(&join, copies, heavy.clone());
            let salted = salt_joins(&join, &[choice], &Arc::default()).unwrap();
            assert!(!Arc::ptr_eq(&salted, &join));
            assert_eq!(salted.schema(), join.schema());
            let found = rows(Arc::clone(&salted)).await;
            assert!(
                found == expected,
                "round {round}, {case:?}, types {types:?}, copies {copies:?}, {} keys: {} rows for {}",
                heavy.len(),
                found.len(),
                expected.len()
            );
            n_replicated += replicated_rows(&salted);
        }
    }
    assert!(n_replicated > 10_000, "only {n_replicated} rows were copied");
}

fn replicated_rows(plan: &Arc<dyn ExecutionPlan>) -> usize {
    let below: usize = plan.children().into_iter().map(replicated_rows).sum();
    let own = plan.metrics().and_then(|metrics| metrics.sum_by_name("replicated_rows"));
    below + own.map_or(0, |value| value.as_usize())
}

/// The oracle bites: each forbidden way to copy gives wrong rows somewhere.
#[tokio::test]
async fn a_forbidden_salt_is_refused_and_would_be_wrong() {
    let mut random = Random(42);
    for join_type in JOIN_TYPES {
        for copies in [Copies::Left, Copies::Right, Copies::Both] {
            if copies.is_within(Copies::allowed(join_type)) {
                continue;
            }
            let mut is_wrong = false;
            for _ in 0..6 {
                let left = table(&mut random, 200, &[DataType::Int64], 0);
                let right = table(&mut random, 200, &[DataType::Int64], 1_000_000);
                let null_equality = NullEquality::NullEqualsNothing;
                let case = Case {
                    join_type,
                    null_equality,
                    is_filtered: true,
                    n_partitions: 4,
                    n_keys: 1,
                };
                let join = case.join(&left, &right);
                let heavy = some_keys(&mut Random(5), &left, &right);
                let choices = [choice(&join, copies, heavy)];
                assert!(salt_joins(&join, &choices, &Arc::default()).is_err());
                let forced = Rewrite { choices: &choices, options: &Arc::default() };
                let forced = forced.node(&join).unwrap().unwrap();
                is_wrong |= rows(forced).await != rows(join).await;
            }
            assert!(is_wrong, "{join_type} with {copies:?} copied");
        }
    }
}

#[tokio::test]
async fn one_heavy_key_is_spread_evenly() {
    let heavy_rows = Int64Array::from_iter_values(std::iter::repeat_n(3, 10_000));
    let ids = Int64Array::from_iter_values(0..10_000);
    let left = RecordBatch::try_from_iter([
        ("id", Arc::new(Int64Array::from(vec![1])) as ArrayRef),
        ("k0", Arc::new(Int64Array::from(vec![3]))),
    ]);
    let right = RecordBatch::try_from_iter([
        ("id", Arc::new(ids) as ArrayRef),
        ("k0", Arc::new(heavy_rows)),
    ]);
    let case = Case {
        join_type: JoinType::Inner,
        null_equality: NullEquality::NullEqualsNothing,
        is_filtered: false,
        n_partitions: 8,
        n_keys: 1,
    };
    let (left, right) = (left.unwrap(), right.unwrap());
    let join = case.join(&left, &right);
    let heavy = some_keys(&mut Random(5), &left, &right);
    assert!(!heavy.is_empty());
    let salted = salt_joins(&join, &[choice(&join, Copies::Left, heavy)], &Arc::default()).unwrap();
    let context = SessionContext::new();
    let mut counts = vec![];
    for partition in 0..8 {
        let stream = salted.execute(partition, context.task_ctx()).unwrap();
        let batches = datafusion::physical_plan::common::collect(stream).await.unwrap();
        counts.push(batches.iter().map(RecordBatch::num_rows).sum::<usize>());
    }
    assert_eq!(counts.iter().sum::<usize>(), 10_000);
    assert!(counts.iter().max() <= Some(&1_400), "{counts:?}");
}

/// Plans SQL over two small tables with every join shuffled.
async fn plan(context: &SessionContext, sql: &str) -> Arc<dyn ExecutionPlan> {
    context.sql(sql).await.unwrap().create_physical_plan().await.unwrap()
}

fn context() -> (SessionContext, RecordBatch, RecordBatch) {
    let mut config = SessionConfig::new().with_target_partitions(4).with_batch_size(64);
    let optimizer = &mut config.options_mut().optimizer;
    optimizer.hash_join_single_partition_threshold = 0;
    optimizer.hash_join_single_partition_threshold_rows = 0;
    let context = SessionContext::new_with_config(config);
    let mut random = Random(7);
    let left = table(&mut random, 300, &[DataType::Int64], 0);
    let right = table(&mut random, 200, &[DataType::Int64], 1_000_000);
    for (name, batch) in [("a", &left), ("b", &right), ("c", &right)] {
        let halves =
            vec![vec![batch.slice(0, 100)], vec![batch.slice(100, batch.num_rows() - 100)]];
        let table = MemTable::try_new(batch.schema(), halves).unwrap();
        context.register_table(name, Arc::new(table)).unwrap();
    }
    (context, left, right)
}

#[tokio::test]
async fn what_is_above_and_below_stays_right() {
    let mut n_salted = 0;
    let (context, left, right) = context();
    let heavy = some_keys(&mut Random(5), &left, &right);
    for (sql, is_used_above) in [
        ("SELECT a.id, b.id FROM a JOIN b ON a.k0 = b.k0", false),
        ("SELECT a.k0, count(*), sum(b.id) FROM a JOIN b ON a.k0 = b.k0 GROUP BY a.k0", true),
        (
            "SELECT b.k0, count(DISTINCT a.id), max(a.id) FROM a JOIN b ON a.k0 = b.k0 GROUP BY b.k0",
            true,
        ),
        ("SELECT a.id, b.id, c.id FROM a JOIN b ON a.k0 = b.k0 JOIN c ON b.k0 = c.k0", true),
        (
            "SELECT a.id, rank() OVER (PARTITION BY a.k0 ORDER BY a.id) FROM a LEFT JOIN b ON a.k0 = b.k0",
            true,
        ),
        ("SELECT id FROM a WHERE k0 IN (SELECT k0 FROM b WHERE id % 3 = 0)", false),
        (
            "SELECT id FROM a WHERE NOT EXISTS (SELECT 1 FROM b WHERE b.k0 = a.k0 AND b.id % 3 = a.id % 3)",
            false,
        ),
        ("SELECT id FROM a WHERE id < 9 OR EXISTS (SELECT 1 FROM b WHERE b.k0 = a.k0)", false),
        ("SELECT k0 FROM a INTERSECT SELECT k0 FROM b", true),
        (
            "SELECT a.id FROM a LEFT JOIN b ON a.k0 = b.k0 UNION ALL SELECT a.id FROM a RIGHT JOIN b ON a.k0 = b.k0",
            false,
        ),
    ] {
        let plain = plan(&context, sql).await;
        let choices: Vec<_> = sites(&plain)
            .into_iter()
            .filter_map(|site| match site.kind {
                SiteKind::Shuffled(shuffle) => {
                    let (n_partitions, spread_nulls) = (shuffle.n_partitions, shuffle.spread_nulls);
                    let copies = shuffle.copies;
                    let salt = Salt { n_partitions, copies, spread_nulls, heavy: heavy.clone() };
                    Some(Choice { join: site.join, shuffle, salt })
                }
                _ => None,
            })
            .collect();
        let shown = displayable(plain.as_ref()).indent(false).to_string();
        // The engine may have placed an input by an operator below: then there is nothing to salt.
        if choices.is_empty() {
            continue;
        }
        n_salted += 1;
        assert_eq!(
            choices.iter().any(|choice| choice.shuffle.is_used_above),
            is_used_above,
            "{sql}\n{shown}"
        );
        let options = Arc::new(context.copied_config().options().as_ref().clone());
        let salted = salt_joins(&plain, &choices, &options).unwrap();
        let shown = displayable(salted.as_ref()).indent(false).to_string();
        assert!(shown.contains("saltlake_bucket"), "{sql}\n{shown}");
        // Exchanges run once, and the plans share some.
        let plain = plan(&context, sql).await;
        assert_eq!(rows(salted).await, rows(plain).await, "{sql}\n{shown}");
    }
    assert!(n_salted >= 8, "only {n_salted} plans were salted");
}

#[tokio::test]
async fn joins_that_cannot_be_salted_say_why() {
    let (context, ..) = context();
    for (sql, expected) in [
        ("SELECT a.id FROM a JOIN b ON a.k0::double = b.k0::double", "keys of type Float64"),
        ("SELECT a.id FROM a JOIN b ON [a.k0] = [b.k0]", "keys of type List"),
        ("SELECT id FROM a WHERE k0 NOT IN (SELECT k0 FROM b)", "Broadcast"),
        (
            "SELECT g.k0 FROM (SELECT k0, count(*) AS n FROM a GROUP BY k0) g JOIN b ON g.k0 = b.k0",
            "placed by an operator below",
        ),
    ] {
        let plan = plan(&context, sql).await;
        let kinds: Vec<_> =
            sites(&plan).into_iter().map(|site| format!("{:?}", site.kind)).collect();
        let shown = displayable(plan.as_ref()).indent(false).to_string();
        assert!(kinds.iter().any(|kind| kind.contains(expected)), "{sql}\n{kinds:?}\n{shown}");
        let same = salt_joins(&plan, &[], &Arc::default()).unwrap();
        assert!(Arc::ptr_eq(&plan, &same));
    }
}
