//! Where the files of an Iceberg table are: the table's folder, its newest metadata, and locations inside metadata.
//!
//! Metadata name every file by its full location. A location is taken when it lies inside the table's folder, or under
//! the roots that the lake allows. A table whose folder was moved or copied still names its old place: when its metadata
//! were found elsewhere than they say, locations under the old folder are read under the new one.

use crate::error::{Error, Result};
use crate::location::{Locations, store_path};
use datafusion::datasource::object_store::ObjectStoreUrl;
use futures::{StreamExt, TryStreamExt};
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
/// Endings of the documents that such catalogs write.
const ENDINGS: [&str; 3] = ["metadata.json", "gz.metadata.json", "metadata.json.gz"];
/// Names on a page of a listing.
const PAGE: usize = 1000;
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
    let newest = Documents::of(listing.objects.iter()).newest();
    newest.ok_or_else(|| Error::LocationNotFound { location: folder.to_string() })
}

/// As [`newest_metadata`], on an object store, where listings are sorted by name and a request takes long.
///
/// One listing tells what a local disk is asked for piece by piece. When the newest document of an earlier look is known,
/// names before it need not be listed: one page is enough then.
///
/// # Errors
/// As [`newest_metadata`].
pub(super) async fn newest_remote(
    store: &Arc<dyn ObjectStore>,
    folder: &Path,
    known: Option<&Path>,
) -> Result<ObjectMeta> {
    let metadata = folder.clone().join(METADATA_FOLDER);
    if let Some(known) = known
        && let Some(found) = newest_after(store, &metadata, known).await?
    {
        return Ok(found);
    }
    let listing = store.list_with_delimiter(Some(&metadata)).await?;
    let has_hint = |meta: &ObjectMeta| meta.location.filename() == Some(VERSION_HINT);
    let documents = Documents::of(listing.objects.iter());
    if listing.objects.iter().any(has_hint)
        && let Some(version) = hinted_version(store, &metadata).await?
        && let Some(found) = documents.numbered_from(version)
    {
        return Ok(found);
    }
    let newest = documents.newest();
    newest.ok_or_else(|| Error::LocationNotFound { location: folder.to_string() })
}

/// Looks for the newest document among names from a known one on; `None` when that does not tell it.
async fn newest_after(
    store: &Arc<dyn ObjectStore>,
    metadata: &Path,
    known: &Path,
) -> Result<Option<ObjectMeta>> {
    let Some(name) = known.filename() else { return Ok(None) };
    let Some(version) = version_of(name) else { return Ok(None) };
    let is_plain = name.starts_with('v');
    // "v" sorts behind all names but the hint's that writers give; of `00012-UUID`, `00012` sorts before all others.
    let digits = name.bytes().take_while(u8::is_ascii_digit).count();
    let from = if is_plain { "v" } else { &name[..digits] };
    let listing = store.list_with_offset(Some(metadata), &metadata.clone().join(from));
    let page: Vec<ObjectMeta> = listing.take(PAGE).try_collect().await?;
    let beyond = format!("{:0digits$}", version.saturating_add(MAX_NEWER));
    let last = page.last().and_then(|meta| meta.location.filename());
    let is_enough = page.len() < PAGE
        || (!is_plain && beyond.len() == digits && last.is_some_and(|last| last > beyond.as_str()));
    let documents = Documents::of(page.iter().filter(|meta| {
        meta.location.prefix_match(metadata).is_some_and(|parts| parts.count() == 1)
    }));
    if !is_enough || !documents.0.iter().any(|meta| meta.location == *known) {
        return Ok(None);
    }
    let found = if is_plain { documents.numbered_from(version) } else { documents.newest() };
    let version_of = |meta: &ObjectMeta| meta.location.filename().and_then(version_of);
    // Among so many newer ones there may be more of them on the next page.
    let is_near = |meta: &ObjectMeta| version_of(meta) < version.checked_add(MAX_NEWER);
    Ok(found.filter(is_near))
}

