//! The names of all metrics, with unit and help, and the recorder that `/metrics` reads.
//!
//! Code that counts uses the `metrics` facade with these names; labels come from closed sets, never a table, a user or
//! SQL. `saltlake-sql` and `saltlake-catalog` write their names out, because they cannot see this crate.

use crate::error::{Error, Result};
use metrics::{Unit, describe_counter, describe_gauge, describe_histogram};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use std::time::Duration;

/// Finished queries. Labels: `frontend` (pg, flight, http, shell), `outcome` (ok, user, resource, external, internal).
pub const QUERIES_TOTAL: &str = "saltlake_queries_total";
/// Time a query spent in one phase. Label: `phase` (parse, plan, queue, run).
pub const QUERY_PHASE_SECONDS: &str = "saltlake_query_phase_seconds";
/// Queries running now.
pub const QUERIES_RUNNING: &str = "saltlake_queries_running";
/// Known workers. Label: `state` (live, draining, lost).
pub const WORKERS: &str = "saltlake_workers";
/// Finished tasks. Label: `outcome` (ok, failed, cancelled).
pub const TASKS_TOTAL: &str = "saltlake_tasks_total";
/// Bytes sent between stages. Label: `kind` (shuffle, broadcast, gather).
pub const EXCHANGE_BYTES_TOTAL: &str = "saltlake_exchange_bytes_total";
/// Decisions about heavy hitters. Label: `decision`.
pub const SKEW_DECISIONS_TOTAL: &str = "saltlake_skew_decisions_total";
/// Lookups in a metadata cache. Labels: `cache`, `result` (hit, miss).
pub const CACHE_REQUESTS_TOTAL: &str = "saltlake_cache_requests_total";
/// Weight of a metadata cache. Label: `cache`.
pub const CACHE_WEIGHT_BYTES: &str = "saltlake_cache_weight_bytes";
/// Requests to object stores. Labels: `op`, `outcome`.
pub const OBJECT_STORE_REQUESTS_TOTAL: &str = "saltlake_object_store_requests_total";
/// Bytes written to spill files.
pub const SPILL_BYTES_TOTAL: &str = "saltlake_spill_bytes_total";
/// Memory reserved by queries or tasks now.
pub const MEMORY_RESERVED_BYTES: &str = "saltlake_memory_reserved_bytes";

/// Bounds of the phase histogram, from a cached plan to a long scan, in seconds.
const PHASE_BOUNDS: [f64; 12] =
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 30.0, 120.0];

/// Time between two upkeeps of the recorder; it keeps what was measured since the last one in full.
pub const UPKEEP_INTERVAL: Duration = Duration::from_secs(5);

/// Starts recording for the process and returns what `/metrics` reads.
///
/// # Errors
/// [`Error::Config`] when the process has a recorder already.
pub fn install() -> Result<PrometheusHandle> {
    let unusable = |error: &dyn std::fmt::Display| Error::Config {
        message: format!("cannot start metrics: {error}"),
        hint: None,
    };
    let phases = Matcher::Full(QUERY_PHASE_SECONDS.to_string());
    let handle = PrometheusBuilder::new()
        .set_buckets_for_metric(phases, &PHASE_BOUNDS)
        .map_err(|error| unusable(&error))?
        .install_recorder()
        .map_err(|error| unusable(&error))?;
    describe();
    Ok(handle)
}

/// Tells the recorder unit and help of every metric.
fn describe() {
    describe_counter!(QUERIES_TOTAL, Unit::Count, "finished queries by frontend and outcome");
    describe_histogram!(QUERY_PHASE_SECONDS, Unit::Seconds, "time queries spent in one phase");
    describe_gauge!(QUERIES_RUNNING, Unit::Count, "queries running now");
    describe_gauge!(WORKERS, Unit::Count, "known workers by state");
    describe_counter!(TASKS_TOTAL, Unit::Count, "finished tasks by outcome");
    describe_counter!(EXCHANGE_BYTES_TOTAL, Unit::Bytes, "bytes sent between stages by kind");
    describe_counter!(SKEW_DECISIONS_TOTAL, Unit::Count, "decisions about heavy hitters");
    describe_counter!(CACHE_REQUESTS_TOTAL, Unit::Count, "lookups in metadata caches by result");
    describe_gauge!(CACHE_WEIGHT_BYTES, Unit::Bytes, "weight of metadata caches");
    describe_counter!(OBJECT_STORE_REQUESTS_TOTAL, Unit::Count, "requests to object stores");
    describe_counter!(SPILL_BYTES_TOTAL, Unit::Bytes, "bytes written to spill files");
    describe_gauge!(MEMORY_RESERVED_BYTES, Unit::Bytes, "memory reserved by queries or tasks now");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recorded_metrics_are_rendered_with_help() {
        let handle = install().unwrap();
        metrics::counter!(QUERIES_TOTAL, "frontend" => "pg", "outcome" => "ok").increment(2);
        metrics::histogram!(QUERY_PHASE_SECONDS, "phase" => "plan").record(0.003);
        let text = handle.render();
        for expected in [
            "# HELP saltlake_queries_total finished queries by frontend and outcome",
            "saltlake_queries_total{frontend=\"pg\",outcome=\"ok\"} 2",
            "saltlake_query_phase_seconds_bucket{phase=\"plan\",le=\"0.005\"} 1",
        ] {
            assert!(text.contains(expected), "no {expected} in\n{text}");
        }
    }
}
