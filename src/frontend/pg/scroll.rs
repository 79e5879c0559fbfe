//! Cursors that were declared `SCROLL`: the rows that were read stay here, so that a FETCH may go back to them.
//!
//! The query runs as far as the furthest row that was asked for. All cursors of a connection together keep at most
//! [`MAX_BYTES`]; a cursor that would keep more ends with an error.

use super::encode::{BatchEncoder, Shape};
use super::failure::{Failure, Interrupt, Severity};
use super::rows::{RowCursor, styles};
use super::socket::{FLUSH_BYTES, Socket};
use super::statement::Direction;
use arrow::array::timezone::Tz;
use arrow::array::{RecordBatch, UInt32Array};
use arrow::compute::take_record_batch;
use arrow::error::ArrowError;
use datafusion::error::DataFusionError;
use std::ops::Range;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// Most bytes of rows that the scrolling cursors of a connection keep.
pub const MAX_BYTES: usize = 64 << 20;

/// A query, with the rows it has given so far.
pub struct ScrollCursor {
    source: RowCursor,
    batches: Vec<Kept>,
    n_bytes: usize,
    /// Whether the query has given its last row.
    is_complete: bool,
    /// The row it is on, from 1; 0 in front of the first, one more than there are behind the last.
    position: u64,
}

/// A batch, with the number of rows before it.
struct Kept {
    n_before: u64,
    rows: RecordBatch,
}

/// Where a move leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Way {
    /// Rows it gives, by number from 1.
    rows: Range<u64>,
    /// Whether it gives the last of them first.
    is_backward: bool,
    /// Where the cursor is then.
    end: u64,
}

impl Way {
    fn to_none(end: u64) -> Self {
        Self { rows: 0..0, is_backward: false, end }
    }

    fn to_row(row: u64) -> Self {
        Self { rows: row..row + 1, is_backward: false, end: row }
    }

    /// Returns how many rows it gives.
    pub fn n_rows(&self) -> u64 {
        self.rows.end - self.rows.start
    }

    /// Returns the way from `position` among `n_rows` rows.
    fn of(direction: Direction, position: u64, n_rows: u64) -> Self {
        let behind = n_rows + 1;
        let to_row = |row: u64| match row {
            0 => Self::to_none(0),
            row if row > n_rows => Self::to_none(behind),
            row => Self::to_row(row),
        };
        match direction {
            Direction::Forward(n) => {
                let last = position.saturating_add(n);
                let first = (position + 1).min(behind);
                let rows = first..last.min(n_rows).saturating_add(1).max(first);
                Self { rows, is_backward: false, end: last.min(behind) }
            }
            Direction::Backward(n) => {
                let end = position.saturating_sub(n);
                Self { rows: end.max(1)..position.max(1), is_backward: true, end }
            }
            Direction::Absolute(row) => match u64::try_from(row) {
                Ok(row) => to_row(row),
                Err(_) => to_row(behind.saturating_sub(row.unsigned_abs())),
            },
            Direction::Relative(0) if (1..=n_rows).contains(&position) => Self::to_row(position),
            Direction::Relative(0) => Self::to_none(position),
            Direction::Relative(n) => to_row(position.saturating_add_signed(n)),
        }
    }
}

impl ScrollCursor {
    /// Keeps the rows of a query.
    pub fn new(source: RowCursor) -> Self {
        Self { source, batches: vec![], n_bytes: 0, is_complete: false, position: 0 }
    }

    /// Returns the query.
    pub fn source(&self) -> &RowCursor {
        &self.source
    }

    /// Returns how many bytes it keeps.
    pub fn n_bytes(&self) -> usize {
        self.n_bytes
    }

    fn n_rows(&self) -> u64 {
        self.batches.last().map_or(0, |kept| kept.n_before + kept.rows.num_rows() as u64)
    }

    /// Moves, and returns the way that leads there. The cursor may keep up to `max_bytes`.
    ///
    /// # Errors
    /// When the query fails, the client leaves, `drained` fires, or the rows are too many to keep (54000).
    pub async fn go(
        &mut self,
        direction: Direction,
        max_bytes: usize,
        socket: &mut Socket,
        drained: &CancellationToken,
    ) -> Result<Way, Interrupt> {
        let furthest = match direction {
            Direction::Forward(n) => self.position.saturating_add(n),
            Direction::Backward(_) => 0,
            // Rows are counted from the end, which has to be known.
            Direction::Absolute(row) => u64::try_from(row).unwrap_or(u64::MAX),
            Direction::Relative(n) => self.position.saturating_add_signed(n),
        };
        while !self.is_complete && self.n_rows() < furthest {
            let Some(rows) = self.source.next_rows(socket, drained).await? else {
                self.is_complete = true;
                break;
            };
            self.n_bytes += rows.columns().iter().map(|c| c.get_array_memory_size()).sum::<usize>();
            if self.n_bytes > max_bytes {
                return Err(too_large().into());
            }
            self.batches.push(Kept { n_before: self.n_rows(), rows });
        }
        let way = Way::of(direction, self.position, self.n_rows());
        self.position = way.end;
        Ok(way)
    }

