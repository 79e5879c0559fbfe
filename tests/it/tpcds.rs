//! All 99 TPC-DS queries on both topologies, against the answers of DuckDB on the same data.
//!
//! `tpcds.py` lets DuckDB make tables, queries and answers. Rows are compared in any order, because many queries leave
//! ties open; numbers may differ in the digits that an average keeps.

use crate::harness::{Cluster, Pg, Python, Server, ServerOptions, scratch_dir};
use crate::lake::Lake;
use crate::skew::salted;
use std::path::PathBuf;

const SCALE: &str = "0.1";

/// Queries whose rows differ from DuckDB's, and why. One that is right fails the test, so that it is taken off.
const EXCEPTIONS: [(u32, &str); 0] = [];

#[test]
fn tpcds_is_right_standalone() {
    let Some(suite) = Suite::find() else { return };
    let lake = Lake::empty();
    let server = Server::standalone_with(&lake, &suite.options());
    suite.check(server.connect(), 1..=99);
}

#[test]
fn tpcds_is_right_on_a_coordinator_with_three_workers() {
    let Some(suite) = Suite::find() else { return };
    let lake = Lake::empty();
    let cluster = Cluster::start_with(&lake, 3, &suite.options());
    suite.check(cluster.connect_distributed(), 1..=99);
    // The same rows with every join shuffled and salted; a part of the queries, for time.
    suite.check(salted(cluster.connect_distributed()), (3..=99).step_by(6));
}

struct Suite {
    folder: PathBuf,
}

impl Suite {
    /// Makes data and answers, once; `None`, said aloud, where Python is missing.
    fn find() -> Option<Self> {
        let python = Python::find()?;
        let folder = scratch_dir().join(format!("tpcds-{SCALE}"));
        let lock = std::fs::File::create(scratch_dir().join("tpcds.lock")).unwrap();
        lock.lock().unwrap();
        let done = folder.join("done");
        let program = include_str!("tpcds.py");
        if std::fs::read_to_string(&done).ok().as_deref() != Some(program) {
            let _ = std::fs::remove_dir_all(&folder);
            let output = python.run(program, &[&folder.display().to_string(), SCALE]);
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            std::fs::write(done, program).unwrap();
        }
        Some(Self { folder })
    }

    fn options(&self) -> ServerOptions {
        ServerOptions::default().lake_url(&self.folder.join("lake").display().to_string())
    }

    fn check(&self, mut connection: Pg, numbers: impl Iterator<Item = u32>) {
        let mut wrong = vec![];
        for number in numbers {
            let read = |path: String| std::fs::read_to_string(self.folder.join(path)).unwrap();
            let sql = read(format!("queries/q{number:02}.sql"));
            let expected = rows_of(&read(format!("answers/q{number:02}.tsv")));
            let found = match connection.query(&sql) {
                Ok(answer) => difference(answer.rows.into_iter().map(text_row).collect(), expected),
                Err(error) => Some(error.to_string()),
            };
            let listed = EXCEPTIONS.iter().find(|(listed, _)| *listed == number);
            match (found, listed) {
                (Some(difference), None) => wrong.push(format!("q{number:02}: {difference}")),
                (None, Some(_)) => {
                    wrong.push(format!("q{number:02} is right: take it off the list"))
                }
                _ => {}
            }
        }
        assert!(wrong.is_empty(), "{} of 99 queries:\n\n{}", wrong.len(), wrong.join("\n\n"));
    }
}

fn rows_of(text: &str) -> Vec<Vec<String>> {
    text.lines().map(|line| line.split('\t').map(str::to_owned).collect()).collect()
}

fn text_row(row: Vec<Option<String>>) -> Vec<String> {
    row.into_iter().map(|value| value.unwrap_or_else(|| "NULL".to_owned())).collect()
}

/// Returns what differs between two sets of rows, if anything does.
fn difference(mut found: Vec<Vec<String>>, mut expected: Vec<Vec<String>>) -> Option<String> {
    if found.len() != expected.len() {
        return Some(format!("{} rows, expected {}", found.len(), expected.len()));
    }
    for rows in [&mut found, &mut expected] {
        rows.sort_by_cached_key(|row| row.iter().map(|value| sort_key(value)).collect::<Vec<_>>());
    }
    // Numbers that differ in their last digits may have sorted rows differently: what is left is matched one by one.
    let is_same = |(row, other): &(Vec<String>, Vec<String>)| same_row(row, other);
    let (_, rest): (Vec<_>, Vec<_>) = found.into_iter().zip(expected).partition(is_same);
    let (rows, mut open): (Vec<_>, Vec<_>) = rest.into_iter().unzip();
    for row in rows {
        match open.iter().position(|other| same_row(&row, other)) {
            Some(at) => drop(open.swap_remove(at)),
            None => {
                return Some(format!("{row:?}\nis not among\n{:?}", &open[..open.len().min(3)]));
            }
        }
    }
    None
}

fn sort_key(value: &str) -> String {
    value.parse::<f64>().map_or_else(|_| value.to_owned(), |number| format!("{number:.3}"))
}

fn same_row(row: &[String], other: &[String]) -> bool {
    row.len() == other.len() && row.iter().zip(other).all(|(a, b)| same_value(a, b))
}

fn same_value(a: &str, b: &str) -> bool {
    match (a.parse::<f64>(), b.parse::<f64>()) {
        (Ok(a), Ok(b)) => (a - b).abs() <= 1e-5 + 1e-6 * b.abs(),
        _ => a.trim_end() == b.trim_end(),
    }
}
