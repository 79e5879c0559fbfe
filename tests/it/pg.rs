//! The PostgreSQL door as real clients use it: psql's own screens, and a driver that speaks binary.

use crate::harness::{Message, Server, psql_command, rss_mib};
use crate::lake::Lake;
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
