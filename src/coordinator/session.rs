//! `Session::execute`: the spine. Parse, plan, optimize, admit, run.

use crate::error::Result;
use arrow::datatypes::{DataType, SchemaRef};
use datafusion::catalog::SchemaProvider;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::logical_expr::{LogicalPlan, ScalarUDF};
use datafusion::scalar::ScalarValue;
use saltlake_sql::parse::Statement;
use std::sync::Arc;

/// What a frontend says about a client when it opens a session.
#[derive(Debug, Clone, Default)]
pub struct SessionOptions {
    /// Name the client logged in with.
    pub user: String,
    /// Catalog the client asked for; empty means the default.
    pub database: String,
    /// What the client calls itself.
    pub application_name: String,
    /// Which door: "pg", "flight", "http", "shell".
    pub frontend: &'static str,
    /// Schemas a frontend adds to the catalog, such as `pg_catalog`.
    pub extra_schemas: Vec<(String, Arc<dyn SchemaProvider>)>,
    /// Functions a frontend adds.
    pub extra_functions: Vec<Arc<ScalarUDF>>,
}

/// A statement that was planned once and can run several times.
#[derive(Debug, Clone)]
pub struct Prepared {
    /// The statement as parsed.
    pub statement: Statement,
    /// Columns of the result; `None` for a statement without rows.
    pub schema: Option<SchemaRef>,
    /// Types of `$1`, `$2`, …; `None` where the plan does not say.
    pub parameters: Vec<Option<DataType>>,
    /// The logical plan, when the statement has one before it runs.
    pub plan: Option<LogicalPlan>,
}

/// Rows of a running query. Dropping the stream cancels the query.
pub struct Rows {
    /// The query's id, as in `system.queries` and the logs.
    pub query_id: uuid::Uuid,
    /// Columns, equal to the schema of every batch.
    pub schema: SchemaRef,
    /// The batches.
    pub stream: SendableRecordBatchStream,
}

/// What a statement gave.
pub enum Outcome {
    /// A result set, streamed.
    Rows(Rows),
    /// A command that returns no rows, with PostgreSQL's command tag such as `CREATE VIEW` or `COPY 42`.
    Done {
        /// The command tag.
        tag: String,
    },
}

/// One client's connection to the coordinator: its settings, its running query.
pub struct Session {}

impl Session {
    /// Returns the number PostgreSQL clients know as the backend's process id; unique among open sessions.
    pub fn pid(&self) -> i32 {
        unimplemented!()
    }

    /// Returns the secret a cancel request must bring.
    pub fn secret(&self) -> i32 {
        unimplemented!()
    }

    /// Cancels what this session runs.
    pub fn cancel(&self) {
        unimplemented!()
    }

    /// Returns the value of a session setting as `SHOW name` would print it.
    pub fn setting(&self, name: &str) -> Option<String> {
        let _ = name;
        unimplemented!()
    }

    /// Splits a text into statements.
    pub fn parse(&self, sql: &str) -> Result<Vec<Statement>> {
        Ok(saltlake_sql::parse::parse(sql)?)
    }

    /// Plans a statement without running it.
    pub async fn prepare(&self, statement: &Statement) -> Result<Prepared> {
        let _ = statement;
        unimplemented!()
    }

    /// Runs a prepared statement with values for its parameters.
    pub async fn run(&self, prepared: &Prepared, parameters: Vec<ScalarValue>) -> Result<Outcome> {
        let _ = (prepared, parameters);
        unimplemented!()
    }

    /// Parses, plans and runs a text that holds exactly one statement.
    pub async fn execute(&self, sql: &str) -> Result<Outcome> {
        let _ = sql;
        unimplemented!()
    }
}
