//! NOT IN becomes joins that every task can do a part of.
//!
//! A logical rule right behind DataFusion's `decorrelate_predicate_subquery`, which plans NOT IN as a null-aware anti join.
//! That one reads both sides in a single partition, and cannot be planned at all when the query is correlated by equality.
//! What NULLs mean is said apart from the join here:
//!
//! ```text
//! LeftAnti: x = y, null-aware            LeftAnti: x = y
//!   l                            →         Filter: (S) <= CASE WHEN x IS NULL THEN 0 ELSE 1 END
//!   r                                        l
//!                                          r
//!            S, one row: 0 where r is empty, 2 where it has a NULL, else 1
//! ```
//!
//! Without rows everything is kept, with a NULL nothing, and else what is not NULL and has no match. In a correlated
//! query each row of `l` has an `r` of its own, C; then NULLs are anti joins too:
//!
//! ```text
//! LeftAnti: x = y AND C, null-aware      LeftAnti: x IS NULL AND C
//!   l                            →         LeftAnti: C
//!   r                                        LeftAnti: x = y AND C
//!                                              l
//!                                              r
//!                                            Filter: y IS NULL
//!                                              r
//!                                          r
//! ```
//!
//! The joins for NULLs are left out where a side has none. `r` is read more than once, so it has to be small as a plan
//! and give the same rows again: no LIMIT, no window, no aggregate that depends on order, nothing volatile.

use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{JoinType, Result, internal_err};
use datafusion::functions_aggregate::count::count;
use datafusion::logical_expr::utils::{COUNT_STAR_EXPANSION, conjunction, split_conjunction_owned};
use datafusion::logical_expr::{
    BinaryExpr, Distinct, Expr, ExprSchemable, Join, LogicalPlan, LogicalPlanBuilder, Operator,
    lit, scalar_subquery, when,
};
use datafusion::optimizer::optimizer::ApplyOrder;
use datafusion::optimizer::{OptimizerConfig, OptimizerRule};
use std::iter::once;
use std::sync::Arc;

/// Nodes of a subquery that may be planned more than once: NOT IN below NOT IN doubles them at every level.
const MAX_NODES: usize = 64;

/// Aggregates that give the same result over the same rows in any order.
const REPEATABLE: [&str; 7] = ["count", "sum", "avg", "min", "max", "bool_and", "bool_or"];

/// The rule.
#[derive(Debug)]
pub(super) struct NotIn;

impl OptimizerRule for NotIn {
    fn name(&self) -> &str {
        "parallel_not_in"
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        Some(ApplyOrder::BottomUp)
    }

    fn supports_rewrite(&self) -> bool {
        true
    }

    fn rewrite(
        &self,
        plan: LogicalPlan,
        _: &dyn OptimizerConfig,
    ) -> Result<Transformed<LogicalPlan>> {
        let joins = match &plan {
            LogicalPlan::Join(join) if join.null_aware => {
                NullAware::of(join)?.map(NullAware::plan).transpose()?
            }
            _ => None,
        };
        Ok(joins.map_or(Transformed::no(plan), Transformed::yes))
    }
}

/// A null-aware anti join that can be said without.
struct NullAware<'a> {
    left: &'a LogicalPlan,
    right: &'a LogicalPlan,
    x: Expr,
    y: Expr,
    /// What makes the right side one for each row of the left.
    correlated: Vec<Expr>,
}

impl<'a> NullAware<'a> {
    /// Takes a join apart as the rule in front of this one made it; `None` when it has to stay.
    fn of(join: &'a Join) -> Result<Option<Self>> {
        let Join { left, right, filter: Some(filter), join_type: JoinType::LeftAnti, on, .. } =
            join
        else {
            return Ok(None);
        };
        // The comparison of NOT IN is the first condition.
        let mut conditions = split_conjunction_owned(filter.clone()).into_iter();
        let Some(Expr::BinaryExpr(BinaryExpr { left: x, op: Operator::Eq, right: y })) =
            conditions.next()
        else {
            return Ok(None);
        };
        let parts = Self { left, right, x: *x, y: *y, correlated: conditions.collect() };
        let Expr::Column(column) = &parts.y else { return Ok(None) };
        let is_known = on.is_empty()
            && right.schema().has_column(column)
            && !parts.x.get_type(left.schema())?.is_nested()
            && !once(&parts.x)
                .chain(&parts.correlated)
                .any(|expr| expr.is_volatile() || has_subquery(expr))
            && is_repeatable(right)?;
        Ok(is_known.then_some(parts))
    }

