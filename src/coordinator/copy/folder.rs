//! A COPY to a file system: files are written to a hidden folder beside the target and renamed when all are complete.
//!
//! Limit: a folder is renamed file by file, into one that may exist. When one fails the others are taken back; a server
//! that ends at that moment leaves a part of them.

use super::store_error;
use crate::error::{Error, Result};
use futures::{StreamExt, TryStreamExt, stream};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use std::sync::Arc;
use tracing::warn;
use url::Url;
use uuid::Uuid;

/// A hidden folder whose content is renamed to a target, or removed.
pub(in crate::coordinator) struct Folder {
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

impl Folder {
    /// Returns a folder beside `target`. Makes nothing.
    pub(super) fn beside(store: Arc<dyn ObjectStore>, target: &Url) -> Result<Self> {
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

    /// Returns where the files are to be written.
    pub(super) fn url(&self) -> &Url {
        &self.url
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

    /// The folder in the local file system.
    fn local_folder(&self) -> Option<std::path::PathBuf> {
        let file = self.url.to_file_path().ok()?;
        file.parent().map(std::path::Path::to_path_buf)
    }
}

impl Drop for Folder {
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
