//! `saltlake_quotient(sum, count, like)`: the average of decimals whose sum and count are known, as the engine's AVG
//! computes it: four more digits than the values have, the rest cut off.
//!
//! For aggregations that are done in two steps (`optimizer/pregroup.rs`).

use arrow::array::types::{Decimal128Type, Int64Type};
use arrow::array::{ArrayRef, AsArray, Decimal128Array};
use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::{Result, ScalarValue, exec_err, plan_err};
use datafusion::logical_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
    Volatility,
};
use std::sync::{Arc, LazyLock};

static QUOTIENT: LazyLock<Arc<ScalarUDF>> =
    LazyLock::new(|| Arc::new(ScalarUDF::from(Quotient::default())));

/// Returns the function.
pub fn quotient() -> Arc<ScalarUDF> {
    Arc::clone(&QUOTIENT)
}

/// The function. Its third argument is a NULL of the type of the result.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Quotient {
    signature: Signature,
}

impl Default for Quotient {
    fn default() -> Self {
        Self { signature: Signature::any(3, Volatility::Immutable) }
    }
}

impl ScalarUDFImpl for Quotient {
    fn name(&self) -> &str {
        "saltlake_quotient"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        match types {
            [
                DataType::Decimal128(_, from),
                DataType::Int64,
                to @ DataType::Decimal128(_, scale),
            ] if from <= scale => Ok(to.clone()),
            _ => {
                plan_err!("saltlake_quotient takes a decimal, a count and a decimal, not {types:?}")
            }
        }
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        let types: Vec<_> = args.arg_fields.iter().map(|field| field.data_type().clone()).collect();
        Ok(Arc::new(Field::new(self.name(), self.return_type(&types)?, true)))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let n_rows = args.number_rows;
        let DataType::Decimal128(precision, scale) = *args.return_field.data_type() else {
            return exec_err!("saltlake_quotient gives decimals");
        };
        let is_scalar = args.args.iter().all(|arg| matches!(arg, ColumnarValue::Scalar(_)));
        let [sums, counts, _] = &args.args[..] else {
            return exec_err!("saltlake_quotient takes three arguments");
        };
        let (sums, counts) = (sums.to_array(n_rows)?, counts.to_array(n_rows)?);
        let averages: ArrayRef = Arc::new(averages(&sums, &counts, precision, scale)?);
        if is_scalar {
            return Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&averages, 0)?));
        }
        Ok(ColumnarValue::Array(averages))
    }
}

fn averages(
    sums: &ArrayRef,
    counts: &ArrayRef,
    precision: u8,
    scale: i8,
) -> Result<Decimal128Array> {
    let sums = sums.as_primitive::<Decimal128Type>();
    let counts = counts.as_primitive::<Int64Type>();
    let factor = 10_i128.pow(u32::from((scale - sums.scale()).max(0).unsigned_abs()));
    let average = |(sum, count): (Option<i128>, Option<i64>)| match (sum, count) {
        (Some(sum), Some(count)) if count != 0 => match sum.checked_mul(factor) {
            Some(sum) => Ok(Some(sum / i128::from(count))),
            None => exec_err!("Arithmetic Overflow in AvgAccumulator"),
        },
        _ => Ok(None),
    };
    let averages: Decimal128Array =
        sums.iter().zip(counts.iter()).map(average).collect::<Result<_>>()?;
    let averages = averages.with_precision_and_scale(precision, scale)?;
    averages.validate_decimal_precision(precision)?;
    Ok(averages)
}
