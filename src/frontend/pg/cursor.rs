//! SQL cursors: `DECLARE`, `FETCH`, `MOVE`, `CLOSE`.
//!
//! A cursor is a portal under a name of SQL, so a driver may declare in one protocol and fetch in the other.
//! One that was declared `SCROLL` goes back to rows it has given ([`super::scroll`]); any other only goes forward, where
//! PostgreSQL also lets those scroll whose plans can run backward.
//! Limit: a cursor holds its query's place among the running ones until its last row was read or it is closed.

use super::connection::Connection;
use super::failure::{Failure, Interrupt, Severity};
use super::portal::{CursorOptions, Portal, PortalState};
use super::prepared::{Kind, PreparedStatement, limit};
use super::rows::{self, Progress, RowCursor};
use super::scroll::{self, ScrollCursor};
use super::statement::{DeclareCursor, Direction, Fetch};
use super::transaction::outside_of_transaction;
use crate::coordinator::{Outcome, Prepared};
use arrow::datatypes::SchemaRef;
use datafusion::scalar::ScalarValue;
use pgwire::messages::response::CommandComplete;
use std::sync::Arc;

impl Connection {
    /// `DECLARE`: the query starts, and its rows wait for a FETCH.
    pub(super) async fn declare_cursor(
        &mut self,
        declare: &DeclareCursor,
        prepared: &Prepared,
        values: Vec<ScalarValue>,
    ) -> Result<(), Interrupt> {
        if !declare.is_held && !self.transaction.is_block() {
            return Err(outside_of_transaction("DECLARE CURSOR").into());
        }
        self.refuse_known_portal(&declare.name)?;
        let Outcome::Rows(rows) = self.run(prepared, values).await? else {
            let message = "a cursor needs a query that gives rows";
            return Err(Failure::new(Severity::Error, "42P11", message).into());
        };
        let formats = vec![i16::from(declare.is_binary)];
        self.session.suspend(&rows);
        let cursor = RowCursor::new(rows, &formats, self.time_zone())?;
        let sql = prepared.statement.sql.clone();
        let statement = PreparedStatement::new(Kind::Empty, Vec::new(), sql);
        let depth = self.transaction.depth();
        let mut portal = Portal::new(Arc::new(statement), Vec::new(), formats, depth);
        portal.state = match declare.is_scrollable {
            true => PortalState::Scrolling(Box::new(ScrollCursor::new(cursor))),
            false => PortalState::Running(Box::new(cursor)),
        };
        portal.cursor = Some(CursorOptions {
            is_holdable: declare.is_held,
            is_held: false,
            is_scrollable: declare.is_scrollable,
        });
        if !self.transaction.is_block() {
            portal.hold();
        }
        self.portals.insert(declare.name.clone(), portal);
        self.socket.put(&CommandComplete::new("DECLARE CURSOR".to_string()))
    }

    /// Refuses a name that is taken, and more portals than a client can mean to keep.
    pub(super) fn refuse_known_portal(&self, name: &str) -> Result<(), Failure> {
        if !name.is_empty() && self.portals.contains_key(name) {
            let message = format!("cursor \"{name}\" already exists");
            return Err(Failure::new(Severity::Error, "42P03", message));
        }
        limit(self.portals.len(), "portals")
    }

    /// `FETCH` or `MOVE` in the simple protocol, with the columns before the rows.
    pub(super) async fn fetch_simply(&mut self, fetch: &Fetch) -> Result<(), Interrupt> {
        let n_rows = self.fetch(fetch, fetch.direction, None).await?;
        self.complete_fetch(fetch, n_rows)
    }

    pub(super) fn complete_fetch(&mut self, fetch: &Fetch, n_rows: u64) -> Result<(), Interrupt> {
        let command = if fetch.is_move { "MOVE" } else { "FETCH" };
        self.socket.put(&CommandComplete::new(format!("{command} {n_rows}")))
    }

    /// Moves a cursor and sends the rows on its way; returns how many there were.
    ///
    /// `formats` are the client's for this FETCH; without them the cursor's own count and the columns are sent too.
    pub(super) async fn fetch(
        &mut self,
        fetch: &Fetch,
        direction: Direction,
        formats: Option<&[i16]>,
    ) -> Result<u64, Interrupt> {
        // The portal leaves the map while it runs: an error then drops it and with it the query.
        let Some(mut portal) = self.portals.remove(&fetch.name) else {
            return Err(unknown_cursor(&fetch.name).into());
        };
        self.start_query(&mut portal).await?;
        let is_forward_only = !matches!(portal.state, PortalState::Scrolling(_));
        if let Some(failure) = way(&portal, direction).err().filter(|_| is_forward_only) {
            // The cursor was not touched, so it stays.
            self.portals.insert(fetch.name.clone(), portal);
            return Err(failure.into());
        }
        if !fetch.is_move && formats.is_none() {
            self.describe_cursor(&portal)?;
        }
        let n_rows = self.advance(&mut portal, fetch.is_move, direction, formats).await?;
        self.portals.insert(fetch.name.clone(), portal);
        Ok(n_rows)
    }

    /// Starts the query of a portal that the protocol made and that has not run yet.
    async fn start_query(&mut self, portal: &mut Portal) -> Result<(), Interrupt> {
        if !matches!(portal.state, PortalState::Ready) {
            return Ok(());
        }
        let statement = Arc::clone(&portal.statement);
        let Kind::Planned(prepared) = &statement.kind else {
            let message = "only the rows of a query can be fetched";
            return Err(Failure::new(Severity::Error, "55000", message).into());
        };
        let values = std::mem::take(&mut portal.values);
        portal.state = match self.run(prepared, values).await? {
            Outcome::Done { .. } => PortalState::Finished,
            Outcome::Rows(rows) => {
                let cursor = RowCursor::new(rows, &portal.formats, self.time_zone())?;
                PortalState::Running(Box::new(cursor))
            }
        };
        Ok(())
    }

