//! `sum` of integers and of long decimals that is exact, or fails where it does not fit.
//!
//! The engine's wraps around. This one adds in 128 bits, in parts and on workers too, and only the result has to fit in a
//! `bigint`: parts of a sum that fits never fail. PostgreSQL's sum of `bigint` is a `numeric`; here it stays a `bigint`,
//! because a whole number that is written out is one, and `sum(CASE … THEN 1 …) / count(*)` must stay whole.
//! A decimal sum of 38 digits fails beyond them; with fewer digits no table has enough rows for that.
//! Sums of other types are the engine's.

use arrow::array::types::{Decimal128Type, Int64Type, UInt64Type};
use arrow::array::{
    Array, ArrayRef, ArrowNumericType, ArrowPrimitiveType, AsArray, BooleanArray, Decimal128Array,
    PrimitiveArray,
};
use arrow::datatypes::{DECIMAL128_MAX_PRECISION, DataType, DecimalType, Field, FieldRef};
use arrow::error::ArrowError;
use datafusion::common::{DataFusionError, Result, ScalarValue, exec_err};
use datafusion::functions_aggregate::sum::Sum;
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::AggregateOrderSensitivity;
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, Documentation, EmitTo, GroupsAccumulator,
    ReversedUDAF, SetMonotonicity, Signature, StatisticsArgs,
};
use std::fmt::Debug;
use std::marker::PhantomData;
use std::sync::Arc;

/// Parts of a sum.
const STATE: DataType = DataType::Decimal128(DECIMAL128_MAX_PRECISION, 0);

/// Returns the function, which takes the place of the engine's.
pub fn exact() -> AggregateUDF {
    AggregateUDF::from(ExactSum::default())
}

#[derive(Debug, Default, PartialEq, Eq, Hash)]
struct ExactSum {
    inner: Sum,
}

impl AggregateUDFImpl for ExactSum {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn signature(&self) -> &Signature {
        self.inner.signature()
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        self.inner.return_type(types)
    }

    fn accumulator(&self, args: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        let data_type = args.return_field.data_type().clone();
        if !is_exact(&data_type) {
            return self.inner.accumulator(args);
        }
        Ok(match args.is_distinct {
            true => Box::new(Distinct { values: self.inner.accumulator(args)?, data_type }),
            false => total(data_type),
        })
    }

    fn state_fields(&self, args: StateFieldsArgs<'_>) -> Result<Vec<FieldRef>> {
        let is_exact = is_exact(args.return_field.data_type()) && !args.is_distinct;
        let mut fields = self.inner.state_fields(args)?;
        if is_exact {
            for field in &mut fields {
                let state = state_type(field.data_type());
                *field = Arc::new(Field::clone(field).with_data_type(state));
            }
        }
        Ok(fields)
    }

    fn groups_accumulator_supported(&self, args: AccumulatorArgs<'_>) -> bool {
        self.inner.groups_accumulator_supported(args)
    }

    fn create_groups_accumulator(
        &self,
        args: AccumulatorArgs<'_>,
    ) -> Result<Box<dyn GroupsAccumulator>> {
        let data_type = args.return_field.data_type().clone();
        Ok(match data_type {
            DataType::Int64 => Box::new(Totals::<Int64Type>::new(data_type)),
            DataType::UInt64 => Box::new(Totals::<UInt64Type>::new(data_type)),
            _ if is_exact(&data_type) => Box::new(Totals::<Decimal128Type>::new(data_type)),
            _ => return self.inner.create_groups_accumulator(args),
        })
    }

    fn create_sliding_accumulator(
        &self,
        args: AccumulatorArgs<'_>,
    ) -> Result<Box<dyn Accumulator>> {
        match is_exact(args.return_field.data_type()) && !args.is_distinct {
            true => self.accumulator(args),
            false => self.inner.create_sliding_accumulator(args),
        }
    }

    fn reverse_expr(&self) -> ReversedUDAF {
        self.inner.reverse_expr()
    }

    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        self.inner.order_sensitivity()
    }

    fn value_from_stats(&self, args: &StatisticsArgs<'_>) -> Option<ScalarValue> {
        self.inner.value_from_stats(args)
    }

    fn set_monotonicity(&self, data_type: &DataType) -> SetMonotonicity {
        self.inner.set_monotonicity(data_type)
    }

    fn documentation(&self) -> Option<&Documentation> {
        self.inner.documentation()
    }
}

