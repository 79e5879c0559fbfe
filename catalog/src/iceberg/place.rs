//! Where the files of an Iceberg table are: the table's folder, its newest metadata, and locations inside metadata.
//!
//! Metadata name every file by its full location. A location is taken when it lies inside the table's folder, or under
//! the roots that the lake allows. A table whose folder was moved or copied still names its old place: when its metadata
//! were found elsewhere than they say, locations under the old folder are read under the new one.

use crate::error::{Error, Result};
use crate::location::{Locations, store_path};
use datafusion::datasource::object_store::ObjectStoreUrl;
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStore, ObjectStoreExt};
use std::sync::Arc;
use url::Url;

/// The folder of a table's metadata.
pub(crate) const METADATA_FOLDER: &str = "metadata";
/// The file in which catalogs without a server note the newest version.
const VERSION_HINT: &str = "version-hint.text";
/// Versions that are looked for after the one that the hint names.
const MAX_NEWER: u64 = 1000;
/// Most bytes of a version hint.
const MAX_HINT_BYTES: u64 = 64;

/// Returns whether a file name is that of a metadata document.
pub(crate) fn is_metadata_file(name: &str) -> bool {
    name.ends_with(".metadata.json") || name.ends_with(".metadata.json.gz")
}

/// Returns the number of the version that a metadata file's name begins with.
fn version_of(name: &str) -> Option<u64> {
    let digits = name.strip_prefix('v').unwrap_or(name);
    let end = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
    digits[..end].parse().ok()
}

/// Finds the newest metadata document of the table in `folder`.
///
/// The hint of a catalog without a server is followed, and then what came after it. Without one the highest number wins,
/// and among equal ones the file that was written last.
///
/// # Errors
/// [`Error::LocationNotFound`] when there is none; when the store fails.
pub(super) async fn newest_metadata(
    store: &Arc<dyn ObjectStore>,
    folder: &Path,
) -> Result<ObjectMeta> {
    let metadata = folder.clone().join(METADATA_FOLDER);
    if let Some(version) = hinted_version(store, &metadata).await?
        && let Some(found) = hinted_metadata(store, &metadata, version).await?
    {
        return Ok(found);
    }
    let listing = store.list_with_delimiter(Some(&metadata)).await?;
    let newest = listing
        .objects
        .into_iter()
        .filter(|meta| meta.location.filename().is_some_and(is_metadata_file))
        .max_by_key(|meta| {
            let version = meta.location.filename().and_then(version_of);
            (version, meta.last_modified, meta.location.clone())
        });
    newest.ok_or_else(|| Error::LocationNotFound { location: folder.to_string() })
}

