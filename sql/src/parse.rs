//! SQL text to statements, PostgreSQL dialect first.
//!
//! Called by `Session::parse`. The one idea: a text is measured before anything recursive touches it. Bytes first,
//! then (on a large stack) expression depth and node count, because a flat chain such as `1+1+…` parses without
//! recursion into a tree thousands deep and would overflow the stack of whoever walks it next.

use crate::error::Error;
use datafusion::common::DataFusionError;
use datafusion::sql::parser::{DFParserBuilder, Statement as Ast};
use datafusion::sql::sqlparser::ast::{Expr, Query, Visit, Visitor};
use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
use datafusion::sql::sqlparser::parser::ParserError;
use std::ops::ControlFlow;

/// Nesting of parentheses and calls that the parser itself accepts; flat chains are limited after parsing.
const PARSER_RECURSION_LIMIT: usize = 200;

/// Stack for parsing and measuring. A text of [`Limits::max_bytes`] holds at most half as many operators, and
/// dropping a tree that deep needs some 200 bytes a level.
const PARSE_STACK_BYTES: usize = 256 * 1024 * 1024;

/// How large a statement may be.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Bytes of SQL text in one message.
    pub max_bytes: usize,
    /// Levels of nested expressions and queries; a chain of n operators counts n levels.
    pub max_depth: usize,
    /// Expressions in one statement.
    pub max_nodes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { max_bytes: 1024 * 1024, max_depth: 1000, max_nodes: 50_000 }
    }
}

/// One parsed statement.
#[derive(Debug, Clone)]
pub struct Statement {
    /// The syntax tree, DataFusion's superset of sqlparser's.
    pub ast: Ast,
    /// The text it came in: the whole message, so that positions fit.
    pub sql: String,
}

/// Returns the statements of a text, in order; an empty text gives an empty list.
///
/// # Errors
/// [`Error::Syntax`] with the position, or [`Error::TooComplex`].
pub fn parse(sql: &str, limits: Limits) -> Result<Vec<Statement>, Error> {
    if sql.len() > limits.max_bytes {
        return Err(Error::TooComplex {
            what: "statement length in bytes",
            limit: limits.max_bytes,
        });
    }
    // A short text cannot hold a deep tree: skip the large stack for it.
    if sql.len() < 16 * 1024 {
        return parse_measured(sql, limits);
    }
    stacker::grow(PARSE_STACK_BYTES, || parse_measured(sql, limits))
}

fn parse_measured(sql: &str, limits: Limits) -> Result<Vec<Statement>, Error> {
    let asts = DFParserBuilder::new(sql)
        .with_dialect(&PostgreSqlDialect {})
        .with_recursion_limit(PARSER_RECURSION_LIMIT)
        .build()
        .and_then(|mut parser| parser.parse_statements())
        .map_err(syntax_error)?;
    let mut statements = Vec::with_capacity(asts.len());
    for ast in asts {
        measure(&ast, limits)?;
        statements.push(Statement { ast, sql: sql.to_string() });
    }
    Ok(statements)
}

/// Splits the position off the parser's message.
fn syntax_error(error: DataFusionError) -> Error {
    let DataFusionError::SQL(parser_error, _) = &error else { return Error::DataFusion(error) };
    let text = match parser_error.as_ref() {
        ParserError::TokenizerError(text) | ParserError::ParserError(text) => text,
        ParserError::RecursionLimitExceeded => {
            return Error::TooComplex { what: "nesting", limit: PARSER_RECURSION_LIMIT };
        }
    };
    let (message, line, column) = split_position(text);
    Error::Syntax { message: message.to_string(), line, column }
}

/// Returns the text without its closing ` at Line: 1, Column: 8`, and the two numbers (0 when absent).
fn split_position(text: &str) -> (&str, u64, u64) {
    let Some(at) = text.rfind(" at Line: ") else { return (text, 0, 0) };
    let numbers = text[at + " at Line: ".len()..].split_once(", Column: ");
    match numbers.map(|(line, column)| (line.parse(), column.trim().parse())) {
        Some((Ok(line), Ok(column))) => (&text[..at], line, column),
        _ => (text, 0, 0),
    }
}

