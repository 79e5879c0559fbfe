//! `Session::execute`: the spine. Parse, plan, optimize, admit, run.
//!
//! Every frontend opens one [`Session`] a client and runs statements through it. The branches are here, the work is in
//! [`super::command`], [`super::run`] and [`super::copy`].

use super::announced::TypedPlan;
use super::names::{Catalogs, SessionCatalog};
use super::query::QueryInfo;
use super::running::{Deadline, Running};
use super::settings::{self, Settings, Shown};
use super::system_tables::SystemSchema;
use super::temporary::Temporary;
use super::transaction::{Scope, Step, Transaction, Values};
use super::{CATALOG, Coordinator, announced, parameters, run};
use crate::error::{Error, Result};
use arrow::datatypes::{DataType, SchemaRef};
use datafusion::catalog::SchemaProvider;
use datafusion::config::ConfigOptions;
use datafusion::execution::{
    FunctionRegistry, SendableRecordBatchStream, SessionState, SessionStateBuilder,
};
use datafusion::logical_expr::{LogicalPlan, ScalarUDF};
use datafusion::scalar::ScalarValue;
use datafusion::sql::parser::Statement as Ast;
use futures::future::BoxFuture;
use parking_lot::{Mutex, RwLock};
use saltlake_catalog::Database;
use saltlake_catalog::store::{Requests, counting, inherit};
use saltlake_sql::names;
use saltlake_sql::parse::Statement;
use saltlake_sql::settings::SaltlakeOptions;
use saltlake_sql::type_names::type_names;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};
use tokio_util::sync::CancellationToken;

/// What the planner says of a result with one name for two columns.
const NAMES_NOT_UNIQUE: &str = "require unique expression names";

/// What a frontend says about a client when it opens a session.
#[derive(Debug, Clone, Default)]
pub struct SessionOptions {
    /// Name the client logged in with.
    pub user: String,
    /// Catalog the client asked for; empty means the default.
    pub database: String,
    /// What the client calls itself.
    pub application_name: String,
    /// Which door: "pg", "flight", "http", "shell".
    pub frontend: &'static str,
    /// Where the client is, if the door knows.
    pub client: Option<SocketAddr>,
    /// Schemas a frontend adds to the catalog, such as `pg_catalog`.
    pub extra_schemas: Vec<(String, Arc<dyn SchemaProvider>)>,
    /// Functions a frontend adds.
    pub extra_functions: Vec<Arc<ScalarUDF>>,
}

/// An open session as `pg_stat_activity` shows it.
#[derive(Debug, Clone)]
pub struct SessionInfo {
    /// Its number.
    pub pid: i32,
    /// Who is logged in.
    pub user: String,
    /// What the client calls itself.
    pub application_name: String,
    /// Which door it came through.
    pub frontend: &'static str,
    /// Where the client is, if the door knows.
    pub client: Option<SocketAddr>,
    /// When it was opened.
    pub opened: SystemTime,
    /// `active`, `idle` or `idle in transaction`.
    pub state: &'static str,
    /// Text of the query that runs, or of the last one.
    pub query: String,
    /// When that one was received.
    pub query_started: Option<SystemTime>,
    /// How long it runs or ran.
    pub query_elapsed: Option<Duration>,
}

/// A statement that was planned once and can run several times.
#[derive(Debug, Clone)]
pub struct Prepared {
    /// The statement as parsed.
    pub statement: Statement,
    /// Columns of the result; `None` for a statement without rows.
    pub schema: Option<SchemaRef>,
    /// Types of `$1`, `$2`, …; `None` where the plan does not say.
    pub parameters: Vec<Option<DataType>>,
    /// The logical plan, when the statement has one before it runs.
    pub plan: Option<LogicalPlan>,
    /// What planning it asked of object stores.
    pub(super) requests: Arc<Requests>,
}

/// Rows of a running query. Dropping the stream cancels the query.
pub struct Rows {
    /// The query's id, as in `system.queries` and the logs.
    pub query_id: uuid::Uuid,
    /// Columns, equal to the schema of every batch.
    pub schema: SchemaRef,
    /// The batches.
    pub stream: SendableRecordBatchStream,
    /// When the query has to end; see [`Session::resume`].
    pub(super) deadline: Arc<Deadline>,
    /// What planning has to say to the client, once the query is planned: before its first row.
    pub(super) notice: Arc<OnceLock<String>>,
}