async fn hinted_version(store: &Arc<dyn ObjectStore>, metadata: &Path) -> Result<Option<u64>> {
    let hint = match store.get(&metadata.clone().join(VERSION_HINT)).await {
        Ok(hint) if (1..=MAX_HINT_BYTES).contains(&hint.meta.size) => hint.bytes().await?,
        Ok(_) | Err(object_store::Error::NotFound { .. }) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    Ok(std::str::from_utf8(&hint).ok().and_then(|text| text.trim().parse().ok()))
}

async fn hinted_metadata(
    store: &Arc<dyn ObjectStore>,
    metadata: &Path,
    version: u64,
) -> Result<Option<ObjectMeta>> {
    let mut newest = None;
    for version in version..version.saturating_add(MAX_NEWER) {
        let mut found = None;
        for ending in ["metadata.json", "gz.metadata.json", "metadata.json.gz"] {
            let path = metadata.clone().join(format!("v{version}.{ending}"));
            match store.head(&path).await {
                Ok(meta) => {
                    found = Some(meta);
                    break;
                }
                Err(object_store::Error::NotFound { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        match found {
            Some(meta) => newest = Some(meta),
            None => break,
        }
    }
    Ok(newest)
}

/// Turns locations in metadata into paths of the table's object store.
#[derive(Debug, Clone)]
pub(crate) struct Locator {
    store_url: ObjectStoreUrl,
    /// Scheme and bucket of the table's store.
    store_root: String,
    /// Path of the table's folder in the store.
    folder: Path,
    /// Where the metadata say the folder is, when it was found elsewhere.
    old_folder: Option<OldFolder>,
    roots: Arc<Locations>,
}

impl Locator {
    /// Returns the locator of a table found in `folder` of the store at `url`, whose metadata say that it is at
    /// `location` and that its newest manifest list is at `manifest_list`.
    pub(crate) fn new(
        url: &Url,
        store_url: ObjectStoreUrl,
        folder: Path,
        location: &str,
        manifest_list: Option<&str>,
        roots: Arc<Locations>,
    ) -> Self {
        let store_root = format!("{}://{}", url.scheme(), url.authority());
        let mut locator = Self { store_url, store_root, folder, old_folder: None, roots };
        let is_here = locator.own_path(location).is_some_and(|path| path == locator.folder);
        let location = location.trim_end_matches('/');
        // Metadata kept apart from the data are no sign of a move.
        let is_apart = manifest_list
            .is_some_and(|list| !list.starts_with(&format!("{location}/{METADATA_FOLDER}/")));
        if !is_here && !is_apart {
            locator.old_folder = Some(OldFolder::new(location));
        }
        locator
    }

    /// Returns the URL of the table's object store.
    pub(super) fn store_url(&self) -> &ObjectStoreUrl {
        &self.store_url
    }

    /// Returns the path of a location in the table's store.
    ///
    /// # Errors
    /// [`Error::LocationRefused`] when it lies outside the table's folder and the allowed roots,
    /// [`Error::NotSupported`] when it is in another store.
    pub(crate) fn resolve(&self, location: &str) -> Result<Path> {
        let refused = || Error::LocationRefused { location: location.to_owned() };
        if let Some(old) = &self.old_folder
            && let Some(inside) = old.inside(location)
        {
            return Path::parse(format!("{}/{inside}", self.folder)).map_err(|_| refused());
        }
        if let Some(path) = self.own_path(location)
            && path.prefix_matches(&self.folder)
        {
            return Ok(path);
        }
        // `file:/a` is no form that others know.
        let plain = match split_location(location) {
            Some((root, path)) if root == "file://" => path,
            _ => location,
        };
        let is_url = plain.contains("://");
        // Percent signs of a location are part of its names.
        let plain = if is_url { plain.replace('%', "%25") } else { plain.to_owned() };
        let checked = self.roots.check(&plain);
        let url = match checked {
            Ok(url) => url,
            Err(Error::LocationRefused { .. }) => return Err(refused()),
            Err(error) => return Err(error),
        };
        if format!("{}://{}", url.scheme(), url.authority()) != self.store_root {
            return Err(Error::NotSupported {
                feature: format!("a table with files in several stores ({location})"),
            });
        }
        store_path(&url)
    }

    /// The path of a location in our store, not yet checked against anything; `None` when it is in another store or has
    /// segments that name no place of their own.
    fn own_path(&self, location: &str) -> Option<Path> {
        let (root, path) = split_location(location)?;
        if root != self.store_root || path.contains('\0') {
            return None;
        }
        Path::parse(path.trim_end_matches('/')).ok()
    }
}

/// The folder that a table was written in.
#[derive(Debug, Clone)]
struct OldFolder {
    /// As written, ending in a slash.
    location: String,
    /// Scheme with bucket, and path; `None` for a scheme that we do not know.
    parts: Option<(String, String)>,
}

impl OldFolder {
    fn new(location: &str) -> Self {
        let location = format!("{location}/");
        let parts = split_location(&location).map(|(root, path)| (root, path.to_owned()));
        Self { location, parts }
    }

    /// Returns the rest of a location that lies in the folder, in whatever form it is written.
    fn inside<'a>(&self, location: &'a str) -> Option<&'a str> {
        let by_parts = || {
            let (old_root, old_path) = self.parts.as_ref()?;
            let (root, path) = split_location(location)?;
            (root == *old_root).then(|| path.strip_prefix(old_path.as_str())).flatten()
        };
        location.strip_prefix(self.location.as_str()).or_else(by_parts)
    }
}

/// Splits a location into scheme with bucket, and path.
fn split_location(location: &str) -> Option<(String, &str)> {
    if location.starts_with('/') {
        return Some(("file://".to_owned(), location));
    }
    let (scheme, rest) = location.split_once(':')?;
    match scheme.to_ascii_lowercase().as_str() {
        // file:/a, file:///a
        "file" => Some(("file://".to_owned(), rest.strip_prefix("//").unwrap_or(rest))),
        "s3" | "s3a" | "s3n" => {
            let (bucket, path) = rest.strip_prefix("//")?.split_once('/')?;
            Some((format!("s3://{bucket}"), path))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn locator(location: &str, manifest_list: Option<&str>) -> Locator {
        let roots = Locations::new("/tmp", &["s3://other/x".to_owned()]).unwrap();
        let url = Url::parse("file:///lake/t/").unwrap();
        let store = ObjectStoreUrl::local_filesystem();
        Locator::new(&url, store, Path::from("lake/t"), location, manifest_list, Arc::new(roots))
    }

    fn check(locator: &Locator, location: &str, expected: &str) {
        let found = match locator.resolve(location) {
            Ok(path) => path.to_string(),
            Err(error) => error.to_string(),
        };
        assert!(found.starts_with(expected), "{location}: {found}");
    }

    #[test]
    fn locations_inside_the_table_are_taken() {
        let here = locator("file:///lake/t", None);
        check(&here, "file:///lake/t/data/a.parquet", "lake/t/data/a.parquet");
        check(&here, "file:/lake/t/data/k=a%2Fb/a.parquet", "lake/t/data/k=a%2Fb/a.parquet");
        check(&here, "/lake/t/data/a.parquet", "lake/t/data/a.parquet");
        check(&here, "file:///lake/t/../u/a.parquet", "location ");
        check(&here, "file:///lake/tt/a.parquet", "location ");
        check(&here, "/etc/passwd", "location ");
        check(&here, "s3://other/x/a.parquet", "a table with files in several stores");
        check(&here, "ftp://host/a", "a location of the scheme");
    }

    #[test]
    fn a_moved_table_is_read_where_it_is() {
        let moved = locator("s3://old/wh/t", Some("s3://old/wh/t/metadata/snap-1.avro"));
        check(&moved, "s3://old/wh/t/data/a.parquet", "lake/t/data/a.parquet");
        check(&moved, "s3a://old/wh/t/data/a.parquet", "lake/t/data/a.parquet");
        check(&moved, "s3://old/wh/t/../secret", "location ");
        check(&moved, "s3://old/wh/u/a.parquet", "location ");
        let local = locator("/old/t", Some("/old/t/metadata/snap-1.avro"));
        check(&local, "file:/old/t/data/a.parquet", "lake/t/data/a.parquet");
        check(&local, "file:/old/u/a.parquet", "location ");
        check(&local, "file:/etc/passwd", "location ");
        let apart = locator("s3://old/wh/t", Some("s3://old/meta/snap-1.avro"));
        check(&apart, "s3://old/wh/t/data/a.parquet", "location ");
    }

    #[test]
    fn names_of_metadata_files_tell_versions() {
        assert_eq!(version_of("v12.metadata.json"), Some(12));
        assert_eq!(version_of("00003-abc.metadata.json"), Some(3));
        assert_eq!(version_of("abc.metadata.json"), None);
        assert!(is_metadata_file("v1.gz.metadata.json") && !is_metadata_file("snap-1.avro"));
    }
}
