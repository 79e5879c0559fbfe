//! Chooses for each hash join of a plan that one process runs: one table for all partitions, or one for each.
//!
//! ```text
//! Partitioned: both sides are hashed and cut into partitions      every row is copied
//! CollectLeft: the left side is one table, the right one streams  the table is built by one thread
//! ```
//!
//! Called before DataFusion's join selection, which keeps a mode once it is chosen. Row counts come from the join order
//! pass, because the engine's own statistics end at most joins. In plans to be cut into stages a collected side is sent to
//! every task: [`super::broadcast_joins`] chooses there. When physical joins and logical ones do not pair up, nothing is
//! changed.

use super::join_order::JoinSize;
use datafusion::common::Result;
use datafusion::config::ConfigOptions;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::execution_plan::replace_children_if_necessary;
use datafusion::physical_plan::joins::{
    CrossJoinExec, HashJoinExec, NestedLoopJoinExec, PartitionMode, PiecewiseMergeJoinExec,
    SortMergeJoinExec,
};
use std::sync::Arc;

/// Rows whose table is built faster than partitions are set up.
const SMALL: f64 = 20_000.0;
/// Work for a row: put into a table, and looked up; see [`is_collected`].
const BUILD: f64 = 2.0;
/// Work for a row: hashed and copied into its partition.
const REPARTITION: f64 = 0.7;

/// The physical rule.
#[derive(Debug)]
pub(super) struct JoinModes {
    /// Sizes of the logical joins, parents first.
    pub(super) sizes: Arc<[JoinSize]>,
}

impl PhysicalOptimizerRule for JoinModes {
    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        config: &ConfigOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let n_partitions = config.execution.target_partitions;
        with_modes(plan, &self.sizes, config, |_, size| match is_collected(size, n_partitions) {
            true => PartitionMode::CollectLeft,
            false => PartitionMode::Partitioned,
        })
    }

    fn name(&self) -> &str {
        "join_modes"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

/// Returns the keys of a join; `None` for other nodes.
fn n_keys(plan: &Arc<dyn ExecutionPlan>) -> Option<usize> {
    if let Some(join) = plan.downcast_ref::<HashJoinExec>() {
        return Some(join.on().len());
    }
    if let Some(join) = plan.downcast_ref::<SortMergeJoinExec>() {
        return Some(join.on().len());
    }
    let has_no_keys = plan.is::<CrossJoinExec>()
        || plan.is::<NestedLoopJoinExec>()
        || plan.is::<PiecewiseMergeJoinExec>();
    has_no_keys.then_some(0)
}

/// The inputs that belong to the plan itself, and not to a scalar subquery beside it.
fn n_own_children(plan: &Arc<dyn ExecutionPlan>) -> usize {
    if plan.name() == "ScalarSubqueryExec" { 1 } else { plan.children().len() }
}

fn collect_joins(plan: &Arc<dyn ExecutionPlan>, key_counts: &mut Vec<usize>) {
    key_counts.extend(n_keys(plan));
    for child in plan.children().into_iter().take(n_own_children(plan)) {
        collect_joins(child, key_counts);
    }
}

/// Gives every hash join whose mode is open the one that `choose` returns. Nothing is changed when `sizes` are not those of
/// the plan's joins.
///
/// # Errors
/// When a join cannot be rebuilt.
pub(super) fn with_modes(
    plan: Arc<dyn ExecutionPlan>,
    sizes: &[JoinSize],
    config: &ConfigOptions,
    choose: impl Fn(&HashJoinExec, &JoinSize) -> PartitionMode,
) -> Result<Arc<dyn ExecutionPlan>> {
    // Nothing is to be collected: the engine's own way to say so holds here too.
    if config.optimizer.hash_join_single_partition_threshold == 0 {
        return Ok(plan);
    }
    let mut key_counts = vec![];
    collect_joins(&plan, &mut key_counts);
    if !key_counts.iter().copied().eq(sizes.iter().map(|size| size.n_keys)) {
        return Ok(plan);
    }
    choose_modes(plan, &mut sizes.iter(), &choose)
}

fn choose_modes<'a>(
    plan: Arc<dyn ExecutionPlan>,
    sizes: &mut impl Iterator<Item = &'a JoinSize>,
    choose: &impl Fn(&HashJoinExec, &JoinSize) -> PartitionMode,
) -> Result<Arc<dyn ExecutionPlan>> {
    let size = n_keys(&plan).and_then(|_| sizes.next());
    let n_own = n_own_children(&plan);
    let mut children: Vec<_> = plan.children().into_iter().cloned().collect();
    let mut is_changed = false;
    for child in children.iter_mut().take(n_own) {
        let changed = choose_modes(Arc::clone(child), sizes, choose)?;
        is_changed |= !Arc::ptr_eq(&changed, child);
        *child = changed;
    }
    let plan = if is_changed { replace_children_if_necessary(plan, children)? } else { plan };
    match (plan.downcast_ref::<HashJoinExec>(), size) {
        (Some(join), Some(size)) if *join.partition_mode() == PartitionMode::Auto => {
            let mode = choose(join, size);
            Ok(Arc::new(join.builder().with_partition_mode(mode).build()?))
        }
        _ => Ok(plan),
    }
}

/// Whether building one table by one thread takes less time than partitioning both sides.
fn is_collected(size: &JoinSize, n_partitions: usize) -> bool {
    let (build, probe, n) = (size.n_build_rows, size.n_probe_rows, n_partitions.max(1) as f64);
    let collected = BUILD * build + probe / n;
    let partitioned = (BUILD * build + probe + REPARTITION * (build + probe)) / n;
    build <= SMALL || collected < partitioned
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(n_build_rows: f64, n_probe_rows: f64, n_partitions: usize, expected: bool) {
        let size = JoinSize { n_build_rows, n_probe_rows, n_keys: 1 };
        assert_eq!(is_collected(&size, n_partitions), expected, "{size:?} {n_partitions}");
    }

    #[test]
    fn a_table_is_shared_where_the_other_side_is_much_larger() {
        check(100.0, 100.0, 16, true);
        check(400_000.0, 1_000_000.0, 2, true);
        check(900_000.0, 1_000_000.0, 2, false);
        check(400_000.0, 1_000_000.0, 16, false);
        check(400_000.0, 100_000_000.0, 16, true);
    }
}
