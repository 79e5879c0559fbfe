//! The extended query protocol: parse, bind, describe, execute, close.
//!
//! A portal keeps its query running between Execute messages, so a client that fetches a thousand rows at a time
//! holds one query and one batch here, never the result.

use super::connection::{Connection, unknown_statement};
use super::failure::{Failure, Interrupt, Severity};
use super::params::{self, Parameter};
use super::rows::{self, Progress, RowCursor};
use super::statement::{self, Local};
use crate::coordinator::{Outcome, Prepared};
use datafusion::scalar::ScalarValue;
use pgwire::messages::data::{NoData, ParameterDescription};
use pgwire::messages::extendedquery::{
    Bind, BindComplete, Close, CloseComplete, Describe, Execute, Parse, ParseComplete,
    PortalSuspended, TARGET_TYPE_BYTE_PORTAL, TARGET_TYPE_BYTE_STATEMENT,
};
use pgwire::messages::response::{CommandComplete, EmptyQueryResponse, TransactionStatus};
use std::sync::Arc;

/// Statements and portals a client may keep open; a client above this leaks them.
const MAX_NAMED: usize = 10_000;

/// What a Parse message left behind.
pub struct PreparedStatement {
    kind: Kind,
    parameters: Vec<Parameter>,
}

enum Kind {
    /// A text without a statement.
    Empty,
    /// The connection answers it.
    Local(Local),
    /// The session runs it.
    Planned(Box<Prepared>),
}

/// What a Bind message left behind, and the query once it runs.
pub struct Portal {
    statement: Arc<PreparedStatement>,
    values: Vec<ScalarValue>,
    formats: Vec<i16>,
    state: PortalState,
}

enum PortalState {
    Ready,
    Running(Box<RowCursor>),
    /// All rows are out; executing again gives none.
    Exhausted,
    /// A command, which runs once.
    Finished,
}

impl PreparedStatement {
    fn local(&self) -> Option<&Local> {
        match &self.kind {
            Kind::Local(local) => Some(local),
            _ => None,
        }
    }

    fn schema(&self) -> Option<&arrow::datatypes::Schema> {
        match &self.kind {
            Kind::Planned(prepared) => prepared.schema.as_deref(),
            _ => None,
        }
    }
}

impl Connection {
    pub(super) async fn parse(&mut self, parse: Parse) -> Result<(), Interrupt> {
        let name = parse.name.unwrap_or_default();
        if !name.is_empty() && self.statements.contains_key(&name) {
            let message = format!("prepared statement \"{name}\" already exists");
            return Err(Failure::new(Severity::Error, "42P05", message).into());
        }
        limit(self.statements.len(), "prepared statements")?;
        // A Parse that fails leaves no unnamed statement behind.
        self.statements.remove(&name);
        let statement = self.plan(&parse.query, &parse.type_oids).await?;
        self.statements.insert(name, Arc::new(statement));
        self.socket.put(&ParseComplete::new())
    }

    async fn plan(&mut self, sql: &str, oids: &[u32]) -> Result<PreparedStatement, Interrupt> {
        let mut statements = self.session.parse(sql)?.into_iter();
        let Some(statement) = statements.next() else {
            return Ok(PreparedStatement { kind: Kind::Empty, parameters: Vec::new() });
        };
        if statements.next().is_some() {
            let message = "cannot insert multiple commands into a prepared statement";
            return Err(Failure::new(Severity::Error, "42601", message).into());
        }
        let local = statement::local(&statement.ast);
        self.refuse_in_failed_transaction(local.as_ref())?;
        if let Some(local) = local {
            return Ok(PreparedStatement { kind: Kind::Local(local), parameters: Vec::new() });
        }
        let statement = self.rewrite(statement).await?;
        let typed = params::declare(statement, oids)?;
        let prepared = self.prepare(&typed).await?;
        let parameters = params::merge(oids, &prepared.parameters);
        Ok(PreparedStatement { kind: Kind::Planned(Box::new(prepared)), parameters })
    }

    pub(super) fn bind(&mut self, bind: Bind) -> Result<(), Interrupt> {
        let portal_name = bind.portal_name.unwrap_or_default();
        let statement_name = bind.statement_name.unwrap_or_default();
        let statement = match self.statements.get(&statement_name) {
            Some(statement) => Arc::clone(statement),
            None => return Err(unknown_statement(&statement_name).into()),
        };
        self.refuse_in_failed_transaction(statement.local())?;
        if !portal_name.is_empty() && self.portals.contains_key(&portal_name) {
            let message = format!("cursor \"{portal_name}\" already exists");
            return Err(Failure::new(Severity::Error, "42P03", message).into());
        }
        limit(self.portals.len(), "portals")?;
        let values = params::decode_all(
            &statement.parameters,
            &bind.parameter_format_codes,
            &bind.parameters,
            self.time_zone(),
        )?;
        let formats = bind.result_column_format_codes;
        if let Some(schema) = statement.schema() {
            rows::column_formats(&formats, schema.fields().len())?;
        }
        let portal = Portal { statement, values, formats, state: PortalState::Ready };
        self.portals.insert(portal_name, portal);
        self.socket.put(&BindComplete::new())
    }

