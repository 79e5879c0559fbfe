//! Integer arithmetic that fails where the result does not fit, as PostgreSQL's does; the engine's own wraps around.
//!
//! `optimizer::checked_arithmetic` puts these functions where a statement says `+`, `-`, `*` on integers. They are
//! functions and not a flag of the engine's operator because the flag is lost on the way to the workers.
//! In names of columns they read as the operator they stand for.

use arrow::array::{Array, ArrayRef, Datum, Scalar};
use arrow::compute::kernels::numeric::{add, mul, neg, sub};
use arrow::datatypes::{DataType, Field, FieldRef};
use arrow::error::ArrowError;
use datafusion::common::{DataFusionError, Result, ScalarValue, exec_err, plan_err};
use datafusion::logical_expr::{
    ColumnarValue, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
    Volatility,
};
use std::sync::{Arc, LazyLock};

/// What is calculated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Operation {
    /// `+`
    Add,
    /// `-`
    Subtract,
    /// `*`
    Multiply,
    /// `-` before one value.
    Negate,
}

/// The functions, in the order of [`Operation`].
static FUNCTIONS: LazyLock<[Arc<ScalarUDF>; 4]> = LazyLock::new(|| {
    [Operation::Add, Operation::Subtract, Operation::Multiply, Operation::Negate]
        .map(|operation| Arc::new(ScalarUDF::from(Checked::new(operation))))
});

impl Operation {
    fn name(self) -> &'static str {
        match self {
            Self::Add => "saltlake_add",
            Self::Subtract => "saltlake_subtract",
            Self::Multiply => "saltlake_multiply",
            Self::Negate => "saltlake_negate",
        }
    }

    /// Returns the function.
    pub fn function(self) -> Arc<ScalarUDF> {
        let [add, subtract, multiply, negate] = &*FUNCTIONS;
        Arc::clone(match self {
            Self::Add => add,
            Self::Subtract => subtract,
            Self::Multiply => multiply,
            Self::Negate => negate,
        })
    }
}

/// Returns all of them.
pub fn all() -> Vec<Arc<ScalarUDF>> {
    FUNCTIONS.to_vec()
}

/// Returns whether a function is one of these.
pub fn is_checked(function: &ScalarUDF) -> bool {
    FUNCTIONS.iter().any(|checked| checked.name() == function.name())
}

/// One of the functions.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Checked {
    operation: Operation,
    signature: Signature,
}

impl Checked {
    fn new(operation: Operation) -> Self {
        let n_arguments = if operation == Operation::Negate { 1 } else { 2 };
        Self { operation, signature: Signature::any(n_arguments, Volatility::Immutable) }
    }
}

impl ScalarUDFImpl for Checked {
    fn name(&self) -> &str {
        self.operation.name()
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn schema_name(&self, args: &[Expr]) -> Result<String> {
        Ok(match (self.operation, args) {
            (Operation::Add, [left, right]) => {
                format!("{} + {}", left.schema_name(), right.schema_name())
            }
            (Operation::Subtract, [left, right]) => {
                format!("{} - {}", left.schema_name(), right.schema_name())
            }
            (Operation::Multiply, [left, right]) => {
                format!("{} * {}", left.schema_name(), right.schema_name())
            }
            (_, [value, ..]) => format!("(- {})", value.schema_name()),
            (_, []) => return plan_err!("{} takes arguments", self.name()),
        })
    }

    fn is_strict(&self) -> bool {
        true
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        match types {
            [first, rest @ ..] if first.is_integer() && rest.iter().all(|ty| ty == first) => {
                Ok(first.clone())
            }
            _ => plan_err!("{} takes integers of one type, not {types:?}", self.name()),
        }
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        let types: Vec<_> = args.arg_fields.iter().map(|field| field.data_type().clone()).collect();
        let is_nullable = args.arg_fields.iter().any(|field| field.is_nullable());
        Ok(Arc::new(Field::new(self.name(), self.return_type(&types)?, is_nullable)))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let all_scalars = args.args.iter().all(|arg| matches!(arg, ColumnarValue::Scalar(_)));
        let values = args.args.iter().map(Value::new).collect::<Result<Vec<_>>>()?;
        let result = match (self.operation, values.as_slice()) {
            (Operation::Add, [left, right]) => add(left.datum(), right.datum()),
            (Operation::Subtract, [left, right]) => sub(left.datum(), right.datum()),
            (Operation::Multiply, [left, right]) => mul(left.datum(), right.datum()),
            (Operation::Negate, [value]) => neg(value.array()),
            _ => return exec_err!("{} was given {} arguments", self.name(), values.len()),
        };
        let result = result.map_err(|error| out_of_range(error, args.return_field.data_type()))?;
        Ok(match all_scalars {
            true => ColumnarValue::Scalar(ScalarValue::try_from_array(&result, 0)?),
            false => ColumnarValue::Array(result),
        })
    }
}

/// An argument as the kernels take it.
enum Value {
    Array(ArrayRef),
    Scalar(Scalar<ArrayRef>),
}

impl Value {
    fn new(value: &ColumnarValue) -> Result<Self> {
        Ok(match value {
            ColumnarValue::Array(array) => Self::Array(Arc::clone(array)),
            ColumnarValue::Scalar(value) => Self::Scalar(value.to_scalar()?),
        })
    }

    fn datum(&self) -> &dyn Datum {
        match self {
            Self::Array(array) => array,
            Self::Scalar(scalar) => scalar,
        }
    }

    fn array(&self) -> &dyn Array {
        match self {
            Self::Array(array) => array,
            Self::Scalar(scalar) => scalar.get().0,
        }
    }
}

/// Returns PostgreSQL's words for a result that does not fit.
fn out_of_range(error: ArrowError, data_type: &DataType) -> DataFusionError {
    match error {
        ArrowError::ArithmeticOverflow(_) => {
            let name = match data_type {
                DataType::Int8 | DataType::Int16 => "smallint",
                DataType::Int32 => "integer",
                DataType::Int64 => "bigint",
                _ => "value",
            };
            ArrowError::ArithmeticOverflow(format!("{name} out of range")).into()
        }
        error => error.into(),
    }
}
