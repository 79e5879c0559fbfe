//! SQL text to statements, PostgreSQL dialect first.
//!
//! Called by `Session::parse`. The one idea: a text is measured before anything recursive touches it. Bytes first,
//! then (on a large stack) expression depth and node count, because a flat chain such as `1+1+…` parses without
//! recursion into a tree thousands deep and would overflow the stack of whoever walks it next.

mod catalogs;
mod is_distinct;
mod numbers;
mod postgres;

pub use catalogs::catalog_options;
pub use postgres::{CopyOut, CopyValue, is_move};

use crate::error::Error;
use crate::names::OutputNames;
use crate::rewrite::Rewrite;
use crate::time_travel;
use crate::walk::{walk, walk_mut};
use datafusion::common::DataFusionError;
use datafusion::common::format::ExplainStatementOptions;
use datafusion::config::Dialect;
use datafusion::sql::parser::{
    CopyToSource, DFParser, DFParserBuilder, ExplainStatement, Statement as Ast,
};
use datafusion::sql::sqlparser::ast::{
    Expr, Query, SetExpr, Statement as SqlStatement, Visitor, VisitorMut,
};
use datafusion::sql::sqlparser::dialect::{self, PostgreSqlDialect, dialect_from_str};
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::parser::ParserError;
use datafusion::sql::sqlparser::tokenizer::Token;
use std::ops::ControlFlow;

/// Nesting of parentheses and calls that the parser itself accepts; flat chains are limited after parsing.
pub(crate) const PARSER_RECURSION_LIMIT: usize = 200;

/// Selects that UNION, INTERSECT and EXCEPT may chain; planning them recurses with large frames.
const MAX_SET_OPERATIONS: usize = 256;

/// Stack for parsing and measuring. A text of [`Limits::max_bytes`] holds at most half as many operators, and
/// dropping a tree that deep needs some 200 bytes a level.
const PARSE_STACK_BYTES: usize = 256 * 1024 * 1024;

/// Suffixes of files that are compressed as a whole.
const COMPRESSED: [&str; 4] = ["gz", "bz2", "xz", "zst"];

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
    /// Set for `COPY … TO STDOUT`: `ast` is the query, and its rows leave as these options say.
    pub copy: Option<CopyOut>,
    /// What the columns of its result are called.
    pub names: OutputNames,
}

impl Statement {
    /// Makes a statement of a part of another one: of the query of a cursor, say.
    pub fn new(ast: Ast, sql: String) -> Self {
        let names = OutputNames::of(&ast);
        Self { ast, sql, copy: None, names }
    }
}

/// Returns the statements of a text, in order; an empty text gives an empty list.
///
/// # Errors
/// [`Error::Syntax`] with the position, or [`Error::TooComplex`].
pub fn parse(sql: &str, limits: Limits) -> Result<Vec<Statement>, Error> {
    parse_as(Dialect::PostgreSQL, sql, limits)
}

/// As [`parse`], for a text in another dialect.
///
/// # Errors
/// As [`parse`].
pub fn parse_as(dialect: Dialect, sql: &str, limits: Limits) -> Result<Vec<Statement>, Error> {
    if sql.len() > limits.max_bytes {
        return Err(Error::TooComplex {
            what: "statement length in bytes",
            limit: limits.max_bytes,
        });
    }
    // A short text cannot hold a deep tree: skip the large stack for it.
    if sql.len() < 4 * 1024 {
        return parse_measured(dialect, sql, limits);
    }
    stacker::grow(PARSE_STACK_BYTES, || parse_measured(dialect, sql, limits))
}

