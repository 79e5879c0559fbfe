//! Rows of the `pg_catalog` tables that have any here, built anew for each use.
//!
//! A row names only the columns that differ from the default of their type (zero, false, empty text, null), which is
//! what PostgreSQL's own bootstrap data does. Values come from the lake, never from a copy of it.

mod session;

use super::functions::Context;
use super::oid;
use super::tables::{Column, TABLES, Table};
use crate::coordinator::Wanted;
use crate::frontend::pg::types::{self, ColumnType, PgType, TYPES};
use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions, new_null_array};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, SchemaRef};
use datafusion::common::internal_datafusion_err;
use datafusion::error::Result;
use datafusion::scalar::ScalarValue;
use futures::{StreamExt, stream};
use saltlake_catalog::{Database, Description, Names, Relation, RelationKind, description_of};
use std::sync::Arc;

/// Relations whose columns are read at the same time.
const READ_CONCURRENCY: usize = 32;

/// A row under construction: column name to value.
type Row = Vec<(&'static str, ScalarValue)>;

/// Names of the tables that may have rows.
pub const FILLED: [&str; 17] = [
    "pg_am",
    "pg_attribute",
    "pg_class",
    "pg_cursors",
    "pg_database",
    "pg_description",
    "pg_language",
    "pg_namespace",
    "pg_prepared_statements",
    "pg_roles",
    "pg_settings",
    "pg_stat_activity",
    "pg_tables",
    "pg_tablespace",
    "pg_type",
    "pg_user",
    "pg_views",
];

/// Those of them whose rows are the same as long as the lake's names are.
pub const OF_NAMES: [&str; 5] =
    ["pg_class", "pg_description", "pg_namespace", "pg_tables", "pg_type"];

/// Returns the rows of a table with the columns of `schema`; tables outside [`FILLED`] have none.
///
/// # Errors
/// When the lake cannot be read.
pub async fn read(
    table: &Table,
    schema: &SchemaRef,
    wanted: &Wanted,
    names: &Names,
    lake: &Database,
    context: &Context,
) -> Result<RecordBatch> {
    let user = &context.user;
    let rows = match table.name {
        "pg_am" => vec![access_method()],
        "pg_attribute" => attributes(wanted, names, lake, context).await,
        "pg_class" => classes(wanted, names, lake).await,
        "pg_cursors" => session::cursors(context),
        "pg_database" => lake.all_names().await?.iter().map(|name| database(name)).collect(),
        "pg_description" => descriptions(wanted, names, lake).await,
        "pg_language" => vec![language()],
        "pg_namespace" => namespaces(names),
        "pg_prepared_statements" => session::prepared_statements(context),
        "pg_roles" => vec![role(user)],
        "pg_user" => vec![role_of_user(user)],
        "pg_settings" => session::settings(context),
        "pg_stat_activity" => session::activity(context),
        "pg_tables" => tables(names, user),
        "pg_tablespace" => tablespaces(),
        "pg_type" => all_types(),
        "pg_views" => views(wanted, names, lake, user).await,
        _ => Vec::new(),
    };
    batch(table, schema, &rows)
}

fn text(value: &str) -> ScalarValue {
    ScalarValue::from(value)
}

fn int(value: i64) -> ScalarValue {
    ScalarValue::from(value)
}

fn yes() -> ScalarValue {
    ScalarValue::from(true)
}

fn access_method() -> Row {
    vec![("oid", int(oid::ACCESS_METHOD)), ("amname", text("lake")), ("amtype", text("t"))]
}

fn language() -> Row {
    let owner = ("lanowner", int(oid::OWNER));
    vec![("oid", int(14)), ("lanname", text("sql")), owner, ("lanpltrusted", yes())]
}

fn database(name: &str) -> Row {
    vec![
        ("oid", int(oid::database(name))),
        ("datname", text(name)),
        ("datdba", int(oid::OWNER)),
        ("encoding", int(6)),
        ("datlocprovider", text("c")),
        ("datallowconn", yes()),
        ("datconnlimit", int(-1)),
        ("dattablespace", int(oid::TABLESPACE)),
        ("datcollate", text("C.UTF-8")),
        ("datctype", text("C.UTF-8")),
    ]
}

fn role(user: &str) -> Row {
    vec![
        ("oid", int(oid::OWNER)),
        ("rolname", text(user)),
        ("rolinherit", yes()),
        ("rolcanlogin", yes()),
        ("rolconnlimit", int(-1)),
    ]
}

fn role_of_user(user: &str) -> Row {
    vec![("usename", text(user)), ("usesysid", int(oid::OWNER))]
}

fn tablespaces() -> Vec<Row> {
    let tablespace =
        |oid, name| vec![("oid", int(oid)), ("spcname", text(name)), ("spcowner", int(oid::OWNER))];
    vec![tablespace(oid::TABLESPACE, "pg_default"), tablespace(1664, "pg_global")]
}

fn namespaces(names: &Names) -> Vec<Row> {
    let mut names = names.schemas.clone();
    for fixed in ["public", "pg_catalog", "information_schema"] {
        if !names.iter().any(|name| name == fixed) {
            names.push(fixed.to_string());
        }
    }
    let row = |name: &String| {
        vec![
            ("oid", int(oid::schema(name))),
            ("nspname", text(name)),
            ("nspowner", int(oid::OWNER)),
        ]
    };
    names.iter().map(row).collect()
}

/// Comments that statements set. Those in the metadata of tables are shown of tables that are asked for: a list of all
/// comments must not load all tables.
async fn descriptions(wanted: &Wanted, names: &Names, lake: &Database) -> Vec<Row> {
    let row = |class: &str, object: i64, column: usize, comment: &str| {
        vec![
            ("objoid", int(object)),
            ("classoid", int(TABLES[class].oid)),
            ("objsubid", int(column as i64)),
            ("description", text(comment)),
        ]
    };
    let schemas = names.comments.schemas();
    let mut rows: Vec<Row> =
        schemas.map(|(name, text)| row("pg_namespace", oid::schema(name), 0, text)).collect();
    for relation in &names.relations {
        let oid = oid::relation(&relation.schema, &relation.name);
        if !wanted.allows_int("objoid", oid) {
            continue;
        }
        let has_columns = names.comments.columns(&relation.schema, &relation.name).is_some();
        let loaded = match has_columns || wanted.names("objoid") {
            true => load(lake, relation).await,
            false => None,
        };
        let described = loaded.as_ref().and_then(|loaded| loaded.described.comment.as_ref());
        if let Some(comment) = relation.comment.as_ref().or(described) {
            rows.push(row("pg_class", oid, 0, comment));
        }
        let columns = loaded.map(|loaded| column_comments(names, relation, &loaded));
        for (idx, comment) in columns.into_iter().flatten().enumerate() {
            rows.extend(comment.map(|comment| row("pg_class", oid, idx + 1, &comment)));
        }
    }
    rows
}

/// Returns the comment on each column of a relation, in their order.
fn column_comments(names: &Names, relation: &Relation, loaded: &Loaded) -> Vec<Option<String>> {
    let set = names.comments.columns(&relation.schema, &relation.name);
    let comment = |field: &Arc<Field>| {
        let set = set.and_then(|columns| columns.get(field.name()));
        set.or_else(|| loaded.described.columns.get(field.name())).cloned()
    };
    loaded.schema.fields().iter().map(comment).collect()
}

fn relkind(relation: &Relation) -> &'static str {
    match relation.kind {
        RelationKind::Table => "r",
        RelationKind::View => "v",
    }
}

