//! Plans, places and executes one query: admission, deadline, cancel, and one retry when a worker was lost.
//!
//! Called by `Session`. A query that lost a worker before its first row reached the client is planned again on the
//! workers that live; later it fails, because rows cannot be taken back.

use super::key_profiles::SampledProfiles;
use super::query::{NewQuery, Query};
use super::running::Deadline;
use super::session::{Outcome, Prepared, Rows, Session};
use super::threads::Batches;
use super::{Coordinator, EXCHANGE_BUFFER_BYTES, Role, metadata_columns, temporary};
use crate::error::{Error, Result};
use arrow::array::{RecordBatch, RecordBatchOptions, StringArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::ipc::CompressionType;
use datafusion::error::DataFusionError;
use datafusion::execution::{SessionState, TaskContext};
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::sql::parser::{ExplainStatement, Statement as Ast};
use datafusion_distributed::{DistributedExt, WorkerResolver};
use futures::future::BoxFuture;
use futures::{FutureExt, stream};
use saltlake_catalog::store::{Requests, counting};
use saltlake_catalog::{FOOTERS_CACHED, FOOTERS_READ, REQUESTS, ScanLog, TableScan, one_snapshot};
use saltlake_sql::explain::{self, Measured, Notes, Pruning, ScanMetrics};
use saltlake_sql::obstacle::obstacle;
use saltlake_sql::optimizer::salt_join::salt_joins;
use saltlake_sql::optimizer::{self, Cluster, Optimized, Part, PassLog, Target};
use saltlake_sql::placement::{self, Capacity, Placed, Placement};
use saltlake_sql::settings::{Distribution, ExchangeCompression, SaltlakeOptions};
use saltlake_sql::skew::decide::{self, JoinDecision, Slots};
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, OnceLock};
use std::time::Instant;
use tokio::sync::OwnedSemaphorePermit;
use tracing::{debug, info, warn};
use url::{Host, Url};

/// What scans say of their reads.
const SCANS: ScanMetrics =
    ScanMetrics { requests: REQUESTS, footers_cached: FOOTERS_CACHED, footers_read: FOOTERS_READ };

/// A plan ready to execute, with what EXPLAIN says of it.
pub(super) struct Planned {
    pub placed: Placed,
    pub passes: PassLog,
    /// What planning left out of the scans.
    pub scans: Vec<Pruning>,
    /// What was decided for the joins.
    pub joins: Vec<JoinDecision>,
    pub context: Arc<TaskContext>,
    pub options: SaltlakeOptions,
}

impl Planned {
    fn notes(&self) -> Notes<'_> {
        Notes { scans: &self.scans, joins: &self.joins, passes: &self.passes }
    }
}

/// Turns a statement into a logical plan.
pub(super) fn statement_to_plan(
    state: SessionState,
    ast: Ast,
) -> BoxFuture<'static, Result<LogicalPlan>> {
    Box::pin(plan_statement(state, ast))
}

async fn plan_statement(state: SessionState, ast: Ast) -> Result<LogicalPlan> {
    let plan = one_snapshot(metadata_columns::statement_to_plan(state.clone(), ast)).await?;
    // Types are settled here and not only while optimizing: until then a UNION of integers and decimals claims to be
    // integers, and clients are told the columns before the query runs.
    let plan = state.analyzer().execute_and_check(plan, state.config_options(), |_, _| {})?;
    let refused = match &plan {
        LogicalPlan::Ddl(ddl) => Some(ddl.name().to_string()),
        LogicalPlan::Dml(dml) => {
            temporary::check_write(dml)?;
            None
        }
        LogicalPlan::Statement(statement) => Some(statement.name().to_string()),
        _ => None,
    };
    match refused {
        Some(name) => Err(Error::NotSupported { feature: format!("{name} on tables of the lake") }),
        None => Ok(plan),
    }
}

