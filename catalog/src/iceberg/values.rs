//! Values of the format as Arrow arrays and scalars.
//!
//! Called where manifests, manifest lists and metadata are read. Values come as Avro holds them (partition values), in the
//! format's own encoding of single values (bounds), or as literals of the `iceberg` crate (defaults).

use super::schema::Primitive;
use arrow::array::{
    Array, ArrayRef, BinaryViewBuilder, BooleanBuilder, Decimal128Builder, FixedSizeBinaryBuilder,
    Float32Builder, Float64Builder, Int32Builder, Int64Builder, StringViewBuilder, new_null_array,
};
use arrow::datatypes::{
    Date32Type, Time64MicrosecondType, TimestampMicrosecondType, TimestampNanosecondType,
};
use datafusion::scalar::ScalarValue;
use iceberg::spec::PrimitiveLiteral as Literal;
use std::sync::Arc;

const MICROS_PER_DAY: i64 = 86_400_000_000;

/// A value without its type.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Raw<'a> {
    Boolean(bool),
    /// A whole number, a date, a time.
    Number(i64),
    Float(f64),
    /// A text; bytes; for decimals a big-endian number.
    Bytes(&'a [u8]),
}

impl<'a> Raw<'a> {
    /// Reads a value in the format's encoding of single values; `None` when the bytes are none.
    ///
    /// A value from before its column became wider keeps its width.
    pub(super) fn parse(primitive: Primitive, bytes: &'a [u8]) -> Option<Self> {
        let int = || bytes.try_into().ok().map(i32::from_le_bytes).map(i64::from);
        let long = || bytes.try_into().ok().map(i64::from_le_bytes);
        let float = || bytes.try_into().ok().map(f32::from_le_bytes).map(f64::from);
        Some(match primitive {
            Primitive::Boolean => match bytes {
                [value] => Self::Boolean(*value != 0),
                _ => return None,
            },
            Primitive::Int | Primitive::Date => Self::Number(int()?),
            Primitive::Long => Self::Number(int().or_else(long)?),
            Primitive::Time | Primitive::Timestamptz | Primitive::TimestamptzNs => {
                Self::Number(long()?)
            }
            // Dates may become timestamps.
            Primitive::Timestamp => match int() {
                Some(days) => Self::Number(days.checked_mul(MICROS_PER_DAY)?),
                None => Self::Number(long()?),
            },
            Primitive::TimestampNs => match int() {
                Some(days) => Self::Number(days.checked_mul(MICROS_PER_DAY * 1000)?),
                None => Self::Number(long()?),
            },
            Primitive::Float => Self::Float(float()?),
            Primitive::Double => {
                let double = || bytes.try_into().ok().map(f64::from_le_bytes);
                Self::Float(float().or_else(double)?)
            }
            Primitive::String
            | Primitive::Binary
            | Primitive::Fixed(_)
            | Primitive::Uuid
            | Primitive::Decimal { .. } => Self::Bytes(bytes),
            // Types that this format has not.
            Primitive::Byte | Primitive::Short => return None,
        })
    }
}

enum Builder {
    Boolean(BooleanBuilder),
    Int(Int32Builder),
    Long(Int64Builder),
    Float(Float32Builder),
    Double(Float64Builder),
    Decimal(Decimal128Builder),
    Text(StringViewBuilder),
    Bytes(BinaryViewBuilder),
    Fixed(FixedSizeBinaryBuilder),
}

/// Collects values of one type.
pub(super) struct Values {
    primitive: Primitive,
    builder: Builder,
    n: usize,
}

impl Values {
    pub(super) fn new(primitive: Primitive) -> Self {
        let builder = match primitive {
            Primitive::Boolean => Builder::Boolean(BooleanBuilder::new()),
            Primitive::Int | Primitive::Date | Primitive::Byte | Primitive::Short => {
                Builder::Int(Int32Builder::new())
            }
            Primitive::Long
            | Primitive::Time
            | Primitive::Timestamp
            | Primitive::Timestamptz
            | Primitive::TimestampNs
            | Primitive::TimestamptzNs => Builder::Long(Int64Builder::new()),
            Primitive::Float => Builder::Float(Float32Builder::new()),
            Primitive::Double => Builder::Double(Float64Builder::new()),
            Primitive::Decimal { .. } => Builder::Decimal(Decimal128Builder::new()),
            Primitive::String => Builder::Text(StringViewBuilder::new()),
            Primitive::Binary => Builder::Bytes(BinaryViewBuilder::new()),
            Primitive::Uuid => Builder::Fixed(FixedSizeBinaryBuilder::new(16)),
            Primitive::Fixed(length) => Builder::Fixed(FixedSizeBinaryBuilder::new(length.max(0))),
        };
        Self { primitive, builder, n: 0 }
    }

