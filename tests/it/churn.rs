//! Workers that die and are replaced all the time: every answer is right or a clear error, and nothing hangs.

use crate::harness::{Cluster, Pg, Server, source_root};
use crate::lake::Lake;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

/// Rounds of all queries while workers die.
const N_ROUNDS: usize = 2;
/// The contract is ten seconds for a lost worker; a query may lose one again while it is tried again.
const QUERY_DEADLINE: Duration = Duration::from_secs(30);
/// How long a worker lives.
const LIFE: Duration = Duration::from_millis(400);

/// Returns the TPC-H queries by name, from the files that hold their answers.
fn queries() -> Vec<(String, String)> {
    let folder = source_root().join("tests/slt/tpch");
    let mut queries: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| {
            let path = entry.unwrap().path();
            let text = std::fs::read_to_string(&path).unwrap();
            let after = text.split_once("\nquery ").expect("a file has a query").1;
            let (sql, _) = after.split_once("\n----").expect("a query has an answer");
            let sql = sql.split_once('\n').expect("a query has a text").1;
            (path.file_stem().unwrap().display().to_string(), sql.to_owned())
        })
        .collect();
    queries.sort();
    assert_eq!(queries.len(), 22);
    queries
}

/// Runs a query; what it gives, its rows in an order of their own.
fn ask(connection: &mut Pg, sql: &str) -> Result<Vec<Vec<Option<String>>>, String> {
    let answer = connection.query(sql).map_err(|error| {
        assert!(
            ["58000", "53000"].contains(&error.code.as_str()),
            "not an error of a lost worker: {error}"
        );
        error.code
    })?;
    let mut rows = answer.rows;
    rows.sort();
    Ok(rows)
}

#[test]
fn tpch_while_workers_die_is_right_or_says_so() {
    let lake = Lake::tpch();
    let server = Server::standalone(&lake);
    let mut connection = server.connect();
    let expected: Vec<_> = queries()
        .into_iter()
        .map(|(name, sql)| {
            let rows = ask(&mut connection, &sql).unwrap();
            (name, sql, rows)
        })
        .collect();
    let mut cluster = Cluster::start(&lake, 3);
    cluster.coordinator.process.expect_error_log("worker");
    let mut connection = cluster.connect_distributed();
    let (running, ended) = mpsc::channel::<()>();
    let (mut n_right, mut n_lost) = (0, 0);
    std::thread::scope(|scope| {
        let asking = scope.spawn(|| {
            // Dropped at the end, also when an assertion fails: then the killing ends.
            let _running = running;
            for (name, sql, rows) in (0..N_ROUNDS).flat_map(|_| &expected) {
                let begin = Instant::now();
                match ask(&mut connection, sql) {
                    Ok(found) => {
                        assert_eq!(&found, rows, "{name}");
                        n_right += 1;
                    }
                    Err(_) => n_lost += 1,
                }
                assert!(begin.elapsed() < QUERY_DEADLINE, "{name} took {:?}", begin.elapsed());
            }
        });
        let mut n_killed = 0;
        while ended.recv_timeout(LIFE) == Err(RecvTimeoutError::Timeout) {
            cluster.replace_oldest_worker();
            n_killed += 1;
        }
        if let Err(panic) = asking.join() {
            std::panic::resume_unwind(panic);
        }
        eprintln!("{n_killed} workers killed");
    });
    eprintln!("{n_right} answers, {n_lost} errors");
    assert!(n_right > 0, "no query was answered while workers died");
    cluster.wait_for_members(3);
    for (name, sql, rows) in &expected {
        assert_eq!(&ask(&mut connection, sql).unwrap(), rows, "{name}, when nobody dies any more");
    }
}