impl Rows {
    /// Returns what planning has to say to the client, if it is over and had something to say.
    pub fn notice(&self) -> Option<&str> {
        self.notice.get().map(String::as_str)
    }
}

/// What a statement gave.
pub enum Outcome {
    /// A result set, streamed.
    Rows(Rows),
    /// A command that returns no rows, with PostgreSQL's command tag such as `CREATE VIEW` or `COPY 42`.
    Done {
        /// The command tag.
        tag: String,
    },
}

/// One client's connection to the coordinator: its settings, its running queries.
pub struct Session {
    pub(super) coordinator: Arc<Coordinator>,
    pub(super) options: SessionOptions,
    pid: i32,
    secret: i32,
    /// Tables and views of this session alone.
    pub(super) temporary: Arc<Temporary>,
    inner: Mutex<Inner>,
    /// The search path as the session's catalog reads it.
    path: Arc<RwLock<Vec<String>>>,
    pub(super) running: Running,
    opened: SystemTime,
    terminated: CancellationToken,
}

/// What SET changes.
struct Inner {
    state: SessionState,
    settings: Settings,
    /// Engine options when the session was opened; RESET returns to them.
    start: ConfigOptions,
    /// What becomes of changes when the transaction ends, while there is one.
    transaction: Option<Transaction>,
    /// The zone that `now()` was made for.
    now_zone: Option<String>,
}

impl Session {
    /// Opens a session with the start values of its settings.
    pub(super) fn open(
        coordinator: Arc<Coordinator>,
        pid: i32,
        options: SessionOptions,
    ) -> Result<Self> {
        let path = Arc::new(RwLock::new(vec![]));
        let system = SystemSchema {
            queries: Arc::clone(&coordinator.queries),
            members: Arc::clone(&coordinator.members),
            join_log: Arc::clone(&coordinator.join_log),
            lake: Arc::clone(&coordinator.lake),
        };
        let mut extra = options.extra_schemas.clone();
        extra.push(("system".to_string(), Arc::new(system)));
        let temporary = Arc::new(Temporary::new(Arc::clone(&coordinator.lake)));
        let lake = Arc::clone(&coordinator.lake);
        let database = Database::new(Arc::clone(&lake), database_of(&options));
        let name = database.catalog_name().to_string();
        let catalog =
            SessionCatalog::new(database, extra, Arc::clone(&temporary), Arc::clone(&path));
        let catalogs = Catalogs { name: name.clone(), catalog: Arc::new(catalog), lake };
        let mut state = SessionStateBuilder::new_from_existing(coordinator.base.clone())
            .with_catalog_list(Arc::new(catalogs))
            .build();
        for function in &options.extra_functions {
            FunctionRegistry::register_udf(&mut state, Arc::clone(function))?;
        }
        let mut settings = Settings::default();
        let engine = state.config_mut().options_mut();
        engine.catalog.default_catalog = name;
        for (name, value) in &coordinator.start_settings {
            settings.set_start(engine, name, value)?;
        }
        settings.set_start(
            engine,
            "TimeZone",
            &settings.get(engine, "TimeZone").unwrap_or_default(),
        )?;
        settings.set_start(engine, "session_authorization", &options.user)?;
        settings.set_start(engine, "application_name", &options.application_name)?;
        let start = engine.clone();
        let mut secret = [0; 4];
        getrandom::fill(&mut secret)
            .map_err(|error| Error::Internal { message: format!("no random numbers: {error}") })?;
        let inner = Inner { state, settings, start, transaction: None, now_zone: None };
        let session = Self {
            coordinator,
            options,
            pid,
            secret: i32::from_ne_bytes(secret),
            temporary,
            inner: Mutex::new(inner),
            path,
            running: Running::default(),
            opened: SystemTime::now(),
            terminated: CancellationToken::new(),
        };
        session.follow_search_path();
        session.follow_time_zone();
        Ok(session)
    }

    /// Returns the number PostgreSQL clients know as the backend's process id; unique among open sessions.
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// Returns the catalog that the client connected to: the lake, or a service.
    pub fn database(&self) -> &str {
        database_of(&self.options)
    }

    /// Returns the secret a cancel request must bring.
    pub fn secret(&self) -> i32 {
        self.secret
    }

