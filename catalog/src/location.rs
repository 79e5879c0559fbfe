//! Where a lake may read and write: its root, the allowed roots, and the check of every location against them.
//!
//! Local locations are resolved component by component, links included, as far as they exist, and only the result is
//! compared. A target that does not exist yet (of a COPY) is judged by its deepest existing folder. Links that lie inside
//! the lake and lead out of it are therefore refused as locations; as discovered tables they are followed, because
//! only who owns the folder can place them.

use crate::error::{Error, Result};
use object_store::path::Path as StorePath;
use percent_encoding::percent_decode_str;
use std::ffi::OsString;
use std::path::{Component, Path, PathBuf};
use url::Url;

/// Links that are followed before a local location is refused as a loop.
const MAX_LINKS: usize = 40;

/// The roots of a lake.
#[derive(Debug, Clone)]
pub struct Locations {
    root: Url,
    allowed: Vec<Url>,
}

impl Locations {
    /// Resolves the roots. A local root that is missing is created; a missing allowed root is kept as it is.
    ///
    /// # Errors
    /// When a root is no path and no `file://` or `s3://` URL, or the root cannot be created.
    pub fn new(root: &str, allowed_roots: &[String]) -> Result<Self> {
        let here = current_dir()?;
        if let Some(path) = local_path(root)? {
            std::fs::create_dir_all(&path).map_err(|e| io_error(&path, e))?;
        }
        let root_url = folder(resolve(root, &here)?);
        let allowed = allowed_roots
            .iter()
            .map(|allowed| Ok(folder(resolve(allowed, &here)?)))
            .collect::<Result<_>>()?;
        Ok(Self { root: root_url, allowed })
    }

    /// Returns these roots and one more.
    ///
    /// # Errors
    /// When it is no path and no `file://` or `s3://` URL.
    pub(crate) fn with_root(&self, root: &str) -> Result<Self> {
        let mut allowed = self.allowed.clone();
        allowed.push(folder(resolve(root, Path::new("/"))?));
        Ok(Self { root: self.root.clone(), allowed })
    }

    /// Returns one root alone.
    ///
    /// # Errors
    /// As [`Locations::with_root`].
    pub(crate) fn only(&self, root: &str) -> Result<Self> {
        Ok(Self { root: folder(resolve(root, Path::new("/"))?), allowed: vec![] })
    }

    /// Returns the lake's root, ending in a slash.
    pub fn root(&self) -> &Url {
        &self.root
    }

    /// Resolves a location, relative ones against the root, and checks that it lies under a root.
    ///
    /// # Errors
    /// [`Error::LocationRefused`] when it does not, [`Error::NotSupported`] for a foreign scheme.
    pub fn check(&self, location: &str) -> Result<Url> {
        let refused = || Error::LocationRefused { location: location.to_owned() };
        if location.trim().is_empty() || location.contains('\0') {
            return Err(refused());
        }
        let url = self.resolve_in_lake(location)?.ok_or_else(refused)?;
        let mut roots = std::iter::once(&self.root).chain(&self.allowed);
        if roots.any(|root| contains(root, &url)) { Ok(url) } else { Err(refused()) }
    }

