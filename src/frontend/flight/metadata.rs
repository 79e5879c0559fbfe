//! What drivers ask about the lake: catalogs, schemas, tables, keys.
//!
//! Called by `sql`. Names come from the lake's own listing, which reads no columns; the columns of a table are read
//! only when they are asked for and the table matches the request. Tables that the server makes up
//! (`information_schema`) are not listed. Tables of a lake have no keys, so those answers are empty.

use super::{status, wire};
use crate::error::Error;
use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow_flight::sql::{
    Command, CommandGetCatalogs, CommandGetDbSchemas, CommandGetTableTypes, CommandGetTables,
};
use datafusion::error::DataFusionError;
use futures::future::BoxFuture;
use saltlake_catalog::{Database, Lake, Relation, RelationKind};
use std::sync::Arc;
use tonic::Status;

/// The types a table may have.
const TABLE_TYPES: [&str; 2] = ["TABLE", "VIEW"];

/// Returns the schema of the answer to a command about the lake, or `None` for another command.
pub fn schema_of(command: &Command) -> Option<SchemaRef> {
    match command {
        Command::CommandGetCatalogs(query) => Some(query.into_builder().schema()),
        Command::CommandGetDbSchemas(query) => Some(query.clone().into_builder().schema()),
        Command::CommandGetTables(query) => Some(query.clone().into_builder().schema()),
        Command::CommandGetTableTypes(query) => Some(query.into_builder().schema()),
        Command::CommandGetPrimaryKeys(_) => Some(primary_keys_schema()),
        Command::CommandGetExportedKeys(_)
        | Command::CommandGetImportedKeys(_)
        | Command::CommandGetCrossReference(_) => Some(foreign_keys_schema()),
        _ => None,
    }
}

/// Returns the catalogs.
///
/// # Errors
/// When the lake's definitions cannot be read.
pub fn catalogs(
    query: CommandGetCatalogs,
    lake: &Arc<Lake>,
) -> BoxFuture<'_, Result<RecordBatch, Status>> {
    Box::pin(async move {
        let mut builder = query.into_builder();
        for database in Database::all(lake).await.map_err(not_listed)? {
            builder.append(database.catalog_name());
        }
        Ok(builder.build()?)
    })
}

/// Returns the schemas that match.
///
/// # Errors
/// When the lake cannot be listed.
pub fn schemas(
    query: CommandGetDbSchemas,
    lake: &Arc<Lake>,
) -> BoxFuture<'_, Result<RecordBatch, Status>> {
    Box::pin(async move {
        let databases = wanted(lake, query.catalog.as_deref()).await?;
        let mut builder = query.into_builder();
        for database in databases {
            for schema in unless_down(&database, database.schemas().await)? {
                builder.append(database.catalog_name(), schema);
            }
        }
        Ok(builder.build()?)
    })
}

/// Returns the tables that match, with their columns when those are asked for.
///
/// # Errors
/// When the lake cannot be listed.
pub fn tables(
    query: CommandGetTables,
    lake: &Arc<Lake>,
) -> BoxFuture<'_, Result<RecordBatch, Status>> {
    Box::pin(async move {
        let with_columns = query.include_schema;
        let filter = TableFilter::new(&query);
        let mut relations = vec![];
        for database in wanted(lake, query.catalog.as_deref()).await? {
            let listed = unless_down(&database, database.relations().await)?;
            relations.extend(listed.into_iter().map(|relation| (database.clone(), relation)));
        }
        let mut builder = query.into_builder();
        for (database, relation) in relations {
            let catalog = database.catalog_name();
            let kind = table_type(relation.kind);
            if !filter.matches(catalog, &relation.schema, &relation.name, kind) {
                continue;
            }
            let columns = if with_columns { columns(&database, &relation).await } else { None };
            let columns = match columns {
                Some(columns) => columns,
                // One table that cannot be read must not hide the others, nor be hidden itself.
                None => Arc::new(Schema::empty()),
            };
            builder.append(catalog, relation.schema, relation.name, kind, &columns)?;
        }
        Ok(builder.build()?)
    })
}

/// Returns the table types.
///
/// # Errors
/// When the answer cannot be built.
pub fn table_types(query: CommandGetTableTypes) -> Result<RecordBatch, Status> {
    let mut builder = query.into_builder();
    TABLE_TYPES.into_iter().for_each(|kind| builder.append(kind));
    Ok(builder.build()?)
}

/// Returns the schema of the answer about primary keys.
pub fn primary_keys_schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("catalog_name", DataType::Utf8, true),
        Field::new("db_schema_name", DataType::Utf8, true),
        Field::new("table_name", DataType::Utf8, false),
        Field::new("column_name", DataType::Utf8, false),
        Field::new("key_name", DataType::Utf8, true),
        Field::new("key_sequence", DataType::Int32, false),
    ]))
}

