//! Counts requests to object stores: for the process, for the planning of a statement, for a scan.
//!
//! Every store that [`super::Stores`] and the stores of catalog services open over a network is wrapped once for the
//! process; the local disk is none. Planning runs inside [`counting`], so that what it asks is known by statement; a scan wraps the store once more, for its own
//! metrics, which travel from workers to the coordinator.
//!
//! A request is one call to the service: neighbouring ranges that are read in one are one, each 1,000 names of a listing
//! are one. Limit: a request that the client sends again counts once.

use async_trait::async_trait;
use bytes::Bytes;
use datafusion::physical_plan::metrics::Count;
use futures::stream::{self, BoxStream};
use futures::{StreamExt, future};
use metrics::counter;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, OBJECT_STORE_COALESCE_DEFAULT,
    ObjectMeta, ObjectStore, ObjectStoreExt, PutMultipartOptions, PutOptions, PutPayload,
    PutResult, RenameOptions, Result, UploadPart, coalesce_ranges,
};
use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Counter of requests, by operation and by outcome "ok", "missing" or "failed".
const REQUESTS: &str = "saltlake_object_store_requests_total";
/// Names on a page of a listing, and in a request to delete.
const PAGE: usize = 1000;

/// What is asked of a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operation {
    Get,
    Head,
    List,
    Put,
    Delete,
    Copy,
}

impl Operation {
    const ALL: [Self; 6] = [Self::Get, Self::Head, Self::List, Self::Put, Self::Delete, Self::Copy];

    fn name(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::Head => "head",
            Self::List => "list",
            Self::Put => "put",
            Self::Delete => "delete",
            Self::Copy => "copy",
        }
    }
}

/// Requests that were made while a statement was planned.
#[derive(Debug, Default)]
pub struct Requests([AtomicU64; Operation::ALL.len()]);

impl Requests {
    /// Returns the number of requests of each kind that occurred, such as `("get", 2)`, and begins anew.
    pub fn take(&self) -> Vec<(&'static str, u64)> {
        let taken = Operation::ALL.iter().zip(&self.0);
        let taken = taken.map(|(operation, n)| (operation.name(), n.swap(0, Ordering::Relaxed)));
        taken.filter(|(_, n)| *n > 0).collect()
    }
}

tokio::task_local! {
    static COUNTED: Arc<Requests>;
}

/// Adds the requests that `work` makes to `requests`. What it moves to other tasks is counted for the process only.
pub async fn counting<T>(requests: Arc<Requests>, work: impl Future<Output = T>) -> T {
    COUNTED.scope(requests, work).await
}

/// Goes on counting for the statement that is planned here, wherever the work will run.
pub fn inherit<T>(work: impl Future<Output = T>) -> impl Future<Output = T> {
    let requests = COUNTED.try_with(Arc::clone).unwrap_or_default();
    counting(requests, work)
}

/// Where requests are counted.
#[derive(Debug, Clone)]
enum Tally {
    Process,
    Scan(Count),
}

/// One request, or one listing, under way.
struct Recorder {
    operation: Operation,
    tally: Tally,
    statement: Option<Arc<Requests>>,
}

impl Recorder {
    fn record<T>(&self, outcome: &Result<T>) {
        let outcome = match outcome {
            Ok(_) => "ok",
            Err(object_store::Error::NotFound { .. }) => "missing",
            Err(_) => "failed",
        };
        match &self.tally {
            Tally::Scan(count) => count.add(1),
            Tally::Process => {
                counter!(REQUESTS, "op" => self.operation.name(), "outcome" => outcome)
                    .increment(1);
                if let Some(requests) = &self.statement {
                    requests.0[self.operation as usize].fetch_add(1, Ordering::Relaxed);
                }
            }
        }
    }

    /// Counts the pages of a listing; one that is empty is one page.
    fn pages<T: Send + 'static>(
        self,
        listing: BoxStream<'static, Result<T>>,
    ) -> BoxStream<'static, Result<T>> {
        let mut n_items = 0;
        let mut is_counted = false;
        let with_end = listing.map(Some).chain(stream::iter([None]));
        let count = move |item: Option<Result<T>>| {
            match &item {
                Some(Ok(_)) => {
                    if n_items % PAGE == 0 {
                        self.record(&Ok(()));
                    }
                    n_items += 1;
                    is_counted = true;
                }
                Some(failed) => {
                    self.record(failed);
                    is_counted = true;
                }
                None if is_counted => {}
                None => self.record(&Ok(())),
            }
            future::ready(item)
        };
        with_end.filter_map(count).boxed()
    }
}

/// A store whose requests are counted.
#[derive(Debug)]
pub(crate) struct CountedStore {
    inner: Arc<dyn ObjectStore>,
    tally: Tally,
}

impl CountedStore {
    /// Returns a store whose requests are counted for the process and for the statement that is planned.
    pub(crate) fn of_process(inner: Arc<dyn ObjectStore>) -> Arc<dyn ObjectStore> {
        Arc::new(Self { inner, tally: Tally::Process })
    }

    /// Returns the store of a process with its requests counted for a scan too.
    pub(crate) fn of_scan(inner: Arc<dyn ObjectStore>, count: Count) -> Arc<dyn ObjectStore> {
        Arc::new(Self { inner, tally: Tally::Scan(count) })
    }

    fn recorder(&self, operation: Operation) -> Recorder {
        let statement = COUNTED.try_with(Arc::clone).ok();
        Recorder { operation, tally: self.tally.clone(), statement }
    }

    fn record<T>(&self, operation: Operation, outcome: Result<T>) -> Result<T> {
        self.recorder(operation).record(&outcome);
        outcome
    }
}

impl fmt::Display for CountedStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

