//! What drivers ask about the lake: catalogs, schemas, tables, keys.
//!
//! Called by `sql`. Names come from `information_schema` through the client's own session, so a client sees here
//! what its statements see, in one place with what psql is told. A table's columns come from planning a scan of it:
//! `information_schema` has type names only. Only tables that match the request are planned.
//! Tables of a lake have no keys, so those answers are empty.

use super::{status, wire};
use crate::coordinator::{Outcome, Session};
use crate::error::Error;
use arrow::array::{AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow_flight::sql::{
    Command, CommandGetCatalogs, CommandGetDbSchemas, CommandGetTableTypes, CommandGetTables,
};
use datafusion::error::DataFusionError;
use futures::TryStreamExt;
use std::sync::Arc;
use tonic::Status;

/// The types a table may have.
const TABLE_TYPES: [&str; 3] = ["TABLE", "VIEW", "SYSTEM TABLE"];

/// Schemas whose tables the server makes up.
const SYSTEM_SCHEMAS: [&str; 3] = ["information_schema", "pg_catalog", "system"];

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
/// What reading `information_schema` gives; so for the others.
pub async fn catalogs(query: CommandGetCatalogs, session: &Session) -> Result<RecordBatch, Status> {
    let sql = "SELECT DISTINCT catalog_name FROM information_schema.schemata";
    let mut builder = query.into_builder();
    for [catalog] in names(session, sql).await? {
        builder.append(catalog);
    }
    Ok(builder.build()?)
}

/// Returns the schemas that match.
pub async fn schemas(query: CommandGetDbSchemas, session: &Session) -> Result<RecordBatch, Status> {
    let sql = "SELECT catalog_name, schema_name FROM information_schema.schemata";
    let mut builder = query.into_builder();
    for [catalog, schema] in names(session, sql).await? {
        builder.append(catalog, schema);
    }
    Ok(builder.build()?)
}

/// Returns the tables that match, with their columns when those are asked for.
pub async fn tables(query: CommandGetTables, session: &Session) -> Result<RecordBatch, Status> {
    let sql = "SELECT table_catalog, table_schema, table_name, table_type \
               FROM information_schema.tables";
    let with_columns = query.include_schema;
    let filter = TableFilter::new(&query);
    let mut builder = query.into_builder();
    for [catalog, schema, table, kind] in names(session, sql).await? {
        let kind = table_type(&schema, &kind);
        if !filter.matches(&catalog, &schema, &table, kind) {
            continue;
        }
        let columns = match with_columns {
            true => match columns(session, &catalog, &schema, &table).await {
                Some(columns) => columns,
                None => continue,
            },
            false => Arc::new(Schema::empty()),
        };
        builder.append(catalog, schema, table, kind, &columns)?;
    }
    Ok(builder.build()?)
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

/// Runs a query for `N` columns of names and returns its rows.
async fn names<const N: usize>(session: &Session, sql: &str) -> Result<Vec<[String; N]>, Status> {
    read_names(session, sql).await.map_err(|error| status::from_error(&error))
}

/// Runs a query for `N` columns of names and returns its rows.
async fn read_names<const N: usize>(
    session: &Session,
    sql: &str,
) -> Result<Vec<[String; N]>, Error> {
    let Outcome::Rows(rows) = session.execute(sql).await? else {
        return Ok(Vec::new());
    };
    let batches: Vec<RecordBatch> = rows.stream.try_collect().await?;
    let mut names = Vec::new();
    for batch in &batches {
        let columns = batch.columns().iter().map(|column| cast(column, &DataType::Utf8));
        let columns = columns.collect::<Result<Vec<_>, _>>().map_err(DataFusionError::from)?;
        let cell = |column: usize, row| columns[column].as_string::<i32>().value(row).to_string();
        names.extend((0..batch.num_rows()).map(|row| std::array::from_fn(|idx| cell(idx, row))));
    }
    Ok(names)
}

/// Returns the columns of a table, or `None` when it cannot be read: it may have been dropped since it was listed,
/// and one broken table must not hide the others.
async fn columns(session: &Session, catalog: &str, schema: &str, table: &str) -> Option<SchemaRef> {
    let [catalog, schema, table] = [catalog, schema, table].map(|name| name.replace('"', "\"\""));
    let sql = format!("SELECT * FROM \"{catalog}\".\"{schema}\".\"{table}\"");
    let planned = match session.parse(&sql).as_deref() {
        Ok([statement]) => session.prepare(statement).await,
        _ => return None,
    };
    match planned {
        Ok(prepared) => prepared.schema.map(|schema| wire::wire_schema(&schema)),
        Err(error) => {
            tracing::warn!(%error, table, "table left out of the listing, it cannot be read");
            None
        }
    }
}

/// Returns the type of a table for a client.
fn table_type(schema: &str, kind: &str) -> &'static str {
    match kind {
        _ if SYSTEM_SCHEMAS.contains(&schema) => "SYSTEM TABLE",
        "VIEW" => "VIEW",
        _ => "TABLE",
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

    #[test]
    fn system_tables_are_told_apart() {
        assert_eq!(table_type("pg_catalog", "BASE TABLE"), "SYSTEM TABLE");
        assert_eq!(table_type("information_schema", "VIEW"), "SYSTEM TABLE");
        assert_eq!(table_type("public", "VIEW"), "VIEW");
        assert_eq!(table_type("public", "BASE TABLE"), "TABLE");
    }
}
