//! `pg_catalog`: what PostgreSQL clients ask a server about itself.
//!
//! One [`Catalog`] belongs to one connection. It brings a schema of tables and a set of functions to the session and
//! rewrites statements that use what DataFusion cannot plan. Everything is read from the lake when it is asked for:
//! the catalog keeps nothing but the names it listed last.

mod functions;
mod named;
mod oid;
mod provider;
mod rewrite;
mod rows;
mod snapshot;
mod tables;
mod typed_null;

pub use named::{Named, ShownCursor, ShownStatement};

use crate::coordinator::Session;
use crate::error::Result;
use datafusion::catalog::SchemaProvider;
use datafusion::logical_expr::ScalarUDF;
use functions::Context;
use parking_lot::Mutex;
use provider::{PgCatalogSchema, Source};
use saltlake_catalog::Database;
use saltlake_sql::parse::Statement;
use snapshot::Latest;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// The catalog as one client sees it.
pub struct Catalog {
    source: Arc<Source>,
    context: Arc<Context>,
}

impl Catalog {
    /// Creates the catalog of a client that logged in as `user` and connected to the database `lake`.
    pub fn new(lake: Database, user: &str) -> Arc<Self> {
        let latest = Arc::new(Latest::default());
        let database = lake.catalog_name().to_string();
        let context = Context {
            user: user.to_string(),
            database,
            latest,
            session: OnceLock::new(),
            named: Mutex::default(),
        };
        let context = Arc::new(context);
        let source = Source { lake, context: Arc::clone(&context) };
        Arc::new(Self { source: Arc::new(source), context })
    }

    /// Tells the catalog what its connection has prepared and declared.
    pub fn note_names(&self, named: Named) {
        *self.context.named.lock() = named;
    }

    /// Tells the catalog whose it is; the session opens only after its schemas exist.
    pub fn attach(&self, session: &Arc<Session>) {
        // A catalog has one session, so a second call has nothing to add.
        let _ = self.context.session.set(Arc::downgrade(session));
    }

    /// Returns the schemas to add to the session.
    pub fn schemas(&self) -> Vec<(String, Arc<dyn SchemaProvider>)> {
        let schema = PgCatalogSchema::new(Arc::clone(&self.source));
        vec![("pg_catalog".to_string(), Arc::new(schema))]
    }

    /// Returns the functions to add to the session.
    pub fn functions(&self) -> Vec<Arc<ScalarUDF>> {
        functions::all(&self.context)
    }

    /// Rewrites a statement that touches `pg_catalog` and lists the lake for its functions; others stay as they are.
    ///
    /// # Errors
    /// When the lake cannot be listed.
    pub async fn rewrite(&self, mut statement: Statement) -> Result<Statement> {
        let touches = rewrite::rewrite(&mut statement.ast);
        if touches || NAMES_THE_LAKE.iter().any(|name| contains(&statement.sql, name)) {
            let with_definitions = statement.sql.contains("pg_get_viewdef");
            let (lake, context) = (&self.source.lake, &self.context);
            let path = context.search_path();
            context.latest.refresh(lake, path, with_definitions, Duration::ZERO).await?;
        }
        Ok(statement)
    }
}

/// Functions that know the lake, which a statement may call without touching a table of the catalog.
const NAMES_THE_LAKE: [&str; 5] =
    ["current_schema", "to_regclass", "obj_description", "_is_visible", "pg_get_viewdef"];

/// Returns whether a text holds a word, however it is written.
fn contains(text: &str, word: &str) -> bool {
    text.as_bytes().windows(word.len()).any(|window| window.eq_ignore_ascii_case(word.as_bytes()))
}

#[cfg(test)]
mod tests;
