//! Which files and folders are tables and schemas.

use super::{TestLake, batch};
use crate::Error;
use std::sync::Arc;

#[tokio::test]
async fn folders_and_files_are_tables() {
    let lake = TestLake::new().await;
    let one = batch!(("a", Int32, [1])).unwrap();
    lake.parquet("trips/x.parquet", &one);
    lake.parquet("trips/y.pq", &one);
    lake.parquet("zones.parquet", &one);
    lake.parquet("nyc/trips/x.parquet", &one);
    lake.write("nyc/zones.csv", "a\n7\n");
    lake.write("Größe/x.ndjson", "{\"a\":1}\n");
    lake.write("t.v2.tsv", "a\tb\n1\tx\n");
    assert_eq!(
        lake.names().await,
        [
            "nyc.trips parquet",
            "nyc.zones csv",
            "public.Größe json",
            "public.t.v2 csv",
            "public.trips parquet",
            "public.zones parquet"
        ]
    );
    assert_eq!(lake.lake.schemas().await.unwrap(), ["nyc", "public"]);
    lake.check("SELECT count(*) FROM trips", "2").await;
    lake.check("SELECT a FROM zones", "1").await;
    lake.check("SELECT a FROM nyc.trips", "1").await;
    lake.check("SELECT a FROM lake.nyc.zones", "7").await;
    lake.check("SELECT a FROM \"Größe\"", "1").await;
    lake.check("SELECT b FROM \"t.v2\"", "x").await;
}

#[tokio::test]
async fn folder_of_files_is_a_table_and_its_files_have_names_too() {
    let lake = TestLake::new().await;
    lake.write("nyc/zones.csv", "a\n1\n");
    lake.write("nyc/boroughs.csv", "a\n2\n");
    assert_eq!(lake.names().await, ["public.nyc csv"]);
    lake.check("SELECT sum(a) FROM nyc", "3").await;
    lake.check("SELECT a FROM nyc.boroughs", "2").await;
    lake.lake.create_schema("nyc", false).await.unwrap();
    assert_eq!(lake.names().await, ["nyc.boroughs csv", "nyc.zones csv"]);
    lake.check("SELECT a FROM nyc.boroughs", "2").await;
    lake.check(
        "SELECT a FROM nyc",
        "engine error: Error during planning: table 'lake.public.nyc' not found",
    )
    .await;
}

#[tokio::test]
async fn hidden_empty_and_foreign_files_are_no_data() {
    let lake = TestLake::new().await;
    lake.write("t/x.csv", "a\n1\n");
    lake.write("t/.x.csv.crc", "junk");
    lake.write("t/_SUCCESS", "");
    lake.write("t/_temporary/y.csv", "b\njunk\n");
    lake.write("t/.hidden/y.csv", "b\njunk\n");
    lake.write("t/empty.csv", "");
    lake.write("t/empty.parquet", "");
    lake.write("t/README.md", "text");
    lake.write("t/deeper/y.csv.part", "junk");
    lake.write("_private/x.csv", "a\n1\n");
    lake.write("docs/README.md", "text");
    lake.write("nothing.parquet", "");
    assert_eq!(lake.names().await, ["public.t csv"]);
    lake.check("SELECT * FROM t", "1").await;
    let missing = lake.try_query("SELECT * FROM nothing").await.unwrap_err();
    assert!(missing.to_string().contains("not found"), "{missing}");
}

#[tokio::test]
async fn public_folder_adds_to_the_public_schema() {
    let lake = TestLake::new().await;
    lake.write("public/t.csv", "a\n1\n");
    lake.write("public/u/x.csv", "a\n2\n");
    assert_eq!(lake.names().await, ["public.t csv", "public.u csv"]);
    lake.check("SELECT a FROM t UNION ALL SELECT a FROM u ORDER BY a", "1\n2").await;
}

#[tokio::test]
async fn one_name_for_two_things_is_an_error_naming_both() {
    let lake = TestLake::new().await;
    lake.write("t.csv", "a\n1\n");
    lake.write("t/x.csv", "a\n1\n");
    let error = lake.query("SELECT * FROM t").await;
    assert!(error.contains("\"t\" mixes") && error.contains("t.csv"), "{error}");
    lake.write("u/x.csv", "a\n1\n");
    lake.write("u/y.parquet", "junk");
    lake.check("SELECT * FROM u", "error: table \"u\" mixes \"csv\" and \"parquet\"").await;
    lake.write("v/x.csv", "a\n1\n");
    lake.write("v/y.csv.gz", "junk");
    lake.check("SELECT * FROM v", "error: table \"v\" mixes \"csv\" and \"csv.gz\"").await;
}

#[tokio::test]
async fn missing_names_are_told_apart_and_hinted() {
    let lake = TestLake::new().await;
    lake.write("trips.csv", "a\n1\n");
    lake.write("nyc/taxi_trips/x.csv", "a\n1\n");
    lake.check("SELECT * FROM nosuch.t", "error: schema \"nosuch\" does not exist").await;
    assert!(lake.lake.relation_provider("public", "trip").await.unwrap().is_none());
    assert_eq!(lake.lake.similar_tables("public", "trip").await, ["trips"]);
    assert_eq!(lake.lake.similar_tables("public", "taxi_trip").await[0], "nyc.taxi_trips");
    let error = lake.lake.relation_provider("nyk", "t").await.err().unwrap();
    assert!(matches!(&error, Error::SchemaNotFound { similar, .. } if similar == &["nyc"]));
    for odd in ["../trips", "a/b", ".", "..", "", "_saltlake", "a\0b", "x%2e"] {
        assert!(lake.lake.relation_provider("public", odd).await.unwrap().is_none(), "{odd}");
    }
}

