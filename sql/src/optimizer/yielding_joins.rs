//! Lets joins yield.
//!
//! The last of the physical passes. DataFusion's scans yield to the scheduler now and then, its joins do not: a join that
//! makes many rows of few never reads its input again for long, and cannot be cancelled meanwhile. Yielding between its
//! batches is enough but for a nested loop join, which compares many rows to give few ([`crate::exec::paced`]).
//!
//! ```text
//! AggregateExec             AggregateExec
//!   NestedLoopJoinExec        CooperativeExec
//!     left             ──>      NestedLoopJoinExec
//!     right                       left
//!                                 PacedExec
//!                                   right
//! ```

use crate::exec::paced::PacedExec;
use datafusion::common::Result;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::config::ConfigOptions;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::coop::CooperativeExec;
use datafusion::physical_plan::execution_plan::replace_children_if_necessary;
use datafusion::physical_plan::joins::{
    CrossJoinExec, HashJoinExec, NestedLoopJoinExec, SortMergeJoinExec,
};
use std::sync::Arc;

/// Puts a yielding node above each join, and below one that needs it.
#[derive(Debug)]
pub(super) struct YieldingJoins;

impl PhysicalOptimizerRule for YieldingJoins {
    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        _: &ConfigOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let yielding = plan.transform_up(|node| {
            if node.is::<NestedLoopJoinExec>() {
                let paced = paced(node)?;
                return Ok(Transformed::yes(Arc::new(CooperativeExec::new(paced)) as _));
            }
            let is_join = node.is::<CrossJoinExec>()
                || node.is::<HashJoinExec>()
                || node.is::<SortMergeJoinExec>();
            Ok(match is_join {
                true => Transformed::yes(Arc::new(CooperativeExec::new(node)) as _),
                false => Transformed::no(node),
            })
        })?;
        Ok(yielding.data)
    }

    fn name(&self) -> &str {
        "yielding_joins"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

/// Paces the side of a join that it reads batch by batch.
fn paced(join: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
    let mut children: Vec<_> = join.children().into_iter().cloned().collect();
    if let Some(right) = children.pop() {
        children.push(Arc::new(PacedExec::new(right)));
    }
    replace_children_if_necessary(join, children)
}
