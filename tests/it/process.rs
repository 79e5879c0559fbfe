//! Processes that come, go and die: what clients see, and what is free again afterwards.
//!
//! The heavy query hashes a long text for each of 10,000 rows while it scans, so that every worker with a file computes
//! for a second. The endless one counts triples of rows and would run for hours.

use crate::harness::{
    CLIENT_DEADLINE, Cluster, Message, Pg, PgError, Server, ServerOptions, cpu_load, cpu_seconds,
    wait_for, wait_until,
};
use crate::lake::Lake;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Runs for seconds, on the workers when distributed; the answer is [`HASHES_ANSWER`].
const HASHES: &str = "SELECT parity, sum(length(md5(repeat(CAST(n AS text), 8000))) \
                      + length(md5(repeat(CAST(n + 1 AS text), 8000)))) FROM numbers GROUP BY parity ORDER BY parity";
const HASHES_ANSWER: [[&str; 2]; 2] = [["even", "320000"], ["odd", "320000"]];

/// Would run for hours.
const ENDLESS: &str = "SELECT a.parity, count(*) FROM numbers a CROSS JOIN numbers b CROSS JOIN numbers c \
                       WHERE (a.n + b.n + c.n) % 10 <> 11 GROUP BY a.parity";

/// The contract: a lost worker is an error or a second try, but never a hang.
const LOSS_DEADLINE: Duration = Duration::from_secs(10);

/// The contract: cancel frees every task within this time.
const CANCEL_DEADLINE: Duration = Duration::from_secs(2);

/// Runs `sql` on its own thread and connection.
fn in_background(
    mut connection: Pg,
    sql: &'static str,
) -> JoinHandle<Result<Vec<Vec<String>>, PgError>> {
    std::thread::spawn(move || {
        let answer = connection.query(sql)?;
        let text =
            |row: Vec<Option<String>>| row.into_iter().map(Option::unwrap_or_default).collect();
        Ok(answer.rows.into_iter().map(text).collect())
    })
}

/// Waits until one of the processes computes and returns its index.
fn wait_for_work(pids: &[u32], before: &[f64]) -> usize {
    wait_for("a process computes", Duration::from_secs(20), || {
        pids.iter().zip(before).position(|(&pid, before)| cpu_seconds(pid) > before + 0.2)
    })
}

fn cpu_of(pids: &[u32]) -> Vec<f64> {
    pids.iter().map(|&pid| cpu_seconds(pid)).collect()
}

fn wait_for_idle(what: &str, pid: u32, deadline: Duration) {
    wait_until(&format!("{what} is idle"), deadline, || cpu_load(pid) < 0.2);
}

#[test]
fn worker_killed_before_the_first_row_is_not_noticed() {
    let lake = Lake::standard();
    let mut cluster = Cluster::start(&lake, 3);
    cluster.coordinator.process.expect_error_log("worker");
    for n_left in [2, 1] {
        let pids = cluster.worker_pids();
        let before = cpu_of(&pids);
        let running = in_background(cluster.connect_distributed(), HASHES);
        let busy = wait_for_work(&pids, &before);
        cluster.kill_worker_with_pid(pids[busy]);
        let answer = running.join().unwrap();
        assert_eq!(
            answer.unwrap_or_else(|e| panic!("with {n_left} workers left: {e}")),
            HASHES_ANSWER
        );
        cluster.wait_for_members(n_left);
    }
    assert_eq!(cluster.connect_distributed().scalar("SELECT sum(n) FROM numbers"), "50005000");
}

#[test]
fn worker_killed_after_rows_were_sent_returns_58000_within_ten_seconds() {
    let lake = Lake::standard();
    let mut cluster = Cluster::start(&lake, 2);
    cluster.coordinator.process.expect_error_log("worker");
    let mut connection = cluster.connect_distributed();
    connection
        .start("SELECT a.n, b.n, c.n FROM numbers a CROSS JOIN numbers b CROSS JOIN numbers c")
        .unwrap();
    while !matches!(connection.next_message().unwrap(), Message::Row(_)) {}
    cluster.kill_worker(0);
    cluster.kill_worker(1);
    let started = Instant::now();
    let error = connection.count_rows().expect_err("the workers are gone");
    assert_eq!(error.code, "58000", "{error}");
    assert!(started.elapsed() < LOSS_DEADLINE + Duration::from_secs(2), "{:?}", started.elapsed());
    assert_eq!(connection.scalar("SELECT 1"), "1", "the connection lives on");
}

