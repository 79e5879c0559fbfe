//! The commits of a log as a table, `"t$history"`: when each was made, by which operation, with what outcome.
//!
//! Called by the lake. Rows are read from the commits that are still there, newest first, and held in memory.

use super::log::{Tip, commits};
use crate::error::{Error, Result};
use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray, TimestampMillisecondArray};
use futures::{StreamExt, TryStreamExt, stream};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use serde::Deserialize;
use serde_json::Value;
use std::sync::Arc;

/// Commits that are read at the same time.
const READ_CONCURRENCY: usize = 16;
/// The newest commits that the table shows.
const MAX_COMMITS: usize = 10_000;

/// What a commit says of itself; any of it may be missing.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct CommitInfo {
    in_commit_timestamp: Option<i64>,
    timestamp: Option<i64>,
    operation: Option<String>,
    operation_parameters: Option<Value>,
    operation_metrics: Option<Value>,
    engine_info: Option<String>,
    user_name: Option<String>,
}

/// A line of a commit.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Line {
    commit_info: Option<CommitInfo>,
}

/// Returns the commits up to a version.
///
/// # Errors
/// When the log cannot be read or a commit is corrupt.
pub(super) async fn history(
    store: &Arc<dyn ObjectStore>,
    log: &Path,
    version: u64,
) -> Result<RecordBatch> {
    let all = commits(store, log).await?;
    let shown = all.into_iter().rev().filter(|commit| commit.version <= version);
    let read = |commit: Tip| async move {
        let info = read(store, &commit).await?;
        Ok::<_, Error>((commit, info))
    };
    let reads: Vec<_> = shown.take(MAX_COMMITS).map(read).collect();
    let rows: Vec<(Tip, CommitInfo)> =
        stream::iter(reads).buffered(READ_CONCURRENCY).try_collect().await?;
    let text = |of: &dyn Fn(&CommitInfo) -> Option<String>| -> ArrayRef {
        Arc::new(rows.iter().map(|(_, info)| of(info)).collect::<StringArray>())
    };
    let json = |value: &Option<Value>| value.as_ref().map(Value::to_string);
    let versions = rows.iter().map(|(commit, _)| i64::try_from(commit.version).ok());
    let times = rows.iter().map(|(commit, info)| {
        let told = info.in_commit_timestamp.or(info.timestamp);
        Some(told.unwrap_or_else(|| commit.file.last_modified.timestamp_millis()))
    });
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("version", Arc::new(versions.collect::<Int64Array>())),
        ("timestamp", Arc::new(times.collect::<TimestampMillisecondArray>().with_timezone("UTC"))),
        ("operation", text(&|info| info.operation.clone())),
        ("operation_parameters", text(&|info| json(&info.operation_parameters))),
        ("operation_metrics", text(&|info| json(&info.operation_metrics))),
        ("engine_info", text(&|info| info.engine_info.clone())),
        ("user_name", text(&|info| info.user_name.clone())),
    ];
    Ok(RecordBatch::try_from_iter_with_nullable(
        columns.into_iter().map(|(name, values)| (name, values, true)),
    )?)
}

async fn read(store: &Arc<dyn ObjectStore>, commit: &Tip) -> Result<CommitInfo> {
    let path = &commit.file.location;
    let bytes = store.get(path).await?.bytes().await?;
    for line in bytes.split(|byte| *byte == b'\n').filter(|line| !line.trim_ascii().is_empty()) {
        let line: Line = serde_json::from_slice(line).map_err(|error| Error::CorruptFile {
            path: path.to_string(),
            message: error.to_string(),
        })?;
        if let Some(info) = line.commit_info {
            return Ok(info);
        }
    }
    Ok(CommitInfo::default())
}
