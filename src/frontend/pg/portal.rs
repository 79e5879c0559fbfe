//! Portals: what Bind and DECLARE leave behind, and the query once it runs.
//!
//! A portal keeps its query running between two Execute messages or FETCH statements, so a client that fetches a
//! thousand rows at a time holds one query and one batch here, never the result.

use super::catalog::ShownCursor;
use super::connection::Connection;
use super::failure::Interrupt;
use super::prepared::{Kind, PreparedStatement};
use super::rows::{Progress, RowCursor};
use super::scroll::ScrollCursor;
use super::statement::{self, Direction, Fetch, Local};
use crate::coordinator::Outcome;
use arrow::datatypes::SchemaRef;
use datafusion::scalar::ScalarValue;
use pgwire::messages::extendedquery::PortalSuspended;
use pgwire::messages::response::{CommandComplete, EmptyQueryResponse};
use std::sync::Arc;
use std::time::SystemTime;

/// A statement with its values, and the query once it runs.
pub struct Portal {
    /// What it runs.
    pub statement: Arc<PreparedStatement>,
    /// Values of its parameters, until it runs.
    pub values: Vec<ScalarValue>,
    /// Formats of its columns.
    pub formats: Vec<i16>,
    /// How far it is.
    pub state: PortalState,
    /// Rows that have left.
    pub position: u64,
    /// Savepoints that were set before it.
    pub depth: usize,
    /// What DECLARE said of it; `None` for one of the protocol.
    pub cursor: Option<CursorOptions>,
    created: SystemTime,
}

/// What DECLARE says of a cursor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CursorOptions {
    /// Whether it was declared WITH HOLD.
    pub is_holdable: bool,
    /// Whether its transaction was committed and it stays.
    pub is_held: bool,
    /// Whether it was declared to scroll.
    pub is_scrollable: bool,
}

/// How far a portal is.
pub enum PortalState {
    /// It has not run yet.
    Ready,
    /// There may be more rows.
    Running(Box<RowCursor>),
    /// Its rows are kept, so that it can go back to them.
    Scrolling(Box<ScrollCursor>),
    /// All rows are out; executing again gives none.
    Exhausted(SchemaRef),
    /// A FETCH that was cut short.
    Fetching {
        /// Rows still to come.
        n_left: u64,
    },
    /// A command, which runs once.
    Finished,
}

/// What starting a statement gave.
pub(super) enum Started {
    /// Rows to send.
    Rows(Box<RowCursor>),
    /// Nothing is left to do; everything was answered.
    Done,
}

impl Portal {
    /// Creates one that has not run.
    pub fn new(
        statement: Arc<PreparedStatement>,
        values: Vec<ScalarValue>,
        formats: Vec<i16>,
        depth: usize,
    ) -> Self {
        let state = PortalState::Ready;
        let created = SystemTime::now();
        Self { statement, values, formats, state, position: 0, depth, cursor: None, created }
    }

    /// Returns its line in `pg_cursors`.
    pub fn shown(&self, name: &str) -> ShownCursor {
        ShownCursor {
            name: name.to_string(),
            sql: self.statement.sql.clone(),
            is_holdable: self.cursor.is_some_and(|cursor| cursor.is_holdable),
            is_binary: self.formats.contains(&1),
            is_scrollable: self.cursor.is_some_and(|cursor| cursor.is_scrollable),
            created: self.created,
        }
    }

    /// Returns its columns while or after it runs.
    pub fn schema(&self) -> Option<SchemaRef> {
        match &self.state {
            PortalState::Running(cursor) => Some(Arc::clone(cursor.schema())),
            PortalState::Scrolling(cursor) => Some(Arc::clone(cursor.source().schema())),
            PortalState::Exhausted(schema) => Some(Arc::clone(schema)),
            _ => None,
        }
    }

    /// Keeps it beyond a commit if it was declared so; returns whether it stays.
    pub fn hold(&mut self) -> bool {
        self.depth = 0;
        let Some(cursor) = &mut self.cursor else { return false };
        cursor.is_held = cursor.is_holdable;
        cursor.is_held
    }

    /// Returns whether it was kept beyond a commit.
    pub fn is_held(&self) -> bool {
        self.cursor.is_some_and(|cursor| cursor.is_held)
    }
}

