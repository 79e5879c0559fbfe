//! One client's connection: reads messages, keeps the protocol's state, answers.
//!
//! Called by `serve`, one task a connection. The simple protocol is here, the extended one in `extended`; what both
//! run is in `prepared` and `portal`.
//! The one idea: every handler returns an [`Interrupt`] on failure and never sends an error itself; `serve` of this
//! file sends it, moves the transaction to its failed state, and knows whether to skip to the next `Sync`.

use super::catalog::{Catalog, Named};
use super::failure::{Failure, Interrupt, Severity};
use super::portal::{Portal, Started};
use super::prepared::PreparedStatement;
use super::rows::{self, Progress};
use super::socket::Socket;
use super::startup::REPORTED_SETTINGS;
use super::statement::{self, Local};
use super::transaction::Transaction;
use crate::coordinator::{Outcome, Prepared, Session, Step};
use arrow::array::timezone::Tz;
use datafusion::scalar::ScalarValue;
use pgwire::messages::PgWireFrontendMessage as Message;
use pgwire::messages::response::{CommandComplete, EmptyQueryResponse, ReadyForQuery};
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
    pub(super) transaction: Transaction,
    pub(super) statements: HashMap<String, Arc<PreparedStatement>>,
    pub(super) portals: HashMap<String, Portal>,
    pub(super) shutdown: Shutdown,
    known_settings: BTreeMap<&'static str, String>,
    pub(super) settings_may_differ: bool,
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
            transaction: Transaction::default(),
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
            let is_open = self.transaction.is_open();
            let timeout = self.session.idle_timeout(is_open);
            let idle = async move {
                match timeout {
                    Some(timeout) => tokio::time::sleep(timeout).await,
                    None => std::future::pending().await,
                }
            };
            let message = tokio::select! {
                biased;
                () = self.shutdown.stop.cancelled() => return Err(Failure::shutdown().into()),
                message = self.socket.read_message() => message?,
                () = idle => return Err(Failure::idle(is_open).into()),
                () = self.session.terminated().cancelled() => {
                    return Err(Failure::shutdown().into());
                }
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
        self.transaction.fail();
        self.leave_implicit_transaction(false);
        if extended {
            self.skip_until_sync = true;
            Ok(self.socket.flush().await?)
        } else {
            self.ready().await
        }
    }

    async fn ready(&mut self) -> Result<(), Interrupt> {
        self.report_settings()?;
        self.socket.put(&ReadyForQuery::new(self.transaction.status()))?;
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
        let are_several = statements.len() > 1;
        for statement in statements {
            if are_several {
                self.enter_implicit_transaction();
            }
            self.query_one(statement).await?;
        }
        if are_several {
            self.leave_implicit_transaction(true);
        }
        Ok(())
    }

    async fn query_one(&mut self, statement: Statement) -> Result<(), Interrupt> {
        let is_set_local = statement::is_set_local(&statement.ast);
        let statement = Arc::new(self.plan(statement, &[]).await?);
        if is_set_local && !self.transaction.is_block() {
            self.warn("25P01", "SET LOCAL can only be used in transaction blocks")?;
            // The value is checked, and forgotten.
            self.session.transact(Step::Begin);
            let outcome = self.start(&statement, Vec::new(), &[]).await;
            self.session.transact(Step::Rollback);
            return outcome.map(|_| ());
        }
        if let Started::Rows(mut cursor) = self.start(&statement, Vec::new(), &[]).await? {
            let description = rows::describe(cursor.schema(), &[])?;
            self.socket.put(&description)?;
            let drained = self.shutdown.drained.clone();
            if let Progress::Complete(n_rows) =
                cursor.send(&mut self.socket, None, &drained).await?
            {
                self.socket.put(&CommandComplete::new(cursor.tag(n_rows)))?;
            }
        }
        Ok(())
    }

    pub(super) fn refuse_in_failed_transaction(
        &self,
        local: Option<&Local>,
    ) -> Result<(), Interrupt> {
        let failed = self.transaction.has_failed();
        if failed && !statement::ends_failed_transaction(local) {
            return Err(Failure::aborted_transaction().into());
        }
        Ok(())
    }

    /// Makes a statement over `pg_catalog` one that can be planned.
    pub(super) async fn rewrite(&mut self, statement: Statement) -> Result<Statement, Interrupt> {
        self.note_names(&statement.sql);
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
        self.note_names(&prepared.statement.sql);
        self.settings_may_differ |= statement::changes_settings(&prepared.statement.ast);
        let session = Arc::clone(&self.session);
        self.unless_gone(async move { session.run(prepared, parameters).await }).await
    }

    /// Tells the catalog what this connection has prepared and declared, when a statement asks for it.
    fn note_names(&self, sql: &str) {
        if !sql.contains("pg_prepared_statements") && !sql.contains("pg_cursors") {
            return;
        }
        let statements = self.statements.iter().filter(|(name, _)| !name.is_empty());
        let portals = self.portals.iter().filter(|(name, _)| !name.is_empty());
        self.catalog.note_names(Named {
            statements: statements.map(|(name, statement)| statement.shown(name)).collect(),
            cursors: portals.map(|(name, portal)| portal.shown(name)).collect(),
        });
    }

    pub(super) async fn unless_gone<T>(
        &mut self,
        work: impl Future<Output = crate::Result<T>>,
    ) -> Result<T, Interrupt> {
        tokio::select! {
            biased;
            result = work => Ok(result?),
            () = self.shutdown.drained.cancelled() => Err(Failure::shutdown().into()),
            () = self.session.terminated().cancelled() => Err(Failure::shutdown().into()),
            error = self.socket.closed() => Err(error.into()),
        }
    }

    /// Returns the session's time zone; one that Arrow does not know prints as UTC.
    pub(super) fn time_zone(&self) -> Tz {
        let utc = || "UTC".parse().unwrap_or_else(|_| unreachable!("UTC is a time zone"));
        self.session.setting("TimeZone").and_then(|zone| zone.parse().ok()).unwrap_or_else(utc)
    }
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