fn parse_measured(dialect: Dialect, sql: &str, limits: Limits) -> Result<Vec<Statement>, Error> {
    let dialect = dialect_from_str(dialect).unwrap_or_else(|| Box::new(PostgreSqlDialect {}));
    let spelled = time_travel::spell(sql, dialect.as_ref());
    let asts = DFParserBuilder::new(spelled.as_deref().unwrap_or(sql))
        .with_dialect(dialect.as_ref())
        .with_recursion_limit(PARSER_RECURSION_LIMIT)
        .build()
        .and_then(|mut parser| parse_statements(&mut parser, dialect.as_ref()))
        .map_err(syntax_error)?;
    let mut statements = Vec::with_capacity(asts.len());
    for (mut ast, copy) in asts {
        measure(&ast, limits)?;
        let names = OutputNames::of(&ast);
        let _: ControlFlow<()> = visit_mut(&mut ast, &mut numbers::Numbers);
        let _ = visit_mut(&mut ast, &mut is_distinct::IsDistinct);
        rewrite(&mut ast, dialect.as_ref(), limits)?;
        statements.push(Statement { ast, sql: sql.to_string(), copy, names });
    }
    Ok(statements)
}

/// Spells what the planner would get wrong anew, and measures again what became longer.
fn rewrite(ast: &mut Ast, dialect: &dyn dialect::Dialect, limits: Limits) -> Result<(), Error> {
    match visit_mut(ast, &mut Rewrite { dialect }) {
        ControlFlow::Continue(()) => measure(ast, limits),
        ControlFlow::Break(error) => Err(syntax_error(DataFusionError::SQL(Box::new(error), None))),
    }
}

/// A statement, and the options of a `COPY … TO STDOUT`.
type Parsed = (Ast, Option<CopyOut>);

fn parse_statements(
    parser: &mut DFParser<'_>,
    dialect: &dyn dialect::Dialect,
) -> Result<Vec<Parsed>, DataFusionError> {
    let mut statements = vec![];
    loop {
        while parser.parser.consume_token(&Token::SemiColon) {}
        if parser.parser.peek_token().token == Token::EOF {
            return Ok(statements);
        }
        statements.push(parse_one(parser, dialect)?);
        let next = parser.parser.peek_token();
        if !matches!(next.token, Token::SemiColon | Token::EOF) {
            let expected = parser.parser.expected::<()>("end of statement", next);
            return Err(expected.err().map_or_else(
                || DataFusionError::Internal("the parser expected nothing".to_string()),
                |error| DataFusionError::SQL(Box::new(error), None),
            ));
        }
    }
}

fn parse_one(
    parser: &mut DFParser<'_>,
    dialect: &dyn dialect::Dialect,
) -> Result<Parsed, DataFusionError> {
    let failed = |error| DataFusionError::SQL(Box::new(error), None);
    let word = match &parser.parser.peek_token_ref().token {
        Token::Word(word) if word.quote_style.is_none() => word.value.to_ascii_lowercase(),
        _ => String::new(),
    };
    let ast = match word.as_str() {
        "copy" => match postgres::copy_out(&mut parser.parser, dialect).map_err(failed)? {
            Some((query, copy)) => {
                let query = SqlStatement::Query(Box::new(query));
                return Ok((Ast::Statement(Box::new(query)), Some(copy)));
            }
            None => postgres_copy(parser)?,
        },
        "explain" => explained_copy(parser)?,
        "fetch" | "move" => {
            let fetch = postgres::fetch(&mut parser.parser).map_err(failed)?;
            Some(Ast::Statement(Box::new(fetch)))
        }
        "abort" => {
            let abort = postgres::abort(&mut parser.parser).map_err(failed)?;
            Some(Ast::Statement(Box::new(abort)))
        }
        "create" => {
            let create = catalogs::create(&mut parser.parser).map_err(failed)?;
            create.map(|create| Ast::Statement(Box::new(create)))
        }
        "drop" => {
            let drop = catalogs::drop(&mut parser.parser).map_err(failed)?;
            drop.map(|drop| Ast::Statement(Box::new(drop)))
        }
        _ => None,
    };
    let mut ast = match ast {
        Some(ast) => ast,
        None => parser.parse_statement()?,
    };
    name_format(&mut ast);
    Ok((ast, None))
}

