//! The PostgreSQL door as real clients use it: psql's own screens, and a driver that speaks binary.

use crate::harness::{
    Message, READY_DEADLINE, Server, copy_folder, cpu_seconds, psql_command, rss_mib, source_root,
    wait_until,
};
use crate::lake::Lake;
use std::time::{Duration, Instant};
use tokio_postgres::types::Type;
use tokio_postgres::{Client, NoTls};

/// Two tables, small enough that a whole screen is in the test.
fn lake() -> Lake {
    let lake = Lake::empty();
    lake.write("trips.csv", "id,fare,name\n1,2.5,a\n2,3.5,b\n");
    lake.write("nyc/zones/part.csv", "zone_id,zone\n1,North\n");
    lake
}

fn screen(server: &Server, command: &str) -> String {
    let output = psql_command(&server.pg).args(["--command", command]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{command}\n{text}\n{:?}", output.stderr);
    text.lines().map(str::trim_end).collect::<Vec<_>>().join("\n").trim_end().to_owned()
}

#[test]
fn psql_shows_relations_schemas_and_databases() {
    let lake = lake();
    let server = Server::standalone(&lake);
    server.connect().run("CREATE VIEW cheap AS SELECT id FROM trips WHERE fare < 3");
    assert_eq!(
        screen(&server, "\\d"),
        "       List of relations\n Schema | Name  | Type  | Owner\n--------+-------+-------+-------\n \
         public | cheap | view  | test\n public | trips | table | test\n(2 rows)"
    );
    assert!(screen(&server, "\\dt").ends_with(" public | trips | table | test\n(1 row)"));
    assert!(screen(&server, "\\dv").ends_with(" public | cheap | view | test\n(1 row)"));
    assert!(screen(&server, "\\dt nyc.*").ends_with(" nyc    | zones | table | test\n(1 row)"));
    let schemas = screen(&server, "\\dn");
    assert!(schemas.contains(" nyc ") && schemas.contains(" public "), "{schemas}");
    assert!(screen(&server, "\\l").contains(" lake | test  | UTF8"));
    for command in ["\\df", "\\du", "\\dp", "\\dx", "\\dT", "\\d+", "\\l+", "\\dn+", "\\d+ cheap"] {
        screen(&server, command);
    }
}

#[test]
fn psql_describes_a_table() {
    let lake = lake();
    let server = Server::standalone(&lake);
    assert_eq!(
        screen(&server, "\\d trips"),
        "                    Table \"public.trips\"\n \
         Column |       Type       | Collation | Nullable | Default\n\
         --------+------------------+-----------+----------+---------\n \
         id     | bigint           |           |          |\n \
         fare   | double precision |           |          |\n \
         name   | text             |           |          |"
    );
    assert!(screen(&server, "\\d nyc.zones").contains("Table \"nyc.zones\""));
}

#[test]
fn comments_are_kept_and_shown() {
    let lake = lake();
    let server = Server::standalone(&lake);
    let mut pg = server.connect();
    pg.run("CREATE VIEW cheap AS SELECT id FROM trips WHERE fare < 3");
    for statement in [
        "COMMENT ON TABLE trips IS 'one ride a row'",
        "COMMENT ON COLUMN trips.fare IS 'in dollars; it''s gross'",
        "COMMENT ON VIEW public.cheap IS 'cheap ones'",
        "COMMENT ON SCHEMA nyc IS 'New York'",
        "COMMENT ON COLUMN nyc.zones.zone IS 'its name'",
    ] {
        assert_eq!(pg.run(statement).tag, "COMMENT", "{statement}");
    }
    let tables = screen(&server, "\\dt+");
    assert!(tables.ends_with("| one ride a row\n(1 row)"), "{tables}");
    let columns = screen(&server, "\\d+ trips");
    assert!(columns.contains("| in dollars; it's gross"), "{columns}");
    assert!(screen(&server, "\\dv+").ends_with("| cheap ones\n(1 row)"));
    assert!(screen(&server, "\\dn+ nyc").ends_with("| New York\n(1 row)"));
    let all =
        "SELECT objoid = 'trips'::regclass, objsubid, description FROM pg_description ORDER BY 3";
    let expected = [
        ["f", "0", "New York"],
        ["f", "0", "cheap ones"],
        ["t", "2", "in dollars; it's gross"],
        ["f", "2", "its name"],
        ["t", "0", "one ride a row"],
    ];
    assert_eq!(pg.rows(all), expected);
    for (statement, code) in [
        ("COMMENT ON TABLE nosuch IS 'x'", "42P01"),
        ("COMMENT ON COLUMN trips.nosuch IS 'x'", "42703"),
        ("COMMENT ON COLUMN trips IS 'x'", "42601"),
        ("COMMENT ON VIEW trips IS 'x'", "42809"),
        ("COMMENT ON TABLE cheap IS 'x'", "42809"),
        ("COMMENT ON SCHEMA nosuch IS 'x'", "3F000"),
        ("COMMENT ON ROLE test IS 'x'", "0A000"),
    ] {
        assert_eq!(pg.error(statement).code, code, "{statement}");
    }
    // What takes a view's place keeps its comment; what is dropped loses it.
    pg.run("CREATE OR REPLACE VIEW cheap AS SELECT id FROM trips WHERE fare < 2");
    pg.run("COMMENT ON TABLE trips IS NULL");
    drop(pg);
    drop(server);
    let server = Server::standalone(&lake);
    let mut pg = server.connect();
    let relations =
        "SELECT obj_description('cheap'::regclass, 'pg_class'), obj_description('trips'::regclass)";
    assert_eq!(pg.rows(relations), [["cheap ones", "NULL"]]);
    pg.run("DROP VIEW cheap");
    pg.run("CREATE VIEW cheap AS SELECT 1 AS id");
    assert_eq!(pg.rows(relations), [["NULL", "NULL"]]);
}

#[test]
fn metadata_of_tables_bring_comments_and_numbers_of_rows() {
    let lake = lake();
    let table = source_root().join("tests/iceberg/tables/spark_v1");
    copy_folder(&table, &lake.path().join("described"));
    // The newest document says what the table and a column are for.
    let metadata = lake.path().join("described/metadata");
    let documents = std::fs::read_dir(&metadata).unwrap().map(|entry| entry.unwrap().path());
    let document = documents.filter(|path| path.to_string_lossy().ends_with("metadata.json")).max();
    let path = document.unwrap();
    let text = std::fs::read_to_string(&path).unwrap();
    let mut json: serde_json::Value = serde_json::from_str(&text).unwrap();
    json["properties"]["comment"] = "rows of Spark".into();
    for schema in json["schemas"].as_array_mut().unwrap() {
        schema["fields"][0]["doc"] = "the key".into();
    }
    std::fs::write(&path, json.to_string()).unwrap();
    let table = source_root().join("tests/delta/tables/basic_decimal_table");
    copy_folder(&table, &lake.path().join("decimals"));
    let log = lake.path().join("decimals/_delta_log/00000000000000000000.json");
    let text = std::fs::read_to_string(&log).unwrap();
    let (before, after) = text.split_once(r#"\"metadata\":{}"#).unwrap();
    let commented = format!(r#"{before}\"metadata\":{{\"comment\":\"of Delta\"}}{after}"#);
    std::fs::write(&log, commented).unwrap();
    let server = Server::standalone(&lake);
    let mut pg = server.connect();
    let n_rows = pg.scalar("SELECT count(*) FROM described");
    let class = "SELECT reltuples FROM pg_class WHERE oid = 'described'::regclass";
    assert_eq!(pg.scalar(class), n_rows);
    // Nothing is read to count the rows of plain files.
    assert_eq!(pg.scalar("SELECT reltuples FROM pg_class WHERE oid = 'trips'::regclass"), "-1");
    let comments = "SELECT objsubid, description FROM pg_description WHERE objoid = 'described'::regclass ORDER BY 1";
    assert_eq!(pg.rows(comments), [["0", "rows of Spark"], ["1", "the key"]]);
    for (command, comment) in [("\\d+ described", "| the key"), ("\\d+ decimals", "| of Delta")] {
        let columns = screen(&server, command);
        assert!(columns.contains(comment), "{columns}");
    }
    pg.run("COMMENT ON TABLE described IS 'ours'");
    assert_eq!(pg.rows(comments), [["0", "ours"], ["1", "the key"]]);
}

fn with_driver<F: Future<Output = ()>>(server: &Server, test: impl FnOnce(Client) -> F) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let (host, port) = server.pg.rsplit_once(':').unwrap();
        let config = format!("host={host} port={port} user=test dbname=lake");
        let (client, connection) = tokio_postgres::connect(&config, NoTls).await.unwrap();
        let connection = tokio::spawn(connection);
        test(client).await;
        connection.abort();
    });
}

