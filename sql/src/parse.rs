//! SQL text to statements, PostgreSQL dialect first.
//!
//! Called by `Session::parse`. The one idea: a text may hold several statements, each keeps its own source text,
//! so errors and the query history can show what the user wrote.

use crate::error::Error;
use datafusion::sql::parser::{DFParserBuilder, Statement as Ast};
use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;

/// Nesting the parser itself accepts; flat chains are limited after parsing.
const PARSER_RECURSION_LIMIT: usize = 200;

/// One parsed statement.
#[derive(Debug, Clone)]
pub struct Statement {
    /// The syntax tree, DataFusion's superset of sqlparser's.
    pub ast: Ast,
    /// The statement as SQL text.
    pub sql: String,
}

/// Returns the statements of a text, in order; an empty text gives an empty list.
///
/// # Errors
/// [`Error::Syntax`] with the position, or [`Error::TooComplex`].
pub fn parse(sql: &str) -> Result<Vec<Statement>, Error> {
    let asts = DFParserBuilder::new(sql)
        .with_dialect(&PostgreSqlDialect {})
        .with_recursion_limit(PARSER_RECURSION_LIMIT)
        .build()?
        .parse_statements()?;
    Ok(asts.into_iter().map(|ast| Statement { sql: sql.to_string(), ast }).collect())
}
