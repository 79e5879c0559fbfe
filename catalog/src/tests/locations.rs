//! Which places statements may name.

use super::{TestLake, external};
use crate::{Error, FileKind, Lake, LakeOptions};
use std::os::unix::fs::symlink;
use std::sync::Arc;

fn refused(lake: &Lake, location: &str) {
    let checked = lake.check_location(location);
    assert!(matches!(&checked, Err(Error::LocationRefused { .. })), "{location}: {checked:?}");
}

#[tokio::test]
async fn places_outside_the_roots_are_refused() {
    let outside = tempfile::tempdir().unwrap();
    let allowed = outside.path().join("allowed");
    std::fs::create_dir_all(outside.path().join("allowed2")).unwrap();
    std::fs::create_dir_all(&allowed).unwrap();
    let lake = TestLake::with_allowed(&[&allowed]).await;
    let root = lake.dir.path().to_str().unwrap().to_owned();
    let allowed = allowed.to_str().unwrap().to_owned();
    lake.write("in/x.csv", "a\n1\n");
    symlink(outside.path(), lake.dir.path().join("link")).unwrap();
    symlink(outside.path().join("nothing"), lake.dir.path().join("dangling")).unwrap();
    symlink("loop", lake.dir.path().join("loop")).unwrap();
    let check = |location: &str| lake.lake.check_location(location).unwrap().to_string();

    assert_eq!(check("in/x.csv"), format!("file://{root}/in/x.csv"));
    assert_eq!(check("in"), format!("file://{root}/in/"));
    assert_eq!(check("new/deep/out.parquet"), format!("file://{root}/new/deep/out.parquet"));
    assert_eq!(check("in/../in/./x.csv"), format!("file://{root}/in/x.csv"));
    assert_eq!(check(&format!("{root}/y")), format!("file://{root}/y"));
    assert_eq!(check(&format!("file://{allowed}/y")), format!("file://{allowed}/y"));
    // In a plain path percent signs are letters.
    assert!(check("%2e%2e/x").ends_with("/%252e%252e/x"));

    let lake = lake.lake.as_ref();
    for location in [
        "..",
        "../x",
        "in/../../x",
        "new/../../x",
        "link/x",
        "link",
        "dangling",
        "dangling/x",
        "loop",
        "loop/x",
        "/",
        "/etc/passwd",
        "",
        "  ",
        "a\0b",
        "file:///etc/passwd",
        "s3://bucket/x",
        "file://host/x",
    ] {
        refused(lake, location);
    }
    refused(lake, &format!("{allowed}2/x"));
    refused(lake, &format!("{allowed}/../x"));
    refused(lake, &format!("file://{root}/%2e%2e/x"));
    refused(lake, &format!("file://{root}/in%2f..%2f..%2fx"));
    assert!(matches!(lake.check_location("http://host/x"), Err(Error::NotSupported { .. })));
    let error = lake.check_location("/etc/passwd").unwrap_err().to_string();
    assert!(error.contains("/etc/passwd") && error.contains("lake.allowed_roots"), "{error}");
}

#[tokio::test]
async fn object_store_roots_are_compared_by_segment() {
    let dir = tempfile::tempdir().unwrap();
    let options = LakeOptions {
        root: dir.path().to_str().unwrap().to_owned(),
        allowed_roots: vec!["s3://bucket/p".to_owned()],
        catalog_name: "lake".to_owned(),
        ..LakeOptions::default()
    };
    let lake = Lake::open(options, super::runtime()).await.unwrap();
    assert_eq!(lake.check_location("s3://bucket/p/x/").unwrap().as_str(), "s3://bucket/p/x/");
    for location in [
        "s3://bucket/p2/x",
        "s3://bucket/",
        "s3://other/p/x",
        "s3://bucket/p/../x",
        "s3://bucket/p/%2e%2e/x",
        "s3://bucket/p/a%2f..%2f..%2fx",
        "s3://user:secret@bucket/p/x",
        "s3://bucket/p/x?versionId=1",
        "s3:///p/x",
    ] {
        refused(&lake, location);
    }
}

#[tokio::test]
async fn tables_of_refused_places_cannot_be_defined_nor_read() {
    let outside = tempfile::tempdir().unwrap();
    std::fs::write(outside.path().join("x.csv"), "a\n1\n").unwrap();
    let path = outside.path().join("x.csv").to_str().unwrap().to_owned();
    let lake = TestLake::with_allowed(&[outside.path()]).await;
    let table = external("t", &path, FileKind::Csv);
    lake.lake.create_external_table(table.clone(), false, false).await.unwrap();
    lake.check("SELECT a FROM t", "1").await;
    // Opened again with fewer allowed roots.
    let lake = lake.restart().await;
    let error = lake.query("SELECT a FROM t").await;
    assert!(error.starts_with("error: location") && error.contains("x.csv"), "{error}");
    let refused = lake.lake.create_external_table(table, false, true).await;
    assert!(matches!(refused, Err(Error::LocationRefused { .. })));
    assert_eq!(lake.names().await, ["public.t csv"]);
}

#[tokio::test]
async fn unreachable_lake_is_an_error_not_a_hang() {
    let options = LakeOptions {
        root: "ftp://host/x".to_owned(),
        allowed_roots: vec![],
        catalog_name: "lake".to_owned(),
        ..LakeOptions::default()
    };
    let opened: Result<Arc<Lake>, Error> = Lake::open(options, super::runtime()).await;
    assert!(matches!(opened, Err(Error::NotSupported { .. })));
}
