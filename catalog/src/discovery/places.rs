//! Where tables with metadata were found, on an object store, for a while.
//!
//! Finding a name there takes five listings, and a table with metadata is asked for its newest version by every statement
//! anyhow: one that is gone shows then, and is looked for again ([`Places::forget`]). What is not seen within
//! [`KEPT_TIME`]: another table that comes up under the same name beside it.

use super::Found;
use parking_lot::Mutex;
use std::collections::{BTreeSet, HashMap};
use std::time::{Duration, Instant};

/// How long a place is taken for granted.
const KEPT_TIME: Duration = Duration::from_mins(1);
/// Places that are kept.
const MAX_PLACES: usize = 10_000;

#[derive(Debug, Default)]
struct Known {
    /// Schemas that were defined then: they decide what a folder under the root is.
    defined_schemas: BTreeSet<String>,
    /// By schema and name.
    places: HashMap<(String, String), (Found, Instant)>,
}

/// Remembers places.
#[derive(Debug, Default)]
pub(super) struct Places(Mutex<Known>);

impl Places {
    /// Returns where a table was found.
    pub(super) fn recall(
        &self,
        defined_schemas: &BTreeSet<String>,
        schema: &str,
        name: &str,
    ) -> Option<Found> {
        let known = self.0.lock();
        if known.defined_schemas != *defined_schemas {
            return None;
        }
        let (found, at) = known.places.get(&(schema.to_owned(), name.to_owned()))?;
        (at.elapsed() < KEPT_TIME).then(|| found.clone())
    }

    /// Remembers where a table with metadata is.
    pub(super) fn keep(&self, defined_schemas: &BTreeSet<String>, found: &Found) {
        if !found.kind.is_some_and(|kind| kind.has_metadata()) {
            return;
        }
        let mut known = self.0.lock();
        if known.defined_schemas != *defined_schemas {
            *known = Known { defined_schemas: defined_schemas.clone(), places: HashMap::new() };
        }
        if known.places.len() >= MAX_PLACES {
            known.places.clear();
        }
        let key = (found.schema.clone(), found.name.clone());
        known.places.insert(key, (found.clone(), Instant::now()));
    }

    /// Forgets where a table was; returns whether it was known.
    pub(super) fn forget(&self, schema: &str, name: &str) -> bool {
        self.0.lock().places.remove(&(schema.to_owned(), name.to_owned())).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::FileKind;
    use object_store::path::Path;

    fn found(name: &str, kind: FileKind) -> Found {
        Found {
            schema: "public".to_owned(),
            name: name.to_owned(),
            path: Path::from(name),
            is_folder: true,
            kind: Some(kind),
        }
    }

    #[test]
    fn tables_with_metadata_are_remembered_while_schemas_are_the_same() {
        let (places, none) = (Places::default(), BTreeSet::new());
        let (rides, trips) = (found("rides", FileKind::Iceberg), found("trips", FileKind::Parquet));
        places.keep(&none, &rides);
        places.keep(&none, &trips);
        assert_eq!(places.recall(&none, "public", "rides"), Some(rides));
        assert_eq!(places.recall(&none, "public", "trips"), None);
        let other = BTreeSet::from(["rides".to_owned()]);
        assert_eq!(places.recall(&other, "public", "rides"), None);
        assert!(places.forget("public", "rides") && !places.forget("public", "rides"));
        assert_eq!(places.recall(&none, "public", "rides"), None);
    }
}
