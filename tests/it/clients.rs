//! Real clients, each a script in `tests/clients`, over the same tables here and in a real PostgreSQL: what they print
//! must be the same, types and errors included.
//!
//! Checks that differ are listed with their reasons in `tests/clients/differences.txt`.

use crate::harness::{Pg, Postgres, Python, Server, source_root};
use crate::lake::Lake;
use std::collections::{BTreeMap, BTreeSet};

/// Every script, `run_NAME.py`.
const CLIENTS: [&str; 9] = [
    "adbc",
    "asyncpg",
    "duckdb",
    "pandas",
    "pg8000",
    "polars",
    "psycopg2",
    "psycopg3",
    "sqlalchemy",
];

/// Runs a script on one server and returns its lines by the name of the check.
fn run(python: &Python, client: &str, address: &str) -> BTreeMap<String, String> {
    let script = source_root().join(format!("tests/clients/run_{client}.py"));
    let output = python.run_file(&script, &[address]);
    let (out, err) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{client} on {address}:\n{out}\n{err}");
    let line = |line: &str| {
        let (check, result) = line.split_once('\t').unwrap_or_else(|| panic!("{client}: {line}"));
        (check.to_owned(), result.to_owned())
    };
    out.lines().map(line).collect()
}

fn known_differences() -> BTreeSet<(String, String)> {
    let path = source_root().join("tests/clients/differences.txt");
    let text = std::fs::read_to_string(path).unwrap();
    let lines = text.lines().filter(|line| !line.starts_with('#') && !line.trim().is_empty());
    lines
        .map(|line| {
            let words: Vec<&str> = line.splitn(3, ' ').collect();
            assert!(words.len() == 3, "a difference needs a reason: {line}");
            (words[0].to_owned(), words[1].to_owned())
        })
        .collect()
}

#[test]
fn clients_print_what_they_print_on_postgres() {
    let Some(python) = Python::find() else { return };
    let Some(postgres) = Postgres::start() else { return };
    crate::slt::load(&mut Pg::connect(&postgres.address).unwrap());
    let lake = Lake::standard();
    let server = Server::standalone(&lake);
    let mut known = known_differences();
    let mut failures = Vec::new();
    for client in CLIENTS {
        let theirs = run(&python, client, &postgres.address);
        let ours = run(&python, client, &server.pg);
        assert!(!theirs.is_empty(), "{client} checks nothing");
        let n_same = theirs.iter().filter(|(check, result)| ours.get(*check) == Some(*result));
        eprintln!("{client}: {} of {} checks as on PostgreSQL", n_same.count(), theirs.len());
        for (check, expected) in &theirs {
            let found = ours.get(check).map_or("nothing", String::as_str);
            let is_known = known.remove(&(client.to_owned(), check.clone()));
            match (found == expected, is_known) {
                (true, false) | (false, true) => {}
                (true, true) => failures.push(format!("{client} {check}: no longer differs")),
                (false, false) => failures.push(format!(
                    "{client} {check}\n  PostgreSQL: {expected}\n  Saltlake:   {found}"
                )),
            }
        }
    }
    failures.extend(known.iter().map(|(client, check)| format!("{client} {check}: no such check")));
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}
