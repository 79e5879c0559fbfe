//! One statement sees one version of a table, however often and by whatever way it names it.
//!
//! The coordinator plans each statement inside [`one_snapshot`]. The first look at a table's newest version is noted for
//! all further looks until planning is over: a table joined to itself, or named directly and through a view, is read as
//! of one snapshot. Executing reads what planning chose. What a version is each table format knows for itself.

use parking_lot::Mutex;
use std::any::Any;
use std::collections::HashMap;
use std::future::Future;
use std::sync::Arc;

type Version = Arc<dyn Any + Send + Sync>;
type Versions = Arc<Mutex<HashMap<String, Version>>>;

tokio::task_local! {
    static VERSIONS: Versions;
}

/// Runs the planning of one statement. Inside another such call it changes nothing.
pub async fn one_snapshot<T>(planning: impl Future<Output = T>) -> T {
    if VERSIONS.try_with(|_| ()).is_ok() {
        return planning.await;
    }
    VERSIONS.scope(Versions::default(), planning).await
}

/// Returns the version that this statement has seen already.
pub(crate) fn seen<V: Any + Send + Sync>(table: &str) -> Option<Arc<V>> {
    let seen = VERSIONS.try_with(|versions| versions.lock().get(table).cloned()).ok().flatten();
    seen?.downcast().ok()
}

/// Notes what this statement saw, and returns it; what another look noted meanwhile wins.
pub(crate) fn note<V: Any + Send + Sync>(table: &str, version: Arc<V>) -> Arc<V> {
    let noted = VERSIONS.try_with(|versions| {
        let mut versions = versions.lock();
        let noted =
            versions.entry(table.to_owned()).or_insert_with(|| Arc::clone(&version) as Version);
        Arc::clone(noted)
    });
    // A version of another format under this name cannot be: a location is read as one format in a statement.
    noted.ok().and_then(|noted| noted.downcast().ok()).unwrap_or(version)
}