impl Coordinator {
    /// Optimizes and places a logical plan. Runs on a planning thread.
    async fn plan(&self, mut state: SessionState, plan: LogicalPlan) -> Result<Planned> {
        state.mark_start_execution();
        let workers = match self.role {
            Role::Standalone => None,
            Role::Cluster => Some(self.members.live()),
        };
        let options = self.pin_workers(&mut state, workers.clone().unwrap_or_default())?;
        let passes = PassLog::default();
        let scan_log = Arc::new(ScanLog::default());
        state.config_mut().set_extension(Arc::clone(&scan_log));
        state.config_mut().set_extension(Arc::clone(&self.filter_counts));
        let logical = plan;
        let mut optimized = optimized(&state, &logical, Target::Here, &passes).await?;
        let mut plan = optimizer::plan_physical(&state, &optimized, Target::Here, &passes).await?;
        let stages = self.stages(&state, &plan, &options);
        let capacity = workers.map(|workers| self.capacity(&state, workers.len()));
        let mut placement = placement::decide(placement::scan_size(&plan), &options, capacity);
        if let Placement::Distributed { n_workers: 0, .. } = placement {
            return Err(Error::NoWorkers);
        }
        if matches!(placement, Placement::Distributed { .. }) {
            if let Some(reason) = obstacle(&logical, &plan)? {
                placement = Placement::Local { reason: reason.to_string() };
            } else if placement::contains(&plan, "ScalarSubqueryExec") {
                // Tasks cannot share the value of a subquery: joins must carry it.
                let scans = scan_log.take();
                let options = state.config_mut().options_mut();
                options.optimizer.enable_physical_uncorrelated_scalar_subquery = false;
                match with_joins(&state, &logical, stages, &passes).await {
                    Ok(with_joins) => plan = with_joins,
                    Err(error) => {
                        debug!(%error, "subquery cannot become a join, the plan stays local");
                        scan_log.replace(scans);
                        let reason = "a scalar subquery that cannot become a join".to_string();
                        placement = Placement::Local { reason };
                    }
                }
            } else {
                scan_log.take();
                if optimized.is_sharing()? {
                    optimized = self::optimized(&state, &logical, stages, &passes).await?;
                }
                plan = optimizer::plan_physical(&state, &optimized, stages, &passes).await?;
            }
        }
        let (plan, joins) = self.salted(&state, plan, &placement, &options, &passes).await;
        let placed = placement::place(&state, plan, placement, &passes).await?;
        let pruning =
            |TableScan { table, n_files, n_kept, note }| Pruning { table, n_files, n_kept, note };
        let scans = scan_log.take().into_iter().map(pruning).collect();
        Ok(Planned { placed, passes, scans, joins, context: state.task_ctx(), options })
    }

    fn capacity(&self, state: &SessionState, n_workers: usize) -> Capacity {
        Capacity {
            n_threads_here: state.config().target_partitions(),
            n_running: self.max_running.saturating_sub(self.running.available_permits()),
            n_workers,
            n_worker_threads: self.members.n_threads(),
        }
    }

    /// What would run a plan in stages.
    fn stages(
        &self,
        state: &SessionState,
        plan: &Arc<dyn ExecutionPlan>,
        options: &SaltlakeOptions,
    ) -> Target {
        let n_threads = state.config().target_partitions();
        let n_workers = self.members.live().len();
        Target::Stages(Cluster {
            n_tasks: placement::stage_tasks(plan, options, n_threads, n_workers),
            worker_memory_bytes: self.members.least_memory_bytes(),
        })
    }

