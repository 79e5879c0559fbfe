//! Streams the rows of a running query to a client.
//!
//! Called for both protocols, for cursors and for COPY. One batch is held at a time and leaves in pieces of the socket's buffer, so a result of
//! any size needs the same memory and a slow client slows the query.
//! While the next batch is computed the socket is watched: a client that leaves ends the query at once.

use super::encode::copy::{CopyFormat, CopyKind, CopyRows};
use super::encode::{BatchEncoder, Format, Shape, Style};
use super::failure::{Failure, Interrupt, Severity};
use super::socket::{FLUSH_BYTES, Socket};
use super::types;
use crate::coordinator::Rows;
use crate::error::Error;
use arrow::array::RecordBatch;
use arrow::array::timezone::Tz;
use arrow::datatypes::{Schema, SchemaRef};
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
    shape: Shape,
    /// The command tag, when it is not that of a query.
    command: Option<&'static str>,
    /// Whether the client still wants to hear what planning has to say.
    wants_notice: bool,
    batch: Option<Current>,
}

/// The batch being sent, kept for a client that goes on in another format.
struct Current {
    batch: RecordBatch,
    encoder: BatchEncoder,
}

impl RowCursor {
    /// Starts reading a query's rows in these formats.
    ///
    /// # Errors
    /// When the formats do not fit the columns.
    pub fn new(rows: Rows, formats: &[i16], time_zone: Tz) -> Result<Self, Failure> {
        let styles = styles(formats, &rows.schema, time_zone)?;
        Ok(Self {
            rows,
            styles,
            shape: Shape::Message,
            command: None,
            wants_notice: false,
            batch: None,
        })
    }

    /// Says that the rows are not a query's but a command's.
    pub fn set_command(&mut self, command: Option<&'static str>) {
        self.command = command;
    }

    /// Says whether the client wants to hear what planning has to say.
    pub fn set_wants_notice(&mut self, wants_notice: bool) {
        self.wants_notice = wants_notice;
    }

    /// Returns the command tag once `n_rows` rows were sent.
    pub fn tag(&self, n_rows: u64) -> String {
        self.command.map_or_else(|| format!("SELECT {n_rows}"), str::to_string)
    }

    /// Starts reading a query's rows for a COPY.
    ///
    /// # Errors
    /// Never: one format fits any columns.
    pub fn copy(rows: Rows, format: CopyFormat, time_zone: Tz) -> Result<Self, Failure> {
        let code = i16::from(format.kind == CopyKind::Binary);
        let styles = styles(&[code], &rows.schema, time_zone)?;
        let shape = Shape::Copy(CopyRows::new(format));
        Ok(Self { rows, styles, shape, command: None, wants_notice: false, batch: None })
    }

    /// Goes on in these formats and this time zone, from the next row.
    ///
    /// # Errors
    /// When the formats do not fit the columns.
    pub fn set_formats(&mut self, formats: &[i16], time_zone: Tz) -> Result<(), Interrupt> {
        self.styles = styles(formats, &self.rows.schema, time_zone)?;
        if let Some(current) = &mut self.batch {
            let position = current.encoder.position();
            current.encoder = BatchEncoder::new(&current.batch, &self.rows.schema, &self.styles)?;
            current.encoder.skip(position);
        }
        Ok(())
    }

    /// Returns the columns.
    pub fn schema(&self) -> &SchemaRef {
        &self.rows.schema
    }

