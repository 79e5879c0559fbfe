//! Lets NULL keys of a probe side through, where few keys are NULL.
//!
//! A logical pass behind the join order, for plans that one process runs. DataFusion's `filter_null_join_keys` asks for
//! `IS NOT NULL` below every join, which makes inner joins of outer ones, and keeps NULLs out of exchanges and of hash tables,
//! where all of them would be one chain. What it leaves above the scan of a probe side copies all rows to drop a few, which
//! would have found nothing in the table anyway.
//!
//! ```text
//! Inner Join: a = b             Inner Join: a = b
//!   Filter: a IS NOT NULL   →     Filter: a IS NOT NULL
//!     build                         build
//!   Filter: b IS NOT NULL         probe
//!     probe
//! ```
//!
//! A filter is dropped only where every row with a NULL there is dropped by a join above, whoever asked for it.

use super::join_order::Gathered;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, DFSchema, JoinType, NullEquality, Result};
use datafusion::logical_expr::utils::{conjunction, split_conjunction_owned};
use datafusion::logical_expr::{Expr, Filter, Join, LogicalPlan};
use std::collections::HashSet;
use std::sync::Arc;

/// The pass's name, as `saltlake.disabled_passes` takes it.
pub(super) const NAME: &str = "null_filters";

/// Share of rows with a NULL key from which the filter is worth its copy.
const MAX_NULL_SHARE: f64 = 0.2;

/// Columns in which a NULL makes a join above drop the row.
type Columns = HashSet<Column>;

/// Drops the filters of a plan that only joins above them ask for.
///
/// # Errors
/// When the engine refuses a node, which would be our mistake.
pub(super) fn rewrite(plan: LogicalPlan, known: &Gathered) -> Result<LogicalPlan> {
    below(plan, &Columns::new(), known)
}

fn below(plan: LogicalPlan, dropped: &Columns, known: &Gathered) -> Result<LogicalPlan> {
    let input = |plan: Arc<LogicalPlan>, dropped: &Columns| {
        below(Arc::unwrap_or_clone(plan), dropped, known).map(Arc::new)
    };
    match plan {
        LogicalPlan::Join(mut join) => {
            let (left, right) = sides(&join, dropped);
            join.left = input(join.left, &left)?;
            join.right = input(join.right, &right)?;
            Ok(LogicalPlan::Join(join))
        }
        LogicalPlan::Filter(mut filter) => {
            filter.input = input(filter.input, dropped)?;
            without_null_filters(filter, dropped, known)
        }
        LogicalPlan::Projection(mut projection) => {
            let columns = projection.expr.iter().zip(projection.schema.columns());
            let columns = columns.filter(|(_, column)| dropped.contains(column));
            let columns = columns.filter_map(|(expr, _)| plain_column(expr).cloned()).collect();
            projection.input = input(projection.input, &columns)?;
            Ok(LogicalPlan::Projection(projection))
        }
        LogicalPlan::SubqueryAlias(mut alias) => {
            let columns = alias.input.schema().columns().into_iter().zip(alias.schema.columns());
            let columns = columns.filter(|(_, column)| dropped.contains(column));
            let columns = columns.map(|(column, _)| column).collect();
            alias.input = input(alias.input, &columns)?;
            Ok(LogicalPlan::SubqueryAlias(alias))
        }
        plan => {
            let nothing = Columns::new();
            let plan =
                plan.map_children(|child| below(child, &nothing, known).map(Transformed::yes))?;
            Ok(plan.data)
        }
    }
}

/// Returns the columns of each side of a join in which a NULL makes this join, or one above, drop the row.
fn sides(join: &Join, dropped: &Columns) -> (Columns, Columns) {
    let of = |schema: &DFSchema| -> Columns {
        dropped.iter().filter(|column| schema.has_column(column)).cloned().collect()
    };
    let (left, right) = (join.left.schema(), join.right.schema());
    let (mut left, mut right) = match join.join_type {
        JoinType::Inner => (of(left), of(right)),
        JoinType::Left | JoinType::LeftSemi | JoinType::LeftAnti => (of(left), Columns::new()),
        JoinType::Right | JoinType::RightSemi | JoinType::RightAnti => (Columns::new(), of(right)),
        JoinType::Full | JoinType::LeftMark | JoinType::RightMark => {
            (Columns::new(), Columns::new())
        }
    };
    // The table of the build side stays without them.
    for key in join.on.iter().filter_map(|(key, _)| plain_column(key)) {
        left.remove(key);
    }
    let needs_match = matches!(
        join.join_type,
        JoinType::Inner
            | JoinType::Left
            | JoinType::LeftSemi
            | JoinType::LeftAnti
            | JoinType::RightSemi
    );
    let is_plain = join.null_equality == NullEquality::NullEqualsNothing && !join.null_aware;
    if needs_match && is_plain {
        right.extend(join.on.iter().filter_map(|(_, key)| plain_column(key)).cloned());
    }
    (left, right)
}