    /// Salts the joins for which it pays. Without profiles a plan stays as it is: skew makes a query slow, not wrong.
    async fn salted(
        &self,
        state: &SessionState,
        plan: Arc<dyn ExecutionPlan>,
        placement: &Placement,
        options: &SaltlakeOptions,
        passes: &PassLog,
    ) -> (Arc<dyn ExecutionPlan>, Vec<JoinDecision>) {
        if optimizer::is_disabled(state.config_options(), "salt_joins") {
            return (plan, vec![]);
        }
        let n_threads = state.config().target_partitions();
        let slots = match placement {
            Placement::Local { .. } => Slots { n_tasks: 1, n_threads },
            Placement::Distributed { n_workers, .. } => Slots {
                n_tasks: placement::stage_tasks(&plan, options, n_threads, *n_workers),
                n_threads: self.members.n_threads(),
            },
        };
        let start = Instant::now();
        let profiles = SampledProfiles::new(&self.key_profiles, state, options);
        let (joins, choices) = decide::decide(&plan, &profiles, options, slots).await;
        let salted = salt_joins(&plan, &choices, state.config().options());
        passes.record(Part::Physical, "salt_joins", start.elapsed());
        match salted {
            Ok(salted) => (salted, joins),
            Err(error) => {
                warn!(%error, "joins are not salted");
                (plan, vec![])
            }
        }
    }

    /// Fixes the workers a query may use, and the options that reach them.
    fn pin_workers(&self, state: &mut SessionState, workers: Vec<Url>) -> Result<SaltlakeOptions> {
        let config = state.config_mut();
        let options =
            config.options().extensions.get::<SaltlakeOptions>().cloned().unwrap_or_default();
        let bytes_per_partition = match options.distribution {
            // Every file is worth a task when distribution is asked for.
            Distribution::Always => 1,
            _ => options.bytes_per_partition.max(1),
        };
        if options.distribution == Distribution::Always {
            // Otherwise files below the default of 10 MiB stay in one partition, and so in one task.
            config.options_mut().optimizer.repartition_file_min_size = 0;
        }
        config.set_distributed_option_extension(options.clone());
        let compression = compression(options.exchange_compression, &workers);
        config.set_distributed_worker_resolver(Pinned(workers));
        config.set_distributed_channel_resolver(self.channels.clone());
        config.set_distributed_compression(compression)?;
        config.set_distributed_file_scan_config_bytes_per_partition(bytes_per_partition)?;
        config.set_distributed_worker_connection_buffer_budget_bytes(EXCHANGE_BUFFER_BYTES)?;
        Ok(options)
    }

    /// Asks every live worker whether it answers, and marks those that do not.
    pub(super) async fn check_workers(&self) {
        let checks = self.members.live().into_iter().map(|url| async move {
            if !self.channels.is_alive(&url).await {
                self.members.suspect(&url);
            }
        });
        futures::future::join_all(checks).await;
    }

    /// Waits for a query's turn.
    async fn admit(&self) -> Result<OwnedSemaphorePermit> {
        let limit = self.running.available_permits();
        if let Ok(permit) = Arc::clone(&self.running).try_acquire_owned() {
            return Ok(permit);
        }
        let full = |_| Error::QueueFull { limit };
        let _place = self.queued.try_acquire().map_err(full)?;
        let closed = |_| Error::Internal { message: "admission is closed".to_string() };
        Arc::clone(&self.running).acquire_owned().await.map_err(closed)
    }
}

/// Runs the logical passes. What they ask of the tables is not in the log of scans: the physical plan asks again.
async fn optimized(
    state: &SessionState,
    plan: &LogicalPlan,
    target: Target,
    passes: &PassLog,
) -> Result<Optimized> {
    passes.forget_notes();
    let mut state = state.clone();
    state.config_mut().set_extension(Arc::new(ScanLog::default()));
    Ok(optimizer::optimize_logical(&state, plan.clone(), target, passes).await?)
}

/// Plans for the workers once more, from the statement on.
async fn with_joins(
    state: &SessionState,
    plan: &LogicalPlan,
    stages: Target,
    passes: &PassLog,
) -> Result<Arc<dyn ExecutionPlan>> {
    let optimized = optimized(state, plan, stages, passes).await?;
    Ok(optimizer::plan_physical(state, &optimized, stages, passes).await?)
}

