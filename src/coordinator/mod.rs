//! Accepts statements, plans them, and places their work.
//!
//! [`Coordinator`] is shared by all frontends and is the only place that wires parts together; [`Session`] belongs to
//! one client.
//!
//! ```text
//! session ─┬─> announced   the columns of a result
//!          ├─> command     SET, SHOW, DDL, transactions ──> catalogs, analyze, comments
//!          ├─> run         plan, place, execute, retry, cancel ──> planning, threads, query, membership, key_profiles
//!          ├─> copy        COPY … TO: staged, then shown
//!          ├─> temporary   tables and views of this session alone
//!          └─> names       the catalog a session sees ──> metadata_columns, system_tables, information_schema
//! ```

mod analyze;
mod announced;
mod catalogs;
mod command;
mod comments;
mod copy;
mod information_schema;
mod join_log;
mod key_profiles;
pub mod membership;
mod metadata_columns;
mod names;
mod parameters;
mod planning;
pub mod query;
mod run;
mod running;
pub mod session;
mod settings;
mod system_tables;
mod temporary;
mod threads;
mod transaction;
mod wanted;

pub use session::{Outcome, Prepared, Rows, Session, SessionInfo, SessionOptions};
pub use settings::Shown;
pub use transaction::{Scope, Step};
pub use wanted::Wanted;

use crate::cluster::Channels;
use crate::config::Config;
use crate::engine;
use crate::error::{Error, Result};
use dashmap::DashMap;
use datafusion::execution::{SessionState, SessionStateBuilder};
use datafusion::logical_expr::LogicalPlan;
use datafusion::prelude::SessionConfig;
use datafusion_distributed::{DistributedExt, SessionStateBuilderExt};
use futures::future::BoxFuture;
use join_log::JoinLog;
use key_profiles::ProfileCache;
use membership::Members;
use planning::PlanningPool;
use query::{Queries, QueryInfo};
use saltlake_catalog::{Lake, LakeOptions, ViewPlanner};
use saltlake_sql::codec::Codec;
use saltlake_sql::optimizer::FilterCounts;
use saltlake_sql::parse::Limits;
use saltlake_sql::settings::SaltlakeOptions;
use saltlake_sql::{optimizer, placement};
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Arc, Weak};
use threads::QueryThreads;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use uuid::Uuid;

/// Name of the lake's catalog, which clients know as the database.
const CATALOG: &str = "lake";

/// Sessions open at a time over all frontends; far above what the frontends admit, a bound against leaks.
const MAX_SESSIONS: usize = 10_000;

/// Queries that may wait for their turn, for each that may run.
const QUEUED_PER_RUNNING: usize = 10;

/// Bytes a connection between workers buffers before it stops reading; the engine's default of 64 MiB for each pair of
/// workers and exchange adds up to gigabytes.
const EXCHANGE_BUFFER_BYTES: usize = 16 << 20;

/// Which role accepts statements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Everything in one process.
    Standalone,
    /// With workers that announce themselves.
    Cluster,
}

/// The role that accepts statements: lake, sessions, running queries, members of the cluster.
pub struct Coordinator {
    role: Role,
    lake: Arc<Lake>,
    /// What every session's state starts from.
    base: SessionState,
    limits: Limits,
    retry_limit: usize,
    start_settings: Vec<(String, String)>,
    members: Arc<Members>,
    channels: Channels,
    key_profiles: ProfileCache,
    filter_counts: Arc<FilterCounts>,
    join_log: Arc<JoinLog>,
    queries: Arc<Queries>,
    planning: PlanningPool,
    threads: QueryThreads,
    running: Arc<Semaphore>,
    /// Permits of `running` in all.
    max_running: usize,
    queued: Arc<Semaphore>,
    sessions: DashMap<i32, Weak<Session>>,
    next_pid: AtomicI32,
}

impl Coordinator {
    /// Opens the lake and gets ready to accept statements.
    ///
    /// # Errors
    /// When the lake cannot be opened or a start value in `[session]` is not valid.
    pub async fn start(config: &Config, role: Role) -> Result<Arc<Self>> {
        let settings = &config.coordinator;
        let memory_limit_bytes = settings.memory_limit_bytes();
        let runtime = engine::runtime(&config.storage, memory_limit_bytes, &settings.spill_dir)?;
        let lake_options = LakeOptions {
            root: config.lake.root.clone(),
            allowed_roots: config.lake.allowed_roots.clone(),
            catalog_name: CATALOG.to_string(),
            catalogs: config.catalogs.definitions()?,
            stores: engine::store_options(&config.storage),
        };
        let lake = Lake::open(lake_options, Arc::clone(&runtime)).await?;
        let mut session_config =
            SessionConfig::new().with_default_catalog_and_schema(CATALOG, names::PATH_SCHEMA);
        engine::apply_planning_options(&mut session_config, settings.thread_count());
        session_config.set_distributed_option_extension(SaltlakeOptions::default());
        session_config.set_distributed_user_codec(Codec);
        session_config.set_distributed_user_codec(lake.scan_codec());
        let builder = SessionStateBuilder::new()
            .with_config(session_config)
            .with_runtime_env(runtime)
            .with_default_features()
            .with_analyzer_rules(optimizer::analyzer_rules())
            .with_optimizer_rules(optimizer::logical_rules());
        let mut base = match role {
            Role::Standalone => builder.build(),
            // Brings the handlers that route tasks, and options that plans to be cut into stages need.
            Role::Cluster => {
                let mut state = builder.with_distributed_planner().build();
                let config = state.config_mut();
                config.set_distributed_desired_task_count_handler(placement::whole_leaves_one_task);
                config.set_distributed_scale_up_leaf_node_handler(placement::split_scan);
                config.set_distributed_route_tasks_handler(placement::route_scan);
                // Plans that stay here may use it; `run` turns it off for those that do not.
                let options = config.options_mut();
                options.optimizer.enable_physical_uncorrelated_scalar_subquery = true;
                state
            }
        };
        engine::register_functions(&mut base)?;
        let members = Arc::new(Members::new(*settings.heartbeat_timeout));
        let coordinator = Arc::new(Self {
            role,
            lake,
            base,
            limits: Limits {
                max_bytes: settings.max_statement_bytes.as_usize(),
                max_depth: settings.max_expression_depth,
                max_nodes: settings.max_statement_nodes,
            },
            retry_limit: settings.retry_limit,
            start_settings: start_settings(config),
            members,
            channels: Channels::new(*settings.worker_connect_timeout),
            key_profiles: ProfileCache::default(),
            filter_counts: Arc::default(),
            join_log: Arc::default(),
            queries: Arc::new(Queries::default()),
            planning: PlanningPool::start(
                settings.planning_threads,
                settings.planning_stack.as_usize(),
                &Handle::current(),
            )?,
            threads: QueryThreads::start(settings.thread_count())?,
            running: Arc::new(Semaphore::new(settings.max_running_queries)),
            max_running: settings.max_running_queries,
            queued: Arc::new(Semaphore::new(settings.max_running_queries * QUEUED_PER_RUNNING)),
            sessions: DashMap::new(),
            next_pid: AtomicI32::new(1),
        });
        coordinator.lake.set_view_planner(Arc::new(Views(Arc::downgrade(&coordinator))));
        // Fails now, at start, when a start value is wrong.
        coordinator.open_session(SessionOptions::default())?;
        Ok(coordinator)
    }

