//! Lists the files of one table and reads what their paths say: format, partition values, and a fingerprint.
//!
//! A listing is made anew for every query, so an added file is seen at once and a removed one is not asked for. Counted
//! are files directly in the table's folder and in nested `key=value` folders below it. Ignored are hidden names, other
//! folders, files that are no data, and files of zero length (markers of object stores, writes that never finished).

use crate::error::{Error, Result};
use crate::format::{FileFlavor, FileKind, is_hidden, partition_of_folder};
use arrow::datatypes::DataType;
use datafusion::scalar::ScalarValue;
use futures::TryStreamExt;
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStore, ObjectStoreExt};
use percent_encoding::percent_decode_str;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

/// Hive's name for a null partition value.
const HIVE_NULL: &str = "__HIVE_DEFAULT_PARTITION__";

/// What to list.
#[derive(Debug, Clone)]
pub(crate) struct ListingRequest {
    /// Table name for errors.
    pub(crate) table: String,
    /// The folder or the file.
    pub(crate) path: Path,
    /// False when `path` is the one file of the table.
    pub(crate) is_folder: bool,
    /// The format a definition states; discovered tables go by file names.
    pub(crate) kind: Option<FileKind>,
}

/// The files of a table at one moment.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Listing {
    /// `None` when there are no files.
    pub(crate) flavor: Option<FileFlavor>,
    /// Partition keys from the outermost folder inwards.
    pub(crate) partition_keys: Vec<String>,
    /// The files by path.
    pub(crate) files: Vec<ListedFile>,
}

/// One file of a table.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ListedFile {
    pub(crate) meta: ObjectMeta,
    /// Decoded value per partition key; `None` is null.
    pub(crate) partition_values: Vec<Option<String>>,
}

impl Listing {
    /// Returns a number that changes when a file is added, removed or replaced.
    pub(crate) fn fingerprint(&self) -> u128 {
        let half = |seed: u8| {
            let mut hasher = DefaultHasher::new();
            seed.hash(&mut hasher);
            self.flavor.hash(&mut hasher);
            for ListedFile { meta, .. } in &self.files {
                meta.location.as_ref().hash(&mut hasher);
                (meta.size, meta.last_modified, &meta.e_tag).hash(&mut hasher);
            }
            u128::from(hasher.finish())
        };
        half(0) << 64 | half(1)
    }

    /// Infers the type of each partition column: integer, date, else text.
    pub(crate) fn partition_types(&self) -> Vec<DataType> {
        let values = |idx: usize| {
            self.files.iter().filter_map(move |file| file.partition_values[idx].as_deref())
        };
        let is_all = |idx: usize, test: fn(&str) -> bool| {
            values(idx).next().is_some() && values(idx).all(test)
        };
        (0..self.partition_keys.len())
            .map(|idx| {
                if is_all(idx, |value| value.parse::<i64>().is_ok()) {
                    DataType::Int64
                } else if is_all(idx, is_date) {
                    DataType::Date32
                } else {
                    DataType::Utf8
                }
            })
            .collect()
    }
}

impl ListedFile {
    /// Returns the partition values as the given types.
    pub(crate) fn typed_partition_values(
        &self,
        keys: &[String],
        types: &[DataType],
    ) -> Result<Vec<ScalarValue>> {
        let typed = self.partition_values.iter().zip(keys).zip(types);
        typed
            .map(|((value, key), data_type)| {
                let parsed = match value {
                    Some(value) => ScalarValue::try_from_string(value.clone(), data_type),
                    None => ScalarValue::try_new_null(data_type),
                };
                parsed.map_err(|_| Error::SchemaMismatch {
                    path: self.meta.location.to_string(),
                    column: key.clone(),
                    message: format!(
                        "has the partition value \"{}\", which is no {data_type}",
                        value.as_deref().unwrap_or("null")
                    ),
                })
            })
            .collect()
    }
}

fn is_date(text: &str) -> bool {
    text.len() == 10 && chrono::NaiveDate::parse_from_str(text, "%Y-%m-%d").is_ok()
}

/// Lists a table's files. A folder that is missing is an empty listing.
///
/// # Errors
/// When the store fails, the files differ in format, or their partition keys differ.
pub(crate) async fn list(
    store: &Arc<dyn ObjectStore>,
    request: &ListingRequest,
) -> Result<Listing> {
    let metas = if request.is_folder {
        store.list(Some(&request.path)).try_collect().await?
    } else {
        match store.head(&request.path).await {
            Ok(meta) => vec![meta],
            Err(object_store::Error::NotFound { .. }) => vec![],
            Err(error) => return Err(error.into()),
        }
    };
    assemble(request, metas)
}