/// Returns how the exchanges between `workers` and this process are compressed.
fn compression(wanted: ExchangeCompression, workers: &[Url]) -> Option<CompressionType> {
    let on_loopback = |url: &Url| match url.host() {
        Some(Host::Ipv4(ip)) => ip.is_loopback(),
        Some(Host::Ipv6(ip)) => ip.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    };
    match wanted {
        ExchangeCompression::None => None,
        ExchangeCompression::Auto if workers.iter().all(on_loopback) => None,
        ExchangeCompression::Auto | ExchangeCompression::Lz4 => Some(CompressionType::LZ4_FRAME),
        ExchangeCompression::Zstd => Some(CompressionType::ZSTD),
    }
}

/// The workers of one query.
struct Pinned(Vec<Url>);

impl WorkerResolver for Pinned {
    fn get_urls(&self) -> Result<Vec<Url>, DataFusionError> {
        Ok(self.0.clone())
    }
}

/// A query between admission and its last row.
struct Run {
    coordinator: Arc<Coordinator>,
    query: Arc<Query>,
    state: SessionState,
    plan: LogicalPlan,
    deadline: Arc<Deadline>,
    /// What planning had to say to the client.
    notice: Arc<OnceLock<String>>,
    /// What planning asked of object stores.
    requests: Arc<Requests>,
    /// Times it may be planned again after a lost worker.
    n_retries: usize,
    _turn: OwnedSemaphorePermit,
}

impl Run {
    /// Waits for `work` unless the query is cancelled or its time is over. A panic inside becomes an error.
    async fn guard<T>(&self, work: impl Future<Output = Result<T>>) -> Result<T> {
        let time_is_over = async {
            match self.deadline.get() {
                Some(deadline) => tokio::time::sleep_until(deadline).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = self.query.cancel_token().cancelled() => {
                Err(Error::Cancelled { reason: "on user request" })
            }
            () = time_is_over => Err(Error::Cancelled { reason: "statement timeout" }),
            outcome = AssertUnwindSafe(work).catch_unwind() => {
                outcome.unwrap_or_else(|panic| Err(Error::from_panic("execution", panic.as_ref())))
            }
        }
    }

    async fn plan(&self) -> Result<Planned> {
        self.query.set_planning();
        let start = Instant::now();
        let (coordinator, state, plan) =
            (Arc::clone(&self.coordinator), self.state.clone(), self.plan.clone());
        let planning = async move { one_snapshot(coordinator.plan(state, plan)).await };
        let planning = counting(Arc::clone(&self.requests), planning);
        let planning = self.coordinator.planning.run(planning);
        let planned = self.guard(planning).await?;
        self.coordinator.join_log.record(self.query.id(), &planned.joins);
        if let Some(notice) = decide::notice(&planned.joins) {
            // A query that is planned again says it once.
            self.notice.get_or_init(|| notice);
        }
        let placement = planned.placed.placement.to_string();
        debug!(query_id = %self.query.id(), placement, "query planned");
        self.query.set_plan(Arc::clone(&planned.placed.plan));
        self.query.set_running(placement, start.elapsed());
        Ok(planned)
    }

    /// Plans and starts to execute.
    async fn start(&self) -> Result<(Planned, Batches)> {
        let planned = self.plan().await?;
        let (plan, context) = (Arc::clone(&planned.placed.plan), Arc::clone(&planned.context));
        let batches = self.coordinator.threads.execute(plan, context)?;
        Ok((planned, batches))
    }

    /// Returns the next non-empty batch.
    async fn next(&self, batches: &mut Batches) -> Result<Option<RecordBatch>> {
        loop {
            let batch = self.guard(async { Ok(batches.next().await) }).await?;
            match batch {
                Some(Ok(batch)) if batch.num_rows() == 0 => {}
                Some(batch) => return Ok(Some(batch?)),
                None => return Ok(None),
            }
        }
    }

    /// Starts and returns the first batch with the stream behind it; a lost worker leads to another try.
    async fn first(&self) -> Result<(Planned, Option<RecordBatch>, Batches)> {
        let mut tries = 0;
        loop {
            let attempt = async {
                let (planned, mut stream) = self.start().await?;
                let batch = self.next(&mut stream).await?;
                Ok::<_, Error>((planned, batch, stream))
            };
            match attempt.await {
                Err(error) if tries < self.n_retries && error.is_worker_lost() => {
                    tries += 1;
                    warn!(query_id = %self.query.id(), %error, "worker lost before the first row, planning again");
                    self.coordinator.check_workers().await;
                }
                outcome => return outcome,
            }
        }
    }
}

/// What the stream of a query holds between two batches.
enum Phase {
    Starting(Run),
    Running(Run, Batches),
}

impl Session {
    /// Registers a query and waits for its turn.
    async fn admit(&self, state: SessionState, plan: LogicalPlan, sql: &str) -> Result<Run> {
        let new = NewQuery {
            sql,
            user: &self.options.user,
            frontend: self.options.frontend,
            session_pid: self.pid(),
        };
        let query = self.coordinator.queries.start(&new);
        let deadline = Arc::new(Deadline::after(self.statement_timeout()));
        self.running.add(query.cancel_token().clone(), Arc::clone(&deadline));
        let turn = tokio::select! {
            turn = self.coordinator.admit() => turn,
            () = query.cancel_token().cancelled() => {
                Err(Error::Cancelled { reason: "on user request" })
            }
        };
        let turn = turn.inspect_err(|error| query.fail(error))?;
        Ok(Run {
            coordinator: Arc::clone(&self.coordinator),
            query,
            state,
            plan,
            deadline,
            notice: Arc::default(),
            requests: Arc::default(),
            n_retries: self.coordinator.retry_limit,
            _turn: turn,
        })
    }