#[test]
fn all_workers_killed_is_an_error_and_new_workers_serve_again() {
    let lake = Lake::standard();
    let mut cluster = Cluster::start(&lake, 2);
    cluster.coordinator.process.expect_error_log("worker");
    let pids = cluster.worker_pids();
    let before = cpu_of(&pids);
    let running = in_background(cluster.connect_distributed(), ENDLESS);
    wait_for_work(&pids, &before);
    cluster.kill_worker(0);
    cluster.kill_worker(1);
    let started = Instant::now();
    let error = running.join().unwrap().expect_err("nobody is left to answer");
    assert!(started.elapsed() < LOSS_DEADLINE, "{:?}: {error}", started.elapsed());
    assert!(["58000", "53000"].contains(&error.code.as_str()), "{error}");
    cluster.wait_for_members(0);
    let error = cluster.connect_distributed().error("SELECT sum(n) FROM numbers");
    assert_eq!(error.code, "53000", "{error}");
    cluster.add_worker();
    assert_eq!(cluster.connect_distributed().scalar("SELECT sum(n) FROM numbers"), "50005000");
}

#[test]
fn worker_that_joins_gets_work_on_the_next_query() {
    let lake = Lake::standard();
    let mut cluster = Cluster::start(&lake, 1);
    let mut connection = cluster.connect_distributed();
    assert_eq!(connection.rows(HASHES), HASHES_ANSWER);
    let idx = cluster.add_worker();
    let before = cpu_seconds(cluster.worker(idx).pid());
    assert_eq!(connection.rows(HASHES), HASHES_ANSWER);
    let worked = cpu_seconds(cluster.worker(idx).pid()) - before;
    assert!(worked > 0.1, "the new worker computed for {worked} s only");
}

#[test]
fn worker_that_leaves_finishes_what_it_runs() {
    let lake = Lake::standard();
    let mut cluster = Cluster::start(&lake, 2);
    let pids = cluster.worker_pids();
    let before = cpu_of(&pids);
    let running = in_background(cluster.connect_distributed(), HASHES);
    let busy = wait_for_work(&pids, &before);
    let status = cluster.stop_worker(busy, Duration::from_secs(60));
    assert!(status.success(), "{status}");
    assert_eq!(running.join().unwrap().unwrap(), HASHES_ANSWER);
    assert_eq!(cluster.connect_distributed().scalar("SELECT sum(n) FROM numbers"), "50005000");
}

#[test]
fn cancel_frees_the_workers_within_two_seconds() {
    let lake = Lake::standard();
    let cluster = Cluster::start(&lake, 2);
    let mut pids = cluster.worker_pids();
    pids.push(cluster.process.pid());
    let before = cpu_of(&pids);
    let connection = cluster.connect_distributed();
    let cancel = connection.canceller();
    let running = in_background(connection, ENDLESS);
    wait_for_work(&pids, &before);
    cancel();
    let started = Instant::now();
    let error = running.join().unwrap().expect_err("it was cancelled");
    assert_eq!(error.code, "57014", "{error}");
    assert!(started.elapsed() < CANCEL_DEADLINE, "{:?}", started.elapsed());
    for pid in pids {
        wait_for_idle("a cancelled process", pid, CANCEL_DEADLINE);
    }
}

#[test]
fn client_that_goes_away_frees_the_workers() {
    let lake = Lake::standard();
    let cluster = Cluster::start(&lake, 2);
    let mut pids = cluster.worker_pids();
    pids.push(cluster.process.pid());
    let before = cpu_of(&pids);
    let mut connection = cluster.connect_distributed();
    connection.start(ENDLESS).unwrap();
    wait_for_work(&pids, &before);
    drop(connection);
    for pid in pids {
        wait_for_idle("an abandoned process", pid, Duration::from_secs(5));
    }
}

#[test]
fn flight_client_that_has_seen_enough_frees_the_workers() {
    let lake = Lake::standard();
    let options = ServerOptions::default().env("SALTLAKE_SESSION__DISTRIBUTION", "always");
    let cluster = Cluster::start_with(&lake, 2, &options);
    let mut pids = cluster.worker_pids();
    pids.push(cluster.process.pid());
    let mut flight = cluster.connect_flight();
    let sql =
        "SELECT a.n, b.n AS o, c.n AS p FROM numbers a CROSS JOIN numbers b CROSS JOIN numbers c";
    let n_rows = flight.count_rows(sql, 100_000).unwrap_or_else(|e| panic!("{e}"));
    assert!(n_rows >= 100_000, "{n_rows}");
    for pid in pids {
        wait_for_idle("an abandoned process", pid, Duration::from_secs(5));
    }
}

