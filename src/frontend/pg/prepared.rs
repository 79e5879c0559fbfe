//! Prepared statements, those of the protocol and those of `PREPARE`: one set under one kind of name.
//!
//! Every statement becomes one, in the simple protocol too, where it runs once and is forgotten.

use super::catalog::ShownStatement;
use super::connection::Connection;
use super::copy::check_options;
use super::failure::{Failure, Interrupt, Severity};
use super::params::{self, Parameter};
use super::statement::{self, DeclareCursor, Local, Prepare};
use super::types;
use crate::coordinator::{Outcome, Prepared};
use arrow::datatypes::Schema;
use datafusion::scalar::ScalarValue;
use datafusion::sql::parser::Statement as Ast;
use datafusion::sql::sqlparser::ast::{DataType, Expr, SelectItem, SetExpr, Statement as Sql};
use futures::StreamExt;
use saltlake_sql::parse::{CopyOut, Statement};
use std::sync::Arc;
use std::time::SystemTime;

/// Statements and portals a client may keep open; a client above this leaks them.
const MAX_NAMED: usize = 10_000;

/// A statement that was understood once and can run several times.
pub struct PreparedStatement {
    /// What it is.
    pub kind: Kind,
    /// Its parameters.
    pub parameters: Vec<Parameter>,
    /// The text it came in.
    pub sql: String,
    /// When it was prepared.
    pub prepared: SystemTime,
    /// Whether PREPARE made it, and not the protocol.
    pub is_sql: bool,
}

/// What a prepared statement is.
pub enum Kind {
    /// A text without a statement.
    Empty,
    /// The connection answers it.
    Local(Local),
    /// The session runs it.
    Planned(Box<Prepared>),
    /// A cursor's query.
    Declare(Box<(DeclareCursor, Prepared)>),
    /// A query whose rows leave as a COPY.
    Copy(Box<(CopyOut, Prepared)>),
}

impl PreparedStatement {
    /// A text without a statement.
    pub fn empty() -> Self {
        Self::new(Kind::Empty, Vec::new(), String::new())
    }

    /// Makes one of a statement that was understood.
    pub fn new(kind: Kind, parameters: Vec<Parameter>, sql: String) -> Self {
        Self { kind, parameters, sql, prepared: SystemTime::now(), is_sql: false }
    }

    /// Returns its line in `pg_prepared_statements`.
    pub fn shown(&self, name: &str) -> ShownStatement {
        ShownStatement {
            name: name.to_string(),
            sql: self.sql.clone(),
            prepared: self.prepared,
            types: self.parameters.iter().map(Parameter::type_name).collect(),
            is_sql: self.is_sql,
        }
    }

    /// Returns the statement when the connection answers it.
    pub fn local(&self) -> Option<&Local> {
        match &self.kind {
            Kind::Local(local) => Some(local),
            _ => None,
        }
    }
}

impl Connection {
    /// Makes out what a statement is, and plans it if the session runs it.
    pub(super) async fn plan(
        &mut self,
        statement: Statement,
        oids: &[u32],
    ) -> Result<PreparedStatement, Interrupt> {
        let local = statement::local(&statement.ast);
        self.refuse_in_failed_transaction(local.as_ref())?;
        let sql = statement.sql.clone();
        let (kind, parameters) = match local {
            Some(Local::Declare(declare)) => {
                let query = Sql::Query(declare.query.clone());
                let statement = Statement::new(Ast::Statement(Box::new(query)), statement.sql);
                let (prepared, parameters) = self.plan_query(statement, oids).await?;
                (Kind::Declare(Box::new((declare, prepared))), parameters)
            }
            Some(local) => (Kind::Local(local), Vec::new()),
            None => {
                let mut statement = statement;
                let copy = statement.copy.take();
                copy.as_ref().map_or(Ok(()), check_options)?;
                let (prepared, parameters) = self.plan_query(statement, oids).await?;
                let kind = match copy {
                    Some(copy) => Kind::Copy(Box::new((copy, prepared))),
                    None => Kind::Planned(Box::new(prepared)),
                };
                (kind, parameters)
            }
        };
        Ok(PreparedStatement::new(kind, parameters, sql))
    }

    async fn plan_query(
        &mut self,
        statement: Statement,
        oids: &[u32],
    ) -> Result<(Prepared, Vec<Parameter>), Interrupt> {
        let n_parameters = params::count(&statement);
        let named = params::named(&statement, oids);
        let statement = self.rewrite(statement).await?;
        let typed = params::declare(statement, oids)?;
        let prepared = self.prepare(&typed).await?;
        // What is known to be empty was left out, and its parameters with it; the client has values for them.
        let mut planned = prepared.parameters.clone();
        planned.resize(planned.len().max(n_parameters), None);
        let parameters = params::merge(&named, &planned);
        Ok((prepared, parameters))
    }

    /// Returns the columns a statement gives, if it gives any; those of EXECUTE and FETCH are another's.
    pub(super) fn schema_of(&self, statement: &PreparedStatement) -> Option<Arc<Schema>> {
        match &statement.kind {
            Kind::Planned(prepared) => prepared.schema.clone(),
            Kind::Local(Local::Execute { name, .. }) => match &self.statements.get(name)?.kind {
                Kind::Planned(prepared) => prepared.schema.clone(),
                _ => None,
            },
            Kind::Local(Local::Fetch(fetch)) if !fetch.is_move => {
                let portal = self.portals.get(&fetch.name)?;
                portal.schema().or_else(|| match &portal.statement.kind {
                    Kind::Planned(prepared) => prepared.schema.clone(),
                    _ => None,
                })
            }
            _ => None,
        }
    }

