//! Functions that are given by their types and by a calculation over whole arrays.
//!
//! Most of the functions of PostgreSQL here are one: what is the same for all of them, the function's frame, is written
//! once. They travel to the workers by name, as every function does.

use arrow::array::ArrayRef;
use arrow::datatypes::DataType;
use datafusion::common::{DataFusionError, Result, ScalarValue, plan_err};
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use std::hash::{Hash, Hasher};
use std::sync::Arc;

/// What a call is like apart from its arguments.
pub(super) struct Call<'a> {
    /// The session's time zone.
    pub time_zone: &'a str,
    /// The type of the result.
    pub result: &'a DataType,
    /// Rows of the batch; arrays of constants have one row a batch too.
    pub n_rows: usize,
}

/// The types that arguments are cast to, and that of the result; `None` when there is no such function.
pub(super) type Types = Option<(Vec<DataType>, DataType)>;

/// A function.
pub(super) struct Given {
    /// Its name in SQL.
    pub name: &'static str,
    /// Other names it has.
    pub aliases: &'static [&'static str],
    /// Whether it may be calculated once for a query.
    pub volatility: Volatility,
    /// Settles types; called again with the types that it gave.
    pub types: fn(&[DataType]) -> Types,
    /// Calculates the result for all rows; all arrays have as many.
    pub run: fn(&[ArrayRef], &Call<'_>) -> Result<ArrayRef>,
}

impl Given {
    /// Makes the function that can be registered.
    pub(super) fn function(self) -> Arc<ScalarUDF> {
        let signature = Signature::user_defined(self.volatility);
        let aliases = self.aliases.iter().map(|alias| (*alias).to_string()).collect();
        Arc::new(ScalarUDF::from(Function { given: self, signature, aliases }))
    }
}

struct Function {
    given: Given,
    signature: Signature,
    aliases: Vec<String>,
}

impl std::fmt::Debug for Function {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.given.name)
    }
}

impl PartialEq for Function {
    fn eq(&self, other: &Self) -> bool {
        self.given.name == other.given.name
    }
}

impl Eq for Function {}

impl Hash for Function {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.given.name.hash(state);
    }
}

impl ScalarUDFImpl for Function {
    fn name(&self) -> &str {
        self.given.name
    }

    fn aliases(&self) -> &[String] {
        &self.aliases
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        match (self.given.types)(types) {
            Some((arguments, _)) => Ok(arguments),
            None => no_function(self.given.name, types),
        }
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        match (self.given.types)(types) {
            Some((_, result)) => Ok(result),
            None => no_function(self.given.name, types),
        }
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let call = Call {
            time_zone: args.config_options.execution.time_zone.as_deref().unwrap_or("UTC"),
            result: args.return_field.data_type(),
            n_rows: args.number_rows,
        };
        calculated(&args.args, call, self.given.run)
    }
}

/// Calculates over arrays; a call with constants alone gives a constant.
pub(super) fn calculated(
    arguments: &[ColumnarValue],
    call: Call<'_>,
    run: impl FnOnce(&[ArrayRef], &Call<'_>) -> Result<ArrayRef>,
) -> Result<ColumnarValue> {
    let is_constant = arguments.iter().all(|arg| matches!(arg, ColumnarValue::Scalar(_)));
    if !is_constant {
        let arrays = ColumnarValue::values_to_arrays(arguments)?;
        return run(&arrays, &call).map(ColumnarValue::Array);
    }
    let call = Call { n_rows: 1, ..call };
    let arrays: Vec<_> =
        arguments.iter().map(|argument| argument.to_array(1)).collect::<Result<_>>()?;
    let result = run(&arrays, &call)?;
    Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&result, 0)?))
}

/// Fails as PostgreSQL does when no function of this name takes these types.
pub(super) fn no_function<T>(name: &str, types: &[DataType]) -> Result<T> {
    let types: Vec<_> = types.iter().map(ToString::to_string).collect();
    plan_err!(
        "No function matches the given name and argument types '{name}({})'. You might need to add explicit casts.",
        types.join(", ")
    )
}

/// A failure of a run with PostgreSQL's words.
pub(super) fn failed(message: impl Into<String>) -> DataFusionError {
    DataFusionError::Execution(message.into())
}

/// Returns whether a type holds text, or nothing at all as a bare NULL does.
pub(super) fn is_text(data_type: &DataType) -> bool {
    data_type.is_string() || data_type.is_null()
}
