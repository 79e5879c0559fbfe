//! Numbers of distinct values: from statistics files of other engines, and from what ANALYZE kept.

use super::iceberg::{copy, leaf, plan_of};
use super::{TestLake, batch, open};
use crate::{Analysis, ColumnAnalysis};
use datafusion::catalog::memory::DataSourceExec;
use datafusion::common::stats::Precision;
use datafusion::datasource::physical_plan::FileScanConfig;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;

async fn distinct(lake: &TestLake, sql: &str) -> Vec<Option<usize>> {
    let plan = plan_of(lake, sql).await;
    let scan = leaf(&plan);
    let scan = scan.downcast_ref::<DataSourceExec>().expect("it scans").data_source();
    let statistics = scan.downcast_ref::<FileScanConfig>().expect("files").statistics();
    let known = |count: &Precision<usize>| {
        assert!(!matches!(count, Precision::Exact(_)), "no query is answered from it");
        count.get_value().copied()
    };
    statistics.column_statistics.iter().map(|column| known(&column.distinct_count)).collect()
}

fn column(n_rows: u64, n_distinct: u64, version: &str) -> ColumnAnalysis {
    ColumnAnalysis {
        version: version.to_owned(),
        analyzed_at_ms: 1_700_000_000_000,
        n_rows,
        n_nulls: 0,
        n_distinct: Some(n_distinct),
        min: Some("0".to_owned()),
        max: None,
    }
}

fn analysis(columns: &[(&str, ColumnAnalysis)]) -> Analysis {
    let columns: BTreeMap<_, _> =
        columns.iter().map(|(name, column)| ((*name).to_owned(), column.clone())).collect();
    Analysis { table: "t".to_owned(), columns }
}

#[tokio::test]
async fn statistics_files_of_other_engines_tell_distinct_values() {
    let lake = TestLake::new().await;
    let tables = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/iceberg/tables");
    copy(&tables.join("spark_v3"), &lake.dir.path().join("db/spark_v3"));
    let metadata = lake.dir.path().join("db/spark_v3/metadata");
    let version = std::fs::read_to_string(metadata.join("version-hint.text")).unwrap();
    let file = metadata.join(format!("v{}.metadata.json", version.trim()));
    let mut document: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    // Counted before the last commit, as it is most of the time.
    let current = &document["current-snapshot-id"];
    let snapshots = document["snapshots"].as_array().unwrap();
    let current = snapshots.iter().find(|snapshot| &snapshot["snapshot-id"] == current).unwrap();
    let parent = current["parent-snapshot-id"].clone();
    let blob = |field: i32, kind: &str, ndv: &str| {
        json!({
            "type": kind, "snapshot-id": parent, "sequence-number": 1, "fields": [field],
            "properties": {"ndv": ndv},
        })
    };
    document["statistics"] = json!([{
        "snapshot-id": parent, "statistics-path": "stats.puffin", "file-size-in-bytes": 1,
        "file-footer-size-in-bytes": 1, "blob-metadata": [
            blob(1, "apache-datasketches-theta-v1", "50"),
            blob(2, "apache-datasketches-theta-v1", "many"),
            blob(3, "other", "7"),
        ],
    }]);
    std::fs::write(&file, document.to_string()).unwrap();
    let found = distinct(&lake, "SELECT * FROM db.spark_v3").await;
    assert_eq!(found[0], Some(50), "{found:?}");
    assert!(found[1..].iter().all(Option::is_none), "{found:?}");
}

#[tokio::test]
async fn what_is_kept_is_used_by_later_plans_and_outlives_the_lake() {
    let lake = TestLake::new().await;
    let rows = batch!(("k", Int64, [1, 2, 3, 4]), ("c", Int64, [7, 7, 7, 7])).unwrap();
    lake.parquet("t/a.parquet", &rows);
    let table = lake.lake.relation_provider("public", "t").await.unwrap().unwrap();
    let seen = lake.lake.analyzed_table(&table).await.unwrap().unwrap();
    assert_eq!(distinct(&lake, "SELECT * FROM t").await, [None, None]);
    let keep = async |columns: &[(&str, ColumnAnalysis)]| {
        lake.lake.keep_analysis(&seen.location, analysis(columns)).await.unwrap();
    };
    keep(&[("k", column(4, 4, &seen.version)), ("c", column(4, 2, &seen.version))]).await;
    keep(&[("c", column(4, 1, &seen.version))]).await;
    assert_eq!(distinct(&lake, "SELECT * FROM t").await, [Some(4), Some(1)]);
    let files = std::fs::read_dir(lake.dir.path().join("_saltlake/statistics")).unwrap();
    assert_eq!(files.count(), 1, "the one before is gone");

    lake.parquet("t/b.parquet", &rows);
    assert_eq!(distinct(&lake, "SELECT * FROM t").await, [Some(8), Some(2)], "in proportion");
    let changed = lake.lake.relation_provider("public", "t").await.unwrap().unwrap();
    let changed = lake.lake.analyzed_table(&changed).await.unwrap().unwrap();
    assert_eq!(changed.location, seen.location);
    assert_ne!(changed.version, seen.version);

    let again = open(lake.dir.path(), &[]).await.unwrap();
    let known = again.analyses().await.unwrap();
    assert_eq!(known.len(), 1);
    assert_eq!(known[0].1.columns["k"], column(4, 4, &seen.version));
}

#[tokio::test]
async fn tables_of_every_kind_have_a_version() {
    let lake = TestLake::new().await;
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests");
    copy(&root.join("iceberg/tables/spark_v1"), &lake.dir.path().join("db/rides"));
    copy(&root.join("delta/tables/py_evolved"), &lake.dir.path().join("db/fares"));
    for name in ["rides", "fares"] {
        let table = lake.lake.relation_provider("db", name).await.unwrap().unwrap();
        let seen = lake.lake.analyzed_table(&table).await.unwrap().unwrap();
        assert!(seen.location.contains(name) && !seen.version.is_empty(), "{seen:?}");
        lake.lake
            .keep_analysis(&seen.location, analysis(&[("id", column(1, 1, "0"))]))
            .await
            .unwrap();
        let found = distinct(&lake, &format!("SELECT id FROM db.{name}")).await;
        assert!(found[0].is_some(), "{name}: {found:?}");
    }
}
