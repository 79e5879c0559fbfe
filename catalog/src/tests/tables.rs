//! Columns, partitions, pruning, freshness and broken files of discovered tables.

use super::{TestLake, batch};
use arrow::array::{ArrayRef, Float32Array, Int32Array, Int64Array, RecordBatch, StructArray};
use arrow::datatypes::{DataType, Field, Schema};
use datafusion::common::stats::Precision;
use datafusion::datasource::physical_plan::FileScanConfig;
use datafusion::datasource::source::DataSourceExec;
use datafusion::physical_plan::displayable;
use std::sync::Arc;

fn numbers(range: std::ops::Range<i64>) -> RecordBatch {
    let schema = Arc::new(Schema::new(vec![Field::new("n", DataType::Int64, false)]));
    RecordBatch::try_new(schema, vec![Arc::new(Int64Array::from_iter_values(range))]).unwrap()
}

async fn physical(lake: &TestLake, sql: &str) -> String {
    let plan = lake.ctx.sql(sql).await.unwrap().create_physical_plan().await.unwrap();
    displayable(plan.as_ref()).indent(true).to_string()
}

#[tokio::test]
async fn partition_folders_become_columns_and_prune() {
    let lake = TestLake::new().await;
    lake.parquet("t/year=2023/month=01/x.parquet", &numbers(0..10));
    lake.parquet("t/year=2024/month=02/x.parquet", &numbers(10..30));
    lake.parquet("t/year=2024/month=11/x.parquet", &numbers(30..70));
    lake.check(
        "SELECT year, month, count(*) FROM t GROUP BY 1, 2 ORDER BY 1, 2",
        "2023 1 10\n2024 2 20\n2024 11 40",
    )
    .await;
    lake.check("SELECT arrow_typeof(year) FROM t LIMIT 1", "Int64").await;
    let plan = physical(&lake, "SELECT n FROM t WHERE year = 2024 AND month > 2").await;
    assert!(plan.contains("month=11") && !plan.contains("month=02"), "{plan}");
    assert!(!plan.contains("year=2023") && !plan.contains("FilterExec"), "{plan}");
    lake.check("SELECT count(*) FROM t WHERE year = 1999", "0").await;
    lake.check("SELECT max(month), min(year) FROM t", "11 2023").await;
}

#[tokio::test]
async fn partition_values_are_typed_decoded_and_null() {
    let lake = TestLake::new().await;
    lake.write("t/day=2024-01-31/city=New%20York/x.csv", "n\n1\n");
    lake.write("t/day=2024-02-01/city=__HIVE_DEFAULT_PARTITION__/x.csv", "n\n2\n");
    lake.check("SELECT n, day, city FROM t ORDER BY n", "1 2024-01-31 New York\n2 2024-02-01")
        .await;
    lake.check("SELECT n FROM t WHERE day > DATE '2024-01-31'", "2").await;
    lake.check("SELECT n FROM t WHERE city IS NULL", "2").await;
    lake.parquet("p/k=1/x.parquet", &numbers(0..3));
    lake.parquet("p/k=__HIVE_DEFAULT_PARTITION__/x.parquet", &numbers(0..4));
    lake.check("SELECT count(*), count(k), max(k), min(k) FROM p", "7 3 1 1").await;
    lake.check("SELECT count(*) FROM p WHERE k IS NULL", "4").await;
}

#[tokio::test]
async fn partition_keys_must_agree() {
    let lake = TestLake::new().await;
    lake.write("t/a=1/x.csv", "n\n1\n");
    lake.write("t/b=1/x.csv", "n\n1\n");
    let error = lake.query("SELECT * FROM t").await;
    assert!(error.contains("b=1/x.csv") && error.contains("column \"a\""), "{error}");
}

#[tokio::test]
async fn partition_column_repeated_in_parquet_is_read_from_the_path() {
    let lake = TestLake::new().await;
    let batch = batch!(("k", Int32, [9]), ("n", Int32, [1])).unwrap();
    lake.parquet("t/k=5/x.parquet", &batch);
    lake.check("SELECT k, n FROM t", "5 1").await;
}

