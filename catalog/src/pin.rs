//! One statement sees one version of a table, however often and by whatever way it names it.
//!
//! The coordinator plans each statement inside [`one_snapshot`]. The first look at a table's newest version is noted for
//! all further looks until planning is over: a table joined to itself, or named directly and through a view, is read as
//! of one snapshot. Executing reads what planning chose. What a version is each table format knows for itself.

use crate::iceberg::Place;
use parking_lot::Mutex;
use std::any::Any;
use std::collections::HashMap;
use std::future::Future;
use std::sync::Arc;

type Version = Arc<dyn Any + Send + Sync>;

/// What a statement has seen.
#[derive(Default)]
struct Seen {
    /// Versions of tables, by their places.
    versions: Mutex<HashMap<String, Version>>,
    /// Places that catalog services named, by catalog, namespace and table.
    places: Mutex<HashMap<String, Place>>,
}

tokio::task_local! {
    static SEEN: Arc<Seen>;
}

/// Runs the planning of one statement. Inside another such call it changes nothing.
pub async fn one_snapshot<T>(planning: impl Future<Output = T>) -> T {
    if SEEN.try_with(|_| ()).is_ok() {
        return planning.await;
    }
    SEEN.scope(Arc::default(), planning).await
}

/// Returns the version that this statement has seen already.
pub(crate) fn seen<V: Any + Send + Sync>(table: &str) -> Option<Arc<V>> {
    let seen = SEEN.try_with(|seen| seen.versions.lock().get(table).cloned()).ok().flatten();
    seen?.downcast().ok()
}

/// Notes what this statement saw, and returns it; what another look noted meanwhile wins.
pub(crate) fn note<V: Any + Send + Sync>(table: &str, version: Arc<V>) -> Arc<V> {
    let noted = SEEN.try_with(|seen| {
        let mut versions = seen.versions.lock();
        let noted =
            versions.entry(table.to_owned()).or_insert_with(|| Arc::clone(&version) as Version);
        Arc::clone(noted)
    });
    // A version of another format under this name cannot be: a location is read as one format in a statement.
    noted.ok().and_then(|noted| noted.downcast().ok()).unwrap_or(version)
}

/// Returns the place of a catalog's table that this statement has been told already.
pub(crate) fn seen_place(table: &str) -> Option<Place> {
    SEEN.try_with(|seen| seen.places.lock().get(table).cloned()).ok().flatten()
}

/// Notes where this statement was told that a table is, and returns it; what was noted meanwhile wins.
pub(crate) fn note_place(table: &str, place: &Place) -> Place {
    let noted = SEEN.try_with(|seen| {
        let mut places = seen.places.lock();
        places.entry(table.to_owned()).or_insert_with(|| place.clone()).clone()
    });
    noted.unwrap_or_else(|_| place.clone())
}
