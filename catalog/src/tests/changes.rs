//! What statements define: schemas, external tables, views; and that it lasts.

use super::{TestLake, batch, external, write_parquet};
use crate::{Column, Error, ExternalTable, FileKind, RelationKind};
use datafusion::logical_expr::{DdlStatement, LogicalPlan};

const TABLE: RelationKind = RelationKind::Table;
const VIEW: RelationKind = RelationKind::View;

#[tokio::test]
async fn definitions_survive_a_restart() {
    let lake = TestLake::new().await;
    lake.write("data/_raw/x.csv", "a;b\n1;x\n");
    lake.write("data/sub/raw.txt", "a;b\n1;x\n");
    let mut table = external("semi", "data/sub/raw.txt", FileKind::Csv);
    table.options.insert("format.delimiter".into(), ";".into());
    table.comment = Some("semicolons".into());
    lake.lake.create_schema("s", false).await.unwrap();
    table.schema = "s".into();
    lake.lake.create_external_table(table, false, false).await.unwrap();
    lake.lake.create_view("public", "v", "SELECT a + 1 AS b FROM s.semi", false).await.unwrap();
    let lake = lake.restart().await;
    lake.check("SELECT a, b FROM s.semi", "1 x").await;
    lake.check("SELECT b FROM v", "2").await;
    assert_eq!(lake.lake.schemas().await.unwrap(), ["public", "s"]);
    let relations = lake.lake.relations().await.unwrap();
    let names: Vec<_> =
        relations.iter().map(|r| (r.schema.as_str(), r.name.as_str(), r.kind)).collect();
    assert_eq!(names, [("public", "v", VIEW), ("s", "semi", TABLE)]);
    assert_eq!(relations[1].comment.as_deref(), Some("semicolons"));
    assert!(relations[1].location.as_deref().unwrap().ends_with("/data/sub/raw.txt"));
}

#[tokio::test]
async fn external_table_takes_declared_columns_and_partitions() {
    let lake = TestLake::new().await;
    lake.write("raw/k=01/x.csv", "1,x\n2,y\n");
    let column = |name: &str, data_type: &str| Column {
        name: name.into(),
        data_type: data_type.into(),
        nullable: true,
    };
    let mut table = external("t", "raw", FileKind::Csv);
    table.columns = vec![column("a", "Int32"), column("b", "Utf8"), column("k", "Utf8")];
    table.partition_columns = vec!["k".into()];
    table.options.insert("has_header".into(), "false".into());
    lake.lake.create_external_table(table.clone(), false, false).await.unwrap();
    lake.check("SELECT a, b, k, arrow_typeof(a) FROM t ORDER BY a", "1 x 01 Int32\n2 y 01 Int32")
        .await;
    table.partition_columns = vec!["nokey".into()];
    let error = lake.lake.create_external_table(table, false, true).await.unwrap_err();
    assert!(error.to_string().contains("nokey"), "{error}");
}

#[tokio::test]
async fn external_table_of_a_parsed_statement() {
    let lake = TestLake::new().await;
    lake.write("raw/x.csv", "1|x\n");
    let sql = "CREATE EXTERNAL TABLE public.t (a INT, b DECIMAL(10,2), c TIMESTAMP, d VARCHAR[]) STORED AS CSV \
               LOCATION 'raw/' OPTIONS ('delimiter' '|', 'has_header' 'false')";
    let plan = lake.ctx.state().create_logical_plan(sql).await.unwrap();
    let LogicalPlan::Ddl(DdlStatement::CreateExternalTable(command)) = plan else {
        panic!("{plan}")
    };
    let table = ExternalTable::try_from(command.as_ref()).unwrap();
    assert_eq!(table.options["delimiter"], "|");
    lake.lake.create_external_table(table, false, false).await.unwrap();
    let lake = lake.restart().await;
    let provider = lake.lake.relation_provider("public", "t").await.unwrap().unwrap();
    let types: Vec<_> = provider.schema().fields().iter().map(|f| f.data_type().clone()).collect();
    let parsed: Vec<_> = command.schema.fields().iter().map(|f| f.data_type().clone()).collect();
    assert_eq!(types, parsed);
}

