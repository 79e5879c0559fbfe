//! What the kernel reads with: our object stores, from threads that may wait.
//!
//! The kernel asks for files and waits for them. Its calls are made by [`run`], on the runtime's threads for waiting, where
//! a handler may block on the store. When nobody waits for the answer any more, the kernel is told to stop at its next
//! read. Nothing is written: the handlers refuse to.

use super::documents::{JsonDocuments, ParquetDocuments};
use super::failure::{explain, from_store, raise};
use crate::error::{Error, Result};
use crate::iceberg::blocking;
use crate::location::store_path;
use bytes::Bytes;
use delta_kernel::cancellation::{CancellationToken, CancellationTokenRef, CancelledFuture};
use delta_kernel::engine::arrow_expression::ArrowEvaluationHandler;
use delta_kernel::{
    Engine, EvaluationHandler, FileMeta, FileSlice, JsonHandler, KernelError, KernelResult,
    KernelResultIteratorStatic, ParquetHandler, StorageHandler,
};
use futures::{StreamExt, TryStreamExt, stream};
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStore, ObjectStoreExt};
use std::sync::Arc;
use tokio::runtime::Handle;
use tokio::sync::watch;
use url::Url;

/// Files that are fetched at the same time.
pub(super) const READ_CONCURRENCY: usize = 16;

/// Runs calls of the kernel for the table whose log is at `log`.
///
/// # Errors
/// What the kernel meets, in our words.
pub(super) async fn run<T: Send + 'static>(
    store: &Arc<dyn ObjectStore>,
    log: &str,
    work: impl FnOnce(&TableEngine, CancellationTokenRef) -> KernelResult<T> + Send + 'static,
) -> Result<T> {
    let (store, log, runtime) = (Arc::clone(store), log.to_owned(), Handle::current());
    // Dropped with this future, which the token notices.
    let (_waiting, is_waiting) = watch::channel(());
    let token: CancellationTokenRef = Arc::new(Waiting(is_waiting));
    blocking(move || {
        let engine = TableEngine::new(store, runtime);
        work(&engine, token).map_err(|error| explain(&log, error))
    })
    .await
}

/// Is cancelled when nobody waits for the result.
struct Waiting(watch::Receiver<()>);

impl CancellationToken for Waiting {
    fn is_cancelled(&self) -> bool {
        self.0.has_changed().is_err()
    }

    fn cancelled_future(&self) -> CancelledFuture<'_> {
        let mut receiver = self.0.clone();
        Box::pin(async move { while receiver.changed().await.is_ok() {} })
    }
}

/// Reads the log of one table.
pub(super) struct TableEngine {
    storage: Arc<TableStorage>,
    evaluation: Arc<ArrowEvaluationHandler>,
    json: Arc<JsonDocuments>,
    parquet: Arc<ParquetDocuments>,
}

impl TableEngine {
    fn new(store: Arc<dyn ObjectStore>, runtime: Handle) -> Self {
        let storage = Arc::new(TableStorage { store, runtime });
        Self {
            evaluation: Arc::new(ArrowEvaluationHandler {}),
            json: Arc::new(JsonDocuments(Arc::clone(&storage))),
            parquet: Arc::new(ParquetDocuments(Arc::clone(&storage))),
            storage,
        }
    }
}

impl Engine for TableEngine {
    fn evaluation_handler(&self) -> Arc<dyn EvaluationHandler> {
        Arc::clone(&self.evaluation) as _
    }

    fn storage_handler(&self) -> Arc<dyn StorageHandler> {
        Arc::clone(&self.storage) as _
    }

    fn json_handler(&self) -> Arc<dyn JsonHandler> {
        Arc::clone(&self.json) as _
    }

    fn parquet_handler(&self) -> Arc<dyn ParquetHandler> {
        Arc::clone(&self.parquet) as _
    }
}

/// The table's object store for callers that wait.
pub(super) struct TableStorage {
    pub(super) store: Arc<dyn ObjectStore>,
    runtime: Handle,
}

impl TableStorage {
    /// Waits for an answer of the store.
    pub(super) fn wait<T>(&self, answer: impl Future<Output = T>) -> T {
        self.runtime.block_on(answer)
    }

