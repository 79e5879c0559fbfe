//! `CREATE CATALOG` and `DROP CATALOG`, which sqlparser does not read.
//!
//! ```sql
//! CREATE CATALOG [IF NOT EXISTS] name WITH (option = 'value', …)
//! DROP CATALOG [IF EXISTS] name, …
//! ```
//!
//! Called by `parse` before its other parsers. The first becomes PostgreSQL's closest, a `CREATE SERVER` whose wrapper has
//! an empty name, see [`catalog_options`]; the second a `DROP DATABASE`, since a catalog is what PostgreSQL calls one.

use datafusion::sql::sqlparser::ast::{
    CreateServerOption, CreateServerStatement, Ident, ObjectName, ObjectType, Statement,
};
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::parser::{Parser, ParserError};
use datafusion::sql::sqlparser::tokenizer::Token;

/// Returns names and values of a `CREATE CATALOG`; `None` for a `CREATE SERVER` that was written as one.
pub fn catalog_options(server: &CreateServerStatement) -> Option<Vec<(String, String)>> {
    if !server.foreign_data_wrapper.0.is_empty() {
        return None;
    }
    let options = server.options.iter().flatten();
    Some(options.map(|option| (option.key.value.clone(), option.value.value.clone())).collect())
}

/// Parses `CREATE CATALOG`; `None`, with nothing consumed, for any other CREATE.
pub(super) fn create(parser: &mut Parser<'_>) -> Result<Option<Statement>, ParserError> {
    if !parser.parse_keywords(&[Keyword::CREATE, Keyword::CATALOG]) {
        return Ok(None);
    }
    let if_not_exists = parser.parse_keywords(&[Keyword::IF, Keyword::NOT, Keyword::EXISTS]);
    let name = parser.parse_object_name(false)?;
    parser.expect_keyword(Keyword::WITH)?;
    parser.expect_token(&Token::LParen)?;
    let options = parser.parse_comma_separated(option)?;
    parser.expect_token(&Token::RParen)?;
    Ok(Some(Statement::CreateServer(CreateServerStatement {
        name,
        if_not_exists,
        server_type: None,
        version: None,
        foreign_data_wrapper: ObjectName(vec![]),
        options: Some(options),
    })))
}

/// Parses `DROP CATALOG`; `None`, with nothing consumed, for any other DROP.
pub(super) fn drop(parser: &mut Parser<'_>) -> Result<Option<Statement>, ParserError> {
    if !parser.parse_keywords(&[Keyword::DROP, Keyword::CATALOG]) {
        return Ok(None);
    }
    let if_exists = parser.parse_keywords(&[Keyword::IF, Keyword::EXISTS]);
    let names = parser.parse_comma_separated(|parser| parser.parse_object_name(false))?;
    Ok(Some(Statement::Drop {
        object_type: ObjectType::Database,
        if_exists,
        names,
        cascade: false,
        restrict: false,
        purge: false,
        temporary: false,
        table: None,
    }))
}

/// `name = 'value'`; the name may be written in parts (`s3.region`, `oauth2-server-uri`) or quoted.
fn option(parser: &mut Parser<'_>) -> Result<CreateServerOption, ParserError> {
    let mut key = key_part(parser)?;
    loop {
        let separator = match parser.peek_token_ref().token {
            Token::Minus => '-',
            Token::Period => '.',
            _ => break,
        };
        parser.next_token();
        key.push(separator);
        key += &key_part(parser)?;
    }
    parser.expect_token(&Token::Eq)?;
    let token = parser.next_token();
    match token.token {
        Token::SingleQuotedString(value) | Token::EscapedStringLiteral(value) => {
            Ok(CreateServerOption { key: Ident::new(key), value: Ident::with_quote('\'', value) })
        }
        _ => parser.expected("a text in quotes", token),
    }
}

fn key_part(parser: &mut Parser<'_>) -> Result<String, ParserError> {
    let token = parser.next_token();
    match token.token {
        Token::Word(word) => Ok(word.value),
        Token::SingleQuotedString(text) => Ok(text),
        _ => parser.expected("the name of an option", token),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parse::{Limits, parse};
    use datafusion::sql::parser::Statement as Ast;

    fn statement(sql: &str) -> Statement {
        match parse(sql, Limits::default()).unwrap().remove(0).ast {
            Ast::Statement(statement) => *statement,
            other => panic!("{other}"),
        }
    }

    #[test]
    fn a_catalog_is_created_with_options_in_any_spelling() {
        let Statement::CreateServer(server) = statement(
            "create catalog if not exists Ice with (type = 'iceberg-rest', \"uri\"='http://h:1/c', \
             oauth2-server-uri = 'x', header.x-key = 'it''s')",
        ) else {
            panic!()
        };
        assert!(server.if_not_exists);
        assert_eq!(server.name.to_string(), "Ice");
        let options = catalog_options(&server).unwrap();
        let options: Vec<_> = options.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        let expected = [
            ("type", "iceberg-rest"),
            ("uri", "http://h:1/c"),
            ("oauth2-server-uri", "x"),
            ("header.x-key", "it's"),
        ];
        assert_eq!(options, expected);
    }

    #[test]
    fn other_statements_stay_what_they_are() {
        assert!(matches!(statement("CREATE VIEW catalog AS SELECT 1"), Statement::CreateView(_)));
        assert!(matches!(statement("DROP TABLE catalog"), Statement::Drop { .. }));
        for wrong in [
            "CREATE CATALOG ice",
            "CREATE CATALOG ice WITH ()",
            "CREATE CATALOG ice WITH (type 'x')",
            "CREATE CATALOG ice WITH (type = x)",
            "DROP CATALOG",
        ] {
            assert!(parse(wrong, Limits::default()).is_err(), "{wrong}");
        }
        let server = statement("CREATE SERVER s FOREIGN DATA WRAPPER w OPTIONS (host 'x')");
        let Statement::CreateServer(server) = server else { panic!() };
        assert_eq!(catalog_options(&server), None);
    }

    #[test]
    fn a_catalog_is_dropped_as_a_database() {
        let dropped = statement("DROP CATALOG IF EXISTS a, b");
        assert_eq!(dropped.to_string(), "DROP DATABASE IF EXISTS a, b");
    }
}
