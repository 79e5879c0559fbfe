//! What psql 15 sends, over a real lake: every statement must be planned and give what PostgreSQL would.
//!
//! The statements are psql's own, captured with `psql -E`; OIDs are filled in as psql does from its first answer.

use super::*;
use arrow::util::pretty::pretty_format_batches;
use datafusion::catalog::CatalogProvider;
use datafusion::execution::runtime_env::RuntimeEnv;
use datafusion::prelude::{SessionConfig, SessionContext};
use saltlake_catalog::{Database, Lake, LakeOptions};
use tempfile::TempDir;

struct Fixture {
    catalog: Arc<Catalog>,
    context: SessionContext,
    _root: TempDir,
}

impl Fixture {
    async fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(root.path().join("nyc/zones")).unwrap();
        std::fs::write(root.path().join("trips.csv"), "id,fare,name\n1,2.5,a\n").unwrap();
        std::fs::write(root.path().join("nyc/zones/part.csv"), "zone_id,zone\n1,North\n").unwrap();
        let options = LakeOptions {
            root: root.path().display().to_string(),
            allowed_roots: Vec::new(),
            catalog_name: "lake".to_string(),
            ..LakeOptions::default()
        };
        let lake = Lake::open(options, Arc::new(RuntimeEnv::default())).await.unwrap();
        let catalog = Catalog::new(Database::new(lake, "lake"), "test");
        let config = SessionConfig::new().with_default_catalog_and_schema("lake", "public");
        let context = SessionContext::new_with_config(config);
        let provider = datafusion::catalog::MemoryCatalogProvider::new();
        for (name, schema) in catalog.schemas() {
            provider.register_schema(&name, schema).unwrap();
        }
        context.register_catalog("lake", Arc::new(provider));
        for function in catalog.functions() {
            context.register_udf(function.as_ref().clone());
        }
        Self { catalog, context, _root: root }
    }

    async fn query(&self, sql: &str) -> String {
        let mut statements = saltlake_sql::parse::parse(sql, Default::default()).unwrap();
        let statement = self.catalog.rewrite(statements.remove(0)).await.unwrap();
        let rewritten = statement.ast.to_string();
        let state = self.context.state();
        let plan = match state.statement_to_plan(statement.ast).await {
            Ok(plan) => plan,
            Err(error) => panic!("{error}\n{rewritten}"),
        };
        let frame = self.context.execute_logical_plan(plan).await.unwrap();
        let batches = frame.collect().await.unwrap_or_else(|e| panic!("{e}\n{rewritten}"));
        pretty_format_batches(&batches).unwrap().to_string()
    }

    async fn check(&self, sql: &str, expected: &[&str]) {
        let found = self.query(sql).await;
        let rows: Vec<String> = found
            .lines()
            .filter(|line| line.starts_with('|'))
            .skip(1)
            .map(|line| {
                let cells = line.trim_matches('|').split('|').map(str::trim);
                cells.collect::<Vec<_>>().join("|")
            })
            .collect();
        assert_eq!(rows, expected, "{sql}\n{found}");
    }
}

/// Statements in the order of the file, with OIDs of `trips` in place.
fn captured(name: &str) -> String {
    let all = include_str!("psql.sql");
    let start = all.find(&format!("-- {name}\n")).unwrap_or_else(|| panic!("no statement {name}"));
    let body = &all[start..];
    let body = &body[body.find('\n').unwrap() + 1..];
    let end = body.find("\n-- ").unwrap_or(body.len());
    body[..end].replace("{oid}", &oid::relation("public", "trips").to_string())
}

#[tokio::test]
async fn psql_lists_relations_schemas_and_databases() {
    let fixture = Fixture::new().await;
    fixture.check(&captured("\\d"), &["public|trips|table|test"]).await;
    fixture.check(&captured("\\dt"), &["public|trips|table|test"]).await;
    fixture.check(&captured("\\dv"), &[]).await;
    fixture.check(&captured("\\dt nyc.*"), &["nyc|zones|table|test"]).await;
    fixture.check(&captured("\\dt+"), &["public|trips|table|test|permanent|lake||"]).await;
    fixture.check(&captured("\\dn"), &["nyc|test", "public|test"]).await;
    fixture.check(&captured("\\dn+"), &["nyc|test||", "public|test||"]).await;
    fixture.check(&captured("\\l"), &["lake|test|UTF8|C.UTF-8|C.UTF-8||libc|"]).await;
    let databases = ["lake|test|UTF8|C.UTF-8|C.UTF-8||libc|||pg_default|"];
    fixture.check(&captured("\\l+"), &databases).await;
    for empty in ["\\df", "\\di", "\\dm", "\\ds", "\\dT", "\\dx"] {
        fixture.check(&captured(empty), &[]).await;
    }
    fixture.check(&captured("\\db"), &["pg_default|test|", "pg_global|test|"]).await;
    fixture
        .check(&captured("\\du"), &["test|false|true|false|false|true|-1||[]|false|false"])
        .await;
}

#[tokio::test]
async fn psql_describes_a_table() {
    let fixture = Fixture::new().await;
    let trips = oid::relation("public", "trips").to_string();
    fixture.check(&captured("\\d trips: find"), &[&format!("{trips}|public|trips")]).await;
    let relation = "0|r|false|false|false|false|false|false|false||0||p|d|lake";
    fixture.check(&captured("\\d trips: relation"), &[relation]).await;
    let columns = ["id|bigint||false|||", "fare|double precision||false|||", "name|text||false|||"];
    fixture.check(&captured("\\d trips: columns"), &columns).await;
    let columns = [
        "id|bigint||false||||p|||",
        "fare|double precision||false||||p|||",
        "name|text||false||||x|||",
    ];
    fixture.check(&captured("\\d+ trips: columns"), &columns).await;
    fixture.check(&captured("\\d+ trips: relation"), &[relation]).await;
    for part in ["policies", "statistics", "publications", "parents", "children"] {
        fixture.check(&captured(&format!("\\d trips: {part}")), &[]).await;
    }
}

#[tokio::test]
async fn drivers_ask_for_types_and_themselves() {
    let fixture = Fixture::new().await;
    fixture
        .check(
            "SELECT typname, oid, typarray, oid::regtype::text FROM pg_type WHERE oid = to_regtype('int4')",
            &["int4|23|1007|integer"],
        )
        .await;
    fixture.check("SELECT current_schema, current_database()", &["public|lake"]).await;
    fixture.check("SELECT 'nyc.zones'::regclass::text", &["nyc.zones"]).await;
    let columns = "SELECT attname FROM pg_attribute WHERE attrelid = 'nyc.zones'::regclass \
                   AND attnum > 0 ORDER BY attnum";
    fixture.check(columns, &["zone_id", "zone"]).await;
    let sizes = "SELECT count(*) > 200 FROM pg_catalog.pg_attribute";
    fixture.check(sizes, &["true"]).await;
}
