//! Statements of PostgreSQL that sqlparser reads otherwise or not at all: `COPY … TO`, `FETCH`, `MOVE`.
//!
//! Called by `parse` before its other parsers. A COPY becomes the query whose rows it sends, with its options beside it.
//! A MOVE becomes a FETCH whose rows go nowhere: into an empty name, see [`is_move`].

use datafusion::sql::parser::{CopyToSource, CopyToStatement};
use datafusion::sql::sqlparser::ast::{
    Expr, FetchDirection, FetchPosition, Ident, ObjectName, Query, SelectItem, SetExpr, Statement,
    TableFactor, Value, ValueWithSpan,
};
use datafusion::sql::sqlparser::dialect::Dialect;
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::parser::{IsOptional, Parser, ParserError};
use datafusion::sql::sqlparser::tokenizer::Token;

/// What a `COPY … TO STDOUT` says besides its query.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CopyOut {
    /// Option names in lower case with their values, in order; not checked yet.
    pub options: Vec<(String, CopyValue)>,
}

/// The value of a COPY option.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CopyValue {
    /// The option stands alone.
    None,
    /// A word, a number or a string.
    Text(String),
    /// Names of columns.
    Columns(Vec<Ident>),
    /// `*`
    All,
}

/// Returns whether a FETCH was written as MOVE.
pub fn is_move(into: Option<&ObjectName>) -> bool {
    into.is_some_and(|name| name.0.is_empty())
}

/// Parses `COPY … TO STDOUT`; `None`, with nothing consumed, for any other COPY.
pub(super) fn copy_out(
    parser: &mut Parser<'_>,
    dialect: &dyn Dialect,
) -> Result<Option<(Query, CopyOut)>, ParserError> {
    let head = parser.maybe_parse(|parser| {
        parser.expect_keyword(Keyword::COPY)?;
        let is_binary = parser.parse_keyword(Keyword::BINARY);
        let query = source(parser, dialect)?;
        parser.expect_keyword(Keyword::TO)?;
        parser.expect_keyword(Keyword::STDOUT)?;
        Ok((query, is_binary))
    })?;
    let Some((query, is_binary)) = head else { return Ok(None) };
    let mut copy = CopyOut::default();
    if is_binary {
        copy.options.push(("format".to_string(), CopyValue::Text("binary".to_string())));
    }
    let _ = parser.parse_keyword(Keyword::WITH);
    if parser.consume_token(&Token::LParen) {
        copy.options.extend(parser.parse_comma_separated(option)?);
        parser.expect_token(&Token::RParen)?;
    } else {
        while let Some(option) = old_option(parser)? {
            copy.options.push(option);
        }
    }
    Ok(Some((query, copy)))
}

/// Parses `COPY … TO 'file' (FORMAT csv, …)` as the engine's COPY; `None`, with nothing consumed, for any other COPY, and
/// for options that the engine has no counterpart of.
pub(super) fn copy_to_file(
    parser: &mut Parser<'_>,
) -> Result<Option<CopyToStatement>, ParserError> {
    parser.maybe_parse(|parser| {
        parser.expect_keyword(Keyword::COPY)?;
        let source = match parser.consume_token(&Token::LParen) {
            true => {
                let query = parser.parse_query()?;
                parser.expect_token(&Token::RParen)?;
                CopyToSource::Query(query)
            }
            false => CopyToSource::Relation(parser.parse_object_name(false)?),
        };
        parser.expect_keyword(Keyword::TO)?;
        let target = parser.parse_literal_string()?;
        let _ = parser.parse_keyword(Keyword::WITH);
        let mut options = vec![];
        if parser.consume_token(&Token::LParen) {
            options = parser.parse_comma_separated(option)?;
            parser.expect_token(&Token::RParen)?;
        }
        if !matches!(parser.peek_token_ref().token, Token::SemiColon | Token::EOF) {
            return parser.expected_ref("end of statement", parser.peek_token_ref());
        }
        let (partitioned_by, stored_as) = (vec![], None);
        let mut copy =
            CopyToStatement { source, target, partitioned_by, stored_as, options: vec![] };
        match options.into_iter().all(|option| add_option(option, &mut copy)) {
            true => Ok(copy),
            false => parser.expected_ref("an option of COPY", parser.peek_token_ref()),
        }
    })
}

