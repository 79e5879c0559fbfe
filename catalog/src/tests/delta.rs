//! Delta tables that other engines wrote: how their scans travel, and that what is known is advanced to the same rows.

use super::iceberg::{copy, encode, leaf, plan_of, rows};
use super::{TestLake, context, open, runtime};
use arrow::util::pretty::pretty_format_batches;
use datafusion::prelude::SessionContext;
use datafusion_proto::physical_plan::{
    DefaultPhysicalExtensionCodec, DefaultPhysicalProtoConverter, PhysicalExtensionCodec,
    PhysicalPlanNodeExt,
};
use std::path::{Path, PathBuf};

fn tables() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/delta/tables")
}

async fn golden() -> TestLake {
    let lake = TestLake::new().await;
    copy(&tables(), &lake.dir.path().join("db"));
    lake
}

#[tokio::test]
async fn scans_keep_their_deletes_on_the_way() {
    let lake = golden().await;
    let codec = lake.lake.scan_codec();
    for table in [
        "dv_with_columnmapping",
        "dv_partitioned_with_checkpoint",
        "table_with_columnmapping_mode_id",
        "data_reader_timestamp_ntz_name_mode",
        "py_partitions",
    ] {
        let sql = format!("SELECT * FROM db.{table} WHERE 1 < 2 ORDER BY 1, 2, 3");
        let plan = plan_of(&lake, &sql).await;
        let node = encode(&plan, &codec).unwrap();
        let converter = DefaultPhysicalProtoConverter {};
        let decoded = node
            .try_into_physical_plan_with_converter(&lake.ctx.task_ctx(), &codec, &converter)
            .unwrap();
        assert_eq!(rows(&lake, plan).await, rows(&lake, decoded).await, "{table}");
    }
}

#[tokio::test]
async fn what_would_be_lost_or_arrives_incomplete_is_refused() {
    let lake = golden().await;
    let plan = plan_of(&lake, "SELECT * FROM db.dv_with_columnmapping").await;
    let error = encode(&plan, &DefaultPhysicalExtensionCodec {}).unwrap_err();
    assert!(error.contains("Unsupported plan"), "{error}");
    let codec = lake.lake.scan_codec();
    let mut bytes = vec![];
    let converter = DefaultPhysicalProtoConverter {};
    codec.try_encode(leaf(&plan), &mut bytes, &converter).unwrap();
    let context = lake.ctx.task_ctx();
    assert!(codec.try_decode(&bytes, &[], &context, &converter).is_ok());
    let is_refused = |bytes: &[u8]| codec.try_decode(bytes, &[], &context, &converter).is_err();
    assert!((0..bytes.len()).step_by(7).all(|end| is_refused(&bytes[..end])));
}

/// Rows in an order of their own: files come in the order of commits.
async fn answer(ctx: &SessionContext, sql: &str) -> Vec<String> {
    let batches = ctx.sql(sql).await.unwrap().collect().await.unwrap();
    let table = pretty_format_batches(&batches).unwrap().to_string();
    let mut lines: Vec<String> = table.lines().map(str::to_owned).collect();
    lines.sort_unstable();
    lines
}

/// Takes the commits of a table away, brings them back one by one, and compares each version with what a lake says that
/// knows nothing.
#[tokio::test]
async fn versions_made_from_earlier_ones_are_the_same() {
    let mut n_compared = 0;
    for table in [
        "dv_partitioned_with_checkpoint",
        "dv_with_columnmapping",
        "log_replay_dv_key_cases",
        "basic_with_inserts_deletes_checkpoint",
        "snapshot_repartitioned",
        "time_travel_schema_changes_b",
        "py_evolved",
        "type_widening",
    ] {
        let lake = TestLake::new().await;
        let folder = lake.dir.path().join("db").join(table);
        copy(&tables().join(table), &folder);
        let log = folder.join("_delta_log");
        let mut files: Vec<PathBuf> =
            std::fs::read_dir(&log).unwrap().map(|entry| entry.unwrap().path()).collect();
        files.sort();
        let aside = lake.dir.path().join("aside");
        std::fs::create_dir(&aside).unwrap();
        for file in &files {
            std::fs::rename(file, aside.join(file.file_name().unwrap())).unwrap();
        }
        for file in &files {
            std::fs::rename(aside.join(file.file_name().unwrap()), file).unwrap();
            let is_commit = file.extension().is_some_and(|extension| extension == "json");
            let name = file.file_name().unwrap().to_str().unwrap();
            if !is_commit || name.len() != 25 {
                continue;
            }
            let sql = format!("SELECT * FROM db.{table}");
            let fresh = open(lake.dir.path(), &[]).await.unwrap();
            let expected = answer(&context(&fresh, runtime()), &sql).await;
            assert_eq!(answer(&lake.ctx, &sql).await, expected, "{table} {name}");
            n_compared += 1;
        }
    }
    assert!(n_compared > 40, "only {n_compared} versions");
}