impl Connection {
    /// Runs a portal for an Execute message.
    pub(super) async fn run_portal(
        &mut self,
        portal: &mut Portal,
        max_rows: Option<u64>,
    ) -> Result<(), Interrupt> {
        let fetch = match portal.statement.local() {
            Some(Local::Fetch(fetch)) => Some(fetch.clone()),
            _ => None,
        };
        if let Some(fetch) = fetch {
            return self.run_fetch_portal(portal, &fetch, max_rows).await;
        }
        self.start_portal(portal).await?;
        if matches!(portal.state, PortalState::Scrolling(_)) {
            let wanted = max_rows.unwrap_or(u64::MAX);
            let formats = portal.formats.clone();
            let n_rows = self.scroll(portal, false, Direction::Forward(wanted), &formats).await?;
            return match n_rows == wanted {
                true => self.socket.put(&PortalSuspended::new()),
                false => self.socket.put(&CommandComplete::new(format!("SELECT {n_rows}"))),
            };
        }
        match &mut portal.state {
            PortalState::Running(cursor) => {
                self.session.resume(cursor.query());
                let drained = self.shutdown.drained.clone();
                match cursor.send(&mut self.socket, max_rows, &drained).await? {
                    Progress::Suspended => {
                        self.session.suspend(cursor.query());
                        portal.position += max_rows.unwrap_or(0);
                        self.socket.put(&PortalSuspended::new())
                    }
                    Progress::Complete(n_rows) => {
                        portal.position += n_rows;
                        let tag = cursor.tag(n_rows);
                        portal.state = PortalState::Exhausted(Arc::clone(cursor.schema()));
                        self.socket.put(&CommandComplete::new(tag))
                    }
                }
            }
            PortalState::Exhausted(_) => {
                self.socket.put(&CommandComplete::new("SELECT 0".to_string()))
            }
            _ => Ok(()),
        }
    }

    /// Starts a portal's query unless it runs already; a command is complete and answered when this returns.
    pub(super) async fn start_portal(&mut self, portal: &mut Portal) -> Result<(), Interrupt> {
        if !matches!(portal.state, PortalState::Ready) {
            return Ok(());
        }
        let statement = Arc::clone(&portal.statement);
        let values = std::mem::take(&mut portal.values);
        portal.state = match self.start(&statement, values, &portal.formats).await? {
            Started::Rows(cursor) => PortalState::Running(cursor),
            Started::Done => PortalState::Finished,
        };
        Ok(())
    }

    /// Starts a statement other than FETCH.
    pub(super) async fn start(
        &mut self,
        statement: &Arc<PreparedStatement>,
        values: Vec<ScalarValue>,
        formats: &[i16],
    ) -> Result<Started, Interrupt> {
        let (statement, values) = match statement.local() {
            Some(Local::Execute { name, values }) => {
                let (name, values) = (name.clone(), values.clone());
                self.resolve_execute(&name, &values).await?
            }
            _ => (Arc::clone(statement), values),
        };
        match &statement.kind {
            Kind::Empty => self.socket.put(&EmptyQueryResponse::new())?,
            Kind::Local(local) => self.run_local(local, &statement.sql).await?,
            Kind::Declare(declare) => self.declare_cursor(&declare.0, &declare.1, values).await?,
            Kind::Copy(copy) => self.copy_out(&copy.0, &copy.1, values).await?,
            Kind::Planned(prepared) => match self.run(prepared, values).await? {
                Outcome::Done { tag } => self.socket.put(&CommandComplete::new(tag))?,
                Outcome::Rows(rows) => {
                    let mut cursor = RowCursor::new(rows, formats, self.time_zone())?;
                    cursor.set_command(statement::command_with_rows(&prepared.statement.ast));
                    cursor.set_wants_notice(self.wants_notices());
                    return Ok(Started::Rows(Box::new(cursor)));
                }
            },
        }
        Ok(Started::Done)
    }

    async fn run_fetch_portal(
        &mut self,
        portal: &mut Portal,
        fetch: &Fetch,
        max_rows: Option<u64>,
    ) -> Result<(), Interrupt> {
        let n_left = match portal.state {
            PortalState::Ready => fetch.n_rows(),
            PortalState::Fetching { n_left } => n_left,
            _ => return self.complete_fetch(fetch, 0),
        };
        // The first part moves as the direction says, later parts go on from there.
        let part = max_rows.unwrap_or(u64::MAX).min(n_left);
        let direction = match portal.state {
            PortalState::Ready => fetch.direction.shortened(part),
            _ => match fetch.direction {
                Direction::Backward(_) => Direction::Backward(part),
                _ => Direction::Forward(part),
            },
        };
        let formats = portal.formats.clone();
        let n_rows = self.fetch(fetch, direction, Some(&formats)).await?;
        let n_left = n_left - n_rows.min(n_left);
        if n_rows == part && n_left > 0 && max_rows == Some(part) {
            portal.state = PortalState::Fetching { n_left };
            return self.socket.put(&PortalSuspended::new());
        }
        portal.state = PortalState::Finished;
        self.complete_fetch(fetch, n_rows)
    }
}
