//! Temporary tables and views: made by one session, seen by it alone, gone when it ends.
//!
//! Called by `Session`. They are the schema `pg_temp`, which a name without a schema is looked up in first. A table is
//! a folder of Parquet files under the lake's own, so that workers read it like any other; each statement that writes
//! adds one file, whole or not at all. A view over them is temporary too, as in PostgreSQL.
//! Limits: no constraints but NOT NULL, no defaults, no UPDATE or DELETE. A server that is killed leaves the folder behind.

use super::command::parts;
use super::metadata_columns;
use super::names::TEMPORARY_SCHEMA;
use super::session::{Outcome, Session};
use crate::error::{Error, Result};
use arrow::datatypes::{Schema, SchemaRef};
use datafusion::catalog::{SchemaProvider, Session as EngineSession, TableProvider};
use datafusion::common::DFSchema;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::datasource::file_format::format_as_file_type;
use datafusion::datasource::file_format::parquet::ParquetFormatFactory;
use datafusion::datasource::{ViewTable, source_as_provider};
use datafusion::error::{DataFusionError, Result as EngineResult};
use datafusion::logical_expr::dml::{CopyTo, InsertOp};
use datafusion::logical_expr::{
    DdlStatement, DmlStatement, Expr, LogicalPlan, LogicalPlanBuilder, TableProviderFilterPushDown,
    TableType, WriteOp, lit,
};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::sql::parser::Statement as Ast;
use datafusion::sql::sqlparser::ast::{
    ColumnOption, ColumnOptionDef, CreateTable, ObjectName, Statement as Sql,
};
use futures::future::BoxFuture;
use parking_lot::RwLock;
use saltlake_catalog::{Lake, RelationKind};
use saltlake_sql::functions::required;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use tokio::runtime::Handle;
use url::Url;
use uuid::Uuid;

/// What a session made for itself.
#[derive(Debug, Clone)]
enum Relation {
    Table { folder: Url, columns: SchemaRef },
    View(Arc<ViewTable>),
}

/// The temporary relations of one session. Dropping it removes their files.
#[derive(Debug)]
pub(super) struct Temporary {
    lake: Arc<Lake>,
    folder: Url,
    runtime: Handle,
    relations: RwLock<BTreeMap<String, Relation>>,
}

impl Temporary {
    /// Returns an empty schema; nothing is written until a table is made.
    pub fn new(lake: Arc<Lake>) -> Self {
        let folder = lake.temporary_folder(&Uuid::now_v7().to_string());
        let runtime = lake.runtime().clone();
        Self { lake, folder, runtime, relations: RwLock::default() }
    }

    /// Returns what a relation is, if there is one of this name.
    pub fn kind(&self, name: &str) -> Option<RelationKind> {
        self.relations.read().get(name).map(|relation| match relation {
            Relation::Table { .. } => RelationKind::Table,
            Relation::View(_) => RelationKind::View,
        })
    }

    /// Drops a relation; returns whether there was one.
    pub fn drop_relation(&self, name: &str) -> bool {
        let dropped = self.relations.write().remove(name);
        match dropped {
            Some(Relation::Table { folder, .. }) => self.remove(folder),
            Some(Relation::View(_)) => {}
            None => return false,
        }
        true
    }

    /// Drops everything, as DISCARD ALL does.
    pub fn clear(&self) {
        let names: Vec<_> = self.relations.read().keys().cloned().collect();
        for name in names {
            self.drop_relation(&name);
        }
    }

    /// Puts a relation in place of one of the same name.
    fn put(&self, name: &str, relation: Relation) {
        let before = self.relations.write().insert(name.to_string(), relation);
        if let Some(Relation::Table { folder, .. }) = before {
            self.remove(folder);
        }
    }

    /// Removes files in the background: the statement need not wait for it.
    fn remove(&self, folder: Url) {
        let lake = Arc::clone(&self.lake);
        self.runtime.spawn(async move {
            if let Err(error) = lake.remove_temporary_folder(&folder).await {
                tracing::warn!(%folder, %error, "files of a temporary table were not removed");
            }
        });
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        let has_files = self
            .relations
            .read()
            .values()
            .any(|relation| matches!(relation, Relation::Table { .. }));
        if has_files {
            self.remove(self.folder.clone());
        }
    }
}

impl Temporary {
    /// Finds a table: [`SchemaProvider::table`].
    fn find<'a>(
        &'a self,
        name: &'a str,
    ) -> BoxFuture<'a, EngineResult<Option<Arc<dyn TableProvider>>>> {
        Box::pin(async move {
            let relation = self.relations.read().get(name).cloned();
            let table: Option<Arc<dyn TableProvider>> = match relation {
                None => None,
                Some(Relation::View(view)) => Some(view),
                Some(Relation::Table { folder, columns }) => {
                    let table = self.lake.table_in_folder(name, &folder, columns).await;
                    let table = table.map_err(DataFusionError::from)?;
                    Some(Arc::new(TemporaryTable { table, folder }))
                }
            };
            Ok(table)
        })
    }
}

