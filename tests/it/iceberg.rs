//! Iceberg tables that other engines wrote, read on one process and on a coordinator with three workers.
//!
//! `tests/iceberg/tables` holds the tables, `tests/iceberg/expected` a query for each and the rows that the writing engine
//! answers. They are served from another folder than they were written in, so each is also a table that was moved.

use crate::golden;
use crate::harness::{Cluster, Pg, Server, copy_folder};
use crate::lake::Lake;
use std::fs;
use std::path::Path;

fn golden_lake() -> Lake {
    golden::golden_lake("iceberg")
}

#[test]
fn tables_of_other_engines_give_their_rows_standalone() {
    let lake = golden_lake();
    let server = Server::standalone(&lake);
    golden::check_golden_tables("iceberg", &mut server.connect());
}

#[test]
fn tables_of_other_engines_give_their_rows_on_a_coordinator_with_three_workers() {
    let lake = golden_lake();
    let cluster = Cluster::start(&lake, 3);
    golden::check_golden_tables("iceberg", &mut cluster.connect_distributed());
}

#[test]
fn filters_leave_out_files_and_rows_stay_the_same() {
    let lake = golden_lake();
    let server = Server::standalone(&lake);
    let mut connection = server.connect();
    let mut check =
        |table: &str, filter: &str| golden::check_pruning(&mut connection, table, filter);
    for (table, filter) in [
        ("spark_v1", "ts >= '2024-02-10' AND ts < '2024-02-20'"),
        ("spark_v1", "id = 17"),
        ("spark_v1", "id IN (5, 1001)"),
        ("spark_v1", "region IS NULL"),
        ("spark_v1", "name = 'name-003-long-suffix-40'"),
        ("spark_v1", "name LIKE 'name-00%'"),
        ("spark_pos_file", "region = '3' AND amount > 50"),
        ("spark_pos_file", "region IS NULL"),
        ("spark_pos_partition", "region <> '3'"),
        ("spark_v3", "ts >= '2024-01-03' AND ts < '2024-01-04'"),
        ("spark_v3", "id NOT BETWEEN 10 AND 140"),
        ("spark_evolved", "id = 5000000003"),
        ("spark_evolved", "new_name = 'c21'"),
        ("spark_evolved", "price > 100"),
        ("spark_evolved", "gone IS NULL"),
        ("spark_evolved", "point['x'] > 5"),
        ("spark_types", "d > 5"),
        ("spark_types", "d = 'NaN'"),
        ("spark_types", "f <> 1.5"),
        ("spark_imported", "part = 2"),
        ("spark_imported", "title = 'n4'"),
        ("java_equality", "k = 'b4'"),
        ("java_equality", "k IS NOT NULL"),
        ("py_events", "day = '2024-03-02 06:00:00'"),
        ("py_events", "kind = 'b' AND id > 50"),
        ("py_events", "note IS NOT NULL"),
    ] {
        check(table, filter);
    }
    let note = check("spark_v1", "ts < '2024-01-20'");
    assert!(note.contains("pruned"), "{note}");
}