#[tokio::test]
async fn schemas_of_the_server_are_not_the_lakes() {
    let lake = TestLake::new().await;
    let catalog = lake.lake.catalog_provider();
    for name in ["pg_catalog", "information_schema", "system"] {
        assert!(catalog.schema(name).is_none(), "{name}");
        assert!(lake.lake.create_schema(name, false).await.is_err(), "{name}");
        lake.write(&format!("{name}/t/x.csv"), "a\n1\n");
    }
    assert_eq!(lake.lake.schemas().await.unwrap(), ["public"]);
    assert!(lake.names().await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn information_schema_lists_the_lake() {
    let lake = TestLake::new().await;
    lake.write("trips.csv", "a\n1\n");
    let sql = "SELECT table_schema, table_name FROM information_schema.tables WHERE table_schema = 'public'";
    lake.check(sql, "public trips").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn listing_may_be_waited_for_anywhere() {
    let lake = TestLake::new().await;
    lake.write("trips.csv", "a\n1\n");
    let catalog = lake.lake.catalog_provider();
    let expected = ["public"];
    assert_eq!(catalog.schema_names(), expected);
    let spawned = Arc::clone(&catalog);
    assert_eq!(tokio::spawn(async move { spawned.schema_names() }).await.unwrap(), expected);
    let on_thread = Arc::clone(&catalog);
    assert_eq!(std::thread::spawn(move || on_thread.schema_names()).join().unwrap(), expected);
    let entered = (Arc::clone(&catalog), tokio::runtime::Handle::current());
    let names = std::thread::spawn(move || {
        let (catalog, handle) = entered;
        handle.block_on(async { catalog.schema("public").unwrap().table_names() })
    });
    assert_eq!(names.join().unwrap(), ["trips"]);
}

#[tokio::test]
async fn listing_may_be_waited_for_on_a_runtime_of_one_thread() {
    let lake = TestLake::new().await;
    lake.write("trips.csv", "a\n1\n");
    let schema = lake.lake.catalog_provider().schema("public").unwrap();
    assert_eq!(schema.table_names(), ["trips"]);
    assert!(schema.table_exist("trips") && !schema.table_exist("zones"));
}

#[tokio::test]
async fn lake_root_is_created() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("new/lake");
    let lake = super::open(&root, &[]).await.unwrap();
    assert!(root.is_dir());
    assert!(lake.relations().await.unwrap().is_empty());
    assert_eq!(lake.schemas().await.unwrap(), ["public"]);
}

#[tokio::test]
async fn links_that_lead_nowhere_hide_nothing() {
    let lake = TestLake::new().await;
    lake.write("t/x.csv", "a\n1\n");
    let link = |target: &str, name: &str| {
        std::os::unix::fs::symlink(target, lake.path(name)).unwrap();
    };
    link("missing", "dangling");
    link("missing.csv", "dangling.csv");
    link("missing.csv", "t/dangling.csv");
    link("t", "linked");
    assert_eq!(lake.names().await, ["public.linked csv", "public.t csv"]);
    lake.check("SELECT a FROM t UNION ALL SELECT a FROM linked", "1\n1").await;
}

#[tokio::test]
async fn a_listing_is_remembered_until_something_changes() {
    let lake = TestLake::new().await;
    lake.write("a/x.csv", "a\n1\n");
    lake.write("nyc/b/x.csv", "a\n1\n");
    lake.write("nyc/p/k=1/x.csv", "a\n1\n");
    // Folders that changed just now are not trusted.
    let remembered = async || loop {
        let (one, two) = (lake.lake.names().await.unwrap(), lake.lake.names().await.unwrap());
        if Arc::ptr_eq(&one, &two) {
            return;
        }
        tokio::task::yield_now().await;
    };
    remembered().await;
    lake.write("c.csv", "a\n1\n");
    assert_eq!(lake.names().await, ["nyc.b csv", "nyc.p csv", "public.a csv", "public.c csv"]);
    remembered().await;
    lake.write("nyc/d/x.parquet", "not read");
    std::fs::remove_file(lake.path("a/x.csv")).unwrap();
    assert_eq!(lake.names().await, ["nyc.b csv", "nyc.d parquet", "nyc.p csv", "public.c csv"]);
    remembered().await;
    std::fs::remove_file(lake.path("nyc/p/k=1/x.csv")).unwrap();
    lake.lake.create_schema("s", false).await.unwrap();
    assert_eq!(lake.names().await, ["nyc.b csv", "nyc.d parquet", "public.c csv"]);
    assert_eq!(lake.lake.schemas().await.unwrap(), ["nyc", "public", "s"]);
}

#[tokio::test]
async fn a_file_that_is_filled_later_is_not_missed() {
    let lake = TestLake::new().await;
    lake.write("a.csv", "");
    assert!(lake.names().await.is_empty());
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    assert!(lake.names().await.is_empty());
    lake.write("a.csv", "a\n1\n");
    assert_eq!(lake.names().await, ["public.a csv"]);
}
