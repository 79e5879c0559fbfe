//! Plans the operators of JSON: `->`, `->>`, `#>`, `#>>`, `@>` and `<@` of texts.

use super::calls::{Calculation, function};
use arrow::datatypes::DataType;
use datafusion::common::{DFSchema, Result};
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::planner::{ExprPlanner, PlannerResult, RawBinaryExpr};
use datafusion::logical_expr::{Expr, ExprSchemable};
use datafusion::sql::sqlparser::ast::BinaryOperator;

/// Plans the operators; a left side that is no text is left to the engine.
#[derive(Debug)]
pub struct JsonPlanner;

impl ExprPlanner for JsonPlanner {
    fn plan_binary_op(
        &self,
        expr: RawBinaryExpr,
        schema: &DFSchema,
    ) -> Result<PlannerResult<RawBinaryExpr>> {
        let is_text = |expr: &Expr| {
            let data_type = expr.get_type(schema);
            data_type.is_ok_and(|data_type| data_type.is_string() || data_type == DataType::Null)
        };
        let calculation = match expr.op {
            BinaryOperator::Arrow => Calculation::Member { as_text: false },
            BinaryOperator::LongArrow => Calculation::Member { as_text: true },
            BinaryOperator::HashArrow => Calculation::Path { as_text: false },
            BinaryOperator::HashLongArrow => Calculation::Path { as_text: true },
            BinaryOperator::AtArrow | BinaryOperator::ArrowAt if is_text(&expr.right) => {
                Calculation::Contains
            }
            _ => return Ok(PlannerResult::Original(expr)),
        };
        if !is_text(&expr.left) {
            return Ok(PlannerResult::Original(expr));
        }
        let args = match expr.op {
            BinaryOperator::ArrowAt => vec![expr.right, expr.left],
            _ => vec![expr.left, expr.right],
        };
        let call = ScalarFunction::new_udf(function(calculation), args);
        Ok(PlannerResult::Planned(Expr::ScalarFunction(call)))
    }
}
