//! `saltlake_required(value, column)`: the value, or an error when it is NULL. What keeps NULL out of a column that is
//! declared NOT NULL, wherever the rows are made.

use arrow::array::Array;
use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::{Result, ScalarValue, exec_err, plan_err};
use datafusion::logical_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility,
};
use std::sync::Arc;

/// The function.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct Required {
    signature: Signature,
}

impl Default for Required {
    fn default() -> Self {
        Self { signature: Signature::any(2, Volatility::Immutable) }
    }
}

impl ScalarUDFImpl for Required {
    fn name(&self) -> &str {
        "saltlake_required"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        plan_err!("saltlake_required has the type of its value")
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        let value = args.arg_fields[0].data_type().clone();
        Ok(Arc::new(Field::new(self.name(), value, false)))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [value, column] = args.args.as_slice() else {
            return exec_err!("saltlake_required takes a value and the name of its column");
        };
        let has_null = match value {
            ColumnarValue::Array(array) => array.logical_null_count() > 0,
            ColumnarValue::Scalar(value) => value.is_null() && args.number_rows > 0,
        };
        if has_null {
            let name = match column {
                ColumnarValue::Scalar(ScalarValue::Utf8(Some(name))) => name.as_str(),
                _ => "?",
            };
            return exec_err!("null value in column \"{name}\" violates not-null constraint");
        }
        Ok(value.clone())
    }
}
