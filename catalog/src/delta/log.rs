//! Which versions a log holds, by the names of its files.
//!
//! ```text
//! 00000000000000000007.json                            the commit that made version 7
//! 00000000000000000007.checkpoint.parquet              all of the table at version 7
//! 00000000000000000007.checkpoint.0000000001.0000000002.parquet
//! 00000000000000000007.checkpoint.UUID.parquet | .json
//! ```
//!
//! Commits are numbered without gaps and never change. A version that was seen before is therefore still the newest when
//! its file is as it was and there is no next commit: two small requests instead of a listing.

use crate::error::{Error, Result};
use futures::TryStreamExt;
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStore, ObjectStoreExt};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Digits of a version in a file's name.
const DIGITS: usize = 20;

/// A version and a file that makes it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Tip {
    pub(super) version: u64,
    pub(super) file: ObjectMeta,
}

/// What a look at the log found.
#[derive(Debug, PartialEq)]
pub(super) enum Found {
    /// The version that was known is still the newest.
    Same,
    /// A newer one, in the same table.
    Newer(Tip),
    /// What was known is no part of this table any more, or nothing was known.
    Other(Tip),
}

/// What a file of the log is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Commit,
    Checkpoint,
}

fn parse(name: &str) -> Option<(u64, Kind)> {
    let (digits, rest) = name.split_at_checked(DIGITS)?;
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let kind = match rest {
        ".json" => Kind::Commit,
        _ if rest.starts_with(".checkpoint.")
            && (rest.ends_with(".parquet") || rest.ends_with(".json")) =>
        {
            Kind::Checkpoint
        }
        _ => return None,
    };
    Some((digits.parse().ok()?, kind))
}

/// Returns the path of a version's commit.
pub(super) fn commit_path(log: &Path, version: u64) -> Path {
    log.clone().join(format!("{version:0DIGITS$}.json"))
}

/// Listings and single looks tell times with different precision, so an etag goes first.
fn is_same_file(a: &ObjectMeta, b: &ObjectMeta) -> bool {
    let is_same_state = match (&a.e_tag, &b.e_tag) {
        (Some(a), Some(b)) => a == b,
        _ => a.last_modified == b.last_modified,
    };
    is_same_state && a.size == b.size
}