    /// Returns whole files, in order.
    pub(super) fn read(&self, files: &[Url]) -> KernelResult<Vec<Bytes>> {
        let paths = files.iter().map(path_of).collect::<KernelResult<Vec<_>>>()?;
        let read = |path: Path| async move { self.store.get(&path).await?.bytes().await };
        let reads: Vec<_> = paths.into_iter().map(read).collect();
        let all = stream::iter(reads).buffered(READ_CONCURRENCY).try_collect();
        self.wait(all).map_err(from_store)
    }
}

/// Returns the path in the store that a location of the kernel's names.
pub(super) fn path_of(location: &Url) -> KernelResult<Path> {
    store_path(location).map_err(raise)
}

/// Returns the location of a path in the store of `table`.
fn location_of(table: &Url, meta: &ObjectMeta) -> FileMeta {
    let mut location = table.clone();
    location.set_path(&format!("/{}", meta.location.as_ref().replace('%', "%25")));
    FileMeta::new(location, meta.last_modified.timestamp_millis(), meta.size)
}

fn read_only(what: &str) -> KernelError {
    raise(Error::NotSupported { feature: format!("{what} the files of a Delta table") })
}

impl StorageHandler for TableStorage {
    fn list_from(&self, from: &Url) -> KernelResult<KernelResultIteratorStatic<FileMeta>> {
        let after = path_of(from)?;
        let folder: Path = match from.path().ends_with('/') {
            true => after.clone(),
            false => {
                let parts: Vec<_> = after.parts().collect();
                parts[..parts.len().saturating_sub(1)].iter().cloned().collect()
            }
        };
        let listing = self.store.list_with_offset(Some(&folder), &after).try_collect();
        let mut found: Vec<ObjectMeta> = self.wait(listing).map_err(from_store)?;
        found.sort_unstable_by(|a, b| a.location.cmp(&b.location));
        let table = from.clone();
        Ok(Box::new(found.into_iter().map(move |meta| Ok(location_of(&table, &meta)))))
    }

    fn read_files(&self, files: Vec<FileSlice>) -> KernelResult<KernelResultIteratorStatic<Bytes>> {
        let read = |(location, range): FileSlice| {
            let path = path_of(&location)?;
            let bytes = match range {
                Some(range) => self.wait(self.store.get_range(&path, range)),
                None => self.wait(async { self.store.get(&path).await?.bytes().await }),
            };
            bytes.map_err(from_store)
        };
        let read: Vec<_> = files.into_iter().map(read).collect();
        Ok(Box::new(read.into_iter()))
    }

    fn head(&self, location: &Url) -> KernelResult<FileMeta> {
        let path = path_of(location)?;
        let meta = self.wait(self.store.head(&path)).map_err(from_store)?;
        Ok(location_of(location, &meta))
    }

    fn copy_atomic(&self, _: &Url, _: &Url) -> KernelResult<()> {
        Err(read_only("copying"))
    }

    fn put(&self, _: &Url, _: Bytes, _: bool) -> KernelResult<()> {
        Err(read_only("writing"))
    }

    fn delete(&self, _: &Url) -> KernelResult<()> {
        Err(read_only("deleting"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use object_store::PutPayload;
    use object_store::memory::InMemory;

    #[tokio::test]
    async fn listings_are_sorted_and_begin_behind_a_name() {
        let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
        for name in ["t %/_delta_log/02.json", "t %/_delta_log/01.json", "t %/_delta_log/s/a"] {
            let path = Path::parse(name).unwrap();
            store.put(&path, PutPayload::from_static(b"{}")).await.unwrap();
        }
        let names = |from: &'static str| {
            let list = move |engine: &TableEngine, _| {
                let listed = engine.storage.list_from(&Url::parse(from).unwrap())?;
                listed.map(|file| Ok(file?.location.to_string())).collect::<KernelResult<Vec<_>>>()
            };
            run(&store, "log", list)
        };
        let all = names("memory:///t%20%25/_delta_log/").await.unwrap();
        let expected = ["01.json", "02.json", "s/a"];
        assert_eq!(all, expected.map(|name| format!("memory:///t%20%25/_delta_log/{name}")));
        assert_eq!(names("memory:///t%20%25/_delta_log/01.json").await.unwrap(), all[1..]);
    }

    #[tokio::test]
    async fn nobody_waiting_stops_the_kernel() {
        let (sender, receiver) = watch::channel(());
        let token = Waiting(receiver);
        assert!(!token.is_cancelled());
        drop(sender);
        assert!(token.is_cancelled());
        token.cancelled_future().await;
    }
}
