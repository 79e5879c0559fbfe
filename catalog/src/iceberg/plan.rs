//! From a snapshot to the data files that a scan must read, and the deletes that apply to them.
//!
//! ```text
//! manifest list ─ pruned by partition ranges ─> manifests ─ pruned by bounds ─> data files
//!                                           └─> delete manifests ─────────────> deletes of each file
//! ```
//!
//! Lists and manifests come from the caches; the work before pruning is a few vector operations a manifest, and what is
//! done for a single file is done for those that are kept.

use super::block::{DeleteKind, ManifestBlock};
use super::deletes::{DeleteFile, DeleteIndex, DeletePool};
use super::metadata::{ManifestEntry, ManifestList, Snapshot, TableMetadata};
use super::place::Locator;
use super::prune::Pruner;
use super::{manifest, manifest_list};
use crate::cache::Caches;
use crate::error::{Error, Result};
use futures::{StreamExt, TryStreamExt, stream};
use object_store::{ObjectStore, ObjectStoreExt};
use std::sync::Arc;

/// Manifests that are fetched and read at the same time.
const READ_CONCURRENCY: usize = 16;

/// What reads the metadata of one table.
pub(crate) struct MetadataReader {
    pub(super) store: Arc<dyn ObjectStore>,
    pub(super) caches: Arc<Caches>,
    pub(super) locator: Locator,
    pub(super) metadata: Arc<TableMetadata>,
}

/// A data file to read.
pub(super) struct PlannedFile {
    pub(super) block: Arc<ManifestBlock>,
    pub(super) row: usize,
    /// Numbers of [`ScanPlan::deletes`].
    pub(super) deletes: Vec<u32>,
}

impl PlannedFile {
    /// Returns the rows that are left after deletes; `None` when only reading tells.
    fn n_rows(&self, deletes: &[DeleteFile]) -> Option<u64> {
        let n_rows = self.block.n_rows[self.row];
        match self.deletes.as_slice() {
            [] => Some(n_rows),
            [only] => {
                let delete = deletes.get(*only as usize)?;
                let is_vector = matches!(delete.kind, DeleteKind::Vector { .. });
                is_vector.then(|| n_rows.checked_sub(delete.n_rows)).flatten()
            }
            _ => None,
        }
    }
}

/// What a scan reads.
pub(super) struct ScanPlan {
    pub(super) files: Vec<PlannedFile>,
    pub(super) deletes: Arc<[DeleteFile]>,
    /// Data files of the snapshot.
    pub(super) n_files: usize,
    pub(super) n_manifests: usize,
    pub(super) n_manifests_read: usize,
}

impl ScanPlan {
    /// Returns the number of rows, and whether it is exact.
    pub(super) fn n_rows(&self) -> (u64, bool) {
        let mut is_exact = true;
        let rows = self.files.iter().map(|file| match file.n_rows(&self.deletes) {
            Some(n_rows) => n_rows,
            None => {
                is_exact = false;
                file.block.n_rows[file.row]
            }
        });
        (rows.sum(), is_exact)
    }

    /// Keeps the first files that surely hold `limit` rows; returns whether others were left out.
    pub(super) fn cut_to(&mut self, limit: usize) -> bool {
        let mut n_rows = 0_u64;
        for (idx, file) in self.files.iter().enumerate() {
            let Some(rows) = file.n_rows(&self.deletes) else { return false };
            n_rows = n_rows.saturating_add(rows);
            if n_rows >= limit as u64 {
                let is_cut = idx + 1 < self.files.len();
                self.files.truncate(idx + 1);
                return is_cut;
            }
        }
        false
    }
}

