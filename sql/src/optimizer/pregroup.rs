//! Groups by the finest set before it rolls up.
//!
//! A logical pass behind DataFusion's. The engine feeds every row to every set of ROLLUP, CUBE and GROUPING SETS. Rows of
//! one finest group are in the same group of every set, so they are put together first, once.
//!
//! ```text
//! Aggregate: ROLLUP (a, b), avg(x)       Projection: a, b, __grouping_id, s / c AS avg(x)
//!   rows                           →       Aggregate: ROLLUP (a, b), sum(s) AS s, sum(c) AS c
//!                                            Aggregate: a, b, sum(x) AS s, count(x) AS c
//!                                              rows
//! ```
//!
//! Only for COUNT, SUM, MIN, MAX and AVG without DISTINCT and order, which can be put together from parts, and from
//! three sets on: where nearly every row is a group of its own, the first step costs about as much as one set.

use super::aggregate_parts::{Parts, split};
use super::nodes::replace_aggregates;
use datafusion::common::Result;
use datafusion::logical_expr::{Aggregate, Expr, GroupingSet, LogicalPlan, Projection};
use std::sync::Arc;

/// The pass's name, as `saltlake.disabled_passes` takes it.
pub(super) const NAME: &str = "pregroup";

/// Sets from which a step before them pays.
const MIN_SETS: usize = 3;

/// Rewrites every aggregation of a plan that can be done in two steps.
///
/// # Errors
/// When the engine refuses a node, which would be our mistake.
pub(super) fn rewrite(plan: LogicalPlan) -> Result<LogicalPlan> {
    replace_aggregates(plan, in_two_steps)
}

/// Returns the aggregation in two steps; `None` where it cannot be split, or where that would not pay.
fn in_two_steps(aggregate: &Aggregate) -> Result<Option<LogicalPlan>> {
    let [Expr::GroupingSet(sets)] = aggregate.group_expr.as_slice() else { return Ok(None) };
    let groups: Vec<Expr> = sets.distinct_expr().into_iter().cloned().collect();
    if n_sets(sets) < MIN_SETS || groups.iter().any(Expr::is_volatile) {
        return Ok(None);
    }
    let mut parts = Parts::default();
    let mut results = vec![];
    for expr in &aggregate.aggr_expr {
        let result = split(expr, aggregate.input.schema(), &mut parts)?;
        let Some(result) = result else { return Ok(None) };
        results.push(result);
    }
    let n_groups = groups.len();
    let first = Aggregate::try_new(Arc::clone(&aggregate.input), groups.clone(), parts.first())?;
    let columns: Vec<_> = first.schema.columns().into_iter().map(Expr::Column).collect();
    let (group_columns, part_columns) = columns.split_at(n_groups);
    let sets = over_columns(sets, &groups, group_columns);
    let first = Arc::new(LogicalPlan::Aggregate(first));
    let seconds = parts.second(part_columns, None);
    let second = Aggregate::try_new(first, vec![Expr::GroupingSet(sets)], seconds)?;
    let columns: Vec<_> = second.schema.columns().into_iter().map(Expr::Column).collect();
    // The groups and the number of the set keep their places.
    let (kept, sums) = columns.split_at(n_groups + 1);
    let fields = aggregate.schema.iter().skip(n_groups + 1);
    let mut exprs = kept.to_vec();
    for (result, (qualifier, field)) in results.into_iter().zip(fields) {
        let value = result.value(sums, field.data_type(), &second)?;
        exprs.push(value.alias_qualified(qualifier.cloned(), field.name()));
    }
    let input = Arc::new(LogicalPlan::Aggregate(second));
    let projection = Projection::try_new(exprs, input)?;
    let is_same = projection.schema.has_equivalent_names_and_types(&aggregate.schema).is_ok();
    Ok(is_same.then_some(LogicalPlan::Projection(projection)))
}

fn n_sets(sets: &GroupingSet) -> usize {
    match sets {
        GroupingSet::Rollup(exprs) => exprs.len() + 1,
        GroupingSet::Cube(exprs) => 1 << exprs.len().min(16),
        GroupingSet::GroupingSets(sets) => sets.len(),
    }
}

