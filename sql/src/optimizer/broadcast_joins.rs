//! Chooses for each hash join of a plan that is cut into stages: the build side goes to every task, or both sides are
//! shuffled.
//!
//! ```text
//! broadcast    build bytes × tasks are sent, and each task makes the whole table      the probe side stays where it is
//! shuffle      the bytes of both sides are sent, and each task makes its part of the table
//! ```
//!
//! Called before DataFusion's join selection, which keeps a mode once it is chosen and knows nothing of a cluster: it asks
//! only whether the build side is below a megabyte. Bytes are those of rows in memory: rows as the join order pass
//! estimates them, after pruning and filters, times their width. A table must fit in a part of the smallest worker's
//! memory, for a hash join does not spill. What is chosen and what is not, with the bytes of both, is a line of EXPLAIN.
//! Limit: a side that an operator below shuffles by the same key anyway is counted as if it were shuffled for the join.

use super::PassLog;
use super::join_modes::with_modes;
use super::join_order::JoinSize;
use crate::placement::human_bytes;
use crate::settings::SaltlakeOptions;
use crate::skew::decide::type_and_keys;
use datafusion::arrow::datatypes::{DataType, Schema};
use datafusion::common::{JoinType, Result, Statistics};
use datafusion::config::ConfigOptions;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::joins::{HashJoinExec, PartitionMode};
use datafusion::physical_plan::{ExecutionPlan, StatisticsArgs, StatisticsContext};
use std::sync::Arc;

/// Bytes that a row of a hash table takes beside the row itself.
const ENTRY: f64 = 16.0;
/// Bytes of a value whose width its type does not tell, where nothing is known of the values.
const UNKNOWN_WIDTH: f64 = 32.0;
/// A byte put into a hash table, against one that is sent.
const BUILD: f64 = 1.0;
/// Broadcast must cost less than this share of the shuffle: where the build side has more rows than estimated, all tasks
/// pay for them.
const WORTH_IT: f64 = 0.5;
/// Part of a worker's memory that one table may take.
const MEMORY_SHARE: f64 = 0.2;

/// What runs the stages of a plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cluster {
    /// Tasks of the largest stage.
    pub n_tasks: usize,
    /// Memory of the smallest worker, for operators.
    pub worker_memory_bytes: u64,
}

/// The physical rule.
#[derive(Debug)]
pub(super) struct BroadcastJoins {
    /// Sizes of the logical joins, parents first.
    pub(super) sizes: Arc<[JoinSize]>,
    pub(super) cluster: Cluster,
    pub(super) log: PassLog,
}

impl PhysicalOptimizerRule for BroadcastJoins {
    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        config: &ConfigOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let options = config.extensions.get::<SaltlakeOptions>();
        let most = options.map_or(0, |options| options.broadcast_max_bytes);
        with_modes(plan, &self.sizes, config, |join, size| {
            let exchange = Exchange::of(join, size, self.cluster, most as f64);
            self.log.note(exchange.line(join));
            exchange.mode()
        })
    }

    fn name(&self) -> &str {
        "broadcast_joins"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

/// Why a build side is not sent to every task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Refused {
    /// The join answers for build rows without a match, which no single task knows.
    Type,
    /// It is larger than the setting allows.
    Ceiling,
    /// It does not fit in a worker's memory.
    Memory,
    /// It costs more than the shuffle, or not much less.
    Cost,
}

/// What either way of one join sends.
#[derive(Debug, Clone, Copy)]
struct Exchange {
    build_bytes: f64,
    broadcast_bytes: f64,
    shuffle_bytes: f64,
    n_tasks: usize,
    refused: Option<Refused>,
}

impl Exchange {
    fn of(join: &HashJoinExec, size: &JoinSize, cluster: Cluster, most: f64) -> Self {
        let bytes = |side: &Arc<dyn ExecutionPlan>, n_rows: f64, widths: Option<&Statistics>| {
            n_rows * row_bytes(&side.schema(), widths)
        };
        let n_tasks = cluster.n_tasks.max(1);
        let probe_bytes = bytes(join.right(), size.n_probe_rows, None);
        let guessed = bytes(join.left(), size.n_build_rows, None);
        // Long texts are asked for where it matters: walking the plan below has its price.
        let build_bytes = match guessed <= most {
            true => {
                let statistics =
                    StatisticsContext::new().compute(join.left().as_ref(), &StatisticsArgs::new());
                bytes(join.left(), size.n_build_rows, statistics.ok().as_deref())
            }
            false => guessed,
        };
        let table_bytes = build_bytes + ENTRY * size.n_build_rows;
        let broadcast_bytes = build_bytes * n_tasks as f64;
        let shuffle_bytes = build_bytes + probe_bytes;
        let broadcast = broadcast_bytes + BUILD * table_bytes * n_tasks as f64;
        let shuffle = shuffle_bytes + BUILD * table_bytes;
        let refused = match () {
            () if !is_broadcast_safe(*join.join_type()) => Some(Refused::Type),
            () if build_bytes > most => Some(Refused::Ceiling),
            () if table_bytes > MEMORY_SHARE * cluster.worker_memory_bytes as f64 => {
                Some(Refused::Memory)
            }
            () if broadcast >= WORTH_IT * shuffle => Some(Refused::Cost),
            () => None,
        };
        Self { build_bytes, broadcast_bytes, shuffle_bytes, n_tasks, refused }
    }

    fn mode(&self) -> PartitionMode {
        match self.refused {
            None => PartitionMode::CollectLeft,
            Some(_) => PartitionMode::Partitioned,
        }
    }

