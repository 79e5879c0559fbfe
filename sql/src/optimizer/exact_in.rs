//! `IN (query)` that knows NULL where a plain truth value would not do.
//!
//! An analyzer rule. DataFusion 55 turns IN below OR or NOT into a mark join, whose mark is true or false; IN is NULL
//! when nothing is equal but a NULL is on either side. Where NULL counts as false (below AND and OR of a filter) the mark
//! will do, and IN or NOT IN as a whole condition becomes a join that knows NULL. Elsewhere IN is said with EXISTS:
//!
//! ```text
//! x IN (q)   →   EXISTS (q WHERE c = x) OR (NULL AND ((x IS NULL AND EXISTS (q)) OR EXISTS (q WHERE c IS NULL)))
//! ```

use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{DFSchema, ExprSchema, Result, ScalarValue, not_impl_err};
use datafusion::logical_expr::expr::{Exists, InSubquery};
use datafusion::logical_expr::utils::{conjunction, split_conjunction};
use datafusion::logical_expr::{
    BinaryExpr, Expr, ExprSchemable, Filter, LogicalPlan, LogicalPlanBuilder, Operator, Subquery,
    and, lit, not, or,
};
use datafusion::optimizer::AnalyzerRule;
use std::sync::Arc;

/// The rule.
#[derive(Debug)]
pub struct ExactIn;

impl AnalyzerRule for ExactIn {
    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> Result<LogicalPlan> {
        let exact = plan.transform_up_with_subqueries(|node| match node {
            LogicalPlan::Filter(filter) if has_in(&filter.predicate) => {
                let schema = filter.input.schema();
                let conditions = split_conjunction(&filter.predicate).into_iter().cloned();
                let conditions: Vec<_> =
                    conditions.map(|condition| whole(condition, schema)).collect::<Result<_>>()?;
                let predicate = conjunction(conditions).unwrap_or_else(|| lit(true));
                let filter = Filter::try_new(predicate, filter.input)?;
                Ok(Transformed::yes(LogicalPlan::Filter(filter)))
            }
            node => Ok(Transformed::no(node)),
        });
        Ok(exact?.data)
    }

    fn name(&self) -> &str {
        "exact_in"
    }
}

fn has_in(expr: &Expr) -> bool {
    expr.exists(|expr| Ok(matches!(expr, Expr::InSubquery(_)))).unwrap_or_default()
}

/// Rewrites a condition that a filter asks for; IN and NOT IN alone stay as they are.
fn whole(condition: Expr, schema: &DFSchema) -> Result<Expr> {
    match &condition {
        Expr::InSubquery(_) => Ok(condition),
        Expr::Not(inner) if matches!(inner.as_ref(), Expr::InSubquery(_)) => Ok(condition),
        _ => false_or_null(condition, schema),
    }
}

/// Rewrites a condition where NULL counts as false.
fn false_or_null(expr: Expr, schema: &DFSchema) -> Result<Expr> {
    match expr {
        Expr::BinaryExpr(BinaryExpr { left, op: op @ (Operator::And | Operator::Or), right }) => {
            let left = Box::new(false_or_null(*left, schema)?);
            let right = Box::new(false_or_null(*right, schema)?);
            Ok(Expr::BinaryExpr(BinaryExpr { left, op, right }))
        }
        Expr::InSubquery(InSubquery { negated: false, .. }) => Ok(expr),
        expr => {
            let exact = expr.transform_up(|expr| match expr {
                Expr::InSubquery(membership) => Ok(Transformed::yes(exact(membership, schema)?)),
                expr => Ok(Transformed::no(expr)),
            });
            Ok(exact?.data)
        }
    }
}

/// Says IN with EXISTS.
fn exact(membership: InSubquery, schema: &DFSchema) -> Result<Expr> {
    let InSubquery { expr: value, subquery: query, negated } = membership;
    let column = Expr::from(query.subquery.schema().qualified_field(0));
    let mut outer = query.outer_ref_columns.clone();
    let outer_value = value.as_ref().clone().transform_up(|expr| match expr {
        Expr::Column(column) => {
            let field = Arc::clone(schema.field_from_column(&column)?);
            let reference = Expr::OuterReferenceColumn(field, column);
            if !outer.contains(&reference) {
                outer.push(reference.clone());
            }
            Ok(Transformed::yes(reference))
        }
        Expr::InSubquery(_) | Expr::Exists(_) | Expr::ScalarSubquery(_) => {
            not_impl_err!("IN of a subquery whose left side is a subquery, below OR or NOT")
        }
        expr => Ok(Transformed::no(expr)),
    })?;
    let is_found = exists_where(&query, Some(column.clone().eq(outer_value.data)), outer)?;
    let mut unknown = vec![];
    if value.nullable(schema)? {
        let has_rows = exists_where(&query, None, query.outer_ref_columns.clone())?;
        unknown.push(and(value.is_null(), has_rows));
    }
    if query.subquery.schema().field(0).is_nullable() {
        let condition = Some(column.is_null());
        unknown.push(exists_where(&query, condition, query.outer_ref_columns.clone())?);
    }
    let null = Expr::Literal(ScalarValue::Boolean(None), None);
    let membership = match unknown.into_iter().reduce(or) {
        Some(unknown) => or(is_found, and(null, unknown)),
        None => is_found,
    };
    Ok(if negated { not(membership) } else { membership })
}

/// Returns EXISTS over the rows of a query that fulfil a condition.
fn exists_where(query: &Subquery, condition: Option<Expr>, outer: Vec<Expr>) -> Result<Expr> {
    let mut rows = LogicalPlanBuilder::from(Arc::clone(&query.subquery));
    if let Some(condition) = condition {
        rows = rows.filter(condition)?;
    }
    if outer.is_empty() {
        // The same for every row outside: one row inside is enough to know.
        rows = rows.limit(0, Some(1))?;
    }
    let subquery = Subquery {
        subquery: Arc::new(rows.build()?),
        outer_ref_columns: outer,
        spans: query.spans.clone(),
    };
    Ok(Expr::Exists(Exists { subquery, negated: false }))
}