impl SchemaProvider for Temporary {
    fn table_names(&self) -> Vec<String> {
        self.relations.read().keys().cloned().collect()
    }

    saltlake_catalog::table_by!(find);

    fn table_exist(&self, name: &str) -> bool {
        self.relations.read().contains_key(name)
    }
}

/// A table of the lake that knows where INSERT writes.
#[derive(Debug)]
struct TemporaryTable {
    table: Arc<dyn TableProvider>,
    folder: Url,
}

impl TemporaryTable {
    /// Plans a scan: [`TableProvider::scan`].
    fn plan<'a>(
        &'a self,
        session: &'a dyn EngineSession,
        projection: Option<&'a Vec<usize>>,
        filters: &'a [Expr],
        limit: Option<usize>,
    ) -> BoxFuture<'a, EngineResult<Arc<dyn ExecutionPlan>>> {
        Box::pin(async move { self.table.scan(session, projection, filters, limit).await })
    }
}

impl TableProvider for TemporaryTable {
    fn schema(&self) -> SchemaRef {
        self.table.schema()
    }

    fn table_type(&self) -> TableType {
        TableType::Temporary
    }

    saltlake_catalog::scan_by!(plan);

    fn supports_filters_pushdown(
        &self,
        filters: &[&Expr],
    ) -> EngineResult<Vec<TableProviderFilterPushDown>> {
        self.table.supports_filters_pushdown(filters)
    }
}

