//! Errors of the catalog as they must be raised where a query runs.
//!
//! Between workers an error keeps its variant and its text only; one of ours would arrive as text without a code. So what
//! reading a file can raise is said in DataFusion's own variants.

use crate::error::Error;
use datafusion::error::DataFusionError;
use datafusion::parquet::errors::ParquetError;

/// Returns an error in a form that keeps its meaning between workers.
pub(super) fn error(error: Error) -> DataFusionError {
    match &error {
        Error::CorruptFile { path, message } => {
            DataFusionError::ParquetError(Box::new(ParquetError::General(message.clone())))
                .context(format!("file {path}"))
        }
        Error::NotSupported { .. } => DataFusionError::NotImplemented(error.to_string()),
        Error::Store(inner) => {
            let source = inner.to_string().into();
            DataFusionError::ObjectStore(Box::new(match inner.as_ref() {
                object_store::Error::NotFound { path, .. } => {
                    object_store::Error::NotFound { path: path.clone(), source }
                }
                object_store::Error::PermissionDenied { path, .. } => {
                    object_store::Error::PermissionDenied { path: path.clone(), source }
                }
                _ => object_store::Error::Generic { store: "object store", source },
            }))
        }
        _ => error.into(),
    }
}
