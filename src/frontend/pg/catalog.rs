//! `pg_catalog`: what PostgreSQL clients ask a server about itself.
//!
//! One [`Catalog`] belongs to one connection. It brings a schema of tables and a set of functions to the session and
//! rewrites statements that use what DataFusion cannot plan.

use crate::coordinator::{Coordinator, Session};
use crate::error::Result;
use datafusion::catalog::SchemaProvider;
use datafusion::logical_expr::ScalarUDF;
use saltlake_sql::parse::Statement;
use std::sync::{Arc, OnceLock};

/// The catalog as one client sees it.
pub struct Catalog {
    coordinator: Arc<Coordinator>,
    user: String,
    pid: OnceLock<i32>,
}

impl Catalog {
    /// Creates the catalog of a client that logged in as `user`.
    pub fn new(coordinator: Arc<Coordinator>, user: &str) -> Arc<Self> {
        Arc::new(Self { coordinator, user: user.to_string(), pid: OnceLock::new() })
    }

    /// Tells the catalog whose it is; the session opens only after its schemas exist.
    pub fn attach(&self, session: &Session) {
        let _ = self.pid.set(session.pid());
    }

    /// Returns the schemas to add to the session.
    pub fn schemas(&self) -> Vec<(String, Arc<dyn SchemaProvider>)> {
        Vec::new()
    }

    /// Returns the functions to add to the session.
    pub fn functions(&self) -> Vec<Arc<ScalarUDF>> {
        Vec::new()
    }

    /// Rewrites a statement that touches `pg_catalog`; any other stays as it is.
    pub fn rewrite(&self, statement: Statement) -> Result<Statement> {
        Ok(statement)
    }
}