    /// Sends the rows of a way.
    ///
    /// # Errors
    /// When a value has no PostgreSQL form, the formats do not fit, or the client leaves.
    pub async fn send(
        &mut self,
        way: &Way,
        formats: &[i16],
        time_zone: Tz,
        socket: &mut Socket,
    ) -> Result<(), Interrupt> {
        let schema = Arc::clone(self.source.schema());
        let styles = styles(formats, &schema, time_zone)?;
        // Not borrowed from here: what reads a query may not be shared while the socket is waited for.
        let mut parts: Vec<_> = self.batches.iter().filter_map(|kept| kept.part(way)).collect();
        if way.is_backward {
            parts.reverse();
        }
        for part in parts {
            let rows = match way.is_backward {
                true => reversed(&part).map_err(|error| {
                    crate::Error::from(DataFusionError::ArrowError(Box::new(error), None))
                })?,
                false => part,
            };
            let mut encoder = BatchEncoder::new(&rows, &schema, &styles)?;
            while !encoder.is_done() {
                let output = socket.output();
                encoder.put_rows(&mut Shape::Message, output, usize::MAX, FLUSH_BYTES)?;
                socket.flush_if_full().await?;
            }
        }
        Ok(())
    }
}

impl Kept {
    /// Returns the rows that a way gives of it.
    fn part(&self, way: &Way) -> Option<RecordBatch> {
        let n_rows = self.rows.num_rows() as u64;
        let start = way.rows.start.saturating_sub(1).clamp(self.n_before, self.n_before + n_rows);
        let end = way.rows.end.saturating_sub(1).clamp(self.n_before, self.n_before + n_rows);
        (start < end)
            .then(|| self.rows.slice((start - self.n_before) as usize, (end - start) as usize))
    }
}

fn reversed(rows: &RecordBatch) -> Result<RecordBatch, ArrowError> {
    let n_rows = rows.num_rows() as u32;
    take_record_batch(rows, &UInt32Array::from_iter_values((0..n_rows).rev()))
}

fn too_large() -> Failure {
    let message =
        format!("the SCROLL cursors of a connection keep at most {} MiB of rows", MAX_BYTES >> 20);
    let mut failure = Failure::new(Severity::Error, "54000", message);
    failure.report.hint = Some(
        "Declare the cursor without SCROLL to read it forward only, or select fewer rows.".into(),
    );
    failure
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ways_lead_where_postgres_goes() {
        // From each place among three rows: the rows, in their order, and the place then.
        let check = |direction, position, rows: &[u64], end| {
            let way = Way::of(direction, position, 3);
            let mut found: Vec<u64> = way.rows.clone().collect();
            if way.is_backward {
                found.reverse();
            }
            assert_eq!((found.as_slice(), way.end), (rows, end), "{direction:?} from {position}");
            assert_eq!(way.n_rows(), rows.len() as u64);
        };
        check(Direction::Forward(2), 0, &[1, 2], 2);
        check(Direction::Forward(3), 0, &[1, 2, 3], 3);
        check(Direction::Forward(u64::MAX), 1, &[2, 3], 4);
        check(Direction::Forward(1), 3, &[], 4);
        check(Direction::Forward(1), 4, &[], 4);
        check(Direction::Backward(1), 4, &[3], 3);
        check(Direction::Backward(2), 3, &[2, 1], 1);
        check(Direction::Backward(u64::MAX), 4, &[3, 2, 1], 0);
        check(Direction::Backward(1), 1, &[], 0);
        check(Direction::Backward(1), 0, &[], 0);
        check(Direction::Absolute(2), 4, &[2], 2);
        check(Direction::Absolute(0), 2, &[], 0);
        check(Direction::Absolute(9), 2, &[], 4);
        check(Direction::Absolute(-1), 0, &[3], 3);
        check(Direction::Absolute(-3), 0, &[1], 1);
        check(Direction::Absolute(-9), 2, &[], 0);
        check(Direction::Absolute(i64::MIN), 2, &[], 0);
        check(Direction::Relative(0), 2, &[2], 2);
        check(Direction::Relative(0), 0, &[], 0);
        check(Direction::Relative(0), 4, &[], 4);
        check(Direction::Relative(2), 1, &[3], 3);
        check(Direction::Relative(-1), 4, &[3], 3);
        check(Direction::Relative(-5), 2, &[], 0);
        check(Direction::Relative(i64::MAX), 2, &[], 4);
    }
}
