//! Where a float meets a decimal, both are floats.
//!
//! An analyzer rule, before types are settled. PostgreSQL takes double precision there. DataFusion takes a decimal with 15
//! digits behind the point, in which `1e-20` is zero and `1e20` fails.
//!
//! ```text
//! f < d                          →   f < CAST(d AS DOUBLE)
//! f IN (0.1, 0.2)                →   literals become floats, likewise in BETWEEN
//! CASE WHEN c THEN f ELSE 0.0    →   the result is a float, likewise of coalesce, nullif, greatest and least
//! SELECT f … UNION SELECT d …    →   SELECT f … UNION SELECT CAST(d AS DOUBLE) …
//! ```
//!
//! Limit: the rows of VALUES have their types before any rule runs.

use super::nodes::rewrite_expressions;
use datafusion::arrow::datatypes::{DataType, Decimal128Type, Decimal256Type, DecimalType};
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::Transformed;
use datafusion::common::{DFSchema, Result, ScalarValue};
use datafusion::logical_expr::expr::InSubquery;
use datafusion::logical_expr::{
    Expr, ExprSchemable, Join, LogicalPlan, LogicalPlanBuilder, Union, cast,
};
use datafusion::optimizer::AnalyzerRule;
use std::sync::Arc;

/// Functions whose arguments become one type.
const OF_ONE_TYPE: [&str; 5] = ["coalesce", "nvl", "nullif", "greatest", "least"];

/// The rule.
#[derive(Debug)]
pub struct FloatWithDecimal;

impl AnalyzerRule for FloatWithDecimal {
    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> Result<LogicalPlan> {
        Ok(plan.transform_up_with_subqueries(settle_node)?.data)
    }

    fn name(&self) -> &str {
        "float_with_decimal"
    }
}

fn settle_node(plan: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
    rewrite_expressions(plan, settle)?.transform_data(|plan| match plan {
        LogicalPlan::Union(union) => settle_union(union),
        LogicalPlan::Join(mut join) => {
            let is_changed = settle_keys(&mut join);
            Ok(Transformed::new_transformed(LogicalPlan::Join(join), is_changed))
        }
        plan => Ok(Transformed::no(plan)),
    })
}

/// Settles what one expression compares or returns.
fn settle(mut expr: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    let is_changed = match &mut expr {
        Expr::BinaryExpr(binary) if !binary.op.is_logic_operator() => {
            unify([binary.right.as_mut(), binary.left.as_mut()], schema)
        }
        Expr::Between(between) => {
            unify([between.low.as_mut(), between.high.as_mut(), between.expr.as_mut()], schema)
        }
        Expr::InList(list) => unify(list.list.iter_mut().chain([list.expr.as_mut()]), schema),
        Expr::Case(case) => {
            let (whens, thens): (Vec<_>, Vec<_>) =
                case.when_then_expr.iter_mut().map(|(w, t)| (w.as_mut(), t.as_mut())).unzip();
            let results = thens.into_iter().chain(case.else_expr.as_deref_mut());
            let is_result_changed = unify(results, schema);
            let is_value_changed = match case.expr.as_deref_mut() {
                Some(value) => unify(whens.into_iter().chain([value]), schema),
                None => false,
            };
            is_result_changed || is_value_changed
        }
        Expr::ScalarFunction(call) if OF_ONE_TYPE.contains(&call.func.name()) => {
            unify(call.args.iter_mut(), schema)
        }
        Expr::InSubquery(membership) => settle_membership(membership, schema)?,
        _ => false,
    };
    Ok(if is_changed { Transformed::yes(expr) } else { Transformed::no(expr) })
}

/// Casts decimals among the expressions to floats when there are floats among them; returns whether there were.
fn unify<'a>(exprs: impl IntoIterator<Item = &'a mut Expr>, schema: &DFSchema) -> bool {
    let mut has_float = false;
    let mut decimals = vec![];
    for (i, expr) in exprs.into_iter().enumerate() {
        match expr.get_type(schema) {
            Ok(data_type) if data_type.is_floating() => has_float = true,
            Ok(data_type) if data_type.is_decimal() => decimals.push(expr),
            // Most comparisons end here, before the type of a long chain on their left is asked for.
            Ok(data_type) if i == 0 && !data_type.is_null() => return false,
            _ => {}
        }
    }
    if !has_float || decimals.is_empty() {
        return false;
    }
    for decimal in decimals {
        let value = std::mem::take(decimal);
        *decimal = to_float(value);
    }
    true
}

