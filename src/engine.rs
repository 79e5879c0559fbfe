//! DataFusion as both roles set it up: memory, spill files, object stores, options.
//!
//! Called by `coordinator` and `worker`, so that a plan finds the same engine wherever it runs.

use crate::config::Storage;
use crate::error::Result;
use datafusion::error::DataFusionError;
use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::memory_pool::{FairSpillPool, TrackConsumersPool};
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use datafusion::execution::{FunctionRegistry, SessionState};
use datafusion::prelude::SessionConfig;
use saltlake_catalog::store::{S3Options, StoreOptions, Stores};
use saltlake_sql::functions::interval::IntervalPlanner;
use saltlake_sql::functions::json::JsonPlanner;
use saltlake_sql::functions::sum;
use saltlake_sql::settings::SaltlakeOptions;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;

/// Consumers named in the message when memory runs out.
const NAMED_CONSUMERS: NonZeroUsize = NonZeroUsize::new(3).expect("3 is not zero");

/// Builds the runtime of a role: one memory pool shared fairly, one spill folder, the object stores.
///
/// # Errors
/// When the spill folder cannot be used.
pub fn runtime(
    storage: &Storage,
    memory_limit_bytes: usize,
    spill_dir: &str,
) -> Result<Arc<RuntimeEnv>> {
    let pool = TrackConsumersPool::new(FairSpillPool::new(memory_limit_bytes), NAMED_CONSUMERS);
    let mode = match spill_dir {
        "" => DiskManagerMode::OsTmpDirectory,
        dir => DiskManagerMode::Directories(vec![PathBuf::from(dir)]),
    };
    let runtime = RuntimeEnvBuilder::new()
        .with_memory_pool(Arc::new(pool))
        .with_disk_manager_builder(DiskManagerBuilder::default().with_mode(mode))
        .with_object_store_registry(Arc::new(Stores::new(store_options(storage))))
        .build()?;
    Ok(Arc::new(runtime))
}

/// Returns how object stores are reached, in the catalog's words.
pub fn store_options(storage: &Storage) -> StoreOptions {
    let s3 = &storage.s3;
    let given = |text: &str| (!text.is_empty()).then(|| text.to_string());
    StoreOptions {
        s3: S3Options {
            endpoint: given(&s3.endpoint),
            region: given(&s3.region),
            access_key_id: given(&s3.access_key_id),
            secret_access_key: given(s3.secret_access_key.reveal()),
            session_token: given(s3.session_token.reveal()),
            allow_http: s3.allow_http.then_some(true),
            virtual_hosted: s3.virtual_hosted.then_some(true),
        },
    }
}

/// Registers the functions that DataFusion has not, and what plans them.
///
/// # Errors
/// When a function cannot be registered.
pub fn register_functions(state: &mut SessionState) -> Result<(), DataFusionError> {
    for function in saltlake_sql::functions::all() {
        state.register_udf(function)?;
    }
    state.register_udaf(Arc::new(sum::exact()))?;
    state.register_expr_planner(Arc::new(IntervalPlanner))?;
    state.register_expr_planner(Arc::new(JsonPlanner))?;
    Ok(())
}

/// Sets DataFusion's options for planning and for what runs on the coordinator.
pub fn apply_planning_options(config: &mut SessionConfig, n_threads: usize) {
    let options = config.options_mut();
    // Below two, no exchanges are planned, and a plan without exchanges cannot be cut into stages.
    options.execution.target_partitions = n_threads.max(2);
    options.sql_parser.dialect = datafusion::config::Dialect::PostgreSQL;
    // PostgreSQL reads 0.1 as numeric; as a float, sums of money would not be exact.
    options.sql_parser.parse_float_as_decimal = true;
    options.sql_parser.collect_spans = true;
    options.optimizer.filter_null_join_keys = true;
    // Sessions bring their own, which does not load every table.
    options.catalog.information_schema = false;
}

/// Sets DataFusion's options for what runs inside a task, from the options that travelled with the query.
pub fn apply_task_options(config: &mut SessionConfig) {
    let options = config.options_mut();
    let ours = options.extensions.get::<SaltlakeOptions>().cloned().unwrap_or_default();
    options.execution.time_zone = Some(ours.time_zone);
    if let Ok(batch_size) = ours.batch_size.to_string().parse() {
        options.execution.batch_size = batch_size;
    }
    // A task must read its own splits only: stealing work belongs to plans that one process runs whole.
    options.execution.enable_file_stream_work_stealing = false;
}
