//! What kind of statement a record holds, and how it is said here.

use datafusion::sql::sqlparser::ast::Statement;
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::parser::Parser;

/// Returns the words of a statement in upper case, without comments before it.
pub fn words(sql: &str) -> String {
    let lines =
        sql.lines().map(str::trim).skip_while(|line| line.is_empty() || line.starts_with("--"));
    let text = lines.collect::<Vec<_>>().join(" ");
    let text = text
        .strip_prefix("/*")
        .and_then(|rest| rest.split_once("*/"))
        .map_or(text.as_str(), |(_, rest)| rest);
    text.split_whitespace().collect::<Vec<_>>().join(" ").to_uppercase()
}

/// Returns whether a statement prints a plan, in our own words.
pub fn prints_plan(sql: &str) -> bool {
    words(sql).starts_with("EXPLAIN")
}

/// Returns the place a table is made over.
pub fn location(sql: &str) -> Option<&str> {
    let at = sql.to_uppercase().find("LOCATION")?;
    let text = sql.get(at..)?.split('\'').nth(1)?;
    words(sql).starts_with("CREATE").then_some(text)
}

/// Makes tables temporary.
pub fn rewrite(sql: &str) -> String {
    for start in ["CREATE TABLE", "CREATE OR REPLACE TABLE"] {
        if words(sql).starts_with(start) {
            let at = sql.to_uppercase().find("TABLE").expect("it starts so");
            return format!("{}TEMPORARY {}", &sql[..at], &sql[at..]);
        }
    }
    sql.to_owned()
}

/// Returns the table a statement makes, fills or drops.
pub fn written_table(sql: &str) -> Option<String> {
    let words = words(sql);
    let mut rest = words
        .split([' ', '('])
        .skip_while(|word| !["TABLE", "INTO", "VIEW", "UPDATE", "FROM"].contains(word));
    let writes = ["CREATE", "INSERT", "UPDATE", "DELETE", "MERGE", "DROP"];
    writes.iter().find(|start| words.starts_with(**start))?;
    rest.next()?;
    let name = rest.find(|word| !["IF", "NOT", "EXISTS", ""].contains(word))?;
    Some(name.trim_matches(['"', ';']).to_lowercase())
}

/// Returns whether a statement names a table.
pub fn names(sql: &str, table: &str) -> bool {
    let sql = sql.to_lowercase();
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    sql.match_indices(table).any(|(at, _)| {
        let before = sql[..at].chars().next_back();
        let after = sql[at + table.len()..].chars().next();
        !before.is_some_and(is_part) && !after.is_some_and(is_part)
    })
}

/// Returns whether a query takes some of its rows without saying which.
pub fn takes_any_rows(sql: &str) -> bool {
    let words = words(sql);
    !is_ordered(sql) && (words.contains(" LIMIT ") || words.contains(" OFFSET "))
}

/// Returns whether the rows of a query have an order.
pub fn is_ordered(sql: &str) -> bool {
    match Parser::parse_sql(&GenericDialect {}, sql).as_deref() {
        Ok([Statement::Query(query)]) => query.order_by.is_some(),
        Ok(_) => false,
        Err(_) => sql.to_uppercase().contains("ORDER BY"),
    }
}
