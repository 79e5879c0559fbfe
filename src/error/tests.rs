//! What clients see of real errors: each case is SQL that fails in the engine, or an error as a worker sends it.

use super::*;
use arrow::error::ArrowError;
use datafusion::parquet::errors::ParquetError;
use datafusion::prelude::{ParquetReadOptions, SessionConfig, SessionContext};
use std::fmt::Write as _;

/// SQL, code, a part of the message, a part of the hint, and the position (0 for none).
type Case = (&'static str, &'static str, &'static str, &'static str, usize);

async fn context() -> SessionContext {
    let config = SessionConfig::new()
        .with_default_catalog_and_schema("lake", "public")
        .set_bool("datafusion.sql_parser.collect_spans", true)
        .set_str("datafusion.sql_parser.dialect", "PostgreSQL");
    let ctx = SessionContext::new_with_config(config);
    for setup in [
        "CREATE TABLE emp AS SELECT * FROM (VALUES (1, 'Ann', 10.5), (2, 'Bob', 0.0)) AS t(id, name, salary)",
        "CREATE TABLE dept AS SELECT * FROM (VALUES (1, 'Ann')) AS t(id, name)",
    ] {
        ctx.sql(setup).await.unwrap().collect().await.unwrap();
    }
    ctx
}

async fn failure(ctx: &SessionContext, sql: &str) -> Option<Error> {
    match ctx.sql(sql).await {
        Err(error) => Some(error.into()),
        Ok(frame) => frame.collect().await.err().map(Error::from),
    }
}

