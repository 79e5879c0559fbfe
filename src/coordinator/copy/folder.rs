//! A COPY to a file system: files are written to a hidden folder beside the target and renamed when all are complete.
//!
//! A file, and a folder that is new or empty at its target, appear by one rename.
//! Limit: into a folder that holds files already, files are renamed one by one. When one fails the others are taken back; a
//! server that ends at that moment leaves a part of them.

use super::store_error;
use crate::error::{Error, Result};
use futures::{StreamExt, TryStreamExt, stream};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use std::path::PathBuf;
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
    /// The same in the local file system.
    local_target: Option<PathBuf>,
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
        let local_target = target.to_file_path().ok();
        let target = parse(path)?;
        let name = parse(name)?.to_string();
        Ok(Self { store, url, folder, name, target, local_target, published: false })
    }

    /// Returns where the files are to be written.
    pub(super) fn url(&self) -> &Url {
        &self.url
    }

    /// Renames everything to its place, or nothing.
    pub(super) async fn publish(mut self) -> Result<()> {
        let mut done = vec![];
        if !self.rename_at_once().await
            && let Err(error) = self.rename(&mut done).await
        {
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

    /// Renames a whole folder to its place. Returns false, and has done nothing, where that cannot be: what was written is
    /// one file, or the target holds files.
    async fn rename_at_once(&self) -> bool {
        let (Ok(written), Some(target)) = (self.url.to_file_path(), &self.local_target) else {
            return false;
        };
        let is_folder = tokio::fs::metadata(&written).await.is_ok_and(|written| written.is_dir());
        // The file system refuses a target that is a file or a folder with something in it.
        is_folder && tokio::fs::rename(&written, target).await.is_ok()
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
    fn local_folder(&self) -> Option<PathBuf> {
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
async fn remove(store: Arc<dyn ObjectStore>, folder: Path, local: Option<PathBuf>) {
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

#[cfg(test)]
mod tests {
    use super::*;
    use object_store::local::LocalFileSystem;
    use std::fs;
    use std::os::unix::fs::MetadataExt;

    /// Stages two files for the folder `t`, publishes them, and returns the inode of the folder they were staged in.
    async fn publish_two(lake: &std::path::Path) -> u64 {
        let target = Url::from_directory_path(lake.join("t")).unwrap();
        let folder = Folder::beside(Arc::new(LocalFileSystem::new()), &target).unwrap();
        let staged = folder.url().to_file_path().unwrap();
        fs::create_dir_all(staged.join("day=1")).unwrap();
        fs::write(staged.join("1.csv"), "a").unwrap();
        fs::write(staged.join("day=1/2.csv"), "b").unwrap();
        let inode = fs::metadata(&staged).unwrap().ino();
        folder.publish().await.unwrap();
        inode
    }

    fn names(folder: &std::path::Path) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[tokio::test]
    async fn new_folder_appears_by_one_rename() {
        for exists in [false, true] {
            let lake = tempfile::tempdir().unwrap();
            let target = lake.path().join("t");
            if exists {
                fs::create_dir(&target).unwrap();
            }
            let staged = publish_two(lake.path()).await;
            // What was staged is the target itself: there was no moment with a part of the files.
            assert_eq!(fs::metadata(&target).unwrap().ino(), staged);
            assert_eq!(names(&target), ["1.csv", "day=1"]);
            assert_eq!(names(lake.path()), ["t"]);
        }
    }

    #[tokio::test]
    async fn folder_with_files_keeps_them() {
        let lake = tempfile::tempdir().unwrap();
        let target = lake.path().join("t");
        fs::create_dir(&target).unwrap();
        fs::write(target.join("old.csv"), "c").unwrap();
        publish_two(lake.path()).await;
        assert_eq!(names(&target), ["1.csv", "day=1", "old.csv"]);
        assert_eq!(names(lake.path()), ["t"]);
    }
}
