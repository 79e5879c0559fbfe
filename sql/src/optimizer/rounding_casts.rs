//! A cast to an integer rounds.
//!
//! An analyzer rule, after types are settled. PostgreSQL's casts from floats and decimals to integers round, DataFusion's
//! cut: `2.5::int` is 3, not 2.
//!
//! ```text
//! CAST(x AS INT)        →        CAST(saltlake_round(x) AS INT)      still called as before
//! ```

use super::nodes::rewrite_expressions;
use crate::functions::rounding::{has_fraction, round};
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::Transformed;
use datafusion::common::{DFSchema, Result};
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::{Cast, Expr, ExprSchemable, LogicalPlan};
use datafusion::optimizer::AnalyzerRule;

/// The rule.
#[derive(Debug)]
pub struct RoundingCasts;

impl AnalyzerRule for RoundingCasts {
    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> Result<LogicalPlan> {
        let round = |expr, schema: &DFSchema| Ok(round_cast(expr, schema));
        Ok(plan.transform_up_with_subqueries(|node| rewrite_expressions(node, round))?.data)
    }

    fn name(&self) -> &str {
        "rounding_casts"
    }
}

fn round_cast(expr: Expr, schema: &DFSchema) -> Transformed<Expr> {
    let Expr::Cast(Cast { expr: value, field }) = expr else { return Transformed::no(expr) };
    let is_rounded =
        matches!(value.as_ref(), Expr::ScalarFunction(call) if call.func.name() == round().name());
    let rounds = field.data_type().is_integer()
        && !is_rounded
        && value.get_type(schema).is_ok_and(|data_type| has_fraction(&data_type));
    if !rounds {
        return Transformed::no(Expr::Cast(Cast { expr: value, field }));
    }
    let rounded = Expr::ScalarFunction(ScalarFunction::new_udf(round(), vec![*value]));
    Transformed::yes(Expr::Cast(Cast { expr: Box::new(rounded), field }))
}
