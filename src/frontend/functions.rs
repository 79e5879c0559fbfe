//! Functions that every door has: what PostgreSQL clients call and the engine has no word for.

use super::pg::types;
use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::{exec_err, plan_err};
use datafusion::error::Result;
use datafusion::logical_expr::simplify::{ExprSimplifyResult, SimplifyContext};
use datafusion::logical_expr::{
    ColumnarValue, Expr, ExprSchemable, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF,
    ScalarUDFImpl, Signature, Volatility, lit,
};
use datafusion::scalar::ScalarValue;
use std::sync::Arc;

/// Returns them all.
pub fn all() -> Vec<Arc<ScalarUDF>> {
    vec![Arc::new(ScalarUDF::from(TypeOf::default()))]
}

/// `pg_typeof(x)`: the name of a value's type. Known when it is planned, so it never runs.
#[derive(Debug, PartialEq, Eq, Hash)]
struct TypeOf {
    signature: Signature,
}

impl Default for TypeOf {
    fn default() -> Self {
        Self { signature: Signature::any(1, Volatility::Stable) }
    }
}

impl ScalarUDFImpl for TypeOf {
    fn name(&self) -> &str {
        "pg_typeof"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Utf8)
    }

    fn return_field_from_args(&self, _: ReturnFieldArgs) -> Result<FieldRef> {
        Ok(Arc::new(Field::new(self.name(), DataType::Utf8, false)))
    }

    fn simplify(&self, args: Vec<Expr>, info: &SimplifyContext) -> Result<ExprSimplifyResult> {
        let [value] = args.as_slice() else { return plan_err!("pg_typeof takes one value") };
        let is_open = match value {
            Expr::Literal(value, _) => value.is_null() || value.try_as_str().is_some(),
            _ => false,
        };
        if is_open {
            return Ok(ExprSimplifyResult::Simplified(lit("unknown")));
        }
        let (_, field) = value.to_field(info.schema().as_ref())?;
        let ty = types::of_field(&field);
        let name = format!("{}{}", ty.base.sql_name, if ty.is_array { "[]" } else { "" });
        Ok(ExprSimplifyResult::Simplified(lit(ScalarValue::Utf8(Some(name)))))
    }

    fn invoke_with_args(&self, _: ScalarFunctionArgs) -> Result<ColumnarValue> {
        exec_err!("pg_typeof is answered when it is planned")
    }
}
