//! What clients see when a statement fails: every reachable row of the error table, through psql and through Flight SQL.
//!
//! A case names the SQLSTATE that psql must print and the gRPC code that Flight must return; what the message must
//! mention proves that it names the thing. All cases of a test run before it fails.

use crate::harness::{Cluster, FlightClient, Server, ServerOptions, psql_command};
use crate::lake::Lake;
use std::fmt::Write;
use tonic::Code;

/// One failing statement and what both doors must say.
struct Case {
    sql: &'static str,
    sqlstate: &'static str,
    code: Code,
    /// Must be in the message.
    mentions: &'static str,
}

const fn case(
    sql: &'static str,
    sqlstate: &'static str,
    code: Code,
    mentions: &'static str,
) -> Case {
    Case { sql, sqlstate, code, mentions }
}

/// What psql printed about an error.
struct PsqlError {
    sqlstate: String,
    text: String,
}

/// Runs `sql` in the real psql, which must fail.
fn psql_error(server: &Server, sql: &str) -> PsqlError {
    let output = psql_command(&server.pg)
        .args(["--set", "VERBOSITY=verbose", "--command", sql])
        .output()
        .expect("psql is installed (.ci/run does it)");
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    let first = text.lines().find(|line| line.contains("ERROR:") || line.contains("FATAL:"));
    let words =
        first.and_then(|line| line.split_once(": ")).map_or("", |(_, rest)| rest.trim_start());
    let sqlstate = words.split(':').next().unwrap_or_default().to_owned();
    PsqlError { sqlstate, text }
}

/// Returns what is wrong with the answers of both doors; empty when nothing is.
fn check_case(server: &Server, flight: &mut FlightClient, case: &Case) -> String {
    let mut wrong = String::new();
    let psql = psql_error(server, case.sql);
    if psql.sqlstate != case.sqlstate || !psql.text.contains(case.mentions) {
        let (expected, mentions) = (case.sqlstate, case.mentions);
        let _ = writeln!(wrong, "psql, expected {expected} and \"{mentions}\":\n{}", psql.text);
    }
    match flight.query(case.sql) {
        Ok(_) => wrong.push_str("flight: no error\n"),
        Err(failure) => {
            if failure.code != case.code || !failure.message.contains(case.mentions) {
                let (expected, mentions) = (case.code, case.mentions);
                let _ =
                    writeln!(wrong, "flight, expected {expected:?} and \"{mentions}\": {failure}");
            }
        }
    }
    if wrong.is_empty() { wrong } else { format!("{}\n{wrong}", case.sql) }
}

