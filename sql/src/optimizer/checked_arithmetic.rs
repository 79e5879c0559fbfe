//! Integer arithmetic fails where its result does not fit.
//!
//! An analyzer rule, after types are settled. DataFusion's operators wrap around and so give wrong numbers; the functions
//! of `functions::checked` fail with 22003. Decimals and floats are left alone: theirs fail or lose digits by themselves.
//!
//! ```text
//! Projection: a + 1        →        Projection: saltlake_add(a, 1)      still called `a + 1`
//! ```
//!
//! Limit: a condition may be checked for rows that another condition beside it leaves out.

use super::nodes::rewrite_expressions;
use crate::functions::checked::{Operation, is_checked};
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::Transformed;
use datafusion::common::{DFSchema, Result};
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::{BinaryExpr, Expr, ExprSchemable, LogicalPlan, Operator};
use datafusion::optimizer::AnalyzerRule;

/// The rule.
#[derive(Debug)]
pub struct CheckedArithmetic;

impl AnalyzerRule for CheckedArithmetic {
    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> Result<LogicalPlan> {
        Ok(plan.transform_up_with_subqueries(|node| rewrite_expressions(node, check))?.data)
    }

    fn name(&self) -> &str {
        "checked_arithmetic"
    }
}

fn check(expr: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    let (operation, args) = match expr {
        Expr::BinaryExpr(BinaryExpr { left, op, right }) => {
            let operation = match op {
                Operator::Plus => Operation::Add,
                Operator::Minus => Operation::Subtract,
                Operator::Multiply => Operation::Multiply,
                _ => return Ok(Transformed::no(Expr::BinaryExpr(BinaryExpr { left, op, right }))),
            };
            if !(is_integer(&left, schema) && is_integer(&right, schema)) {
                return Ok(Transformed::no(Expr::BinaryExpr(BinaryExpr { left, op, right })));
            }
            (operation, vec![*left, *right])
        }
        Expr::Negative(value) if is_integer(&value, schema) => (Operation::Negate, vec![*value]),
        other => return Ok(Transformed::no(other)),
    };
    let function = ScalarFunction::new_udf(operation.function(), args);
    Ok(Transformed::yes(Expr::ScalarFunction(function)))
}

/// Returns whether an expression is an integer, without walking down a chain of sums once more for each of its links.
/// A parameter whose type is not known yet is none: the rule runs again when it has its value. NULL is none, because
/// the engine knows what becomes of it.
fn is_integer(expr: &Expr, schema: &DFSchema) -> bool {
    match expr {
        expr if is_null(expr) => false,
        Expr::ScalarFunction(call) if is_checked(&call.func) => true,
        expr => expr.get_type(schema).is_ok_and(|data_type| data_type.is_integer()),
    }
}

fn is_null(expr: &Expr) -> bool {
    match expr {
        Expr::Literal(value, _) => value.is_null(),
        Expr::Cast(cast) => is_null(&cast.expr),
        _ => false,
    }
}
