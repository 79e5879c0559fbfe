//! `COPY (query) TO 'path'`: all of it or nothing.
//!
//! Called by `Session`. A path with an extension is one file; one without is a folder of files. What is written is not seen
//! until all of it is there: on a file system it is in a hidden folder and then renamed ([`folder`]), on an object store it
//! is in uploads that are completed together ([`uploads`]). A failed or cancelled COPY leaves nothing that a table could show.

mod folder;
mod uploads;

use super::session::{Outcome, Session};
use crate::error::{Error, Result};
use datafusion::execution::SessionState;
use datafusion::execution::object_store::ObjectStoreUrl;
use datafusion::logical_expr::LogicalPlan;
use datafusion::logical_expr::dml::CopyTo;
use folder::Folder;
use tokio::runtime::Handle;
use tracing::warn;
use uploads::Uploads;
use url::Url;

/// A COPY whose files are not seen until it is published.
pub(super) struct Staged {
    /// What writes the files.
    pub plan: LogicalPlan,
    /// The session's state to run it with.
    pub state: SessionState,
    staging: Staging,
}

/// Where written files wait. Dropping it removes them.
pub(super) enum Staging {
    Folder(Folder),
    Uploads(Uploads),
}

impl Staging {
    /// Shows everything, or nothing. Goes on when the statement is dropped: half of it must not stay visible.
    ///
    /// # Errors
    /// When the store fails.
    pub(super) async fn publish(self) -> Result<()> {
        let publish = async move {
            match self {
                Self::Folder(folder) => folder.publish().await,
                Self::Uploads(uploads) => uploads.publish().await,
            }
        };
        let ended =
            |error| Error::Internal { message: format!("a COPY was not published: {error}") };
        Handle::current().spawn(publish).await.map_err(ended)?
    }
}

impl Session {
    /// Runs a planned COPY.
    ///
    /// # Errors
    /// When the location is not allowed, the query fails, or the files cannot be written.
    pub(super) async fn run_copy(&self, plan: LogicalPlan, sql: &str) -> Result<Outcome> {
        let LogicalPlan::Copy(copy) = plan else {
            return Err(Error::Internal {
                message: "COPY was planned as another statement".into(),
            });
        };
        let target = self.coordinator.lake.check_location(&copy.output_url)?;
        let n_rows = self.write(copy, &target, sql).await?;
        Ok(Outcome::Done { tag: format!("COPY {n_rows}") })
    }

    /// Writes what a COPY writes to `target`, all of it or nothing; returns the number of rows.
    pub(super) async fn write(&self, copy: CopyTo, target: &Url, sql: &str) -> Result<u64> {
        let mut n_retries = self.coordinator.retry_limit;
        // Each try is staged for itself: what a lost worker's query wrote is dropped.
        let (staging, batches) = loop {
            let Staged { plan, state, staging } = self.stage(copy.clone(), target)?;
            match self.run_to_end(state, plan, sql).await {
                Err(error) if n_retries > 0 && error.is_worker_lost() => {
                    n_retries -= 1;
                    warn!(%error, "worker lost during a COPY, running it again");
                    self.coordinator.check_workers().await;
                }
                outcome => break (staging, outcome?),
            }
        };
        let n_rows: u64 = batches
            .iter()
            .filter_map(|batch| {
                let counts = batch.column_by_name("count")?;
                let counts = counts.as_any().downcast_ref::<arrow::array::UInt64Array>()?;
                Some(counts.iter().flatten().sum::<u64>())
            })
            .sum();
        staging.publish().await?;
        Ok(n_rows)
    }

    /// Returns what writes the files of a COPY to `target`, to be published.
    fn stage(&self, copy: CopyTo, target: &Url) -> Result<Staged> {
        let state = self.state();
        let store_url = ObjectStoreUrl::parse(&target[..url::Position::BeforePath])?;
        let store = state.runtime_env().object_store(&store_url)?;
        let (output_url, state, staging) = match target.scheme() {
            "file" => {
                let folder = Folder::beside(store, target)?;
                (folder.url().to_string(), state, Staging::Folder(folder))
            }
            _ => {
                let uploads = Uploads::new(store);
                let state = uploads.redirect(state, store_url.as_ref())?;
                (target.to_string(), state, Staging::Uploads(uploads))
            }
        };
        let plan = LogicalPlan::Copy(CopyTo { output_url, ..formed(copy, target) });
        Ok(Staged { plan, state, staging })
    }

    /// Prepares the plan of an EXPLAIN. Where ANALYZE runs a COPY, its files are staged: to be published when it is done.
    ///
    /// # Errors
    /// When a COPY goes to a location that is not allowed.
    pub(super) fn stage_explained(
        &self,
        plan: LogicalPlan,
        analyze: bool,
    ) -> Result<(LogicalPlan, SessionState, Option<Staging>)> {
        let LogicalPlan::Copy(copy) = plan else { return Ok((plan, self.state(), None)) };
        let target = self.coordinator.lake.check_location(&copy.output_url)?;
        if analyze {
            let Staged { plan, state, staging } = self.stage(copy, &target)?;
            return Ok((plan, state, Some(staging)));
        }
        let copy = CopyTo { output_url: target.to_string(), ..copy };
        Ok((LogicalPlan::Copy(copy), self.state(), None))
    }
}

/// Writes a file in the form that its name says, for the table of that file is read so: a `.tsv` has its values separated by
/// tabs, a text with `.gz` and the like behind it is compressed. Options win over the name.
fn formed(mut copy: CopyTo, target: &Url) -> CopyTo {
    const COMPRESSION: &str = "format.compression";
    let name = target.path().rsplit('/').next().unwrap_or_default().to_ascii_lowercase();
    let suffixes: Vec<_> = name.split('.').skip(1).collect();
    let format = copy.file_type.get_ext();
    if format == "csv" && suffixes.contains(&"tsv") {
        copy.options.entry("format.delimiter".to_string()).or_insert_with(|| "\t".to_string());
    }
    let by_name = match suffixes.last() {
        Some(&"gz") => Some("gzip"),
        Some(&"bz2") => Some("bzip2"),
        Some(&"xz") => Some("xz"),
        Some(&"zst") => Some("zstd"),
        _ => None,
    };
    let asked = copy.options.get(COMPRESSION).map(|asked| asked.trim().to_ascii_lowercase());
    let compression = match (format.as_str(), asked.as_deref()) {
        ("csv" | "json", None) => by_name,
        ("csv" | "json", Some("none")) => Some("uncompressed"),
        // The engine wants a level; these are the writers' own defaults.
        ("parquet", Some("none")) => Some("uncompressed"),
        ("parquet", Some("gzip")) => Some("gzip(6)"),
        ("parquet", Some("brotli")) => Some("brotli(1)"),
        ("parquet", Some("zstd")) => Some("zstd(1)"),
        _ => None,
    };
    if let Some(compression) = compression {
        copy.options.insert(COMPRESSION.to_string(), compression.to_string());
    }
    copy
}

fn store_error(error: object_store::Error) -> Error {
    Error::DataFusion(error.into())
}
