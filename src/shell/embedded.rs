//! The backend without a server: a coordinator inside this process.

use super::backend::{Backend, Reply};
use super::diagnostic::Failure;
use crate::coordinator::{Coordinator, Outcome, Session, SessionOptions};
use crate::error::Error;
use crate::frontend::functions;
use futures::future::BoxFuture;
use futures::{StreamExt, TryStreamExt};
use std::sync::Arc;

/// Runs statements in a session of a coordinator that nobody else can reach.
pub struct Embedded {
    session: Arc<Session>,
    lake: String,
}

impl Embedded {
    /// Opens a session of a coordinator; `lake` is how the user knows its lake.
    ///
    /// # Errors
    /// [`Failure::Connect`] when the coordinator refuses the session.
    pub fn open(coordinator: &Arc<Coordinator>, lake: String) -> Result<Self, Failure> {
        let options = SessionOptions {
            user: "shell".to_string(),
            application_name: "saltlake sql".to_string(),
            frontend: "shell",
            extra_functions: functions::all(),
            ..SessionOptions::default()
        };
        let session = coordinator.open_session(options).map_err(|error| refused(&lake, &error))?;
        Ok(Self { session, lake })
    }
}

/// Returns the failure of opening a lake.
pub fn refused(lake: &str, error: &Error) -> Failure {
    let report = error.report();
    let target = format!("lake {lake}");
    Failure::Connect { target, reason: report.message, hint: report.hint }
}

impl Embedded {
    async fn run(&self, sql: &str) -> Result<Reply, Failure> {
        let outcome = self.session.execute(sql).await.map_err(|error| Failure::from(&error))?;
        Ok(match outcome {
            Outcome::Done { tag } => Reply::Done { tag },
            Outcome::Rows(rows) => {
                let stream = rows.stream.map_err(|error| Failure::from(&Error::from(error)));
                Reply::Rows { schema: rows.schema, stream: stream.boxed() }
            }
        })
    }
}

impl Backend for Embedded {
    fn execute<'a>(&'a self, sql: &'a str) -> BoxFuture<'a, Result<Reply, Failure>> {
        Box::pin(self.run(sql))
    }

    fn describe(&self) -> String {
        format!("lake {} (no server)", self.lake)
    }
}