/// Returns a filter over a scan without what a join above asks for, unless that keeps many rows away.
fn without_null_filters(
    filter: Filter,
    dropped: &Columns,
    known: &Gathered,
) -> Result<LogicalPlan> {
    let LogicalPlan::TableScan(scan) = filter.input.as_ref() else {
        return Ok(LogicalPlan::Filter(filter));
    };
    let null_share = |predicate: &Expr| match predicate {
        Expr::IsNotNull(column) => match column.as_ref() {
            Expr::Column(column) if dropped.contains(column) => known.null_share(scan, column),
            _ => None,
        },
        _ => None,
    };
    let predicates = split_conjunction_owned(filter.predicate.clone());
    let (asked, kept): (Vec<_>, Vec<_>) =
        predicates.into_iter().partition(|predicate| null_share(predicate).is_some());
    if asked.is_empty() || asked.iter().filter_map(null_share).sum::<f64>() > MAX_NULL_SHARE {
        return Ok(LogicalPlan::Filter(filter));
    }
    match conjunction(kept) {
        Some(predicate) => Ok(LogicalPlan::Filter(Filter::try_new(predicate, filter.input)?)),
        None => Ok(Arc::unwrap_or_clone(filter.input)),
    }
}

fn plain_column(expr: &Expr) -> Option<&Column> {
    match expr {
        Expr::Column(column) => Some(column),
        Expr::Alias(alias) => plain_column(&alias.expr),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{ArrayRef, Int64Array, RecordBatch};
    use arrow::util::pretty::pretty_format_batches;
    use datafusion::datasource::MemTable;
    use datafusion::execution::SessionState;
    use datafusion::physical_plan::collect;
    use datafusion::prelude::{SessionConfig, SessionContext};

    /// Tables of a hundred rows of which every `n`th has NULL keys.
    fn context(n: i64) -> SessionContext {
        let mut config = SessionConfig::new().with_target_partitions(2);
        config.options_mut().optimizer.filter_null_join_keys = true;
        let context = SessionContext::new_with_config(config);
        for (name, shift) in [("a", 0), ("b", 30), ("c", 60)] {
            let key = |of: i64| -> ArrayRef {
                let values = (0..100).map(|i| (i % n != 0).then_some((i * of + shift) % 90));
                Arc::new(values.collect::<Int64Array>())
            };
            let values: ArrayRef = Arc::new((0..100).collect::<Int64Array>());
            let columns = [("k", key(1)), ("l", key(7)), ("v", values)];
            let batch = RecordBatch::try_from_iter(columns).unwrap();
            let table = MemTable::try_new(batch.schema(), vec![vec![batch]]).unwrap();
            context.register_table(name, Arc::new(table)).unwrap();
        }
        context
    }

    async fn rows(state: &SessionState, plan: &LogicalPlan) -> String {
        let physical = state.query_planner().create_physical_plan(plan, state).await.unwrap();
        let rows = collect(physical, state.task_ctx()).await.unwrap();
        pretty_format_batches(&rows).unwrap().to_string()
    }

    /// Compares the rows of a query with and without the pass; returns how many filters it dropped.
    async fn check(context: &SessionContext, from: &str) -> usize {
        let sql = format!("SELECT count(*), sum(v), sum(w), sum(k * l) FROM ({from}) AS q");
        let (state, plan) = context.sql(&sql).await.unwrap().into_parts();
        let plan = state.optimize(&plan).unwrap();
        let mut known = Gathered::default();
        known.learn(&state, &plan).await.unwrap();
        let spared = rewrite(plan.clone(), &known).unwrap();
        assert_eq!(rows(&state, &spared).await, rows(&state, &plan).await, "{from}\n{spared}");
        let n = |plan: &LogicalPlan| plan.display_indent().to_string().matches("Filter:").count();
        n(&plan) - n(&spared)
    }

    #[tokio::test]
    async fn the_rows_stay_the_same() {
        let context = context(10);
        let mut n_dropped = 0;
        for one in ["JOIN", "LEFT JOIN", "RIGHT JOIN", "FULL JOIN"] {
            for two in ["JOIN", "LEFT JOIN", "RIGHT JOIN", "FULL JOIN"] {
                let from = format!(
                    "SELECT a.v, c.v AS w, b.k, b.l FROM a {one} b ON a.k = b.k {two} c ON b.l = c.l"
                );
                n_dropped += check(&context, &from).await;
            }
        }
        for one in ["IN (SELECT b.k FROM b)", "NOT IN (SELECT b.k FROM b WHERE b.k IS NOT NULL)"] {
            let from = format!(
                "SELECT a.v, a.v AS w, c.k, c.l FROM a JOIN c ON a.l = c.l WHERE a.k {one}"
            );
            n_dropped += check(&context, &from).await;
        }
        let exists = "SELECT a.v, a.v AS w, a.k, a.l FROM a WHERE NOT EXISTS (SELECT 1 FROM b WHERE b.k = a.k)";
        check(&context, exists).await;
        assert!(n_dropped >= 8, "{n_dropped}");
    }

    #[tokio::test]
    async fn filters_that_keep_rows_away_stay() {
        let from = "SELECT a.v, b.v AS w, b.k, b.l FROM a JOIN b ON a.k = b.k";
        assert_eq!(check(&context(10), from).await, 1);
        assert_eq!(check(&context(3), from).await, 0);
        // Nothing above drops the row.
        let asked = "SELECT v, v AS w, k, l FROM b WHERE k IS NOT NULL";
        assert_eq!(check(&context(10), asked).await, 0);
        let kept =
            "SELECT a.v, b.v AS w, b.k, b.l FROM a JOIN b ON a.k = b.k WHERE b.l IS NOT NULL";
        assert_eq!(check(&context(10), kept).await, 0);
    }
}