fn tables(names: &Names, user: &str) -> Vec<Row> {
    let mut rows: Vec<Row> = Vec::new();
    let row = |schema: &str, name: &str| {
        vec![
            ("schemaname", text(schema)),
            ("tablename", text(name)),
            ("tableowner", text(user)),
            ("hasindexes", false.into()),
        ]
    };
    for relation in &names.relations {
        if relation.kind == RelationKind::Table {
            rows.push(row(&relation.schema, &relation.name));
        }
    }
    rows.extend(TABLES.values().filter(|t| t.kind == "r").map(|t| row("pg_catalog", t.name)));
    rows
}

async fn views(wanted: &Wanted, names: &Names, lake: &Database, user: &str) -> Vec<Row> {
    let mut rows: Vec<Row> = Vec::new();
    let is_asked = |relation: &&Relation| {
        wanted.allows_text("schemaname", &relation.schema)
            && wanted.allows_text("viewname", &relation.name)
    };
    for relation in names.relations.iter().filter(is_asked) {
        if relation.kind == RelationKind::View {
            let definition = definition(lake, relation).await.unwrap_or_default();
            rows.push(vec![
                ("schemaname", text(&relation.schema)),
                ("viewname", text(&relation.name)),
                ("viewowner", text(user)),
                ("definition", text(&definition)),
            ]);
        }
    }
    rows
}

