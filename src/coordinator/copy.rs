//! `COPY (query) TO 'path'`: all of it or nothing.
//!
//! Called by `Session`. The files are written under a hidden staging folder beside the target and renamed when all are
//! complete, so a failed or cancelled COPY leaves nothing that a table could show. A path with an extension is one file;
//! one without is a folder of files.
//! Limit: an object store renames a folder file by file. When one fails the others are taken back; a server that ends
//! at that moment leaves a part of the folder.

use super::session::{Outcome, Session};
use crate::error::{Error, Result};
use datafusion::execution::object_store::ObjectStoreUrl;
use datafusion::logical_expr::LogicalPlan;
use datafusion::logical_expr::dml::CopyTo;
use futures::{StreamExt, TryStreamExt, stream};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use std::sync::Arc;
use tracing::warn;
use url::Url;
use uuid::Uuid;

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
        // Each try has a staging folder of its own: what a lost worker's query wrote is dropped with the folder.
        let (staging, batches) = loop {
            let (staged, staging) = self.stage(copy.clone(), target)?;
            match self.run_to_end(staged, sql).await {
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

    /// Returns the plan that writes to a staging folder what a COPY writes to `target`, and the folder.
    fn stage(&self, copy: CopyTo, target: &Url) -> Result<(LogicalPlan, Staging)> {
        let staging = Staging::beside(&self.state(), target)?;
        let staged = CopyTo { output_url: staging.url.to_string(), ..copy };
        Ok((LogicalPlan::Copy(staged), staging))
    }

    /// Prepares the plan of an EXPLAIN. Where ANALYZE runs a COPY, its files are staged: to be published when it is done.
    ///
    /// # Errors
    /// When a COPY goes to a location that is not allowed.
    pub(super) fn stage_explained(
        &self,
        plan: LogicalPlan,
        analyze: bool,
    ) -> Result<(LogicalPlan, Option<Staging>)> {
        let LogicalPlan::Copy(copy) = plan else { return Ok((plan, None)) };
        let target = self.coordinator.lake.check_location(&copy.output_url)?;
        if analyze {
            let (plan, staging) = self.stage(copy, &target)?;
            return Ok((plan, Some(staging)));
        }
        Ok((LogicalPlan::Copy(CopyTo { output_url: target.to_string(), ..copy }), None))
    }
}

/// A hidden folder whose content is renamed to a target, or removed.
pub(super) struct Staging {
    store: Arc<dyn ObjectStore>,
    /// Where the engine writes.
    url: Url,
    /// The folder.
    folder: Path,
    /// What the written file or folder is called inside it.
    name: String,
    /// Where it goes.
    target: Path,
    published: bool,
}

impl Staging {
    fn beside(state: &datafusion::execution::SessionState, target: &Url) -> Result<Self> {
        let store_url = ObjectStoreUrl::parse(&target[..url::Position::BeforePath])?;
        let store = state.runtime_env().object_store(&store_url)?;
        let path = target.path().trim_end_matches('/');
        let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
        let hidden = format!("{parent}/.saltlake-copy-{}", Uuid::now_v7());
        let slash = if target.path().ends_with('/') { "/" } else { "" };
        let mut url = target.clone();
        url.set_path(&format!("{hidden}/{name}{slash}"));
        let parse = |path: &str| {
            Path::from_url_path(path).map_err(|error| Error::NotSupported {
                feature: format!("the path \"{path}\" ({error})"),
            })
        };
        let folder = parse(&hidden)?;
        let target = parse(path)?;
        let name = parse(name)?.to_string();
        Ok(Self { store, url, folder, name, target, published: false })
    }

    /// Renames everything to its place, or nothing.
    pub(super) async fn publish(mut self) -> Result<()> {
        let mut done = vec![];
        if let Err(error) = self.rename(&mut done).await {
            let done = stream::iter(done.into_iter().map(Ok)).boxed();
            if let Err(error) = self.store.delete_stream(done).try_collect::<Vec<_>>().await {
                warn!(target = %self.target, %error, "files of a failed COPY were not taken back");
            }
            return Err(error);
        }
        remove(Arc::clone(&self.store), self.folder.clone(), self.local_folder()).await;
        self.published = true;
        Ok(())
    }

    /// Renames file by file; `done` collects the new names.
    async fn rename(&self, done: &mut Vec<Path>) -> Result<()> {
        let written: Vec<_> = self
            .store
            .list(Some(&self.folder))
            .map_ok(|object| object.location)
            .try_collect()
            .await
            .map_err(store_error)?;
        let root = self.folder.clone().join(self.name.as_str());
        for from in written {
            let inner: Vec<_> = from
                .prefix_match(&root)
                .map(|parts| parts.map(|part| part.as_ref().to_string()).collect())
                .unwrap_or_default();
            let to = inner.iter().fold(self.target.clone(), |to, part| to.join(part.as_str()));
            self.store.rename(&from, &to).await.map_err(store_error)?;
            done.push(to);
        }
        Ok(())
    }

    /// The folder in the local file system; object stores have no folders to remove.
    fn local_folder(&self) -> Option<std::path::PathBuf> {
        let file = self.url.to_file_path().ok()?;
        file.parent().map(std::path::Path::to_path_buf)
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        if !self.published {
            // The statement may be dropped at any await point; removal goes on without it.
            let (store, folder, local) =
                (Arc::clone(&self.store), self.folder.clone(), self.local_folder());
            if let Ok(runtime) = tokio::runtime::Handle::try_current() {
                runtime.spawn(remove(store, folder, local));
            }
        }
    }
}

/// Removes a staging folder; what cannot be removed is hidden and harmless, and is logged.
async fn remove(store: Arc<dyn ObjectStore>, folder: Path, local: Option<std::path::PathBuf>) {
    let left = store.list(Some(&folder)).map_ok(|object| object.location).boxed();
    let removed = store.delete_stream(left).try_collect::<Vec<_>>().await;
    if let Err(error) = removed {
        warn!(%folder, %error, "staged files of a COPY were not removed");
    }
    if let Some(local) = local
        && let Err(error) = tokio::fs::remove_dir_all(&local).await
        && error.kind() != std::io::ErrorKind::NotFound
    {
        warn!(folder = %local.display(), %error, "staging folder of a COPY was not removed");
    }
}

fn store_error(error: object_store::Error) -> Error {
    Error::DataFusion(error.into())
}