/// Tables whose files were damaged: an error with a code, on both topologies, and never a part of the rows.
#[test]
fn damaged_tables_are_errors() {
    let lake = golden_lake();
    let damage = |name: &str, like: &str, what: &str, harm: &dyn Fn(&Path)| {
        golden::damage(&lake, name, like, what, harm);
    };
    let remove = |file: &Path| fs::remove_file(file).unwrap();
    let cut = |file: &Path| {
        let bytes = fs::read(file).unwrap();
        fs::write(file, &bytes[..bytes.len() / 2]).unwrap();
    };
    let flip = |file: &Path| {
        let mut bytes = fs::read(file).unwrap();
        // Inside the first blob of a Puffin file, behind its header.
        bytes[20] ^= 0xff;
        fs::write(file, bytes).unwrap();
    };
    damage("no_list", "spark_pos_file", "metadata/snap-", &remove);
    damage("cut_list", "spark_upgraded", "metadata/snap-", &cut);
    damage("no_manifest", "spark_pos_file", "-m0.avro", &remove);
    damage("cut_manifest", "spark_pos_file", "-m0.avro", &cut);
    damage("no_delete", "spark_pos_file", "-deletes.parquet", &remove);
    damage("cut_delete", "spark_pos_file", "-deletes.parquet", &cut);
    damage("no_vector", "spark_upgraded", ".puffin", &remove);
    damage("wrong_vector", "spark_upgraded", ".puffin", &flip);
    damage("cut_vector", "spark_upgraded", ".puffin", &|file| fs::write(file, "PFA1").unwrap());
    let edit = |from: &'static str, to: &'static str| {
        move |file: &Path| {
            let text = fs::read_to_string(file).unwrap();
            fs::write(file, text.replace(from, to)).unwrap();
        }
    };
    damage("no_data", "spark_upgraded", "00001.parquet", &remove);
    damage("cut_data", "spark_v1", "00001.parquet", &cut);
    damage("no_json", "spark_v1", ".metadata.json", &|file| fs::write(file, "{").unwrap());
    let outside = edit("metadata/snap-", "../../../etc/snap-");
    damage("outside", "spark_v1", ".metadata.json", &outside);
    let later = edit("\"format-version\":1", "\"format-version\":4");
    damage("later", "spark_v1", ".metadata.json", &later);
    let variant = edit("\"type\":\"long\"", "\"type\":\"variant\"");
    damage("variant", "spark_v3", ".metadata.json", &variant);
    let expected = [
        ("no_list", "58030"),
        ("cut_list", "XX001"),
        ("no_manifest", "58030"),
        ("cut_manifest", "XX001"),
        ("no_delete", "58030"),
        ("cut_delete", "XX001"),
        ("no_vector", "58030"),
        ("wrong_vector", "XX001"),
        ("cut_vector", "XX001"),
        ("no_data", "58030"),
        ("cut_data", "XX001"),
        ("no_json", "XX001"),
        ("outside", "42501"),
        ("later", "0A000"),
        ("variant", "0A000"),
    ];
    golden::check_errors(&mut Server::standalone(&lake).connect(), &expected);
    golden::check_errors(&mut Cluster::start(&lake, 2).connect_distributed(), &expected);
}

#[test]
fn a_table_is_named_by_its_folder_or_by_a_metadata_document() {
    let lake = golden_lake();
    let server = Server::standalone(&lake);
    let mut connection = server.connect();
    connection.run("CREATE EXTERNAL TABLE by_folder STORED AS ICEBERG LOCATION 'db/spark_v3'");
    connection.run(
        "CREATE EXTERNAL TABLE first_version STORED AS ICEBERG LOCATION 'db/spark_v3/metadata/v2.metadata.json'",
    );
    let n_rows = connection.scalar("SELECT count(*) FROM db.spark_v3");
    assert_eq!(connection.scalar("SELECT count(*) FROM by_folder"), n_rows);
    assert_eq!(connection.scalar("SELECT count(*) FROM first_version"), "150");
    let listed = connection.scalar(
        "SELECT count(*) FROM information_schema.tables WHERE table_schema = 'db' AND table_name = 'spark_v3'",
    );
    assert_eq!(listed, "1");
    // The files of a table are no table: read by themselves they would show deleted rows.
    copy_folder(&lake.path().join("db/spark_pos_file"), &lake.path().join("rides"));
    connection.run("SELECT count(*) FROM rides");
    assert_eq!(connection.error("SELECT * FROM rides.data").code, "3F000");
    let missing =
        connection.error("CREATE EXTERNAL TABLE t STORED AS ICEBERG LOCATION 'db/nothing'");
    assert_eq!(missing.code, "58030", "{missing}");
    let columns = "CREATE EXTERNAL TABLE t (a int) STORED AS ICEBERG LOCATION 'db/spark_v3'";
    assert_eq!(connection.error(columns).code, "0A000");
}

