//! Chooses the sides of joins that are not reordered: the smaller input becomes the left one, the hash table.

use super::estimate::estimate;
use super::facts::Facts;
use super::gather::Gathered;
use datafusion::common::tree_node::Transformed;
use datafusion::common::{JoinType, Result};
use datafusion::logical_expr::{Expr, Join, LogicalPlan, Projection};
use std::collections::HashSet;
use std::sync::Arc;

/// What a row weighs without its columns, in columns.
const ROW_WEIGHT: f64 = 4.0;

/// Returns the join with its smaller input on the left, and the columns it had.
///
/// # Errors
/// When the engine refuses the join, which would be our mistake.
pub(super) fn choose(join: Join, known: &Gathered) -> Result<Transformed<LogicalPlan>> {
    let (left, right) = (estimate(&join.left, known), estimate(&join.right, known));
    if join.null_aware || weight(&left) <= weight(&right) || has_equal_names(&join) {
        return Ok(Transformed::no(LogicalPlan::Join(join)));
    }
    let columns = join.schema.columns();
    let kind = swapped(join.join_type);
    let on = join.on.into_iter().map(|(l, r)| (r, l)).collect();
    let swapped = Join::try_new(
        join.right,
        join.left,
        on,
        join.filter,
        kind,
        join.join_constraint,
        join.null_equality,
        false,
    )?;
    let is_same = swapped.schema.columns() == columns;
    let plan = LogicalPlan::Join(swapped);
    if is_same {
        return Ok(Transformed::yes(plan));
    }
    let columns = columns.into_iter().map(Expr::Column).collect();
    Ok(Transformed::yes(LogicalPlan::Projection(Projection::try_new(columns, Arc::new(plan))?)))
}

/// Whether both sides have columns of one name: the projection behind a swapped join would be pushed through by name,
/// to the wrong one.
fn has_equal_names(join: &Join) -> bool {
    let names: HashSet<_> = join.schema.fields().iter().map(|field| field.name()).collect();
    names.len() < join.schema.fields().len()
}

fn weight(facts: &Facts) -> f64 {
    facts.n_rows * (ROW_WEIGHT + facts.columns.len() as f64)
}

fn swapped(kind: JoinType) -> JoinType {
    match kind {
        JoinType::Inner => JoinType::Inner,
        JoinType::Full => JoinType::Full,
        JoinType::Left => JoinType::Right,
        JoinType::Right => JoinType::Left,
        JoinType::LeftSemi => JoinType::RightSemi,
        JoinType::RightSemi => JoinType::LeftSemi,
        JoinType::LeftAnti => JoinType::RightAnti,
        JoinType::RightAnti => JoinType::LeftAnti,
        JoinType::LeftMark => JoinType::RightMark,
        JoinType::RightMark => JoinType::LeftMark,
    }
}