/// Returns whether sums of this type are added up here.
fn is_exact(data_type: &DataType) -> bool {
    matches!(
        data_type,
        DataType::Int64 | DataType::UInt64 | DataType::Decimal128(DECIMAL128_MAX_PRECISION, _)
    )
}

/// Returns the type of the parts of a sum.
fn state_type(data_type: &DataType) -> DataType {
    match data_type {
        DataType::Decimal128(..) => data_type.clone(),
        _ => STATE,
    }
}

/// Returns what adds up values to one sum of an exact type.
fn total(data_type: DataType) -> Box<dyn Accumulator> {
    match data_type {
        DataType::Int64 => Box::new(Total::<Int64Type>::new(data_type)),
        DataType::UInt64 => Box::new(Total::<UInt64Type>::new(data_type)),
        _ => Box::new(Total::<Decimal128Type>::new(data_type)),
    }
}

/// A type whose values are added up in 128 bits.
trait Summed: ArrowNumericType + Debug + Send + Sync {
    fn widened(value: Self::Native) -> i128;

    /// Returns a sum that fits, or says that it does not.
    fn narrowed(sum: i128) -> Result<Self::Native>;
}

impl Summed for Int64Type {
    fn widened(value: i64) -> i128 {
        value.into()
    }

    fn narrowed(sum: i128) -> Result<i64> {
        i64::try_from(sum).map_err(|_| out_of_range())
    }
}

impl Summed for UInt64Type {
    fn widened(value: u64) -> i128 {
        value.into()
    }

    fn narrowed(sum: i128) -> Result<u64> {
        u64::try_from(sum).map_err(|_| out_of_range())
    }
}

impl Summed for Decimal128Type {
    fn widened(value: i128) -> i128 {
        value
    }

    fn narrowed(sum: i128) -> Result<i128> {
        match Self::is_valid_decimal_precision(sum, DECIMAL128_MAX_PRECISION) {
            true => Ok(sum),
            false => Err(too_long()),
        }
    }
}

fn out_of_range() -> DataFusionError {
    ArrowError::ArithmeticOverflow("bigint out of range".to_string()).into()
}

fn too_long() -> DataFusionError {
    ArrowError::ArithmeticOverflow("numeric out of range".to_string()).into()
}

/// One sum, which windows may also take values out of.
#[derive(Debug)]
struct Total<T> {
    sum: i128,
    n_values: usize,
    data_type: DataType,
    summed: PhantomData<T>,
}

impl<T: Summed> Total<T> {
    fn new(data_type: DataType) -> Self {
        Self { sum: 0, n_values: 0, data_type, summed: PhantomData }
    }

    /// Changes the sum by every value of an array; returns how many it has.
    fn apply<P: ArrowPrimitiveType>(
        &mut self,
        values: &PrimitiveArray<P>,
        step: impl Fn(i128, P::Native) -> Option<i128>,
    ) -> Result<usize> {
        let mut sum = Some(self.sum);
        match values.null_count() {
            0 => values.values().iter().for_each(|value| sum = sum.and_then(|s| step(s, *value))),
            _ => values.iter().flatten().for_each(|value| sum = sum.and_then(|s| step(s, value))),
        }
        self.sum = sum.ok_or_else(too_long)?;
        Ok(values.len() - values.null_count())
    }
}

impl<T: Summed> Accumulator for Total<T> {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let add = |sum: i128, value| sum.checked_add(T::widened(value));
        self.n_values += self.apply(values[0].as_primitive::<T>(), add)?;
        Ok(())
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let take = |sum: i128, value| sum.checked_sub(T::widened(value));
        self.n_values -= self.apply(values[0].as_primitive::<T>(), take)?;
        Ok(())
    }

    fn supports_retract_batch(&self) -> bool {
        true
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        self.n_values +=
            self.apply(states[0].as_primitive::<Decimal128Type>(), i128::checked_add)?;
        Ok(())
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let sum = (self.n_values > 0).then_some(self.sum);
        Ok(vec![ScalarValue::new_primitive::<Decimal128Type>(sum, &state_type(&self.data_type))?])
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let sum = (self.n_values > 0).then(|| T::narrowed(self.sum)).transpose()?;
        ScalarValue::new_primitive::<T>(sum, &self.data_type)
    }

    fn size(&self) -> usize {
        size_of_val(self)
    }
}