/// Returns a decimal expression as a float. A literal is read anew from its digits, which rounds once.
fn to_float(decimal: Expr) -> Expr {
    let text = match &decimal {
        Expr::Literal(ScalarValue::Decimal128(Some(value), precision, scale), _) => {
            Decimal128Type::format_decimal(*value, *precision, *scale)
        }
        Expr::Literal(ScalarValue::Decimal256(Some(value), precision, scale), _) => {
            Decimal256Type::format_decimal(*value, *precision, *scale)
        }
        _ => return cast(decimal, DataType::Float64),
    };
    match text.parse::<f64>() {
        Ok(value) => Expr::Literal(ScalarValue::Float64(Some(value)), None),
        Err(_) => cast(decimal, DataType::Float64),
    }
}

/// Settles the sides of IN with a query; returns whether one changed.
fn settle_membership(membership: &mut InSubquery, schema: &DFSchema) -> Result<bool> {
    let query = &mut membership.subquery;
    let found = query.subquery.schema().field(0).data_type().clone();
    let Ok(sought) = membership.expr.get_type(schema) else { return Ok(false) };
    if sought.is_decimal() && found.is_floating() {
        let value = std::mem::take(membership.expr.as_mut());
        *membership.expr = to_float(value);
        return Ok(true);
    }
    let is_changed = sought.is_floating() && found.is_decimal();
    if is_changed {
        query.subquery = Arc::new(with_floats(&query.subquery, &[true])?);
    }
    Ok(is_changed)
}

/// Settles the keys of a join; returns whether one changed.
fn settle_keys(join: &mut Join) -> bool {
    let Join { left, right, on, .. } = join;
    let mut is_changed = false;
    for (l, r) in on {
        let (Ok(l_type), Ok(r_type)) = (l.get_type(left.schema()), r.get_type(right.schema()))
        else {
            continue;
        };
        let decimal = match () {
            () if l_type.is_floating() && r_type.is_decimal() => r,
            () if l_type.is_decimal() && r_type.is_floating() => l,
            () => continue,
        };
        let value = std::mem::take(decimal);
        *decimal = to_float(value);
        is_changed = true;
    }
    is_changed
}

/// Makes a column of a union a float in every input when it is one in some and a decimal in others.
fn settle_union(union: Union) -> Result<Transformed<LogicalPlan>> {
    let n_columns = union.inputs.iter().map(|input| input.schema().fields().len()).min();
    let is_mixed = |i: usize| {
        let types = || union.inputs.iter().map(move |input| input.schema().field(i).data_type());
        types().any(DataType::is_floating) && types().any(DataType::is_decimal)
    };
    let mixed: Vec<_> = (0..n_columns.unwrap_or_default()).map(is_mixed).collect();
    if !mixed.contains(&true) {
        return Ok(Transformed::no(LogicalPlan::Union(union)));
    }
    let inputs = union.inputs.iter().map(|input| Ok(Arc::new(with_floats(input, &mixed)?)));
    let union = Union::try_new_with_loose_types(inputs.collect::<Result<_>>()?)?;
    Ok(Transformed::yes(LogicalPlan::Union(union)))
}

/// Casts the decimals among the chosen columns of a plan to floats; names stay.
fn with_floats(plan: &Arc<LogicalPlan>, chosen: &[bool]) -> Result<LogicalPlan> {
    let schema = plan.schema();
    let columns = schema.iter().enumerate().map(|(i, (qualifier, field))| {
        let column = Expr::from((qualifier, field));
        match chosen.get(i) {
            Some(true) if field.data_type().is_decimal() => {
                to_float(column).alias_qualified(qualifier.cloned(), field.name())
            }
            _ => column,
        }
    });
    LogicalPlanBuilder::from(Arc::clone(plan)).project(columns.collect::<Vec<_>>())?.build()
}