/// The same sets over the columns of the first step.
fn over_columns(sets: &GroupingSet, groups: &[Expr], columns: &[Expr]) -> GroupingSet {
    let column = |expr: &Expr| {
        let position = groups.iter().position(|group| group == expr);
        position.and_then(|position| columns.get(position)).unwrap_or(expr).clone()
    };
    let all = |exprs: &Vec<Expr>| exprs.iter().map(column).collect::<Vec<_>>();
    match sets {
        GroupingSet::Rollup(exprs) => GroupingSet::Rollup(all(exprs)),
        GroupingSet::Cube(exprs) => GroupingSet::Cube(all(exprs)),
        GroupingSet::GroupingSets(sets) => {
            GroupingSet::GroupingSets(sets.iter().map(all).collect())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{
        ArrayRef, Decimal128Array, Float64Array, Int64Array, RecordBatch, StringArray,
    };
    use arrow::util::pretty::pretty_format_batches;
    use datafusion::datasource::MemTable;
    use datafusion::physical_plan::collect;
    use datafusion::prelude::SessionContext;

    /// Two hundred rows of four small groups with NULLs in every column.
    fn context() -> SessionContext {
        let rows = 0..200_i64;
        let null_at = |n: i64| move |row: &i64| (row % n != 0).then_some(*row);
        let text = |n: i64| {
            let of = move |row: i64| (row % 11 != 0).then(|| format!("g{}", row * 7 % n));
            Arc::new(rows.clone().map(of).collect::<StringArray>()) as ArrayRef
        };
        let whole: Int64Array = rows.clone().map(|row| null_at(5)(&row)).collect();
        let float: Float64Array =
            rows.clone().map(|row| null_at(7)(&row).map(|row| row as f64 / 4.0)).collect();
        let decimal: Decimal128Array = rows
            .clone()
            .map(|row| null_at(3)(&row).map(|row| i128::from(row) * 17 - 900))
            .collect();
        let decimal = decimal.with_precision_and_scale(7, 2).unwrap();
        let batch = RecordBatch::try_from_iter([
            ("a", text(3)),
            ("b", text(4)),
            ("i", Arc::new(whole) as ArrayRef),
            ("f", Arc::new(float) as ArrayRef),
            ("d", Arc::new(decimal) as ArrayRef),
        ])
        .unwrap();
        let context = SessionContext::new();
        let table = MemTable::try_new(batch.schema(), vec![vec![batch]]).unwrap();
        context.register_table("t", Arc::new(table)).unwrap();
        context
    }

    /// The rows of a query in two steps, after they were found to be those of the engine.
    async fn check(sql: &str, is_rewritten: bool) -> String {
        let context = context();
        let frame = context.sql(sql).await.unwrap();
        let (state, plan) = frame.into_parts();
        let plan = state.optimize(&plan).unwrap();
        let steps = rewrite(plan.clone()).unwrap();
        assert_eq!(steps != plan, is_rewritten, "{sql}\n{}", steps.display_indent());
        let mut texts = vec![];
        for plan in [plan, steps] {
            let physical = state.query_planner().create_physical_plan(&plan, &state).await.unwrap();
            let rows = collect(physical, state.task_ctx()).await.unwrap();
            texts.push(pretty_format_batches(&rows).unwrap().to_string());
        }
        assert_eq!(texts[1], texts[0], "{sql}");
        texts.remove(1)
    }

    const ALL: &str = "count(*) AS n, count(i) AS ni, sum(i) AS si, min(f), max(b), avg(i) AS ai, avg(f) AS af, \
                       avg(d) AS ad, sum(d) AS sd, sum(i) FILTER (WHERE i % 2 = 0) AS even";

    #[tokio::test]
    async fn two_steps_give_the_rows_of_one() {
        for groups in ["ROLLUP (a, b)", "CUBE (a, b)", "GROUPING SETS ((a), (b), (a, b), (), (a))"]
        {
            let sql = format!(
                "SELECT a, b, grouping(a) AS g, {ALL} FROM t GROUP BY {groups} ORDER BY a, b, g, n, si"
            );
            let rows = check(&sql, true).await;
            assert!(rows.lines().count() > 20, "{rows}");
        }
        let sql =
            "SELECT i % 3 AS m, b, count(*) FROM t GROUP BY ROLLUP (i % 3, b) ORDER BY 1, 2, 3";
        check(sql, true).await;
        let sql = "SELECT a, count(i) AS n FROM t WHERE i < 0 GROUP BY CUBE (a, b) ORDER BY 1";
        check(sql, true).await;
    }

    #[tokio::test]
    async fn what_has_no_parts_stays_as_it_is() {
        for (aggregate, groups) in [
            ("count(DISTINCT i)", "ROLLUP (a, b)"),
            ("median(i)", "ROLLUP (a, b)"),
            ("string_agg(b, ',' ORDER BY i)", "CUBE (a, b)"),
            ("sum(i)", "ROLLUP (a)"),
            ("sum(i)", "a, b"),
        ] {
            check(
                &format!("SELECT a, {aggregate} AS x FROM t GROUP BY {groups} ORDER BY a, x"),
                false,
            )
            .await;
        }
    }
}
