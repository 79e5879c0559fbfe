//! Delta tables of a lake: by folder, at a version or a time, and the history of their commits.
//!
//! ```text
//! "t@5"   "t@@2024-05-01 00:00:00"   a version; the one that was current then
//! "t$history"                        the commits
//! ```

use super::{Lake, store_url};
use crate::delta::{DeltaTable, Place};
use crate::error::{Error, Result};
use crate::iceberg::{At, Inspection};
use datafusion::catalog::TableProvider;
use std::sync::Arc;
use url::Url;

impl Lake {
    /// Loads a Delta table by its folder.
    pub(super) async fn load_delta(&self, name: &str, url: Url, at: At) -> Result<DeltaTable> {
        let mut url = url;
        if !url.path().ends_with('/') {
            url.set_path(&format!("{}/", url.path()));
        }
        let place = Place {
            store_url: store_url(&url)?,
            store: self.store_of(&url)?,
            roots: Arc::clone(&self.locations),
            url,
        };
        DeltaTable::load(name, place, Arc::clone(&self.caches), at).await
    }

    /// Loads what a name with `@` or `$` means for a Delta table.
    pub(super) async fn extended_delta(
        &self,
        name: &str,
        url: Url,
        at: At,
        inspection: Option<Inspection>,
    ) -> Result<Arc<dyn TableProvider>> {
        let loaded = self.load_delta(name, url, at).await?;
        match inspection {
            None => Ok(Arc::new(loaded)),
            Some(Inspection::History) => loaded.history().await,
            Some(_) => Err(Error::NotSupported {
                feature: format!(
                    "a metadata table other than \"{name}$history\" of Delta table \"{name}\""
                ),
            }),
        }
    }
}