/// Returns a view's query as SQL text; `None` for a table and for a view that cannot be planned now.
pub async fn definition(lake: &Database, relation: &Relation) -> Option<String> {
    let provider = lake.relation_provider(&relation.schema, &relation.name).await.ok()??;
    provider.get_table_definition().map(str::to_string)
}

async fn classes(wanted: &Wanted, names: &Names, lake: &Database) -> Vec<Row> {
    let mut rows: Vec<Row> = Vec::new();
    let is_asked =
        |oid, name: &str| wanted.allows_int("oid", oid) && wanted.allows_text("relname", name);
    for relation in &names.relations {
        let oid = oid::relation(&relation.schema, &relation.name);
        if !is_asked(oid, &relation.name) {
            continue;
        }
        // Numbers of columns and rows are only worth loading when the query is about this one relation.
        let loaded = match wanted.names("oid") {
            true => load(lake, relation).await,
            false => None,
        };
        let n_columns = loaded.as_ref().map_or(0, |loaded| loaded.schema.fields().len());
        let n_rows = loaded.and_then(|loaded| loaded.described.n_rows);
        let schema = oid::schema(&relation.schema);
        rows.push(class(oid, &relation.name, schema, relkind(relation), n_columns, n_rows));
    }
    for table in TABLES.values().filter(|table| is_asked(table.oid, table.name)) {
        let n_columns = table.columns.len();
        rows.push(class(table.oid, table.name, oid::PG_CATALOG, table.kind, n_columns, None));
    }
    rows
}

fn class(
    oid: i64,
    name: &str,
    schema: i64,
    kind: &str,
    n_columns: usize,
    n_rows: Option<u64>,
) -> Row {
    let is_table = kind == "r";
    // A view has none, and of a table PostgreSQL says so when it does not know.
    let n_rows = n_rows.map_or(if is_table { -1.0 } else { 0.0 }, |n_rows| n_rows as f32);
    vec![
        ("oid", int(oid)),
        ("relname", text(name)),
        ("relnamespace", int(schema)),
        ("relowner", int(oid::OWNER)),
        ("relam", int(if is_table { oid::ACCESS_METHOD } else { 0 })),
        ("reltuples", ScalarValue::from(n_rows)),
        ("relkind", text(kind)),
        ("relpersistence", text("p")),
        ("relnatts", int(n_columns as i64)),
        ("relhasrules", ScalarValue::from(!is_table)),
        ("relispopulated", yes()),
        ("relreplident", text(if is_table { "d" } else { "n" })),
    ]
}

/// What loading a relation shows of it.
struct Loaded {
    schema: SchemaRef,
    described: Description,
}

async fn load(lake: &Database, relation: &Relation) -> Option<Loaded> {
    match lake.relation_provider(&relation.schema, &relation.name).await {
        Ok(provider) => {
            let provider = provider?;
            Some(Loaded { schema: provider.schema(), described: description_of(&provider) })
        }
        Err(error) => {
            // One unreadable table must not hide all the others.
            tracing::warn!(schema = relation.schema, table = relation.name, %error, "columns unknown");
            None
        }
    }
}