    pub(super) fn describe(&mut self, describe: &Describe) -> Result<(), Interrupt> {
        let name = describe.name.as_deref().unwrap_or_default();
        let (statement, formats) = match describe.target_type {
            TARGET_TYPE_BYTE_STATEMENT => match self.statements.get(name) {
                Some(statement) => (Arc::clone(statement), Vec::new()),
                None => return Err(unknown_statement(name).into()),
            },
            TARGET_TYPE_BYTE_PORTAL => match self.portals.get(name) {
                Some(portal) => (Arc::clone(&portal.statement), portal.formats.clone()),
                None => return Err(unknown_portal(name).into()),
            },
            _ => return Err(Failure::protocol("invalid DESCRIBE message subtype").into()),
        };
        self.refuse_in_failed_transaction(statement.local())?;
        if describe.target_type == TARGET_TYPE_BYTE_STATEMENT {
            let oids = statement.parameters.iter().map(Parameter::oid).collect();
            self.socket.put(&ParameterDescription::new(oids))?;
        }
        match statement.schema() {
            Some(schema) => self.socket.put(&rows::describe(schema, &formats)?),
            None => self.socket.put(&NoData::new()),
        }
    }

    pub(super) async fn execute(&mut self, execute: &Execute) -> Result<(), Interrupt> {
        let name = execute.name.as_deref().unwrap_or_default();
        // The portal leaves the map while it runs: an error then drops it and with it the query.
        let Some(mut portal) = self.portals.remove(name) else {
            return Err(unknown_portal(name).into());
        };
        self.refuse_in_failed_transaction(portal.statement.local())?;
        let ends_transaction =
            matches!(portal.statement.local(), Some(Local::Commit | Local::Rollback));
        // Zero, and by the protocol's word also a negative number, means no limit.
        let max_rows = u64::try_from(execute.max_rows).ok().filter(|max_rows| *max_rows > 0);
        self.run_portal(&mut portal, max_rows).await?;
        if !ends_transaction {
            self.portals.insert(name.to_string(), portal);
        }
        Ok(())
    }

    async fn run_portal(
        &mut self,
        portal: &mut Portal,
        max_rows: Option<u64>,
    ) -> Result<(), Interrupt> {
        if matches!(portal.state, PortalState::Ready) {
            let statement = Arc::clone(&portal.statement);
            let values = std::mem::take(&mut portal.values);
            let formats = portal.formats.clone();
            portal.state = self.start_portal(&statement, values, &formats).await?;
        }
        match &mut portal.state {
            PortalState::Running(cursor) => {
                let drained = self.shutdown.drained.clone();
                match cursor.send(&mut self.socket, max_rows, &drained).await? {
                    Progress::Suspended => self.socket.put(&PortalSuspended::new()),
                    Progress::Complete(n_rows) => {
                        portal.state = PortalState::Exhausted;
                        self.complete_rows(n_rows)
                    }
                }
            }
            PortalState::Exhausted => self.complete_rows(0),
            PortalState::Ready | PortalState::Finished => Ok(()),
        }
    }

    /// Runs a portal for the first time; a command is complete and answered when this returns.
    async fn start_portal(
        &mut self,
        statement: &PreparedStatement,
        values: Vec<ScalarValue>,
        formats: &[i16],
    ) -> Result<PortalState, Interrupt> {
        match &statement.kind {
            Kind::Empty => self.socket.put(&EmptyQueryResponse::new())?,
            Kind::Local(local) => self.run_local(local).await?,
            Kind::Planned(prepared) => match self.run(prepared, values).await? {
                Outcome::Done { tag } => self.socket.put(&CommandComplete::new(tag))?,
                Outcome::Rows(rows) => {
                    let cursor = RowCursor::new(rows, formats, self.time_zone())?;
                    return Ok(PortalState::Running(Box::new(cursor)));
                }
            },
        }
        Ok(PortalState::Finished)
    }

    pub(super) fn close(&mut self, close: &Close) -> Result<(), Interrupt> {
        let name = close.name.as_deref().unwrap_or_default();
        match close.target_type {
            TARGET_TYPE_BYTE_STATEMENT => drop(self.statements.remove(name)),
            TARGET_TYPE_BYTE_PORTAL => drop(self.portals.remove(name)),
            _ => return Err(Failure::protocol("invalid CLOSE message subtype").into()),
        }
        self.socket.put(&CloseComplete::new())
    }

    /// Ends what lives only as long as an implicit transaction.
    pub(super) fn sync(&mut self) {
        if self.transaction == TransactionStatus::Idle {
            self.portals.clear();
        }
    }
}

fn limit(n_open: usize, what: &str) -> Result<(), Failure> {
    if n_open < MAX_NAMED {
        return Ok(());
    }
    let message = format!("too many open {what}: the limit is {MAX_NAMED}");
    Err(Failure::new(Severity::Error, "54000", message))
}

fn unknown_portal(name: &str) -> Failure {
    Failure::new(Severity::Error, "34000", format!("portal \"{name}\" does not exist"))
}
