//! Sorts under windows that name every PARTITION BY column.
//!
//! Runs before a plan is cut into stages. A filter that fixes a column lets the planner leave it out of the sort: the
//! column is the same in every row. The wire form of a plan does not carry that fact over an exchange, so the worker
//! would find a window whose partitions are not sorted, and refuse it. Where all columns are fixed there is no sort at all,
//! and one is added.
//!
//! ```text
//! WindowAggExec: PARTITION BY a, b         WindowAggExec: PARTITION BY a, b
//!   SortExec: [a]                  ──>       SortExec: [a, b]
//!     RepartitionExec (b = 'F')                RepartitionExec (b = 'F')
//! ```

use datafusion::common::Result;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::{LexOrdering, PhysicalExpr, PhysicalSortExpr};
use datafusion::physical_plan::execution_plan::replace_children_if_necessary;
use datafusion::physical_plan::sorts::sort::SortExec;
use datafusion::physical_plan::windows::{BoundedWindowAggExec, WindowAggExec};
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties, WindowExpr};
use std::sync::Arc;

/// Adds the missing PARTITION BY columns of each window to the sort it relies on.
///
/// # Errors
/// When a changed node cannot be rebuilt.
pub(crate) fn name_partition_columns(
    plan: Arc<dyn ExecutionPlan>,
) -> Result<Arc<dyn ExecutionPlan>> {
    let named = plan.transform_up(|node| {
        let Some(window) = first_window(&node) else { return Ok(Transformed::no(node)) };
        let columns = columns(window);
        match columns.is_empty() {
            true => Ok(Transformed::no(node)),
            false => match sorted(&node, window, &columns) {
                Some(input) => {
                    replace_children_if_necessary(node, vec![input]).map(Transformed::yes)
                }
                None => below_window(node, &columns),
            },
        }
    })?;
    Ok(named.data)
}

/// The first window of a window node. Windows of one node share PARTITION BY and ORDER BY.
fn first_window(node: &Arc<dyn ExecutionPlan>) -> Option<&Arc<dyn WindowExpr>> {
    let windows =
        match (node.downcast_ref::<WindowAggExec>(), node.downcast_ref::<BoundedWindowAggExec>()) {
            (Some(window), _) => window.window_expr(),
            (_, Some(window)) => window.window_expr(),
            (None, None) => return None,
        };
    windows.first()
}

/// The PARTITION BY columns of a window.
fn columns(window: &Arc<dyn WindowExpr>) -> Vec<Column> {
    let exprs = window.partition_by().iter();
    exprs.filter_map(|expr| expr.downcast_ref::<Column>().cloned()).collect()
}

/// Returns the input of a window node, sorted, when it is in order only because its PARTITION BY columns are fixed.
fn sorted(
    node: &Arc<dyn ExecutionPlan>,
    window: &Arc<dyn WindowExpr>,
    columns: &[Column],
) -> Option<Arc<dyn ExecutionPlan>> {
    let [input] = node.children()[..] else { return None };
    let is_constant = |expr: &Arc<dyn PhysicalExpr>| {
        input.equivalence_properties().is_expr_constant(expr).is_some()
    };
    let is_sorted = input.is::<SortExec>() || first_window(input).is_some();
    if is_sorted
        || columns.len() < window.partition_by().len()
        || !window.partition_by().iter().all(is_constant)
    {
        return None;
    }
    let exprs = columns.iter().cloned();
    let exprs = exprs.map(|column| PhysicalSortExpr::new_default(Arc::new(column)));
    let ordering = LexOrdering::new(exprs.chain(window.order_by().iter().cloned()))?;
    Some(Arc::new(SortExec::new(ordering, Arc::clone(input)).with_preserve_partitioning(true)))
}

/// Changes the sort below a window, through further windows, which keep the order and the places of columns.
fn below_window(
    node: Arc<dyn ExecutionPlan>,
    columns: &[Column],
) -> Result<Transformed<Arc<dyn ExecutionPlan>>> {
    let [input] = node.children()[..] else { return Ok(Transformed::no(node)) };
    let input = Arc::clone(input);
    let changed = if let Some(sort) = input.downcast_ref::<SortExec>() {
        let sorted = with_columns(sort, columns);
        Transformed::new_transformed(
            Arc::clone(sorted.as_ref().unwrap_or(&input)),
            sorted.is_some(),
        )
    } else if input.is::<WindowAggExec>() || input.is::<BoundedWindowAggExec>() {
        below_window(input, columns)?
    } else {
        Transformed::no(input)
    };
    match changed.transformed {
        true => replace_children_if_necessary(node, vec![changed.data]).map(Transformed::yes),
        false => Ok(Transformed::no(node)),
    }
}

/// Returns the sort with the missing columns behind its leading PARTITION BY columns; `None` when none is missing.
fn with_columns(sort: &SortExec, columns: &[Column]) -> Option<Arc<dyn ExecutionPlan>> {
    let is_partition = |expr: &Arc<dyn PhysicalExpr>| {
        expr.downcast_ref::<Column>().is_some_and(|column| columns.contains(column))
    };
    let mut exprs: Vec<PhysicalSortExpr> = sort.expr().iter().cloned().collect();
    let n_columns = sort.input().schema().fields().len();
    let missing: Vec<_> = columns
        .iter()
        .filter(|column| column.index() < n_columns)
        .filter(|column| !exprs.iter().any(|e| e.expr.downcast_ref::<Column>() == Some(*column)))
        .map(|column| PhysicalSortExpr::new_default(Arc::new(column.clone())))
        .collect();
    if missing.is_empty() {
        return None;
    }
    let n_leading = exprs.iter().take_while(|e| is_partition(&e.expr)).count();
    exprs.splice(n_leading..n_leading, missing);
    let sorted = SortExec::new(LexOrdering::new(exprs)?, Arc::clone(sort.input()))
        .with_fetch(sort.fetch())
        .with_preserve_partitioning(sort.preserve_partitioning());
    Some(Arc::new(sorted))
}