#[tokio::test]
async fn text_stored_as_bytes_is_read_as_text_on_request() {
    let lake = TestLake::new().await;
    lake.parquet("bytes.parquet", &batch!(("b", Binary, [b"abc" as &[u8]])).unwrap());
    lake.check("SELECT arrow_typeof(b) FROM bytes", "BinaryView").await;
    let mut table = external("t", "bytes.parquet", FileKind::Parquet);
    table.options.insert("binary_as_string".into(), "true".into());
    lake.lake.create_external_table(table, false, false).await.unwrap();
    lake.check("SELECT b, arrow_typeof(b) FROM t WHERE b = 'abc'", "abc Utf8View").await;
}

#[tokio::test]
async fn declared_table_may_be_empty_and_undeclared_may_not() {
    let lake = TestLake::new().await;
    let error = lake
        .lake
        .create_external_table(external("t", "nowhere/", FileKind::Parquet), false, false)
        .await
        .unwrap_err();
    assert!(matches!(&error, Error::LocationNotFound { location } if location == "nowhere/"));
    let mut table = external("t", "nowhere/", FileKind::Parquet);
    table.columns = vec![Column { name: "a".into(), data_type: "Int64".into(), nullable: true }];
    lake.lake.create_external_table(table, false, false).await.unwrap();
    lake.check("SELECT count(*) FROM t", "0").await;
    write_parquet(&lake.path("nowhere/x.parquet"), &batch!(("a", Int64, [3])).unwrap());
    lake.check("SELECT a FROM t", "3").await;
}

#[tokio::test]
async fn bad_definitions_are_refused() {
    let lake = TestLake::new().await;
    lake.write("x.csv", "a\n1\n");
    let create = |table: ExternalTable| lake.lake.create_external_table(table, false, false);
    let mut table = external("t", "x.csv", FileKind::Csv);
    table.options.insert("nonsense".into(), "1".into());
    assert!(matches!(create(table).await, Err(Error::InvalidDefinition { .. })));
    let mut table = external("t", "x.csv", FileKind::Csv);
    table.schema = "nosuch".into();
    assert!(matches!(create(table).await, Err(Error::SchemaNotFound { .. })));
    for name in ["", "_t", ".t", "a/b"] {
        let table = external(name, "x.csv", FileKind::Csv);
        assert!(matches!(create(table).await, Err(Error::InvalidDefinition { .. })), "{name}");
    }
    let lake = &lake.lake;
    assert!(matches!(
        lake.create_schema("pg_catalog", false).await,
        Err(Error::InvalidDefinition { .. })
    ));
    let view = lake.create_view("public", "v", "SELECT nosuch FROM x", false).await;
    assert!(view.unwrap_err().to_string().contains("nosuch"));
}

#[tokio::test]
async fn existing_names_are_kept_replaced_or_refused() {
    let lake = TestLake::new().await;
    lake.write("found.csv", "a\n1\n");
    lake.write("other/sub/y.csv", "a\n2\n");
    let found = || external("found", "other/sub/", FileKind::Csv);
    let create = |if_not_exists, or_replace| {
        lake.lake.create_external_table(found(), if_not_exists, or_replace)
    };
    assert!(matches!(create(false, false).await, Err(Error::AlreadyExists { kind: "table", .. })));
    create(true, false).await.unwrap();
    lake.check("SELECT a FROM found", "1").await;
    // A definition hides data of the same name, and dropping it shows the data again.
    create(false, true).await.unwrap();
    lake.check("SELECT a FROM found", "2").await;
    lake.lake.drop_relation("public", "found", TABLE, false).await.unwrap();
    lake.check("SELECT a FROM found", "1").await;
    lake.lake.create_view("public", "v", "SELECT 1 AS x", false).await.unwrap();
    let again = lake.lake.create_view("public", "v", "SELECT 2 AS x", false).await;
    assert!(matches!(again, Err(Error::AlreadyExists { kind: "view", .. })));
    lake.lake.create_view("public", "v", "SELECT 2 AS x", true).await.unwrap();
    lake.check("SELECT x FROM v", "2").await;
    let over_table = lake.lake.create_view("public", "found", "SELECT 1", true).await;
    assert!(matches!(over_table, Err(Error::AlreadyExists { kind: "table", .. })));
}