    fn plan(self) -> Result<LogicalPlan> {
        let has_nulls =
            self.x.nullable(self.left.schema())? || self.y.nullable(self.right.schema())?;
        match has_nulls && self.correlated.is_empty() {
            true => self.filtered(),
            false => self.joined(),
        }
    }

    /// The plan of a subquery that is the same for all rows.
    fn filtered(self) -> Result<LogicalPlan> {
        let nulls = scalar_subquery(Arc::new(self.rows_and_nulls()?));
        let limit = when(self.x.clone().is_null(), lit(0_i64)).otherwise(lit(1_i64))?;
        LogicalPlanBuilder::from(self.left.clone())
            .filter(nulls.lt_eq(limit))?
            .join_on(self.right.clone(), JoinType::LeftAnti, [self.x.eq(self.y)])?
            .build()
    }

    /// One row: 0 for a subquery without rows, 2 for one with a NULL, else 1.
    fn rows_and_nulls(&self) -> Result<LogicalPlan> {
        let counts = [
            count(lit(COUNT_STAR_EXPANSION)).alias("__rows"),
            count(self.y.clone()).alias("__values"),
        ];
        let counted = LogicalPlanBuilder::from(self.right.clone())
            .aggregate(Vec::<Expr>::new(), counts)?
            .build()?;
        let columns: Vec<_> = counted.schema().columns().into_iter().map(Expr::Column).collect();
        let [rows, values] = columns.as_slice() else {
            return internal_err!("two counts are {} columns", columns.len());
        };
        let state = when(rows.clone().eq(lit(0_i64)), lit(0_i64))
            .when(rows.clone().gt(values.clone()), lit(2_i64))
            .otherwise(lit(1_i64))?;
        LogicalPlanBuilder::from(counted).project([state.alias("__nulls")])?.build()
    }

    /// The plan of a subquery that is another one for each row, or of sides without NULLs.
    fn joined(self) -> Result<LogicalPlan> {
        let Self { left, right, x, y, correlated } = self;
        let x_has_nulls = x.nullable(left.schema())?;
        let y_has_nulls = y.nullable(right.schema())?;
        let and_correlated = |first: Option<Expr>| {
            let conditions = first.into_iter().chain(correlated.iter().cloned());
            conjunction(conditions).unwrap_or_else(|| lit(true))
        };
        let is_equal = and_correlated(Some(x.clone().eq(y.clone())));
        let mut plan = LogicalPlanBuilder::from(left.clone()).join_on(
            right.clone(),
            JoinType::LeftAnti,
            [is_equal],
        )?;
        if y_has_nulls {
            let nulls = LogicalPlanBuilder::from(right.clone()).filter(y.is_null())?.build()?;
            plan = plan.join_on(nulls, JoinType::LeftAnti, [and_correlated(None)])?;
        }
        if x_has_nulls {
            let is_null = and_correlated(Some(x.is_null()));
            plan = plan.join_on(right.clone(), JoinType::LeftAnti, [is_null])?;
        }
        plan.build()
    }
}

