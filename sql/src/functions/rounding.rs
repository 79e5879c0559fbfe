//! `saltlake_round(x)`: a float or decimal rounded to a whole number of its type, before it is cast to an integer.
//!
//! Floats round halves to the even neighbour, decimals away from zero, as PostgreSQL's casts do. The engine's casts cut.

use arrow::array::types::{Decimal128Type, Decimal256Type, Float32Type, Float64Type};
use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{
    ArrowNativeType, ArrowNativeTypeOp, DataType, DecimalType, Field, FieldRef,
};
use datafusion::common::{Result, exec_err, plan_err};
use datafusion::logical_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
    Volatility,
};
use std::sync::{Arc, LazyLock};

static ROUND: LazyLock<Arc<ScalarUDF>> =
    LazyLock::new(|| Arc::new(ScalarUDF::from(Round::default())));

/// Returns the function.
pub fn round() -> Arc<ScalarUDF> {
    Arc::clone(&ROUND)
}

/// Returns whether a cast from a type to an integer has something to round.
pub fn has_fraction(data_type: &DataType) -> bool {
    match data_type {
        DataType::Float32 | DataType::Float64 => true,
        DataType::Decimal128(_, scale) | DataType::Decimal256(_, scale) => *scale > 0,
        _ => false,
    }
}

/// The function.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Round {
    signature: Signature,
}

impl Default for Round {
    fn default() -> Self {
        Self { signature: Signature::any(1, Volatility::Immutable) }
    }
}

impl ScalarUDFImpl for Round {
    fn name(&self) -> &str {
        "saltlake_round"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    /// Columns are called as if it were not there.
    fn schema_name(&self, args: &[datafusion::logical_expr::Expr]) -> Result<String> {
        match args {
            [value] => Ok(value.schema_name().to_string()),
            _ => plan_err!("saltlake_round takes one number"),
        }
    }

    fn is_strict(&self) -> bool {
        true
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        match types {
            [data_type] if has_fraction(data_type) => Ok(data_type.clone()),
            _ => plan_err!("saltlake_round takes a number with a fraction, not {types:?}"),
        }
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        let [value] = args.arg_fields else { return plan_err!("saltlake_round takes one number") };
        let data_type = self.return_type(&[value.data_type().clone()])?;
        Ok(Arc::new(Field::new(self.name(), data_type, value.is_nullable())))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let is_scalar = matches!(args.args.as_slice(), [ColumnarValue::Scalar(_)]);
        let arrays = ColumnarValue::values_to_arrays(&args.args)?;
        let [values] = arrays.as_slice() else {
            return exec_err!("saltlake_round was given {} arguments", arrays.len());
        };
        let rounded: ArrayRef = match values.data_type() {
            DataType::Float32 => Arc::new(
                values.as_primitive::<Float32Type>().unary::<_, Float32Type>(f32::round_ties_even),
            ),
            DataType::Float64 => Arc::new(
                values.as_primitive::<Float64Type>().unary::<_, Float64Type>(f64::round_ties_even),
            ),
            DataType::Decimal128(_, scale) => decimal::<Decimal128Type>(values, *scale)?,
            DataType::Decimal256(_, scale) => decimal::<Decimal256Type>(values, *scale)?,
            other => return exec_err!("saltlake_round cannot round {other}"),
        };
        match is_scalar {
            true => Ok(ColumnarValue::Scalar(datafusion::common::ScalarValue::try_from_array(
                &rounded, 0,
            )?)),
            false => Ok(ColumnarValue::Array(rounded)),
        }
    }
}

/// Rounds halves away from zero; a value that does not fit once rounded is an error.
fn decimal<T: DecimalType>(values: &ArrayRef, scale: i8) -> Result<ArrayRef> {
    let values = values.as_primitive::<T>();
    let ten = T::Native::usize_as(10);
    let one = ten.pow_checked(u32::from(scale.unsigned_abs()))?;
    let half = one.div_checked(T::Native::usize_as(2))?;
    let rounded = values.try_unary::<_, T, _>(|value| {
        let fraction = value.mod_checked(one)?;
        let whole = value.sub_checked(fraction)?;
        if fraction.is_ge(half) {
            whole.add_checked(one)
        } else if fraction.is_le(half.neg_checked()?) {
            whole.sub_checked(one)
        } else {
            Ok(whole)
        }
    })?;
    // The digits before the point may be one more than before.
    Ok(Arc::new(rounded.with_data_type(values.data_type().clone())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::Decimal128Array;

    #[test]
    fn halves_of_decimals_go_away_from_zero() {
        let values =
            Decimal128Array::from(vec![Some(250), Some(-250), Some(249), Some(-349), None])
                .with_precision_and_scale(5, 2)
                .unwrap();
        let rounded = decimal::<Decimal128Type>(&(Arc::new(values) as ArrayRef), 2).unwrap();
        let expected = vec![Some(300), Some(-300), Some(200), Some(-300), None];
        assert_eq!(rounded.as_primitive::<Decimal128Type>().iter().collect::<Vec<_>>(), expected);
    }
}