    /// Cancels the statement this session runs; queries that wait for their client, as open cursors do, go on.
    pub fn cancel(&self) {
        self.running.cancel();
    }

    /// Returns the value of a session setting as `SHOW name` would print it.
    pub fn setting(&self, name: &str) -> Option<String> {
        let mut inner = self.inner.lock();
        let Inner { state, settings, .. } = &mut *inner;
        settings.get(state.config_options(), name)
    }

    /// Sets the start value of a setting, as a client's start message does.
    ///
    /// # Errors
    /// For an unknown name or a value it does not take.
    pub fn set_start(&self, name: &str, value: &str) -> Result<()> {
        self.change(|settings, options, start| {
            settings.set_start(options, name, value)?;
            start.clone_from(options);
            Ok(())
        })
    }

    /// Splits a text into statements.
    ///
    /// # Errors
    /// For a syntax error, with its position, or a statement beyond the limits.
    pub fn parse(&self, sql: &str) -> Result<Vec<Statement>> {
        let dialect = self.read(|_, options| options.sql_parser.dialect);
        saltlake_sql::parse::parse_as(dialect, sql, self.coordinator.limits)
            .map_err(|error| Error::from(error).in_statement(sql))
    }

    /// Plans a statement without running it.
    ///
    /// # Errors
    /// When a name does not exist, types do not fit, or the statement is not offered.
    pub fn prepare<'a>(&'a self, statement: &'a Statement) -> BoxFuture<'a, Result<Prepared>> {
        // Boxed, like `run`: the proof that it may cross threads ends here and not at each frontend.
        Box::pin(self.plan_statement(statement))
    }

    async fn plan_statement(&self, statement: &Statement) -> Result<Prepared> {
        if statement.copy.is_some() {
            // The frontend that can send a COPY takes it off before.
            let feature = "COPY … TO STDOUT outside of the PostgreSQL protocol".to_string();
            return Err(Error::NotSupported { feature });
        }
        let mut prepared = Prepared {
            statement: statement.clone(),
            schema: self.command_schema(&statement.ast),
            parameters: vec![],
            plan: None,
            requests: Arc::default(),
        };
        let Some(planned) = Self::planned_part(&statement.ast) else { return Ok(prepared) };
        let named = counting(Arc::clone(&prepared.requests), self.plan_named(planned));
        let (plan, types) = match named.await {
            Ok(planned) => planned,
            Err(error) => {
                let error = self.with_similar(error, planned).await;
                return Err(error.in_statement(&statement.sql));
            }
        };
        prepared.parameters = parameters::parameter_types(&plan)?;
        if matches!(&statement.ast, Ast::Statement(_)) && !matches!(plan, LogicalPlan::Dml(_)) {
            prepared.schema = Some(announced::schema(&plan, &statement.names, &types));
        }
        prepared.plan = Some(plan);
        Ok(prepared)
    }