    /// Returns the query.
    pub fn query(&self) -> &Rows {
        &self.rows
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
            let left = max_rows.map_or(u64::MAX, |max_rows| max_rows - n_sent);
            if left == 0 {
                return Ok(Progress::Suspended);
            }
            let Some(encoder) = self.encoder(socket, drained).await? else {
                return Ok(Progress::Complete(n_sent));
            };
            let left = usize::try_from(left).unwrap_or(usize::MAX);
            let (shape, encoder) = encoder;
            n_sent += encoder.put_rows(shape, socket.output(), left, FLUSH_BYTES)? as u64;
            socket.flush_if_full().await?;
        }
    }

    /// Returns the rows that come next; `None` at the end.
    ///
    /// # Errors
    /// When the query fails, the client leaves, or `drained` fires.
    pub async fn next_rows(
        &mut self,
        socket: &mut Socket,
        drained: &CancellationToken,
    ) -> Result<Option<RecordBatch>, Interrupt> {
        let rows = self.next_batch(socket, drained).await?;
        self.put_notice(socket)?;
        Ok(rows)
    }

    /// Passes over up to `max_rows` rows; returns how many there were.
    ///
    /// # Errors
    /// As [`RowCursor::send`].
    pub async fn skip(
        &mut self,
        socket: &mut Socket,
        max_rows: u64,
        drained: &CancellationToken,
    ) -> Result<u64, Interrupt> {
        let mut n_skipped = 0;
        while n_skipped < max_rows {
            let Some((_, encoder)) = self.encoder(socket, drained).await? else { break };
            let left = usize::try_from(max_rows - n_skipped).unwrap_or(usize::MAX);
            n_skipped += encoder.skip(left) as u64;
        }
        Ok(n_skipped)
    }

    /// Sends all rows as a COPY, with what comes before and after them; returns how many there were.
    ///
    /// # Errors
    /// As [`RowCursor::send`].
    pub async fn send_copy(
        &mut self,
        socket: &mut Socket,
        drained: &CancellationToken,
    ) -> Result<u64, Interrupt> {
        if let Shape::Copy(copy) = &self.shape {
            let names: Vec<_> =
                self.rows.schema.fields().iter().map(|field| field.name().as_str()).collect();
            copy.put_header(&names, socket.output())?;
        }
        let n_rows = match self.send(socket, None, drained).await? {
            Progress::Complete(n_rows) => n_rows,
            Progress::Suspended => 0,
        };
        if let Shape::Copy(copy) = &self.shape {
            copy.put_trailer(socket.output())?;
        }
        Ok(n_rows)
    }

    /// Returns the rows at hand, or those of the next batch; `None` at the end.
    async fn encoder(
        &mut self,
        socket: &mut Socket,
        drained: &CancellationToken,
    ) -> Result<Option<(&mut Shape, &mut BatchEncoder)>, Interrupt> {
        while self.batch.as_ref().is_none_or(|current| current.encoder.is_done()) {
            self.batch = None;
            match self.next_rows(socket, drained).await? {
                None => return Ok(None),
                Some(batch) => {
                    let encoder = BatchEncoder::new(&batch, &self.rows.schema, &self.styles)?;
                    self.batch = Some(Current { batch, encoder });
                }
            }
        }
        match &mut self.batch {
            Some(current) => Ok(Some((&mut self.shape, &mut current.encoder))),
            None => Ok(None),
        }
    }

    /// Sends what planning had to say, once.
    fn put_notice(&mut self, socket: &mut Socket) -> Result<(), Interrupt> {
        if let Some(notice) = self.rows.notice().filter(|_| self.wants_notice) {
            self.wants_notice = false;
            socket.put(&Failure::new(Severity::Notice, "00000", notice).to_notice())?;
        }
        Ok(())
    }

    /// Waits for the next batch. What was encoded before leaves first when there is a wait.
    async fn next_batch(
        &mut self,
        socket: &mut Socket,
        drained: &CancellationToken,
    ) -> Result<Option<RecordBatch>, Interrupt> {
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
        next.transpose().map_err(|error| Error::from(error).into())
    }
}

/// Returns how each column is written.
///
/// # Errors
/// When the formats do not fit the columns.
pub fn styles(formats: &[i16], schema: &Schema, time_zone: Tz) -> Result<Vec<Style>, Failure> {
    let formats = column_formats(formats, schema.fields().len())?;
    Ok(formats.into_iter().map(|format| Style { format, time_zone }).collect())
}