/// Returns whether a subquery may be run more than once and gives the same rows every time.
fn is_repeatable(plan: &LogicalPlan) -> Result<bool> {
    let mut n_nodes = 0;
    let mut is_other = false;
    plan.apply_with_subqueries(|node| {
        n_nodes += 1;
        is_other = is_other || n_nodes > MAX_NODES || depends_on_order(node);
        node.apply_expressions(|expr| {
            is_other = is_other || is_unrepeatable(expr);
            Ok(TreeNodeRecursion::Continue)
        })?;
        Ok(if is_other { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    })?;
    Ok(!is_other)
}

/// Returns whether a node may give other rows when those below come in another order, or is not known.
fn depends_on_order(node: &LogicalPlan) -> bool {
    match node {
        LogicalPlan::Limit(_)
        | LogicalPlan::Window(_)
        | LogicalPlan::Distinct(Distinct::On(_))
        | LogicalPlan::RecursiveQuery(_)
        | LogicalPlan::Extension(_) => true,
        LogicalPlan::Sort(sort) => sort.fetch.is_some(),
        LogicalPlan::TableScan(scan) => scan.fetch.is_some(),
        _ => false,
    }
}

/// Returns whether an expression is volatile, or an aggregate that depends on the order of its rows.
fn is_unrepeatable(expr: &Expr) -> bool {
    let is_other = |expr: &Expr| match expr {
        Expr::AggregateFunction(call) => !REPEATABLE.contains(&call.func.name()),
        _ => false,
    };
    expr.is_volatile() || has(expr, is_other)
}

fn has_subquery(expr: &Expr) -> bool {
    has(expr, |expr| {
        matches!(expr, Expr::ScalarSubquery(_) | Expr::InSubquery(_) | Expr::Exists(_))
    })
}

fn has(expr: &Expr, is_such: impl Fn(&Expr) -> bool) -> bool {
    // The closure never fails. An expression that cannot be walked is left where it is.
    expr.exists(|expr| Ok(is_such(expr))).unwrap_or(true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{ArrayRef, Int64Array, RecordBatch};
    use arrow::util::pretty::pretty_format_batches;
    use datafusion::datasource::MemTable;
    use datafusion::execution::SessionStateBuilder;
    use datafusion::prelude::{SessionConfig, SessionContext};

    fn table(context: &SessionContext, name: &str, k: &[Option<i64>], v: &[Option<i64>]) {
        let column =
            |values: &[Option<i64>]| Arc::new(Int64Array::from(values.to_vec())) as ArrayRef;
        let batch = RecordBatch::try_from_iter_with_nullable([
            ("k", column(k), true),
            ("v", column(v), true),
        ])
        .unwrap();
        let table = MemTable::try_new(batch.schema(), vec![vec![batch]]).unwrap();
        context.register_table(name, Arc::new(table)).unwrap();
    }

    fn context() -> SessionContext {
        let config = SessionConfig::new().with_target_partitions(4);
        let state = SessionStateBuilder::new_with_default_features().with_config(config);
        let rules = super::super::logical_rules();
        let context = SessionContext::new_with_state(state.with_optimizer_rules(rules).build());
        table(
            &context,
            "l",
            &[Some(1), Some(1), Some(2), Some(3), None, Some(4)],
            &[Some(1), Some(2), None, Some(3), Some(1), Some(7)],
        );
        table(&context, "r", &[Some(1), Some(2), Some(3), None], &[Some(1), Some(3), None, None]);
        context
    }

    async fn check(condition: &str, is_rewritten: bool, expected: &str) {
        let context = context();
        let sql = format!("SELECT k, v FROM l WHERE {condition} ORDER BY k, v");
        let frame = context.sql(&sql).await.unwrap();
        let plan = context.state().optimize(frame.logical_plan()).unwrap();
        let mut is_null_aware = false;
        plan.apply_with_subqueries(|node| {
            is_null_aware |= matches!(node, LogicalPlan::Join(join) if join.null_aware);
            Ok(TreeNodeRecursion::Continue)
        })
        .unwrap();
        assert_eq!(is_null_aware, !is_rewritten, "{sql}\n{}", plan.display_indent());
        let rows = frame.collect().await.unwrap();
        let text = pretty_format_batches(&rows).unwrap().to_string();
        let rows: Vec<_> = text.lines().skip(3).filter(|line| !line.starts_with('+')).collect();
        let rows: Vec<String> =
            rows.iter().map(|row| row.split_whitespace().collect::<String>()).collect();
        assert_eq!(rows.join(" "), expected, "{sql}\n{}", plan.display_indent());
    }

    #[tokio::test]
    async fn nulls_mean_what_they_do_in_sql() {
        check("v NOT IN (SELECT v FROM r)", true, "").await;
        check("v NOT IN (SELECT v FROM r WHERE v IS NOT NULL)", true, "|1|2| |4|7|").await;
        let all = "|1|1| |1|2| |2|| |3|3| |4|7| ||1|";
        check("v NOT IN (SELECT v FROM r WHERE k > 9)", true, all).await;
        check("NOT v IN (SELECT k FROM r WHERE k > 2)", true, "|1|1| |1|2| |4|7| ||1|").await;
    }

    #[tokio::test]
    async fn each_row_has_a_subquery_of_its_own() {
        // Rows with k = 1 see 1, with k = 2 see 3, with k = 3 see NULL, the others see nothing.
        check("v NOT IN (SELECT v FROM r WHERE r.k = l.k)", true, "|1|2| |4|7| ||1|").await;
        check("v NOT IN (SELECT v FROM r WHERE r.k < l.k)", true, "|1|1| |1|2| ||1|").await;
    }

    #[tokio::test]
    async fn what_may_be_another_the_second_time_is_read_once() {
        check(
            "v NOT IN (SELECT v FROM r WHERE v > 0 ORDER BY v LIMIT 1)",
            false,
            "|1|2| |3|3| |4|7|",
        )
        .await;
        check(
            "v NOT IN (SELECT k FROM r WHERE random() > 2)",
            false,
            "|1|1| |1|2| |2|| |3|3| |4|7| ||1|",
        )
        .await;
    }
}
