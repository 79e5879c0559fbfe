//! `typed_null('oid[]')`: NULL of a PostgreSQL type, which its column is announced as.
//!
//! Stands where a statement over the catalog had a value that is known to be missing.

use crate::frontend::pg::types::{self, TYPE_METADATA};
use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::{internal_err, plan_err};
use datafusion::error::Result;
use datafusion::logical_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility,
};
use datafusion::scalar::ScalarValue;
use std::sync::Arc;

/// The function's name.
pub const NAME: &str = "typed_null";

/// The function.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct TypedNull {
    signature: Signature,
}

impl Default for TypedNull {
    fn default() -> Self {
        Self { signature: Signature::any(1, Volatility::Immutable) }
    }
}

impl ScalarUDFImpl for TypedNull {
    fn name(&self) -> &str {
        NAME
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        internal_err!("the type of {NAME} is in its argument")
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        let name = args.scalar_arguments.first().copied().flatten();
        let named = name.and_then(|name| name.try_as_str().flatten());
        let known = named.and_then(types::by_sql_name);
        let Some((ty, data_type)) = known.and_then(|ty| Some((ty, types::to_arrow(&ty)?))) else {
            return plan_err!("{NAME} takes the name of a type");
        };
        let named = [(TYPE_METADATA.to_string(), ty.base.name.to_string())].into();
        Ok(Arc::new(Field::new(NAME, data_type, true).with_metadata(named)))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        Ok(ColumnarValue::Scalar(ScalarValue::try_from(args.return_field.data_type())?))
    }
}
