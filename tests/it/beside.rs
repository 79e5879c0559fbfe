//! The same messages to us and to a real PostgreSQL, over the same tables: every answer must be the same bytes.
//!
//! The scripts are in `tests/beside`: a line is a message in the form of [`Wire::say`], a blank line ends a
//! conversation, and each conversation has connections of its own. Nothing is expected but what PostgreSQL says.

use crate::harness::{Postgres, Server, Wire, source_root};
use crate::lake::Lake;

/// Returns the conversations of a script with the line each starts on.
fn conversations(script: &str) -> Vec<(usize, Vec<&str>)> {
    let mut found: Vec<(usize, Vec<&str>)> = Vec::new();
    let mut is_open = false;
    for (idx, line) in script.lines().enumerate() {
        match line.trim() {
            "" => is_open = false,
            comment if comment.starts_with('#') => {}
            line if is_open => found.last_mut().unwrap().1.push(line),
            line => {
                is_open = true;
                found.push((idx + 1, vec![line]));
            }
        }
    }
    found
}

#[test]
fn every_message_is_answered_as_postgres_answers_it() {
    let Some(postgres) = Postgres::start() else { return };
    let lake = Lake::standard();
    let server = Server::standalone(&lake);
    crate::slt::load(&mut crate::harness::Pg::connect(&postgres.address).unwrap());
    let mut differences = Vec::new();
    let mut n_messages = 0;
    for name in ["copy", "cursors", "functions", "prepared", "transactions", "types"] {
        let path = source_root().join(format!("tests/beside/{name}.txt"));
        let script = std::fs::read_to_string(path).unwrap();
        for (line, messages) in conversations(&script) {
            let mut theirs = Wire::connect(&postgres.address);
            let mut ours = Wire::connect(&server.pg);
            for message in messages {
                n_messages += 1;
                let (expected, found) = (theirs.say(message), ours.say(message));
                if expected != found {
                    let (expected, found) = (expected.join("\n    "), found.join("\n    "));
                    differences.push(format!(
                        "{name}.txt, conversation of line {line}: {message}\n  PostgreSQL:\n    \
                         {expected}\n  Saltlake:\n    {found}"
                    ));
                    break;
                }
            }
        }
    }
    assert!(n_messages > 0);
    assert!(differences.is_empty(), "{}", differences.join("\n\n"));
}

/// Meta-commands of psql whose screens must be the same. Owners, encodings and access methods are ours to tell, so the
/// commands that show them are in `pg.rs`.
const SCREENS: [&str; 14] = [
    "\\d emp",
    "\\d dept",
    "\\d kinds",
    "\\d rich",
    "\\dt",
    "\\dt em*",
    "\\dv",
    "\\d nosuch",
    "\\dt nosuch",
    "\\di",
    "\\ds",
    "\\dm",
    "\\dRp",
    "SELECT emp_id, count(*), salary FROM emp GROUP BY 1, 3 \\gdesc",
];

#[test]
fn psql_shows_what_it_shows_on_postgres() {
    let Some(postgres) = Postgres::start() else { return };
    let lake = Lake::standard();
    // A table that PostgreSQL is not given.
    std::fs::remove_file(lake.path().join("nested.parquet")).unwrap();
    let server = Server::standalone(&lake);
    let mut theirs = crate::harness::Pg::connect(&postgres.address).unwrap();
    crate::slt::load(&mut theirs);
    let view = "CREATE VIEW rich AS SELECT name, salary, count(*) FROM emp GROUP BY 1, 2";
    theirs.run(view);
    server.connect().run(view);
    let screen = |address: &str, command: &str| {
        let mut psql = crate::harness::psql_command(address);
        // A command line for one command takes no backslash behind a query; standard input does.
        let input = std::process::Stdio::piped();
        let piped = psql.stdin(input).stdout(std::process::Stdio::piped());
        let mut child = piped.stderr(std::process::Stdio::piped()).spawn().unwrap();
        let text = format!("{command}\n");
        std::io::Write::write_all(&mut child.stdin.take().unwrap(), text.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        format!(
            "{}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        )
    };
    let mut differences = Vec::new();
    for command in SCREENS {
        let (expected, found) = (screen(&postgres.address, command), screen(&server.pg, command));
        if expected != found {
            differences.push(format!("{command}\nPostgreSQL:\n{expected}\nSaltlake:\n{found}"));
        }
    }
    assert!(differences.is_empty(), "{}", differences.join("\n\n"));
}