async fn head(store: &Arc<dyn ObjectStore>, path: &Path) -> Result<Option<ObjectMeta>> {
    match store.head(path).await {
        Ok(meta) => Ok(Some(meta)),
        Err(object_store::Error::NotFound { .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Looks for the newest version.
///
/// # Errors
/// [`Error::LocationNotFound`] when there is no log.
pub(super) async fn newest(
    store: &Arc<dyn ObjectStore>,
    log: &Path,
    known: Option<&Tip>,
) -> Result<Found> {
    if let Some(known) = known {
        let next = commit_path(log, known.version.saturating_add(1));
        let path = &known.file.location;
        let (same, next) = tokio::try_join!(head(store, path), head(store, &next))?;
        let is_same = same.is_some_and(|same| is_same_file(&same, &known.file));
        if is_same && next.is_none() {
            return Ok(Found::Same);
        }
        if is_same {
            let after = log.clone().join(format!("{:0DIGITS$}", known.version));
            return Ok(match last(list(store, log, Some(&after)).await?) {
                Some(tip) => Found::Newer(tip),
                None => Found::Same,
            });
        }
    }
    match last(list(store, log, None).await?) {
        Some(tip) => Ok(Found::Other(tip)),
        None => Err(Error::LocationNotFound { location: log.to_string() }),
    }
}

/// Returns the file of one version; `None` when the log does not hold it.
pub(super) async fn version(
    store: &Arc<dyn ObjectStore>,
    log: &Path,
    version: u64,
) -> Result<Option<Tip>> {
    if let Some(file) = head(store, &commit_path(log, version)).await? {
        return Ok(Some(Tip { version, file }));
    }
    // The commit may have been cleaned up behind a checkpoint.
    let after = log.clone().join(format!("{version:0DIGITS$}"));
    let found = list(store, log, Some(&after)).await?.remove(&version);
    Ok(found.map(|file| Tip { version, file }))
}

/// Returns all commits of the log, in order.
pub(super) async fn commits(store: &Arc<dyn ObjectStore>, log: &Path) -> Result<Vec<Tip>> {
    let commit = |(version, file): (u64, ObjectMeta)| {
        let (_, kind) = file.location.filename().and_then(parse)?;
        (kind == Kind::Commit).then_some(Tip { version, file })
    };
    Ok(list(store, log, None).await?.into_iter().filter_map(commit).collect())
}

/// Returns a file for each version, the commit where there is one.
async fn list(
    store: &Arc<dyn ObjectStore>,
    log: &Path,
    after: Option<&Path>,
) -> Result<BTreeMap<u64, ObjectMeta>> {
    let listing = match after {
        Some(after) => store.list_with_offset(Some(log), after),
        None => store.list(Some(log)),
    };
    let n_parts = log.parts().count() + 1;
    let mut found = BTreeMap::new();
    let mut listing = listing;
    while let Some(meta) = listing.try_next().await? {
        // Folders of the log hold files of other kinds.
        if meta.location.parts().count() != n_parts {
            continue;
        }
        match meta.location.filename().and_then(parse) {
            Some((version, Kind::Commit)) => drop(found.insert(version, meta)),
            Some((version, Kind::Checkpoint)) => drop(found.entry(version).or_insert(meta)),
            None => {}
        }
    }
    Ok(found)
}

fn last(mut versions: BTreeMap<u64, ObjectMeta>) -> Option<Tip> {
    versions.pop_last().map(|(version, file)| Tip { version, file })
}

#[cfg(test)]
mod tests {
    use super::*;
    use object_store::PutPayload;
    use object_store::memory::InMemory;

    #[test]
    fn names_tell_versions() {
        let check = |name: &str, expected| assert_eq!(parse(name), expected, "{name}");
        check("00000000000000000007.json", Some((7, Kind::Commit)));
        check("00000000000000000010.checkpoint.parquet", Some((10, Kind::Checkpoint)));
        check(
            "00000000000000000010.checkpoint.0000000001.0000000002.parquet",
            Some((10, Kind::Checkpoint)),
        );
        check("00000000000000000010.checkpoint.a-b.json", Some((10, Kind::Checkpoint)));
        for name in ["00000000000000000007.crc", "_last_checkpoint", "7.json", "", "ü"] {
            check(name, None);
        }
        check("0000000000000000000x.json", None);
        let path = commit_path(&Path::from("t/_delta_log"), 12);
        assert_eq!(path.as_ref(), "t/_delta_log/00000000000000000012.json");
    }

    async fn put(store: &Arc<dyn ObjectStore>, version: u64, text: &'static str) {
        let path = commit_path(&Path::from("t/_delta_log"), version);
        store.put(&path, PutPayload::from_static(text.as_bytes())).await.unwrap();
    }

    #[tokio::test]
    async fn the_newest_version_is_found_and_found_again() {
        let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
        let log = Path::from("t/_delta_log");
        assert!(newest(&store, &log, None).await.is_err());
        put(&store, 0, "a").await;
        put(&store, 1, "b").await;
        let Found::Other(tip) = newest(&store, &log, None).await.unwrap() else { panic!() };
        assert_eq!(tip.version, 1);
        assert_eq!(newest(&store, &log, Some(&tip)).await.unwrap(), Found::Same);
        put(&store, 2, "c").await;
        put(&store, 3, "c").await;
        let Found::Newer(newer) = newest(&store, &log, Some(&tip)).await.unwrap() else { panic!() };
        assert_eq!(newer.version, 3);
        put(&store, 1, "another table").await;
        let Found::Other(other) = newest(&store, &log, Some(&tip)).await.unwrap() else { panic!() };
        assert_eq!(other.version, 3);
        assert_eq!(version(&store, &log, 2).await.unwrap().unwrap().version, 2);
        assert_eq!(version(&store, &log, 9).await.unwrap(), None);
        assert_eq!(commits(&store, &log).await.unwrap().len(), 4);
    }
}