async fn check(cases: &[Case]) {
    let ctx = context().await;
    let mut wrong = String::new();
    for (sql, sqlstate, message, hint, position) in cases {
        let Some(error) = failure(&ctx, sql).await else {
            let _ = writeln!(wrong, "{sql}\n  did not fail");
            continue;
        };
        let report = error.report_for(sql);
        let fits = report.sqlstate == *sqlstate
            && report.message.contains(message)
            && report.hint.as_deref().unwrap_or_default().contains(hint)
            && report.position.unwrap_or_default() == *position
            && !report.message.contains('\n')
            && !error.is_worker_lost();
        if !fits {
            let _ = writeln!(wrong, "{sql}\n  {report:?}\n  of {error:?}");
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[tokio::test]
async fn names_that_do_not_exist() {
    check(&[
        ("SELECT * FROM nowhere", "42P01", "relation \"nowhere\" does not exist", "", 15),
        ("SELECT * FROM public.nowhere", "42P01", "relation \"public.nowhere\" does", "", 15),
        ("SELECT * FROM attic.dept", "42P01", "relation \"attic.dept\" does not exist", "", 15),
        ("SELECT * FROM x.public.dept", "3D000", "database \"x\" does not exist", "", 15),
        ("DROP VIEW nowhere", "42P01", "relation \"nowhere\" does not exist", "", 0),
        ("SELECT salry FROM emp", "42703", "column \"salry\" does not", "mean \"salary\"?", 8),
        ("SELECT\n 'ü', salry FROM emp", "42703", "\"salry\"", "\"salary\"", 14),
        ("SELECT name FROM emp ORDER BY wage", "42703", "\"wage\"", "id, name, salary", 0),
        ("SELECT e.wage FROM emp e", "42703", "column e.wage does not exist", "id, name", 8),
        ("SELECT wage", "42703", "column \"wage\" does not exist", "", 8),
        ("SELECT x.wage FROM emp e", "42P01", "missing FROM-clause entry for table \"x\"", "", 8),
        ("SELECT frobnicate(1)", "42883", "function frobnicate does not exist", "", 8),
        ("SELECT lenght('a')", "42883", "function lenght does", "did you mean \"length\"?", 8),
        ("SELECT * FROM generate_serie(1, 2)", "42883", "generate_serie does not exist", "", 0),
        ("SELECT $1", "42P02", "parameter $1", "", 0),
        ("SET datafusion.nothing = 1", "42704", "nothing", "", 0),
    ])
    .await;
}

#[tokio::test]
async fn statements_that_make_no_sense() {
    check(&[
        ("SELEC 1", "42601", "syntax error at or near \"SELEC\"", "", 1),
        ("SELECT * FROM emp WHERE", "42601", "syntax error at end of input", "", 24),
        ("SELECT 'open", "42601", "unterminated string", "", 8),
        ("SELECT 1\nFORM dept", "42601", "at or near \"dept\"", "", 15),
        ("SELECT name FROM dept, emp", "42702", "reference \"name\" is ambiguous", "", 8),
        ("SELECT * FROM dept WHERE name", "42804", "must be type boolean, not type text", "", 0),
        ("SELECT name + id FROM emp", "42804", "does not exist: text + bigint", "cast", 8),
        ("SELECT id = true FROM emp", "42804", "not exist: bigint = boolean", "cast", 8),
        ("SELECT NOT name FROM emp", "42804", "boolean", "", 12),
        ("SELECT 1 LIMIT 'a'", "42804", "LIMIT", "", 0),
        ("SELECT round('x', 'y')", "42883", "function round(text, text) does not", "round(", 0),
        ("SELECT sum(name) FROM emp", "42883", "function sum(text) does not exist", "sum(", 0),
        ("SELECT sqrt('abc')", "42883", "function sqrt(text) does not exist", "sqrt(", 0),
        ("SELECT name, count(*) FROM dept", "42803", "\"dept.name\" must appear in", "", 8),
        ("SELECT * FROM dept HAVING id > 1", "42803", "HAVING", "", 0),
        ("SELECT id FROM dept WHERE count(*) > 1", "42803", "not allowed in the WHERE", "", 0),
        ("SELECT sum(sum(id)) FROM dept", "42803", "cannot be nested", "", 16),
        ("SELECT id FROM emp WHERE row_number() OVER () > 1", "42P20", "window", "", 0),
        ("SELECT 1 UNION SELECT 1, 2", "42601", "same number of columns", "", 1),
        ("SELECT (SELECT id, name FROM dept)", "42601", "only one column", "", 0),
        ("VALUES (1), (1, 2)", "42601", "same length", "", 0),
        ("SELECT 1 AS a, 2 AS a", "42701", "same name", "", 0),
        ("SELECT 1 ORDER BY 5", "42P10", "ORDER BY position", "", 0),
        ("SELECT 1 LIMIT -1", "2201W", "LIMIT must not be negative", "", 0),
        ("CREATE TABLE emp AS SELECT 1", "42P07", "already exists", "", 0),
        ("SET datafusion.execution.batch_size = 'x'", "22023", "batch_size", "", 0),
    ])
    .await;
}

#[tokio::test]
async fn values_that_do_not_work() {
    check(&[
        ("SELECT 1 / 0", "22012", "division by zero", "", 0),
        ("SELECT id / (id - id) FROM emp", "22012", "division by zero", "", 0),
        ("SELECT 300000::smallint", "22003", "300000 is out of range for type smallint", "", 0),
        ("SELECT '99999999999'::int", "22003", "is out of range for type integer", "", 0),
        ("SELECT 123456::decimal(4,2)", "22003", "out of range", "", 0),
        ("SELECT repeat('a', 10000000000)", "22003", "out of range", "", 0),
        ("SELECT 'abc'::int", "22P02", "invalid input syntax for type integer: \"abc\"", "", 0),
        ("SELECT name::int FROM dept", "22P02", "type integer: \"Ann\"", "", 0),
        ("SELECT 'maybe'::boolean", "22P02", "type boolean: \"maybe\"", "", 0),
        ("SELECT '1.x'::decimal(10,2)", "22P02", "type numeric: \"1.x\"", "", 0),
        ("SELECT 'x'::date", "22007", "invalid input syntax for type date: \"x\"", "", 0),
        ("SELECT '2020-13-45'::timestamp", "22007", "type timestamp: \"2020-13-45\"", "", 0),
        ("SELECT to_timestamp('xyz')", "22007", "type timestamp: \"xyz\"", "", 0),
        ("SELECT interval '1 xx'", "22007", "type interval", "", 0),
        ("SELECT regexp_match('a', '(')", "2201B", "regular expression: unclosed group", "", 0),
        ("SELECT 'a' ~ '('", "2201B", "regular expression: unclosed group", "", 0),
        ("SELECT (SELECT id FROM emp)", "21000", "more than one row", "", 0),
        ("SELECT date_trunc('foo', now())", "22023", "granularity", "", 0),
    ])
    .await;
}

#[tokio::test]
async fn memory_is_exhausted() {
    let pool = datafusion::execution::memory_pool::GreedyMemoryPool::new(100_000);
    let runtime = datafusion::execution::runtime_env::RuntimeEnvBuilder::new()
        .with_memory_pool(std::sync::Arc::new(pool))
        .build_arc()
        .unwrap();
    let config = SessionConfig::new().with_target_partitions(1);
    let ctx = SessionContext::new_with_config_rt(config, runtime);
    let sql = "SELECT array_agg(value) FROM generate_series(1, 1000000)";
    let report = failure(&ctx, sql).await.unwrap().report();
    assert_eq!((report.sqlstate, report.class), ("53200", Class::Resource), "{report:?}");
}

#[tokio::test]
async fn files_that_are_corrupt() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("trips.parquet");
    let location = path.to_str().unwrap();
    let ctx = SessionContext::new();
    std::fs::write(&path, b"this is no Parquet file").unwrap();
    let error = ctx.read_parquet(location, ParquetReadOptions::default()).await.unwrap_err();
    let report = Error::from(error).report();
    assert_eq!((report.sqlstate, report.class), ("XX001", Class::External), "{report:?}");
}

#[test]
fn catalog_errors_keep_their_meaning() {
    let missing = saltlake_catalog::Error::TableNotFound {
        schema: "nyc".into(),
        name: "trip".into(),
        similar: vec!["trips".into()],
    };
    let report = Error::from(DataFusionError::from(missing)).report();
    assert_eq!(report.sqlstate, "42P01");
    assert_eq!(report.message, "relation \"nyc.trip\" does not exist");
    assert_eq!(report.hint.as_deref(), Some("did you mean \"trips\"?"));
    let refused = saltlake_catalog::Error::LocationRefused { location: "/etc/passwd".into() };
    let wrapped = DataFusionError::from(refused).context("planning");
    let report = Error::from(wrapped).report();
    assert_eq!(report.sqlstate, "42501");
    assert!(report.message.contains("/etc/passwd"), "{report:?}");
}

#[test]
fn errors_of_tasks_keep_their_meaning() {
    let text = |text: &str| {
        // What is left of an error that datafusion-distributed cannot send as it is.
        DataFusionError::External(Box::new(std::io::Error::other(text.to_string())))
    };
    let from_worker: [(DataFusionError, &str); 7] = [
        (DataFusionError::ArrowError(Box::new(ArrowError::DivideByZero), None), "22012"),
        (DataFusionError::Execution("Arrow error: Divide by zero error".into()), "22012"),
        (DataFusionError::ResourcesExhausted("Failed to allocate 10 MB".into()), "53200"),
        (
            DataFusionError::ResourcesExhausted(
                "The used disk space during the spilling process has exceeded the allowable limit"
                    .into(),
            ),
            "53100",
        ),
        (
            DataFusionError::ParquetError(Box::new(ParquetError::EOF("footer".into())))
                .context("reading lake/trips.parquet"),
            "XX001",
        ),
        (DataFusionError::Internal("something is off.\nThis issue was likely".into()), "XX000"),
        (text("disk is on fire"), "58030"),
    ];
    for (error, sqlstate) in from_worker {
        let shared = DataFusionError::Shared(std::sync::Arc::new(error));
        let error = Error::from(shared);
        let report = error.report();
        assert_eq!(report.sqlstate, sqlstate, "{report:?}");
        assert!(!report.message.contains('\n') && !error.is_worker_lost(), "{report:?}");
        if sqlstate == "XX001" {
            assert!(report.message.contains("lake/trips.parquet"), "{report:?}");
        }
    }
}

#[tokio::test]
async fn a_lost_worker_is_told_from_other_failures() {
    // A real refused connection: nothing listens on a port that was just closed.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let endpoint = tonic::transport::Endpoint::from_shared(format!("http://{address}")).unwrap();
    let refused = endpoint.connect().await.unwrap_err();
    let unavailable = tonic::Status::unavailable("tcp connect error");
    let as_text = std::io::Error::other(unavailable.to_string());
    let external =
        |error: Box<dyn std::error::Error + Send + Sync>| DataFusionError::External(error);
    let lost = [
        external(Box::new(refused)),
        external(Box::new(unavailable)),
        external(Box::new(tonic::Status::unknown("h2 protocol error: error reading a body from connection"))),
        external(Box::new(as_text)),
        DataFusionError::Execution(format!(
            "Error connecting to Distributed DataFusion worker on 'http://{address}': transport error"
        )),
        DataFusionError::Execution(
            "Worker::execute_task timed-out while waiting for the plan to be set by the coordinator. (deadline has elapsed)".into(),
        ),
    ];
    for error in lost {
        let error =
            Error::from(DataFusionError::Shared(std::sync::Arc::new(error)).context("stage 1"));
        assert!(error.is_worker_lost(), "{error:?}");
        let report = error.report();
        assert_eq!((report.sqlstate, report.class), ("58000", Class::External), "{report:?}");
        assert!(report.hint.is_some(), "{report:?}");
    }
    let store = object_store::Error::Generic {
        store: "S3",
        source: Box::new(std::io::Error::from(std::io::ErrorKind::ConnectionRefused)),
    };
    let kept = [
        (DataFusionError::ObjectStore(Box::new(store)), "58030"),
        (external(Box::new(tonic::Status::invalid_argument("bad plan"))), "XX000"),
        (DataFusionError::Execution("transport error is a word in a text".into()), "22000"),
    ];
    for (error, sqlstate) in kept {
        let error = Error::from(error);
        assert!(!error.is_worker_lost(), "{error:?}");
        assert_eq!(error.report().sqlstate, sqlstate, "{error:?}");
    }
}

#[test]
fn own_errors_have_their_codes() {
    let setting = Error::UnknownSetting {
        name: "saltlake.skew".into(),
        similar: vec!["saltlake.skew_ratio".into()],
    };
    let value = Error::BadSettingValue {
        name: "saltlake.distribution".into(),
        value: "sometimes".into(),
        hint: "one of auto, always, never".into(),
    };
    let complex = saltlake_sql::Error::TooComplex { what: "expression depth", limit: 1000 };
    for (error, sqlstate, hint) in [
        (setting, "42704", "saltlake.skew_ratio"),
        (value, "22023", "auto, always, never"),
        (Error::from(complex), "54001", ""),
        (Error::Cancelled { reason: "user request" }, "57014", ""),
        (Error::NotSupported { feature: "LISTEN".into() }, "0A000", ""),
    ] {
        let report = error.report();
        assert_eq!(report.sqlstate, sqlstate);
        assert!(report.hint.unwrap_or_default().contains(hint));
        let inside = Error::from(DataFusionError::External(Box::new(error)));
        assert_eq!(inside.report().sqlstate, sqlstate, "also from inside the engine");
    }
}

#[test]
fn nearest_finds_slips_and_nothing_else() {
    let names = ["salary", "name", "id"];
    assert_eq!(nearest("salry", names), Some("salary"));
    assert_eq!(nearest("NAME", names), Some("name"));
    assert_eq!(nearest("ident", names), None);
}