/// Returns the schema of the answers about foreign keys: exported, imported, and between two tables.
pub fn foreign_keys_schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("pk_catalog_name", DataType::Utf8, true),
        Field::new("pk_db_schema_name", DataType::Utf8, true),
        Field::new("pk_table_name", DataType::Utf8, false),
        Field::new("pk_column_name", DataType::Utf8, false),
        Field::new("fk_catalog_name", DataType::Utf8, true),
        Field::new("fk_db_schema_name", DataType::Utf8, true),
        Field::new("fk_table_name", DataType::Utf8, false),
        Field::new("fk_column_name", DataType::Utf8, false),
        Field::new("key_sequence", DataType::Int32, false),
        Field::new("fk_key_name", DataType::Utf8, true),
        Field::new("pk_key_name", DataType::Utf8, true),
        Field::new("update_rule", DataType::UInt8, false),
        Field::new("delete_rule", DataType::UInt8, false),
    ]))
}

/// Returns the catalogs that a request is about.
async fn wanted(lake: &Arc<Lake>, catalog: Option<&str>) -> Result<Vec<Database>, Status> {
    let mut all = Database::all(lake).await.map_err(not_listed)?;
    all.retain(|database| catalog.is_none_or(|wanted| wanted == database.catalog_name()));
    Ok(all)
}

/// A catalog service that is down must not hide the lake.
fn unless_down<T>(
    database: &Database,
    listed: saltlake_catalog::Result<Vec<T>>,
) -> Result<Vec<T>, Status> {
    match listed {
        Err(error) if !database.is_lake() => {
            tracing::warn!(%error, catalog = database.catalog_name(), "catalog not listed");
            Ok(vec![])
        }
        listed => listed.map_err(not_listed),
    }
}

/// Returns the status of a lake that cannot be listed.
fn not_listed(error: saltlake_catalog::Error) -> Status {
    status::from_error(&Error::from(DataFusionError::from(error)))
}

/// Returns the columns of a relation, or `None` when they cannot be read: its files may be broken, or it may have been
/// dropped since it was listed.
async fn columns(lake: &Database, relation: &Relation) -> Option<SchemaRef> {
    match lake.relation_provider(&relation.schema, &relation.name).await {
        Ok(provider) => Some(wire::wire_schema(&provider?.schema())),
        Err(error) => {
            tracing::warn!(%error, table = relation.name, "table listed without its columns");
            None
        }
    }
}

/// Returns the type of a relation for a client.
fn table_type(kind: RelationKind) -> &'static str {
    match kind {
        RelationKind::Table => "TABLE",
        RelationKind::View => "VIEW",
    }
}

/// Which tables a request asks for.
struct TableFilter {
    catalog: Option<String>,
    schema: Option<String>,
    table: Option<String>,
    kinds: Vec<String>,
}

impl TableFilter {
    /// Returns the filter of a request.
    fn new(query: &CommandGetTables) -> Self {
        Self {
            catalog: query.catalog.clone(),
            schema: query.db_schema_filter_pattern.clone(),
            table: query.table_name_filter_pattern.clone(),
            kinds: query.table_types.clone(),
        }
    }

    /// Returns whether a table passes. What is not given does not narrow the search.
    fn matches(&self, catalog: &str, schema: &str, table: &str, kind: &str) -> bool {
        self.catalog.as_deref().is_none_or(|wanted| wanted == catalog)
            && self.schema.as_deref().is_none_or(|pattern| like(schema, pattern))
            && self.table.as_deref().is_none_or(|pattern| like(table, pattern))
            && (self.kinds.is_empty() || self.kinds.iter().any(|wanted| wanted == kind))
    }
}

/// Returns whether `text` matches a pattern in which `%` stands for any text and `_` for one character.
///
/// Only the last `%` is ever widened, so the time is at most the product of the two lengths.
fn like(text: &str, pattern: &str) -> bool {
    let (text, pattern): (Vec<char>, Vec<char>) =
        (text.chars().collect(), pattern.chars().collect());
    let (mut at, mut with) = (0, 0);
    let mut widened: Option<(usize, usize)> = None;
    while at < text.len() {
        match pattern.get(with) {
            Some('%') => {
                widened = Some((at, with + 1));
                with += 1;
            }
            Some(wanted) if *wanted == '_' || *wanted == text[at] => {
                (at, with) = (at + 1, with + 1)
            }
            _ => {
                let Some((start, after)) = widened else { return false };
                widened = Some((start + 1, after));
                (at, with) = (start + 1, after);
            }
        }
    }
    pattern[with..].iter().all(|rest| *rest == '%')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_as_in_sql() {
        for (text, pattern, expected) in [
            ("trips", "trips", true),
            ("trips", "%", true),
            ("", "%", true),
            ("trips", "t_ip%", true),
            ("trips", "%s", true),
            ("trips", "%x%", false),
            ("trips", "trip", false),
            ("größe", "gr__e", true),
            ("aXbXc", "a%X%c", true),
            ("aXbXcd", "a%X%c", false),
            ("trips", "", false),
        ] {
            assert_eq!(like(text, pattern), expected, "{text} LIKE {pattern}");
        }
    }

    #[test]
    fn a_filter_without_parts_passes_all() {
        let all = TableFilter::new(&CommandGetTables::default());
        assert!(all.matches("lake", "public", "trips", "TABLE"));
        let some = TableFilter::new(&CommandGetTables {
            catalog: Some("lake".into()),
            table_types: vec!["VIEW".into()],
            ..Default::default()
        });
        assert!(some.matches("lake", "public", "trips", "VIEW"));
        assert!(!some.matches("lake", "public", "trips", "TABLE"));
        assert!(!some.matches("other", "public", "trips", "VIEW"));
    }
}
