//! Statements the connection answers itself: transactions, cursors, prepared statements, DISCARD.

use super::connection::Connection;
use super::failure::{Failure, Interrupt, Severity};
use super::statement::Local;
use pgwire::messages::response::CommandComplete;
use std::sync::Arc;

impl Connection {
    /// Runs a statement that belongs to the connection and completes it; `sql` is the text it came in.
    pub(super) async fn run_local(&mut self, local: &Local, sql: &str) -> Result<(), Interrupt> {
        let tag = match local {
            Local::Begin { start } => {
                self.begin()?;
                if *start { "START TRANSACTION" } else { "BEGIN" }
            }
            Local::Commit { chain } => self.end_transaction(false, *chain)?,
            Local::Rollback { chain } => self.end_transaction(true, *chain)?,
            Local::Savepoint(name) => self.savepoint(name)?,
            Local::Release(name) => self.release(name)?,
            Local::RollbackTo(name) => self.rollback_to(name)?,
            Local::Prepare(prepare) => {
                self.prepare_sql(prepare, sql).await?;
                "PREPARE"
            }
            Local::Deallocate(name) => self.deallocate(name.as_deref())?,
            Local::Fetch(fetch) => return self.fetch_simply(fetch).await,
            Local::Close(name) => self.close_cursor(name.as_deref())?,
            Local::Unlisten => "UNLISTEN",
            Local::Discard { all, tag } => {
                match all {
                    true => self.discard_all().await?,
                    false => self.discard(tag).await?,
                }
                tag
            }
            // Both are started by `portal`, which knows their values.
            Local::Declare(_) | Local::Execute { .. } => {
                return Err(
                    Failure::new(Severity::Error, "XX000", "a cursor without a plan").into()
                );
            }
        };
        self.socket.put(&CommandComplete::new(tag.to_string()))
    }

    async fn discard_all(&mut self) -> Result<(), Interrupt> {
        if self.transaction.is_block() {
            let message = "DISCARD ALL cannot run inside a transaction block";
            return Err(Failure::new(Severity::Error, "25001", message).into());
        }
        self.statements.clear();
        self.portals.clear();
        self.settings_may_differ = true;
        self.discard("DISCARD ALL").await
    }

    /// Lets the session forget what it holds.
    async fn discard(&mut self, statement: &str) -> Result<(), Interrupt> {
        let (session, statement) = (Arc::clone(&self.session), statement.to_string());
        self.unless_gone(async move { session.execute(&statement).await }).await?;
        Ok(())
    }

    /// Returns whether `client_min_messages` lets notices through.
    pub(super) fn wants_notices(&self) -> bool {
        let level = self.session.setting("client_min_messages");
        !level.is_some_and(|level| level == "warning" || level == "error")
    }

    pub(super) fn warn(&mut self, sqlstate: &'static str, message: &str) -> Result<(), Interrupt> {
        let warning = Failure::new(Severity::Warning, sqlstate, message);
        self.socket.put(&warning.to_notice())
    }
}