    /// Returns the type of the values.
    pub(super) fn primitive(&self) -> Primitive {
        self.primitive
    }

    /// Returns the number of values.
    pub(super) fn len(&self) -> usize {
        self.n
    }

    /// Adds nulls until there are `n` values.
    pub(super) fn pad(&mut self, n: usize) {
        while self.n < n {
            self.n += 1;
            match &mut self.builder {
                Builder::Boolean(builder) => builder.append_null(),
                Builder::Int(builder) => builder.append_null(),
                Builder::Long(builder) => builder.append_null(),
                Builder::Float(builder) => builder.append_null(),
                Builder::Double(builder) => builder.append_null(),
                Builder::Decimal(builder) => builder.append_null(),
                Builder::Text(builder) => builder.append_null(),
                Builder::Bytes(builder) => builder.append_null(),
                Builder::Fixed(builder) => builder.append_null(),
            }
        }
    }

    /// Adds a value; `None` when it is of another type.
    #[must_use]
    pub(super) fn push(&mut self, value: Raw<'_>) -> Option<()> {
        match (&mut self.builder, value) {
            (Builder::Boolean(builder), Raw::Boolean(value)) => builder.append_value(value),
            (Builder::Int(builder), Raw::Number(value)) => {
                builder.append_value(i32::try_from(value).ok()?);
            }
            (Builder::Long(builder), Raw::Number(value)) => builder.append_value(value),
            // The value was one of four bytes.
            (Builder::Float(builder), Raw::Float(value)) => builder.append_value(value as f32),
            (Builder::Double(builder), Raw::Float(value)) => builder.append_value(value),
            (Builder::Decimal(builder), Raw::Bytes(bytes)) => {
                builder.append_value(big_endian(bytes)?);
            }
            (Builder::Text(builder), Raw::Bytes(bytes)) => {
                builder.append_value(std::str::from_utf8(bytes).ok()?);
            }
            (Builder::Bytes(builder), Raw::Bytes(bytes)) => builder.append_value(bytes),
            // Bounds may be cut; as values of a fixed length they then say nothing.
            (Builder::Fixed(builder), Raw::Bytes(bytes)) => {
                if builder.append_value(bytes).is_err() {
                    builder.append_null();
                }
            }
            _ => return None,
        }
        self.n += 1;
        Some(())
    }

    /// Returns the array.
    pub(super) fn finish(self) -> ArrayRef {
        let zone = || Arc::<str>::from("UTC");
        let mut array: ArrayRef = match self.builder {
            Builder::Boolean(mut builder) => Arc::new(builder.finish()),
            Builder::Int(mut builder) => match self.primitive {
                Primitive::Date => Arc::new(builder.finish().reinterpret_cast::<Date32Type>()),
                _ => Arc::new(builder.finish()),
            },
            Builder::Long(mut builder) => {
                let array = builder.finish();
                let micros = || array.reinterpret_cast::<TimestampMicrosecondType>();
                let nanos = || array.reinterpret_cast::<TimestampNanosecondType>();
                match self.primitive {
                    Primitive::Time => Arc::new(array.reinterpret_cast::<Time64MicrosecondType>()),
                    Primitive::Timestamp => Arc::new(micros()),
                    Primitive::Timestamptz => Arc::new(micros().with_timezone(zone())),
                    Primitive::TimestampNs => Arc::new(nanos()),
                    Primitive::TimestamptzNs => Arc::new(nanos().with_timezone(zone())),
                    _ => Arc::new(array),
                }
            }
            Builder::Float(mut builder) => Arc::new(builder.finish()),
            Builder::Double(mut builder) => Arc::new(builder.finish()),
            Builder::Decimal(mut builder) => decimals(self.primitive, &mut builder),
            Builder::Text(mut builder) => Arc::new(builder.finish()),
            Builder::Bytes(mut builder) => Arc::new(builder.finish()),
            Builder::Fixed(mut builder) => Arc::new(builder.finish()),
        };
        // Arrays stay in caches for long, and builders grow by doubling.
        array.shrink_to_fit();
        array
    }
}

fn decimals(primitive: Primitive, builder: &mut Decimal128Builder) -> ArrayRef {
    let array = builder.finish();
    let n = array.len();
    let Primitive::Decimal { precision, scale } = primitive else { return Arc::new(array) };
    match array.with_precision_and_scale(precision, scale) {
        Ok(array) => Arc::new(array),
        Err(_) => new_null_array(&primitive.arrow(), n),
    }
}