#[tokio::test]
async fn statistics_answer_without_a_scan_and_prune_row_groups() {
    let lake = TestLake::new().await;
    lake.parquet("t/a.parquet", &numbers(0..1000));
    lake.parquet("t/b.parquet", &numbers(1000..2000));
    let plan = physical(&lake, "SELECT count(*), max(n) FROM t").await;
    assert!(!plan.contains("DataSourceExec"), "{plan}");
    lake.check("SELECT count(*), max(n) FROM t", "2000 1999").await;
    lake.check("SELECT n FROM t WHERE n = 1500", "1500").await;
    let analyzed = lake.query("EXPLAIN ANALYZE SELECT n FROM t WHERE n = 1500").await;
    assert!(analyzed.contains("row_groups_pruned_statistics="), "{analyzed}");
    lake.check("SELECT count(*) FROM (SELECT n FROM t LIMIT 7)", "7").await;
}

#[tokio::test]
async fn files_that_statistics_rule_out_are_not_in_the_plan() {
    let lake = TestLake::new().await;
    lake.parquet("t/a.parquet", &numbers(0..10));
    lake.parquet("t/b.parquet", &numbers(10..20));
    lake.parquet("t/c.parquet", &batch!(("n", Int64, [30]), ("s", Utf8, ["x"])).unwrap());
    let plan = physical(&lake, "SELECT n FROM t WHERE n > 5 AND n < 8").await;
    assert!(plan.contains("a.parquet") && !plan.contains("b.parquet"), "{plan}");
    assert!(!plan.contains("c.parquet"), "{plan}");
    lake.check("SELECT n FROM t WHERE n IN (7, 30) ORDER BY n", "7\n30").await;
    lake.check("SELECT n FROM t WHERE s = 'x'", "30").await;
    lake.check("SELECT count(*) FROM t WHERE s IS NULL", "20").await;
    lake.check("SELECT count(*) FROM t WHERE n > 100", "0").await;
    lake.check("SELECT n FROM t WHERE n = (SELECT max(n) FROM t)", "30").await;
    lake.check("SELECT count(*) FROM (SELECT n FROM t WHERE n >= 10 LIMIT 3)", "3").await;
}

#[tokio::test]
async fn columns_are_merged_by_name_and_widened() {
    let lake = TestLake::new().await;
    let narrow = batch!(("a", Int32, [1, 2]), ("b", Utf8, ["x", "y"])).unwrap();
    let wide =
        batch!(("b", Utf8, ["z"]), ("a", Int64, [5_000_000_000]), ("c", Float64, [1.5])).unwrap();
    lake.parquet("t/1.parquet", &narrow);
    lake.parquet("t/2.parquet", &wide);
    lake.check("SELECT a, b, c FROM t ORDER BY a", "1 x\n2 y\n5000000000 z 1.5").await;
    lake.check("SELECT min(a), max(a), count(c) FROM t", "1 5000000000 1").await;
    lake.check("SELECT b FROM t WHERE a = 2", "y").await;
    lake.check("SELECT b FROM t WHERE a > 2", "z").await;
    lake.check("SELECT count(*) FROM t WHERE c IS NULL", "2").await;
    let clash = batch!(("a", Utf8, ["no"])).unwrap();
    lake.parquet("t/3.parquet", &clash);
    let error = lake.query("SELECT * FROM t").await;
    assert!(
        error.contains("3.parquet") && error.contains("column \"a\" is Utf8View here"),
        "{error}"
    );
}

#[tokio::test]
async fn csv_has_a_header_and_inferred_types() {
    let lake = TestLake::new().await;
    lake.write("t/1.csv", "id,day,price,name\n1,2024-01-01,2.5,x\n2,2024-01-02,,y\n");
    lake.write("t/2.csv", "id,day,price,name\n3,2024-01-03,4,\"a,b\"\n");
    lake.check(
        "SELECT id, arrow_typeof(id), arrow_typeof(day), arrow_typeof(price), name FROM t ORDER BY id",
        "1 Int64 Date32 Float64 x\n2 Int64 Date32 Float64 y\n3 Int64 Date32 Float64 a,b",
    )
    .await;
    lake.write("t/3.csv", "id,name\n4,z\n");
    let error = lake.query("SELECT * FROM t").await;
    assert!(error.contains("3.csv") && error.contains("position 2"), "{error}");
}

