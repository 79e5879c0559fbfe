//! What keeps a query on the coordinator whatever its size: tasks would answer it wrongly, or not at all.
//!
//! Called by `Session` with the logical plan before it was optimized and the physical plan before it is cut. Each reason
//! is shown by EXPLAIN.

use crate::placement::{contains, file_scan};
use arrow::datatypes::DataType;
use datafusion::common::Result;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::datasource::physical_plan::CsvSource;
use datafusion::logical_expr::{Expr, LogicalPlan};
use datafusion::physical_plan::ExecutionPlan;
use std::sync::Arc;

/// Returns why a plan must not be cut into stages, if it must not.
///
/// # Errors
/// When the plan cannot be walked.
pub fn obstacle(
    logical: &LogicalPlan,
    physical: &Arc<dyn ExecutionPlan>,
) -> Result<Option<&'static str>> {
    // Its recursive term runs many times over the same input; the partitions of an exchange can be read once.
    if contains(physical, "RecursiveQueryExec") {
        return Ok(Some("recursive query"));
    }
    if physical.exists(|node| Ok(loses_its_format(node)))? {
        return Ok(Some("text files in a form that is lost when a scan is sent"));
    }
    let mut found = None;
    logical.apply_with_subqueries(|node| {
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

/// Whether a worker would read the files of a scan in another way: neither the compression of text, nor the character
/// that ends its lines, nor that a JSON file is one array is sent along.
fn loses_its_format(leaf: &Arc<dyn ExecutionPlan>) -> bool {
    let Some(scan) = file_scan(leaf) else { return false };
    let csv = scan.file_source().downcast_ref::<CsvSource>();
    scan.file_compression_type.is_compressed()
        || csv.is_some_and(|csv| csv.terminator().is_some())
        || scan.file_source().file_type() == "json array"
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