fn check(server: &Server, cases: &[Case]) {
    let mut flight = server.connect_flight();
    let wrong: Vec<String> = cases
        .iter()
        .map(|case| check_case(server, &mut flight, case))
        .filter(|wrong| !wrong.is_empty())
        .collect();
    assert!(wrong.is_empty(), "{} of {} cases:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
    assert_eq!(server.scalar("SELECT count(*) FROM dept"), "4", "the server lives on");
}

#[test]
fn names_that_do_not_exist() {
    let lake = Lake::standard();
    let server = Server::standalone(&lake);
    let cases = [
        case("SELECT * FROM nowhere", "42P01", Code::NotFound, "nowhere"),
        case("SELECT * FROM public.nowhere", "42P01", Code::NotFound, "nowhere"),
        case("DROP VIEW nowhere", "42P01", Code::NotFound, "nowhere"),
        case("SELECT wage FROM emp", "42703", Code::NotFound, "wage"),
        case("SELECT name FROM emp ORDER BY wage", "42703", Code::NotFound, "wage"),
        case("SELECT e.wage FROM emp e", "42703", Code::NotFound, "wage"),
        case("SELECT frobnicate(1)", "42883", Code::NotFound, "frobnicate"),
        case("CREATE VIEW attic.v AS SELECT 1", "3F000", Code::NotFound, "attic"),
        case("SELECT * FROM elsewhere.public.dept", "3D000", Code::NotFound, "elsewhere"),
        case("SET saltlake.nothing = 1", "42704", Code::InvalidArgument, "nothing"),
        case("SHOW nothing", "42704", Code::InvalidArgument, "nothing"),
    ];
    check(&server, &cases);
}

#[test]
fn statements_that_make_no_sense() {
    let lake = Lake::standard();
    let server = Server::standalone(&lake);
    let invalid = Code::InvalidArgument;
    let cases = [
        case("SELEC 1", "42601", invalid, "SELEC"),
        case("SELECT * FROM dept WHERE", "42601", invalid, ""),
        case("SELECT 'open", "42601", invalid, ""),
        case("SELECT name FROM dept, emp", "42702", invalid, "name"),
        case("SELECT * FROM dept WHERE name", "42804", invalid, ""),
        case("SELECT 1 UNION SELECT 1, 2", "42601", invalid, ""),
        case("SELECT name, count(*) FROM dept", "42803", invalid, "name"),
        case("SELECT count(*) FROM dept WHERE count(*) > 1", "42803", invalid, ""),
        case("LISTEN something", "0A000", Code::Unimplemented, "not supported"),
        case("SET saltlake.distribution = 'sometimes'", "22023", invalid, "sometimes"),
        case("INSERT INTO dept VALUES (1, 'a', 2, 'b')", "25006", Code::FailedPrecondition, ""),
        case("DELETE FROM dept", "25006", Code::FailedPrecondition, ""),
        case("UPDATE dept SET budget = 0", "25006", Code::FailedPrecondition, ""),
    ];
    check(&server, &cases);
}

#[test]
fn values_that_do_not_work() {
    let lake = Lake::standard();
    let server = Server::standalone(&lake);
    let invalid = Code::InvalidArgument;
    let cases = [
        case("SELECT 1 / 0", "22012", invalid, "division by zero"),
        case("SELECT n / (m - m) FROM numbers", "22012", invalid, "division by zero"),
        // Integer arithmetic that overflows wraps in DataFusion 55: tests/slt/known_failures/overflow.slt.
        case("SELECT CAST(300000 AS smallint)", "22003", invalid, "out of range"),
        case("SELECT CAST('abc' AS integer)", "22P02", invalid, "abc"),
        case("SELECT CAST(name AS integer) FROM dept", "22P02", invalid, "Engineering"),
        case("SELECT CAST('maybe' AS boolean)", "22P02", invalid, "maybe"),
    ];
    check(&server, &cases);
}

#[test]
fn errors_inside_a_task_look_the_same() {
    let lake = Lake::standard();
    let options = ServerOptions::default()
        .env("SALTLAKE_SESSION__DISTRIBUTION", "always")
        .env("SALTLAKE_SESSION__BYTES_PER_PARTITION", "1024");
    let cluster = Cluster::start_with(&lake, 2, &options);
    let invalid = Code::InvalidArgument;
    let cases = [
        case("SELECT n / (m - m) FROM numbers", "22012", invalid, "division by zero"),
        case(
            "SELECT parity, sum(CAST(parity AS int)) FROM numbers GROUP BY parity",
            "22P02",
            invalid,
            "",
        ),
    ];
    check(&cluster, &cases);
}

#[test]
fn files_that_are_missing_broken_or_forbidden() {
    let lake = Lake::standard();
    lake.write("mangled.parquet", b"PAR1 this is no Parquet file PAR1");
    let mut cut = std::fs::read(lake.path().join("kinds.parquet")).unwrap();
    let middle = cut.len() / 3;
    cut[4..middle].fill(0xff);
    lake.write("damaged.parquet", &cut);
    lake.write("apart/gone.csv", "a,b\n1,2\n");
    let mut server = Server::standalone(&lake);
    // The Parquet reader panics over this footer, where overflow is checked and where it is not; the panic is caught.
    server.process.expect_error_log("push_decoder");
    server.process.expect_error_log("bytes.rs");
    let location = lake.path().join("apart/gone.csv");
    let mut connection = server.connect();
    connection.run(&format!(
        "CREATE EXTERNAL TABLE gone STORED AS CSV LOCATION '{}'",
        location.display()
    ));
    std::fs::remove_dir_all(lake.path().join("apart")).unwrap();
    let cases = [
        case("SELECT * FROM gone", "58030", Code::Unavailable, "gone.csv"),
        case("SELECT * FROM mangled", "XX001", Code::DataLoss, "mangled.parquet"),
        case("SELECT * FROM damaged", "XX001", Code::DataLoss, "damaged.parquet"),
        case(
            "CREATE EXTERNAL TABLE passwords STORED AS CSV LOCATION '/etc/passwd'",
            "42501",
            Code::PermissionDenied,
            "/etc/passwd",
        ),
        case(
            "COPY dept TO '/var/tmp/saltlake-must-not-exist.csv'",
            "42501",
            Code::PermissionDenied,
            "/var/tmp",
        ),
        case(
            "EXPLAIN ANALYZE COPY dept TO '/var/tmp/saltlake-must-not-exist.csv'",
            "42501",
            Code::PermissionDenied,
            "/var/tmp",
        ),
        case(
            "EXPLAIN COPY dept TO '/var/tmp/saltlake-must-not-exist.csv'",
            "42501",
            Code::PermissionDenied,
            "/var/tmp",
        ),
        case(
            "EXPLAIN (ANALYZE) COPY dept TO '/var/tmp/saltlake-must-not-exist.csv' (FORMAT csv)",
            "42501",
            Code::PermissionDenied,
            "/var/tmp",
        ),
    ];
    check(&server, &cases);
    assert!(!std::path::Path::new("/var/tmp/saltlake-must-not-exist.csv").exists());
}

#[test]
fn limits_that_are_reached() {
    let lake = Lake::standard();
    let options = ServerOptions::default()
        .env("SALTLAKE_COORDINATOR__MEMORY_LIMIT", "64 MiB")
        .env("SALTLAKE_SESSION__STATEMENT_TIMEOUT", "2s");
    let server = Server::standalone_with(&lake, &options);
    let cases = [
        case(
            "SELECT count(*) FROM numbers a CROSS JOIN numbers b CROSS JOIN numbers c WHERE (a.n + b.n + c.n) % 9 <> 11",
            "57014",
            Code::DeadlineExceeded,
            "",
        ),
        case(
            "SELECT array_agg(repeat('x', 10000)) FROM generate_series(1, 100000)",
            "53200",
            Code::ResourceExhausted,
            "",
        ),
    ];
    check(&server, &cases);
}

#[test]
fn no_worker_is_there() {
    let lake = Lake::standard();
    let options = ServerOptions::default().env("SALTLAKE_SESSION__DISTRIBUTION", "always");
    let cluster = Cluster::start_with(&lake, 0, &options);
    let mut flight = cluster.connect_flight();
    let no_workers = case("SELECT sum(n) FROM numbers", "53000", Code::Unavailable, "worker");
    let wrong = check_case(&cluster, &mut flight, &no_workers);
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn unknown_database_is_refused_at_connect() {
    let lake = Lake::empty();
    let server = Server::standalone(&lake);
    let output =
        psql_command(&server.pg).args(["--dbname", "ocean", "--command", "SELECT 1"]).output();
    let text = String::from_utf8_lossy(&output.unwrap().stderr).into_owned();
    assert!(text.contains("database \"ocean\" does not exist"), "{text}");
}

#[test]
fn psql_shows_where_the_statement_is_wrong_and_what_was_meant() {
    let lake = Lake::standard();
    let server = Server::standalone(&lake);
    let wrong_table = psql_error(&server, "SELECT name\nFROM depts");
    assert!(wrong_table.text.contains("LINE 2: FROM depts"), "{}", wrong_table.text);
    assert!(
        wrong_table.text.contains("HINT:") && wrong_table.text.contains("dept"),
        "{}",
        wrong_table.text
    );
    let wrong_column = psql_error(&server, "SELECT salry FROM emp");
    assert!(wrong_column.text.contains("LINE 1: SELECT salry"), "{}", wrong_column.text);
    assert!(wrong_column.text.contains("salary"), "{}", wrong_column.text);
    let mut connection = server.connect();
    assert_eq!(connection.error("SELECT salry FROM emp").position, Some(8));
    assert_eq!(connection.error("SELECT 1\nFORM dept").position, Some(15));
    assert_eq!(connection.error("SELECT 'ü', salry FROM emp").position, Some(13), "in characters");
    let wrong_function = connection.error("SELECT lenght('a')");
    assert!(wrong_function.hint.contains("length"), "{wrong_function}");
    let wrong_setting = connection.error("SET saltlake.distribtion = 'auto'");
    assert!(wrong_setting.hint.contains("saltlake.distribution"), "{wrong_setting}");
}

#[test]
fn error_in_a_batch_of_statements_ends_the_batch() {
    let lake = Lake::standard();
    let server = Server::standalone(&lake);
    let mut connection = server.connect();
    let error = connection.error(
        "CREATE VIEW first AS SELECT 1 AS v; SELECT 1/0; CREATE VIEW second AS SELECT 2 AS v",
    );
    assert_eq!(error.code, "22012", "{error}");
    assert_eq!(connection.error("SELECT * FROM second").code, "42P01");
}
