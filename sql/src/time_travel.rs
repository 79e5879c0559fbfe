//! Tables as of a version or a time, spelled as names.
//!
//! Called by `parse` before anything else reads the text, because the PostgreSQL dialect has no such clause. The catalog
//! knows what the names mean; a table without an alias keeps its own name as one.
//!
//! ```text
//! t FOR VERSION AS OF 42                      "t@42" AS t
//! s.t FOR VERSION AS OF 'main' x              s."t@main" x
//! t FOR TIMESTAMP AS OF '2024-05-01 10:00'    "t@@2024-05-01 10:00" AS t
//! ```
//!
//! `SYSTEM_VERSION` and `SYSTEM_TIME` are taken for the same words, and a timestamp may be written `TIMESTAMP '…'`.

use datafusion::sql::sqlparser::dialect::Dialect;
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::tokenizer::{Token, Tokenizer, Word};

/// Returns the text with names in place of the clauses; `None` when it has none.
pub(crate) fn spell(sql: &str, dialect: &dyn Dialect) -> Option<String> {
    if !sql.to_ascii_lowercase().contains(" of ") {
        return None;
    }
    // What the tokenizer refuses, the parser refuses with its own words.
    let tokens = Tokenizer::new(dialect, sql).with_unescape(false).tokenize().ok()?;
    let mut spelled: Vec<Token> = Vec::with_capacity(tokens.len());
    let mut found = false;
    let mut idx = 0;
    while idx < tokens.len() {
        match clause(&tokens[idx..]) {
            Some((at, n_tokens)) if name_table(&mut spelled, &at, &tokens[idx + n_tokens..]) => {
                found = true;
                idx += n_tokens;
            }
            _ => {
                spelled.push(tokens[idx].clone());
                idx += 1;
            }
        }
    }
    found.then(|| spelled.iter().map(ToString::to_string).collect())
}

/// Reads a clause at the start of `tokens`; returns what follows the table's name and the number of tokens.
fn clause(tokens: &[Token]) -> Option<(String, usize)> {
    let mut words =
        tokens.iter().enumerate().filter(|(_, token)| !matches!(token, Token::Whitespace(_)));
    let mut next = || words.next();
    let is = |token: Option<(usize, &Token)>, word: &str| {
        matches!(token, Some((_, Token::Word(found))) if found.quote_style.is_none()
            && found.value.eq_ignore_ascii_case(word))
    };
    if !is(next(), "for") {
        return None;
    }
    let kind = next();
    let is_time = is(kind, "timestamp") || is(kind, "system_time");
    if !is_time && !is(kind, "version") && !is(kind, "system_version") {
        return None;
    }
    if !is(next(), "as") || !is(next(), "of") {
        return None;
    }
    let mut value = next()?;
    if is_time && is(Some(value), "timestamp") {
        value = next()?;
    }
    let at = match (value.1, is_time) {
        (Token::SingleQuotedString(time), true) => format!("@@{time}"),
        (Token::SingleQuotedString(name), false) => format!("@{}", name.replace("''", "'")),
        (Token::Number(id, _), false) => format!("@{id}"),
        _ => return None,
    };
    Some((at, value.0 + 1))
}

/// Puts `at` behind the name that `spelled` ends with; returns whether there is one.
fn name_table(spelled: &mut Vec<Token>, at: &str, rest: &[Token]) -> bool {
    let is_space = |token: &Token| matches!(token, Token::Whitespace(_));
    let Some(last) = spelled.iter().rposition(|token| !is_space(token)) else { return false };
    let Token::Word(word) = &spelled[last] else { return false };
    let name = match word.quote_style {
        Some(_) => word.value.clone(),
        None => word.value.to_lowercase(),
    };
    let own = word.clone();
    let quoted = |value: String| {
        Token::Word(Word { value, quote_style: Some('"'), keyword: Keyword::NoKeyword })
    };
    spelled.truncate(last);
    spelled.push(quoted(format!("{name}{}", at.replace('"', "\"\""))));
    if !has_alias(rest) {
        let space = || Token::Whitespace(datafusion::sql::sqlparser::tokenizer::Whitespace::Space);
        spelled.extend([space(), Token::make_keyword("AS"), space(), Token::Word(own)]);
    }
    true
}

/// Returns whether an alias follows.
fn has_alias(rest: &[Token]) -> bool {
    let next = rest.iter().find(|token| !matches!(token, Token::Whitespace(_)));
    match next {
        Some(Token::Word(word)) => {
            word.quote_style.is_some() || matches!(word.keyword, Keyword::AS | Keyword::NoKeyword)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;

    fn check(sql: &str, expected: Option<&str>) {
        assert_eq!(spell(sql, &PostgreSqlDialect {}).as_deref(), expected, "{sql}");
    }

    #[test]
    fn clauses_become_names() {
        check("SELECT 1", None);
        check("SELECT 'a for version as of 1' of ", None);
        check("SELECT * FROM t FOR VERSION AS OF 42", Some("SELECT * FROM \"t@42\" AS t"));
        check(
            "select t.a from S.T for version as of 'main' where 'it''s' = t.a",
            Some("select t.a from S.\"t@main\" AS T where 'it''s' = t.a"),
        );
        check(
            "SELECT * FROM \"T\" FOR SYSTEM_TIME AS OF TIMESTAMP '2024-05-01 10:00' x JOIN u FOR TIMESTAMP AS OF '2024-05-02' AS y USING (a)",
            Some("SELECT * FROM \"T@@2024-05-01 10:00\" x JOIN \"u@@2024-05-02\" AS y USING (a)"),
        );
        check("SELECT * FROM t FOR VERSION AS OF a", None);
        check("SELECT * FROM (SELECT 1) FOR VERSION AS OF 1", None);
        check("SELECT * FROM t FOR UPDATE OF t", None);
    }
}