#[tokio::test]
async fn json_columns_keep_their_order() {
    let lake = TestLake::new().await;
    lake.write("t.ndjson", "{\"z\":1,\"a\":{\"k\":[1,2]}}\n{\"z\":2,\"m\":\"x\"}\n");
    lake.check("SELECT * FROM t ORDER BY z", "1 {k: [1, 2]}\n2  x").await;
    lake.write("bad.json", "{\"a\":1}\n{oops\n");
    let error = lake.query("SELECT * FROM bad").await;
    assert!(error.contains("bad.json\" is corrupt"), "{error}");
}

#[tokio::test]
async fn compressed_text_is_read() {
    let lake = TestLake::new().await;
    // "a\n1\n2\n" through gzip -n.
    let gzip = [
        0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3, 0x4b, 0xe4, 0x32, 0xe4, 0x32, 0xe2, 2, 0, 0x80, 0xc2,
        0x7f, 0x70, 6, 0, 0, 0,
    ];
    lake.write("t.csv.gz", gzip);
    lake.check("SELECT sum(a) FROM t", "3").await;
    lake.write("cut.csv.gz", &gzip[..20]);
    let error = lake.query("SELECT * FROM cut").await;
    assert!(error.contains("cut.csv.gz\" is corrupt"), "{error}");
}

#[tokio::test]
async fn changes_are_seen_by_the_next_query() {
    let lake = TestLake::new().await;
    lake.parquet("t/1.parquet", &numbers(0..10));
    lake.check("SELECT count(*) FROM t", "10").await;
    lake.parquet("t/2.parquet", &numbers(0..5));
    lake.check("SELECT count(*) FROM t", "15").await;
    std::fs::remove_file(lake.path("t/1.parquet")).unwrap();
    lake.check("SELECT count(*), sum(n) FROM t", "5 10").await;
    // Replaced by a file of the same size.
    lake.parquet("t/2.parquet", &numbers(100..105));
    lake.check("SELECT sum(n), min(n) FROM t", "510 100").await;
    lake.parquet("t/2.parquet", &batch!(("m", Utf8, ["other"])).unwrap());
    lake.check("SELECT m FROM t", "other").await;
    std::fs::remove_dir_all(lake.path("t")).unwrap();
    let gone = lake.try_query("SELECT * FROM t").await.unwrap_err();
    assert!(gone.to_string().contains("not found"), "{gone}");
}

#[tokio::test]
async fn plan_that_runs_later_lists_again() {
    let lake = TestLake::new().await;
    lake.parquet("t/1.parquet", &numbers(0..10));
    let frame = lake.ctx.sql("SELECT count(*) FROM t").await.unwrap();
    std::fs::rename(lake.path("t/1.parquet"), lake.path("t/2.parquet")).unwrap();
    tokio::time::sleep(crate::table::PIN_TIME).await;
    let batches = frame.collect().await.unwrap();
    let count = batches[0].column(0).as_any().downcast_ref::<Int64Array>().unwrap().value(0);
    assert_eq!(count, 10);
}

#[tokio::test]
async fn broken_parquet_is_named() {
    let lake = TestLake::new().await;
    lake.parquet("t/good.parquet", &numbers(0..1000));
    let bytes = std::fs::read(lake.path("t/good.parquet")).unwrap();
    lake.write("t/cut.parquet", &bytes[..bytes.len() / 2]);
    let error = lake.query("SELECT * FROM t").await;
    assert!(
        error.starts_with("error: file") && error.contains("cut.parquet\" is corrupt"),
        "{error}"
    );
    lake.write("u.parquet", "this is no parquet file at all");
    let error = lake.query("SELECT count(*) FROM u").await;
    assert!(error.contains("u.parquet\" is corrupt"), "{error}");
}

