//! What can go wrong with a lake's tables, its catalog and its locations.
//!
//! Errors are `Clone`, because one failed load is handed to every query that waited for it. Towards DataFusion they
//! travel as [`DataFusionError::External`], with themselves as the source, so that the server can downcast them.

use arrow::error::ArrowError;
use datafusion::error::DataFusionError;
use object_store::path::Path;
use std::error::Error as StdError;
use std::sync::Arc;

/// Result of catalog operations.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What can go wrong in the catalog.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// No schema of that name.
    #[error("schema \"{schema}\" does not exist")]
    SchemaNotFound {
        /// The name as asked for.
        schema: String,
        /// Schemas whose names look alike, best first.
        similar: Vec<String>,
    },
    /// No table or view of that name.
    #[error("relation \"{schema}.{name}\" does not exist")]
    TableNotFound {
        /// The schema that was searched.
        schema: String,
        /// The name as asked for.
        name: String,
        /// Relations whose names look alike, best first.
        similar: Vec<String>,
    },
    /// No column of that name.
    #[error("column \"{column}\" of relation \"{relation}\" does not exist")]
    ColumnNotFound {
        /// The table or view.
        relation: String,
        /// The name as asked for.
        column: String,
    },
    /// No catalog of that name.
    #[error("database \"{name}\" does not exist")]
    CatalogNotFound {
        /// The name as asked for.
        name: String,
        /// Catalogs whose names look alike, best first.
        similar: Vec<String>,
    },
    /// A catalog service gave no answer, or not the one it should.
    #[error("catalog \"{catalog}\" failed at {endpoint}: {message}")]
    ServiceFailed {
        /// The catalog.
        catalog: String,
        /// The URL or file that was asked.
        endpoint: String,
        /// What happened.
        message: String,
    },
    /// A catalog service does not let us in, or not do that.
    #[error("catalog \"{catalog}\" refused us at {endpoint}: {message}")]
    ServiceRefused {
        /// The catalog.
        catalog: String,
        /// The URL that was asked.
        endpoint: String,
        /// What it answered.
        message: String,
    },
    /// The name is taken.
    #[error("{kind} \"{name}\" already exists")]
    AlreadyExists {
        /// "schema", "table", "view" or "catalog".
        kind: &'static str,
        /// The taken name.
        name: String,
    },
    /// A schema cannot be dropped while something is in it.
    #[error("cannot drop schema \"{schema}\" because it is not empty")]
    NotEmpty {
        /// The schema.
        schema: String,
    },
    /// The thing is a folder or a file of the lake: it goes when its data goes, and we delete no data.
    #[error("cannot drop {kind} \"{name}\" because it is data in the lake at {location}")]
    NotDroppable {
        /// "schema" or "table".
        kind: &'static str,
        /// Its name.
        name: String,
        /// Where its data is.
        location: String,
    },
    /// A view was named where a table was meant, or the reverse.
    #[error("\"{name}\" is not a {expected}")]
    WrongKind {
        /// The relation.
        name: String,
        /// "table" or "view".
        expected: &'static str,
    },
    /// The location lies outside the lake's root and the allowed roots.
    #[error(
        "location \"{location}\" is outside the roots allowed by the setting lake.allowed_roots"
    )]
    LocationRefused {
        /// The location as given.
        location: String,
    },
    /// The table has no such branch, tag or snapshot, or had none at that time.
    #[error("table \"{table}\" has no snapshot {wanted}")]
    SnapshotNotFound {
        /// The table.
        table: String,
        /// What was asked for, such as `"main"` or `as of 2024-05-01`.
        wanted: String,
    },
    /// There is no data at the location.
    #[error("location \"{location}\" holds no data files")]
    LocationNotFound {
        /// The location.
        location: String,
    },
    /// Two kinds of data claim to be one table.
    #[error("table \"{table}\" mixes \"{first}\" and \"{second}\"")]
    MixedFormats {
        /// The table.
        table: String,
        /// A format or a path.
        first: String,
        /// The format or path that does not fit the first.
        second: String,
    },
    /// A data file or a catalog document cannot be read.
    #[error("file \"{path}\" is corrupt: {message}")]
    CorruptFile {
        /// The file.
        path: String,
        /// What the reader found.
        message: String,
    },
    /// A file's columns do not fit the table's.
    #[error("file \"{path}\" does not fit its table: column \"{column}\" {message}")]
    SchemaMismatch {
        /// The file.
        path: String,
        /// The column, or the partition key.
        column: String,
        /// In what way it does not fit.
        message: String,
    },
    /// Something that the catalog does not offer.
    #[error("{feature} is not supported")]
    NotSupported {
        /// What was asked for.
        feature: String,
    },
    /// A name, an option or a view text that cannot be accepted.
    #[error("invalid definition of \"{name}\": {message}")]
    InvalidDefinition {
        /// What was to be defined.
        name: String,
        /// Why not.
        message: String,
    },
    /// Other writers changed the catalog again and again while we tried to.
    #[error("the catalog was changed by another writer at the same time")]
    Conflict,
    /// The object store failed.
    #[error("object store: {0}")]
    Store(#[source] Arc<object_store::Error>),
    /// The engine failed.
    #[error("{0}")]
    DataFusion(#[source] Arc<DataFusionError>),
}

impl Error {
    /// Returns the catalog error inside an engine error, when there is one.
    pub fn find(error: &DataFusionError) -> Option<&Self> {
        chain(error).find_map(|e| e.downcast_ref::<Self>())
    }

    /// Turns the failure to read one data file into an error that names the file.
    pub(crate) fn from_reading(path: &Path, error: DataFusionError) -> Self {
        if let Some(found) = Self::find(&error) {
            return found.clone();
        }
        let from_store = chain(&error).any(|e| e.is::<object_store::Error>());
        let from_format = matches!(
            error.find_root(),
            DataFusionError::ParquetError(_) | DataFusionError::ArrowError(..)
        );
        if chain(&error).any(is_broken_content) || (from_format && !from_store) {
            return Self::CorruptFile { path: path.to_string(), message: first_line(&error) };
        }
        Self::from(error)
    }

    /// Returns whether a file was gone when we came to read it.
    pub(crate) fn is_file_gone(error: &DataFusionError) -> bool {
        chain(error).any(|e| {
            let error = e.downcast_ref::<object_store::Error>();
            matches!(error, Some(object_store::Error::NotFound { .. }))
        })
    }
}

/// The error and what caused it, outermost first. Boxed and shared causes are looked into.
fn chain<'a>(error: &'a DataFusionError) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    let first: &(dyn StdError + 'static) = error;
    std::iter::successors(Some(first), |current: &&'a (dyn StdError + 'static)| {
        match (*current).downcast_ref::<DataFusionError>() {
            // The source of these would be the box itself, which is no error that can be downcast.
            Some(DataFusionError::External(inner)) => {
                let inner: &(dyn StdError + 'static) = inner.as_ref();
                Some(inner)
            }
            Some(DataFusionError::ObjectStore(inner)) => {
                let inner: &(dyn StdError + 'static) = inner.as_ref();
                Some(inner)
            }
            _ => (*current).source(),
        }
    })
}

/// What decompressors say about bytes they cannot read.
fn is_broken_content(error: &(dyn StdError + 'static)) -> bool {
    use std::io::ErrorKind::{InvalidData, InvalidInput, UnexpectedEof};
    let error = error.downcast_ref::<std::io::Error>();
    error.is_some_and(|e| matches!(e.kind(), InvalidData | InvalidInput | UnexpectedEof))
}

fn first_line(error: &DataFusionError) -> String {
    let text = error.find_root().strip_backtrace();
    text.lines().next().unwrap_or_default().to_owned()
}

impl From<object_store::Error> for Error {
    fn from(error: object_store::Error) -> Self {
        Self::Store(Arc::new(error))
    }
}

impl From<ArrowError> for Error {
    fn from(error: ArrowError) -> Self {
        DataFusionError::from(error).into()
    }
}

impl From<DataFusionError> for Error {
    fn from(error: DataFusionError) -> Self {
        match Self::find(&error) {
            Some(found) => found.clone(),
            None => Self::DataFusion(Arc::new(error)),
        }
    }
}

impl From<Error> for DataFusionError {
    fn from(error: Error) -> Self {
        match error {
            Error::DataFusion(inner) => match Arc::try_unwrap(inner) {
                Ok(inner) => inner,
                Err(shared) => Self::Shared(shared),
            },
            other => Self::External(Box::new(other)),
        }
    }
}