#[async_trait]
impl ObjectStore for CountedStore {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> Result<PutResult> {
        self.record(Operation::Put, self.inner.put_opts(location, payload, options).await)
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        let begun = self.inner.put_multipart_opts(location, options).await;
        let inner = self.record(Operation::Put, begun)?;
        Ok(Box::new(CountedUpload { inner, tally: self.tally.clone() }))
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let operation = if options.head { Operation::Head } else { Operation::Get };
        self.record(operation, self.inner.get_opts(location, options).await)
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        let get = |range| self.get_range(location, range);
        coalesce_ranges(ranges, get, OBJECT_STORE_COALESCE_DEFAULT).await
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        self.recorder(Operation::Delete).pages(self.inner.delete_stream(locations))
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.recorder(Operation::List).pages(self.inner.list(prefix))
    }

    fn list_with_offset(
        &self,
        prefix: Option<&Path>,
        offset: &Path,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        self.recorder(Operation::List).pages(self.inner.list_with_offset(prefix, offset))
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        let listed = self.inner.list_with_delimiter(prefix).await;
        if let Ok(found) = &listed {
            let n_names = found.objects.len() + found.common_prefixes.len();
            for _ in 1..n_names.div_ceil(PAGE) {
                self.recorder(Operation::List).record(&Ok(()));
            }
        }
        self.record(Operation::List, listed)
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.record(Operation::Copy, self.inner.copy_opts(from, to, options).await)
    }

    async fn rename_opts(&self, from: &Path, to: &Path, options: RenameOptions) -> Result<()> {
        self.record(Operation::Copy, self.inner.rename_opts(from, to, options).await)
    }
}

/// An upload in parts, each of which is a request.
#[derive(Debug)]
struct CountedUpload {
    inner: Box<dyn MultipartUpload>,
    tally: Tally,
}

impl CountedUpload {
    fn recorder(&self) -> Recorder {
        Recorder { operation: Operation::Put, tally: self.tally.clone(), statement: None }
    }
}

#[async_trait]
impl MultipartUpload for CountedUpload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        let (part, recorder) = (self.inner.put_part(data), self.recorder());
        Box::pin(async move {
            let outcome = part.await;
            recorder.record(&outcome);
            outcome
        })
    }

    async fn complete(&mut self) -> Result<PutResult> {
        let outcome = self.inner.complete().await;
        self.recorder().record(&outcome);
        outcome
    }

    async fn abort(&mut self) -> Result<()> {
        let outcome = self.inner.abort().await;
        self.recorder().record(&outcome);
        outcome
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::TryStreamExt;
    use object_store::memory::InMemory;

    async fn requests(work: impl AsyncFnOnce(Arc<dyn ObjectStore>)) -> Vec<(&'static str, u64)> {
        let (memory, requests) = (Arc::new(InMemory::new()), Arc::new(Requests::default()));
        for idx in 0..2500 {
            let path = Path::from(format!("many/{idx:04}"));
            memory.put(&path, PutPayload::from_static(b"0123456789")).await.unwrap();
        }
        let store = CountedStore::of_process(memory);
        counting(Arc::clone(&requests), work(store)).await;
        let taken = requests.take();
        assert!(requests.take().is_empty(), "they are taken once");
        taken
    }

    #[tokio::test]
    async fn each_kind_of_request_is_counted() {
        let work = async |store: Arc<dyn ObjectStore>| {
            let (path, gone) = (Path::from("many/0001"), Path::from("gone"));
            store.head(&path).await.unwrap();
            store.head(&gone).await.unwrap_err();
            store.get(&path).await.unwrap().bytes().await.unwrap();
            store.copy(&path, &Path::from("copy")).await.unwrap();
            store.put(&gone, PutPayload::from_static(b"x")).await.unwrap();
            store.delete(&gone).await.unwrap();
        };
        let expected = [("get", 1), ("head", 2), ("put", 1), ("delete", 1), ("copy", 1)];
        assert_eq!(requests(work).await, expected);
    }

    #[tokio::test]
    async fn listings_count_by_page() {
        let work = async |store: Arc<dyn ObjectStore>| {
            let (many, none) = (Path::from("many"), Path::from("none"));
            let listed: Vec<_> = store.list(Some(&many)).try_collect().await.unwrap();
            assert_eq!(listed.len(), 2500);
            let listed: Vec<_> = store.list(Some(&none)).try_collect().await.unwrap();
            assert!(listed.is_empty());
            store.list_with_delimiter(Some(&many)).await.unwrap();
        };
        assert_eq!(requests(work).await, [("list", 3 + 1 + 3)]);
    }

    #[tokio::test]
    async fn ranges_that_are_read_in_one_are_one_request() {
        let work = async |store: Arc<dyn ObjectStore>| {
            let ranges = [0..2, 4..5, 7..9];
            let read = store.get_ranges(&Path::from("many/0001"), &ranges).await.unwrap();
            assert_eq!(read, [&b"01"[..], b"4", b"78"]);
        };
        assert_eq!(requests(work).await, [("get", 1)]);
    }

    #[tokio::test]
    async fn a_scan_counts_its_own() {
        let (memory, count) = (Arc::new(InMemory::new()), Count::new());
        memory.put(&Path::from("a"), PutPayload::from_static(b"xyz")).await.unwrap();
        let requests = Arc::new(Requests::default());
        let process = CountedStore::of_process(memory);
        let scan = CountedStore::of_scan(process, count.clone());
        let read = async { scan.get_ranges(&Path::from("a"), &[0..1, 2..3]).await.unwrap() };
        counting(Arc::clone(&requests), read).await;
        assert_eq!(count.value(), 1);
        assert_eq!(requests.take(), [("get", 1)]);
    }
}
