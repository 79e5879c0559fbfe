//! DataFusion's catalog and schema providers over a lake.
//!
//! Tables are found when a statement is planned, asynchronously and one by one. DataFusion's listing functions are
//! not asynchronous; they are used by its `information_schema` only, and wait on the calling thread.

use crate::discovery::RESERVED_SCHEMAS;
use crate::error::Error;
use crate::lake::{Lake, RelationKind};
use datafusion::catalog::{CatalogProvider, SchemaProvider, TableProvider};
use datafusion::error::DataFusionError;
use datafusion::logical_expr::TableType;
use futures::future::BoxFuture;
use std::future::Future;
use std::sync::Arc;
use tokio::runtime::{Handle, RuntimeFlavor};

/// The lake as a catalog.
#[derive(Debug)]
pub(crate) struct LakeCatalog {
    lake: Arc<Lake>,
}

impl LakeCatalog {
    pub(crate) fn new(lake: Arc<Lake>) -> Self {
        Self { lake }
    }
}

impl CatalogProvider for LakeCatalog {
    fn schema_names(&self) -> Vec<String> {
        or_empty(wait(self.lake.runtime(), self.lake.schemas()))
    }

    /// Answers for any name that a lake may use: whether the schema exists is found, and reported as its own error,
    /// with the table.
    fn schema(&self, name: &str) -> Option<Arc<dyn SchemaProvider>> {
        if RESERVED_SCHEMAS.contains(&name) {
            return None;
        }
        Some(Arc::new(LakeSchema { lake: Arc::clone(&self.lake), name: name.to_owned() }))
    }
}

/// One schema of the lake.
#[derive(Debug)]
struct LakeSchema {
    lake: Arc<Lake>,
    name: String,
}

impl LakeSchema {
    /// Finds a table: [`SchemaProvider::table`].
    fn find<'a>(
        &'a self,
        name: &'a str,
    ) -> BoxFuture<'a, Result<Option<Arc<dyn TableProvider>>, DataFusionError>> {
        Box::pin(async move { Ok(self.lake.relation_provider(&self.name, name).await?) })
    }

    /// Tells a table from a view: [`SchemaProvider::table_type`].
    fn kind<'a>(
        &'a self,
        name: &'a str,
    ) -> BoxFuture<'a, Result<Option<TableType>, DataFusionError>> {
        Box::pin(async move {
            let kind = self.lake.relation_kind(&self.name, name).await?;
            Ok(kind.map(|kind| match kind {
                RelationKind::Table => TableType::Base,
                RelationKind::View => TableType::View,
            }))
        })
    }
}

impl SchemaProvider for LakeSchema {
    fn table_names(&self) -> Vec<String> {
        let relations = or_empty(wait(self.lake.runtime(), self.lake.relations()));
        let ours = relations.into_iter().filter(|relation| relation.schema == self.name);
        ours.map(|relation| relation.name).collect()
    }

    crate::table_by!(find);

    crate::table_type_by!(kind);

    fn table_exist(&self, name: &str) -> bool {
        let kind = wait(self.lake.runtime(), self.lake.relation_kind(&self.name, name));
        kind.is_ok_and(|kind| kind.is_some())
    }
}

/// Returns what was listed; DataFusion has no way to hear that nothing was.
pub(crate) fn or_empty<T>(listed: Result<Vec<T>, Error>) -> Vec<T> {
    listed.unwrap_or_else(|error| {
        tracing::warn!(%error, "catalog not listed");
        vec![]
    })
}

/// Waits for a future on this thread, which may belong to a runtime or not. `home` is the lake's runtime. On a runtime of
/// one thread only local lakes can be waited for, because nobody is left to serve the network.
pub(crate) fn wait<F>(home: &Handle, future: F) -> F::Output
where
    F: Future + Send,
    F::Output: Send,
{
    let here = Handle::try_current();
    let handle = here.as_ref().unwrap_or(home);
    match (handle.runtime_flavor(), &here) {
        (RuntimeFlavor::CurrentThread, _) => wait_aside(handle, future),
        (_, Ok(_)) => tokio::task::block_in_place(|| handle.block_on(future)),
        (_, Err(_)) => handle.block_on(future),
    }
}

/// Waits on a thread of its own: a runtime does not let its only thread wait.
fn wait_aside<F>(handle: &Handle, future: F) -> F::Output
where
    F: Future + Send,
    F::Output: Send,
{
    let waiter = || {
        let _entered = handle.enter();
        futures::executor::block_on(future)
    };
    std::thread::scope(|scope| match scope.spawn(waiter).join() {
        Ok(output) => output,
        Err(panic) => std::panic::resume_unwind(panic),
    })
}
