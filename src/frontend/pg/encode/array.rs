//! Lists as PostgreSQL arrays: one dimension, lower bound 1.

use super::{Body, Cells, Format, Style};
use crate::error::Result;
use crate::frontend::pg::types::{self, ColumnType};
use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{DataType, Field};
use bytes::{BufMut, BytesMut};
use std::ops::Range;
use std::sync::Arc;

/// Where the elements of each list lie in the child array.
pub(super) type Ranges = Box<dyn Fn(usize) -> Range<usize> + Send + Sync>;

/// Returns the closure for a list column.
pub(super) fn body(array: &ArrayRef, column: &ColumnType, style: Style) -> Result<Body> {
    let Some((_, values, ranges)) = parts(array) else {
        return Err(super::overflow("a list of an unknown kind"));
    };
    // The element keeps the column's announced type, which metadata may have changed.
    let element = ColumnType { is_array: false, ..*column };
    let nulls = values.logical_nulls();
    let cells = Cells { nulls, body: super::body(&values, &element, style)? };
    Ok(match style.format {
        Format::Binary => {
            let oid = element.oid();
            Box::new(move |row, out| put_binary(&cells, ranges(row), oid, out))
        }
        Format::Text => {
            let bare = is_never_quoted(element.base);
            Box::new(move |row, out| put_text(&cells, ranges(row), bare, out))
        }
    })
}

/// Returns the element field, the child array and the place of each list in it.
pub(super) fn parts(array: &ArrayRef) -> Option<(Arc<Field>, ArrayRef, Ranges)> {
    Some(match array.data_type() {
        DataType::List(field) => {
            let list = array.as_list::<i32>().clone();
            let values = Arc::clone(list.values());
            let ranges: Ranges = Box::new(move |row| {
                let offsets = list.value_offsets();
                offsets[row] as usize..offsets[row + 1] as usize
            });
            (Arc::clone(field), values, ranges)
        }
        DataType::LargeList(field) => {
            let list = array.as_list::<i64>().clone();
            let values = Arc::clone(list.values());
            let ranges: Ranges = Box::new(move |row| {
                let offsets = list.value_offsets();
                offsets[row] as usize..offsets[row + 1] as usize
            });
            (Arc::clone(field), values, ranges)
        }
        DataType::FixedSizeList(field, size) => {
            let list = array.as_fixed_size_list();
            let size = *size as usize;
            let ranges: Ranges = Box::new(move |row| row * size..(row + 1) * size);
            (Arc::clone(field), Arc::clone(list.values()), ranges)
        }
        DataType::ListView(field) => {
            let list = array.as_list_view::<i32>().clone();
            let values = Arc::clone(list.values());
            let ranges: Ranges = Box::new(move |row| {
                let start = list.value_offsets()[row] as usize;
                start..start + list.value_sizes()[row] as usize
            });
            (Arc::clone(field), values, ranges)
        }
        DataType::LargeListView(field) => {
            let list = array.as_list_view::<i64>().clone();
            let values = Arc::clone(list.values());
            let ranges: Ranges = Box::new(move |row| {
                let start = list.value_offsets()[row] as usize;
                start..start + list.value_sizes()[row] as usize
            });
            (Arc::clone(field), values, ranges)
        }
        _ => return None,
    })
}

fn put_binary(cells: &Cells, range: Range<usize>, oid: u32, out: &mut BytesMut) -> Result<()> {
    let has_null = range.clone().any(|idx| cells.is_null(idx));
    out.put_i32(if range.is_empty() { 0 } else { 1 });
    out.put_i32(i32::from(has_null));
    out.put_u32(oid);
    if range.is_empty() {
        return Ok(());
    }
    let n_elements = i32::try_from(range.len()).map_err(|_| super::too_long())?;
    out.put_i32(n_elements);
    out.put_i32(1);
    range.into_iter().try_for_each(|idx| cells.put(idx, out))
}

fn put_text(cells: &Cells, range: Range<usize>, bare: bool, out: &mut BytesMut) -> Result<()> {
    out.put_u8(b'{');
    let first = range.start;
    for idx in range {
        if idx > first {
            out.put_u8(b',');
        }
        if cells.is_null(idx) {
            out.put_slice(b"NULL");
            continue;
        }
        let start = out.len();
        (cells.body)(idx, out)?;
        if !bare && needs_quotes(&out[start..]) {
            quote(out, start);
        }
    }
    out.put_u8(b'}');
    Ok(())
}

/// Numbers and booleans never hold a character that array syntax reserves.
fn is_never_quoted(base: &types::PgType) -> bool {
    matches!(base.category, "N" | "B")
}

fn needs_quotes(element: &[u8]) -> bool {
    element.is_empty()
        || element.eq_ignore_ascii_case(b"null")
        || element
            .iter()
            .any(|byte| matches!(byte, b'"' | b'\\' | b'{' | b'}' | b',') || is_array_space(*byte))
}

/// The characters PostgreSQL's array reader skips as blank.
fn is_array_space(byte: u8) -> bool {
    byte == b' ' || (b'\t'..=b'\r').contains(&byte)
}

/// Puts quotes around what was written from `start` on.
fn quote(out: &mut BytesMut, start: usize) {
    let element = out[start..].to_vec();
    out.truncate(start);
    out.put_u8(b'"');
    for byte in element {
        if matches!(byte, b'"' | b'\\') {
            out.put_u8(b'\\');
        }
        out.put_u8(byte);
    }
    out.put_u8(b'"');
}
