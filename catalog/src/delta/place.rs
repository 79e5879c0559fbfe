//! Where a Delta table's files are: paths of the log as paths of the table's object store.
//!
//! A path is relative to the table's folder, or a location of its own, as in a shallow clone; both are percent-encoded. What
//! lies outside the folder must be under the roots that the lake allows.

use super::version::Place;
use crate::error::{Error, Result};
use crate::iceberg::Locator;
use crate::location::store_path;
use delta_kernel::actions::deletion_vector::{DeletionVectorDescriptor, DeletionVectorStorageType};
use object_store::path::Path;
use percent_encoding::percent_decode_str;
use std::sync::Arc;
use url::Url;

/// Turns paths of a log into paths of the table's object store.
pub(super) struct Resolver {
    table: Url,
    folder: Path,
    locator: Locator,
}

impl Resolver {
    /// Returns the resolver of a table.
    ///
    /// # Errors
    /// When the table's URL names no path.
    pub(super) fn new(place: &Place) -> Result<Self> {
        let (url, folder) = (&place.url, place.folder()?);
        let location = format!("{}://{}/{folder}", url.scheme(), url.authority());
        let (store, roots) = (place.store_url.clone(), Arc::clone(&place.roots));
        let locator = Locator::new(url, store, folder.clone(), &location, None, roots);
        Ok(Self { table: url.clone(), folder, locator })
    }

    /// Returns the path of a data file.
    ///
    /// # Errors
    /// [`Error::LocationRefused`] when it lies where statements may not read, [`Error::NotSupported`] when it is in another
    /// store.
    pub(super) fn resolve(&self, path: &str) -> Result<Path> {
        let decoded = percent_decode_str(path).decode_utf8();
        let refused = || Error::LocationRefused { location: path.to_owned() };
        let decoded = decoded.map_err(|_| refused())?;
        match is_absolute(path) {
            true => self.locator.resolve(&decoded),
            false => Path::parse(format!("{}/{decoded}", self.folder)).map_err(|_| refused()),
        }
    }

    /// Returns the path of the file that holds a deletion vector; `None` when the log holds it itself.
    ///
    /// # Errors
    /// As for [`Self::resolve`]; [`Error::CorruptFile`] when the description is not valid.
    pub(super) fn vector(
        &self,
        file: &str,
        vector: &DeletionVectorDescriptor,
    ) -> Result<Option<Path>> {
        let named = &vector.path_or_inline_dv;
        if vector.storage_type == DeletionVectorStorageType::PersistedAbsolute {
            return self.resolve(named).map(Some);
        }
        let location = vector.absolute_path(&self.table).map_err(|error| Error::CorruptFile {
            path: file.to_owned(),
            message: format!("its deletion vector: {error}"),
        })?;
        let Some(location) = location else { return Ok(None) };
        let path = store_path(&location)?;
        let is_here = path.prefix_matches(&self.folder)
            && location.scheme() == self.table.scheme()
            && location.authority() == self.table.authority();
        match is_here {
            true => Ok(Some(path)),
            false => Err(Error::LocationRefused { location: location.to_string() }),
        }
    }
}

/// Whether a path says where it is all by itself: `/a`, `file:/a`, `s3://bucket/a`.
fn is_absolute(path: &str) -> bool {
    let has_scheme = path.split_once(":/").is_some_and(|(scheme, _)| {
        scheme.starts_with(|c: char| c.is_ascii_alphabetic())
            && scheme.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c))
    });
    has_scheme || path.starts_with('/')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::location::Locations;
    use datafusion::datasource::object_store::ObjectStoreUrl;
    use object_store::memory::InMemory;

    fn resolver() -> Resolver {
        let roots = Locations::new("/tmp", &["/shared".to_owned()]).unwrap();
        let place = Place {
            url: Url::parse("file:///lake/a%20b/").unwrap(),
            store_url: ObjectStoreUrl::local_filesystem(),
            store: Arc::new(InMemory::new()),
            roots: Arc::new(roots),
        };
        Resolver::new(&place).unwrap()
    }

    fn check(path: &str, expected: &str) {
        let found = match resolver().resolve(path) {
            Ok(path) => path.to_string(),
            Err(error) => error.to_string(),
        };
        assert!(found.starts_with(expected), "{path}: {found}");
    }

    #[test]
    fn paths_are_decoded_once_and_stay_where_they_may() {
        check("x.parquet", "lake/a b/x.parquet");
        check("k=a%20b/x.parquet", "lake/a b/k=a b/x.parquet");
        check("k=a%2520b/x.parquet", "lake/a b/k=a%20b/x.parquet");
        check("t=12:30:00/x.parquet", "lake/a b/t=12:30:00/x.parquet");
        check("../secret.parquet", "location ");
        check("%2e%2e/secret.parquet", "location ");
        check("file:///lake/a%20b/x.parquet", "lake/a b/x.parquet");
        check("/lake/a%20b/x.parquet", "lake/a b/x.parquet");
        check("file:/shared/x%2520y.parquet", "shared/x%20y.parquet");
        check("file:///etc/passwd", "location ");
        check("/etc/passwd", "location ");
        check("s3://bucket/x.parquet", "location ");
    }

    #[test]
    fn deletion_vectors_are_found_in_the_table_only() {
        let uuid = "vBn[lx{q8@P<9BNH/isA";
        let check = |storage: &str, path: &str, expected: &str| {
            let offset = (storage != "i").then_some(1);
            let storage = storage.parse().unwrap();
            let vector = DeletionVectorDescriptor::try_new(storage, path, offset, 8, 1).unwrap();
            let found = match resolver().vector("x.parquet", &vector) {
                Ok(path) => path.map_or("inline".to_owned(), String::from),
                Err(error) => error.to_string(),
            };
            assert!(found.starts_with(expected), "{path}: {found}");
        };
        let name = "deletion_vector_61d16c75-6994-46b7-a15b-8b538852e50e.bin";
        check("u", uuid, &format!("lake/a b/{name}"));
        check("u", &format!("ab{uuid}"), &format!("lake/a b/ab/{name}"));
        check("u", &format!("..{uuid}"), "location ");
        check("p", &format!("file:///lake/a%20b/{name}"), &format!("lake/a b/{name}"));
        check("p", "file:///etc/passwd", "location ");
        check("i", "wi5b=000010000siXQKl0rr91000f55c8Xg0@@D72lkbi5=-{L", "inline");
    }
}
