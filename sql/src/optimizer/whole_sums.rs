//! Keeps a sum of `bigint` in one step beside DISTINCT aggregates.
//!
//! Stands before DataFusion's `single_distinct_aggregation_to_group_by`, which adds up by the values that count once and
//! then adds up those sums. The first sums are results and have to fit in a `bigint`; parts of a sum need not:
//!
//! ```text
//! sum(x), count(DISTINCT y)      of x = 9e18, 9e18, -9e18 and y = 1, 1, 2 is 9e18; the sum where y = 1 is no bigint
//! ```
//!
//! Plans for the workers are split by [`super::distinct_groups`], whose parts are wider.

use super::aggregate_parts::may_leave_bigint;
use datafusion::common::Result;
use datafusion::common::tree_node::Transformed;
use datafusion::logical_expr::expr::AggregateFunction;
use datafusion::logical_expr::{Aggregate, Expr, LogicalPlan};
use datafusion::optimizer::optimizer::ApplyOrder;
use datafusion::optimizer::{OptimizerConfig, OptimizerRule};
use std::sync::Arc;

/// The rule that this one stands before, and whose name it has.
pub(super) const RULE: &str = "single_distinct_aggregation_to_group_by";

/// The rule.
#[derive(Debug)]
pub(super) struct WholeSums {
    /// DataFusion's.
    pub(super) inner: Arc<dyn OptimizerRule + Send + Sync>,
}

impl OptimizerRule for WholeSums {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        self.inner.apply_order()
    }

    fn rewrite(
        &self,
        plan: LogicalPlan,
        config: &dyn OptimizerConfig,
    ) -> Result<Transformed<LogicalPlan>> {
        match &plan {
            LogicalPlan::Aggregate(aggregate) if has_large_sum(aggregate)? => {
                Ok(Transformed::no(plan))
            }
            _ => self.inner.rewrite(plan, config),
        }
    }
}

/// Returns whether an aggregation adds up values whose sum may leave `bigint`, each as often as it is there.
fn has_large_sum(aggregate: &Aggregate) -> Result<bool> {
    for expr in &aggregate.aggr_expr {
        if let Expr::AggregateFunction(AggregateFunction { func, params }) = expr
            && let ("sum", false, [value]) = (func.name(), params.distinct, params.args.as_slice())
            && may_leave_bigint(value, aggregate.input.schema())?
        {
            return Ok(true);
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::super::logical_rules;
    use datafusion::optimizer::Optimizer;
    use datafusion::prelude::SessionContext;

    #[tokio::test]
    async fn sums_that_may_be_large_stay_in_one_step() {
        let context = SessionContext::new();
        let table = "CREATE TABLE t (g BIGINT, large BIGINT, small INT, d DECIMAL(9, 2))";
        context.sql(table).await.unwrap();
        for (aggregates, n_steps) in [
            ("sum(large), count(DISTINCT g)", 1),
            ("max(large), sum(large), count(DISTINCT g)", 1),
            ("sum(small), count(DISTINCT g)", 2),
            ("sum(d), count(DISTINCT g)", 2),
            ("sum(DISTINCT large), count(DISTINCT large)", 2),
        ] {
            let sql = format!("SELECT {aggregates} FROM t");
            let (state, plan) = context.sql(&sql).await.unwrap().into_parts();
            let optimizer = Optimizer::with_rules(logical_rules());
            let plan = state.analyzer().execute_and_check(plan, state.config_options(), |_, _| {});
            let plan = optimizer.optimize(plan.unwrap(), &state, |_, _| {}).unwrap();
            let text = plan.display_indent().to_string();
            assert_eq!(text.matches("Aggregate:").count(), n_steps, "{text}");
        }
    }
}