/// Adds one of PostgreSQL's options; returns whether it has a counterpart.
fn add_option((name, value): (String, CopyValue), copy: &mut CopyToStatement) -> bool {
    let value = match value {
        CopyValue::None => "true".to_string(),
        CopyValue::Text(text) => text,
        CopyValue::Columns(_) | CopyValue::All => return false,
    };
    let is_character = value.chars().count() == 1;
    let (name, value) = match name.as_str() {
        "format" => {
            copy.stored_as = Some(value.to_uppercase());
            return true;
        }
        "header" => match value.to_ascii_lowercase().as_str() {
            "true" | "on" | "1" => ("has_header", "true".to_string()),
            "false" | "off" | "0" => ("has_header", "false".to_string()),
            _ => return false,
        },
        "delimiter" | "quote" | "escape" if is_character => (name.as_str(), value),
        "null" => ("null_value", value),
        "compression" => ("compression", value),
        "encoding" => return value.eq_ignore_ascii_case("utf8"),
        _ => return false,
    };
    copy.options.push((format!("format.{name}"), Value::SingleQuotedString(value)));
    true
}

fn source(parser: &mut Parser<'_>, dialect: &dyn Dialect) -> Result<Query, ParserError> {
    if parser.consume_token(&Token::LParen) {
        let query = parser.parse_query()?;
        parser.expect_token(&Token::RParen)?;
        return Ok(*query);
    }
    let table = parser.parse_object_name(false)?;
    let columns = parser.parse_parenthesized_column_list(IsOptional::Optional, false)?;
    let mut query = Parser::new(dialect).try_with_sql("SELECT * FROM t")?.parse_query()?;
    // The names keep their places in the text, so that an error points at them.
    if let SetExpr::Select(select) = query.body.as_mut() {
        if let Some(TableFactor::Table { name, .. }) =
            select.from.first_mut().map(|from| &mut from.relation)
        {
            *name = table;
        }
        if !columns.is_empty() {
            let item = |column| SelectItem::UnnamedExpr(Expr::Identifier(column));
            select.projection = columns.into_iter().map(item).collect();
        }
    }
    Ok(*query)
}

/// One option in parentheses: a name and perhaps a value.
fn option(parser: &mut Parser<'_>) -> Result<(String, CopyValue), ParserError> {
    let name = parser.parse_identifier()?.value.to_lowercase();
    let value = match &parser.peek_token_ref().token {
        Token::Comma | Token::RParen => CopyValue::None,
        Token::Mul => {
            parser.next_token();
            CopyValue::All
        }
        Token::LParen => CopyValue::Columns(columns(parser)?),
        Token::Number(..) | Token::Word(_) => CopyValue::Text(word(parser)),
        _ => CopyValue::Text(parser.parse_literal_string()?),
    };
    Ok((name, value))
}

/// A word or number as text, without its quotes.
fn word(parser: &mut Parser<'_>) -> String {
    match parser.next_token().token {
        Token::Word(word) if word.quote_style.is_none() => word.value.to_lowercase(),
        Token::Word(word) => word.value,
        token => token.to_string(),
    }
}

fn columns(parser: &mut Parser<'_>) -> Result<Vec<Ident>, ParserError> {
    parser.parse_parenthesized_column_list(IsOptional::Mandatory, false)
}

