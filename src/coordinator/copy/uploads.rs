//! A COPY to an object store: every file is a multipart upload, which nobody sees until it is completed.
//!
//! ```text
//! engine ── writes ──> Deferred ── parts ──> store        nothing is visible
//! publish ── completes all uploads ───────> store        files appear, one after the other
//!        └── one fails: abort the rest, delete what had appeared
//! ```
//!
//! A COPY of one file is all or nothing. Limit: files of a folder appear within the time that completing them takes, and a
//! server that ends in that time leaves a part of them. One that ends before leaves uploads that nobody sees; buckets
//! want a rule that aborts incomplete ones.

use super::store_error;
use crate::error::Result;
use async_trait::async_trait;
use datafusion::error::Result as EngineResult;
use datafusion::execution::object_store::ObjectStoreRegistry;
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::execution::{SessionState, SessionStateBuilder};
use futures::stream::BoxStream;
use futures::{StreamExt, stream};
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, RenameOptions, Result as StoreResult,
    UploadPart,
};
use parking_lot::Mutex;
use std::fmt;
use std::sync::Arc;
use tokio::runtime::Handle;
use tracing::warn;
use url::Url;

/// Uploads that are completed or aborted at the same time.
const CONCURRENCY: usize = 32;

/// A file that is written and not yet seen.
#[derive(Debug)]
struct Pending {
    location: Path,
    body: Body,
}

#[derive(Debug)]
enum Body {
    Upload(Box<dyn MultipartUpload>),
    /// Uploads have at least one byte.
    Empty(PutOptions),
}

/// The files of one COPY. Dropping them aborts their uploads.
pub(in crate::coordinator) struct Uploads {
    store: Arc<Deferred>,
}

impl Uploads {
    /// Returns no uploads yet.
    pub(super) fn new(inner: Arc<dyn ObjectStore>) -> Self {
        let runtime = Handle::try_current().ok();
        Self { store: Arc::new(Deferred { inner, pending: Arc::default(), runtime }) }
    }

    /// Returns a state in which what is written to the store becomes uploads of this COPY.
    pub(super) fn redirect(&self, state: SessionState, store_url: &Url) -> Result<SessionState> {
        let runtime = state.runtime_env();
        let registry = Redirect {
            others: Arc::clone(&runtime.object_store_registry),
            store_url: store_url.clone(),
            store: Arc::clone(&self.store),
        };
        let runtime = RuntimeEnvBuilder::from_runtime_env(runtime)
            .with_object_store_registry(Arc::new(registry))
            .build()?;
        Ok(SessionStateBuilder::new_from_existing(state)
            .with_runtime_env(Arc::new(runtime))
            .build())
    }

    /// Completes every upload. When one fails, what had appeared is deleted.
    pub(super) async fn publish(self) -> Result<()> {
        let pending = std::mem::take(&mut *self.store.pending.lock());
        let (inner, n_files) = (&self.store.inner, pending.len());
        let complete = |pending: Pending| complete(inner, pending);
        let outcomes: Vec<_> =
            stream::iter(pending).map(complete).buffer_unordered(CONCURRENCY).collect().await;
        let mut seen = vec![];
        let mut failure = None;
        for outcome in outcomes {
            match outcome {
                Ok(location) => seen.push(location),
                Err((location, error)) => {
                    warn!(%location, %error, "a file of a COPY could not be completed");
                    // The store may have completed it all the same. Names in a folder are new, so none is deleted that
                    // was there before.
                    if n_files > 1 {
                        seen.push(location);
                    }
                    failure = failure.or(Some(error));
                }
            }
        }
        let Some(failure) = failure else { return Ok(()) };
        let seen = stream::iter(seen).map(Ok).boxed();
        let deleted: Vec<_> = inner.delete_stream(seen).collect().await;
        for error in deleted.into_iter().filter_map(StoreResult::err) {
            if !matches!(error, object_store::Error::NotFound { .. }) {
                warn!(%error, "a file of a failed COPY was not taken back");
            }
        }
        Err(store_error(failure))
    }
}

impl Drop for Uploads {
    fn drop(&mut self) {
        let pending = std::mem::take(&mut *self.store.pending.lock());
        for Pending { body, .. } in pending {
            if let Body::Upload(upload) = body {
                self.store.abort(upload);
            }
        }
    }
}

