//! Requests to object stores: counted, shown by EXPLAIN ANALYZE and `/metrics`, and few once a table is known.

use crate::catalogs::{create_rest, seaweed_catalog_with};
use crate::golden;
use crate::harness::{Cluster, Pg, S3_ACCESS_KEY, S3_SECRET_KEY, Server, ServerOptions};
use crate::lake::Lake;
use crate::s3::store_with;

/// Most requests of a query that reads one row of a table that is known.
const MAX_WARM: u64 = 3;

/// What EXPLAIN ANALYZE says of a query's requests.
#[derive(Debug)]
struct Reads {
    requests: u64,
    footers_cached: u64,
    footers: u64,
    _line: String,
}

/// The number before a word.
fn number_before(text: &str, word: &str) -> u64 {
    let (before, _) = text.split_once(word).unwrap_or_default();
    before
        .rsplit([' ', ','])
        .find(|part| !part.is_empty())
        .and_then(|n| n.parse().ok())
        .unwrap_or(0)
}

fn reads(connection: &mut Pg, sql: &str) -> Reads {
    let text = connection.rows(&format!("EXPLAIN ANALYZE {sql}")).concat().join("\n");
    let line = text.lines().find(|line| line.contains("ooters: "));
    let line = line.unwrap_or_else(|| panic!("no requests in\n{text}"));
    let footers = line.split_once("ooters: ").map_or("", |(_, footers)| footers);
    Reads {
        requests: number_before(line, " requests"),
        footers_cached: number_before(footers, " of "),
        footers: number_before(footers, " in memory"),
        _line: line.to_owned(),
    }
}

/// Requests that the process has made, as `/metrics` counts them.
fn counted(server: &Server) -> u64 {
    let text = server.http_get("/metrics");
    let lines =
        text.lines().filter(|line| line.starts_with("saltlake_object_store_requests_total{"));
    lines.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum()
}

#[test]
fn a_point_query_on_a_known_table_of_many_files_makes_few_requests() {
    let Some((_, store)) = seaweed_catalog_with("many") else { return };
    let lake = Lake::standard();
    let mut options =
        ServerOptions::default().env("SALTLAKE_LAKE__ALLOWED_ROOTS", "s3://warehouse");
    options.envs.extend(store.env());
    let server = Server::standalone_with(&lake, &options);
    let mut connection = server.connect();
    let more =
        format!(", warehouse = 's3://warehouse', credential = '{S3_ACCESS_KEY}:{S3_SECRET_KEY}'");
    connection.run(&create_rest(&store.iceberg_endpoint(), &more));
    let sql = "SELECT note FROM ice.db.points WHERE id = 12345";
    let cold = reads(&mut connection, sql);
    let warm = reads(&mut connection, sql);
    assert!(warm.requests <= MAX_WARM && warm.requests < cold.requests, "{cold:?} {warm:?}");
    assert_eq!((warm.footers_cached, warm.footers), (1, 1), "{warm:?}");
    assert_eq!(cold.footers_cached, 0, "{cold:?}");
    let before = counted(&server);
    assert_eq!(connection.scalar(sql), "point 12345");
    let made = counted(&server) - before;
    assert!((1..=MAX_WARM).contains(&made), "{made} requests");
}

#[test]
fn a_known_table_of_a_lake_on_s3_is_found_with_few_requests() {
    let Some((_store, options)) = store_with(&golden::golden_lake("iceberg")) else { return };
    let server = Server::standalone_with(&Lake::empty(), &options);
    let mut connection = server.connect();
    for (table, key) in [("spark_v1", 17), ("py_events", 20)] {
        let sql = format!("SELECT count(*) FROM db.{table} WHERE id = {key}");
        let cold = reads(&mut connection, &sql);
        // The definitions of the lake were looked at less than a second ago.
        let warm = reads(&mut connection, &sql);
        assert!(warm.requests <= MAX_WARM && warm.requests < cold.requests, "{cold:?} {warm:?}");
    }
}

#[test]
fn files_go_to_the_workers_that_know_their_footers() {
    let lake = golden::golden_lake("iceberg");
    let cluster = Cluster::start(&lake, 3);
    let mut connection = cluster.connect_distributed();
    let sql = "SELECT region, count(*), max(amount) FROM db.spark_v1 GROUP BY region";
    let first = reads(&mut connection, sql);
    assert!(first.footers > 3 && first.footers_cached < first.footers, "{first:?}");
    for _ in 0..3 {
        let again = reads(&mut connection, sql);
        assert_eq!(again.footers_cached, again.footers, "{first:?} {again:?}");
    }
}
