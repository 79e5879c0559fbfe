//! Lakes on disk, written by code, read through SQL.

mod analysis;
mod changes;
mod delta;
mod discovery;
mod iceberg;
mod locations;
mod tables;

use crate::store::{StoreOptions, Stores};
use crate::{Error, ExternalTable, FileKind, Lake, LakeOptions, Relation, ViewPlanner};
use arrow::array::RecordBatch;
use arrow::util::pretty::pretty_format_batches;
use datafusion::error::DataFusionError;
use datafusion::execution::SessionState;
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use datafusion::logical_expr::LogicalPlan;
use datafusion::parquet::arrow::ArrowWriter;
use datafusion::parquet::file::properties::WriterProperties;
use datafusion::prelude::{SessionConfig, SessionContext};
use futures::future::BoxFuture;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tempfile::TempDir;

/// A batch of literal columns: `batch!(("a", Int32, [1, 2]))`.
macro_rules! batch {
    ($(($name:expr, $type:ident, $values:expr)),*) => {
        arrow::array::RecordBatch::try_from_iter_with_nullable([$((
            $name,
            arrow::array::create_array!($type, $values.to_vec()) as arrow::array::ArrayRef,
            true,
        )),*])
    };
}
pub(super) use batch;

pub(super) struct TestLake {
    pub(super) dir: TempDir,
    pub(super) lake: Arc<Lake>,
    pub(super) ctx: SessionContext,
}

struct Planner(SessionState);

impl ViewPlanner for Planner {
    fn plan_view<'a>(
        &'a self,
        sql: &'a str,
    ) -> BoxFuture<'a, Result<LogicalPlan, DataFusionError>> {
        Box::pin(self.0.create_logical_plan(sql))
    }
}

pub(super) fn runtime() -> Arc<RuntimeEnv> {
    let stores = Arc::new(Stores::new(StoreOptions::default()));
    RuntimeEnvBuilder::new().with_object_store_registry(stores).build_arc().unwrap()
}

pub(super) fn context(lake: &Arc<Lake>, runtime: Arc<RuntimeEnv>) -> SessionContext {
    let config = SessionConfig::new()
        .with_target_partitions(2)
        .with_information_schema(true)
        .with_create_default_catalog_and_schema(false)
        .with_default_catalog_and_schema("lake", "public");
    let ctx = SessionContext::new_with_config_rt(config, runtime);
    ctx.register_catalog("lake", lake.catalog_provider());
    lake.set_view_planner(Arc::new(Planner(ctx.state())));
    ctx
}

pub(super) async fn open(root: &Path, allowed: &[&Path]) -> Result<Arc<Lake>, Error> {
    let options = LakeOptions {
        root: root.to_str().unwrap().to_owned(),
        allowed_roots: allowed.iter().map(|path| path.to_str().unwrap().to_owned()).collect(),
        catalog_name: "lake".to_owned(),
        ..LakeOptions::default()
    };
    Lake::open(options, runtime()).await
}

impl TestLake {
    pub(super) async fn new() -> Self {
        Self::with_allowed(&[]).await
    }

    pub(super) async fn with_allowed(allowed: &[&Path]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let lake = open(dir.path(), allowed).await.unwrap();
        let ctx = context(&lake, runtime());
        Self { dir, lake, ctx }
    }

    /// The same lake as a new process would open it.
    pub(super) async fn restart(self) -> Self {
        let lake = open(self.dir.path(), &[]).await.unwrap();
        let ctx = context(&lake, runtime());
        Self { dir: self.dir, lake, ctx }
    }

    pub(super) fn path(&self, file: &str) -> PathBuf {
        let path = self.dir.path().join(file);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        path
    }

    pub(super) fn write(&self, file: &str, content: impl AsRef<[u8]>) {
        std::fs::write(self.path(file), content).unwrap();
    }

    pub(super) fn parquet(&self, file: &str, batch: &RecordBatch) {
        write_parquet(&self.path(file), batch);
    }

    /// Rows of a query, one line each, cells separated by a blank; or the error.
    pub(super) async fn query(&self, sql: &str) -> String {
        match self.try_query(sql).await {
            Ok(rows) => rows,
            Err(error) => match Error::find(&error) {
                Some(found) => format!("error: {found}"),
                None => format!("engine error: {}", error.strip_backtrace()),
            },
        }
    }

    pub(super) async fn try_query(&self, sql: &str) -> Result<String, DataFusionError> {
        let batches = self.ctx.sql(sql).await?.collect().await?;
        let table = pretty_format_batches(&batches)?.to_string();
        let rows = table.lines().filter(|line| line.starts_with('|')).skip(1).map(|line| {
            let cells = line.trim_matches('|').split('|').map(str::trim);
            cells.collect::<Vec<_>>().join(" ").trim_end().to_owned()
        });
        Ok(rows.collect::<Vec<_>>().join("\n"))
    }

    #[track_caller]
    pub(super) fn check(&self, sql: &str, expected: &str) -> impl Future<Output = ()> {
        let caller = std::panic::Location::caller();
        async move {
            let rows = self.query(sql).await;
            assert_eq!(rows, expected, "{sql} at {caller}");
        }
    }

    pub(super) async fn names(&self) -> Vec<String> {
        let show =
            |r: Relation| format!("{}.{} {}", r.schema, r.name, r.format.unwrap_or_default());
        self.lake.relations().await.unwrap().into_iter().map(show).collect()
    }
}

pub(super) fn write_parquet(path: &Path, batch: &RecordBatch) {
    let file = File::create(path).unwrap();
    let properties = WriterProperties::builder().set_max_row_group_row_count(Some(100)).build();
    let mut writer = ArrowWriter::try_new(file, batch.schema(), Some(properties)).unwrap();
    writer.write(batch).unwrap();
    writer.close().unwrap();
}

pub(super) fn external(name: &str, location: &str, format: FileKind) -> ExternalTable {
    ExternalTable {
        schema: "public".to_owned(),
        name: name.to_owned(),
        location: location.to_owned(),
        format,
        columns: vec![],
        partition_columns: vec![],
        options: Default::default(),
        comment: None,
    }
}
