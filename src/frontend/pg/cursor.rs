//! SQL cursors: `DECLARE`, `FETCH`, `MOVE`, `CLOSE`.
//!
//! A cursor is a portal under a name of SQL, so a driver may declare in one protocol and fetch in the other.
//! Limit: a cursor only goes forward, whatever it was declared as. It holds its query's place among the running ones
//! until it is closed.

use super::connection::Connection;
use super::failure::{Failure, Interrupt, Severity};
use super::portal::{CursorOptions, Portal, PortalState};
use super::prepared::{Kind, PreparedStatement, limit};
use super::rows::{self, Progress, RowCursor};
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
        portal.state = PortalState::Running(Box::new(cursor));
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
        if let Err(failure) = way(&portal, direction) {
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
        Direction::Relative(n_rows) => Ok((n_rows - 1, 1)),
        Direction::Absolute(row) if row > portal.position => Ok((row - 1 - portal.position, 1)),
        // It is on no row, so it can stay there.
        Direction::Stay if portal.position == 0 || is_at_end => Ok((0, 0)),
        Direction::Stay | Direction::Absolute(_) | Direction::Backward => Err(only_forward(portal)),
    }
}

fn only_forward(portal: &Portal) -> Failure {
    let mut failure = Failure::new(Severity::Error, "55000", "cursor can only scan forward");
    if portal.cursor.is_some_and(|cursor| cursor.is_scrollable) {
        let message = "moving a cursor backward is not supported";
        failure = Failure::new(Severity::Error, "0A000", message);
        failure.report.hint = Some("Close it and declare it again to read from the start.".into());
    }
    failure
}

fn unknown_cursor(name: &str) -> Failure {
    Failure::new(Severity::Error, "34000", format!("cursor \"{name}\" does not exist"))
}

impl Fetch {
    /// Returns how many rows it gives at most.
    pub(super) fn n_rows(&self) -> u64 {
        match self.direction {
            Direction::Forward(n_rows) => n_rows,
            Direction::Absolute(_) | Direction::Relative(_) => 1,
            Direction::Stay | Direction::Backward => 0,
        }
    }
}

impl Direction {
    /// Returns the same move with at most `n_rows` rows.
    pub(super) fn shortened(self, n_rows: u64) -> Self {
        match self {
            Self::Forward(n) => Self::Forward(n.min(n_rows)),
            other => other,
        }
    }
}