/// Returns whether a plan reads a temporary table.
pub(super) fn reads_temporary(plan: &LogicalPlan) -> Result<bool> {
    let mut found = false;
    plan.apply_with_subqueries(|node| {
        if let LogicalPlan::TableScan(scan) = node {
            found |= scan.source.table_type() == TableType::Temporary;
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(found)
}

/// Refuses a write that is not an INSERT into a temporary table.
///
/// # Errors
/// For a table of the lake, and for writes other than INSERT.
pub(super) fn check_write(dml: &DmlStatement) -> Result<()> {
    if dml.target.table_type() != TableType::Temporary {
        return Err(Error::WriteRefused { statement: dml.op.name().to_uppercase() });
    }
    match dml.op {
        WriteOp::Insert(InsertOp::Append) => Ok(()),
        _ => {
            Err(Error::NotSupported { feature: format!("{} on a temporary table", dml.op.name()) })
        }
    }
}

/// Returns the columns of a new table: those of its rows, of which the declared ones only are NOT NULL. The planner's
/// word that a column is never NULL is not kept by every operator.
fn columns_of(create: &CreateTable, rows: &LogicalPlan) -> Result<SchemaRef> {
    let is_required = |name: &str| {
        create.columns.iter().any(|column| {
            let not_null = |def: &ColumnOptionDef| matches!(def.option, ColumnOption::NotNull);
            column.name.value.eq_ignore_ascii_case(name) && column.options.iter().any(not_null)
        })
    };
    let fields = rows.schema().as_arrow().fields().iter();
    let fields: Vec<_> = fields
        .map(|field| field.as_ref().clone().with_nullable(!is_required(field.name())))
        .collect();
    // Two columns of one name could not be told apart.
    DFSchema::from_unqualified_fields(fields.clone().into(), HashMap::new())?;
    Ok(Arc::new(Schema::new(fields)))
}

/// Lets rows fail that hold NULL where a column is NOT NULL.
fn without_null(columns: &Schema, rows: Arc<LogicalPlan>) -> Result<Arc<LogicalPlan>> {
    if columns.fields().iter().all(|field| field.is_nullable()) {
        return Ok(rows);
    }
    let values = rows.schema().columns().into_iter().map(Expr::Column).zip(columns.fields().iter());
    let values: Vec<_> = values
        .map(|(value, field)| match field.is_nullable() {
            true => value.alias(field.name()),
            false => required().call(vec![value, lit(field.name().as_str())]).alias(field.name()),
        })
        .collect();
    Ok(Arc::new(LogicalPlanBuilder::from(rows).project(values)?.build()?))
}

impl Session {
    /// CREATE TEMPORARY TABLE, with the rows of a query when there is one.
    ///
    /// # Errors
    /// When the name is taken, the query fails, or a constraint or a default is asked for.
    pub(super) async fn create_temporary_table(
        &self,
        create: &CreateTable,
        sql: &str,
    ) -> Result<Outcome> {
        let name = name_to_create(&create.name)?;
        let exists = self.temporary.kind(&name);
        match exists {
            Some(_) if create.if_not_exists => {
                return Ok(Outcome::Done { tag: "CREATE TABLE".to_string() });
            }
            Some(RelationKind::Table) if create.or_replace => {}
            Some(kind) => {
                return Err(
                    saltlake_catalog::Error::AlreadyExists { kind: kind.name(), name }.into()
                );
            }
            None => {}
        }
        if create.or_replace && create.if_not_exists {
            let feature = "OR REPLACE together with IF NOT EXISTS".to_string();
            return Err(Error::NotSupported { feature });
        }
        let input = self.temporary_rows(create).await?;
        let columns = columns_of(create, &input)?;
        let mut folder = self.temporary.folder.clone();
        folder.set_path(&format!("{}{}/", folder.path(), Uuid::now_v7()));
        let tag = match &create.query {
            Some(_) => format!("SELECT {}", self.add_file(&folder, &columns, input, sql).await?),
            None => "CREATE TABLE".to_string(),
        };
        self.temporary.put(&name, Relation::Table { folder, columns });
        Ok(Outcome::Done { tag })
    }

    /// Makes a temporary view of a planned query.
    ///
    /// # Errors
    /// When the name is taken, unless by a view that is to be replaced.
    pub(super) fn create_temporary_view(
        &self,
        name: &str,
        plan: LogicalPlan,
        sql: &str,
        or_replace: bool,
    ) -> Result<()> {
        match self.temporary.kind(name) {
            Some(RelationKind::View) if or_replace => {}
            Some(kind) => {
                let (kind, name) = (kind.name(), name.to_string());
                return Err(saltlake_catalog::Error::AlreadyExists { kind, name }.into());
            }
            None => {}
        }
        let view = ViewTable::new(plan, Some(sql.to_string()));
        self.temporary.put(name, Relation::View(Arc::new(view)));
        Ok(())
    }

    /// Runs a planned INSERT into a temporary table.
    ///
    /// # Errors
    /// When the query fails or the file cannot be written; then the table is as before.
    pub(super) async fn run_insert(&self, plan: LogicalPlan, sql: &str) -> Result<Outcome> {
        let LogicalPlan::Dml(dml) = plan else {
            let message = "INSERT was planned as another statement".to_string();
            return Err(Error::Internal { message });
        };
        let provider = source_as_provider(&dml.target)?;
        let Some(table) = provider.downcast_ref::<TemporaryTable>() else {
            return Err(Error::WriteRefused { statement: "INSERT".to_string() });
        };
        let n_rows = self.add_file(&table.folder, &table.schema(), dml.input, sql).await?;
        Ok(Outcome::Done { tag: format!("INSERT 0 {n_rows}") })
    }

    /// Plans what a new table holds: the rows of its query, or none.
    async fn temporary_rows(&self, create: &CreateTable) -> Result<Arc<LogicalPlan>> {
        // The planner knows tables in memory only, and no word TEMPORARY.
        let create = CreateTable { temporary: false, ..create.clone() };
        let ast = Ast::Statement(Box::new(Sql::CreateTable(create)));
        let state = self.state();
        let planning = &self.coordinator.planning;
        let plan = planning.run(metadata_columns::statement_to_plan(state, ast)).await?;
        let refuse = |feature: &str| Err(Error::NotSupported { feature: feature.to_string() });
        let LogicalPlan::Ddl(DdlStatement::CreateMemoryTable(table)) = plan else {
            return refuse("this form of CREATE TEMPORARY TABLE");
        };
        if table.constraints.iter().next().is_some() {
            return refuse("a constraint on a temporary table");
        }
        if !table.column_defaults.is_empty() {
            return refuse("a default on a temporary table");
        }
        if table.input.schema().fields().is_empty() {
            return refuse("a temporary table without columns");
        }
        let rows = Arc::unwrap_or_clone(table.input);
        // Types are settled only by the analyzer: until then a UNION of integers and decimals claims to be integers.
        let state = self.state();
        let rows = state.analyzer().execute_and_check(rows, state.config_options(), |_, _| {})?;
        Ok(Arc::new(rows))
    }

    /// Writes the rows of a plan as one more file of a table; returns how many there were.
    async fn add_file(
        &self,
        folder: &Url,
        columns: &Schema,
        rows: Arc<LogicalPlan>,
        sql: &str,
    ) -> Result<u64> {
        let rows = without_null(columns, rows)?;
        let mut file = folder.clone();
        file.set_path(&format!("{}{}.parquet", folder.path(), Uuid::now_v7()));
        let parquet = format_as_file_type(Arc::new(ParquetFormatFactory::new()));
        let copy = CopyTo::new(rows, file.to_string(), vec![], parquet, HashMap::new());
        self.write(copy, &file, sql).await
    }
}

/// Returns the name of a relation that may be temporary: given alone, or as `pg_temp.name`.
pub(super) fn own_name(name: &ObjectName) -> Result<Option<String>> {
    Ok(match parts(name)?.as_mut_slice() {
        [name] => Some(std::mem::take(name)),
        [schema, name] if schema == TEMPORARY_SCHEMA => Some(std::mem::take(name)),
        _ => None,
    })
}

/// Returns the name of a temporary relation to create.
///
/// # Errors
/// When it names another schema.
pub(super) fn name_to_create(name: &ObjectName) -> Result<String> {
    own_name(name)?.ok_or_else(|| Error::NotSupported {
        feature: format!("a temporary relation in another schema than {TEMPORARY_SCHEMA}"),
    })
}
