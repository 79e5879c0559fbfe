//! The schema `system`: what the server knows of itself, as tables.
//!
//! `system.queries`: running and recent queries. `system.workers`: members of the cluster. `system.join_decisions`: what
//! was decided for the joins of recent queries, and why. `system.caches`: what the coordinator keeps in memory of
//! metadata. `system.statistics`: what ANALYZE found out. Each use is a snapshot taken at planning; scans of these tables always run on the coordinator.

use super::join_log::JoinLog;
use super::membership::Members;
use super::query::{Queries, QueryInfo};
use arrow::array::{
    ArrayRef, Float64Array, Int32Array, Int64Array, RecordBatch, StringArray,
    TimestampMicrosecondArray,
};
use datafusion::catalog::{MemTable, SchemaProvider, TableProvider};
use datafusion::common::Result;
use datafusion::logical_expr::TableType;
use futures::future::BoxFuture;
use saltlake_catalog::{Analysis, CacheUsage, Lake};
use saltlake_sql::skew::decide::JoinDecision;
use std::fmt;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};
use uuid::Uuid;

const TABLES: [&str; 5] = ["join_decisions", "queries", "workers", "caches", "statistics"];

/// The schema's provider.
pub(super) struct SystemSchema {
    pub queries: Arc<Queries>,
    pub members: Arc<Members>,
    pub join_log: Arc<JoinLog>,
    pub lake: Arc<Lake>,
}

impl fmt::Debug for SystemSchema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SystemSchema")
    }
}

impl SystemSchema {
    /// Finds a table: [`SchemaProvider::table`].
    fn find<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Option<Arc<dyn TableProvider>>>> {
        Box::pin(async move {
            let batch = match name {
                "join_decisions" => join_decisions(&self.join_log.list())?,
                "queries" => queries(&self.queries.list())?,
                "workers" => workers(&self.members)?,
                "caches" => caches(&self.lake.cache_usage())?,
                "statistics" => statistics(&self.lake.analyses().await?)?,
                _ => return Ok(None),
            };
            Ok(Some(Arc::new(MemTable::try_new(batch.schema(), vec![vec![batch]])?) as _))
        })
    }

    /// Tells that there is a table, without making it: lists of names ask this of each.
    fn kind<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Option<TableType>>> {
        Box::pin(async move { Ok(self.table_exist(name).then_some(TableType::Base)) })
    }
}

impl SchemaProvider for SystemSchema {
    fn table_names(&self) -> Vec<String> {
        TABLES.iter().map(|name| (*name).to_string()).collect()
    }

    saltlake_catalog::table_by!(find);

    saltlake_catalog::table_type_by!(kind);

    fn table_exist(&self, name: &str) -> bool {
        TABLES.contains(&name)
    }
}

fn text<T: Into<String>>(values: impl Iterator<Item = T>) -> ArrayRef {
    Arc::new(StringArray::from_iter_values(values.map(Into::into)))
}

fn bigint(values: impl Iterator<Item = u64>) -> ArrayRef {
    // Counts and bytes beyond i64 do not occur.
    Arc::new(Int64Array::from_iter_values(values.map(|n| i64::try_from(n).unwrap_or(i64::MAX))))
}

fn seconds(values: impl Iterator<Item = f64>) -> ArrayRef {
    Arc::new(Float64Array::from_iter_values(values))
}

fn queries(list: &[QueryInfo]) -> Result<RecordBatch> {
    let micros = |time: SystemTime| {
        let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        i64::try_from(since.as_micros()).unwrap_or_default()
    };
    let started = list.iter().map(|query| micros(query.started));
    let started = TimestampMicrosecondArray::from_iter_values(started).with_timezone("UTC");
    let pids = list.iter().map(|query| query.session_pid);
    let errors: StringArray = list.iter().map(|query| query.error.clone()).collect();
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("query_id", text(list.iter().map(|query| query.id.to_string()))),
        ("state", text(list.iter().map(|query| query.state.name()))),
        ("user", text(list.iter().map(|query| query.user.as_str()))),
        ("frontend", text(list.iter().map(|query| query.frontend))),
        ("pid", Arc::new(Int32Array::from_iter_values(pids))),
        ("started", Arc::new(started)),
        ("planning_seconds", seconds(list.iter().map(|query| query.planning.as_secs_f64()))),
        ("elapsed_seconds", seconds(list.iter().map(|query| query.elapsed.as_secs_f64()))),
        ("rows", bigint(list.iter().map(|query| query.n_rows))),
        ("attempts", bigint(list.iter().map(|query| u64::from(query.attempts)))),
        ("placement", text(list.iter().map(|query| query.placement.as_str()))),
        ("error", Arc::new(errors)),
        ("sql", text(list.iter().map(|query| query.sql.as_str()))),
    ];
    Ok(RecordBatch::try_from_iter_with_nullable(
        columns.into_iter().map(|(name, array)| (name, array, name == "error")),
    )?)
}

