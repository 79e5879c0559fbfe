//! The lake's relations at one moment, for functions that cannot wait for the lake.
//!
//! Functions run inside operators, where nothing may block. So the names are listed before a statement is planned, and
//! again by a scan of a catalog table that comes later than [`PIN_TIME`]; functions read what was listed last.

use super::oid;
use super::tables::TABLES;
use datafusion::error::Result;
use parking_lot::Mutex;
use saltlake_catalog::{Database, Names, RelationKind};
use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

/// The schema that is searched before the search path.
const PG_CATALOG: &str = "pg_catalog";

/// How long a listing serves the scans of the statement it was made for. A prepared statement that runs later lists again.
pub const PIN_TIME: Duration = Duration::from_millis(200);

/// What of an object functions need.
#[derive(Debug, Clone)]
pub struct Object {
    /// Schema it is in.
    pub schema: String,
    /// Its name.
    pub name: String,
    /// Its comment, if it has one.
    pub comment: Option<String>,
    /// A view's query, when it was asked for.
    pub definition: Option<String>,
}

/// Relations and schemas by OID.
#[derive(Debug, Default)]
pub struct Snapshot {
    /// What the lake holds.
    pub names: Arc<Names>,
    /// Whether views come with their queries.
    pub has_definitions: bool,
    /// Tables and views, those of `pg_catalog` included.
    pub relations: BTreeMap<i64, Object>,
    /// Names of schemas.
    pub schemas: BTreeMap<i64, String>,
    /// Schemas a name without one is looked for in, after `pg_catalog`.
    pub path: Vec<String>,
    /// Relations that can be named without their schema, once somebody asks.
    visible: OnceLock<HashSet<i64>>,
}

/// Where the newest snapshot of one connection is, and when it was taken.
#[derive(Debug, Default)]
pub struct Latest {
    snapshot: Mutex<(Arc<Snapshot>, Option<Instant>)>,
    /// Comments on the columns of relations whose columns were listed, in the order of the columns.
    columns: Mutex<BTreeMap<i64, Vec<Option<String>>>>,
}

impl Latest {
    /// Returns the newest snapshot; before the first it is empty.
    pub fn get(&self) -> Arc<Snapshot> {
        Arc::clone(&self.snapshot.lock().0)
    }

    /// Notes the comments on a relation's columns, which are known where its columns are.
    pub fn note_columns(&self, relation: i64, comments: Vec<Option<String>>) {
        let mut columns = self.columns.lock();
        match comments.iter().all(Option::is_none) {
            true => _ = columns.remove(&relation),
            false => _ = columns.insert(relation, comments),
        }
    }

    /// Returns the comment on a column, by its number from 1, as it was when the relation's columns were listed last.
    pub fn column_comment(&self, relation: i64, number: i64) -> Option<String> {
        let idx = usize::try_from(number).ok()?.checked_sub(1)?;
        self.columns.lock().get(&relation)?.get(idx)?.clone()
    }

    /// Lists the lake unless that was done within `max_age`, and returns the snapshot. `with_definitions` also reads the
    /// queries of views, which costs planning each.
    ///
    /// # Errors
    /// When the lake cannot be read.
    pub async fn refresh(
        &self,
        lake: &Database,
        path: Vec<String>,
        with_definitions: bool,
        max_age: Duration,
    ) -> Result<Arc<Snapshot>> {
        let (known, taken) = self.snapshot.lock().clone();
        let serves = known.path == path && (known.has_definitions || !with_definitions);
        if serves && taken.is_some_and(|taken| taken.elapsed() < max_age) {
            return Ok(known);
        }
        let now = Instant::now();
        let names = lake.names().await?;
        let is_same = Arc::ptr_eq(&known.names, &names) && serves && !with_definitions;
        let snapshot = match is_same {
            true => known,
            false => Arc::new(Snapshot::of(lake, names, path, with_definitions).await),
        };
        *self.snapshot.lock() = (Arc::clone(&snapshot), Some(now));
        Ok(snapshot)
    }
}

impl Snapshot {
    async fn of(
        lake: &Database,
        names: Arc<Names>,
        path: Vec<String>,
        with_definitions: bool,
    ) -> Self {
        let mut snapshot = Self { path, has_definitions: with_definitions, ..Self::default() };
        let fixed = ["public", PG_CATALOG, "information_schema"];
        for schema in names.schemas.iter().map(String::as_str).chain(fixed) {
            snapshot.schemas.insert(oid::schema(schema), schema.to_string());
        }
        for relation in &names.relations {
            let definition = match relation.kind {
                RelationKind::View if with_definitions => {
                    super::rows::definition(lake, relation).await
                }
                _ => None,
            };
            let (schema, name) = (relation.schema.clone(), relation.name.clone());
            let oid = oid::relation(&schema, &name);
            let object = Object { schema, name, comment: relation.comment.clone(), definition };
            snapshot.relations.insert(oid, object);
        }
        for table in TABLES.values() {
            let (schema, name) = (PG_CATALOG.to_string(), table.name.to_string());
            let object = Object { schema, name, comment: None, definition: None };
            snapshot.relations.insert(table.oid, object);
        }
        snapshot.names = names;
        snapshot
    }

