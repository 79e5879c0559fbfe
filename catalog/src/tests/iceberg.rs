//! Iceberg tables that other engines wrote: how their scans travel, and what caches spare.

use super::TestLake;
use arrow::util::pretty::pretty_format_batches;
use datafusion::catalog::memory::DataSourceExec;
use datafusion::datasource::physical_plan::{FileGroup, FileScanConfig};
use datafusion::physical_plan::{ExecutionPlan, collect};
use datafusion_proto::physical_plan::{
    DefaultPhysicalExtensionCodec, DefaultPhysicalProtoConverter, PhysicalExtensionCodec,
    PhysicalPlanNodeExt,
};
use datafusion_proto::protobuf::PhysicalPlanNode;
use std::path::Path;
use std::sync::Arc;

pub(super) fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy(&entry.path(), &target),
            false => drop(std::fs::copy(entry.path(), target).unwrap()),
        }
    }
}

async fn golden() -> TestLake {
    let lake = TestLake::new().await;
    let tables = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/iceberg/tables");
    copy(&tables, &lake.dir.path().join("db"));
    lake
}

pub(super) async fn plan_of(lake: &TestLake, sql: &str) -> Arc<dyn ExecutionPlan> {
    lake.ctx.sql(sql).await.unwrap().create_physical_plan().await.unwrap()
}

pub(super) async fn rows(lake: &TestLake, plan: Arc<dyn ExecutionPlan>) -> String {
    let batches = collect(plan, lake.ctx.task_ctx()).await.unwrap();
    pretty_format_batches(&batches).unwrap().to_string()
}

pub(super) fn encode(
    plan: &Arc<dyn ExecutionPlan>,
    codec: &dyn PhysicalExtensionCodec,
) -> Result<PhysicalPlanNode, String> {
    let converter = DefaultPhysicalProtoConverter {};
    PhysicalPlanNode::try_from_physical_plan_with_converter(Arc::clone(plan), codec, &converter)
        .map_err(|error| error.to_string())
}

#[tokio::test]
async fn scans_keep_their_deletes_on_the_way() {
    let lake = golden().await;
    let codec = lake.lake.scan_codec();
    for table in ["spark_upgraded", "spark_pos_partition", "java_equality", "spark_imported"] {
        let plan =
            plan_of(&lake, &format!("SELECT * FROM db.{table} WHERE 1 < 2 ORDER BY id")).await;
        let node = encode(&plan, &codec).unwrap();
        let converter = DefaultPhysicalProtoConverter {};
        let decoded = node
            .try_into_physical_plan_with_converter(&lake.ctx.task_ctx(), &codec, &converter)
            .unwrap();
        assert_eq!(rows(&lake, plan).await, rows(&lake, decoded).await, "{table}");
    }
}

pub(super) fn leaf(plan: &Arc<dyn ExecutionPlan>) -> Arc<dyn ExecutionPlan> {
    match plan.children().first() {
        Some(child) => leaf(child),
        None => Arc::clone(plan),
    }
}

#[tokio::test]
async fn a_scan_that_would_lose_its_deletes_is_not_written() {
    let lake = golden().await;
    let plan = plan_of(&lake, "SELECT * FROM db.spark_upgraded").await;
    let error = encode(&plan, &DefaultPhysicalExtensionCodec {}).unwrap_err();
    assert!(error.contains("Unsupported plan"), "{error}");
    let codec = lake.lake.scan_codec();
    let scan = leaf(&plan);
    let config = scan.downcast_ref::<DataSourceExec>().unwrap().data_source();
    let mut bare = config.downcast_ref::<FileScanConfig>().unwrap().clone();
    for group in &mut bare.file_groups {
        let mut files = group.files().to_vec();
        for file in &mut files {
            file.extensions = Default::default();
        }
        *group = FileGroup::new(files);
    }
    let bare: Arc<dyn ExecutionPlan> = DataSourceExec::from_data_source(bare);
    let error = encode(&bare, &codec).unwrap_err();
    assert!(error.contains("would be lost"), "{error}");
    let error = collect(bare, lake.ctx.task_ctx()).await.unwrap_err();
    assert!(error.to_string().contains("nothing is known of the deletes"), "{error}");
}