async fn attributes(
    wanted: &Wanted,
    names: &Names,
    lake: &Database,
    context: &Context,
) -> Vec<Row> {
    let mut rows = Vec::new();
    let oid_of = |relation: &Relation| oid::relation(&relation.schema, &relation.name);
    let asked = names.relations.iter().filter(|r| wanted.allows_int("attrelid", oid_of(r)));
    let loads: Vec<_> = asked.map(|relation| read_columns(lake, relation)).collect();
    let mut loads = stream::iter(loads).buffered(READ_CONCURRENCY);
    while let Some((relation, loaded)) = loads.next().await {
        let Some(loaded) = loaded else { continue };
        let (oid, is_table) = (oid_of(relation), relation.kind == RelationKind::Table);
        context.latest.note_columns(oid, column_comments(names, relation, &loaded));
        let fields = loaded.schema.fields().iter().enumerate();
        rows.extend(fields.map(|(idx, field)| lake_attribute(oid, idx, field, is_table)));
    }
    for table in TABLES.values().filter(|table| wanted.allows_int("attrelid", table.oid)) {
        let columns = table.columns.iter().enumerate();
        rows.extend(columns.map(|(idx, column)| catalog_attribute(table.oid, idx, column)));
    }
    rows
}

async fn read_columns<'a>(
    lake: &Database,
    relation: &'a Relation,
) -> (&'a Relation, Option<Loaded>) {
    (relation, load(lake, relation).await)
}

/// A view's columns say nothing about NULL, as in PostgreSQL.
fn lake_attribute(relation: i64, idx: usize, field: &Field, is_table: bool) -> Row {
    let not_null = is_table && !field.is_nullable();
    attribute(relation, idx, field.name(), types::of_field(field), not_null)
}

fn catalog_attribute(relation: i64, idx: usize, column: &Column) -> Row {
    let base = types::by_name(column.element()).unwrap_or(&types::TEXT);
    let ty = ColumnType { base, is_array: column.is_array(), typmod: -1 };
    attribute(relation, idx, column.name, ty, column.not_null)
}

fn attribute(relation: i64, idx: usize, name: &str, ty: ColumnType, not_null: bool) -> Row {
    vec![
        ("attrelid", int(relation)),
        ("attname", text(name)),
        ("atttypid", int(i64::from(ty.oid()))),
        ("attstattarget", int(-1)),
        ("attlen", int(i64::from(ty.byte_len()))),
        ("attnum", int(idx as i64 + 1)),
        ("attndims", int(i64::from(ty.is_array))),
        ("attcacheoff", int(-1)),
        ("atttypmod", int(i64::from(ty.typmod))),
        ("attbyval", ScalarValue::from(is_by_value(ty.byte_len()))),
        ("attalign", text("i")),
        ("attstorage", text(storage(ty.base, ty.is_array))),
        ("attnotnull", ScalarValue::from(not_null)),
        ("attislocal", yes()),
        ("attcollation", int(collation(ty.base))),
    ]
}

fn is_by_value(len: i16) -> bool {
    matches!(len, 1 | 2 | 4 | 8)
}

/// `p` plain, `m` main, `x` extended: how PostgreSQL would store such a value.
fn storage(base: &PgType, is_array: bool) -> &'static str {
    match base.name {
        _ if is_array => "x",
        "numeric" => "m",
        _ if base.len < 0 => "x",
        _ => "p",
    }
}

fn collation(base: &PgType) -> i64 {
    if base.category == "S" { oid::COLLATION } else { 0 }
}

fn all_types() -> Vec<Row> {
    TYPES
        .iter()
        .flat_map(|base| {
            let array = (base.array_oid != 0).then(|| array_type(base));
            [Some(base_type(base)), array].into_iter().flatten()
        })
        .collect()
}

fn base_type(base: &PgType) -> Row {
    let kind = if base == &types::UNKNOWN { "p" } else { "b" };
    let mut row = type_row(base.oid, base.name, base.len, kind, base.category);
    row.extend([
        ("typarray", int(i64::from(base.array_oid))),
        ("typinput", text(&function_name(base, "in"))),
        ("typoutput", text(&function_name(base, "out"))),
        ("typreceive", text(&function_name(base, "recv"))),
        ("typsend", text(&function_name(base, "send"))),
        ("typbyval", ScalarValue::from(is_by_value(base.len))),
        ("typstorage", text(storage(base, false))),
        ("typcollation", int(collation(base))),
    ]);
    row
}