#[test]
fn statement_timeout_ends_a_query_and_frees_the_server() {
    let lake = Lake::standard();
    let server = Server::standalone(&lake);
    let mut connection = server.connect();
    connection.run("SET statement_timeout = '500ms'");
    let started = Instant::now();
    let error = connection.error(ENDLESS);
    assert_eq!(error.code, "57014", "{error}");
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
    wait_for_idle("the server", server.process.pid(), CANCEL_DEADLINE);
    connection.run("SET statement_timeout = 0");
    assert_eq!(connection.scalar("SELECT count(*) FROM dept"), "4");
}

#[test]
fn terminated_server_finishes_its_query_and_exits_with_zero() {
    let lake = Lake::standard();
    let mut server = Server::standalone(&lake);
    let pids = [server.process.pid()];
    let before = cpu_of(&pids);
    let mut idle = server.connect();
    let running = in_background(server.connect(), HASHES);
    wait_for_work(&pids, &before);
    server.process.terminate();
    wait_until("the listener is closed", Duration::from_secs(5), || {
        Pg::connect(&server.pg).is_err()
    });
    let error = idle.query("SELECT 1").expect_err("an idle connection is closed");
    assert!(["57P01", "lost"].contains(&error.code.as_str()), "{error}");
    assert_eq!(running.join().unwrap().unwrap(), HASHES_ANSWER);
    let status = server.process.wait_exit(Duration::from_secs(10));
    assert!(status.success(), "{status}");
}

#[test]
fn restarted_server_knows_its_tables_views_and_schemas() {
    let lake = Lake::standard();
    let mut server = Server::standalone(&lake);
    declare_objects(&mut server.connect(), &lake);
    check_objects(&mut server.connect());
    assert!(server.stop(Duration::from_secs(10)).success());
    let mut server = Server::standalone(&lake);
    check_objects(&mut server.connect());
    // A crash loses nothing either: what was answered is on disk.
    server.connect().run("CREATE VIEW public.late AS SELECT 7 AS v");
    server.process.kill();
    let server = Server::standalone(&lake);
    check_objects(&mut server.connect());
    assert_eq!(server.scalar("SELECT v FROM late"), "7");
    server.connect().run("DROP VIEW late");
}

#[test]
fn restarted_coordinator_knows_its_tables_and_regains_its_workers() {
    let lake = Lake::standard();
    let mut cluster = Cluster::start(&lake, 2);
    declare_objects(&mut cluster.connect(), &lake);
    cluster.restart_coordinator(&lake, &ServerOptions::default());
    cluster.wait_for_members(2);
    check_objects(&mut cluster.connect_distributed());
}

fn declare_objects(connection: &mut Pg, lake: &Lake) {
    lake.write("elsewhere/more.csv", "id,word\n1,one\n2,two\n");
    let location = lake.path().join("elsewhere/more.csv");
    connection.run("CREATE SCHEMA kept");
    connection.run("CREATE VIEW kept.oslo AS SELECT name FROM dept WHERE city = 'Oslo'");
    connection.run(&format!(
        "CREATE EXTERNAL TABLE kept.more STORED AS CSV LOCATION '{}' OPTIONS ('format.has_header' 'true')",
        location.display()
    ));
}

fn check_objects(connection: &mut Pg) {
    let names = connection.rows("SELECT name FROM kept.oslo ORDER BY name");
    assert_eq!(names, [["Engineering"], ["Support"]]);
    assert_eq!(
        connection.rows("SELECT * FROM kept.more ORDER BY id"),
        [["1", "one"], ["2", "two"]]
    );
}

#[test]
fn statement_on_a_busy_server_is_answered_beside_a_heavy_one() {
    let lake = Lake::standard();
    let server = Server::standalone(&lake);
    let connection = server.connect();
    let cancel = connection.canceller();
    let pids = [server.process.pid()];
    let before = cpu_of(&pids);
    let running = in_background(connection, ENDLESS);
    wait_for_work(&pids, &before);
    let started = Instant::now();
    assert_eq!(server.scalar("SELECT count(*) FROM dept"), "4");
    assert!(started.elapsed() < CLIENT_DEADLINE / 6, "{:?}", started.elapsed());
    assert_eq!(server.http_get_any("/health").0, 200);
    cancel();
    assert_eq!(running.join().unwrap().expect_err("it was cancelled").code, "57014");
}