/// A commit between two uses of a table in one statement must not show: both uses see one snapshot.
#[test]
fn one_statement_sees_one_snapshot() {
    let lake = golden_lake();
    let server = Server::standalone(&lake);
    let mut connection = server.connect();
    let folder = lake.path().join("db/spark_v3/metadata");
    connection.run("CREATE VIEW again AS SELECT * FROM db.spark_v3");
    let hint = folder.join("version-hint.text");
    let newest = fs::read_to_string(&hint).unwrap();
    let newest_document = folder.join(format!("v{}.metadata.json", newest.trim()));
    let kept = fs::read(&newest_document).unwrap();
    let stop = std::sync::atomic::AtomicBool::new(false);
    let sql = "SELECT (SELECT count(*) FROM db.spark_v3) a, (SELECT count(*) FROM again) b, \
               (SELECT count(*) FROM db.spark_v3 x JOIN again y USING (id)) c";
    let mut seen = std::collections::BTreeSet::new();
    let mut errors = Vec::new();
    std::thread::scope(|scope| {
        // Commits and rolls back the last version, again and again.
        scope.spawn(|| {
            let previous = (newest.trim().parse::<u32>().unwrap() - 1).to_string();
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                fs::write(folder.join("hint"), &previous).unwrap();
                fs::rename(folder.join("hint"), &hint).unwrap();
                fs::remove_file(&newest_document).unwrap();
                std::thread::sleep(std::time::Duration::from_millis(3));
                fs::write(folder.join("new"), &kept).unwrap();
                fs::rename(folder.join("new"), &newest_document).unwrap();
                std::thread::sleep(std::time::Duration::from_millis(3));
            }
        });
        for _ in 0..60 {
            let answer = match connection.query(sql) {
                Ok(answer) => answer,
                Err(error) => {
                    errors.push(error.to_string());
                    continue;
                }
            };
            let cells: Vec<String> =
                answer.rows[0].iter().map(|cell| cell.clone().unwrap()).collect();
            assert!(cells.iter().all(|cell| *cell == cells[0]), "{cells:?}");
            seen.insert(cells[0].clone());
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
    });
    assert!(!seen.is_empty(), "{errors:?}");
}

#[test]
fn snapshots_branches_tags_and_times_are_read() {
    let lake = golden_lake();
    let server = Server::standalone(&lake);
    let mut connection = server.connect();
    let snapshots = connection.rows(
        "SELECT snapshot_id, committed_at + interval '1 ms', operation FROM db.\"spark_v3$snapshots\" ORDER BY committed_at",
    );
    let n_rows: Vec<String> = snapshots
        .iter()
        .map(|row| {
            connection
                .scalar(&format!("SELECT count(*) FROM db.spark_v3 FOR VERSION AS OF {}", row[0]))
        })
        .collect();
    assert_eq!(n_rows.first().unwrap(), "150");
    let now = connection.scalar("SELECT count(*) FROM db.spark_v3");
    assert_eq!(*n_rows.last().unwrap(), now);
    assert!(n_rows.len() >= 4 && n_rows[1] < n_rows[0], "{n_rows:?}");
    for (snapshot, expected) in snapshots.iter().zip(&n_rows) {
        let by_time =
            format!("SELECT count(t.id) FROM db.spark_v3 FOR TIMESTAMP AS OF '{}' t", snapshot[1]);
        assert_eq!(connection.scalar(&by_time), *expected);
        let by_name = format!("SELECT count(*) FROM db.\"spark_v3@{}\"", snapshot[0]);
        assert_eq!(connection.scalar(&by_name), *expected);
    }
    let main =
        "SELECT count(*) FROM db.spark_v3 FOR VERSION AS OF 'main' JOIN db.spark_v3 x USING (id)";
    assert_eq!(connection.scalar(main), now);
    // Columns are those of the snapshot.
    let first = connection.scalar(
        "SELECT snapshot_id FROM db.\"spark_evolved$snapshots\" ORDER BY committed_at LIMIT 1",
    );
    let old = format!(
        "SELECT count(old_name), max(gone) FROM db.spark_evolved FOR VERSION AS OF {first}"
    );
    assert_eq!(connection.rows(&old), [["10", "gone9"]]);
    for (sql, code) in [
        ("SELECT * FROM db.spark_v3 FOR VERSION AS OF 42", "42704"),
        ("SELECT * FROM db.spark_v3 FOR VERSION AS OF 'no such'", "42704"),
        ("SELECT * FROM db.spark_v3 FOR TIMESTAMP AS OF '1999-01-01'", "42704"),
        ("SELECT * FROM db.no_such FOR VERSION AS OF 42", "42P01"),
        ("SELECT * FROM db.\"spark_v3$nothing\"", "42P01"),
    ] {
        let error = connection.error(sql);
        assert_eq!(error.code, code, "{sql}: {error}");
    }
}