    /// Opens a session for a client.
    ///
    /// # Errors
    /// When the database does not exist (3D000) or too many sessions are open (53300).
    pub fn open_session(self: &Arc<Self>, options: SessionOptions) -> Result<Arc<Session>> {
        if !options.database.is_empty() && !self.lake.has_catalog_blocking(&options.database)? {
            return Err(Error::DatabaseNotFound { name: options.database });
        }
        if self.sessions.len() >= MAX_SESSIONS {
            return Err(Error::TooManySessions { limit: MAX_SESSIONS });
        }
        let pid = self.next_pid.fetch_add(1, Ordering::Relaxed).rem_euclid(i32::MAX);
        let session = Arc::new(Session::open(Arc::clone(self), pid, options)?);
        self.sessions.insert(pid, Arc::downgrade(&session));
        Ok(session)
    }

    /// Forgets a closed session.
    fn forget_session(&self, pid: i32) {
        self.sessions.remove(&pid);
    }

    /// Cancels what a session runs, as a PostgreSQL cancel request does. Returns whether the key fitted a session.
    pub fn cancel_session(&self, session_pid: i32, secret: i32) -> bool {
        self.session(session_pid)
            .filter(|session| session.secret() == secret)
            .map(|session| session.cancel())
            .is_some()
    }

    /// Returns an open session. Upgraded outside the map's lock: dropping the last handle takes that lock again.
    fn session(&self, pid: i32) -> Option<Arc<Session>> {
        let session = self.sessions.get(&pid).map(|entry| entry.value().clone());
        session.and_then(|weak| weak.upgrade())
    }

    /// Returns all open sessions and what they do, by pid.
    fn activity(&self) -> Vec<SessionInfo> {
        let pids: Vec<_> = self.sessions.iter().map(|entry| *entry.key()).collect();
        let queries = self.queries.list();
        let sessions = pids.into_iter().filter_map(|pid| self.session(pid));
        let mut all: Vec<_> = sessions.map(|session| session.info(&queries)).collect();
        all.sort_by_key(|info| info.pid);
        all
    }

    /// Cancels one query by its id. Returns whether it was running.
    pub fn cancel_query(&self, query_id: Uuid) -> bool {
        self.queries.cancel(query_id)
    }

    /// Returns how far a running query is, from 0 to 1; `None` when that is not known.
    pub fn query_progress(&self, query_id: Uuid) -> Option<f64> {
        self.queries.progress(query_id)
    }

    /// Cancels every running query.
    pub fn cancel_all(&self) {
        self.queries.cancel_all();
    }

    /// Returns running and recent queries, the oldest first.
    pub fn queries(&self) -> Vec<QueryInfo> {
        self.queries.list()
    }

    /// Returns the workers of the cluster.
    pub fn members(&self) -> &Arc<Members> {
        &self.members
    }

    /// Returns the lake this coordinator serves.
    pub fn lake(&self) -> &Arc<Lake> {
        &self.lake
    }
}

/// Returns the start values of `[session]`; a name that is not PostgreSQL's or DataFusion's is one of `saltlake.*`.
fn start_settings(config: &Config) -> Vec<(String, String)> {
    let full_name = |name: &str| match settings::is_full_name(name) {
        true => name.to_string(),
        false => format!("saltlake.{name}"),
    };
    config.session.iter().map(|(name, value)| (full_name(name), value.to_string())).collect()
}

/// Plans the text of a view for the lake, which knows no SQL.
struct Views(Weak<Coordinator>);

impl ViewPlanner for Views {
    fn plan_view<'a>(
        &'a self,
        sql: &'a str,
    ) -> BoxFuture<'a, datafusion::common::Result<LogicalPlan>> {
        Box::pin(async move {
            let gone = || Error::Internal { message: "the coordinator has ended".to_string() };
            let coordinator = self.0.upgrade().ok_or_else(gone)?;
            let session = Session::open(Arc::clone(&coordinator), 0, SessionOptions::default())?;
            Ok(session.plan_text(sql).await?)
        })
    }
}
