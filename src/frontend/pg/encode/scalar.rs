//! Closures for plain values: booleans, numbers, text, bytes; dates and intervals come from `datetime`.

use super::{Body, Format, Style, datetime, numeric};
use crate::error::Result;
use crate::frontend::pg::types::{self, ColumnType};
use arrow::array::types::{
    ArrowPrimitiveType, Decimal32Type, Decimal64Type, Decimal128Type, Decimal256Type, Float16Type,
    Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, UInt8Type, UInt16Type,
    UInt32Type, UInt64Type,
};
use arrow::array::{Array, ArrayRef, AsArray, PrimitiveArray, downcast_dictionary_array};
use arrow::datatypes::DataType;
use bytes::{BufMut, BytesMut};
use std::fmt::{Display, Write};

/// Returns the closure for a plain column.
pub(super) fn body(array: &ArrayRef, column: &ColumnType, style: Style) -> Result<Body> {
    let text = style.format == Format::Text;
    let body: Body = match array.data_type() {
        DataType::Boolean => boolean(array, text),
        DataType::Int8 => integer::<Int8Type, _>(array, text, |v| i16::from(v).to_be_bytes()),
        DataType::Int16 => integer::<Int16Type, _>(array, text, i16::to_be_bytes),
        DataType::Int32 => integer::<Int32Type, _>(array, text, i32::to_be_bytes),
        // Catalog columns hold OIDs as 64-bit integers; clients read four bytes.
        DataType::Int64 if column.base.len == 4 => {
            integer::<Int64Type, _>(array, text, |v| (v as u32).to_be_bytes())
        }
        DataType::Int64 => integer::<Int64Type, _>(array, text, i64::to_be_bytes),
        DataType::UInt8 => integer::<UInt8Type, _>(array, text, |v| i16::from(v).to_be_bytes()),
        DataType::UInt16 => integer::<UInt16Type, _>(array, text, |v| i32::from(v).to_be_bytes()),
        DataType::UInt32 => integer::<UInt32Type, _>(array, text, |v| i64::from(v).to_be_bytes()),
        DataType::UInt64 => decimal::<UInt64Type>(array, 0, text),
        DataType::Float16 => {
            float::<Float16Type>(array, text, |v| numeric::Float::Single(v.into()))
        }
        DataType::Float32 => float::<Float32Type>(array, text, numeric::Float::Single),
        DataType::Float64 => float::<Float64Type>(array, text, numeric::Float::Double),
        DataType::Decimal32(_, scale) => decimal::<Decimal32Type>(array, *scale, text),
        DataType::Decimal64(_, scale) => decimal::<Decimal64Type>(array, *scale, text),
        DataType::Decimal128(_, scale) => decimal::<Decimal128Type>(array, *scale, text),
        DataType::Decimal256(_, scale) => decimal::<Decimal256Type>(array, *scale, text),
        DataType::Utf8 => {
            let array = array.as_string::<i32>().clone();
            Box::new(move |row, out| put_bytes(out, array.value(row).as_bytes()))
        }
        DataType::LargeUtf8 => {
            let array = array.as_string::<i64>().clone();
            Box::new(move |row, out| put_bytes(out, array.value(row).as_bytes()))
        }
        DataType::Utf8View => {
            let array = array.as_string_view().clone();
            Box::new(move |row, out| put_bytes(out, array.value(row).as_bytes()))
        }
        DataType::Binary
        | DataType::LargeBinary
        | DataType::BinaryView
        | DataType::FixedSizeBinary(_) => binary(array, column, text),
        _ => match datetime::body(array, style)? {
            Some(body) => body,
            None => other(array)?,
        },
    };
    Ok(body)
}

/// Returns a closure that looks a row's key up and writes the dictionary's value.
pub(super) fn dictionary(array: &ArrayRef, column: &ColumnType, style: Style) -> Result<Body> {
    let array: &dyn Array = array.as_ref();
    downcast_dictionary_array!(
        array => {
            let values = super::body(array.values(), column, style)?;
            let array = array.clone();
            Ok(Box::new(move |row, out| match array.key(row) {
                Some(key) => values(key, out),
                None => Ok(()),
            }))
        },
        _ => Err(super::overflow("a dictionary with keys of an unknown type"))
    )
}

fn put_bytes(out: &mut BytesMut, bytes: &[u8]) -> Result<()> {
    out.extend_from_slice(bytes);
    Ok(())
}