/// Parses EXPLAIN of PostgreSQL's form of COPY; all others are left to DataFusion's parser.
fn explained_copy(parser: &mut DFParser<'_>) -> Result<Option<Ast>, DataFusionError> {
    let mut options = ExplainStatementOptions::default();
    let mut listed = vec![];
    let explained = parser.parser.maybe_parse(|parser| {
        parser.next_token();
        match parser.peek_token_ref().token {
            Token::LParen => listed = parser.parse_utility_options()?,
            _ => {
                options.analyze = parser.parse_keyword(Keyword::ANALYZE);
                options.verbose = parser.parse_keyword(Keyword::VERBOSE);
            }
        }
        match parser.peek_keyword(Keyword::COPY) {
            true => Ok(()),
            false => parser.expected_ref("COPY", parser.peek_token_ref()),
        }
    });
    if explained.ok().flatten().is_none() {
        return Ok(None);
    }
    if !listed.is_empty() {
        options = ExplainStatementOptions::from_utility_options(&listed)?;
    }
    let statement = match postgres_copy(parser)? {
        Some(copy) => copy,
        None => parser.parse_statement()?,
    };
    Ok(Some(Ast::Explain(ExplainStatement { options, statement: Box::new(statement) })))
}

/// Parses PostgreSQL's `COPY … (FORMAT csv, HEADER)`; DataFusion's own form of COPY is left to its parser.
fn postgres_copy(parser: &mut DFParser<'_>) -> Result<Option<Ast>, DataFusionError> {
    let failed = |error| DataFusionError::SQL(Box::new(error), None);
    if let Some(copy) = postgres::copy_to_file(&mut parser.parser).map_err(failed)? {
        return Ok(Some(Ast::CopyTo(copy)));
    }
    let copy = parser.parser.maybe_parse(|parser| {
        let statement = parser.parse_statement()?;
        match parser.peek_token().token {
            Token::SemiColon | Token::EOF => Ok(statement),
            _ => parser.expected_ref("end of statement", parser.peek_token_ref()),
        }
    });
    Ok(copy.map_err(failed)?.map(|statement| Ast::Statement(Box::new(statement))))
}