#[test]
fn a_driver_reads_every_type_in_binary() {
    let lake = lake();
    let server = Server::standalone(&lake);
    with_driver(&server, |client| async move {
        let sql = "SELECT true, CAST(7 AS smallint), CAST(8 AS int), CAST(9 AS bigint), CAST(1.5 AS real), \
                   CAST(2.5 AS double), 'text', CAST('ab' AS bytea), DATE '2024-02-29', \
                   TIMESTAMP '2024-01-01 10:00:00.5', ARRAY[CAST(1 AS int), NULL]";
        let row = client.query_one(sql, &[]).await.unwrap();
        assert!(row.get::<_, bool>(0));
        assert_eq!((row.get::<_, i16>(1), row.get::<_, i32>(2), row.get::<_, i64>(3)), (7, 8, 9));
        assert_eq!((row.get::<_, f32>(4), row.get::<_, f64>(5)), (1.5, 2.5));
        assert_eq!((row.get::<_, &str>(6), row.get::<_, Vec<u8>>(7)), ("text", b"ab".to_vec()));
        let date = row.get::<_, chrono::NaiveDate>(8);
        assert_eq!(date.to_string(), "2024-02-29");
        let timestamp = row.get::<_, chrono::NaiveDateTime>(9);
        assert_eq!(timestamp.to_string(), "2024-01-01 10:00:00.500");
        assert_eq!(row.get::<_, Vec<Option<i32>>>(10), [Some(1), None]);
    });
}