/// Completes one upload; one that fails is aborted.
async fn complete(
    inner: &Arc<dyn ObjectStore>,
    pending: Pending,
) -> std::result::Result<Path, (Path, object_store::Error)> {
    let Pending { location, body } = pending;
    let outcome = match body {
        Body::Upload(mut upload) => match upload.complete().await {
            Ok(_) => Ok(()),
            Err(error) => {
                // What this says no longer matters: the COPY has failed.
                let _ = upload.abort().await;
                Err(error)
            }
        },
        Body::Empty(options) => {
            inner.put_opts(&location, PutPayload::new(), options).await.map(|_| ())
        }
    };
    match outcome {
        Ok(()) => Ok(location),
        Err(error) => Err((location, error)),
    }
}

/// Finds the store of a COPY in place of the one it writes to.
#[derive(Debug)]
struct Redirect {
    others: Arc<dyn ObjectStoreRegistry>,
    store_url: Url,
    store: Arc<Deferred>,
}

impl ObjectStoreRegistry for Redirect {
    fn register_store(
        &self,
        url: &Url,
        store: Arc<dyn ObjectStore>,
    ) -> Option<Arc<dyn ObjectStore>> {
        self.others.register_store(url, store)
    }

    fn get_store(&self, url: &Url) -> EngineResult<Arc<dyn ObjectStore>> {
        let is_target = url.scheme() == self.store_url.scheme()
            && url.authority() == self.store_url.authority();
        match is_target {
            true => Ok(Arc::clone(&self.store) as _),
            false => self.others.get_store(url),
        }
    }
}

/// A store whose writes are begun at once and completed by [`Uploads::publish`].
#[derive(Debug)]
struct Deferred {
    inner: Arc<dyn ObjectStore>,
    pending: Arc<Mutex<Vec<Pending>>>,
    runtime: Option<Handle>,
}

impl Deferred {
    /// Aborts an upload in the background: the statement may be gone.
    fn abort(&self, upload: Box<dyn MultipartUpload>) {
        abort(self.runtime.as_ref(), upload);
    }
}

fn abort(runtime: Option<&Handle>, mut upload: Box<dyn MultipartUpload>) {
    let Some(runtime) = runtime else { return };
    runtime.spawn(async move {
        if let Err(error) = upload.abort().await {
            warn!(%error, "an upload of a COPY was not aborted; the store keeps it unseen");
        }
    });
}

impl fmt::Display for Deferred {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Deferred({})", self.inner)
    }
}

#[async_trait]
impl ObjectStore for Deferred {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> StoreResult<PutResult> {
        if payload.content_length() == 0 {
            let body = Body::Empty(options);
            self.pending.lock().push(Pending { location: location.clone(), body });
            return Ok(nothing_yet());
        }
        let PutOptions { tags, attributes, extensions, .. } = options;
        let options = PutMultipartOptions { tags, attributes, extensions };
        let mut upload = self.put_multipart_opts(location, options).await?;
        upload.put_part(payload).await?;
        upload.complete().await
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> StoreResult<Box<dyn MultipartUpload>> {
        let upload = self.inner.put_multipart_opts(location, options).await?;
        Ok(Box::new(DeferredUpload {
            location: location.clone(),
            upload: Some(upload),
            pending: Arc::clone(&self.pending),
            runtime: self.runtime.clone(),
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

    async fn rename_opts(&self, from: &Path, to: &Path, options: RenameOptions) -> StoreResult<()> {
        self.inner.rename_opts(from, to, options).await
    }
}

/// An upload that is put aside when its writer completes it, and aborted when its writer goes away before.
#[derive(Debug)]
struct DeferredUpload {
    location: Path,
    upload: Option<Box<dyn MultipartUpload>>,
    pending: Arc<Mutex<Vec<Pending>>>,
    runtime: Option<Handle>,
}

#[async_trait]
impl MultipartUpload for DeferredUpload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        match &mut self.upload {
            Some(upload) => upload.put_part(data),
            None => Box::pin(async { Err(ended()) }),
        }
    }

    async fn complete(&mut self) -> StoreResult<PutResult> {
        let upload = self.upload.take().ok_or_else(ended)?;
        let (location, body) = (self.location.clone(), Body::Upload(upload));
        self.pending.lock().push(Pending { location, body });
        Ok(nothing_yet())
    }

    async fn abort(&mut self) -> StoreResult<()> {
        match self.upload.take() {
            Some(mut upload) => upload.abort().await,
            None => Ok(()),
        }
    }
}

impl Drop for DeferredUpload {
    fn drop(&mut self) {
        if let Some(upload) = self.upload.take() {
            abort(self.runtime.as_ref(), upload);
        }
    }
}

fn nothing_yet() -> PutResult {
    PutResult { e_tag: None, version: None }
}

fn ended() -> object_store::Error {
    object_store::Error::Generic { store: "copy", source: "the upload has ended".into() }
}

#[cfg(test)]
mod tests;