/// A sum of values each of which counts once; which they are, the engine keeps.
#[derive(Debug)]
struct Distinct {
    values: Box<dyn Accumulator>,
    data_type: DataType,
}

impl Accumulator for Distinct {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.values.update_batch(values)
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        self.values.merge_batch(states)
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        self.values.state()
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let state = self.values.state()?;
        let [ScalarValue::List(values)] = state.as_slice() else {
            return exec_err!("the values of a distinct sum are no list");
        };
        let mut total = total(self.data_type.clone());
        total.update_batch(&[values.value(0)])?;
        total.evaluate()
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.values.size()
    }
}

/// The sums of many groups.
#[derive(Debug)]
struct Totals<T> {
    sums: Vec<i128>,
    /// Whether a group has a value at all.
    has_values: Vec<bool>,
    /// Whether a sum left 128 bits, which only decimals can.
    is_lost: bool,
    data_type: DataType,
    summed: PhantomData<T>,
}

impl<T: Summed> Totals<T> {
    fn new(data_type: DataType) -> Self {
        let (sums, has_values) = (Vec::new(), Vec::new());
        Self { sums, has_values, is_lost: false, data_type, summed: PhantomData }
    }

    fn add<P: ArrowPrimitiveType>(
        &mut self,
        values: &PrimitiveArray<P>,
        groups: &[usize],
        filter: Option<&BooleanArray>,
        n_groups: usize,
        widened: impl Fn(P::Native) -> i128,
    ) {
        self.sums.resize(n_groups, 0);
        self.has_values.resize(n_groups, false);
        let is_plain = values.null_count() == 0 && filter.is_none();
        for (row, (group, value)) in groups.iter().zip(values.values()).enumerate() {
            let counts = is_plain
                || (values.is_valid(row)
                    && filter.is_none_or(|filter| filter.is_valid(row) && filter.value(row)));
            if counts {
                let (sum, is_lost) = self.sums[*group].overflowing_add(widened(*value));
                self.sums[*group] = sum;
                self.is_lost |= is_lost;
                self.has_values[*group] = true;
            }
        }
    }

    fn take(&mut self, emit_to: EmitTo) -> Result<impl Iterator<Item = Option<i128>> + use<T>> {
        if self.is_lost {
            return Err(too_long());
        }
        let sums = emit_to.take_needed(&mut self.sums);
        let has_values = emit_to.take_needed(&mut self.has_values);
        Ok(sums.into_iter().zip(has_values).map(|(sum, has_values)| has_values.then_some(sum)))
    }
}

