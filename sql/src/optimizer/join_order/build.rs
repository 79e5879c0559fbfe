//! Puts a region together again in a new order.
//!
//! The smaller side of each join becomes its left one, which the engine builds its hash table from. Every predicate is
//! applied once, at the lowest join that has all its relations. A projection gives the region its columns back.

use super::graph::JoinGraph;
use super::region::{Dependent, DependentKind, JoinTree, Region, Role, with_filters};
use super::set::RelationSet;
use datafusion::common::{JoinConstraint, JoinType, NullEquality, Result};
use datafusion::logical_expr::utils::conjunction;
use datafusion::logical_expr::{Expr, Join, LogicalPlan, Projection};
use std::sync::Arc;

/// Returns the region's plan in the given order, with the columns of `original`.
///
/// # Errors
/// When the engine refuses a join, which would be our mistake.
pub(super) fn build(
    region: &Region,
    graph: &JoinGraph,
    tree: &JoinTree,
    original: &LogicalPlan,
) -> Result<LogicalPlan> {
    let plan = subtree(region, graph, tree)?;
    let columns =
        original.schema().iter().zip(&region.output).map(|((qualifier, field), column)| {
            let is_same = column.relation.as_ref() == qualifier && column.name == *field.name();
            let expr = Expr::Column(column.clone());
            if is_same { expr } else { expr.alias_qualified(qualifier.cloned(), field.name()) }
        });
    let columns: Vec<_> = columns.collect();
    if plan.schema().columns() == original.schema().columns() {
        return Ok(Arc::unwrap_or_clone(plan));
    }
    Ok(LogicalPlan::Projection(Projection::try_new(columns, plan)?))
}

fn subtree(region: &Region, graph: &JoinGraph, tree: &JoinTree) -> Result<Arc<LogicalPlan>> {
    match tree {
        JoinTree::Leaf(relation) => {
            let own = region.single.iter().filter(|(owner, _)| owner == relation);
            let own = own.map(|(_, predicate)| predicate.clone());
            let own = own.chain(graph.within(*relation)).collect();
            with_filters(Arc::clone(&region.relations[*relation].plan), own)
        }
        JoinTree::Join(left, right) => {
            let sets = (left.relations(), right.relations());
            let plans = (subtree(region, graph, left)?, subtree(region, graph, right)?);
            match dependent(region, sets.1) {
                Some(dependent) => dependent_join(region, graph, dependent, sets, plans),
                None => inner_join(region, graph, sets, plans),
            }
        }
    }
}

fn dependent(region: &Region, set: RelationSet) -> Option<&Dependent> {
    match &region.relations[set.single()?].role {
        Role::Dependent(dependent) => Some(dependent),
        Role::Inner => None,
    }
}

type Sets = (RelationSet, RelationSet);
type Plans = (Arc<LogicalPlan>, Arc<LogicalPlan>);

fn inner_join(
    region: &Region,
    graph: &JoinGraph,
    sets: Sets,
    plans: Plans,
) -> Result<Arc<LogicalPlan>> {
    let is_larger = graph.n_rows(sets.0) > graph.n_rows(sets.1);
    let ((left, right), (left_plan, right_plan)) =
        if is_larger { ((sets.1, sets.0), (plans.1, plans.0)) } else { (sets, plans) };
    let mut on = vec![];
    for class in &graph.classes {
        if let (Some(l), Some(r)) = (class.member_in(left), class.member_in(right)) {
            on.push((l.expr.clone(), r.expr.clone()));
        }
    }
    let filter = conjunction(due(region, sets));
    joined(left_plan, right_plan, on, filter, JoinType::Inner)
}

/// The predicates that the join of two sets is the first to have all relations for.
fn due(region: &Region, (left, right): Sets) -> Vec<Expr> {
    let both = left.union(right);
    let is_due = |relations: RelationSet| {
        both.contains(relations) && !left.contains(relations) && !right.contains(relations)
    };
    let due = region.residuals.iter().filter(|residual| is_due(residual.relations));
    due.map(|residual| residual.predicate.clone()).collect()
}

fn dependent_join(
    region: &Region,
    graph: &JoinGraph,
    dependent: &Dependent,
    sets: Sets,
    (left, right): Plans,
) -> Result<Arc<LogicalPlan>> {
    let Dependent { kind, on, filter, .. } = dependent;
    let (as_is, swapped) = match kind {
        DependentKind::Left => (JoinType::Left, JoinType::Right),
        DependentKind::Semi => (JoinType::LeftSemi, JoinType::RightSemi),
        DependentKind::Anti => (JoinType::LeftAnti, JoinType::RightAnti),
    };
    let plan = if graph.n_rows(sets.0) <= graph.n_rows(sets.1) {
        joined(left, right, on.clone(), filter.clone(), as_is)?
    } else {
        let on = on.iter().map(|(l, r)| (r.clone(), l.clone())).collect();
        joined(right, left, on, filter.clone(), swapped)?
    };
    with_filters(plan, due(region, sets))
}

fn joined(
    left: Arc<LogicalPlan>,
    right: Arc<LogicalPlan>,
    on: Vec<(Expr, Expr)>,
    filter: Option<Expr>,
    kind: JoinType,
) -> Result<Arc<LogicalPlan>> {
    let nulls = NullEquality::NullEqualsNothing;
    let join = Join::try_new(left, right, on, filter, kind, JoinConstraint::On, nulls, false)?;
    Ok(Arc::new(LogicalPlan::Join(join)))
}