struct Candidate {
    meta: ObjectMeta,
    flavor: Option<FileFlavor>,
    partitions: Vec<(String, Option<String>)>,
}

fn assemble(request: &ListingRequest, metas: Vec<ObjectMeta>) -> Result<Listing> {
    let mut candidates: Vec<Candidate> =
        metas.into_iter().filter_map(|meta| candidate(request, meta)).collect();
    candidates.sort_unstable_by(|a, b| a.meta.location.cmp(&b.meta.location));
    select_kind(request, &mut candidates);
    let Some(first) = candidates.first() else {
        return Ok(Listing { flavor: None, partition_keys: vec![], files: vec![] });
    };
    let flavor = first.flavor;
    let keys: Vec<String> = first.partitions.iter().map(|(key, _)| key.clone()).collect();
    for other in &candidates {
        check_flavor(request, flavor, other)?;
        check_keys(&keys, other)?;
    }
    let files = candidates
        .into_iter()
        .map(|file| ListedFile {
            meta: file.meta,
            partition_values: file.partitions.into_iter().map(|(_, value)| value).collect(),
        })
        .collect();
    Ok(Listing { flavor, partition_keys: keys, files })
}

/// `None` when the object is no file of the table.
fn candidate(request: &ListingRequest, meta: ObjectMeta) -> Option<Candidate> {
    if meta.size == 0 {
        return None;
    }
    let flavor = FileFlavor::of_file(meta.location.filename()?).map(|(_, flavor)| flavor);
    if !request.is_folder {
        return Some(Candidate { meta, flavor, partitions: vec![] });
    }
    let inside: Vec<_> = meta.location.prefix_match(&request.path)?.collect();
    let (file, folders) = inside.split_last()?;
    if is_hidden(file.as_ref()) {
        return None;
    }
    let partitions = folders
        .iter()
        .map(|folder| {
            let (key, value) = partition_of_folder(folder.as_ref())?;
            let value = percent_decode_str(value).decode_utf8_lossy().into_owned();
            Some((key.to_owned(), (value != HIVE_NULL).then_some(value)))
        })
        .collect::<Option<Vec<_>>>()?;
    Some(Candidate { meta, flavor, partitions })
}

/// Keeps the files of the stated kind. When no name tells a kind, a definition's word is taken for the unknown ones.
fn select_kind(request: &ListingRequest, candidates: &mut Vec<Candidate>) {
    let Some(kind) = request.kind else {
        candidates.retain(|file| file.flavor.is_some());
        return;
    };
    let is_kind = |file: &Candidate| file.flavor.is_some_and(|flavor| flavor.kind == kind);
    if candidates.iter().any(is_kind) {
        candidates.retain(is_kind);
    } else if request.is_folder {
        candidates.retain(|file| file.flavor.is_none());
    }
    for file in candidates {
        if !is_kind(file) {
            file.flavor = Some(FileFlavor::plain(kind));
        }
    }
}

fn check_flavor(
    request: &ListingRequest,
    flavor: Option<FileFlavor>,
    file: &Candidate,
) -> Result<()> {
    if file.flavor == flavor {
        return Ok(());
    }
    let name = |flavor: Option<FileFlavor>| flavor.map(|f| f.to_string()).unwrap_or_default();
    Err(Error::MixedFormats {
        table: request.table.clone(),
        first: name(flavor),
        second: name(file.flavor),
    })
}

fn check_keys(keys: &[String], file: &Candidate) -> Result<()> {
    let found: Vec<&String> = file.partitions.iter().map(|(key, _)| key).collect();
    if keys.iter().eq(found.iter().copied()) {
        return Ok(());
    }
    let missing = keys.iter().find(|key| !found.contains(key));
    let extra = found.iter().copied().find(|key| !keys.contains(key));
    let (column, message) = match (missing, extra) {
        (Some(key), _) => (key, "is a partition key that its folders do not have"),
        (None, Some(key)) => (key, "is a partition key that the other files do not have"),
        (None, None) => (found[0], "is a partition key in another order than in the other files"),
    };
    Err(Error::SchemaMismatch {
        path: file.meta.location.to_string(),
        column: column.clone(),
        message: message.to_owned(),
    })
}
