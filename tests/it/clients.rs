//! Real clients, each a script in `tests/clients`, over the same tables here and in a real PostgreSQL: what they print
//! must be the same, types and errors included.
//!
//! Checks that differ are listed with their reasons in `tests/clients/differences.txt`.

use crate::harness::{Node, Pg, Postgres, Python, Server, skip, source_root};
use crate::lake::Lake;
use std::collections::{BTreeMap, BTreeSet};
use std::process::{Command, Output};

/// Every client in Python, `run_NAME.py`.
const PYTHON: [&str; 12] = [
    "adbc",
    "asyncpg",
    "duckdb",
    "ibis",
    "pandas",
    "pg8000",
    "pgbench",
    "pgcli",
    "polars",
    "psycopg2",
    "psycopg3",
    "sqlalchemy",
];

/// What a script printed, by the name of the check.
fn results(client: &str, address: &str, output: &Output) -> BTreeMap<String, String> {
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

/// Runs clients on both servers and compares; `run` runs the script of a client on an address.
fn compare(clients: &[&str], run: impl Fn(&str, &str) -> Output) {
    let run = |client: &str, address: &str, _: &str| run(client, address);
    compare_doors(clients, |postgres| postgres.to_owned(), |server| server.pg.clone(), run);
}

/// As [`compare`], with the addresses that the script is given; `run` is told where the PostgreSQL is, too.
fn compare_doors(
    clients: &[&str],
    theirs: impl Fn(&str) -> String,
    ours: impl Fn(&Server) -> String,
    run: impl Fn(&str, &str, &str) -> Output,
) {
    let Some(postgres) = Postgres::start() else { return };
    crate::slt::load(&mut Pg::connect(&postgres.address).unwrap());
    let lake = Lake::standard();
    let server = Server::standalone(&lake);
    let addresses = [theirs(&postgres.address), ours(&server)];
    let mut known = known_differences();
    known.retain(|(client, _)| clients.contains(&client.as_str()));
    let mut failures = Vec::new();
    for client in clients {
        let client = *client;
        let [theirs, ours] = addresses
            .each_ref()
            .map(|address| results(client, address, &run(client, address, &postgres.address)));
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

#[test]
fn python_clients_print_what_they_print_on_postgres() {
    let Some(python) = Python::find() else { return };
    compare(&PYTHON, |client, address| {
        let script = source_root().join(format!("tests/clients/run_{client}.py"));
        python.run_file(&script, &[address])
    });
}

#[test]
fn flight_sql_prints_what_postgres_prints() {
    let Some(python) = Python::find() else { return };
    let theirs = |address: &str| format!("{address}#pg");
    let ours = |server: &Server| format!("{}#flight", server.flight);
    compare_doors(&["flightsql"], theirs, ours, |_, address, _| {
        python.run_file(&source_root().join("tests/clients/run_flightsql.py"), &[address])
    });
}

#[test]
fn foreign_tables_of_postgres_hold_what_they_hold_there() {
    let Some(python) = Python::find() else { return };
    let (theirs, ours) =
        (|postgres: &str| postgres.to_owned(), |server: &Server| server.pg.clone());
    compare_doors(&["fdw"], theirs, ours, |_, address, postgres| {
        python.run_file(&source_root().join("tests/clients/run_fdw.py"), &[address, postgres])
    });
}

/// What Debian's `odbc-postgresql` registers; `unixodbc` reads it.
const ODBC_DRIVERS: &str = "/etc/odbcinst.ini";

#[test]
fn odbc_prints_what_it_prints_on_postgres() {
    let drivers = std::fs::read_to_string(ODBC_DRIVERS).unwrap_or_default();
    if !drivers.contains("[PostgreSQL Unicode]") {
        return skip("no ODBC driver (odbc-postgresql)");
    }
    let Some(python) = Python::find() else { return };
    compare(&["odbc"], |_, address| {
        python.run_file(&source_root().join("tests/clients/run_odbc.py"), &[address])
    });
}

#[test]
fn node_clients_print_what_they_print_on_postgres() {
    let Some(node) = Node::find() else { return };
    compare(&["node"], |_, address| {
        node.run_file(&source_root().join("tests/clients/run_node.js"), &[address])
    });
}

/// Where Debian's `libpostgresql-jdbc-java` and what it needs are.
const JDBC_CLASSES: &str = "/usr/share/java/postgresql.jar:/usr/share/java/scram-client.jar:\
                            /usr/share/java/scram-common.jar";

#[test]
fn jdbc_prints_what_it_prints_on_postgres() {
    let has_driver = std::path::Path::new("/usr/share/java/postgresql.jar").exists();
    let has_java = Command::new("javac").arg("-version").output().is_ok();
    if !(has_driver && has_java) {
        return skip("no JDBC driver or Java compiler (libpostgresql-jdbc-java, openjdk)");
    }
    compare(&["jdbc"], |_, address| {
        let script = source_root().join("tests/clients/RunJdbc.java");
        let mut java = Command::new("java");
        java.args(["-cp", JDBC_CLASSES]).arg(script).arg(address).output().unwrap()
    });
}
