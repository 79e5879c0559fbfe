//! What keeps a query on the coordinator whatever its size: tasks would answer it wrongly, or not at all.
//!
//! Called by `Session` with the logical plan before it is optimized; [`crate::placement::obstacle`] looks at the physical
//! one. Each reason is shown by EXPLAIN.

use arrow::datatypes::DataType;
use datafusion::common::Result;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::logical_expr::{Expr, LogicalPlan};

/// Returns why a plan must stay whole, if it must.
///
/// # Errors
/// When the plan cannot be walked.
pub fn obstacle(plan: &LogicalPlan) -> Result<Option<&'static str>> {
    let mut found = None;
    plan.apply_with_subqueries(|node| {
        // Values of this type change it when a plan is sent.
        let has_half = |plan: &LogicalPlan| {
            plan.schema().fields().iter().any(|field| *field.data_type() == DataType::Float16)
        };
        if has_half(node) {
            found = Some("a column of type float16");
        }
        node.apply_expressions(|expr| {
            expr.apply(|expr| {
                found = found.or_else(|| of_expression(expr));
                Ok(TreeNodeRecursion::Continue)
            })
        })?;
        Ok(if found.is_some() { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    })?;
    Ok(found)
}

fn of_expression(expr: &Expr) -> Option<&'static str> {
    match expr {
        // On workers it becomes a join, which would take every row where one is an error.
        Expr::ScalarSubquery(query)
            if query.outer_ref_columns.is_empty()
                && query.subquery.max_rows().is_none_or(|rows| rows > 1) =>
        {
            Some("a scalar subquery that may give several rows")
        }
        // The column it stands for is lost when a scan is sent.
        Expr::ScalarFunction(call) if call.name() == "file_row_index" => Some("file_row_index()"),
        _ => None,
    }
}