impl<T: Summed> GroupsAccumulator for Totals<T> {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        groups: &[usize],
        filter: Option<&BooleanArray>,
        n_groups: usize,
    ) -> Result<()> {
        self.add(values[0].as_primitive::<T>(), groups, filter, n_groups, T::widened);
        Ok(())
    }

    fn merge_batch(
        &mut self,
        states: &[ArrayRef],
        groups: &[usize],
        n_groups: usize,
    ) -> Result<()> {
        let parts = states[0].as_primitive::<Decimal128Type>();
        self.add(parts, groups, None, n_groups, |part| part);
        Ok(())
    }

    fn evaluate(&mut self, emit_to: EmitTo) -> Result<ArrayRef> {
        let sums = self.take(emit_to)?.map(|sum| sum.map(T::narrowed).transpose());
        let sums = sums.collect::<Result<PrimitiveArray<T>>>()?;
        Ok(Arc::new(sums.with_data_type(self.data_type.clone())))
    }

    fn state(&mut self, emit_to: EmitTo) -> Result<Vec<ArrayRef>> {
        let sums: Decimal128Array = self.take(emit_to)?.collect();
        Ok(vec![Arc::new(sums.with_data_type(state_type(&self.data_type)))])
    }

    fn convert_to_state(
        &self,
        values: &[ArrayRef],
        filter: Option<&BooleanArray>,
    ) -> Result<Vec<ArrayRef>> {
        let values = values[0].as_primitive::<T>();
        let is_kept = |row: usize| {
            values.is_valid(row)
                && filter.is_none_or(|filter| filter.is_valid(row) && filter.value(row))
        };
        let widened = |row| is_kept(row).then(|| T::widened(values.value(row)));
        let parts: Decimal128Array = (0..values.len()).map(widened).collect();
        Ok(vec![Arc::new(parts.with_data_type(state_type(&self.data_type)))])
    }

    fn size(&self) -> usize {
        self.sums.capacity() * size_of::<i128>() + self.has_values.capacity()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::Int64Array;

    fn totals(values: &[Option<i64>], groups: &[usize]) -> Totals<Int64Type> {
        let mut totals = Totals::new(DataType::Int64);
        let values: ArrayRef = Arc::new(Int64Array::from(values.to_vec()));
        totals.update_batch(&[values], groups, None, 3).unwrap();
        totals
    }

    #[test]
    fn parts_may_be_larger_than_the_sum() {
        let large = Some(i64::MAX);
        let mut parts = totals(&[large, large, None, Some(5)], &[0, 0, 1, 2]);
        assert!(totals(&[large, large], &[0, 0]).evaluate(EmitTo::All).is_err());
        let state = parts.state(EmitTo::All).unwrap();
        let mut rest = totals(&[Some(-i64::MAX), Some(1)], &[0, 2]);
        rest.merge_batch(&state, &[0, 1, 2], 3).unwrap();
        let sums = rest.evaluate(EmitTo::All).unwrap();
        let sums: Vec<_> = sums.as_primitive::<Int64Type>().iter().collect();
        assert_eq!(sums, [large, None, Some(6)]);
    }

    #[test]
    fn filtered_rows_do_not_count() {
        let mut totals = Totals::<Int64Type>::new(DataType::Int64);
        let values: ArrayRef = Arc::new(Int64Array::from(vec![1, 2, 4]));
        let filter = BooleanArray::from(vec![Some(true), None, Some(false)]);
        let state = totals.convert_to_state(&[Arc::clone(&values)], Some(&filter)).unwrap();
        assert_eq!(state[0].null_count(), 2);
        totals.update_batch(&[values], &[0, 0, 1], Some(&filter), 2).unwrap();
        let first = totals.evaluate(EmitTo::First(1)).unwrap();
        assert_eq!(first.as_primitive::<Int64Type>().value(0), 1);
        assert_eq!(totals.evaluate(EmitTo::All).unwrap().null_count(), 1);
    }

    #[test]
    fn a_window_takes_values_out_again() {
        let mut total = Total::<Int64Type>::new(DataType::Int64);
        let values: ArrayRef = Arc::new(Int64Array::from(vec![Some(i64::MAX), Some(7), None]));
        total.update_batch(&[Arc::clone(&values)]).unwrap();
        assert!(total.evaluate().is_err());
        total.retract_batch(&[values.slice(0, 1)]).unwrap();
        assert_eq!(total.evaluate().unwrap(), ScalarValue::Int64(Some(7)));
        total.retract_batch(&[values.slice(1, 2)]).unwrap();
        assert_eq!(total.evaluate().unwrap(), ScalarValue::Int64(None));
    }

    #[test]
    fn a_decimal_of_more_than_38_digits_is_an_error() {
        let data_type = DataType::Decimal128(DECIMAL128_MAX_PRECISION, 2);
        let large = 9 * 10_i128.pow(37);
        let decimals = |values: &[i128]| {
            let values = Decimal128Array::from(values.to_vec());
            Arc::new(values.with_data_type(data_type.clone())) as ArrayRef
        };
        for (values, fits) in [
            (vec![large, -large, large], true),
            // Within 128 bits, and beyond them.
            (vec![large, 10_i128.pow(37)], false),
            (vec![large, large, -large], false),
        ] {
            let mut totals = Totals::<Decimal128Type>::new(data_type.clone());
            let groups = vec![0; values.len()];
            totals.update_batch(&[decimals(&values)], &groups, None, 1).unwrap();
            let sums = totals.evaluate(EmitTo::All);
            assert_eq!(sums.is_ok(), fits, "{values:?}");
            assert!(sums.is_err() || sums.unwrap().data_type() == &data_type);
            let mut total = total(data_type.clone());
            let sum = total.update_batch(&[decimals(&values)]).and_then(|()| total.evaluate());
            let expected = ScalarValue::Decimal128(Some(large), DECIMAL128_MAX_PRECISION, 2);
            assert_eq!(sum.ok(), fits.then_some(expected), "{values:?}");
        }
    }
}
