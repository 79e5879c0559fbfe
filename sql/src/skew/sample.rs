//! Finds the scan behind the key of a join's input: what a sample must read, and no more.
//!
//! Exchanges, sorts and joins below are left out, filters and computed columns are kept as long as they read the same
//! scan. So a sample sees the rows that the query sees, unless a join in between drops or multiplies them.
//!
//! ```text
//! HashJoinExec
//!   RepartitionExec: Hash(k)        ──>   ProjectionExec: k
//!     FilterExec: x > 3                     FilterExec: x > 3
//!       DataSourceExec: k, x, y               DataSourceExec: k, x
//! ```

use datafusion::catalog::memory::DataSourceExec;
use datafusion::common::{JoinSide, JoinType, Result};
use datafusion::config::ConfigOptions;
use datafusion::execution::TaskContext;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_optimizer::projection_pushdown::ProjectionPushdown;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::aggregates::AggregateExec;
use datafusion::physical_plan::coalesce_partitions::CoalescePartitionsExec;
use datafusion::physical_plan::coop::CooperativeExec;
use datafusion::physical_plan::execution_plan::replace_children_if_necessary;
use datafusion::physical_plan::filter::FilterExec;
use datafusion::physical_plan::joins::HashJoinExec;
use datafusion::physical_plan::joins::utils::{ColumnIndex, build_join_schema};
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::repartition::RepartitionExec;
use datafusion::physical_plan::sorts::sort::SortExec;
use datafusion::physical_plan::sorts::sort_preserving_merge::SortPreservingMergeExec;
use datafusion_proto::bytes::{physical_plan_from_bytes, physical_plan_to_bytes};
use std::sync::Arc;

/// What a key's values come from.
#[derive(Debug, Clone)]
pub enum Source {
    /// A plan over one scan that gives exactly the key's columns.
    Scan {
        /// The plan.
        plan: Arc<dyn ExecutionPlan>,
        /// Whether a join lies between, so that shares are those before it.
        is_through_join: bool,
    },
    /// Rows grouped by these columns: each key comes once.
    Unique,
    /// Something else.
    Unknown,
}

/// Finds where the columns `keys` of `plan` come from.
///
/// # Errors
/// When the found plan cannot be rebuilt with the key's columns only.
pub fn source(
    plan: &Arc<dyn ExecutionPlan>,
    keys: &[usize],
    options: &ConfigOptions,
) -> Result<Source> {
    let mut node = Arc::clone(plan);
    let mut keys = keys.to_vec();
    let mut is_through_join = false;
    loop {
        if let Some(chain) = chain(&node)? {
            let plan = only(chain, &keys)?;
            let plan = ProjectionPushdown::new().optimize(plan, options)?;
            return Ok(Source::Scan { plan, is_through_join });
        }
        let below = if passes_rows(&node) {
            node.children().first().map(|child| (Arc::clone(child), keys.clone()))
        } else if let Some(projection) = node.downcast_ref::<ProjectionExec>() {
            let exprs = projection.expr();
            let below: Option<Vec<_>> =
                keys.iter().map(|key| column(&exprs.get(*key)?.expr)).collect();
            below.map(|keys| (Arc::clone(projection.input()), keys))
        } else if let Some(filter) = node.downcast_ref::<FilterExec>() {
            let own = |key: &usize| match filter.projection() {
                Some(projection) => projection.get(*key).copied(),
                None => Some(*key),
            };
            let below: Option<Vec<_>> = keys.iter().map(own).collect();
            below.map(|keys| (Arc::clone(filter.input()), keys))
        } else if let Some(join) = node.downcast_ref::<HashJoinExec>() {
            is_through_join = true;
            below_join(join, &keys)
        } else if let Some(groups) = node.downcast_ref::<AggregateExec>() {
            let n_groups = groups.group_expr().expr().len();
            let has_all = (0..n_groups).all(|group| keys.contains(&group));
            return Ok(if has_all && n_groups > 0 { Source::Unique } else { Source::Unknown });
        } else {
            None
        };
        let Some((next, columns)) = below else { return Ok(Source::Unknown) };
        (node, keys) = (next, columns);
    }
}

/// Returns a copy that shares nothing with the plan it is of, neither metrics nor the filters that a running join fills;
/// the plan itself where it has no wire form.
pub fn isolated(plan: Arc<dyn ExecutionPlan>, context: &TaskContext) -> Arc<dyn ExecutionPlan> {
    physical_plan_to_bytes(Arc::clone(&plan))
        .and_then(|bytes| physical_plan_from_bytes(&bytes, context))
        .unwrap_or(plan)
}

/// Whether a node gives the rows of its input unchanged.
fn passes_rows(node: &Arc<dyn ExecutionPlan>) -> bool {
    let has_limit = node.fetch().is_some();
    !has_limit
        && (node.is::<RepartitionExec>()
            || node.is::<CoalescePartitionsExec>()
            || node.is::<CooperativeExec>()
            || node.is::<SortExec>()
            || node.is::<SortPreservingMergeExec>())
}

/// Rebuilds a plan of filters and projections over one scan without what is between; `None` for other plans.
fn chain(node: &Arc<dyn ExecutionPlan>) -> Result<Option<Arc<dyn ExecutionPlan>>> {
    if node.is::<DataSourceExec>() {
        return Ok(Some(Arc::clone(node)));
    }
    let keeps = (node.is::<FilterExec>() && node.fetch().is_none()) || node.is::<ProjectionExec>();
    let [child] = node.children()[..] else { return Ok(None) };
    if !keeps && !passes_rows(node) {
        return Ok(None);
    }
    let Some(below) = chain(child)? else { return Ok(None) };
    match keeps {
        true => replace_children_if_necessary(Arc::clone(node), vec![below]).map(Some),
        false => Ok(Some(below)),
    }
}

fn only(plan: Arc<dyn ExecutionPlan>, keys: &[usize]) -> Result<Arc<dyn ExecutionPlan>> {
    let schema = plan.schema();
    let columns = keys.iter().map(|key| {
        let name = schema.field(*key).name();
        (Arc::new(Column::new(name, *key)) as Arc<dyn PhysicalExpr>, name.clone())
    });
    Ok(Arc::new(ProjectionExec::try_new(columns.collect::<Vec<_>>(), plan)?))
}

fn column(expr: &Arc<dyn PhysicalExpr>) -> Option<usize> {
    expr.downcast_ref::<Column>().map(Column::index)
}

/// Follows columns of a join's output to the one input they all come from.
fn below_join(join: &HashJoinExec, keys: &[usize]) -> Option<(Arc<dyn ExecutionPlan>, Vec<usize>)> {
    if matches!(join.join_type(), JoinType::LeftMark | JoinType::RightMark) {
        return None;
    }
    let (left, right) = (join.left(), join.right());
    let (_, indices) = build_join_schema(&left.schema(), &right.schema(), join.join_type());
    let origin = |key: &usize| -> Option<ColumnIndex> {
        let key = match join.projection.as_ref() {
            Some(projection) => *projection.get(*key)?,
            None => *key,
        };
        indices.get(key).cloned()
    };
    let origins: Option<Vec<_>> = keys.iter().map(origin).collect();
    let origins = origins?;
    let side = origins.first()?.side;
    let input = match side {
        JoinSide::Left => left,
        JoinSide::Right => right,
        JoinSide::None => return None,
    };
    let is_one_side = origins.iter().all(|origin| origin.side == side);
    is_one_side.then(|| (Arc::clone(input), origins.iter().map(|origin| origin.index).collect()))
}
