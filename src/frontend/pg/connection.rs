//! One client's connection: reads messages, keeps the protocol's state, answers.
//!
//! Called by `serve`, one task a connection. The simple protocol is here, the extended one in `extended`.
//! The one idea: every handler returns an [`Interrupt`] on failure and never sends an error itself; `serve` of this
//! file sends it, moves the transaction to its failed state, and knows whether to skip to the next `Sync`.

use super::catalog::Catalog;
use super::extended::{Portal, PreparedStatement};
use super::failure::{Failure, Interrupt, Severity};
use super::rows::{self, Progress, RowCursor};
use super::socket::Socket;
use super::startup::REPORTED_SETTINGS;
use super::statement::{self, Local};
use crate::coordinator::{Outcome, Prepared, Session};
use arrow::array::timezone::Tz;
use datafusion::scalar::ScalarValue;
use pgwire::messages::PgWireFrontendMessage as Message;
use pgwire::messages::response::{
    CommandComplete, EmptyQueryResponse, ReadyForQuery, TransactionStatus,
};
use pgwire::messages::startup::ParameterStatus;
use saltlake_sql::parse::Statement;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, warn};

/// When a connection has to end although its client does not.
#[derive(Debug, Clone)]
pub struct Shutdown {
    /// Idle connections close.
    pub stop: CancellationToken,
    /// Running statements end too.
    pub drained: CancellationToken,
}

/// The state of one client's connection after startup.
pub struct Connection {
    pub(super) socket: Socket,
    pub(super) session: Arc<Session>,
    pub(super) catalog: Arc<Catalog>,
    pub(super) transaction: TransactionStatus,
    pub(super) statements: HashMap<String, Arc<PreparedStatement>>,
    pub(super) portals: HashMap<String, Portal>,
    pub(super) shutdown: Shutdown,
    known_settings: BTreeMap<&'static str, String>,
    settings_may_differ: bool,
    skip_until_sync: bool,
}

impl Connection {
    /// Takes over a socket whose client has been greeted.
    pub fn new(
        socket: Socket,
        session: Arc<Session>,
        catalog: Arc<Catalog>,
        known_settings: BTreeMap<&'static str, String>,
        shutdown: Shutdown,
    ) -> Self {
        Self {
            socket,
            session,
            catalog,
            transaction: TransactionStatus::Idle,
            statements: HashMap::new(),
            portals: HashMap::new(),
            shutdown,
            known_settings,
            settings_may_differ: false,
            skip_until_sync: false,
        }
    }

    /// Serves the client until it leaves, breaks the protocol, or the server shuts down.
    pub async fn serve(mut self) {
        let result = match self.ready().await {
            Ok(()) => self.serve_messages().await,
            failed => failed,
        };
        // Queries behind open portals end before the goodbye is written to a client that may not read it.
        self.portals.clear();
        match result {
            Ok(()) => {}
            Err(Interrupt::Gone(error)) => debug!(%error, "client is gone"),
            Err(Interrupt::Failed(failure)) => {
                log(&failure);
                if self.socket.put(&failure.to_error_response()).is_ok() {
                    self.socket.close().await;
                }
            }
        }
    }

    async fn serve_messages(&mut self) -> Result<(), Interrupt> {
        loop {
            let message = tokio::select! {
                biased;
                () = self.shutdown.stop.cancelled() => return Err(Failure::shutdown().into()),
                message = self.socket.read_message() => message?,
            };
            let Some(message) = message else { return Ok(()) };
            if matches!(message, Message::Terminate(_)) {
                return Ok(());
            }
            if self.skip_until_sync && !matches!(message, Message::Sync(_)) {
                continue;
            }
            let extended = message.is_extended_query();
            match self.handle(message).await {
                Err(Interrupt::Failed(failure)) if failure.severity == Severity::Error => {
                    self.fail(&failure, extended).await?;
                }
                result => result?,
            }
        }
    }

    async fn handle(&mut self, message: Message) -> Result<(), Interrupt> {
        match message {
            Message::Query(query) => {
                self.query(&query.query).await?;
                self.ready().await
            }
            Message::Parse(parse) => self.parse(parse).await,
            Message::Bind(bind) => self.bind(bind),
            Message::Describe(describe) => self.describe(&describe),
            Message::Execute(execute) => self.execute(&execute).await,
            Message::Close(close) => self.close(&close),
            Message::Flush(_) => Ok(self.socket.flush().await?),
            Message::Sync(_) => {
                self.skip_until_sync = false;
                self.sync();
                self.ready().await
            }
            // What is left of a COPY that failed may still arrive; PostgreSQL ignores it too.
            Message::CopyData(_) | Message::CopyDone(_) | Message::CopyFail(_) => Ok(()),
            _ => Err(Failure::protocol("unexpected message").into()),
        }
    }

