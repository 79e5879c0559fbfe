//! The lake's relations at one moment, for functions that cannot wait for the lake.
//!
//! Functions run inside operators, where nothing may block. So a statement's names are listed before it is planned, and
//! again by every scan of a catalog table; functions read what was listed last.

use super::oid;
use super::tables::TABLES;
use datafusion::error::Result;
use parking_lot::Mutex;
use saltlake_catalog::{Lake, Relation, RelationKind};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The schema that is searched before the search path.
const PG_CATALOG: &str = "pg_catalog";

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
    /// Tables and views, those of `pg_catalog` included.
    pub relations: BTreeMap<i64, Object>,
    /// Names of schemas.
    pub schemas: BTreeMap<i64, String>,
    /// Schemas a name without one is looked for in, after `pg_catalog`.
    pub path: Vec<String>,
}

/// Where the newest snapshot of one connection is.
#[derive(Debug, Default)]
pub struct Latest(Mutex<Arc<Snapshot>>);

impl Latest {
    /// Returns the newest snapshot; before the first it is empty.
    pub fn get(&self) -> Arc<Snapshot> {
        Arc::clone(&self.0.lock())
    }

    /// Replaces the snapshot.
    pub fn set(&self, snapshot: Snapshot) {
        *self.0.lock() = Arc::new(snapshot);
    }
}

impl Snapshot {
    /// Lists the lake; `with_definitions` also reads the queries of views, which costs planning each.
    ///
    /// # Errors
    /// When the lake cannot be read.
    pub async fn read(lake: &Lake, path: Vec<String>, with_definitions: bool) -> Result<Self> {
        let mut snapshot = Self { path, ..Self::default() };
        for schema in lake.schemas().await? {
            snapshot.schemas.insert(oid::schema(&schema), schema);
        }
        for schema in ["public", "pg_catalog", "information_schema"] {
            snapshot.schemas.insert(oid::schema(schema), schema.to_string());
        }
        for relation in lake.relations().await? {
            let definition = match relation.kind {
                RelationKind::View if with_definitions => {
                    super::rows::definition(lake, &relation).await
                }
                _ => None,
            };
            let Relation { schema, name, comment, .. } = relation;
            let oid = oid::relation(&schema, &name);
            snapshot.relations.insert(oid, Object { schema, name, comment, definition });
        }
        for table in TABLES.values() {
            let (schema, name) = ("pg_catalog".to_string(), table.name.to_string());
            let object = Object { schema, name, comment: None, definition: None };
            snapshot.relations.insert(table.oid, object);
        }
        Ok(snapshot)
    }

    /// Returns whether a relation can be named without its schema.
    pub fn is_visible(&self, relation: i64) -> Option<bool> {
        let object = self.relations.get(&relation)?;
        Some(self.relation_oid(&quote(&object.name)) == Some(relation))
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
        let parts = split_name(name)?;
        let matches = |schema: &str, name: &str| {
            let table = TABLES.get(name).filter(|_| schema == PG_CATALOG).map(|table| table.oid);
            let oid = table.unwrap_or_else(|| oid::relation(schema, name));
            let found = self.relations.get(&oid)?;
            (found.schema == schema && found.name == name).then_some(oid)
        };
        match parts.as_slice() {
            [name] => {
                let path = self.path.iter().map(String::as_str);
                std::iter::once(PG_CATALOG).chain(path).find_map(|schema| matches(schema, name))
            }
            [schema, name] | [_, schema, name] => matches(schema, name),
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
        let nyc = Snapshot { path: vec!["nyc".to_string()], ..snapshot };
        assert_eq!(nyc.relation_name(zones).as_deref(), Some("\"Zones\""));
        assert_eq!(nyc.is_visible(trips), Some(false));
    }
}