fn join_decisions(list: &[(Uuid, JoinDecision)]) -> Result<RecordBatch> {
    let decisions = || list.iter().map(|(_, decision)| decision);
    let heavy = |decision: &JoinDecision| {
        decision.heavy.iter().map(|key| key.label.clone()).collect::<Vec<_>>().join("; ")
    };
    let plain: Float64Array = decisions().map(|d| d.skew.map(|(plain, _)| plain)).collect();
    let salted: Float64Array = decisions().map(|d| d.skew.map(|(_, salted)| salted)).collect();
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("query_id", text(list.iter().map(|(id, _)| id.to_string()))),
        ("join", text(decisions().map(|decision| decision.join.as_str()))),
        ("strategy", text(decisions().map(|decision| decision.strategy.name()))),
        ("reason", text(decisions().map(|decision| decision.reason.as_str()))),
        ("heavy_hitters", text(decisions().map(heavy))),
        ("predicted_skew_plain", Arc::new(plain)),
        ("predicted_skew_salted", Arc::new(salted)),
        ("replicated_rows", bigint(decisions().map(|decision| decision.replicated_rows))),
        ("keys", text(decisions().map(|decision| decision.source.as_str()))),
        ("sample_seconds", seconds(decisions().map(|decision| decision.took.as_secs_f64()))),
    ];
    Ok(RecordBatch::try_from_iter_with_nullable(
        columns.into_iter().map(|(name, array)| (name, array, name.starts_with("predicted"))),
    )?)
}

fn statistics(list: &[(String, Arc<Analysis>)]) -> Result<RecordBatch> {
    let all = list.iter().flat_map(|(location, analysis)| {
        analysis.columns.iter().map(move |(name, column)| (location, analysis, name, column))
    });
    let all: Vec<_> = all.collect();
    let columns = || all.iter().copied();
    let distinct = columns().map(|(.., column)| column.n_distinct);
    let distinct: Int64Array = distinct.map(|n| n.and_then(|n| i64::try_from(n).ok())).collect();
    let least: StringArray = columns().map(|(.., column)| column.min.clone()).collect();
    let greatest: StringArray = columns().map(|(.., column)| column.max.clone()).collect();
    let at = columns().map(|(.., column)| column.analyzed_at_ms.saturating_mul(1000));
    let at = TimestampMicrosecondArray::from_iter_values(at).with_timezone("UTC");
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("table_name", text(columns().map(|(_, analysis, ..)| analysis.table.as_str()))),
        ("column_name", text(columns().map(|(_, _, name, _)| name.as_str()))),
        ("rows", bigint(columns().map(|(.., column)| column.n_rows))),
        ("nulls", bigint(columns().map(|(.., column)| column.n_nulls))),
        ("distinct_values", Arc::new(distinct)),
        ("min", Arc::new(least)),
        ("max", Arc::new(greatest)),
        ("version", text(columns().map(|(.., column)| column.version.as_str()))),
        ("analyzed", Arc::new(at)),
        ("location", text(columns().map(|(location, ..)| location.as_str()))),
    ];
    let may_be_null = ["distinct_values", "min", "max"];
    Ok(RecordBatch::try_from_iter_with_nullable(
        columns.into_iter().map(|(name, array)| (name, array, may_be_null.contains(&name))),
    )?)
}

fn caches(list: &[CacheUsage]) -> Result<RecordBatch> {
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("name", text(list.iter().map(|cache| cache.name))),
        ("entries", bigint(list.iter().map(|cache| cache.n_entries))),
        ("bytes", bigint(list.iter().map(|cache| cache.weight_bytes))),
        ("max_bytes", bigint(list.iter().map(|cache| cache.max_weight_bytes))),
        ("hits", bigint(list.iter().map(|cache| cache.n_hits))),
        ("misses", bigint(list.iter().map(|cache| cache.n_misses))),
        ("evictions", bigint(list.iter().map(|cache| cache.n_evictions))),
    ];
    Ok(RecordBatch::try_from_iter_with_nullable(
        columns.into_iter().map(|(name, array)| (name, array, false)),
    )?)
}

fn workers(members: &Members) -> Result<RecordBatch> {
    let list = members.list();
    let beats = || list.iter().map(|(member, _)| &member.heartbeat);
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("url", text(beats().map(|beat| beat.url.as_str()))),
        ("state", text(list.iter().map(|(_, state)| *state))),
        ("pid", bigint(beats().map(|beat| u64::from(beat.pid)))),
        ("version", text(beats().map(|beat| beat.version.as_str()))),
        ("threads", bigint(beats().map(|beat| beat.n_threads as u64))),
        ("tasks", bigint(beats().map(|beat| beat.n_tasks as u64))),
        ("memory_reserved_bytes", bigint(beats().map(|beat| beat.memory_reserved_bytes))),
        ("memory_limit_bytes", bigint(beats().map(|beat| beat.memory_limit_bytes))),
        (
            "silent_seconds",
            seconds(list.iter().map(|(member, _)| member.seen.elapsed().as_secs_f64())),
        ),
    ];
    Ok(RecordBatch::try_from_iter_with_nullable(
        columns.into_iter().map(|(name, array)| (name, array, false)),
    )?)
}