impl MetadataReader {
    /// Plans a scan of a snapshot.
    ///
    /// # Errors
    /// When metadata cannot be read, are corrupt, or name a file that cannot be read here.
    pub(super) async fn plan(&self, snapshot: &Snapshot, pruner: &Pruner) -> Result<ScanPlan> {
        let list = self.manifest_list(snapshot).await?;
        let (mut data, mut deletes) = (vec![], vec![]);
        for group in &list.groups {
            let spec = self.metadata.spec(group.spec_id)?;
            let is_kept = pruner.manifests(group, spec)?;
            for (idx, _) in group.members.iter().zip(is_kept).filter(|(_, is_kept)| *is_kept) {
                let manifest = &list.manifests[*idx];
                let kind = if manifest.is_deletes { &mut deletes } else { &mut data };
                if manifest.has_live_files() {
                    kind.push(*idx);
                }
            }
        }
        // The order of a manifest list is that of a snapshot; groups are by spec.
        data.sort_unstable();
        let n_manifests_read = data.len() + deletes.len();
        let mut index = DeleteIndex::default();
        for block in self.blocks(&list, &deletes).await? {
            index.add(&block, &self.metadata)?;
        }
        let mut pool = DeletePool::default();
        let mut files = vec![];
        for block in self.blocks(&list, &data).await? {
            self.select(&block, pruner, &index, &mut pool, &mut files)?;
        }
        let counted = list.manifests.iter().filter(|manifest| !manifest.is_deletes);
        let counted = counted.map(|manifest| {
            let count = |files: Option<u32>| files.unwrap_or(0) as usize;
            count(manifest.added_files) + count(manifest.existing_files)
        });
        let total = snapshot.summary.get("total-data-files").and_then(|total| total.parse().ok());
        let n_files = total.unwrap_or_else(|| counted.sum::<usize>()).max(files.len());
        Ok(ScanPlan {
            files,
            deletes: pool.finish(),
            n_files,
            n_manifests: list.manifests.len(),
            n_manifests_read,
        })
    }

    fn select(
        &self,
        block: &Arc<ManifestBlock>,
        pruner: &Pruner,
        index: &DeleteIndex,
        pool: &mut DeletePool,
        files: &mut Vec<PlannedFile>,
    ) -> Result<()> {
        let spec = self.metadata.spec(block.spec_id)?;
        let is_kept = pruner.files(block, spec)?;
        for (row, _) in is_kept.into_iter().enumerate().filter(|(_, is_kept)| *is_kept) {
            if let Some(feature) = block.unreadable.get(&row) {
                return Err(Error::NotSupported { feature: feature.clone() });
            }
            let deletes = index.of(block, spec, row)?;
            let deletes = deletes.into_iter().map(|idx| pool.add(index, idx)).collect();
            files.push(PlannedFile { block: Arc::clone(block), row, deletes });
        }
        Ok(())
    }

    /// Returns the manifest list of a snapshot.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(super) async fn manifest_list(&self, snapshot: &Snapshot) -> Result<Arc<ManifestList>> {
        let path = self.locator.resolve(&snapshot.manifest_list)?;
        let key = format!("{}{path}", self.locator.store_url());
        let load = async {
            let document = self.store.get(&path).await?.bytes().await?;
            let metadata = Arc::clone(&self.metadata);
            let name = path.to_string();
            let parse = move || manifest_list::parse(&name, &document, &metadata).map(Arc::new);
            let list = blocking(parse).await?;
            // A list that was cut behind its header reads as an empty one.
            let total = snapshot.summary.get("total-data-files");
            if list.manifests.is_empty() && total.is_some_and(|total| total != "0") {
                return Err(Error::CorruptFile {
                    path: path.to_string(),
                    message: "the manifest list is empty, the snapshot is not".to_owned(),
                });
            }
            Ok(list)
        };
        self.caches.manifest_list(key, load).await
    }

    /// Returns manifests as blocks, in order.
    pub(super) async fn blocks(
        &self,
        list: &ManifestList,
        wanted: &[usize],
    ) -> Result<Vec<Arc<ManifestBlock>>> {
        let reads: Vec<_> = wanted.iter().map(|idx| self.block(&list.manifests[*idx])).collect();
        stream::iter(reads).buffered(READ_CONCURRENCY).try_collect().await
    }

    async fn block(&self, manifest: &ManifestEntry) -> Result<Arc<ManifestBlock>> {
        let path = self.locator.resolve(&manifest.path)?;
        let key = format!("{}{path}", self.locator.store_url());
        let load = async {
            if manifest.is_encrypted {
                return Err(Error::NotSupported {
                    feature: "an encrypted Iceberg manifest".to_owned(),
                });
            }
            let document = self.store.get(&path).await?.bytes().await?;
            // The format has no end mark: a file that was cut between two blocks would read as a shorter one.
            if manifest.length != 0 && manifest.length != document.len() as u64 {
                let message =
                    format!("it has {} bytes instead of {}", document.len(), manifest.length);
                return Err(Error::CorruptFile { path: path.to_string(), message });
            }
            let (name, manifest) = (path.to_string(), manifest.clone());
            let parse = move || manifest::parse(&name, &document, &manifest).map(Arc::new);
            blocking(parse).await
        };
        self.caches.manifest(key, load).await
    }
}

/// Runs work that computes for long on a thread that may.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => Err(object_store::Error::from(error).into()),
    }
}