    /// Runs a query and streams its rows.
    ///
    /// Planning errors are returned at once when the plan needs no worker; the first batch is awaited inside the
    /// stream, so that a retry happens before anything reached the client.
    pub(super) async fn run_query(
        &self,
        plan: LogicalPlan,
        schema: SchemaRef,
        sql: &str,
    ) -> Result<Rows> {
        let run = self.admit(self.state(), plan, sql).await?;
        let query_id = run.query.id();
        let deadline = Arc::clone(&run.deadline);
        let notice = Arc::clone(&run.notice);
        let announced = Arc::clone(&schema);
        let batches = stream::unfold(Some(Phase::Starting(run)), move |phase| {
            let schema = Arc::clone(&announced);
            async move { step(phase?, schema).await }
        });
        let stream = Box::pin(RecordBatchStreamAdapter::new(Arc::clone(&schema), batches));
        Ok(Rows { query_id, schema, stream, deadline, notice })
    }

    /// Runs a query to its end inside the server and returns the number of its rows; used by COPY.
    pub(super) async fn run_to_end(
        &self,
        state: SessionState,
        plan: LogicalPlan,
        sql: &str,
    ) -> Result<Vec<RecordBatch>> {
        let mut run = self.admit(state, plan, sql).await?;
        // A try may have written files already: the whole COPY runs again, not its plan.
        run.n_retries = 0;
        let work = async {
            let (_, first, mut stream) = run.first().await?;
            let mut batches: Vec<_> = first.into_iter().collect();
            while let Some(batch) = run.next(&mut stream).await? {
                batches.push(batch);
            }
            Ok(batches)
        };
        let outcome = work.await;
        match &outcome {
            Ok(_) => run.query.finish(),
            Err(error) => run.query.fail(error),
        }
        outcome
    }

