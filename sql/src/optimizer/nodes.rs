//! What several passes do with a node: rewrite its expressions, or put other nodes in the place of an aggregation.
//!
//! Called by the analyzer rules that spell expressions anew, and by the passes that aggregate in two steps.

use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{DFSchema, Result};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{Aggregate, Expr, LogicalPlan};

/// Rewrites every expression of a node from the leaves up; columns keep their names. The schema is that of what the
/// expressions read.
///
/// # Errors
/// When `rewrite` fails.
pub(super) fn rewrite_expressions(
    plan: LogicalPlan,
    rewrite: impl Fn(Expr, &DFSchema) -> Result<Transformed<Expr>>,
) -> Result<Transformed<LogicalPlan>> {
    let schema = match &plan {
        LogicalPlan::TableScan(scan) => DFSchema::clone(&scan.projected_schema),
        plan => merge_schema(&plan.inputs()),
    };
    let names = NamePreserver::new(&plan);
    let rewritten = plan.map_expressions(|expr| {
        let name = names.save(&expr);
        let rewritten = expr.transform_up(|expr| rewrite(expr, &schema))?;
        Ok(rewritten.update_data(|expr| name.restore(expr)))
    })?;
    match rewritten.transformed {
        true => rewritten.map_data(LogicalPlan::recompute_schema),
        false => Ok(rewritten),
    }
}

/// Replaces every aggregation of a plan, in subqueries too, for which `replace` returns a plan.
///
/// # Errors
/// When `replace` fails.
pub(super) fn replace_aggregates(
    plan: LogicalPlan,
    replace: impl Fn(&Aggregate) -> Result<Option<LogicalPlan>>,
) -> Result<LogicalPlan> {
    let replaced = plan.transform_up_with_subqueries(|node| {
        let other = match &node {
            LogicalPlan::Aggregate(aggregate) => replace(aggregate)?,
            _ => None,
        };
        Ok(other.map_or(Transformed::no(node), Transformed::yes))
    });
    Ok(replaced?.data)
}