    /// Runs a prepared statement with values for its parameters.
    ///
    /// # Errors
    /// When planning fails; errors of the run come through the stream.
    pub fn run<'a>(
        &'a self,
        prepared: &'a Prepared,
        parameters: Vec<ScalarValue>,
    ) -> BoxFuture<'a, Result<Outcome>> {
        Box::pin(self.run_prepared(prepared, parameters))
    }

    async fn run_prepared(
        &self,
        prepared: &Prepared,
        parameters: Vec<ScalarValue>,
    ) -> Result<Outcome> {
        let Some(plan) = &prepared.plan else {
            return self.run_command(&prepared.statement).await;
        };
        let plan = match parameters.is_empty() {
            true => plan.clone(),
            false => plan.clone().with_param_values(parameters)?,
        };
        match &prepared.statement.ast {
            Ast::Explain(explain) => self.run_explain(explain, plan, prepared).await,
            Ast::CopyTo(_) => self.run_copy(plan, &prepared.statement.sql).await,
            Ast::Statement(_) if matches!(plan, LogicalPlan::Dml(_)) => {
                self.run_insert(plan, &prepared.statement.sql).await
            }
            _ => {
                let types = announced::types_of(prepared.schema.as_deref());
                let schema = announced::schema(&plan, &prepared.statement.names, &types);
                self.run_query(plan, schema, &prepared.statement.sql).await.map(Outcome::Rows)
            }
        }
    }

    /// Parses, plans and runs a text that holds exactly one statement.
    ///
    /// # Errors
    /// As [`Session::parse`], [`Session::prepare`] and [`Session::run`], or when there is not exactly one statement.
    pub async fn execute(&self, sql: &str) -> Result<Outcome> {
        let statements = self.parse(sql)?;
        let [statement] = statements.as_slice() else {
            return Err(Error::NotSupported {
                feature: format!("a text of {} statements here", statements.len()),
            });
        };
        let prepared = self.prepare(statement).await?;
        self.run(&prepared, vec![]).await
    }

    /// The part of a statement that becomes a logical plan; `None` for commands.
    fn planned_part(ast: &Ast) -> Option<&Ast> {
        match ast {
            Ast::Explain(explain) => Self::planned_part(&explain.statement),
            Ast::CopyTo(_) => Some(ast),
            Ast::Statement(statement) if !super::command::is_command(statement) => Some(ast),
            _ => None,
        }
    }

    /// Plans a text of one query; used for views.
    pub(super) async fn plan_text(&self, sql: &str) -> Result<LogicalPlan> {
        let statements = self.parse(sql)?;
        match statements.into_iter().next() {
            Some(statement) => run::statement_to_plan(self.state(), statement.ast).await,
            None => Err(Error::Internal { message: "a view without a query".to_string() }),
        }
    }

    /// Plans a statement whose columns may have the names PostgreSQL lets them have: the same one twice, say.
    async fn plan_named(&self, ast: &Ast) -> Result<TypedPlan> {
        let mut named = ast.clone();
        names::name_ordered(&mut named);
        match self.plan_ast(named.clone()).await {
            Err(error) if error.to_string().contains(NAMES_NOT_UNIQUE) => {
                match names::tell_apart(&mut named) {
                    true => self.plan_ast(named).await,
                    false => Err(error),
                }
            }
            planned => planned,
        }
    }

    async fn plan_ast(&self, ast: Ast) -> Result<TypedPlan> {
        let state = self.state();
        let planning = async move {
            let plan = run::statement_to_plan(state, ast).await?;
            let types = type_names(&plan);
            Ok((plan, types))
        };
        self.coordinator.planning.run(inherit(planning)).await
    }

    /// Returns the session's state as it is now.
    pub(super) fn state(&self) -> SessionState {
        self.inner.lock().state.clone()
    }

    /// Changes settings, for good unless the transaction is rolled back; what depends on them follows.
    pub(super) fn change(
        &self,
        change: impl Fn(&mut Settings, &mut ConfigOptions, &mut ConfigOptions) -> Result<()>,
    ) -> Result<()> {
        self.change_within(Scope::Session, change)
    }

    /// Changes settings for a session or for a transaction.
    pub(super) fn change_within(
        &self,
        scope: Scope,
        change: impl Fn(&mut Settings, &mut ConfigOptions, &mut ConfigOptions) -> Result<()>,
    ) -> Result<()> {
        let changed = {
            let mut inner = self.inner.lock();
            let Inner { state, settings, start, transaction, .. } = &mut *inner;
            let changed = change(settings, state.config_mut().options_mut(), start);
            match (scope, transaction) {
                (Scope::Session, Some(transaction)) if changed.is_ok() => {
                    let Values { settings, options } = transaction.lasting_mut();
                    change(settings, options, start)
                }
                _ => changed,
            }
        };
        self.follow_search_path();
        self.follow_time_zone();
        changed
    }

    /// Sets a setting as `SET` or `SET LOCAL` does.
    ///
    /// # Errors
    /// For an unknown name or a value it does not take.
    pub fn set_setting(&self, name: &str, value: &str, scope: Scope) -> Result<()> {
        self.change_within(scope, |settings, options, _| settings.set(options, name, value))
    }

    /// Moves the settings along with a transaction. A frontend without transactions never calls this.
    pub fn transact(&self, step: Step) {
        {
            let mut inner = self.inner.lock();
            let Inner { state, settings, transaction, .. } = &mut *inner;
            if transaction.is_none() && step != Step::Begin {
                return;
            }
            let options = state.config_mut().options_mut();
            let now = Values { settings: settings.clone(), options: options.clone() };
            if let Some(then) = Transaction::step(transaction, step, now) {
                (*settings, *options) = (then.settings, then.options);
            }
        }
        self.follow_search_path();
        self.follow_time_zone();
    }

    fn follow_time_zone(&self) {
        let Inner { state, now_zone, .. } = &mut *self.inner.lock();
        settings::follow_time_zone(state, now_zone);
    }

    /// Notes that a query waits for its client: a cancel request does not mean it.
    pub fn suspend(&self, rows: &Rows) {
        rows.deadline.suspend();
    }

    /// Gives a query that waited for its client its full time again.
    pub fn resume(&self, rows: &Rows) {
        rows.deadline.restart(self.statement_timeout());
    }

    /// Returns how long a client may do nothing, in a transaction or out of one; `None` for no limit.
    pub fn idle_timeout(&self, in_transaction: bool) -> Option<Duration> {
        self.time_setting(match in_transaction {
            true => "idle_in_transaction_session_timeout",
            false => "idle_session_timeout",
        })
    }

    /// Returns settings as a function of them and the engine's options.
    pub(super) fn read<T>(&self, read: impl FnOnce(&Settings, &ConfigOptions) -> T) -> T {
        let inner = self.inner.lock();
        read(&inner.settings, inner.state.config_options())
    }

    /// Returns how many endpoints a Flight SQL result may have, from 1.
    pub fn flight_endpoints(&self) -> u16 {
        self.read(|_, options| {
            options.extensions.get::<SaltlakeOptions>().map_or(1, |ours| ours.flight_endpoints.0)
        })
    }

    fn follow_search_path(&self) {
        let path = self.read(|settings, options| settings.search_path(options, &self.options.user));
        *self.path.write() = path;
    }

    /// Returns the token that fires when the session has to end although its client does not.
    pub fn terminated(&self) -> &CancellationToken {
        &self.terminated
    }

    /// Returns every setting with its value and what it means.
    pub fn all_settings(&self) -> Vec<Shown> {
        self.read(|settings, options| settings.all(options))
    }

    /// Returns all open sessions and what they do, this one among them.
    pub fn activity(&self) -> Vec<SessionInfo> {
        self.coordinator.activity()
    }

    /// Cancels what another session runs; returns whether there is one with that pid.
    pub fn cancel_other(&self, pid: i32) -> bool {
        self.coordinator.session(pid).map(|session| session.cancel()).is_some()
    }

    /// Ends another session; returns whether there is one with that pid.
    pub fn terminate_other(&self, pid: i32) -> bool {
        let end = |session: Arc<Self>| {
            session.terminated.cancel();
            session.running.cancel_all();
        };
        self.coordinator.session(pid).map(end).is_some()
    }

    /// Returns what is known of the session, given its queries, the oldest first.
    pub(super) fn info(&self, queries: &[QueryInfo]) -> SessionInfo {
        let mut ours = queries.iter().filter(|query| query.session_pid == self.pid);
        let last = ours.next_back();
        let is_active = last.is_some_and(|query| !query.state.has_ended());
        let in_transaction = self.inner.lock().transaction.is_some();
        SessionInfo {
            pid: self.pid,
            user: self.options.user.clone(),
            application_name: self.setting("application_name").unwrap_or_default(),
            frontend: self.options.frontend,
            client: self.options.client,
            opened: self.opened,
            state: match (is_active, in_transaction) {
                (true, _) => "active",
                (false, true) => "idle in transaction",
                (false, false) => "idle",
            },
            query: last.map(|query| query.sql.clone()).unwrap_or_default(),
            query_started: last.map(|query| query.started),
            query_elapsed: last.map(|query| query.elapsed),
        }
    }

    /// Returns the schemas a name without one is looked up in.
    pub fn search_path(&self) -> Vec<String> {
        self.path.read().clone()
    }

    /// Returns how long a statement may run; `None` for no limit.
    pub(super) fn statement_timeout(&self) -> Option<Duration> {
        self.time_setting("statement_timeout")
    }

    fn time_setting(&self, name: &str) -> Option<Duration> {
        let timeout = self.setting(name)?;
        timeout.parse().ok().filter(|ms| *ms > 0).map(Duration::from_millis)
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.running.cancel_all();
        self.coordinator.forget_session(self.pid);
    }
}

fn database_of(options: &SessionOptions) -> &str {
    if options.database.is_empty() { CATALOG } else { &options.database }
}