fn boolean(array: &ArrayRef, text: bool) -> Body {
    let array = array.as_boolean().clone();
    Box::new(move |row, out| {
        out.put_u8(match (text, array.value(row)) {
            (true, true) => b't',
            (true, false) => b'f',
            (false, value) => u8::from(value),
        });
        Ok(())
    })
}

fn integer<T: ArrowPrimitiveType, const N: usize>(
    array: &ArrayRef,
    text: bool,
    bytes: fn(T::Native) -> [u8; N],
) -> Body
where
    T::Native: Display,
{
    let array: PrimitiveArray<T> = array.as_primitive::<T>().clone();
    if text {
        Box::new(move |row, out| {
            // Writing into a BytesMut cannot fail: it grows.
            let _ = write!(out, "{}", array.value(row));
            Ok(())
        })
    } else {
        Box::new(move |row, out| put_bytes(out, &bytes(array.value(row))))
    }
}

fn float<T: ArrowPrimitiveType>(
    array: &ArrayRef,
    text: bool,
    value: fn(T::Native) -> numeric::Float,
) -> Body {
    let array: PrimitiveArray<T> = array.as_primitive::<T>().clone();
    Box::new(move |row, out| {
        let value = value(array.value(row));
        if text {
            value.put_text(out)
        } else {
            value.put_binary(out)
        }
        Ok(())
    })
}

fn decimal<T: ArrowPrimitiveType>(array: &ArrayRef, scale: i8, text: bool) -> Body
where
    T::Native: Display,
{
    let array: PrimitiveArray<T> = array.as_primitive::<T>().clone();
    Box::new(move |row, out| {
        let digits = numeric::Digits::new(array.value(row));
        if text {
            digits.put_text(scale, out)
        } else {
            digits.put_binary(scale, out)
        }
        Ok(())
    })
}

/// Writes one value's bytes.
type PutBytes = fn(&[u8], &mut BytesMut);

/// Writes the bytes of one row in a form.
type Writer = Box<dyn Fn(usize, &mut BytesMut, PutBytes) + Send + Sync>;

fn binary(array: &ArrayRef, column: &ColumnType, text: bool) -> Body {
    let bytes: Writer = match array.data_type() {
        DataType::Binary => {
            let array = array.as_binary::<i32>().clone();
            Box::new(move |row, out, put| put(array.value(row), out))
        }
        DataType::LargeBinary => {
            let array = array.as_binary::<i64>().clone();
            Box::new(move |row, out, put| put(array.value(row), out))
        }
        DataType::BinaryView => {
            let array = array.as_binary_view().clone();
            Box::new(move |row, out, put| put(array.value(row), out))
        }
        _ => {
            let array = array.as_fixed_size_binary().clone();
            Box::new(move |row, out, put| put(array.value(row), out))
        }
    };
    let put: PutBytes = match (text, column.base == &types::UUID) {
        (true, true) => put_uuid,
        (true, false) => put_hex,
        (false, _) => |bytes, out| out.extend_from_slice(bytes),
    };
    Box::new(move |row, out| {
        bytes(row, out, put);
        Ok(())
    })
}

fn put_hex_digits(bytes: &[u8], out: &mut BytesMut) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    out.reserve(bytes.len() * 2);
    for byte in bytes {
        out.put_u8(DIGITS[usize::from(byte >> 4)]);
        out.put_u8(DIGITS[usize::from(byte & 15)]);
    }
}

fn put_hex(bytes: &[u8], out: &mut BytesMut) {
    out.extend_from_slice(b"\\x");
    put_hex_digits(bytes, out);
}

fn put_uuid(bytes: &[u8], out: &mut BytesMut) {
    for (idx, group) in [0..4, 4..6, 6..8, 8..10, 10..16].into_iter().enumerate() {
        if idx > 0 {
            out.put_u8(b'-');
        }
        put_hex_digits(&bytes[group], out);
    }
}

/// Types without a counterpart are announced as text and printed as Arrow prints them.
fn other(array: &ArrayRef) -> Result<Body> {
    let printed = arrow::compute::cast(array, &DataType::Utf8)
        .map_err(datafusion::error::DataFusionError::from)?;
    let printed = printed.as_string::<i32>().clone();
    Ok(Box::new(move |row, out| put_bytes(out, printed.value(row).as_bytes())))
}