    /// Tells the client about a failure it can go on after.
    async fn fail(&mut self, failure: &Failure, extended: bool) -> Result<(), Interrupt> {
        log(failure);
        self.socket.put(&failure.to_error_response())?;
        if self.transaction == TransactionStatus::Transaction {
            self.transaction = TransactionStatus::Error;
        }
        if extended {
            self.skip_until_sync = true;
            Ok(self.socket.flush().await?)
        } else {
            self.ready().await
        }
    }

    async fn ready(&mut self) -> Result<(), Interrupt> {
        self.report_settings()?;
        self.socket.put(&ReadyForQuery::new(self.transaction))?;
        Ok(self.socket.flush().await?)
    }

    fn report_settings(&mut self) -> Result<(), Interrupt> {
        if !std::mem::take(&mut self.settings_may_differ) {
            return Ok(());
        }
        for (name, default) in REPORTED_SETTINGS {
            let value = self.session.setting(name).unwrap_or_else(|| default.to_string());
            if self.known_settings.get(name) != Some(&value) {
                self.socket.put(&ParameterStatus::new(name.to_string(), value.clone()))?;
                self.known_settings.insert(name, value);
            }
        }
        Ok(())
    }

    /// Runs a simple query message: its statements in order, each answered before the next starts.
    async fn query(&mut self, sql: &str) -> Result<(), Interrupt> {
        // An unnamed statement or portal does not survive a simple query.
        self.statements.remove("");
        self.portals.remove("");
        let statements = self.session.parse(sql)?;
        if statements.is_empty() {
            return self.socket.put(&EmptyQueryResponse::new());
        }
        for statement in statements {
            self.query_one(statement).await?;
        }
        Ok(())
    }

    async fn query_one(&mut self, statement: Statement) -> Result<(), Interrupt> {
        let local = statement::local(&statement.ast);
        self.refuse_in_failed_transaction(local.as_ref())?;
        if let Some(local) = local {
            return self.run_local(&local).await;
        }
        let statement = self.rewrite(statement).await?;
        let prepared = self.prepare(&statement).await?;
        match self.run(&prepared, Vec::new()).await? {
            Outcome::Done { tag } => self.socket.put(&CommandComplete::new(tag)),
            Outcome::Rows(rows) => {
                let mut cursor = RowCursor::new(rows, &[], self.time_zone())?;
                let description = rows::describe(cursor.schema(), &[])?;
                self.socket.put(&description)?;
                let drained = self.shutdown.drained.clone();
                match cursor.send(&mut self.socket, None, &drained).await? {
                    Progress::Complete(n_rows) => self.complete_rows(n_rows),
                    Progress::Suspended => Ok(()),
                }
            }
        }
    }

    pub(super) fn complete_rows(&mut self, n_rows: u64) -> Result<(), Interrupt> {
        self.socket.put(&CommandComplete::new(format!("SELECT {n_rows}")))
    }

    pub(super) fn refuse_in_failed_transaction(
        &self,
        local: Option<&Local>,
    ) -> Result<(), Interrupt> {
        let failed = self.transaction == TransactionStatus::Error;
        if failed && !statement::ends_failed_transaction(local) {
            return Err(Failure::aborted_transaction().into());
        }
        Ok(())
    }

    /// Makes a statement over `pg_catalog` one that can be planned.
    pub(super) async fn rewrite(&mut self, statement: Statement) -> Result<Statement, Interrupt> {
        let catalog = Arc::clone(&self.catalog);
        self.unless_gone(async move { catalog.rewrite(statement).await }).await
    }

    /// Plans a statement; a client that leaves meanwhile stops the planning.
    pub(super) async fn prepare(&mut self, statement: &Statement) -> Result<Prepared, Interrupt> {
        let session = Arc::clone(&self.session);
        self.unless_gone(async move { session.prepare(statement).await }).await
    }

    /// Starts a statement; commands are finished when this returns, queries have only begun.
    pub(super) async fn run(
        &mut self,
        prepared: &Prepared,
        parameters: Vec<ScalarValue>,
    ) -> Result<Outcome, Interrupt> {
        self.settings_may_differ |= statement::changes_settings(&prepared.statement.ast);
        let session = Arc::clone(&self.session);
        self.unless_gone(async move { session.run(prepared, parameters).await }).await
    }