/// One option as PostgreSQL wrote them before version 9.0, `None` at the end.
fn old_option(parser: &mut Parser<'_>) -> Result<Option<(String, CopyValue)>, ParserError> {
    let keyword = parser.parse_one_of_keywords(&[
        Keyword::BINARY,
        Keyword::CSV,
        Keyword::HEADER,
        Keyword::FREEZE,
        Keyword::DELIMITER,
        Keyword::NULL,
        Keyword::QUOTE,
        Keyword::ESCAPE,
        Keyword::ENCODING,
        Keyword::FORCE,
    ]);
    let text = |parser: &mut Parser<'_>| {
        let _ = parser.parse_keyword(Keyword::AS);
        parser.parse_literal_string().map(CopyValue::Text)
    };
    let format = |name: &str| CopyValue::Text(name.to_string());
    let (name, value) = match keyword {
        None => return Ok(None),
        Some(Keyword::BINARY) => ("format", format("binary")),
        Some(Keyword::CSV) => ("format", format("csv")),
        Some(Keyword::HEADER) => ("header", CopyValue::None),
        Some(Keyword::FREEZE) => ("freeze", CopyValue::None),
        Some(Keyword::DELIMITER) => ("delimiter", text(parser)?),
        Some(Keyword::NULL) => ("null", text(parser)?),
        Some(Keyword::QUOTE) => ("quote", text(parser)?),
        Some(Keyword::ESCAPE) => ("escape", text(parser)?),
        Some(Keyword::ENCODING) => ("encoding", text(parser)?),
        Some(_) => {
            let name = match parser.parse_keywords(&[Keyword::NOT, Keyword::NULL]) {
                true => "force_not_null",
                false if parser.parse_keyword(Keyword::NULL) => "force_null",
                false => {
                    parser.expect_keyword(Keyword::QUOTE)?;
                    "force_quote"
                }
            };
            let value = match parser.consume_token(&Token::Mul) {
                true => CopyValue::All,
                false => CopyValue::Columns(
                    parser.parse_comma_separated(|parser| parser.parse_identifier())?,
                ),
            };
            (name, value)
        }
    };
    Ok(Some((name.to_string(), value)))
}

/// Parses ABORT, which is ROLLBACK; the caller has seen the word.
pub(super) fn abort(parser: &mut Parser<'_>) -> Result<Statement, ParserError> {
    parser.next_token();
    let _ = parser.parse_one_of_keywords(&[Keyword::TRANSACTION, Keyword::WORK]);
    let chain = parser.parse_commit_rollback_chain()?;
    Ok(Statement::Rollback { chain, savepoint: None })
}

/// Parses FETCH or MOVE; the caller has seen the word.
pub(super) fn fetch(parser: &mut Parser<'_>) -> Result<Statement, ParserError> {
    let is_move = !parser.parse_keyword(Keyword::FETCH);
    if is_move {
        parser.next_token();
    }
    let direction = direction(parser)?;
    let position = match parser.parse_one_of_keywords(&[Keyword::FROM, Keyword::IN]) {
        Some(Keyword::IN) => FetchPosition::In,
        _ => FetchPosition::From,
    };
    let name = parser.parse_identifier()?;
    Ok(Statement::Fetch { name, direction, position, into: is_move.then(|| ObjectName(vec![])) })
}

fn direction(parser: &mut Parser<'_>) -> Result<FetchDirection, ParserError> {
    let keyword = parser.parse_one_of_keywords(&[
        Keyword::NEXT,
        Keyword::PRIOR,
        Keyword::FIRST,
        Keyword::LAST,
        Keyword::ABSOLUTE,
        Keyword::RELATIVE,
        Keyword::FORWARD,
        Keyword::BACKWARD,
        Keyword::ALL,
    ]);
    Ok(match keyword {
        Some(Keyword::NEXT) => FetchDirection::Next,
        Some(Keyword::PRIOR) => FetchDirection::Prior,
        Some(Keyword::FIRST) => FetchDirection::First,
        Some(Keyword::LAST) => FetchDirection::Last,
        Some(Keyword::ABSOLUTE) => FetchDirection::Absolute { limit: required_count(parser)? },
        Some(Keyword::RELATIVE) => FetchDirection::Relative { limit: required_count(parser)? },
        Some(Keyword::FORWARD) => match parser.parse_keyword(Keyword::ALL) {
            true => FetchDirection::ForwardAll,
            false => FetchDirection::Forward { limit: count(parser)? },
        },
        Some(Keyword::BACKWARD) => match parser.parse_keyword(Keyword::ALL) {
            true => FetchDirection::BackwardAll,
            false => FetchDirection::Backward { limit: count(parser)? },
        },
        Some(_) => FetchDirection::All,
        None => match count(parser)? {
            Some(limit) => FetchDirection::Count { limit },
            None => FetchDirection::Next,
        },
    })
}

