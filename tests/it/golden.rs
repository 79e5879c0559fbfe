//! Golden tables: what other engines wrote, and the rows that they read back.
//!
//! Under `tests/FORMAT`, `tables` holds the tables and `expected` a query for each with its rows. They are served from
//! another folder than they were written in, as the schema `db`.

use crate::harness::{Pg, copy_folder, source_root};
use crate::lake::Lake;
use std::fs;
use std::path::{Path, PathBuf};

/// Makes a lake with the golden tables of a format in the schema `db`.
pub fn golden_lake(format: &str) -> Lake {
    let lake = Lake::empty();
    let tables = source_root().join("tests").join(format).join("tables");
    copy_folder(&tables, &lake.path().join("db"));
    lake
}

/// Returns name, query and rows of every golden table.
fn expectations(format: &str) -> Vec<(String, String, Vec<String>)> {
    let folder = source_root().join("tests").join(format).join("expected");
    let mut files: Vec<PathBuf> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let expectation = |file: &PathBuf| {
        let text = fs::read_to_string(file).unwrap();
        let mut lines = text.lines().map(str::to_owned);
        let name = file.file_stem().unwrap().to_str().unwrap().to_owned();
        (name, lines.next().unwrap(), lines.collect())
    };
    files.iter().map(expectation).collect()
}

/// Returns the rows of a query, or its error as one row.
pub fn rows(connection: &mut Pg, sql: &str) -> Vec<String> {
    match connection.query(sql) {
        Ok(answer) => {
            let cell = |cell: Option<String>| cell.unwrap_or_else(|| "NULL".to_owned());
            let row = |row: Vec<Option<String>>| row.into_iter().map(cell).collect::<Vec<_>>();
            answer.rows.into_iter().map(|cells| row(cells).join("\t")).collect()
        }
        Err(error) => vec![format!("{}: {}", error.code, error.message)],
    }
}

/// Compares every golden table; names all that differ.
pub fn check_golden_tables(format: &str, connection: &mut Pg) {
    let mut wrong = String::new();
    let all = expectations(format);
    assert!(all.len() > 5, "only {} golden tables", all.len());
    for (name, sql, expected) in all {
        let found = rows(connection, &sql);
        if found != expected {
            let differs = found.iter().zip(&expected).find(|(found, expected)| found != expected);
            let (n_found, n_expected) = (found.len(), expected.len());
            wrong += &format!("{name}: {n_found} rows for {n_expected}; first: {differs:?}\n");
        }
        let n_rows = rows(connection, &format!("SELECT count(*) FROM db.{name}"));
        if n_rows != [expected.len().to_string()] {
            wrong += &format!("{name}: count(*) is {n_rows:?} instead of {}\n", expected.len());
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

/// Runs a query with a filter, and again with the filter in a form that no metadata can judge; both must give the same
/// rows. Returns what EXPLAIN says of the scan.
pub fn check_pruning(connection: &mut Pg, table: &str, filter: &str) -> String {
    let pruned =
        rows(connection, &format!("SELECT * FROM db.{table} WHERE {filter} ORDER BY 1, 2"));
    let all = format!(
        "SELECT * FROM db.{table} WHERE CASE WHEN {filter} THEN random() >= 0 ELSE false END ORDER BY 1, 2"
    );
    assert_eq!(pruned, rows(connection, &all), "{table}: {filter}");
    assert!(!pruned.is_empty(), "{table}: {filter}: no rows");
    let plan = rows(connection, &format!("EXPLAIN SELECT * FROM db.{table} WHERE {filter}"));
    let note = plan.iter().find(|line| line.starts_with("Scan: ")).cloned();
    note.unwrap_or_else(|| panic!("no line on the scan in\n{}", plan.join("\n")))
}

/// Returns all files below a folder.
pub fn files_under(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
        match entry.file_type().unwrap().is_dir() {
            true => found.extend(files_under(&entry.path())),
            false => found.push(entry.path()),
        }
    }
    found
}

/// Copies a table of `db` under another name and does harm to those of its files whose path contains `what`.
pub fn damage(lake: &Lake, name: &str, like: &str, what: &str, harm: &dyn Fn(&Path)) {
    let table = |name: &str| lake.path().join("db").join(name);
    copy_folder(&table(like), &table(name));
    let mut found = files_under(&table(name));
    found.retain(|file| file.display().to_string().contains(what));
    assert!(!found.is_empty(), "no {what} in {name}");
    found.iter().for_each(|file| harm(file));
}

/// Reads each of the tables of `db` and compares the error codes.
pub fn check_errors(connection: &mut Pg, expected: &[(&str, &str)]) {
    let mut wrong = String::new();
    for (name, code) in expected {
        match connection.query(&format!("SELECT * FROM db.{name}")) {
            Ok(answer) => wrong += &format!("{name}: {} rows\n", answer.rows.len()),
            Err(error) if error.code != *code => wrong += &format!("{name}: {error}\n"),
            Err(_) => {}
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}
