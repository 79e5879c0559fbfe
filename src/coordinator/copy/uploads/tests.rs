//! Uploads over a store in memory, one of whose files cannot be completed.

use super::*;
use object_store::ObjectStoreExt;
use object_store::memory::InMemory;

/// A store in memory that refuses to complete uploads to files called `bad`.
#[derive(Debug, Default)]
struct Refusing {
    inner: Arc<InMemory>,
    n_aborted: Arc<Mutex<usize>>,
}

impl fmt::Display for Refusing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Refusing")
    }
}

#[derive(Debug)]
struct RefusingUpload {
    inner: Box<dyn MultipartUpload>,
    is_bad: bool,
    n_aborted: Arc<Mutex<usize>>,
}

#[async_trait]
impl MultipartUpload for RefusingUpload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        self.inner.put_part(data)
    }

    async fn complete(&mut self) -> StoreResult<PutResult> {
        if self.is_bad { Err(ended()) } else { self.inner.complete().await }
    }

    async fn abort(&mut self) -> StoreResult<()> {
        *self.n_aborted.lock() += 1;
        self.inner.abort().await
    }
}

#[async_trait]
impl ObjectStore for Refusing {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> StoreResult<PutResult> {
        self.inner.put_opts(location, payload, options).await
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> StoreResult<Box<dyn MultipartUpload>> {
        Ok(Box::new(RefusingUpload {
            inner: self.inner.put_multipart_opts(location, options).await?,
            is_bad: location.filename() == Some("bad"),
            n_aborted: Arc::clone(&self.n_aborted),
        }))
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> StoreResult<GetResult> {
        self.inner.get_opts(location, options).await
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, StoreResult<Path>>,
    ) -> BoxStream<'static, StoreResult<Path>> {
        self.inner.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, StoreResult<ObjectMeta>> {
        self.inner.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> StoreResult<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> StoreResult<()> {
        self.inner.copy_opts(from, to, options).await
    }
}

/// Names in a store, sorted.
async fn names(store: &InMemory) -> Vec<String> {
    let all: Vec<_> =
        store.list(None).map(|meta| meta.unwrap().location.to_string()).collect().await;
    let mut all = all;
    all.sort();
    all
}

/// Begins uploads of these files, in parts and in one piece by turns.
async fn write(uploads: &Uploads, files: &[&str]) {
    for (idx, file) in files.iter().enumerate() {
        let path = Path::from(*file);
        if idx % 2 == 0 {
            uploads.store.put(&path, "whole".into()).await.unwrap();
        } else {
            let mut upload = uploads.store.put_multipart(&path).await.unwrap();
            upload.put_part("in ".into()).await.unwrap();
            upload.put_part("parts".into()).await.unwrap();
            upload.complete().await.unwrap();
        }
    }
}

#[tokio::test]
async fn nothing_is_seen_before_it_is_published() {
    let store = Arc::new(InMemory::new());
    let uploads = Uploads::new(Arc::clone(&store) as _);
    write(&uploads, &["t/0", "t/1", "t/2"]).await;
    uploads.store.put(&Path::from("t/empty"), PutPayload::new()).await.unwrap();
    assert!(names(&store).await.is_empty());
    uploads.publish().await.unwrap();
    assert_eq!(names(&store).await, ["t/0", "t/1", "t/2", "t/empty"]);
    let parts = store.get(&Path::from("t/1")).await.unwrap().bytes().await.unwrap();
    assert_eq!(parts, "in parts");
}

#[tokio::test]
async fn one_file_that_fails_takes_the_others_back() {
    let store = Refusing::default();
    let (inner, n_aborted) = (Arc::clone(&store.inner), Arc::clone(&store.n_aborted));
    inner.put(&Path::from("t/before"), "kept".into()).await.unwrap();
    let uploads = Uploads::new(Arc::new(store));
    write(&uploads, &["t/0", "t/1", "t/bad", "t/3"]).await;
    uploads.publish().await.unwrap_err();
    assert_eq!(names(&inner).await, ["t/before"]);
    assert_eq!(*n_aborted.lock(), 1, "the one that failed");
}

#[tokio::test]
async fn a_file_that_cannot_be_replaced_stays() {
    let store = Refusing::default();
    let inner = Arc::clone(&store.inner);
    inner.put(&Path::from("bad"), "before".into()).await.unwrap();
    let uploads = Uploads::new(Arc::new(store));
    write(&uploads, &["bad"]).await;
    uploads.publish().await.unwrap_err();
    let kept = inner.get(&Path::from("bad")).await.unwrap().bytes().await.unwrap();
    assert_eq!(kept, "before");
}

#[tokio::test]
async fn what_is_dropped_is_aborted() {
    let store = Refusing::default();
    let (inner, n_aborted) = (Arc::clone(&store.inner), Arc::clone(&store.n_aborted));
    let uploads = Uploads::new(Arc::new(store));
    write(&uploads, &["t/0", "t/1"]).await;
    let unfinished = uploads.store.put_multipart(&Path::from("t/2")).await.unwrap();
    drop(uploads);
    drop(unfinished);
    while *n_aborted.lock() < 3 {
        tokio::task::yield_now().await;
    }
    assert!(names(&inner).await.is_empty());
}