/// Returns a literal as a scalar; `None` when it is of another type.
pub(super) fn scalar_of(primitive: Primitive, value: &Literal) -> Option<ScalarValue> {
    let bytes;
    let value = match value {
        Literal::Boolean(value) => Raw::Boolean(*value),
        Literal::Int(value) => Raw::Number((*value).into()),
        Literal::Long(value) => Raw::Number(*value),
        Literal::Float(value) => Raw::Float(value.0.into()),
        Literal::Double(value) => Raw::Float(value.0),
        Literal::String(value) => Raw::Bytes(value.as_bytes()),
        Literal::Binary(value) => Raw::Bytes(value),
        Literal::Int128(value) => {
            bytes = value.to_be_bytes();
            Raw::Bytes(&bytes)
        }
        Literal::UInt128(value) => {
            bytes = value.to_be_bytes();
            Raw::Bytes(&bytes)
        }
        Literal::AboveMax | Literal::BelowMin => return None,
    };
    let mut values = Values::new(primitive);
    values.push(value)?;
    ScalarValue::try_from_array(&values.finish(), 0).ok().filter(|scalar| !scalar.is_null())
}

/// Reads a two's complement number of at most 16 bytes.
fn big_endian(bytes: &[u8]) -> Option<i128> {
    let first = *bytes.first()?;
    if bytes.len() > 16 {
        return None;
    }
    let mut full = [if first & 0x80 == 0 { 0 } else { 0xff }; 16];
    full[16 - bytes.len()..].copy_from_slice(bytes);
    Some(i128::from_be_bytes(full))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(primitive: Primitive, bytes: &[u8]) -> Option<ScalarValue> {
        let mut values = Values::new(primitive);
        values.push(Raw::parse(primitive, bytes)?)?;
        let array = values.finish();
        assert_eq!(*array.data_type(), primitive.arrow());
        ScalarValue::try_from_array(&array, 0).ok()
    }

    #[test]
    fn single_values_are_decoded() {
        let check = |primitive, bytes: &[u8], expected: Option<ScalarValue>| {
            assert_eq!(decode(primitive, bytes), expected, "{primitive:?} {bytes:?}");
        };
        check(Primitive::Boolean, &[1], Some(ScalarValue::Boolean(Some(true))));
        check(Primitive::Boolean, &[], None);
        check(Primitive::Int, &[1, 0, 0, 0], Some(ScalarValue::Int32(Some(1))));
        check(Primitive::Int, &[1, 0], None);
        check(Primitive::Date, &[1, 0, 0, 0], Some(ScalarValue::Date32(Some(1))));
        check(Primitive::Long, &[255; 4], Some(ScalarValue::Int64(Some(-1))));
        check(Primitive::Long, &[255; 8], Some(ScalarValue::Int64(Some(-1))));
        check(Primitive::Long, &[255; 7], None);
        let micros = |value| Some(ScalarValue::TimestampMicrosecond(Some(value), None));
        check(Primitive::Timestamp, &[2, 0, 0, 0], micros(2 * MICROS_PER_DAY));
        check(Primitive::Timestamp, &[2, 0, 0, 0, 0, 0, 0, 0], micros(2));
        let zoned = ScalarValue::TimestampNanosecond(Some(2), Some("UTC".into()));
        check(Primitive::TimestamptzNs, &[2, 0, 0, 0, 0, 0, 0, 0], Some(zoned));
        check(Primitive::TimestampNs, &[255, 255, 255, 127], None);
        check(Primitive::Time, &[0; 8], Some(ScalarValue::Time64Microsecond(Some(0))));
        check(Primitive::Double, &1.5_f32.to_le_bytes(), Some(ScalarValue::Float64(Some(1.5))));
        check(Primitive::Double, &1.5_f64.to_le_bytes(), Some(ScalarValue::Float64(Some(1.5))));
        check(Primitive::Float, &1.5_f32.to_le_bytes(), Some(ScalarValue::Float32(Some(1.5))));
        check(Primitive::String, b"ab", Some(ScalarValue::Utf8View(Some("ab".into()))));
        check(Primitive::String, &[0xff], None);
        check(
            Primitive::Fixed(3),
            b"abc",
            Some(ScalarValue::FixedSizeBinary(3, Some(b"abc".into()))),
        );
        check(Primitive::Fixed(3), b"ab", Some(ScalarValue::FixedSizeBinary(3, None)));
        let decimal = Primitive::Decimal { precision: 9, scale: 2 };
        check(decimal, &[0xff, 0x38], Some(ScalarValue::Decimal128(Some(-200), 9, 2)));
        check(decimal, &[], None);
        check(decimal, &[0; 17], None);
    }

    #[test]
    fn missing_values_are_null() {
        let mut values = Values::new(Primitive::Long);
        values.pad(2);
        values.push(Raw::Number(7)).unwrap();
        values.pad(5);
        assert_eq!(values.push(Raw::Bytes(&[7])), None);
        let array = values.finish();
        assert_eq!((array.len(), array.null_count()), (5, 4));
        assert!(array.is_valid(2));
    }
}
