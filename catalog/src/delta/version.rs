//! Versions of a table: found, loaded once, and made from the one before where that is known.
//!
//! ```text
//! known version ─ still the newest? ─> the same, from the cache
//!        └─ newer ─> snapshot from its snapshot; files from its files and the commits since
//! nothing known ───> whole log: last checkpoint and the commits after it
//! ```
//!
//! In caches a version goes by the file that made it, its time and etag included: a table that was written anew in the same
//! place is another table.

use super::LOG_FOLDER;
use super::columns::Columns;
use super::engine::run;
use super::failure::raise;
use super::files::FileList;
use super::log::{self, Found, Tip};
use crate::cache::{Caches, FileKey};
use crate::error::{Error, Result};
use crate::iceberg::At;
use crate::location::{Locations, store_path};
use crate::pin;
use chrono::DateTime;
use datafusion::datasource::object_store::ObjectStoreUrl;
use delta_kernel::history_manager::error::LogHistoryError;
use delta_kernel::history_manager::{HistoryCommitType, latest_version_as_of};
use delta_kernel::{KernelError, Snapshot, SnapshotRef};
use object_store::ObjectStore;
use object_store::path::Path;
use std::fmt;
use std::sync::Arc;
use url::Url;

/// The one format that data files may have.
const PARQUET: &str = "parquet";

/// Where a table is.
#[derive(Clone)]
pub(crate) struct Place {
    /// The table's folder, ending in a slash.
    pub(crate) url: Url,
    pub(crate) store_url: ObjectStoreUrl,
    pub(crate) store: Arc<dyn ObjectStore>,
    pub(crate) roots: Arc<Locations>,
}

/// The newest version of a table that was seen.
#[derive(Debug, Clone)]
pub(crate) struct Known(Tip);

impl Known {
    /// Returns the bytes that it holds.
    pub(crate) fn weight_bytes(&self) -> usize {
        let file = &self.0.file;
        file.location.as_ref().len() + file.e_tag.as_ref().map_or(0, String::len)
    }
}

/// One version of a table.
pub(crate) struct Version {
    pub(super) snapshot: SnapshotRef,
    pub(super) columns: Columns,
    key: FileKey,
    /// An earlier version of the same table whose files may be known.
    ancestor: Option<(u64, FileKey)>,
}

impl fmt::Debug for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Version").field("number", &self.number()).finish_non_exhaustive()
    }
}

impl Version {
    /// Returns its number.
    pub(super) fn number(&self) -> u64 {
        self.snapshot.version()
    }

    /// Returns the bytes that it holds, roughly.
    pub(crate) fn weight_bytes(&self) -> usize {
        // The schema is there as text, as the kernel's and as ours.
        self.snapshot.estimated_owned_heap_size_bytes() + 4 * self.columns.schema.json.len()
    }
}

impl Place {
    /// Returns the table's folder in its store.
    ///
    /// # Errors
    /// When the URL names no path.
    pub(super) fn folder(&self) -> Result<Path> {
        store_path(&self.url)
    }

    /// Returns the folder of the log.
    ///
    /// # Errors
    /// As for [`Self::folder`].
    pub(super) fn log(&self) -> Result<Path> {
        Ok(self.folder()?.join(LOG_FOLDER))
    }

    fn key(&self, tip: &Tip) -> FileKey {
        FileKey::new(&Arc::from(self.store_url.as_str()), &tip.file, u128::from(tip.version))
    }

    /// Returns the version that a statement names.
    ///
    /// # Errors
    /// [`Error::SnapshotNotFound`]; when the log cannot be read, is corrupt, or asks for what this reader has not.
    pub(super) async fn version(
        &self,
        table: &str,
        at: &At,
        caches: &Arc<Caches>,
    ) -> Result<Arc<Version>> {
        let none = |wanted: String| Error::SnapshotNotFound { table: table.to_owned(), wanted };
        let number = match at {
            At::Newest => return self.newest(caches).await,
            At::Named(name) => {
                name.parse().map_err(|_| none(format!("\"{name}\": versions are numbers")))?
            }
            At::Time { ms } => {
                let newest = self.newest(caches).await?;
                let time = || DateTime::from_timestamp_millis(*ms).unwrap_or_default().to_rfc3339();
                let found = self.number_at(&newest, *ms).await?;
                found.ok_or_else(|| none(format!("as of {}", time())))?
            }
        };
        let tip = log::version(&self.store, &self.log()?, number).await?;
        let tip = tip.ok_or_else(|| none(format!("\"{number}\"")))?;
        caches.delta_version(self.key(&tip), self.load(tip, None)).await
    }