#[test]
fn parameters_take_the_declared_or_the_planned_type() {
    let lake = lake();
    let server = Server::standalone(&lake);
    with_driver(&server, |client| async move {
        let planned = client.prepare("SELECT name FROM trips WHERE id = $1").await.unwrap();
        assert_eq!(planned.params(), [Type::INT8]);
        let row = client.query_one(&planned, &[&2_i64]).await.unwrap();
        assert_eq!(row.get::<_, &str>(0), "b");
        let declared = client.prepare_typed("SELECT $1 AS n", &[Type::INT4]).await.unwrap();
        let row = client.query_one(&declared, &[&41_i32]).await.unwrap();
        assert_eq!(row.get::<_, i32>(0), 41);
        let null = client.query_one(&planned, &[&None::<i64>]).await;
        assert!(null.is_err(), "NULL equals nothing");
    });
}

#[test]
fn a_portal_gives_its_rows_in_pieces() {
    let lake = lake();
    let server = Server::standalone(&lake);
    with_driver(&server, |mut client| async move {
        let transaction = client.transaction().await.unwrap();
        let portal =
            transaction.bind("SELECT value FROM generate_series(1, 5)", &[]).await.unwrap();
        let mut counts = Vec::new();
        for _ in 0..3 {
            counts.push(transaction.query_portal(&portal, 2).await.unwrap().len());
        }
        assert_eq!(counts, [2, 2, 1]);
        transaction.commit().await.unwrap();
    });
}

#[test]
fn statements_of_one_message_are_answered_up_to_the_first_error() {
    let lake = lake();
    let server = Server::standalone(&lake);
    let mut pg = server.connect();
    pg.start("SELECT 1; SELECT nosuch; SELECT 2").unwrap();
    let (mut n_rows, mut n_errors) = (0, 0);
    loop {
        match pg.next_message().unwrap() {
            Message::Row(_) => n_rows += 1,
            Message::Error(_) => n_errors += 1,
            Message::Ready => break,
            _ => {}
        }
    }
    assert_eq!((n_rows, n_errors), (1, 1));
}

#[test]
fn a_failed_transaction_refuses_statements_until_it_ends() {
    let lake = lake();
    let server = Server::standalone(&lake);
    let mut pg = server.connect();
    pg.run("BEGIN");
    pg.error("SELECT nosuch");
    assert_eq!(pg.error("SELECT 1").code, "25P02");
    assert_eq!(pg.run("COMMIT").tag, "ROLLBACK");
    assert_eq!(pg.scalar("SELECT 1"), "1");
}

#[test]
fn settings_that_clients_follow_are_reported() {
    let lake = lake();
    let server = Server::standalone(&lake);
    let mut pg = server.connect();
    assert!(pg.parameters["server_version"].starts_with("15.0"));
    pg.run("SET TimeZone = 'Asia/Tokyo'");
    assert_eq!(pg.parameters["TimeZone"], "Asia/Tokyo");
    let shown = pg.scalar("SELECT TIMESTAMPTZ '2024-01-01 00:00:00+00'");
    assert_eq!(shown, "2024-01-01 09:00:00+09");
}

