//! Values of the format as Arrow arrays and scalars.
//!
//! Called by [`super::facade`]. Values come as literals of the `iceberg` crate, or as bytes in the format's own encoding
//! of single values (partition ranges in manifest lists).

use super::schema::Primitive;
use arrow::array::{
    ArrayRef, BinaryViewArray, BooleanArray, Date32Array, Decimal128Array, FixedSizeBinaryBuilder,
    Float32Array, Float64Array, Int32Array, Int64Array, StringViewArray, Time64MicrosecondArray,
    TimestampMicrosecondArray, TimestampNanosecondArray, new_null_array,
};
use datafusion::scalar::ScalarValue;
use iceberg::spec::PrimitiveLiteral as Literal;
use std::sync::Arc;

/// Returns an array of literals; those of another type than `primitive` become null.
pub(super) fn array_of<'a>(
    primitive: Primitive,
    values: impl ExactSizeIterator<Item = Option<&'a Literal>>,
) -> ArrayRef {
    macro_rules! collect {
        ($array:ty, $variant:ident, $value:ident => $make:expr) => {
            values
                .map(|value| match value {
                    Some(Literal::$variant($value)) => Some($make),
                    _ => None,
                })
                .collect::<$array>()
        };
    }
    let zone = || Arc::<str>::from("UTC");
    match primitive {
        Primitive::Boolean => Arc::new(collect!(BooleanArray, Boolean, v => *v)),
        Primitive::Int => Arc::new(collect!(Int32Array, Int, v => *v)),
        Primitive::Long => Arc::new(collect!(Int64Array, Long, v => *v)),
        Primitive::Float => Arc::new(collect!(Float32Array, Float, v => v.0)),
        Primitive::Double => Arc::new(collect!(Float64Array, Double, v => v.0)),
        Primitive::Date => Arc::new(collect!(Date32Array, Int, v => *v)),
        Primitive::Time => Arc::new(collect!(Time64MicrosecondArray, Long, v => *v)),
        Primitive::Timestamp => Arc::new(collect!(TimestampMicrosecondArray, Long, v => *v)),
        Primitive::Timestamptz => {
            let array = collect!(TimestampMicrosecondArray, Long, v => *v);
            Arc::new(array.with_timezone(zone()))
        }
        Primitive::TimestampNs => Arc::new(collect!(TimestampNanosecondArray, Long, v => *v)),
        Primitive::TimestamptzNs => {
            let array = collect!(TimestampNanosecondArray, Long, v => *v);
            Arc::new(array.with_timezone(zone()))
        }
        Primitive::String => Arc::new(collect!(StringViewArray, String, v => v.as_str())),
        Primitive::Binary => Arc::new(collect!(BinaryViewArray, Binary, v => v.as_slice())),
        Primitive::Decimal { precision, scale } => {
            let array = collect!(Decimal128Array, Int128, v => *v);
            let n = arrow::array::Array::len(&array);
            match array.with_precision_and_scale(precision, scale) {
                Ok(array) => Arc::new(array),
                Err(_) => new_null_array(&primitive.arrow(), n),
            }
        }
        Primitive::Uuid => fixed(
            16,
            values.map(|value| match value {
                Some(Literal::UInt128(value)) => Some(value.to_be_bytes().to_vec()),
                _ => None,
            }),
        ),
        Primitive::Fixed(length) => fixed(
            length,
            values.map(|value| match value {
                Some(Literal::Binary(value)) => Some(value.clone()),
                _ => None,
            }),
        ),
    }
}

fn fixed(length: i32, values: impl Iterator<Item = Option<Vec<u8>>>) -> ArrayRef {
    let mut builder = FixedSizeBinaryBuilder::new(length);
    for value in values {
        match value {
            Some(value) if builder.append_value(&value).is_ok() => {}
            _ => builder.append_null(),
        }
    }
    Arc::new(builder.finish())
}

/// Returns a literal as a scalar; `None` when it is of another type.
pub(super) fn scalar_of(primitive: Primitive, value: &Literal) -> Option<ScalarValue> {
    let array = array_of(primitive, std::iter::once(Some(value)));
    ScalarValue::try_from_array(&array, 0).ok().filter(|scalar| !scalar.is_null())
}

/// Reads a value in the format's encoding of single values; `None` when the bytes are none.
pub(super) fn decode(primitive: Primitive, bytes: &[u8]) -> Option<ScalarValue> {
    let literal = match primitive {
        Primitive::Boolean => Literal::Boolean(*bytes.first()? != 0),
        Primitive::Int | Primitive::Date => {
            Literal::Int(i32::from_le_bytes(bytes.try_into().ok()?))
        }
        // A value from before its column became wider keeps its width.
        Primitive::Long if bytes.len() == 4 => {
            Literal::Long(i32::from_le_bytes(bytes.try_into().ok()?).into())
        }
        Primitive::Long
        | Primitive::Time
        | Primitive::Timestamp
        | Primitive::Timestamptz
        | Primitive::TimestampNs
        | Primitive::TimestamptzNs => Literal::Long(i64::from_le_bytes(bytes.try_into().ok()?)),
        Primitive::String => Literal::String(std::str::from_utf8(bytes).ok()?.to_owned()),
        Primitive::Binary | Primitive::Fixed(_) => Literal::Binary(bytes.to_vec()),
        Primitive::Uuid => Literal::UInt128(u128::from_be_bytes(bytes.try_into().ok()?)),
        Primitive::Decimal { .. } => Literal::Int128(big_endian(bytes)?),
        Primitive::Float | Primitive::Double => return None,
    };
    scalar_of(primitive, &literal)
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

    #[test]
    fn single_values_are_decoded() {
        let check = |primitive, bytes: &[u8], expected: Option<ScalarValue>| {
            assert_eq!(decode(primitive, bytes), expected, "{primitive:?} {bytes:?}");
        };
        check(Primitive::Int, &[1, 0, 0, 0], Some(ScalarValue::Int32(Some(1))));
        check(Primitive::Int, &[1, 0], None);
        check(Primitive::Long, &[255; 4], Some(ScalarValue::Int64(Some(-1))));
        check(Primitive::String, b"ab", Some(ScalarValue::Utf8View(Some("ab".into()))));
        check(Primitive::String, &[0xff], None);
        let decimal = Primitive::Decimal { precision: 9, scale: 2 };
        check(decimal, &[0xff, 0x38], Some(ScalarValue::Decimal128(Some(-200), 9, 2)));
        check(decimal, &[], None);
        check(Primitive::Double, &[0; 8], None);
    }
}