/// Names the format of a COPY where the engine does not see it in the name of the file: `x.csv.gz`, `x.tsv`.
fn name_format(ast: &mut Ast) {
    match ast {
        Ast::Explain(explain) => name_format(&mut explain.statement),
        Ast::CopyTo(copy) if copy.stored_as.is_none() => {
            let name = copy.target.to_ascii_lowercase();
            let file = name.rsplit('/').next().unwrap_or_default();
            let suffix = match file.rsplit_once('.') {
                Some((stem, last)) if COMPRESSED.contains(&last) => stem.rsplit_once('.'),
                split => split,
            };
            copy.stored_as = match suffix.map(|(_, suffix)| suffix) {
                Some("csv" | "tsv") => Some("CSV".to_string()),
                Some("json" | "ndjson" | "jsonl") => Some("JSON".to_string()),
                _ => None,
            };
        }
        _ => {}
    }
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

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<Error> {
        self.enter()?;
        limit_set_operations(&query.body)
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

/// Counts a chain of set operations along its left side, where the parser puts it.
fn limit_set_operations(mut body: &SetExpr) -> ControlFlow<Error> {
    let mut n_operations = 0;
    while let SetExpr::SetOperation { left, .. } = body {
        n_operations += 1;
        body = left;
    }
    match n_operations > MAX_SET_OPERATIONS {
        true => ControlFlow::Break(Error::TooComplex {
            what: "number of set operations",
            limit: MAX_SET_OPERATIONS,
        }),
        false => ControlFlow::Continue(()),
    }
}

/// Walks what a statement says in SQL.
pub(crate) fn visit<V: Visitor>(ast: &Ast, visitor: &mut V) -> ControlFlow<V::Break> {
    match ast {
        Ast::Statement(statement) => walk(statement.as_ref(), visitor),
        Ast::Explain(explain) => visit(&explain.statement, visitor),
        Ast::CopyTo(copy) => match &copy.source {
            CopyToSource::Query(query) => walk(query.as_ref(), visitor),
            CopyToSource::Relation(_) => ControlFlow::Continue(()),
        },
        _ => ControlFlow::Continue(()),
    }
}

/// As [`visit`], for a visitor that changes it.
pub(crate) fn visit_mut<V: VisitorMut>(ast: &mut Ast, visitor: &mut V) -> ControlFlow<V::Break> {
    match ast {
        Ast::Statement(statement) => walk_mut(statement.as_mut(), visitor),
        Ast::Explain(explain) => visit_mut(&mut explain.statement, visitor),
        Ast::CopyTo(copy) => match &mut copy.source {
            CopyToSource::Query(query) => walk_mut(query.as_mut(), visitor),
            CopyToSource::Relation(_) => ControlFlow::Continue(()),
        },
        _ => ControlFlow::Continue(()),
    }
}

fn measure(ast: &Ast, limits: Limits) -> Result<(), Error> {
    let mut measure = Measure { limits, depth: 0, nodes: 0 };
    match visit(ast, &mut measure) {
        ControlFlow::Break(error) => Err(error),
        ControlFlow::Continue(()) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use datafusion::sql::sqlparser::ast::Value;

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
        let Error::Syntax { line, column, .. } = error_of("SELECT 1\nFROM )") else { panic!() };
        assert_eq!((line, column), (2, 6));
    }

    #[test]
    fn both_forms_of_copy_are_one_statement() {
        let copy = |sql: &str| match parse(sql, Limits::default()).unwrap().remove(0).ast {
            Ast::CopyTo(copy) => copy,
            other => panic!("{other}"),
        };
        let ours =
            copy("COPY (SELECT 1) TO 'x.csv' STORED AS CSV OPTIONS ('format.has_header' 'true')");
        let postgres = copy("COPY (SELECT 1) TO 'x.csv' (FORMAT csv, HEADER true)");
        assert_eq!(ours, postgres);
        assert_eq!(copy("COPY t TO 'x.parquet';").stored_as, None);
        assert_eq!(copy("COPY t TO 'x.CSV.gz'").stored_as.as_deref(), Some("CSV"));
        assert_eq!(copy("COPY t TO 'a.csv/x.zst'").stored_as, None);
        let compressed =
            copy("COPY t TO 'x.json' WITH (FORMAT 'json', COMPRESSION gzip, HEADER off)");
        assert_eq!(compressed.stored_as.as_deref(), Some("JSON"));
        let option = |name: &str, value: &str| {
            (format!("format.{name}"), Value::SingleQuotedString(value.to_string()))
        };
        assert_eq!(
            compressed.options,
            [option("compression", "gzip"), option("has_header", "false")]
        );
        assert!(parse("COPY t TO 'x.csv' (FREEZE)", Limits::default()).is_ok());
        assert!(parse("COPY t TO 'x.csv' (NONSENSE 1)", Limits::default()).is_err());
        let explained = "EXPLAIN ANALYZE COPY (SELECT 1) TO 'x.csv' (FORMAT csv, HEADER true)";
        match parse(explained, Limits::default()).unwrap().remove(0).ast {
            Ast::Explain(explain) => {
                assert!(explain.options.analyze && !explain.options.verbose);
                assert_eq!(*explain.statement, Ast::CopyTo(postgres));
            }
            other => panic!("{other}"),
        }
        let listed = "EXPLAIN (ANALYZE, VERBOSE on) COPY (SELECT 1) TO 'x.csv' (FORMAT csv)";
        match parse(listed, Limits::default()).unwrap().remove(0).ast {
            Ast::Explain(explain) => {
                assert!(explain.options.analyze && explain.options.verbose);
                assert!(matches!(*explain.statement, Ast::CopyTo(_)));
            }
            other => panic!("{other}"),
        }
        let unknown = "EXPLAIN (BUFFER) COPY (SELECT 1) TO 'x.csv' (FORMAT csv)";
        assert!(error_of(unknown).to_string().contains("BUFFER"));
        let to_client = parse("COPY t TO STDOUT", Limits::default()).unwrap().remove(0);
        assert!(matches!(to_client.ast, Ast::Statement(_)) && to_client.copy.is_some());
    }

    #[test]
    fn flat_chains_are_refused_not_overflowed() {
        for n in [2_000, 20_000, 200_000] {
            let sql = format!("SELECT {}", vec!["1"; n].join("+"));
            assert!(matches!(error_of(&sql), Error::TooComplex { .. }), "{n} terms");
        }
        let sql = vec!["SELECT 1"; 3_000].join(" UNION ALL ");
        assert!(matches!(error_of(&sql), Error::TooComplex { .. }));
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
