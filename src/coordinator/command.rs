//! Statements that are not queries: SET, SHOW, RESET, DDL, transactions, DISCARD.
//!
//! Called by `Session` for what [`is_command`] accepts. Each gives PostgreSQL's command tag.

use super::run::{batch_rows, text_rows};
use super::session::{Outcome, Session};
use super::temporary::{name_to_create, own_name, reads_temporary};
use super::transaction::Scope;
use crate::error::{Error, Result};
use arrow::array::{RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::common::SchemaError;
use datafusion::error::DataFusionError;
use datafusion::logical_expr::{DdlStatement, LogicalPlan};
use datafusion::sql::parser::{ResetStatement, Statement as Ast};
use datafusion::sql::sqlparser::ast::{
    ContextModifier, CreateView, DiscardObject, Expr, Function, FunctionArguments, Ident,
    ObjectName, ObjectType, Reset, SchemaName, Set, Statement as Sql, UnaryOperator, Value,
};
use saltlake_catalog::{ExternalTable, RelationKind};
use saltlake_sql::parse::Statement;
use std::collections::HashSet;
use std::sync::Arc;
use uuid::Uuid;

/// Returns whether a statement is run here rather than planned as a query.
pub(super) fn is_command(statement: &Sql) -> bool {
    !matches!(
        statement,
        Sql::Query(_)
            | Sql::ShowTables { .. }
            | Sql::ShowColumns { .. }
            | Sql::ShowFunctions { .. }
            | Sql::ExplainTable { .. }
            | Sql::Insert(_)
            | Sql::Update(_)
            | Sql::Delete(_)
    ) && !matches!(statement, Sql::CreateTable(table) if !table.temporary)
}

impl Session {
    /// Returns the columns of a command's result, if it has any.
    pub(super) fn command_schema(&self, ast: &Ast) -> Option<SchemaRef> {
        let text = |names: &[&str]| {
            let fields: Vec<_> =
                names.iter().map(|name| Field::new(*name, DataType::Utf8, true)).collect();
            Some(Arc::new(Schema::new(fields)))
        };
        match ast {
            Ast::Explain(_) => text(&["QUERY PLAN"]),
            Ast::Statement(statement) => match statement.as_ref() {
                Sql::ShowVariable { variable } => match show_name(variable).as_str() {
                    "all" => text(&["name", "setting", "description"]),
                    name => text(&[&shown_name(name)]),
                },
                Sql::ShowCatalogs { .. } => text(&super::catalogs::SHOWN),
                _ => None,
            },
            _ => None,
        }
    }

    /// Runs a command.
    ///
    /// # Errors
    /// When a name does not exist or exists already, a value is not valid, or the command is not offered.
    pub(super) async fn run_command(&self, statement: &Statement) -> Result<Outcome> {
        match &statement.ast {
            Ast::Statement(command) => self.run_sql_command(command, &statement.sql).await,
            Ast::CreateExternalTable(_) => self.create_external_table(&statement.ast).await,
            Ast::Reset(ResetStatement::Variable(name)) => {
                self.reset(&name.to_string())?;
                done("RESET")
            }
            other => not_supported(other),
        }
    }

    async fn run_sql_command(&self, statement: &Sql, sql: &str) -> Result<Outcome> {
        match statement {
            Sql::Set(set) => self.set(set),
            Sql::Reset(reset) => {
                match &reset.reset {
                    Reset::ALL => self.reset_all(),
                    Reset::ConfigurationParameter(name) => self.reset(&name.to_string())?,
                }
                done("RESET")
            }
            Sql::ShowVariable { variable } => self.show(&show_name(variable)),
            Sql::ShowCatalogs { show_options, .. } => self.show_catalogs(show_options).await,
            Sql::CreateServer(server) => self.create_catalog(server).await,
            Sql::Call(call) => self.call(call),
            Sql::Analyze(analyze) => self.analyze(analyze, sql).await,
            Sql::StartTransaction { .. } => done("BEGIN"),
            Sql::Commit { .. } => done("COMMIT"),
            Sql::Rollback { savepoint: None, .. } => done("ROLLBACK"),
            Sql::Discard { object_type } => {
                if matches!(object_type, DiscardObject::ALL | DiscardObject::TEMP) {
                    self.temporary.clear();
                }
                if matches!(object_type, DiscardObject::ALL) {
                    self.reset_all();
                }
                done(&format!("DISCARD {object_type}"))
            }
            Sql::Deallocate { .. } => done("DEALLOCATE"),
            Sql::CreateView(view) => self.create_view(view).await,
            Sql::CreateTable(table) => self.create_temporary_table(table, sql).await,
            Sql::CreateSchema { schema_name, if_not_exists, .. } => {
                let SchemaName::Simple(name) = schema_name else { return not_supported(statement) };
                let name = self.schema_to_change(name).await?;
                self.coordinator.lake.create_schema(&name, *if_not_exists).await?;
                done("CREATE SCHEMA")
            }
            Sql::Comment { object_type, object_name, comment, .. } => {
                self.comment(*object_type, object_name, comment.as_deref()).await
            }
            Sql::Drop { object_type, if_exists, names, cascade, .. } => {
                self.drop_objects(*object_type, names, *if_exists, *cascade).await
            }
            other => not_supported(other),
        }
    }

    fn set(&self, set: &Set) -> Result<Outcome> {
        let is_local = match set {
            Set::SingleAssignment { scope, .. } => *scope == Some(ContextModifier::Local),
            Set::SetTimeZone { local, .. } => *local,
            _ => false,
        };
        let scope = if is_local { Scope::Transaction } else { Scope::Session };
        let pairs = match set {
            Set::SingleAssignment { variable, values, .. } => {
                let values: Vec<_> = values.iter().map(value_text).collect();
                vec![(name_text(variable), values.join(", "))]
            }
            Set::SetTimeZone { value, .. } => vec![("TimeZone".to_string(), value_text(value))],
            Set::SetNames { charset_name, .. } => {
                vec![("client_encoding".to_string(), charset_name.value.clone())]
            }
            // Every statement reads one snapshot already; levels and modes ask for no more.
            Set::SetTransaction { .. } => vec![],
            other => return not_supported(other),
        };
        for (name, value) in pairs {
            match value.eq_ignore_ascii_case("default") {
                true => self.change_within(scope, |settings, options, start| {
                    settings.reset(options, start, &name)
                })?,
                false => self.set_setting(&name, &value, scope)?,
            }
        }
        done("SET")
    }

    fn reset(&self, name: &str) -> Result<()> {
        if name.eq_ignore_ascii_case("all") {
            self.reset_all();
            return Ok(());
        }
        self.change(|settings, options, start| settings.reset(options, start, name))
    }

    fn reset_all(&self) {
        // Resetting everything names no setting, so it cannot fail.
        let _ = self.change(|settings, options, start| {
            settings.reset_all(options, start);
            Ok(())
        });
    }

    fn show(&self, name: &str) -> Result<Outcome> {
        if name == "all" {
            return self.show_all();
        }
        let Some(value) = self.setting(name) else {
            // Reset reports the unknown name with what it may have meant.
            return self.reset(name).and(not_supported(name));
        };
        let rows = text_rows(Uuid::now_v7(), &shown_name(name), vec![value])?;
        Ok(Outcome::Rows(rows))
    }

    fn show_all(&self) -> Result<Outcome> {
        let all = self.read(|settings, options| settings.all(options));
        let column = |text: fn(&super::settings::Shown) -> &str| {
            Arc::new(StringArray::from_iter_values(all.iter().map(text))) as _
        };
        let batch = RecordBatch::try_from_iter_with_nullable([
            ("name", column(|shown| &shown.name), true),
            ("setting", column(|shown| &shown.value), true),
            ("description", column(|shown| &shown.about), true),
        ])
        .map_err(DataFusionError::from)?;
        Ok(Outcome::Rows(batch_rows(Uuid::now_v7(), batch)))
    }

    async fn create_external_table(&self, ast: &Ast) -> Result<Outcome> {
        let plan = self.state().statement_to_plan(ast.clone()).await?;
        let LogicalPlan::Ddl(DdlStatement::CreateExternalTable(command)) = plan else {
            return not_supported(ast);
        };
        self.check_changes(command.name.catalog().unwrap_or(self.database())).await?;
        let mut table = ExternalTable::try_from(command.as_ref())?;
        if command.name.schema().is_none() {
            table.schema = self.creation_schema().await?;
        }
        let lake = &self.coordinator.lake;
        lake.create_external_table(table, command.if_not_exists, command.or_replace).await?;
        done("CREATE TABLE")
    }

    async fn create_view(&self, view: &CreateView) -> Result<Outcome> {
        if view.materialized {
            return not_supported("a materialized view");
        }
        let mut query = view.query.clone();
        saltlake_sql::names::name_columns(&mut query);
        let sql = match view.columns.as_slice() {
            [] => query.to_string(),
            columns => {
                let names: Vec<_> = columns.iter().map(|column| column.name.to_string()).collect();
                format!("SELECT * FROM ({query}) AS v ({})", names.join(", "))
            }
        };
        // A view that cannot be planned now would only fail later, far from its cause.
        let plan = self.plan_text(&sql).await?;
        check_names(&plan)?;
        if view.temporary || reads_temporary(&plan)? {
            let name = name_to_create(&view.name)?;
            self.create_temporary_view(&name, plan, &sql, view.or_replace)?;
            return done("CREATE VIEW");
        }
        let (schema, name) = self.qualified(&view.name).await?;
        self.coordinator.lake.create_view(&schema, &name, &sql, view.or_replace).await?;
        done("CREATE VIEW")
    }

    async fn drop_objects(
        &self,
        object: ObjectType,
        names: &[ObjectName],
        if_exists: bool,
        cascade: bool,
    ) -> Result<Outcome> {
        if object == ObjectType::Database {
            return self.drop_catalogs(names, if_exists).await;
        }
        let lake = &self.coordinator.lake;
        for name in names {
            match object {
                ObjectType::Schema => {
                    let name = self.schema_to_change(name).await?;
                    lake.drop_schema(&name, if_exists, cascade).await?;
                }
                ObjectType::Table | ObjectType::View => {
                    let kind = match object {
                        ObjectType::View => RelationKind::View,
                        _ => RelationKind::Table,
                    };
                    if self.drop_temporary(name, kind)? {
                        continue;
                    }
                    let (schema, table) = self.qualified(name).await?;
                    lake.drop_relation(&schema, &table, kind, if_exists).await?;
                }
                other => return not_supported(format!("DROP {other}")),
            }
        }
        done(&format!("DROP {object}"))
    }

    /// Runs a procedure: there is one, and it takes nothing.
    fn call(&self, call: &Function) -> Result<Outcome> {
        let has_arguments =
            matches!(&call.args, FunctionArguments::List(list) if !list.args.is_empty());
        if parts(&call.name)? != ["system", "flush_metadata_cache"] || has_arguments {
            return not_supported(format!("CALL {call}"));
        }
        self.coordinator.lake.flush_caches();
        done("CALL")
    }

    /// Drops a temporary relation; returns whether the name is one's.
    fn drop_temporary(&self, name: &ObjectName, kind: RelationKind) -> Result<bool> {
        let Some(name) = own_name(name)? else { return Ok(false) };
        match self.temporary.kind(&name) {
            Some(found) if found != kind => {
                let expected = kind.name();
                Err(saltlake_catalog::Error::WrongKind { name, expected }.into())
            }
            _ => Ok(self.temporary.drop_relation(&name)),
        }
    }

    /// Returns schema and name of a relation to create or drop.
    pub(super) async fn qualified(&self, name: &ObjectName) -> Result<(String, String)> {
        let parts = parts(name)?;
        match parts.as_slice() {
            [name] => Ok((self.creation_schema().await?, name.clone())),
            [schema, name] => {
                self.check_changes(self.database()).await?;
                Ok((schema.clone(), name.clone()))
            }
            [catalog, schema, name] => {
                self.check_changes(catalog).await?;
                Ok((schema.clone(), name.clone()))
            }
            _ => not_supported("a relation without a name"),
        }
    }

    /// Returns the name of a schema to create or drop.
    pub(super) async fn schema_to_change(&self, name: &ObjectName) -> Result<String> {
        match parts(name)?.as_slice() {
            [schema] => {
                self.check_changes(self.database()).await?;
                Ok(schema.clone())
            }
            [catalog, schema] => {
                self.check_changes(catalog).await?;
                Ok(schema.clone())
            }
            _ => not_supported(format!("the name {name} for a schema")),
        }
    }

    /// Refuses to change what a catalog service keeps.
    async fn check_changes(&self, catalog: &str) -> Result<()> {
        let lake = &self.coordinator.lake;
        match catalog {
            name if name == lake.catalog_name() => Ok(()),
            name if lake.has_catalog(name).await? => {
                let feature = format!("changing what is in catalog \"{name}\"");
                Err(Error::NotSupported { feature })
            }
            name => Err(lake.catalog_not_found(name).await.into()),
        }
    }

    /// Returns the first schema of the search path that exists, where PostgreSQL creates things.
    async fn creation_schema(&self) -> Result<String> {
        self.check_changes(self.database()).await?;
        let existing = self.coordinator.lake.schemas().await?;
        let path = self.search_path();
        let first = path.into_iter().find(|schema| existing.contains(schema));
        Ok(first.unwrap_or_else(|| super::names::PATH_SCHEMA.to_string()))
    }
}

/// Returns what a statement without rows gives.
pub(super) fn done(tag: &str) -> Result<Outcome> {
    Ok(Outcome::Done { tag: tag.to_string() })
}

/// Refuses a statement, named by its first words.
pub(super) fn not_supported<T>(statement: impl ToString) -> Result<T> {
    let text = statement.to_string();
    let words: Vec<_> = text.split_whitespace().take(4).collect();
    Err(Error::NotSupported { feature: words.join(" ") })
}

/// Returns the parts of a name, unquoted ones in lower case as PostgreSQL reads them.
pub(super) fn parts(name: &ObjectName) -> Result<Vec<String>> {
    let part = |ident: &Ident| match ident.quote_style {
        Some(_) => ident.value.clone(),
        None => ident.value.to_lowercase(),
    };
    let idents = name.0.iter().map(|ident| ident.as_ident().map(part));
    let parts: Option<Vec<_>> = idents.collect();
    match parts {
        Some(parts) => Ok(parts),
        None => not_supported(format!("the name {name}")),
    }
}

/// Returns a setting's name as written.
/// Refuses a view of which two columns have one name: neither could be named.
fn check_names(plan: &LogicalPlan) -> Result<()> {
    let mut names = HashSet::new();
    match plan.schema().fields().iter().find(|field| !names.insert(field.name())) {
        None => Ok(()),
        Some(field) => {
            let error = SchemaError::DuplicateUnqualifiedField { name: field.name().clone() };
            Err(Error::DataFusion(DataFusionError::SchemaError(Box::new(error), Box::new(None))))
        }
    }
}

fn name_text(name: &ObjectName) -> String {
    let idents: Vec<_> =
        name.0.iter().filter_map(|part| part.as_ident()).map(|ident| ident.value.clone()).collect();
    idents.join(".")
}

/// Returns the words after SHOW as one name: `TIME ZONE` gives `time.zone`.
fn show_name(words: &[Ident]) -> String {
    let words: Vec<_> = words.iter().map(|word| word.value.to_lowercase()).collect();
    words.join(".")
}

/// Returns the column name PostgreSQL gives to `SHOW name`.
fn shown_name(name: &str) -> String {
    match name {
        "time.zone" | "timezone" => "TimeZone".to_string(),
        "datestyle" => "DateStyle".to_string(),
        "intervalstyle" => "IntervalStyle".to_string(),
        "transaction.isolation.level" => "transaction_isolation".to_string(),
        name => name.to_string(),
    }
}

/// Returns the text of a value after SET.
fn value_text(value: &Expr) -> String {
    match value {
        Expr::Identifier(ident) => ident.value.clone(),
        Expr::Value(value) => match &value.value {
            Value::SingleQuotedString(text)
            | Value::DoubleQuotedString(text)
            | Value::EscapedStringLiteral(text) => text.clone(),
            other => other.to_string(),
        },
        Expr::UnaryOp { op: UnaryOperator::Minus, expr } => format!("-{}", value_text(expr)),
        // SET TIME ZONE INTERVAL '+02:00' HOUR TO MINUTE
        Expr::Interval(interval) => value_text(&interval.value),
        other => other.to_string(),
    }
}