    /// `Exchange: broadcast of 1.2 MB to 16 tasks, 19 MB (shuffle 310 MB), Inner on a = b`.
    fn line(&self, join: &HashJoinExec) -> String {
        let show = |bytes: f64| human_bytes(bytes as u64);
        let (build, broadcast) = (show(self.build_bytes), show(self.broadcast_bytes));
        let (shuffle, n_tasks) = (show(self.shuffle_bytes), self.n_tasks);
        let what = match self.refused {
            None => {
                format!("broadcast of {build} to {n_tasks} tasks, {broadcast} (shuffle {shuffle})")
            }
            Some(refused) => {
                let why = match refused {
                    Refused::Type => "this type cannot".to_string(),
                    Refused::Ceiling => {
                        format!("build side of {build} above saltlake.broadcast_max_bytes")
                    }
                    Refused::Memory => format!("build side of {build} too large for a worker"),
                    Refused::Cost => format!("{build} to {n_tasks} tasks"),
                };
                format!("shuffle of {shuffle} (broadcast {broadcast}: {why})")
            }
        };
        format!("Exchange: {what}, {}", type_and_keys(join))
    }
}

/// Returns whether each task may have the whole build side: no row of it comes out of the join by itself.
fn is_broadcast_safe(join_type: JoinType) -> bool {
    matches!(
        join_type,
        JoinType::Inner
            | JoinType::Right
            | JoinType::RightSemi
            | JoinType::RightAnti
            | JoinType::RightMark
    )
}

/// Bytes of a row in memory; of values without a fixed width, what statistics say of the column.
fn row_bytes(schema: &Schema, statistics: Option<&Statistics>) -> f64 {
    let n_rows = statistics.and_then(|statistics| statistics.num_rows.get_value().copied());
    let measured = |column: usize| {
        let column = statistics?.column_statistics.get(column)?;
        let bytes = *column.byte_size.get_value()?;
        n_rows.filter(|n_rows| *n_rows > 0).map(|n_rows| bytes as f64 / n_rows as f64)
    };
    let widths =
        schema.fields().iter().enumerate().map(|(column, field)| match field.data_type() {
            DataType::Boolean | DataType::Null => 0.125,
            DataType::Dictionary(key, _) => key.primitive_width().unwrap_or(4) as f64,
            data_type => match data_type.primitive_width() {
                Some(width) => width as f64,
                // A view or an offset, and the value.
                None => ENTRY + measured(column).unwrap_or(UNKNOWN_WIDTH),
            },
        });
    widths.sum::<f64>().max(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
    use datafusion::execution::SessionStateBuilder;
    use datafusion::physical_planner::{DefaultPhysicalPlanner, PhysicalPlanner};
    use datafusion::prelude::SessionContext;

    /// Plans a join on two `bigint` columns of such sizes; returns its mode and the line of EXPLAIN.
    async fn check(
        kind: &str,
        (n_build_rows, n_probe_rows): (f64, f64),
        n_tasks: usize,
        expected: PartitionMode,
        says: &str,
    ) {
        let mut config = datafusion::prelude::SessionConfig::new().with_target_partitions(4);
        config.options_mut().extensions.insert(SaltlakeOptions::default());
        config.options_mut().optimizer.join_reordering = false;
        let context = SessionContext::new_with_config(config);
        context.sql("CREATE TABLE b (k BIGINT, v BIGINT)").await.unwrap();
        context.sql("CREATE TABLE p (k BIGINT, w BIGINT)").await.unwrap();
        let sql = format!("SELECT * FROM b {kind} JOIN p ON b.k = p.k");
        let (state, plan) = context.sql(&sql).await.unwrap().into_parts();
        let plan = state.optimize(&plan).unwrap();
        let log = PassLog::default();
        let rule = BroadcastJoins {
            sizes: Arc::new([JoinSize { n_build_rows, n_probe_rows, n_keys: 1 }]),
            cluster: Cluster { n_tasks, worker_memory_bytes: 256 << 20 },
            log: log.clone(),
        };
        let state = SessionStateBuilder::new_from_existing(state)
            .with_physical_optimizer_rules(vec![Arc::new(rule)])
            .build();
        let plan = DefaultPhysicalPlanner::default().create_physical_plan(&plan, &state).await;
        let mut modes = vec![];
        plan.unwrap()
            .apply(|node| {
                modes
                    .extend(node.downcast_ref::<HashJoinExec>().map(|join| *join.partition_mode()));
                Ok(TreeNodeRecursion::Continue)
            })
            .unwrap();
        assert_eq!(modes, [expected], "{kind} {n_build_rows} {n_probe_rows} {n_tasks}");
        let notes = log.notes();
        assert!(notes.len() == 1 && notes[0].contains(says), "{notes:?}");
    }

    #[tokio::test]
    async fn a_build_side_goes_to_few_tasks_and_not_to_many() {
        use PartitionMode::{CollectLeft, Partitioned};
        // 16 MB beside 320 MB.
        let sizes = (1e6, 2e7);
        check("INNER", sizes, 2, CollectLeft, "broadcast of 15.3 MB to 2 tasks, 30.5 MB").await;
        check("INNER", sizes, 16, Partitioned, "broadcast").await;
        check("INNER", (1e4, 2e7), 16, CollectLeft, "to 16 tasks").await;
        check("RIGHT", (1e4, 2e7), 16, CollectLeft, "to 16 tasks").await;
    }

    #[tokio::test]
    async fn a_build_side_is_bounded() {
        use PartitionMode::Partitioned;
        let type_cannot = "this type cannot";
        check("LEFT", (1e4, 2e7), 2, Partitioned, type_cannot).await;
        check("FULL", (1e4, 2e7), 2, Partitioned, type_cannot).await;
        check("INNER", (5e6, 1e12), 2, Partitioned, "above saltlake.broadcast_max_bytes").await;
        check("INNER", (3.5e6, 1e12), 2, Partitioned, "too large for a worker").await;
    }
}
