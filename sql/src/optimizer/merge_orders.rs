//! Merges by all that sorts below have sorted by.
//!
//! Where an inner `ORDER BY a LIMIT n` stands below an `ORDER BY a, b`, DataFusion 55 sorts each partition by both and
//! drops the outer sort, but still merges the partitions by `a` alone: rows of equal `a` in different partitions come in
//! the order of the partitions. Any of the rows tied at the limit may be kept, so the longer order is right for both.
//!
//! ```text
//! SortPreservingMergeExec: [a], fetch=2         SortPreservingMergeExec: [a, b], fetch=2
//!   SortExec: TopK(fetch=2), [a, b]      ──>      SortExec: TopK(fetch=2), [a, b]
//! ```

use datafusion::common::Result;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::config::ConfigOptions;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::sorts::sort_preserving_merge::SortPreservingMergeExec;
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties};
use std::sync::Arc;

/// The rule.
#[derive(Debug)]
pub(super) struct MergeOrders;

impl PhysicalOptimizerRule for MergeOrders {
    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        _: &ConfigOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let merged = plan.transform_up(|node| {
            Ok(match node.downcast_ref::<SortPreservingMergeExec>().and_then(by_all) {
                Some(merge) => Transformed::yes(Arc::new(merge) as _),
                None => Transformed::no(node),
            })
        })?;
        Ok(merged.data)
    }

    fn name(&self) -> &str {
        "merge_orders"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

/// Returns the merge by the whole order of its input; `None` when it is so already.
fn by_all(merge: &SortPreservingMergeExec) -> Option<SortPreservingMergeExec> {
    let order = merge.input().output_ordering()?;
    let is_longer = order.len() > merge.expr().len()
        && merge.expr().iter().zip(order.iter()).all(|(merged, sorted)| merged == sorted);
    let merge = || {
        SortPreservingMergeExec::new(order.clone(), Arc::clone(merge.input()))
            .with_fetch(merge.fetch())
    };
    is_longer.then(merge)
}

#[cfg(test)]
mod tests {
    use super::*;
    use datafusion::arrow::array::{Int32Array, RecordBatch};
    use datafusion::assert_batches_eq;
    use datafusion::datasource::MemTable;
    use datafusion::execution::SessionStateBuilder;
    use datafusion::prelude::{SessionConfig, SessionContext};

    #[tokio::test]
    async fn rows_tied_by_the_inner_order_come_in_the_outer() {
        let batch = |a: &[i32], b: &[i32]| {
            let column = |values: &[i32]| Arc::new(Int32Array::from(values.to_vec())) as _;
            RecordBatch::try_from_iter([("a", column(a)), ("b", column(b))]).unwrap()
        };
        // The partition that is merged first has the row that belongs last.
        let partitions = vec![vec![batch(&[1, 2], &[9, 5])], vec![batch(&[1, 3], &[4, 5])]];
        let table = MemTable::try_new(partitions[0][0].schema(), partitions).unwrap();
        let state = SessionStateBuilder::new()
            .with_default_features()
            .with_config(SessionConfig::new().with_target_partitions(2))
            .with_physical_optimizer_rule(Arc::new(MergeOrders))
            .build();
        let context = SessionContext::new_with_state(state);
        context.register_table("t", Arc::new(table)).unwrap();
        let sql = "SELECT a, b FROM (SELECT a, b FROM t ORDER BY a LIMIT 2) ORDER BY a, b";
        let rows = context.sql(sql).await.unwrap().collect().await.unwrap();
        assert_batches_eq!(
            ["+---+---+", "| a | b |", "+---+---+", "| 1 | 4 |", "| 1 | 9 |", "+---+---+"],
            &rows
        );
    }
}
