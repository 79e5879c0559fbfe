//! Lets joins yield.
//!
//! The last of the physical passes. DataFusion's scans yield to the scheduler now and then, its joins do not: a join that
//! makes many rows of few never reads its input again for long, and cannot be cancelled meanwhile. Yielding between its
//! batches is enough but for joins that may compare many rows to give few ([`crate::exec::paced`]): nested loop joins, and
//! hash joins that try the matches of a key until one passes or all have failed.
//! Limit: hash joins of a plan that is cut into stages are not paced; what salts them looks for the exchange right below.
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
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{JoinType, Result};
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
pub(super) struct YieldingJoins {
    /// Whether hash joins are paced too.
    pub(super) paces_hash_joins: bool,
}

impl PhysicalOptimizerRule for YieldingJoins {
    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        _: &ConfigOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let yielding = plan.transform_up(|node| {
            let is_picky = node.downcast_ref::<HashJoinExec>().is_some_and(may_give_few);
            if node.is::<NestedLoopJoinExec>() || (self.paces_hash_joins && is_picky) {
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

/// Returns whether a join may look at many matches of a row for each that it gives.
fn may_give_few(join: &HashJoinExec) -> bool {
    join.filter().is_some()
        || !matches!(
            join.join_type(),
            JoinType::Inner | JoinType::Left | JoinType::Right | JoinType::Full
        )
}

/// Paces the side of a join that it reads batch by batch.
fn paced(join: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
    let mut children: Vec<_> = join.children().into_iter().cloned().collect();
    if let Some(right) = children.pop() {
        children.push(Arc::new(PacedExec::new(right)));
    }
    replace_children_if_necessary(join, children)
}
