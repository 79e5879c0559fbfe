//! What a connection has prepared and declared, for `pg_prepared_statements` and `pg_cursors`.

use std::time::SystemTime;

/// Everything of one connection that has a name.
#[derive(Debug, Clone, Default)]
pub struct Named {
    /// Prepared statements.
    pub statements: Vec<ShownStatement>,
    /// Cursors and portals.
    pub cursors: Vec<ShownCursor>,
}

/// A line of `pg_prepared_statements`.
#[derive(Debug, Clone)]
pub struct ShownStatement {
    /// Its name.
    pub name: String,
    /// The text it came in.
    pub sql: String,
    /// When it was prepared.
    pub prepared: SystemTime,
    /// Types of its parameters.
    pub types: Vec<String>,
    /// Whether PREPARE made it, and not the protocol.
    pub is_sql: bool,
}

/// A line of `pg_cursors`.
#[derive(Debug, Clone)]
pub struct ShownCursor {
    /// Its name.
    pub name: String,
    /// The text it came in.
    pub sql: String,
    /// Whether it may outlive its transaction.
    pub is_holdable: bool,
    /// Whether its rows leave in binary form.
    pub is_binary: bool,
    /// Whether it was declared to scroll.
    pub is_scrollable: bool,
    /// When it was declared.
    pub created: SystemTime,
}
