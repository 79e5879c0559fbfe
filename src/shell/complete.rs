//! Completion at the prompt: keywords, tables and columns.
//!
//! The names are read from `information_schema` in the background, at the start and after statements that change
//! tables. Completion itself never waits: it offers what is known by then.

use super::backend::{Backend, Reply};
use super::diagnostic::Failure;
use super::output::Cells;
use super::script::is_complete;
use futures::TryStreamExt;
use parking_lot::Mutex;
use rustyline::completion::{Completer, Pair};
use rustyline::validate::{ValidationContext, ValidationResult, Validator};
use rustyline::{Context, Helper, Highlighter, Hinter};
use std::collections::BTreeSet;
use std::sync::Arc;

/// Columns read at most: a lake with more is completed by tables it has among the first of them.
const MAX_COLUMNS: usize = 20_000;

/// Words offered in upper case unless the typed part is lower case.
const KEYWORDS: &[&str] = &[
    "ALTER",
    "ANALYZE",
    "AND",
    "AS",
    "ASC",
    "BETWEEN",
    "BY",
    "CASE",
    "CAST",
    "COPY",
    "COUNT",
    "CREATE",
    "CROSS JOIN",
    "DATE",
    "DESC",
    "DESCRIBE",
    "DISTINCT",
    "DROP",
    "ELSE",
    "END",
    "EXCEPT",
    "EXISTS",
    "EXPLAIN",
    "EXTERNAL",
    "EXTRACT",
    "FALSE",
    "FILTER",
    "FORMAT",
    "FROM",
    "FULL JOIN",
    "GROUP BY",
    "HAVING",
    "ILIKE",
    "IN",
    "INNER JOIN",
    "INTERSECT",
    "INTERVAL",
    "IS NOT NULL",
    "IS NULL",
    "JOIN",
    "LEFT JOIN",
    "LIKE",
    "LIMIT",
    "LOCATION",
    "NOT",
    "NULL",
    "OFFSET",
    "ON",
    "OR",
    "ORDER BY",
    "OVER",
    "PARTITION BY",
    "RIGHT JOIN",
    "SCHEMA",
    "SELECT",
    "SET",
    "SHOW",
    "STORED AS",
    "TABLE",
    "THEN",
    "TIMESTAMP",
    "TO",
    "TRUE",
    "UNION",
    "UNION ALL",
    "USING",
    "VALUES",
    "VIEW",
    "WHEN",
    "WHERE",
    "WITH",
];

/// Backslash commands offered at the start of a line.
const COMMANDS: &[&str] = &[
    "\\?",
    "\\conninfo",
    "\\d",
    "\\dn",
    "\\dt",
    "\\dv",
    "\\format",
    "\\i",
    "\\q",
    "\\timing",
    "\\x",
];

/// Names of the lake, shared between the prompt and whoever reads them.
pub type Names = Arc<Mutex<BTreeSet<String>>>;

/// Reads the names of all schemas, tables and columns.
///
/// # Errors
/// When the backend cannot answer.
pub async fn read_names(backend: &dyn Backend, names: &Names) -> Result<(), Failure> {
    let sql = format!(
        "SELECT table_schema, table_name, column_name FROM information_schema.columns \
         LIMIT {MAX_COLUMNS}"
    );
    let mut found = BTreeSet::new();
    if let Reply::Rows { mut stream, .. } = backend.execute(&sql).await? {
        while let Some(batch) = stream.try_next().await? {
            let cells = Cells::new(&batch)?;
            for row in 0..batch.num_rows() {
                let (schema, table) = (cells.text(0, row)?, cells.text(1, row)?);
                found.insert(cells.text(2, row)?);
                found.insert(format!("{schema}.{table}"));
                if schema == "public" {
                    found.insert(table);
                }
                found.insert(schema);
            }
        }
    }
    *names.lock() = found;
    Ok(())
}

/// What the prompt asks of the shell: completion, and whether a line is complete.
#[derive(Helper, Highlighter, Hinter)]
pub struct PromptHelper {
    names: Names,
}

impl PromptHelper {
    /// Returns a helper that offers these names.
    pub fn new(names: Names) -> Self {
        Self { names }
    }

    fn candidates(&self, line: &str) -> (usize, Vec<String>) {
        if line.starts_with('\\') && !line.contains(' ') {
            return (0, starting_with(COMMANDS.iter().copied(), line));
        }
        let in_word = |c: char| c.is_alphanumeric() || matches!(c, '_' | '.');
        let start = line
            .rfind(|c| !in_word(c))
            .map_or(0, |idx| idx + line[idx..].chars().next().map_or(0, char::len_utf8));
        let word = &line[start..];
        if word.is_empty() {
            return (start, Vec::new());
        }
        let names = self.names.lock();
        let mut found = starting_with(names.iter().map(String::as_str), word);
        let is_lower = word.chars().any(char::is_lowercase);
        found.extend(
            starting_with(KEYWORDS.iter().copied(), word)
                .into_iter()
                .map(|keyword| if is_lower { keyword.to_lowercase() } else { keyword }),
        );
        (start, found)
    }
}

fn starting_with<'a>(words: impl Iterator<Item = &'a str>, typed: &str) -> Vec<String> {
    let fits = |word: &&str| {
        word.get(..typed.len()).is_some_and(|start| start.eq_ignore_ascii_case(typed))
    };
    words.filter(fits).map(str::to_string).collect()
}

impl Completer for PromptHelper {
    type Candidate = Pair;

    fn complete(
        &self,
        line: &str,
        pos: usize,
        _: &Context<'_>,
    ) -> rustyline::Result<(usize, Vec<Pair>)> {
        let (start, found) = self.candidates(&line[..pos]);
        let pair = |text: String| Pair { display: text.clone(), replacement: text };
        Ok((start, found.into_iter().map(pair).collect()))
    }
}

impl Validator for PromptHelper {
    /// Enter runs a complete text and breaks the line of any other.
    fn validate(&self, ctx: &mut ValidationContext<'_>) -> rustyline::Result<ValidationResult> {
        let is_ready = is_complete(ctx.input());
        Ok(if is_ready { ValidationResult::Valid(None) } else { ValidationResult::Incomplete })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn complete(line: &str) -> (usize, Vec<String>) {
        let names = ["fare_amount", "nyc", "nyc.trips", "trips"].map(str::to_string);
        PromptHelper::new(Arc::new(Mutex::new(names.into()))).candidates(line)
    }

    #[test]
    fn names_come_before_keywords_and_keep_the_case_typed() {
        assert_eq!(complete("select * from tr"), (14, vec!["trips".into(), "true".into()]));
        assert_eq!(complete("SEL"), (0, vec!["SELECT".into()]));
        assert_eq!(complete("select avg(far"), (11, vec!["fare_amount".into()]));
        assert_eq!(complete("from nyc.t"), (5, vec!["nyc.trips".into()]));
    }

    #[test]
    fn nothing_typed_offers_nothing() {
        assert_eq!(complete("select "), (7, vec![]));
        assert_eq!(complete("ä"), (0, vec![]));
    }

    #[test]
    fn commands_complete_at_the_start() {
        assert_eq!(complete("\\ti"), (0, vec!["\\timing".into()]));
    }
}