/// Metadata documents of one folder.
struct Documents<'a>(Vec<&'a ObjectMeta>);

impl<'a> Documents<'a> {
    fn of(files: impl Iterator<Item = &'a ObjectMeta>) -> Self {
        let is_document =
            |meta: &&ObjectMeta| meta.location.filename().is_some_and(is_metadata_file);
        Self(files.filter(is_document).collect())
    }

    /// The one with the highest number, and among equal ones the one that was written last.
    fn newest(&self) -> Option<ObjectMeta> {
        let newest = self.0.iter().max_by_key(|meta| {
            let version = meta.location.filename().and_then(version_of);
            (version, meta.last_modified, &meta.location)
        });
        newest.map(|meta| (*meta).clone())
    }

    /// The last of those that catalogs without a server number, from one on without a gap.
    fn numbered_from(&self, version: u64) -> Option<ObjectMeta> {
        let find = |version: u64| {
            let named = |ending: &str| {
                let name = format!("v{version}.{ending}");
                self.0.iter().find(|meta| meta.location.filename() == Some(name.as_str())).copied()
            };
            ENDINGS.iter().find_map(|ending| named(ending))
        };
        let versions = version..version.saturating_add(MAX_NEWER);
        versions.map_while(find).last().cloned()
    }
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
        for ending in ENDINGS {
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

    /// The newest document as it is found with and without knowing an earlier one.
    async fn check_newest(names: &[String], known: Option<&str>, expected: Option<&str>) {
        let store: Arc<dyn ObjectStore> = Arc::new(object_store::memory::InMemory::new());
        for name in names {
            let content = if name == VERSION_HINT { "2" } else { "{}" };
            let path = Path::from(format!("t/metadata/{name}"));
            store.put(&path, content.into()).await.unwrap();
        }
        let known = known.map(|name| Path::from(format!("t/metadata/{name}")));
        let found = newest_remote(&store, &Path::from("t"), known.as_ref()).await;
        let name = |meta: ObjectMeta| meta.location.filename().unwrap().to_owned();
        assert_eq!(found.ok().map(name).as_deref(), expected, "{known:?}");
        let local = newest_metadata(&store, &Path::from("t")).await;
        assert_eq!(local.ok().map(name).as_deref(), expected, "a local disk tells the same");
    }

    #[tokio::test]
    async fn the_newest_document_is_found_from_a_known_one_on() {
        let names =
            |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let hinted = names(&[
            "version-hint.text",
            "v1.metadata.json",
            "v2.metadata.json",
            "v3.gz.metadata.json",
            "v5.metadata.json",
            "0a-m0.avro",
            "snap-1.avro",
        ]);
        for known in
            [None, Some("v2.metadata.json"), Some("v3.gz.metadata.json"), Some("v9.metadata.json")]
        {
            check_newest(&hinted, known, Some("v3.gz.metadata.json")).await;
        }
        let tens: Vec<_> = (2..14).map(|n| format!("v{n}.metadata.json")).collect();
        let hint = names(&["version-hint.text"]);
        let tens = [tens, hint].concat();
        check_newest(&tens, Some("v9.metadata.json"), Some("v13.metadata.json")).await;
        let mut numbered: Vec<_> = (0..2500).map(|n| format!("{:05}a-m0.avro", n * 40)).collect();
        numbered.extend((7..30).map(|n| format!("{n:05}-x.metadata.json")));
        for known in [
            None,
            Some("00007-x.metadata.json"),
            Some("00003-x.metadata.json"),
            Some("00029-x.metadata.json"),
        ] {
            check_newest(&numbered, known, Some("00029-x.metadata.json")).await;
        }
        check_newest(&[], Some("v1.metadata.json"), None).await;
        let many: Vec<_> = (1..1500).map(|n| format!("v{n}.metadata.json")).collect();
        check_newest(&many, Some("v1.metadata.json"), Some("v1499.metadata.json")).await;
    }
}
