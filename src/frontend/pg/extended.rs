//! The extended query protocol: parse, bind, describe, execute, close.

use super::connection::Connection;
use super::failure::{Failure, Interrupt, Severity};
use super::params::{self, Parameter};
use super::portal::Portal;
use super::prepared::{PreparedStatement, unknown_statement};
use super::rows;
use super::statement::Local;
use pgwire::messages::data::{NoData, ParameterDescription};
use pgwire::messages::extendedquery::{
    Bind, BindComplete, Close, CloseComplete, Describe, Execute, Parse, ParseComplete,
    TARGET_TYPE_BYTE_PORTAL, TARGET_TYPE_BYTE_STATEMENT,
};
use std::sync::Arc;

impl Connection {
    pub(super) async fn parse(&mut self, parse: Parse) -> Result<(), Interrupt> {
        let name = parse.name.unwrap_or_default();
        self.refuse_known_statement(&name)?;
        // A Parse that fails leaves no unnamed statement behind.
        self.statements.remove(&name);
        let statement = self.plan_text(&parse.query, &parse.type_oids).await?;
        self.statements.insert(name, Arc::new(statement));
        self.socket.put(&ParseComplete::new())
    }

    async fn plan_text(&mut self, sql: &str, oids: &[u32]) -> Result<PreparedStatement, Interrupt> {
        let mut statements = self.session.parse(sql)?.into_iter();
        let Some(statement) = statements.next() else {
            self.refuse_in_failed_transaction(None)?;
            return Ok(PreparedStatement::empty());
        };
        if statements.next().is_some() {
            let message = "cannot insert multiple commands into a prepared statement";
            return Err(Failure::new(Severity::Error, "42601", message).into());
        }
        self.plan(statement, oids).await
    }

    pub(super) fn bind(&mut self, bind: Bind) -> Result<(), Interrupt> {
        let portal_name = bind.portal_name.unwrap_or_default();
        let statement_name = bind.statement_name.unwrap_or_default();
        let statement = match self.statements.get(&statement_name) {
            Some(statement) => Arc::clone(statement),
            None => return Err(unknown_statement(&statement_name).into()),
        };
        self.refuse_in_failed_transaction(statement.local())?;
        self.refuse_known_portal(&portal_name)?;
        let values = params::decode_all(
            &statement_name,
            &statement.parameters,
            &bind.parameter_format_codes,
            &bind.parameters,
            self.time_zone(),
        )?;
        let formats = bind.result_column_format_codes;
        if let Some(schema) = self.schema_of(&statement) {
            rows::column_formats(&formats, schema.fields().len())?;
        }
        let portal = Portal::new(statement, values, formats, self.transaction.depth());
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
        let schema = match describe.target_type {
            TARGET_TYPE_BYTE_PORTAL => self.portals.get(name).and_then(Portal::schema),
            _ => None,
        };
        match schema.or_else(|| self.schema_of(&statement)) {
            Some(schema) => self.socket.put(&rows::describe(&schema, &formats)?),
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
        let ends_transaction = matches!(
            portal.statement.local(),
            Some(Local::Commit { .. } | Local::Rollback { .. } | Local::Close(None))
        );
        // Zero, and by the protocol's word also a negative number, means no limit.
        let max_rows = u64::try_from(execute.max_rows).ok().filter(|max_rows| *max_rows > 0);
        self.run_portal(&mut portal, max_rows).await?;
        if !ends_transaction {
            self.portals.insert(name.to_string(), portal);
        }
        Ok(())
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
        if !self.transaction.is_open() {
            self.portals.retain(|_, portal| portal.is_held());
        }
    }
}

fn unknown_portal(name: &str) -> Failure {
    Failure::new(Severity::Error, "34000", format!("portal \"{name}\" does not exist"))
}