fn array_type(base: &PgType) -> Row {
    let mut row = type_row(base.array_oid, &format!("_{}", base.name), -1, "b", "A");
    row.extend([
        ("typelem", int(i64::from(base.oid))),
        ("typsubscript", text("array_subscript_handler")),
        ("typinput", text("array_in")),
        ("typoutput", text("array_out")),
        ("typreceive", text("array_recv")),
        ("typsend", text("array_send")),
        ("typstorage", text("x")),
        ("typcollation", int(collation(base))),
    ]);
    row
}

fn type_row(oid: u32, name: &str, len: i16, kind: &str, category: &str) -> Row {
    vec![
        ("oid", int(i64::from(oid))),
        ("typname", text(name)),
        ("typnamespace", int(oid::PG_CATALOG)),
        ("typowner", int(oid::OWNER)),
        ("typlen", int(i64::from(len))),
        ("typtype", text(kind)),
        ("typcategory", text(category)),
        ("typisdefined", yes()),
        ("typdelim", text(",")),
        ("typalign", text("i")),
        ("typtypmod", int(-1)),
    ]
}

/// PostgreSQL's newer types put an underscore before `in`, `out`, `recv` and `send`.
fn function_name(base: &PgType, what: &str) -> String {
    let joined =
        ["date", "time", "timestamp", "timestamptz", "interval", "numeric", "json", "jsonb"];
    let with_underscore = joined.contains(&base.name) || base.name == "uuid";
    format!("{}{}{what}", base.name, if with_underscore { "_" } else { "" })
}

/// Builds the batch column by column; what a row does not name gets the default of its type.
fn batch(table: &Table, schema: &SchemaRef, rows: &[Row]) -> Result<RecordBatch> {
    let column = |field: &Arc<Field>| {
        let column = table.columns.iter().find(|column| column.name == field.name());
        let column =
            column.ok_or_else(|| internal_datafusion_err!("no column {}", field.name()))?;
        array(column, field, rows)
    };
    let columns = schema.fields().iter().map(column).collect::<Result<Vec<_>>>()?;
    let options = RecordBatchOptions::new().with_row_count(Some(rows.len()));
    Ok(RecordBatch::try_new_with_options(schema.clone(), columns, &options)?)
}

fn array(column: &Column, field: &Field, rows: &[Row]) -> Result<ArrayRef> {
    if rows.is_empty() {
        return Ok(new_null_array(field.data_type(), 0));
    }
    let default = default_value(column, field.data_type())?;
    // Rows of one kind name their columns in one order.
    let position = rows[0].iter().position(|(name, _)| *name == column.name);
    let is_column = |(name, _): &&(&'static str, ScalarValue)| *name == column.name;
    let value_of = |row: &Row| -> Result<ScalarValue> {
        let expected = position.and_then(|position| row.get(position)).filter(is_column);
        match expected.or_else(|| row.iter().find(is_column)) {
            Some((_, value)) if value.data_type() == *field.data_type() => Ok(value.clone()),
            Some((_, value)) => value.cast_to(field.data_type()),
            None => Ok(default.clone()),
        }
    };
    let values = rows.iter().map(value_of).collect::<Result<Vec<_>>>()?;
    let array = ScalarValue::iter_to_array(values)?;
    match array.data_type() == field.data_type() {
        true => Ok(array),
        false => Ok(cast(&array, field.data_type())?),
    }
}

fn default_value(column: &Column, data_type: &DataType) -> Result<ScalarValue> {
    if !column.not_null {
        // Views declare nothing, so their numbers and flags keep the default of their type as well.
        return match data_type {
            DataType::Boolean => Ok(ScalarValue::from(false)),
            _ => ScalarValue::try_from(data_type),
        };
    }
    match data_type {
        DataType::Utf8 if column.type_name == "regproc" => Ok(ScalarValue::from("-")),
        DataType::Utf8 => Ok(ScalarValue::from("")),
        DataType::List(field) => {
            Ok(ScalarValue::List(ScalarValue::new_list_nullable(&[], field.data_type())))
        }
        other => ScalarValue::new_zero(other),
    }
}
