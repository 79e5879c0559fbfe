//! Structs, maps and nested lists as JSON text.
//!
//! Numbers and booleans stay bare, nulls are `null`, every other value is its PostgreSQL text in quotes.

use super::{Body, Cells, Format, Style, array, scalar};
use crate::error::Result;
use crate::frontend::pg::types::{self, ColumnType};
use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::DataType;
use bytes::{BufMut, BytesMut};
use std::fmt::Write;
use std::sync::Arc;

/// Returns the closure for a column announced as `json`; its binary format is the text.
pub(super) fn body(column: &ArrayRef, style: Style) -> Result<Body> {
    let style = Style { format: Format::Text, ..style };
    match column.data_type() {
        // Text that is announced as JSON already holds JSON.
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => {
            scalar::body(column, &types::of_data_type(column.data_type()), style)
        }
        _ => nested(column, style),
    }
}

fn nested(column: &ArrayRef, style: Style) -> Result<Body> {
    match column.data_type() {
        DataType::Struct(_) => object(column, style),
        DataType::Map(_, _) => map(column, style),
        DataType::Dictionary(_, _) => leaf(column, style),
        _ => match array::parts(column) {
            Some((_, values, ranges)) => {
                let elements = cells(&values, style)?;
                Ok(Box::new(move |row, out| {
                    out.put_u8(b'[');
                    let range = ranges(row);
                    for idx in range.clone() {
                        put_separator(idx > range.start, out);
                        put_value(&elements, idx, out)?;
                    }
                    out.put_u8(b']');
                    Ok(())
                }))
            }
            None => leaf(column, style),
        },
    }
}

fn cells(column: &ArrayRef, style: Style) -> Result<Cells> {
    Ok(Cells { nulls: column.logical_nulls(), body: nested(column, style)? })
}

fn object(column: &ArrayRef, style: Style) -> Result<Body> {
    let column = column.as_struct();
    let members = column
        .fields()
        .iter()
        .zip(column.columns())
        .map(|(field, member)| {
            let mut name = BytesMut::new();
            put_string(field.name(), &mut name);
            Ok((name.freeze(), cells(member, style)?))
        })
        .collect::<Result<Vec<_>>>()?;
    Ok(Box::new(move |row, out| {
        out.put_u8(b'{');
        for (idx, (name, member)) in members.iter().enumerate() {
            put_separator(idx > 0, out);
            out.put_slice(name);
            out.put_u8(b':');
            put_value(member, row, out)?;
        }
        out.put_u8(b'}');
        Ok(())
    }))
}

fn map(column: &ArrayRef, style: Style) -> Result<Body> {
    let column = column.as_map().clone();
    let keys = quoted_text(column.keys(), style)?;
    let values = cells(column.values(), style)?;
    Ok(Box::new(move |row, out| {
        let offsets = column.value_offsets();
        let range = offsets[row] as usize..offsets[row + 1] as usize;
        out.put_u8(b'{');
        for idx in range.clone() {
            put_separator(idx > range.start, out);
            keys(idx, out)?;
            out.put_u8(b':');
            put_value(&values, idx, out)?;
        }
        out.put_u8(b'}');
        Ok(())
    }))
}

fn put_value(cells: &Cells, row: usize, out: &mut BytesMut) -> Result<()> {
    if cells.is_null(row) {
        out.put_slice(b"null");
        return Ok(());
    }
    (cells.body)(row, out)
}

fn put_separator(needed: bool, out: &mut BytesMut) {
    if needed {
        out.put_u8(b',');
    }
}

/// A value without members: bare when JSON has the type, else text in quotes.
fn leaf(column: &ArrayRef, style: Style) -> Result<Body> {
    let announced = types::of_data_type(column.data_type());
    let is_boolean = announced.base == &types::BOOL;
    if announced.base == &types::JSON || is_text(&announced) {
        return quoted_text(column, style);
    }
    let text = plain_text(column, &announced, style)?;
    let is_float = matches!(announced.base.oid, 700 | 701);
    Ok(Box::new(move |row, out| {
        if is_boolean {
            let start = out.len();
            text(row, out)?;
            let is_true = out[start..] == *b"t";
            out.truncate(start);
            out.put_slice(if is_true { b"true" } else { b"false" });
            return Ok(());
        }
        let start = out.len();
        text(row, out)?;
        // JSON has no word for NaN and infinities.
        if is_float && out[start..].iter().any(|byte| matches!(byte, b'N' | b'I')) {
            let value = out[start..].to_vec();
            out.truncate(start);
            out.put_u8(b'"');
            out.put_slice(&value);
            out.put_u8(b'"');
        }
        Ok(())
    }))
}

fn is_text(column: &ColumnType) -> bool {
    column.is_array || !matches!(column.base.category, "N" | "B")
}

fn plain_text(column: &ArrayRef, announced: &ColumnType, style: Style) -> Result<Body> {
    match column.data_type() {
        DataType::Dictionary(_, _) => scalar::dictionary(column, announced, style),
        _ => scalar::body(column, announced, style),
    }
}

fn quoted_text(column: &ArrayRef, style: Style) -> Result<Body> {
    let announced = types::of_data_type(column.data_type());
    let text = plain_text(&Arc::clone(column), &announced, style)?;
    Ok(Box::new(move |row, out| {
        let start = out.len();
        text(row, out)?;
        let value = out[start..].to_vec();
        out.truncate(start);
        put_string(&String::from_utf8_lossy(&value), out);
        Ok(())
    }))
}

fn put_string(text: &str, out: &mut BytesMut) {
    out.put_u8(b'"');
    for character in text.chars() {
        match character {
            '"' => out.put_slice(b"\\\""),
            '\\' => out.put_slice(b"\\\\"),
            '\n' => out.put_slice(b"\\n"),
            '\r' => out.put_slice(b"\\r"),
            '\t' => out.put_slice(b"\\t"),
            control if control < ' ' => {
                let _ = write!(out, "\\u{:04x}", u32::from(control));
            }
            other => {
                let mut utf8 = [0; 4];
                out.put_slice(other.encode_utf8(&mut utf8).as_bytes());
            }
        }
    }
    out.put_u8(b'"');
}