    /// EXPLAIN and EXPLAIN ANALYZE.
    pub(super) async fn run_explain(
        &self,
        explain: &ExplainStatement,
        plan: LogicalPlan,
        prepared: &Prepared,
    ) -> Result<Outcome> {
        let (analyze, verbose) = (explain.options.analyze, explain.options.verbose);
        let (plan, state, staging) = self.stage_explained(plan, analyze)?;
        let mut run = self.admit(state, plan, &prepared.statement.sql).await?;
        run.requests = Arc::clone(&prepared.requests);
        if staging.is_some() {
            // A second try would write beside what the first one wrote.
            run.n_retries = 0;
        }
        let work = async {
            if !analyze {
                let planned = run.plan().await?;
                return Ok(explain::explain(&planned.placed, planned.notes(), verbose));
            }
            let start = Instant::now();
            let (planned, first, mut stream) = run.first().await?;
            let mut n_rows = first.map_or(0, |batch| batch.num_rows());
            while let Some(batch) = run.next(&mut stream).await? {
                n_rows += batch.num_rows();
            }
            let elapsed = start.elapsed();
            let (placed, options) = (&planned.placed, &planned.options);
            let notes = planned.notes();
            let measured =
                Measured { n_rows, elapsed, requests: run.requests.take(), scans: SCANS };
            let lines = explain::explain_analyze(placed, notes, options, &measured, verbose);
            let lines = lines.await;
            if let Some(staging) = staging {
                staging.publish().await?;
            }
            Ok(lines)
        };
        let outcome = work.await;
        match &outcome {
            Ok(_) => run.query.finish(),
            Err(error) => run.query.fail(error),
        }
        let lines = outcome?;
        Ok(Outcome::Rows(text_rows(run.query.id(), "QUERY PLAN", lines)?))
    }
}

/// Gives a batch the columns that were announced: coercion may have turned text into its view form since, and
/// operators differ in what they say about NULL.
fn announce(batch: &RecordBatch, schema: SchemaRef) -> Result<RecordBatch, DataFusionError> {
    let columns = batch
        .columns()
        .iter()
        .zip(schema.fields())
        .map(|(column, field)| match column.data_type() == field.data_type() {
            true => Ok(Arc::clone(column)),
            false => cast(column, field.data_type()),
        })
        .collect::<Result<_, _>>()?;
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    Ok(RecordBatch::try_new_with_options(schema, columns, &options)?)
}

type Step = Option<(Result<RecordBatch, DataFusionError>, Option<Phase>)>;

/// Produces the next batch of a query's stream.
async fn step(phase: Phase, schema: SchemaRef) -> Step {
    let (run, outcome) = match phase {
        Phase::Starting(run) => match run.first().await {
            Ok((_, batch, stream)) => (run, Ok((batch, stream))),
            Err(error) => (run, Err(error)),
        },
        Phase::Running(run, mut stream) => match run.next(&mut stream).await {
            Ok(batch) => (run, Ok((batch, stream))),
            Err(error) => (run, Err(error)),
        },
    };
    let announced = outcome.and_then(|(batch, stream)| match batch {
        Some(batch) => Ok(Some((announce(&batch, schema)?, stream))),
        None => Ok(None),
    });
    match announced {
        Ok(Some((batch, stream))) => {
            run.query.add_rows(batch.num_rows());
            Some((Ok(batch), Some(Phase::Running(run, stream))))
        }
        Ok(None) => {
            run.query.finish();
            None
        }
        Err(error) => {
            info!(query_id = %run.query.id(), %error, "query failed");
            run.query.fail(&error);
            Some((Err(error.into()), None))
        }
    }
}

/// Returns one column of text, a row a line.
pub(super) fn text_rows(query_id: uuid::Uuid, column: &str, lines: Vec<String>) -> Result<Rows> {
    let schema = Arc::new(Schema::new(vec![Field::new(column, DataType::Utf8, true)]));
    let batch = RecordBatch::try_new(Arc::clone(&schema), vec![Arc::new(StringArray::from(lines))])
        .map_err(DataFusionError::from)?;
    Ok(batch_rows(query_id, batch))
}

/// Returns the rows of one batch.
pub(super) fn batch_rows(query_id: uuid::Uuid, batch: RecordBatch) -> Rows {
    let schema = batch.schema();
    let batches = stream::iter([Ok(batch)]);
    let stream = Box::pin(RecordBatchStreamAdapter::new(Arc::clone(&schema), batches));
    Rows { query_id, schema, stream, deadline: Arc::default(), notice: Arc::default() }
}