#[tokio::test]
async fn unchanged_files_are_read_once() {
    let lake = TestLake::new().await;
    for idx in 0..20 {
        lake.parquet(&format!("t/{idx}.parquet"), &numbers(idx..idx + 1));
    }
    lake.check("SELECT sum(n) FROM t", "190").await;
    let misses =
        || lake.lake.cache_usage().iter().map(|usage| usage.n_misses).take(3).collect::<Vec<_>>();
    assert_eq!(misses(), [1, 20, 20]);
    lake.check("SELECT sum(n) FROM t", "190").await;
    assert_eq!(misses(), [1, 20, 20]);
    lake.parquet("t/20.parquet", &numbers(20..21));
    lake.check("SELECT sum(n) FROM t", "210").await;
    assert_eq!(misses(), [2, 21, 21]);
}

#[tokio::test]
async fn loads_at_the_same_time_are_one() {
    let lake = TestLake::new().await;
    lake.parquet("t/x.parquet", &numbers(0..10));
    let load = || lake.lake.relation_provider("public", "t");
    let loaded = futures::future::join_all((0..8).map(|_| load())).await;
    assert!(loaded.iter().all(|table| table.as_ref().is_ok_and(Option::is_some)));
    let usage = &lake.lake.cache_usage()[0];
    assert_eq!((usage.name, usage.n_hits, usage.n_misses), ("table_schema", 7, 1));
}

#[tokio::test]
async fn text_files_tell_their_size() {
    let lake = TestLake::new().await;
    lake.write("t/x.csv", "a\n1\n");
    lake.write("t/y.csv", "a\n10\n");
    let plan = lake.ctx.sql("SELECT * FROM t").await.unwrap().create_physical_plan().await.unwrap();
    let children = plan.children();
    let scan = children.first().map_or(plan.as_ref(), |child| child.as_ref());
    let scan = scan.downcast_ref::<DataSourceExec>().unwrap();
    let config = scan.data_source().downcast_ref::<FileScanConfig>().unwrap();
    assert_eq!(config.statistics().total_byte_size, Precision::Inexact(9));
}

#[tokio::test]
async fn odd_csv_files_are_read_or_named() {
    let lake = TestLake::new().await;
    lake.write("bom.csv", "\u{feff}a,b\n1,x\n");
    lake.check("SELECT a, b FROM bom", "1 x").await;
    lake.write("header.csv", "a,b\n");
    lake.check("SELECT count(a) FROM header", "0").await;
    lake.write("t/1.csv", "a,b\n");
    lake.write("t/2.csv", "a,b\n1,2\n");
    lake.check("SELECT a + b FROM t", "3").await;
    lake.write("twice.csv", "a,a\n1,2\n");
    let error = lake.query("SELECT * FROM twice").await;
    assert!(error.contains("twice.csv") && error.contains("\"a\" appears twice"), "{error}");
    lake.write("crlf.csv", "a,b\r\n1,x\r\n");
    lake.check("SELECT a, b FROM crlf", "1 x").await;
}

#[tokio::test]
async fn structs_are_merged_by_field() {
    let lake = TestLake::new().await;
    lake.write("t/1.json", "{\"s\":{\"a\":1},\"l\":[1]}\n");
    lake.write("t/2.json", "{\"s\":{\"a\":2.5,\"b\":\"x\"},\"l\":[0.5]}\n");
    lake.check("SELECT s['a'], s['b'], l[1] FROM t ORDER BY 1", "1.0  1.0\n2.5 x 0.5").await;
    let sql = "COPY (SELECT s, l FROM t WHERE s['b'] IS NULL) TO '{}' STORED AS PARQUET";
    let target = lake.path("p/1.parquet");
    lake.try_query(&sql.replace("{}", target.to_str().unwrap())).await.unwrap();
    lake.parquet("p/2.parquet", &nested());
    lake.check("SELECT s['a'], s['c'] FROM p ORDER BY 1", "1.0\n7.0 8").await;
}

/// A struct that lacks one field of the other file, has one more, and one of a narrower type.
fn nested() -> RecordBatch {
    let fields =
        vec![Field::new("a", DataType::Float32, true), Field::new("c", DataType::Int32, true)];
    let values = StructArray::new(
        fields.into(),
        vec![Arc::new(Float32Array::from(vec![7.0])), Arc::new(Int32Array::from(vec![8]))],
        None,
    );
    RecordBatch::try_from_iter([("s", Arc::new(values) as ArrayRef)]).unwrap()
}