/// A whole number with or without a sign, if there is one.
fn count(parser: &mut Parser<'_>) -> Result<Option<ValueWithSpan>, ParserError> {
    let sign = match parser.peek_token_ref().token {
        Token::Minus => "-",
        Token::Plus | Token::Number(..) => "",
        _ => return Ok(None),
    };
    if !matches!(parser.peek_token_ref().token, Token::Number(..)) {
        parser.next_token();
    }
    let number = parser.next_token();
    match &number.token {
        Token::Number(digits, _) if digits.parse::<i32>().is_ok() => {
            let number = Value::Number(format!("{sign}{digits}"), false);
            Ok(Some(number.into()))
        }
        _ => parser.expected("an integer", number),
    }
}

fn required_count(parser: &mut Parser<'_>) -> Result<ValueWithSpan, ParserError> {
    match count(parser)? {
        Some(count) => Ok(count),
        None => parser.expected_ref("an integer", parser.peek_token_ref()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parse::{Limits, parse};

    fn copy(sql: &str) -> (String, Vec<(String, CopyValue)>) {
        let statement = parse(sql, Limits::default()).unwrap().remove(0);
        (statement.ast.to_string(), statement.copy.unwrap().options)
    }

    fn text(name: &str, value: &str) -> (String, CopyValue) {
        (name.to_string(), CopyValue::Text(value.to_string()))
    }

    #[test]
    fn a_copy_to_the_client_is_its_query_and_its_options() {
        let header = ("header".to_string(), CopyValue::None);
        for (sql, query, options) in [
            ("COPY (SELECT 1) TO STDOUT", "SELECT 1", vec![]),
            ("COPY t TO STDOUT;", "SELECT * FROM t", vec![]),
            ("COPY s.t (a, \"B\") TO STDOUT", "SELECT a, \"B\" FROM s.t", vec![]),
            (
                "COPY t TO STDOUT (FORMAT \"binary\")",
                "SELECT * FROM t",
                vec![text("format", "binary")],
            ),
            ("COPY BINARY t TO STDOUT", "SELECT * FROM t", vec![text("format", "binary")]),
            (
                "COPY (SELECT 1) TO STDOUT WITH CSV HEADER DELIMITER AS ';'",
                "SELECT 1",
                vec![text("format", "csv"), header.clone(), text("delimiter", ";")],
            ),
            (
                "COPY t TO STDOUT WITH (FORMAT csv, HEADER, NULL '', DELIMITER E'\\t', FORCE_QUOTE *)",
                "SELECT * FROM t",
                vec![
                    text("format", "csv"),
                    header,
                    text("null", ""),
                    text("delimiter", "\t"),
                    ("force_quote".to_string(), CopyValue::All),
                ],
            ),
        ] {
            assert_eq!(copy(sql), (query.to_string(), options), "{sql}");
        }
        assert!(parse("COPY t TO STDOUT (FORMAT csv", Limits::default()).is_err());
    }

    #[test]
    fn a_fetch_may_leave_out_what_postgres_lets_it() {
        for (sql, printed) in [
            ("FETCH c", "FETCH NEXT FROM c"),
            ("FETCH FROM c", "FETCH NEXT FROM c"),
            ("FETCH 10 c", "FETCH 10 FROM c"),
            ("fetch 10000 in \"SQL_CUR\"", "FETCH 10000 IN \"SQL_CUR\""),
            ("FETCH FORWARD 5 FROM c", "FETCH FORWARD 5 FROM c"),
            ("FETCH BACKWARD ALL IN c", "FETCH BACKWARD ALL IN c"),
            ("FETCH -1 FROM c", "FETCH -1 FROM c"),
        ] {
            let statement = parse(sql, Limits::default()).unwrap().remove(0);
            assert_eq!(statement.ast.to_string(), printed, "{sql}");
        }
        assert!(parse("FETCH 1.5 FROM c", Limits::default()).is_err());
        let moved = parse("MOVE FORWARD ALL IN c", Limits::default()).unwrap().remove(0).ast;
        let datafusion::sql::parser::Statement::Statement(moved) = moved else { panic!() };
        assert!(matches!(*moved, Statement::Fetch { into, .. } if is_move(into.as_ref())));
    }
}