    /// `None` when the location cannot be resolved to one place.
    fn resolve_in_lake(&self, location: &str) -> Result<Option<Url>> {
        let is_relative = local_path(location)?.is_some_and(|path| path.is_relative());
        let resolved = if !is_relative {
            resolve(location, Path::new("/"))
        } else if self.root.scheme() == "file" {
            let root = self.root.to_file_path().unwrap_or_default();
            resolve(location, &root)
        } else {
            // Percent signs of a relative path are part of its names.
            let escaped = location.replace('%', "%25").replace('?', "%3F").replace('#', "%23");
            self.root
                .join(&format!("./{escaped}"))
                .map_err(|_| Error::LocationRefused { location: location.to_owned() })
        };
        match resolved {
            Ok(url) => Ok(Some(url)),
            Err(Error::LocationRefused { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// Returns the path inside its object store that a URL names.
///
/// # Errors
/// When the path has empty or relative segments after decoding.
pub(crate) fn store_path(url: &Url) -> Result<StorePath> {
    StorePath::from_url_path(url.path())
        .map_err(|_| Error::LocationRefused { location: url.to_string() })
}

/// Returns whether `url` is `root` or lies under it, segment by segment, after decoding.
pub(crate) fn contains(root: &Url, url: &Url) -> bool {
    if root.scheme() != url.scheme() || root.authority() != url.authority() {
        return false;
    }
    match (segments(root), segments(url)) {
        (Some(root), Some(path)) => path.starts_with(&root),
        _ => false,
    }
}

/// Decoded path segments; `None` when one of them would change the place once decoded.
fn segments(url: &Url) -> Option<Vec<Vec<u8>>> {
    let decoded = url
        .path()
        .split('/')
        .filter(|segment| !segment.is_empty())
        .map(|segment| percent_decode_str(segment).collect::<Vec<u8>>());
    let is_plain = |segment: &Vec<u8>| {
        segment != b"." && segment != b".." && !segment.contains(&b'/') && !segment.contains(&0)
    };
    decoded.map(|segment| is_plain(&segment).then_some(segment)).collect()
}

/// The path of a local location; `None` for a URL of another scheme.
fn local_path(location: &str) -> Result<Option<PathBuf>> {
    let Some((scheme, _)) = location.split_once("://") else {
        return Ok(Some(PathBuf::from(location)));
    };
    let refused = || Error::LocationRefused { location: location.to_owned() };
    match scheme.to_ascii_lowercase().as_str() {
        "file" => {
            let url = Url::parse(location).map_err(|_| refused())?;
            url.to_file_path().map(Some).map_err(|()| refused())
        }
        "s3" | "s3a" => Ok(None),
        other => {
            Err(Error::NotSupported { feature: format!("a location of the scheme \"{other}\"") })
        }
    }
}

fn resolve(location: &str, base: &Path) -> Result<Url> {
    let refused = || Error::LocationRefused { location: location.to_owned() };
    match local_path(location)? {
        Some(path) => {
            let real = real_path(&base.join(path)).ok_or_else(refused)?;
            let url = if location.ends_with('/') || real.is_dir() {
                Url::from_directory_path(&real)
            } else {
                Url::from_file_path(&real)
            };
            url.map_err(|()| refused())
        }
        None => {
            let url = Url::parse(location).map_err(|_| refused())?;
            let is_plain = url.query().is_none() && url.fragment().is_none();
            let has_bucket = url.host_str().is_some_and(|host| !host.is_empty());
            let is_clean = url.username().is_empty() && url.password().is_none();
            if is_plain && has_bucket && is_clean { Ok(url) } else { Err(refused()) }
        }
    }
}

/// Follows links and `..` as the system would, over the part that exists. `None` for a loop of links.
fn real_path(path: &Path) -> Option<PathBuf> {
    let mut pending: Vec<OsString> =
        path.components().rev().map(|part| part.as_os_str().to_owned()).collect();
    let mut real = PathBuf::from("/");
    let mut n_links = 0;
    while let Some(part) = pending.pop() {
        match Path::new(&part).components().next() {
            None | Some(Component::CurDir | Component::RootDir | Component::Prefix(_)) => continue,
            Some(Component::ParentDir) => {
                real.pop();
                continue;
            }
            Some(Component::Normal(name)) => real.push(name),
        }
        let Ok(target) = std::fs::read_link(&real) else { continue };
        n_links += 1;
        if n_links > MAX_LINKS {
            return None;
        }
        real.pop();
        if target.is_absolute() {
            real = PathBuf::from("/");
        }
        pending.extend(target.components().rev().map(|part| part.as_os_str().to_owned()));
    }
    Some(real)
}

fn folder(mut url: Url) -> Url {
    if !url.path().ends_with('/') {
        let path = format!("{}/", url.path());
        url.set_path(&path);
    }
    url
}

fn current_dir() -> Result<PathBuf> {
    std::env::current_dir().map_err(|e| io_error(Path::new("."), e))
}

fn io_error(path: &Path, error: std::io::Error) -> Error {
    let source =
        Box::new(std::io::Error::new(error.kind(), format!("{}: {error}", path.display())));
    Error::from(object_store::Error::Generic { store: "local disk", source })
}