    async fn unless_gone<T>(
        &mut self,
        work: impl Future<Output = crate::Result<T>>,
    ) -> Result<T, Interrupt> {
        tokio::select! {
            biased;
            result = work => Ok(result?),
            () = self.shutdown.drained.cancelled() => Err(Failure::shutdown().into()),
            error = self.socket.closed() => Err(error.into()),
        }
    }

    /// Returns the session's time zone; one that Arrow does not know prints as UTC.
    pub(super) fn time_zone(&self) -> Tz {
        let utc = || "UTC".parse().unwrap_or_else(|_| unreachable!("UTC is a time zone"));
        self.session.setting("TimeZone").and_then(|zone| zone.parse().ok()).unwrap_or_else(utc)
    }

    /// Runs a statement that belongs to the connection and completes it.
    pub(super) async fn run_local(&mut self, local: &Local) -> Result<(), Interrupt> {
        let tag = match local {
            Local::Begin { start } => {
                self.begin()?;
                if *start { "START TRANSACTION" } else { "BEGIN" }
            }
            Local::Commit => self.end_transaction(false)?,
            Local::Rollback => self.end_transaction(true)?,
            Local::Savepoint => self.savepoint("SAVEPOINT", "SAVEPOINT")?,
            Local::Release => self.savepoint("RELEASE SAVEPOINT", "RELEASE")?,
            Local::RollbackTo => self.savepoint("ROLLBACK TO SAVEPOINT", "ROLLBACK")?,
            Local::Deallocate(name) => self.deallocate(name.as_deref())?,
            Local::Discard { all, tag } => {
                match all {
                    true => self.discard_all().await?,
                    false => self.discard(tag).await?,
                }
                tag
            }
        };
        self.socket.put(&CommandComplete::new(tag.to_string()))
    }

    fn begin(&mut self) -> Result<(), Interrupt> {
        if self.transaction != TransactionStatus::Idle {
            self.warn("25001", "there is already a transaction in progress")?;
            return Ok(());
        }
        self.transaction = TransactionStatus::Transaction;
        Ok(())
    }

    fn end_transaction(&mut self, rollback: bool) -> Result<&'static str, Interrupt> {
        let failed = self.transaction == TransactionStatus::Error;
        if self.transaction == TransactionStatus::Idle {
            self.warn("25P01", "there is no transaction in progress")?;
        }
        self.transaction = TransactionStatus::Idle;
        self.portals.clear();
        Ok(if rollback || failed { "ROLLBACK" } else { "COMMIT" })
    }

    /// Nothing is written in a transaction, so there is nothing to undo: a savepoint only clears the failed state.
    fn savepoint(&mut self, command: &str, tag: &'static str) -> Result<&'static str, Interrupt> {
        if self.transaction == TransactionStatus::Idle {
            let message = format!("{command} can only be used in transaction blocks");
            return Err(Failure::new(Severity::Error, "25P01", message).into());
        }
        self.transaction = TransactionStatus::Transaction;
        Ok(tag)
    }

    fn deallocate(&mut self, name: Option<&str>) -> Result<&'static str, Interrupt> {
        let Some(name) = name else {
            self.statements.clear();
            return Ok("DEALLOCATE ALL");
        };
        match self.statements.remove(name) {
            Some(_) => Ok("DEALLOCATE"),
            None => Err(unknown_statement(name).into()),
        }
    }

    async fn discard_all(&mut self) -> Result<(), Interrupt> {
        if self.transaction != TransactionStatus::Idle {
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

    fn warn(&mut self, sqlstate: &'static str, message: &str) -> Result<(), Interrupt> {
        let warning = Failure::new(Severity::Warning, sqlstate, message);
        self.socket.put(&warning.to_notice())
    }
}

/// A prepared statement the client never made.
pub(super) fn unknown_statement(name: &str) -> Failure {
    let message = match name {
        "" => "unnamed prepared statement does not exist".to_string(),
        name => format!("prepared statement \"{name}\" does not exist"),
    };
    Failure::new(Severity::Error, "26000", message)
}

/// Errors stop here, so here they are logged, as loud as who has to act on them.
fn log(failure: &Failure) {
    use crate::error::Class;
    let (sqlstate, message) = (failure.report.sqlstate, failure.report.message.as_str());
    match failure.report.class {
        Class::User => debug!(sqlstate, message, "statement failed"),
        Class::Resource | Class::External => warn!(sqlstate, message, "statement failed"),
        Class::Internal => error!(sqlstate, message, "statement failed"),
    }
}
