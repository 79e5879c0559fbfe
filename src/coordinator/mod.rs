//! Accepts statements, plans them, and places their work.
//!
//! [`Coordinator`] is shared by all frontends; [`Session`] belongs to one client.

pub mod session;

pub use session::{Outcome, Prepared, Rows, Session, SessionOptions};

use crate::error::Result;
use std::sync::Arc;
use uuid::Uuid;

/// The role that accepts statements: lake, sessions, running queries, members of the cluster.
pub struct Coordinator {}

impl Coordinator {
    /// Opens a session for a client.
    ///
    /// # Errors
    /// When the database does not exist (3D000) or too many sessions are open (53300).
    pub fn open_session(self: &Arc<Self>, options: SessionOptions) -> Result<Arc<Session>> {
        let _ = options;
        unimplemented!()
    }

    /// Cancels what a session runs, as a PostgreSQL cancel request does. Returns whether the key fitted a session.
    pub fn cancel_session(&self, session_pid: i32, secret: i32) -> bool {
        let _ = (session_pid, secret);
        unimplemented!()
    }

    /// Cancels one query by its id. Returns whether it was running.
    pub fn cancel_query(&self, query_id: Uuid) -> bool {
        let _ = query_id;
        unimplemented!()
    }

    /// Returns the lake this coordinator serves.
    pub fn lake(&self) -> &Arc<saltlake_catalog::Lake> {
        unimplemented!()
    }
}
