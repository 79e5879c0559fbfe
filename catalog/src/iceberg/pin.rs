//! One statement sees one version of a table, however often and by whatever way it names it.
//!
//! The coordinator plans each statement inside [`one_snapshot`]. The first look at a table's newest metadata is noted for
//! all further looks until planning is over: a table joined to itself, or named directly and through a view, is read as
//! of one snapshot. Executing reads what planning chose.

use super::table::Version;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::future::Future;
use std::sync::Arc;

type Versions = Arc<Mutex<HashMap<String, Arc<Version>>>>;

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
pub(super) fn seen(table: &str) -> Option<Arc<Version>> {
    VERSIONS.try_with(|versions| versions.lock().get(table).cloned()).ok().flatten()
}

/// Notes what this statement saw, and returns it; what another look noted meanwhile wins.
pub(super) fn note(table: &str, version: Arc<Version>) -> Arc<Version> {
    let noted = VERSIONS.try_with(|versions| {
        Arc::clone(versions.lock().entry(table.to_owned()).or_insert_with(|| Arc::clone(&version)))
    });
    noted.unwrap_or(version)
}