    /// Returns the comment on a schema.
    pub fn schema_comment(&self, schema: i64) -> Option<String> {
        let mut commented = self.names.comments.schemas();
        commented.find(|(name, _)| oid::schema(name) == schema).map(|(_, text)| text.to_string())
    }

    /// Returns whether a relation can be named without its schema.
    pub fn is_visible(&self, relation: i64) -> Option<bool> {
        self.relations.get(&relation)?;
        let visible = self.visible.get_or_init(|| {
            let is_visible =
                |(oid, object): &(&i64, &Object)| self.find(&object.name) == Some(**oid);
            self.relations.iter().filter(is_visible).map(|(oid, _)| *oid).collect()
        });
        Some(visible.contains(&relation))
    }

    /// Returns the relation that a name without a schema means.
    fn find(&self, name: &str) -> Option<i64> {
        let path = self.path.iter().map(String::as_str);
        std::iter::once(PG_CATALOG).chain(path).find_map(|schema| self.find_in(schema, name))
    }

    fn find_in(&self, schema: &str, name: &str) -> Option<i64> {
        let table = TABLES.get(name).filter(|_| schema == PG_CATALOG).map(|table| table.oid);
        let oid = table.unwrap_or_else(|| oid::relation(schema, name));
        let found = self.relations.get(&oid)?;
        (found.schema == schema && found.name == name).then_some(oid)
    }

    /// Returns the schemas of the search path that exist, `pg_catalog` first if it is to be named.
    pub fn schemas_of_path(&self, with_implicit: bool) -> Vec<String> {
        let exists = |schema: &&String| self.schemas.values().any(|name| name == *schema);
        let implicit = with_implicit && !self.path.iter().any(|schema| schema == PG_CATALOG);
        let first = implicit.then(|| PG_CATALOG.to_string());
        first.into_iter().chain(self.path.iter().filter(exists).cloned()).collect()
    }

    /// Returns a relation's name as `regclass` prints it: with its schema unless it is visible.
    pub fn relation_name(&self, relation: i64) -> Option<String> {
        let object = self.relations.get(&relation)?;
        let name = quote(&object.name);
        Some(match self.is_visible(relation)? {
            true => name,
            false => format!("{}.{name}", quote(&object.schema)),
        })
    }

    /// Returns the OID of a name as `regclass` reads it: a number, or a name with or without its schema.
    pub fn relation_oid(&self, name: &str) -> Option<i64> {
        if let Ok(oid) = name.parse() {
            return Some(oid);
        }
        match split_name(name)?.as_slice() {
            [name] => self.find(name),
            [schema, name] | [_, schema, name] => self.find_in(schema, name),
            _ => None,
        }
    }
}

/// Puts quotes around a name that would not read back without them.
pub fn quote(name: &str) -> String {
    let starts_well = name.starts_with(|c: char| c.is_ascii_lowercase() || c == '_');
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_' || c == '$';
    if starts_well && name.chars().all(plain) {
        return name.to_string();
    }
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// Splits `a."B.c"` into its parts, folding what is not quoted to lower case.
fn split_name(text: &str) -> Option<Vec<String>> {
    let mut parts = vec![String::new()];
    let (mut quoted, mut characters) = (false, text.trim().chars().peekable());
    while let Some(character) = characters.next() {
        let part = parts.last_mut()?;
        match character {
            '"' if quoted && characters.peek() == Some(&'"') => {
                characters.next();
                part.push('"');
            }
            '"' => quoted = !quoted,
            '.' if !quoted => parts.push(String::new()),
            other if quoted => part.push(other),
            other => part.extend(other.to_lowercase()),
        }
    }
    (!quoted).then_some(parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn snapshot() -> Snapshot {
        let path = vec!["public".to_string()];
        let mut snapshot = Snapshot { path, ..Snapshot::default() };
        for (schema, name) in [("public", "trips"), ("nyc", "Zones"), ("pg_catalog", "pg_class")] {
            let object = Object {
                schema: schema.to_string(),
                name: name.to_string(),
                comment: None,
                definition: None,
            };
            let oid = match schema {
                "pg_catalog" => TABLES[name].oid,
                schema => oid::relation(schema, name),
            };
            snapshot.relations.insert(oid, object);
        }
        snapshot
    }

    #[test]
    fn names_are_read_and_printed_as_regclass_does() {
        let snapshot = snapshot();
        let trips = oid::relation("public", "trips");
        let zones = oid::relation("nyc", "Zones");
        assert_eq!(snapshot.relation_oid("Trips"), Some(trips));
        assert_eq!(snapshot.relation_oid("nyc.\"Zones\""), Some(zones));
        assert_eq!(snapshot.relation_oid("nyc.zones"), None);
        assert_eq!(snapshot.relation_oid("42"), Some(42));
        assert!(snapshot.relation_oid("pg_catalog.pg_class").is_some());
        assert_eq!(snapshot.relation_name(trips).as_deref(), Some("trips"));
        assert_eq!(snapshot.relation_name(zones).as_deref(), Some("nyc.\"Zones\""));
        assert_eq!(snapshot.is_visible(zones), Some(false));
        let nyc = Snapshot { path: vec!["nyc".to_string()], ..self::snapshot() };
        assert_eq!(nyc.relation_name(zones).as_deref(), Some("\"Zones\""));
        assert_eq!(nyc.is_visible(trips), Some(false));
    }
}
