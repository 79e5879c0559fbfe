//! Arrow batches to `DataRow` messages, or to the rows of a COPY.
//!
//! Called by `rows::RowCursor`. The one idea: what to do with a column is decided once per batch, as a closure over
//! the typed array; a row then costs one call per column and writes straight into the socket's buffer.
//! Nulls, dictionaries and lists are wrappers around the closures of plain types.
//! Limits: values leave in PostgreSQL's ISO, `postgres` interval and hex styles only.

mod array;
pub mod copy;
mod datetime;
mod json;
mod numeric;
mod scalar;

use super::types::{self, ColumnType};
use crate::error::Result;
use arrow::array::timezone::Tz;
use arrow::array::{Array, ArrayRef, RecordBatch};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{Field, Schema};
use bytes::{BufMut, BytesMut};
use copy::CopyRows;

/// How a value leaves: PostgreSQL's format codes 0 and 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// As text, what psql shows.
    Text,
    /// In the type's binary send format, big endian.
    Binary,
}

impl Format {
    /// Returns the code a row description carries.
    pub fn code(self) -> i16 {
        match self {
            Self::Text => 0,
            Self::Binary => 1,
        }
    }
}

/// What the text of a value depends on besides the value.
#[derive(Debug, Clone, Copy)]
pub struct Style {
    /// The format asked for.
    pub format: Format,
    /// The session's time zone, for `timestamptz` as text.
    pub time_zone: Tz,
}

/// Writes one value's bytes, without its length; never called for a null.
type Body = Box<dyn Fn(usize, &mut BytesMut) -> Result<()> + Send + Sync>;

/// One column of one batch, ready to write.
pub struct Cells {
    nulls: Option<NullBuffer>,
    body: Body,
}

impl Cells {
    /// Compiles a column of a batch.
    ///
    /// # Errors
    /// When the array's type cannot be read as its own data type says, which is a bug of its producer.
    fn compile(array: &ArrayRef, field: &Field, style: Style) -> Result<Self> {
        let column = types::of_field(field);
        let body = body(array, &column, style)?;
        Ok(Self { nulls: array.logical_nulls(), body })
    }

    fn is_null(&self, row: usize) -> bool {
        self.nulls.as_ref().is_some_and(|nulls| nulls.is_null(row))
    }

    /// Writes the value with its length in front, -1 for null.
    fn put(&self, row: usize, out: &mut BytesMut) -> Result<()> {
        if self.is_null(row) {
            out.put_i32(-1);
            return Ok(());
        }
        let start = out.len();
        out.put_i32(0);
        (self.body)(row, out)?;
        set_length(out, start, out.len() - start - 4)
    }
}

/// Chooses the closure for a column; dictionaries and run ends are resolved here, so the rest sees plain arrays.
fn body(array: &ArrayRef, column: &ColumnType, style: Style) -> Result<Body> {
    use arrow::datatypes::DataType;
    match array.data_type() {
        DataType::Dictionary(_, _) => scalar::dictionary(array, column, style),
        DataType::RunEndEncoded(_, values) => {
            let plain = arrow::compute::cast(array, values.data_type())
                .map_err(datafusion::error::DataFusionError::from)?;
            body(&plain, column, style)
        }
        _ if column.is_array => array::body(array, column, style),
        _ if column.base == &types::JSON => json::body(array, style),
        _ if column.base == &types::JSONB => {
            scalar::body(array, column, style).map(|text| versioned(text, style))
        }
        _ => scalar::body(array, column, style),
    }
}

/// Writes the version of its format before binary `jsonb`, which is its text otherwise.
fn versioned(text: Body, style: Style) -> Body {
    match style.format {
        Format::Text => text,
        Format::Binary => Box::new(move |row, out| {
            out.put_u8(1);
            text(row, out)
        }),
    }
}

/// Writes a length over the four bytes at `start`.
fn set_length(out: &mut BytesMut, start: usize, length: usize) -> Result<()> {
    let length = i32::try_from(length).map_err(|_| too_long())?;
    out[start..start + 4].copy_from_slice(&length.to_be_bytes());
    Ok(())
}

fn too_long() -> crate::Error {
    overflow("a value or row is longer than the protocol's 2 GiB")
}

/// An error for a value PostgreSQL's formats cannot hold; reported as 22003.
fn overflow(what: &str) -> crate::Error {
    let error = arrow::error::ArrowError::ArithmeticOverflow(what.to_string());
    datafusion::error::DataFusionError::from(error).into()
}

/// What a row is written as.
#[derive(Debug)]
pub enum Shape {
    /// A `DataRow` message.
    Message,
    /// A row of a COPY.
    Copy(CopyRows),
}

/// A batch whose columns are compiled; remembers how far it has been sent.
pub struct BatchEncoder {
    columns: Vec<Cells>,
    n_rows: usize,
    next: usize,
}

impl BatchEncoder {
    /// Compiles a batch; `styles` holds one entry a column.
    ///
    /// # Errors
    /// When a column cannot be compiled, see [`Cells::compile`].
    pub fn new(batch: &RecordBatch, schema: &Schema, styles: &[Style]) -> Result<Self> {
        let columns = batch
            .columns()
            .iter()
            .zip(schema.fields())
            .zip(styles)
            .map(|((array, field), style)| Cells::compile(array, field, *style))
            .collect::<Result<_>>()?;
        Ok(Self { columns, n_rows: batch.num_rows(), next: 0 })
    }

    /// Returns the next row.
    pub fn position(&self) -> usize {
        self.next
    }

    /// Passes over up to `n` rows without writing them; returns how many there were.
    pub fn skip(&mut self, n: usize) -> usize {
        let skipped = n.min(self.n_rows - self.next);
        self.next += skipped;
        skipped
    }

    /// Returns whether every row has been written.
    pub fn is_done(&self) -> bool {
        self.next == self.n_rows
    }

    /// Writes rows until `max_rows` are out or `out` holds `max_bytes`; returns how many were written.
    ///
    /// # Errors
    /// When a value cannot be expressed in PostgreSQL's format; `out` then ends before that row.
    pub fn put_rows(
        &mut self,
        shape: &mut Shape,
        out: &mut BytesMut,
        max_rows: usize,
        max_bytes: usize,
    ) -> Result<usize> {
        let first = self.next;
        let last = self.n_rows.min(first.saturating_add(max_rows));
        while self.next < last && out.len() < max_bytes {
            let start = out.len();
            let written = match shape {
                Shape::Message => self.put_row(out),
                Shape::Copy(copy) => copy.put_row(&self.columns, self.next, out),
            };
            if let Err(error) = written {
                out.truncate(start);
                return Err(error);
            }
            self.next += 1;
        }
        Ok(self.next - first)
    }

    fn put_row(&self, out: &mut BytesMut) -> Result<()> {
        out.put_u8(b'D');
        let start = out.len();
        out.put_i32(0);
        out.put_u16(self.columns.len() as u16);
        for cells in &self.columns {
            cells.put(self.next, out)?;
        }
        set_length(out, start, out.len() - start)
    }
}

#[cfg(test)]
mod tests;