    /// Returns the newest version, the same one throughout a statement.
    async fn newest(&self, caches: &Arc<Caches>) -> Result<Arc<Version>> {
        if let Some(seen) = pin::seen(&self.pin_name()) {
            return Ok(seen);
        }
        let known = caches.delta_table(self.url.as_str()).await;
        let found = log::newest(&self.store, &self.log()?, known.as_ref().map(|k| &k.0)).await?;
        let (tip, before) = match (found, known) {
            (Found::Same, Some(known)) => (known.0, None),
            (Found::Newer(tip), Some(known)) => {
                let before = caches.known_delta_version(&self.key(&known.0)).await;
                (tip, before)
            }
            (Found::Other(tip) | Found::Newer(tip), _) => (tip, None),
            (Found::Same, None) => {
                return Err(Error::LocationNotFound { location: self.url.to_string() });
            }
        };
        let ancestor = match &before {
            Some(before) if caches.knows_delta_files(&before.key) => {
                Some((before.number(), before.key.clone()))
            }
            Some(before) => before.ancestor.clone(),
            None => None,
        };
        let before = before.map(|before| (Arc::clone(&before.snapshot), ancestor));
        let key = self.key(&tip);
        let newest = caches.delta_version(key, self.load(tip.clone(), before)).await?;
        caches.note_delta_table(self.url.as_str(), Known(tip)).await;
        Ok(self.pin(&newest))
    }

    fn pin_name(&self) -> String {
        format!("delta {}", self.url)
    }

    /// Notes the newest version as this statement sees it, and returns it; what it saw before wins.
    pub(super) fn pin(&self, newest: &Arc<Version>) -> Arc<Version> {
        pin::note(&self.pin_name(), Arc::clone(newest))
    }

    async fn number_at(&self, newest: &Version, ms: i64) -> Result<Option<u64>> {
        let snapshot = Arc::clone(&newest.snapshot);
        let log = self.log()?.to_string();
        run(&self.store, &log, move |engine, _| {
            let kind = HistoryCommitType::Recreatable;
            match latest_version_as_of(&snapshot, engine, ms, kind) {
                Ok(commit) => Ok(Some(commit.version)),
                Err(error) if is_out_of_range(&error) => Ok(None),
                Err(error) => Err(error),
            }
        })
        .await
    }

    /// Loads a version, from the snapshot of an earlier one where that is given, with the latter's ancestor.
    async fn load(
        &self,
        tip: Tip,
        before: Option<(SnapshotRef, Option<(u64, FileKey)>)>,
    ) -> Result<Arc<Version>> {
        let log = self.log()?.to_string();
        let (url, key, number) = (self.url.clone(), self.key(&tip), tip.version);
        let (before, ancestor) = before.map_or((None, None), |(before, a)| (Some(before), a));
        run(&self.store, &log, move |engine, token| {
            let snapshot = match before {
                Some(before) => Snapshot::builder_from(before)
                    .at_version(number)
                    .with_cancellation_token(token)
                    .build(engine)?,
                None => Snapshot::builder_for(url)
                    .at_version(number)
                    .with_cancellation_token(token)
                    .build(engine)?,
            };
            let table = snapshot.table_configuration();
            let format = table.metadata().format_provider();
            if !format.eq_ignore_ascii_case(PARQUET) {
                let feature = format!("a Delta table with data files of the format \"{format}\"");
                return Err(raise(Error::NotSupported { feature }));
            }
            let columns = Columns::of(table).map_err(raise)?;
            Ok(Arc::new(Version { snapshot, columns, key, ancestor }))
        })
        .await
    }

    /// Returns the live files of a version.
    ///
    /// # Errors
    /// When the log cannot be read, is corrupt, or asks for what this reader has not.
    pub(super) async fn files(
        &self,
        version: &Arc<Version>,
        caches: &Arc<Caches>,
    ) -> Result<Arc<FileList>> {
        let load = async {
            let before = match &version.ancestor {
                Some((number, key)) => {
                    caches.known_delta_files(key).await.map(|files| (*number, files))
                }
                None => None,
            };
            let (log, version) = (self.log()?.to_string(), Arc::clone(version));
            run(&self.store, &log, move |engine, token| {
                let Version { snapshot, columns, .. } = version.as_ref();
                if let Some((number, files)) = before
                    && let Some(files) = files.advance(number, snapshot, columns, engine)?
                {
                    return Ok(Arc::new(files));
                }
                FileList::replay(snapshot, columns, engine, token).map(Arc::new)
            })
            .await
        };
        caches.delta_files(version.key.clone(), load).await
    }
}

fn is_out_of_range(error: &KernelError) -> bool {
    match error.without_backtrace() {
        KernelError::LogHistory(error) => {
            matches!(error.as_ref(), LogHistoryError::TimestampOutOfRange { .. })
        }
        _ => false,
    }
}