#[tokio::test]
async fn what_arrives_incomplete_is_not_read() {
    let lake = golden().await;
    let codec = lake.lake.scan_codec();
    let scan = leaf(&plan_of(&lake, "SELECT * FROM db.spark_upgraded").await);
    let mut bytes = vec![];
    let converter = DefaultPhysicalProtoConverter {};
    codec.try_encode(scan, &mut bytes, &converter).unwrap();
    let context = lake.ctx.task_ctx();
    assert!(codec.try_decode(&bytes, &[], &context, &converter).is_ok());
    let is_refused = |bytes: &[u8]| codec.try_decode(bytes, &[], &context, &converter).is_err();
    assert!(is_refused(&[]));
    assert!((1..bytes.len()).filter(|end| !is_refused(&bytes[..*end])).count() == 0);
}

#[tokio::test]
async fn metadata_are_read_once() {
    let lake = golden().await;
    let sql = "SELECT count(*), sum(id) FROM db.spark_pos_file WHERE id > 3";
    let first = lake.query(sql).await;
    let misses = |lake: &TestLake| -> Vec<(&'static str, u64)> {
        let usage = lake.lake.cache_usage();
        usage.iter().map(|cache| (cache.name, cache.n_misses)).collect()
    };
    let before = misses(&lake);
    assert_eq!(lake.query(sql).await, first);
    assert_eq!(misses(&lake), before);
    for cache in lake.lake.cache_usage() {
        let is_used = ["iceberg_metadata", "iceberg_manifest_lists", "iceberg_manifests"];
        if is_used.contains(&cache.name) {
            assert!(cache.n_hits > 0 && cache.n_misses > 0, "{cache:?}");
        }
    }
    lake.lake.flush_caches();
    assert_eq!(lake.query(sql).await, first);
    assert_ne!(misses(&lake), before);
}

#[tokio::test]
async fn counts_and_ranges_of_whole_numbers_come_from_metadata() {
    let lake = golden().await;
    let check = async |table: &str, what: &str, is_known: bool| {
        let sql = format!("SELECT {what} FROM db.{table}");
        let plan = plan_of(&lake, &sql).await;
        let is_read = leaf(&plan).downcast_ref::<DataSourceExec>().is_some();
        assert_eq!(is_read, !is_known, "{sql}");
        // The same in a form that no metadata can answer.
        let read = ["id", "da", "kind"].iter().fold(what.to_owned(), |what, column| {
            let unknown = format!("(CASE WHEN random() >= 0 THEN {column} END)");
            what.replace(&format!("({column})"), &unknown)
        });
        let read = read.replace("count(*)", "sum(CASE WHEN random() >= 0 THEN 1 END)");
        assert_eq!(
            lake.query(&sql).await,
            lake.query(&format!("SELECT {read} FROM db.{table}")).await
        );
    };
    for table in ["spark_v1", "spark_evolved", "spark_imported", "py_events"] {
        check(table, "count(*), count(id), min(id), max(id)", true).await;
        check(table, "min(id)", true).await;
    }
    check("spark_types", "min(da), max(da)", true).await;
    // Texts are cut; deleted rows may have held the ends; how many rows a delete file deletes only reading tells.
    check("py_events", "max(kind)", false).await;
    check("spark_v3", "count(*)", true).await;
    check("spark_v3", "max(id)", false).await;
    for table in ["spark_pos_file", "java_equality"] {
        check(table, "count(*)", false).await;
        check(table, "min(id)", false).await;
    }
    check("spark_v1 WHERE id <= 17", "max(id)", false).await;
}
