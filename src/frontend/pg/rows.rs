//! Streams the rows of a running query to a client.
//!
//! Called for both protocols. One batch is held at a time and leaves in pieces of the socket's buffer, so a result of
//! any size needs the same memory and a slow client slows the query.
//! While the next batch is computed the socket is watched: a client that leaves ends the query at once.

use super::encode::{BatchEncoder, Format, Style};
use super::failure::{Failure, Interrupt};
use super::socket::{FLUSH_BYTES, Socket};
use super::types;
use crate::coordinator::Rows;
use crate::error::Error;
use arrow::array::timezone::Tz;
use arrow::datatypes::Schema;
use futures::{FutureExt, StreamExt};
use pgwire::messages::data::{FieldDescription, RowDescription};
use tokio_util::sync::CancellationToken;

/// Returns the row description of a schema; `formats` as the Bind message has them.
///
/// # Errors
/// When the client gave formats for another number of columns.
pub fn describe(schema: &Schema, formats: &[i16]) -> Result<RowDescription, Failure> {
    let formats = column_formats(formats, schema.fields().len())?;
    let fields = schema
        .fields()
        .iter()
        .zip(formats)
        .map(|(field, format)| {
            let ty = types::of_field(field);
            let name = field.name().clone();
            FieldDescription::new(name, 0, 0, ty.oid(), ty.byte_len(), ty.typmod, format.code())
        })
        .collect();
    Ok(RowDescription::new(fields))
}

/// Expands the formats of a Bind message: none means text, one means the same for all.
///
/// # Errors
/// When a code is unknown or the count does not fit.
pub fn column_formats(codes: &[i16], n_columns: usize) -> Result<Vec<Format>, Failure> {
    let formats = codes
        .iter()
        .map(|code| match code {
            0 => Ok(Format::Text),
            1 => Ok(Format::Binary),
            other => Err(Failure::protocol(format!("invalid format code: {other}"))),
        })
        .collect::<Result<Vec<_>, _>>()?;
    match formats.as_slice() {
        [] => Ok(vec![Format::Text; n_columns]),
        [format] => Ok(vec![*format; n_columns]),
        _ if formats.len() == n_columns => Ok(formats),
        _ => Err(Failure::protocol(format!(
            "{} formats were given for {n_columns} columns",
            formats.len()
        ))),
    }
}

/// Where a cursor stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// The row limit was reached; there may be more.
    Suspended,
    /// Every row is out; the count is of this call.
    Complete(u64),
}

/// A running query and what of its current batch is still to be sent. Dropping it cancels the query.
pub struct RowCursor {
    rows: Rows,
    styles: Vec<Style>,
    batch: Option<BatchEncoder>,
}

impl RowCursor {
    /// Starts reading a query's rows in these formats.
    ///
    /// # Errors
    /// When the formats do not fit the columns.
    pub fn new(rows: Rows, formats: &[i16], time_zone: Tz) -> Result<Self, Failure> {
        let formats = column_formats(formats, rows.schema.fields().len())?;
        let styles = formats.into_iter().map(|format| Style { format, time_zone }).collect();
        Ok(Self { rows, styles, batch: None })
    }

    /// Returns the columns.
    pub fn schema(&self) -> &Schema {
        &self.rows.schema
    }

    /// Sends up to `max_rows` rows.
    ///
    /// # Errors
    /// When the query fails, a value has no PostgreSQL form, the client leaves, or `drained` fires: the server does
    /// not wait longer for this query.
    pub async fn send(
        &mut self,
        socket: &mut Socket,
        max_rows: Option<u64>,
        drained: &CancellationToken,
    ) -> Result<Progress, Interrupt> {
        let mut n_sent = 0;
        loop {
            let batch = match &mut self.batch {
                Some(batch) if !batch.is_done() => batch,
                _ => match self.next_batch(socket, drained).await? {
                    true => continue,
                    false => return Ok(Progress::Complete(n_sent)),
                },
            };
            let left = max_rows.map_or(u64::MAX, |max_rows| max_rows - n_sent);
            let left = usize::try_from(left).unwrap_or(usize::MAX);
            n_sent += batch.put_rows(socket.output(), left, FLUSH_BYTES)? as u64;
            socket.flush_if_full().await?;
            if max_rows == Some(n_sent) {
                return Ok(Progress::Suspended);
            }
        }
    }

    /// Waits for the next batch; `false` at the end. What was encoded before leaves first when there is a wait.
    async fn next_batch(
        &mut self,
        socket: &mut Socket,
        drained: &CancellationToken,
    ) -> Result<bool, Interrupt> {
        // `next` only borrows the stream, so trying it once without waiting loses nothing.
        let next = match self.rows.stream.next().now_or_never() {
            Some(next) if !drained.is_cancelled() => next,
            _ => {
                // The client gets what there is before it has to wait.
                socket.flush().await?;
                tokio::select! {
                    biased;
                    () = drained.cancelled() => return Err(Failure::shutdown().into()),
                    next = self.rows.stream.next() => next,
                    error = socket.closed() => return Err(error.into()),
                }
            }
        };
        match next {
            None => Ok(false),
            Some(batch) => {
                let batch = batch.map_err(Error::from)?;
                let encoder = BatchEncoder::new(&batch, &self.rows.schema, &self.styles)?;
                self.batch = Some(encoder);
                Ok(true)
            }
        }
    }
}