    fn describe_cursor(&mut self, portal: &Portal) -> Result<(), Interrupt> {
        let Some(schema) = portal.schema() else { return Ok(()) };
        let description = rows::describe(&schema, &portal.formats)?;
        self.socket.put(&description)
    }

    async fn advance(
        &mut self,
        portal: &mut Portal,
        is_move: bool,
        direction: Direction,
        formats: Option<&[i16]>,
    ) -> Result<u64, Interrupt> {
        if matches!(portal.state, PortalState::Scrolling(_)) {
            let formats = formats.map_or_else(|| portal.formats.clone(), <[i16]>::to_vec);
            return self.scroll(portal, is_move, direction, &formats).await;
        }
        let (n_passed, n_rows) = way(portal, direction)?;
        let time_zone = self.time_zone();
        let formats = formats.map_or_else(|| portal.formats.clone(), <[i16]>::to_vec);
        let PortalState::Running(cursor) = &mut portal.state else { return Ok(0) };
        self.session.resume(cursor.query());
        cursor.set_formats(&formats, time_zone)?;
        let drained = self.shutdown.drained.clone();
        let socket = &mut self.socket;
        let passed = cursor.skip(socket, n_passed, &drained).await?;
        let wanted = if passed < n_passed { 0 } else { n_rows };
        let sent = if is_move {
            cursor.skip(socket, wanted, &drained).await?
        } else {
            let limit = (wanted < u64::MAX).then_some(wanted);
            match cursor.send(socket, limit, &drained).await? {
                Progress::Complete(n_sent) => n_sent,
                Progress::Suspended => wanted,
            }
        };
        portal.position += passed + sent;
        if sent < n_rows {
            let schema: SchemaRef = Arc::clone(cursor.schema());
            portal.state = PortalState::Exhausted(schema);
        } else {
            self.session.suspend(cursor.query());
        }
        Ok(sent)
    }

    /// Moves a cursor that keeps its rows, and sends those on its way unless it only moves.
    pub(super) async fn scroll(
        &mut self,
        portal: &mut Portal,
        is_move: bool,
        direction: Direction,
        formats: &[i16],
    ) -> Result<u64, Interrupt> {
        let others = self.portals.values().map(|portal| match &portal.state {
            PortalState::Scrolling(cursor) => cursor.n_bytes(),
            _ => 0,
        });
        let max_bytes = scroll::MAX_BYTES.saturating_sub(others.sum());
        let time_zone = self.time_zone();
        let PortalState::Scrolling(cursor) = &mut portal.state else { return Ok(0) };
        self.session.resume(cursor.source().query());
        let drained = self.shutdown.drained.clone();
        let way = cursor.go(direction, max_bytes, &mut self.socket, &drained).await?;
        if !is_move {
            cursor.send(&way, formats, time_zone, &mut self.socket).await?;
        }
        self.session.suspend(cursor.source().query());
        Ok(way.n_rows())
    }

    pub(super) fn close_cursor(&mut self, name: Option<&str>) -> Result<&'static str, Interrupt> {
        let Some(name) = name else {
            self.portals.clear();
            return Ok("CLOSE CURSOR ALL");
        };
        match self.portals.remove(name) {
            Some(_) => Ok("CLOSE CURSOR"),
            None => Err(unknown_cursor(name).into()),
        }
    }
}

/// Returns how many rows a move passes over and how many it gives.
fn way(portal: &Portal, direction: Direction) -> Result<(u64, u64), Failure> {
    let is_at_end = matches!(portal.state, PortalState::Exhausted(_));
    match direction {
        Direction::Forward(n_rows) => Ok((0, n_rows)),
        Direction::Relative(n_rows) if n_rows > 0 => Ok((n_rows.unsigned_abs() - 1, 1)),
        // It is on no row, so it can stay there.
        Direction::Relative(0) if portal.position == 0 || is_at_end => Ok((0, 0)),
        Direction::Absolute(row) => match u64::try_from(row) {
            Ok(row) if row > portal.position => Ok((row - 1 - portal.position, 1)),
            // Nothing was read yet, so it can stay in front of all rows.
            Ok(0) if portal.position == 0 && !is_at_end => Ok((0, 0)),
            _ => Err(only_forward()),
        },
        Direction::Relative(_) | Direction::Backward(_) => Err(only_forward()),
    }
}

fn only_forward() -> Failure {
    let mut failure = Failure::new(Severity::Error, "55000", "cursor can only scan forward");
    let hint = "Declare it with SCROLL option to enable backward scan.";
    failure.report.hint = Some(hint.into());
    failure
}

fn unknown_cursor(name: &str) -> Failure {
    Failure::new(Severity::Error, "34000", format!("cursor \"{name}\" does not exist"))
}

impl Fetch {
    /// Returns how many rows it gives at most.
    pub(super) fn n_rows(&self) -> u64 {
        match self.direction {
            Direction::Forward(n_rows) | Direction::Backward(n_rows) => n_rows,
            Direction::Absolute(_) | Direction::Relative(_) => 1,
        }
    }
}

impl Direction {
    /// Returns the same move with at most `n_rows` rows.
    pub(super) fn shortened(self, n_rows: u64) -> Self {
        match self {
            Self::Forward(n) => Self::Forward(n.min(n_rows)),
            Self::Backward(n) => Self::Backward(n.min(n_rows)),
            other => other,
        }
    }
}