#[tokio::test]
async fn drops_touch_definitions_only() {
    let lake = TestLake::new().await;
    lake.write("data.csv", "a\n1\n");
    lake.write("nyc/t/x.csv", "a\n1\n");
    let drop = |name: &'static str, kind, if_exists| {
        lake.lake.drop_relation("public", name, kind, if_exists)
    };
    let error = drop("data", TABLE, false).await.unwrap_err();
    assert!(
        matches!(&error, Error::NotDroppable { location, .. } if location.ends_with("/data.csv"))
    );
    assert!(
        matches!(drop("dat", TABLE, false).await, Err(Error::TableNotFound { similar, .. }) if similar == ["data"])
    );
    drop("dat", TABLE, true).await.unwrap();
    lake.lake.create_view("public", "v", "SELECT 1 AS x", false).await.unwrap();
    assert!(matches!(
        drop("v", TABLE, false).await,
        Err(Error::WrongKind { expected: "table", .. })
    ));
    drop("v", VIEW, false).await.unwrap();
    assert!(matches!(drop("v", VIEW, false).await, Err(Error::TableNotFound { .. })));
    let schema =
        |name: &'static str, if_exists, cascade| lake.lake.drop_schema(name, if_exists, cascade);
    assert!(matches!(schema("nyc", false, true).await, Err(Error::NotDroppable { .. })));
    assert!(matches!(schema("public", false, true).await, Err(Error::NotDroppable { .. })));
    assert!(matches!(schema("nosuch", false, false).await, Err(Error::SchemaNotFound { .. })));
    schema("nosuch", true, false).await.unwrap();
    lake.lake.create_schema("s", false).await.unwrap();
    assert!(matches!(lake.lake.create_schema("s", false).await, Err(Error::AlreadyExists { .. })));
    lake.lake.create_schema("s", true).await.unwrap();
    lake.lake.create_view("s", "v", "SELECT 1 AS x", false).await.unwrap();
    assert!(matches!(schema("s", false, false).await, Err(Error::NotEmpty { .. })));
    schema("s", false, true).await.unwrap();
    lake.check("SELECT * FROM s.v", "error: schema \"s\" does not exist").await;
    assert!(lake.path("data.csv").exists());
}

#[tokio::test]
async fn views_rest_on_views_but_not_on_themselves() {
    let lake = TestLake::new().await;
    lake.write("t.csv", "a\n1\n2\n");
    let create =
        |name: &'static str, sql: &'static str| lake.lake.create_view("public", name, sql, true);
    create("v1", "SELECT a FROM t WHERE a > 1").await.unwrap();
    create("v2", "SELECT a * 10 AS b FROM v1").await.unwrap();
    lake.check("SELECT v2.b, x.a FROM v2, v1 AS x", "20 2").await;
    for sql in
        ["SELECT b AS a FROM v2", "SELECT 1 AS a WHERE EXISTS (SELECT * FROM lake.public.v2)"]
    {
        let error = create("v1", sql).await.unwrap_err();
        assert!(error.to_string().contains("rests on itself"), "{error}");
    }
    lake.check("SELECT b FROM v2", "20").await;
    lake.write("t.csv", "b\n1\n");
    let error = lake.query("SELECT * FROM v1").await;
    assert!(error.contains("No field named a"), "{error}");
}

#[tokio::test]
async fn chain_of_views_has_a_bound() {
    let lake = TestLake::new().await;
    lake.lake.create_view("public", "v0", "SELECT 1 AS a", false).await.unwrap();
    let mut refused = None;
    for idx in 1..40 {
        let sql = format!("SELECT a FROM v{}", idx - 1);
        if let Err(error) = lake.lake.create_view("public", &format!("v{idx}"), &sql, false).await {
            refused = Some((idx, error.to_string()));
            break;
        }
    }
    let (idx, error) = refused.unwrap();
    assert!(idx > 30 && error.contains("views rest on each other"), "{idx}: {error}");
    lake.check("SELECT a FROM v31", "1").await;
}

#[tokio::test]
async fn two_lakes_on_one_root_see_each_other() {
    let lake = TestLake::new().await;
    let other = super::open(lake.dir.path(), &[]).await.unwrap();
    lake.lake.create_schema("a", false).await.unwrap();
    other.create_schema("b", false).await.unwrap();
    assert_eq!(lake.lake.schemas().await.unwrap(), ["a", "b", "public"]);
    assert_eq!(other.schemas().await.unwrap(), ["a", "b", "public"]);
}