    /// `PREPARE`
    pub(super) async fn prepare_sql(
        &mut self,
        prepare: &Prepare,
        sql: &str,
    ) -> Result<(), Interrupt> {
        self.refuse_known_statement(&prepare.name)?;
        let is_query = matches!(
            prepare.statement.as_ref(),
            Sql::Query(_) | Sql::Insert(_) | Sql::Update(_) | Sql::Delete(_)
        );
        if !is_query {
            let message = "only queries and statements that change rows can be prepared";
            return Err(Failure::new(Severity::Error, "42601", message).into());
        }
        let oids = prepare.types.iter().map(type_oid).collect::<Result<Vec<_>, _>>()?;
        let ast = Ast::Statement(prepare.statement.clone());
        let statement = Statement::new(ast, sql.to_string());
        let mut statement = self.plan(statement, &oids).await?;
        statement.is_sql = true;
        self.statements.insert(prepare.name.clone(), Arc::new(statement));
        Ok(())
    }

    /// Refuses a name that is taken, and more statements than a client can mean to keep.
    pub(super) fn refuse_known_statement(&self, name: &str) -> Result<(), Failure> {
        if !name.is_empty() && self.statements.contains_key(name) {
            let message = format!("prepared statement \"{name}\" already exists");
            return Err(Failure::new(Severity::Error, "42P05", message));
        }
        limit(self.statements.len(), "prepared statements")
    }

    /// Returns what `EXECUTE` runs, and the values it runs with.
    pub(super) async fn resolve_execute(
        &mut self,
        name: &str,
        values: &[Expr],
    ) -> Result<(Arc<PreparedStatement>, Vec<ScalarValue>), Interrupt> {
        let statement = match self.statements.get(name) {
            Some(statement) => Arc::clone(statement),
            None => return Err(unknown_statement(name).into()),
        };
        let n_expected = statement.parameters.len();
        if values.len() != n_expected {
            let message = format!("wrong number of parameters for prepared statement \"{name}\"");
            let mut failure = Failure::new(Severity::Error, "42601", message);
            failure.report.detail =
                Some(format!("Expected {n_expected} parameters but got {}.", values.len()));
            return Err(failure.into());
        }
        let values = self.evaluate(values).await?;
        let fitted = values
            .into_iter()
            .zip(&statement.parameters)
            .map(|(value, parameter)| params::fit(value, parameter))
            .collect::<Result<Vec<_>, _>>()?;
        Ok((statement, fitted))
    }

    /// Computes expressions that stand alone.
    async fn evaluate(&mut self, values: &[Expr]) -> Result<Vec<ScalarValue>, Interrupt> {
        if values.is_empty() {
            return Ok(Vec::new());
        }
        let mut statement = self.session.parse("SELECT NULL")?.remove(0);
        let named = |(idx, expr): (usize, &Expr)| SelectItem::ExprWithAlias {
            expr: expr.clone(),
            alias: format!("p{idx}").as_str().into(),
        };
        if let Ast::Statement(query) = &mut statement.ast
            && let Sql::Query(query) = query.as_mut()
            && let SetExpr::Select(select) = query.body.as_mut()
        {
            select.projection = values.iter().enumerate().map(named).collect();
        }
        let prepared = self.prepare(&statement).await?;
        let Outcome::Rows(mut rows) = self.run(&prepared, Vec::new()).await? else {
            return Ok(Vec::new());
        };
        let drained = self.shutdown.drained.clone();
        let batch = tokio::select! {
            batch = rows.stream.next() => batch,
            () = drained.cancelled() => return Err(Failure::shutdown().into()),
            error = self.socket.closed() => return Err(error.into()),
        };
        let Some(batch) = batch.transpose().map_err(crate::Error::from)? else {
            return Ok(Vec::new());
        };
        let values = batch.columns().iter().map(|column| ScalarValue::try_from_array(column, 0));
        Ok(values.collect::<Result<_, _>>().map_err(crate::Error::from)?)
    }

    pub(super) fn deallocate(&mut self, name: Option<&str>) -> Result<&'static str, Interrupt> {
        let Some(name) = name else {
            self.statements.clear();
            return Ok("DEALLOCATE ALL");
        };
        match self.statements.remove(name) {
            Some(_) => Ok("DEALLOCATE"),
            None => Err(unknown_statement(name).into()),
        }
    }
}

/// Returns the OID of a declared type; 0 for `unknown`, which declares nothing.
fn type_oid(data_type: &DataType) -> Result<u32, Failure> {
    let name = data_type.to_string();
    types::by_sql_name(&name).map(|ty| ty.oid()).ok_or_else(|| {
        let message = format!("type \"{}\" does not exist", name.to_lowercase());
        Failure::new(Severity::Error, "42704", message)
    })
}

/// Refuses one more of something a client should have closed.
pub(super) fn limit(n_open: usize, what: &str) -> Result<(), Failure> {
    if n_open < MAX_NAMED {
        return Ok(());
    }
    let message = format!("too many open {what}: the limit is {MAX_NAMED}");
    Err(Failure::new(Severity::Error, "54000", message))
}

/// A prepared statement the client never made.
pub(super) fn unknown_statement(name: &str) -> Failure {
    let message = match name {
        "" => "unnamed prepared statement does not exist".to_string(),
        name => format!("prepared statement \"{name}\" does not exist"),
    };
    Failure::new(Severity::Error, "26000", message)
}
