//! Tables of one session: Parquet files in a folder of their own under the lake's, which discovery does not see.
//!
//! Called by the coordinator for CREATE TEMPORARY TABLE. The files lie in the lake, so that workers read them like any
//! other table; who made the folder removes it.

use super::{Lake, OWN_FOLDER, store_url};
use crate::error::{Error, Result};
use crate::format::FileKind;
use crate::listing::ListingRequest;
use crate::location::store_path;
use crate::table::{LakeTable, Source};
use arrow::datatypes::SchemaRef;
use datafusion::catalog::TableProvider;
use futures::future::BoxFuture;
use futures::{StreamExt, TryStreamExt};
use object_store::ObjectStore;
use std::sync::Arc;
use url::Url;

impl Lake {
    /// Returns the folder for the temporary tables of one owner, ending in a slash. Makes nothing.
    pub fn temporary_folder(&self, owner: &str) -> Url {
        let mut url = self.root().clone();
        let root = url.path().trim_end_matches('/').to_owned();
        url.set_path(&format!("{root}/{OWN_FOLDER}/temporary/{owner}/"));
        url
    }

    /// Returns the table of the Parquet files in a folder, with the given columns; without files it is empty.
    ///
    /// # Errors
    /// When the store fails.
    pub fn table_in_folder<'a>(
        &'a self,
        name: &'a str,
        folder: &'a Url,
        columns: SchemaRef,
    ) -> BoxFuture<'a, Result<Arc<dyn TableProvider>>> {
        Box::pin(self.load_folder(name, folder, columns))
    }

    async fn load_folder(
        &self,
        name: &str,
        folder: &Url,
        columns: SchemaRef,
    ) -> Result<Arc<dyn TableProvider>> {
        let source = Source {
            store_url: store_url(folder)?,
            store: self.store_of(folder)?,
            request: ListingRequest {
                table: name.to_owned(),
                path: store_path(folder)?,
                is_folder: true,
                kind: Some(FileKind::Parquet),
            },
            options: Default::default(),
            columns: Some(columns),
            partition_columns: vec![],
        };
        let loaded = LakeTable::load(source, Arc::clone(&self.caches), &self.session).await?;
        let table =
            loaded.ok_or_else(|| Error::LocationNotFound { location: folder.to_string() })?;
        Ok(Arc::new(table))
    }

    /// Removes a folder of temporary tables and all that is in it. One that is missing is removed already.
    ///
    /// # Errors
    /// When the store fails; some files may be left.
    pub fn remove_temporary_folder<'a>(&'a self, folder: &'a Url) -> BoxFuture<'a, Result<()>> {
        Box::pin(self.remove_folder(folder))
    }

    async fn remove_folder(&self, folder: &Url) -> Result<()> {
        let store = self.store_of(folder)?;
        let files = store.list(Some(&store_path(folder)?)).map_ok(|object| object.location).boxed();
        store.delete_stream(files).try_collect::<Vec<_>>().await?;
        // Object stores have no folders; the local file system keeps the empty ones.
        if let Ok(local) = folder.to_file_path()
            && let Err(error) = tokio::fs::remove_dir_all(&local).await
            && error.kind() != std::io::ErrorKind::NotFound
        {
            let source = Box::new(error);
            return Err(object_store::Error::Generic { store: "local", source }.into());
        }
        Ok(())
    }
}