#[test]
fn a_long_result_is_streamed_in_constant_memory_and_cancelled_in_the_middle() {
    let lake = lake();
    let server = Server::standalone(&lake);
    let mut pg = server.connect();
    pg.start("SELECT value FROM generate_series(1, 3000000)").unwrap();
    let before = rss_mib(server.process.pid());
    assert_eq!(pg.count_rows().unwrap(), 3_000_000);
    let after = rss_mib(server.process.pid());
    assert!(after < before + 100, "{before} MiB before, {after} MiB after");
    pg.start("SELECT value FROM generate_series(1, 100000000000)").unwrap();
    pg.next_message().unwrap();
    pg.canceller()();
    let error = pg.count_rows().unwrap_err();
    assert_eq!(error.code, "57014", "{error}");
    assert_eq!(pg.scalar("SELECT 1"), "1");
}

#[test]
fn a_cancelled_nested_loop_join_frees_its_threads() {
    check_cancelled(
        "SELECT count(*) FROM numbers a, numbers b, numbers c WHERE a.n + b.n + c.n = 7",
    );
}

#[test]
fn a_cancelled_semi_join_on_one_heavy_key_frees_its_threads() {
    check_cancelled(
        "SELECT count(*) FROM generate_series(1, 300000) a (n) WHERE EXISTS (
             SELECT 1 FROM generate_series(1, 300000) b (n) WHERE a.n % 1 = b.n % 1 AND a.n + b.n < 0)",
    );
}

/// Checks that the next statement need not wait for a cancelled one.
fn check_cancelled(sql: &str) {
    let lake = Lake::standard();
    let server = Server::standalone(&lake);
    let mut pg = server.connect();
    let quick = "SELECT sum(n) FROM numbers";
    let sum = pg.scalar(quick);
    pg.start(sql).unwrap();
    let pid = server.process.pid();
    let before = cpu_seconds(pid);
    wait_until("rows are compared", READY_DEADLINE, || cpu_seconds(pid) > before + 2.0);
    pg.canceller()();
    assert_eq!(pg.count_rows().unwrap_err().code, "57014");
    let started = Instant::now();
    assert_eq!(pg.scalar(quick), sum);
    let took = started.elapsed();
    assert!(took < Duration::from_secs(2), "the next statement waited {took:?}");
}

#[test]
fn a_scrolling_cursor_keeps_only_so_much() {
    let lake = lake();
    let server = Server::standalone(&lake);
    let mut pg = server.connect();
    let before = rss_mib(server.process.pid());
    pg.run("BEGIN");
    pg.run("DECLARE s SCROLL CURSOR FOR SELECT value, repeat('x', 1000) FROM generate_series(1, 10000000) t (value)");
    pg.run("FETCH 10 FROM s");
    assert_eq!(pg.rows("FETCH BACKWARD 2 FROM s")[0][0], "9");
    let error = pg.error("FETCH LAST FROM s");
    assert_eq!(error.code, "54000", "{error}");
    let after = rss_mib(server.process.pid());
    assert!(after < before + 300, "{before} MiB before, {after} MiB after");
}

#[test]
fn a_cancel_request_leaves_open_cursors_alone() {
    let lake = lake();
    let server = Server::standalone(&lake);
    let mut pg = server.connect();
    pg.run("BEGIN");
    pg.run("DECLARE kept CURSOR WITH HOLD FOR SELECT value FROM generate_series(1, 3000000)");
    assert_eq!(pg.rows("FETCH 2 FROM kept"), [["1"], ["2"]]);
    pg.run("COMMIT");
    // Nothing runs: the request means nothing.
    pg.canceller()();
    assert_eq!(pg.rows("FETCH 1 FROM kept"), [["3"]]);
    // Something else runs: the request means that.
    pg.start("SELECT value FROM generate_series(1, 100000000000)").unwrap();
    pg.next_message().unwrap();
    pg.canceller()();
    assert_eq!(pg.count_rows().unwrap_err().code, "57014");
    assert_eq!(pg.rows("FETCH 1 FROM kept"), [["4"]]);
    // The cursor itself runs: now it is meant.
    pg.start("FETCH ALL FROM kept").unwrap();
    pg.next_message().unwrap();
    pg.canceller()();
    assert_eq!(pg.count_rows().unwrap_err().code, "57014");
}
