//! Bounded memory: long results, slow readers, memory limits, and statements made to kill a server.

use crate::harness::{Message, Pg, Server, ServerOptions, peak_rss_mib, rss_mib};
use crate::lake::Lake;
use std::time::{Duration, Instant};

/// What a server may grow by while it streams a result of any length.
const STREAM_GROWTH_MIB: u64 = 200;

/// What a server may take to answer, or refuse, a statement made to kill it.
const BOMB_DEADLINE: Duration = Duration::from_secs(100);

/// Reads all of `sql` and checks the number of rows, and that the server did not keep them.
fn check_stream(sql: &str, n_rows: u64) {
    let lake = Lake::standard();
    let server = Server::standalone(&lake);
    let mut connection = server.connect();
    connection.run("SELECT * FROM generate_series(1, 1000)");
    let before = rss_mib(server.process.pid());
    connection.start(sql).unwrap();
    assert_eq!(connection.count_rows().unwrap(), n_rows);
    let growth = peak_rss_mib(server.process.pid()).saturating_sub(before);
    assert!(growth < STREAM_GROWTH_MIB, "grew by {growth} MiB");
}

#[test]
fn fifty_million_rows_stream_in_bounded_memory() {
    check_stream("SELECT * FROM generate_series(1, 50000000)", 50_000_000);
}

#[test]
fn wide_rows_stream_in_bounded_memory() {
    let columns = |idx: usize| format!("repeat(CAST(n AS text), 20) AS c{idx}");
    let columns: Vec<String> = (0..40).map(columns).collect();
    let columns = columns.join(", ");
    // 200,000 rows of 40 columns of about 120 bytes: a gigabyte of text.
    let sql =
        format!("SELECT {columns} FROM (SELECT value AS n FROM generate_series(1, 200000)) AS t");
    check_stream(&sql, 200_000);
}

#[test]
fn fifty_million_rows_stream_through_flight_in_bounded_memory() {
    let lake = Lake::standard();
    let server = Server::standalone(&lake);
    let mut flight = server.connect_flight();
    flight.rows("SELECT * FROM generate_series(1, 1000)");
    let before = rss_mib(server.process.pid());
    let n_rows = flight.count_rows("SELECT * FROM generate_series(1, 50000000)", usize::MAX);
    assert_eq!(n_rows.unwrap_or_else(|e| panic!("{e}")), 50_000_000);
    let growth = peak_rss_mib(server.process.pid()).saturating_sub(before);
    assert!(growth < STREAM_GROWTH_MIB, "grew by {growth} MiB");
}

#[test]
fn slow_reader_holds_no_more_than_a_bounded_part_of_its_result() {
    let lake = Lake::standard();
    let server = Server::standalone(&lake);
    let mut slow = server.connect();
    slow.run("SELECT 1");
    let before = rss_mib(server.process.pid());
    slow.start("SELECT value, repeat('x', 100) FROM generate_series(1, 50000000)").unwrap();
    while !matches!(slow.next_message().unwrap(), Message::Row(_)) {}
    let started = Instant::now();
    while started.elapsed() < Duration::from_secs(4) {
        let growth = rss_mib(server.process.pid()).saturating_sub(before);
        assert!(growth < STREAM_GROWTH_MIB, "grew by {growth} MiB while nobody read");
        assert_eq!(server.scalar("SELECT count(*) FROM dept"), "4", "others are served");
    }
    slow.canceller()();
    let error = slow.count_rows().expect_err("it was cancelled");
    assert_eq!(error.code, "57014", "{error}");
}

#[test]
fn memory_limit_is_an_error_and_the_server_lives() {
    let lake = Lake::standard();
    let options = ServerOptions::default().env("SALTLAKE_COORDINATOR__MEMORY_LIMIT", "64 MiB");
    let server = Server::standalone_with(&lake, &options);
    let mut connection = server.connect();
    // A hash join's build side cannot spill.
    let error = connection.error(
        "SELECT count(*) FROM (SELECT value AS v, repeat('x', 200) AS p FROM generate_series(1, 3000000)) a \
         JOIN (SELECT value AS v, repeat('y', 200) AS q FROM generate_series(1, 3000000)) b ON a.v = b.v \
         WHERE a.p <> b.q",
    );
    assert_eq!(error.code, "53200", "{error}");
    assert_eq!(connection.scalar("SELECT count(*) FROM dept"), "4");
}

/// Sends a statement that may be answered or refused, but must not harm the server or the connection.
fn check_bomb(server: &mut Server, what: &str, sql: &str) {
    let started = Instant::now();
    let mut connection = server.connect();
    let outcome = connection.query(sql);
    let took = started.elapsed();
    assert!(server.process.is_running(), "{what} ended the server");
    if let Err(error) = &outcome {
        let codes = ["54001", "54000", "42601", "57014", "53200"];
        assert!(codes.contains(&error.code.as_str()), "{what}: {error}");
    }
    assert!(took < BOMB_DEADLINE, "{what} took {took:?}");
    eprintln!("{what}: {} in {took:?}", outcome.map_or_else(|e| e.to_string(), |a| a.tag));
    assert_eq!(connection.scalar("SELECT 1"), "1", "after {what}");
}

#[test]
fn long_and_deep_statements_do_not_kill_the_server() {
    let lake = Lake::standard();
    let mut server = Server::standalone(&lake);
    let chain = |n: usize| format!("SELECT {}", vec!["1"; n].join("+"));
    let terms = |n: usize| (0..n).map(|i| format!("n = {i}")).collect::<Vec<_>>().join(" OR ");
    let nested = |open: &str, n: usize, inner: &str, close: &str| {
        format!("SELECT {}{inner}{}", open.repeat(n), close.repeat(n))
    };
    let bombs = [
        ("a sum of 2,000 terms", chain(2_000)),
        ("a sum of 20,000 terms", chain(20_000)),
        ("50,000 OR terms", format!("SELECT count(*) FROM numbers WHERE {}", terms(50_000))),
        ("10,000 parentheses", nested("(", 10_000, "1", ")")),
        ("10,000 calls", nested("abs(", 10_000, "1", ")")),
        ("2,000 NOTs", nested("NOT ", 2_000, "true", "")),
        ("3,000 subqueries", nested("(SELECT ", 3_000, "1", ")")),
        ("2,000 CASEs", nested("CASE WHEN true THEN ", 2_000, "1", " END")),
        ("1,000 UNIONs", vec!["SELECT 1"; 1_000].join(" UNION ALL ")),
    ];
    for (what, sql) in bombs {
        check_bomb(&mut server, what, &sql);
    }
}

#[test]
fn endless_recursion_can_be_cancelled() {
    let lake = Lake::standard();
    let server = Server::standalone(&lake);
    let mut connection: Pg = server.connect();
    connection.run("SET statement_timeout = '1s'");
    let sql =
        "WITH RECURSIVE t AS (SELECT 1 AS n UNION ALL SELECT n + 0 FROM t) SELECT count(*) FROM t";
    let started = Instant::now();
    let error = connection.error(sql);
    assert_eq!(error.code, "57014", "{error}");
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
}