#[test]
fn metadata_tables_say_what_the_table_holds() {
    let lake = golden_lake();
    let server = Server::standalone(&lake);
    let mut connection = server.connect();
    let mut check =
        |sql: &str, expected: &str| assert_eq!(connection.scalar(sql), expected, "{sql}");
    check("SELECT count(*) FROM db.\"spark_upgraded$history\" WHERE is_current_ancestor", "4");
    check("SELECT name || type FROM db.\"spark_upgraded$refs\"", "mainBRANCH");
    check("SELECT sum(record_count) FROM db.\"spark_upgraded$files\" WHERE content = 0", "150");
    check(
        "SELECT sum(record_count) FROM db.\"spark_upgraded$files\" WHERE file_format = 'PUFFIN'",
        "17",
    );
    check("SELECT count(*) FROM db.\"spark_upgraded$manifests\" WHERE content = 1", "2");
    check(
        "SELECT count(DISTINCT partition) FROM db.\"java_equality$partitions\" WHERE equality_delete_file_count > 0",
        "3",
    );
    check("SELECT max(sequence_number) > 1 FROM db.\"java_equality$entries\"", "t");
    check(
        "SELECT count(*) FROM db.\"spark_v1$files\" f JOIN db.\"spark_v1$entries\" e USING (file_path) WHERE f.partition LIKE 'ts_month=%'",
        &rows_of_v1(&lake),
    );
}

/// The number of data files in the current snapshot, as its summary counts them.
fn rows_of_v1(lake: &Lake) -> String {
    let folder = lake.path().join("db/spark_v1/metadata");
    let version = fs::read_to_string(folder.join("version-hint.text")).unwrap();
    let text =
        fs::read_to_string(folder.join(format!("v{}.metadata.json", version.trim()))).unwrap();
    let mark = "\"total-data-files\":\"";
    let last = text.rfind(mark).unwrap() + mark.len();
    text[last..].split('"').next().unwrap().to_owned()
}

#[test]
fn caches_are_counted_and_can_be_emptied() {
    let lake = golden_lake();
    let server = Server::standalone(&lake);
    let mut connection = server.connect();
    connection.scalar("SELECT sum(id) FROM db.spark_v3");
    connection.scalar("SELECT sum(id) FROM db.spark_v3");
    let of = |connection: &mut Pg, column: &str| {
        connection
            .scalar(&format!("SELECT {column} FROM system.caches WHERE name = 'iceberg_manifests'"))
    };
    assert_eq!(of(&mut connection, "hits >= misses AND misses > 0 AND max_bytes > bytes"), "t");
    let misses = of(&mut connection, "misses");
    assert_eq!(connection.run("CALL system.flush_metadata_cache()").tag, "CALL");
    connection.scalar("SELECT sum(id) FROM db.spark_v3");
    assert_ne!(of(&mut connection, "misses"), misses);
    assert_eq!(connection.error("CALL system.no_such()").code, "0A000");
}