/// Counts depth and nodes while sqlparser walks the tree.
struct Measure {
    limits: Limits,
    depth: usize,
    nodes: usize,
}

impl Measure {
    fn enter(&mut self) -> ControlFlow<Error> {
        self.depth += 1;
        self.nodes += 1;
        if self.depth > self.limits.max_depth {
            let limit = self.limits.max_depth;
            return ControlFlow::Break(Error::TooComplex { what: "expression depth", limit });
        }
        if self.nodes > self.limits.max_nodes {
            let limit = self.limits.max_nodes;
            return ControlFlow::Break(Error::TooComplex { what: "number of expressions", limit });
        }
        ControlFlow::Continue(())
    }
}

impl Visitor for Measure {
    type Break = Error;

    fn pre_visit_query(&mut self, _: &Query) -> ControlFlow<Error> {
        self.enter()
    }

    fn post_visit_query(&mut self, _: &Query) -> ControlFlow<Error> {
        self.depth -= 1;
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, _: &Expr) -> ControlFlow<Error> {
        self.enter()
    }

    fn post_visit_expr(&mut self, _: &Expr) -> ControlFlow<Error> {
        self.depth -= 1;
        ControlFlow::Continue(())
    }
}

fn measure(ast: &Ast, limits: Limits) -> Result<(), Error> {
    let mut measure = Measure { limits, depth: 0, nodes: 0 };
    match visit(ast, &mut measure) {
        ControlFlow::Break(error) => Err(error),
        ControlFlow::Continue(()) => Ok(()),
    }
}

fn visit(ast: &Ast, measure: &mut Measure) -> ControlFlow<Error> {
    use datafusion::sql::parser::CopyToSource;
    match ast {
        Ast::Statement(statement) => statement.visit(measure),
        Ast::Explain(explain) => visit(&explain.statement, measure),
        Ast::CopyTo(copy) => match &copy.source {
            CopyToSource::Query(query) => query.visit(measure),
            CopyToSource::Relation(_) => ControlFlow::Continue(()),
        },
        _ => ControlFlow::Continue(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error_of(sql: &str) -> Error {
        parse(sql, Limits::default()).expect_err(sql)
    }

    #[test]
    fn several_statements_keep_their_order() {
        let statements = parse("SELECT 1; SELECT 2;", Limits::default()).unwrap();
        let texts: Vec<_> = statements.iter().map(|s| s.ast.to_string()).collect();
        assert_eq!(texts, ["SELECT 1", "SELECT 2"]);
    }

    #[test]
    fn empty_text_is_no_statement() {
        assert!(parse("  -- nothing\n", Limits::default()).unwrap().is_empty());
    }

    #[test]
    fn syntax_error_carries_its_position() {
        let Error::Syntax { line, column, .. } = error_of("SELECT 1\nFROM WHERE") else { panic!() };
        assert_eq!((line, column), (2, 6));
    }

    #[test]
    fn flat_chains_are_refused_not_overflowed() {
        for n in [2_000, 20_000, 200_000] {
            let sql = format!("SELECT {}", vec!["1"; n].join("+"));
            assert!(matches!(error_of(&sql), Error::TooComplex { .. }), "{n} terms");
        }
        let sql = format!("SELECT 1 WHERE {}", vec!["1=0"; 50_000].join(" OR "));
        assert!(matches!(error_of(&sql), Error::TooComplex { .. }));
    }

    #[test]
    fn deep_parentheses_are_refused() {
        let sql = format!("SELECT {}1{}", "(".repeat(50_000), ")".repeat(50_000));
        assert!(matches!(error_of(&sql), Error::TooComplex { .. } | Error::Syntax { .. }));
    }

    #[test]
    fn a_chain_below_the_limit_is_accepted() {
        let sql = format!("SELECT {}", vec!["1"; 900].join("+"));
        assert_eq!(parse(&sql, Limits::default()).unwrap().len(), 1);
    }

    #[test]
    fn long_flat_lists_are_not_deep() {
        let list: Vec<_> = (0..20_000).map(|i| i.to_string()).collect();
        let sql = format!("SELECT 1 WHERE 1 IN ({})", list.join(","));
        assert_eq!(parse(&sql, Limits::default()).unwrap().len(), 1);
    }
}
