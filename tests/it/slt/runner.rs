//! One SQL file on one server, record by record, so that a run reports every failing record and not the first only.

use crate::harness::{Pg, PgError, source_root};
use sqllogictest::{DB, DBOutput, DefaultColumnType, Record, RecordOutput, Runner, TestError};
use std::path::{Path, PathBuf};

/// What the records of a folder must do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expectation {
    /// Every record passes.
    Passes,
    /// Every statement and query fails its expectation: the folder of known failures.
    Fails,
}

type Outcome = Result<RecordOutput<DefaultColumnType>, TestError>;

/// Records that did not do what they must.
#[derive(Default)]
pub struct Failures {
    n_records: usize,
    texts: Vec<String>,
}

impl Failures {
    fn judge(&mut self, place: &str, outcome: Outcome, expectation: Expectation) {
        let is_skipped = matches!(outcome, Ok(RecordOutput::Nothing));
        self.n_records += usize::from(!is_skipped);
        match (outcome, expectation) {
            (Err(error), Expectation::Passes) => {
                self.texts.push(format!("{place}\n{}", error.display(false)));
            }
            (Ok(_), Expectation::Fails) if !is_skipped => {
                self.texts.push(format!("{place}\npasses: move it out of known_failures"));
            }
            _ => {}
        }
    }

    /// Panics with all failures; says how many records ran, of which there must be some.
    pub fn assert_none(&self) {
        let (n_failed, n_records) = (self.texts.len(), self.n_records);
        assert!(n_records > 0, "no record ran");
        eprintln!("{n_records} records, {n_failed} failed");
        assert!(n_failed == 0, "{n_failed} of {n_records} records:\n\n{}", self.texts.join("\n\n"));
    }
}

/// A connection as the SQL runner wants it; values print as psql prints them, NULL as `NULL`.
pub struct Door {
    engine: &'static str,
    connection: Pg,
}

impl Door {
    /// Wraps a connection; records may name `engine` in `onlyif` and `skipif`.
    pub fn new(engine: &'static str, connection: Pg) -> Self {
        Self { engine, connection }
    }
}

impl DB for Door {
    type Error = PgError;
    type ColumnType = DefaultColumnType;

    fn run(&mut self, sql: &str) -> Result<DBOutput<DefaultColumnType>, PgError> {
        let answer = self.connection.query(sql)?;
        if answer.columns.is_empty() {
            let last_word = answer.tag.rsplit(' ').next().unwrap_or_default();
            return Ok(DBOutput::StatementComplete(last_word.parse().unwrap_or(0)));
        }
        let types = answer.columns.iter().map(|column| column_type(column.type_oid)).collect();
        let row = |row: Vec<Option<String>>| row.into_iter().map(print_value).collect();
        Ok(DBOutput::Rows { types, rows: answer.rows.into_iter().map(row).collect() })
    }

    fn engine_name(&self) -> &str {
        self.engine
    }

    fn error_sql_state(error: &PgError) -> Option<String> {
        Some(error.code.clone())
    }
}

fn print_value(value: Option<String>) -> String {
    match value {
        None => "NULL".to_owned(),
        Some(text) if text.is_empty() => "(empty)".to_owned(),
        Some(text) => text,
    }
}

fn column_type(type_oid: u32) -> DefaultColumnType {
    match type_oid {
        20 | 21 | 23 => DefaultColumnType::Integer,
        700 | 701 | 1700 => DefaultColumnType::FloatingPoint,
        _ => DefaultColumnType::Text,
    }
}

/// Returns the files under `tests/slt/<folder>`, sorted.
pub fn files(folder: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![source_root().join("tests/slt").join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "slt") {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// Runs `file` on connections of `connect` and adds what went wrong to `failures`.
pub fn run_file(
    file: &Path,
    topology: &str,
    expectation: Expectation,
    variables: &[(&str, String)],
    connect: impl Fn() -> Door,
    failures: &mut Failures,
) {
    let mut runner = Runner::new(|| std::future::ready(Ok::<Door, PgError>(connect())));
    runner.with_validator(rows_are_equal);
    // The letters of a `query` line fix the number of columns; types have tests of their own, by OID.
    runner.with_column_validator(|actual, expected| actual.len() == expected.len());
    runner.add_label(topology);
    for (name, value) in variables {
        runner.set_var((*name).to_owned(), value.clone());
    }
    let records = sqllogictest::parse_file(file).unwrap_or_else(|e| panic!("{e}"));
    for record in records {
        let is_checked = matches!(record, Record::Statement { .. } | Record::Query { .. });
        let place = format!("[{topology}] {}", place_of(&record, file));
        let outcome = runner.run(record);
        if is_checked {
            failures.judge(&place, outcome, expectation);
        }
    }
}

fn place_of(record: &Record<DefaultColumnType>, file: &Path) -> String {
    let line = match record {
        Record::Statement { loc, .. } | Record::Query { loc, .. } => loc.line(),
        _ => 0,
    };
    let file = file.strip_prefix(source_root()).unwrap_or(file);
    format!("{}:{line}", file.display())
}

/// Compares row by row; spaces inside values count.
fn rows_are_equal(_: fn(&String) -> String, actual: &[Vec<String>], expected: &[String]) -> bool {
    let actual: Vec<String> =
        actual.iter().map(|row| row.join(" ").trim_end().to_owned()).collect();
    let expected: Vec<&str> = expected.iter().map(|line| line.trim_end()).collect();
    actual == expected
}
