//! Delta tables that other engines wrote, read on one process and on a coordinator with three workers.
//!
//! `tests/delta/tables` holds the tables, `tests/delta/expected` a query for each and the rows that the writing engine
//! answers.

use crate::golden::{self, check_errors, check_golden_tables, damage, rows};
use crate::harness::{Cluster, Pg, Server, copy_folder};
use crate::lake::Lake;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

fn golden_lake() -> Lake {
    golden::golden_lake("delta")
}

fn log_of(lake: &Lake, table: &str) -> PathBuf {
    lake.path().join("db").join(table).join("_delta_log")
}

fn commit(lake: &Lake, table: &str, version: u64) -> PathBuf {
    log_of(lake, table).join(format!("{version:020}.json"))
}

/// Puts a file in its place in one step, as committing writers do.
fn place(file: &Path, content: &[u8]) {
    let new = file.with_extension("new");
    fs::write(&new, content).unwrap();
    fs::rename(new, file).unwrap();
}

#[test]
fn tables_of_other_engines_give_their_rows_standalone() {
    let lake = golden_lake();
    let server = Server::standalone(&lake);
    check_golden_tables("delta", &mut server.connect());
}

#[test]
fn tables_of_other_engines_give_their_rows_on_a_coordinator_with_three_workers() {
    let lake = golden_lake();
    let cluster = Cluster::start(&lake, 3);
    check_golden_tables("delta", &mut cluster.connect_distributed());
}

#[test]
fn filters_leave_out_files_and_rows_stay_the_same() {
    let lake = golden_lake();
    let server = Server::standalone(&lake);
    let mut connection = server.connect();
    let mut check =
        |table: &str, filter: &str| golden::check_pruning(&mut connection, table, filter);
    for (table, filter) in [
        ("py_events", "region IS NULL"),
        ("py_events", "region <> 'r1'"),
        ("py_events", "id IN (5, 317)"),
        ("py_events", "at >= '2024-03-03 00:00:00+00' AND at < '2024-03-04 00:00:00+00'"),
        // Bounds of times are cut to milliseconds.
        ("py_events", "at = '2024-03-01 01:30:00.075003+00'"),
        ("py_events", "at > '2024-03-08 19:30:00.975000+00'"),
        ("py_events", "x > 39"),
        ("py_events", "x = 'NaN'"),
        ("py_events", "x < 1"),
        ("py_events", "text LIKE 'tttttttttttttttttttttttttttttttttttttttt-000%'"),
        ("py_events", "gone IS NULL AND id > 100"),
        ("py_events", "gone IS NOT NULL"),
        ("py_partitions", "b IS NULL"),
        ("py_partitions", "i8 = -128"),
        ("py_partitions", "i64 > 5"),
        ("py_partitions", "f64 > 1000"),
        ("py_partitions", "n = 12345.67"),
        ("py_partitions", "d = '0001-01-01'"),
        ("py_partitions", "ts = '2024-02-29 12:34:56.789012+00'"),
        ("py_partitions", "s = 'a b/c%d=e:f?g#h&i+j'"),
        ("py_partitions", "v IS NULL"),
        ("py_evolved", "score > 105"),
        ("py_evolved", "score IS NULL AND id > 40"),
        ("dv_partitioned_with_checkpoint", "part = 0 AND col1 > 25"),
        ("dv_with_columnmapping", "col2 = 'foo0'"),
        ("type_widening", "byte_long = 1"),
        ("type_widening", "float_double > 3"),
        ("type_widening", "date_timestamp_ntz = '2024-09-09'"),
        ("kernel_timestamp_int96", "time >= '2000-01-01 00:00:00+00'"),
        ("table_with_columnmapping_mode_id", "\"IntegerType\" = 3"),
        ("table_with_columnmapping_mode_name", "\"StringType\" IS NULL"),
        ("data_skipping_partition_and_data_column", "part = 1 AND id > 0"),
    ] {
        check(table, filter);
    }
    for (filter, expected) in [
        ("region = 'r1'", "(24 pruned)"),
        ("id = 17", "(28 pruned)"),
        ("gone = 200", "(31 pruned)"),
    ] {
        let note = check("py_events", filter);
        assert!(note.contains(expected), "{filter}: {note}");
    }
}

/// Tables whose files were damaged: an error with a code, on both topologies, and never a part of the rows.
#[test]
fn damaged_tables_are_errors() {
    let lake = golden_lake();
    let damage = |name: &str, like: &str, what: &str, harm: &dyn Fn(&Path)| {
        damage(&lake, name, like, what, harm);
    };
    let remove = |file: &Path| fs::remove_file(file).unwrap();
    let cut = |file: &Path| {
        let bytes = fs::read(file).unwrap();
        fs::write(file, &bytes[..bytes.len() / 2]).unwrap();
    };
    let flip = |file: &Path| {
        let mut bytes = fs::read(file).unwrap();
        // Inside the bitmap.
        bytes[20] ^= 0xff;
        fs::write(file, bytes).unwrap();
    };
    let edit = |from: &'static str, to: &'static str| {
        move |file: &Path| {
            let text = fs::read_to_string(file).unwrap();
            assert!(text.contains(from), "no {from} in {}", file.display());
            fs::write(file, text.replace(from, to)).unwrap();
        }
    };
    damage("no_log", "py_events", "_delta_log/", &remove);
    damage("no_commit", "py_events", "_delta_log/00000000000000000003.json", &remove);
    damage("cut_commit", "py_events", "_delta_log/00000000000000000007.json", &cut);
    damage("no_checkpoint", "only_checkpoint_files", ".checkpoint.", &remove);
    remove(&commit(&lake, "no_checkpoint", 0));
    damage("checkpoint_alone", "only_checkpoint_files", "0.json", &remove);
    damage("checkpoints_alone", "only_checkpoint_files", ".json", &remove);
    damage("cut_checkpoint", "only_checkpoint_files", ".checkpoint.", &cut);
    damage("no_data", "py_evolved", "/part-", &remove);
    damage("cut_data", "py_evolved", "/part-", &cut);
    damage("no_vector", "table_with_dv_small", ".bin", &remove);
    damage("wrong_vector", "table_with_dv_small", ".bin", &flip);
    damage("cut_vector", "table_with_dv_small", ".bin", &|file| fs::write(file, "x").unwrap());
    let first = "_delta_log/00000000000000000000.json";
    let later = edit("\"minReaderVersion\":1", "\"minReaderVersion\":99");
    damage("later", "basic_decimal_table", first, &later);
    let feature = edit("[\"deletionVectors\"]", "[\"new\"]");
    damage("feature", "table_with_dv_small", first, &feature);
    let void = edit("\\\"type\\\":\\\"long\\\"", "\\\"type\\\":\\\"void\\\"");
    damage("void", "time_travel_start_start20_start40", first, &void);
    let value = edit("\"as_int\":\"1\"", "\"as_int\":\"one\"");
    damage("value", "data_reader_partition_values", first, &value);
    let above = edit("\"add\":{\"path\":\"", "\"add\":{\"path\":\"../");
    damage("above", "time_travel_start_start20_start40", first, &above);
    let outside = edit("\"add\":{\"path\":\"", "\"add\":{\"path\":\"file:///etc/");
    damage("outside", "time_travel_start_start20_start40", first, &outside);
    let elsewhere = edit("\"add\":{\"path\":\"", "\"add\":{\"path\":\"s3://bucket/");
    damage("elsewhere", "time_travel_start_start20_start40", first, &elsewhere);
    let expected = [
        ("no_log", "58030"),
        ("no_commit", "XX001"),
        ("cut_commit", "XX001"),
        ("no_checkpoint", "XX001"),
        ("cut_checkpoint", "XX001"),
        ("no_data", "58030"),
        ("cut_data", "XX001"),
        ("no_vector", "58030"),
        ("wrong_vector", "XX001"),
        ("cut_vector", "XX001"),
        ("later", "0A000"),
        ("feature", "0A000"),
        ("void", "0A000"),
        ("value", "XX001"),
        ("above", "42501"),
        ("outside", "42501"),
        ("elsewhere", "42501"),
    ];
    let server = Server::standalone(&lake);
    check_errors(&mut server.connect(), &expected);
    check_errors(&mut Cluster::start(&lake, 2).connect_distributed(), &expected);
    let mut connection = server.connect();
    // What a checkpoint covers may be cleaned up.
    for table in ["checkpoint_alone", "checkpoints_alone"] {
        assert_eq!(connection.scalar(&format!("SELECT count(*) FROM db.{table}")), "25", "{table}");
    }
    let error = connection.error("SELECT * FROM db.feature");
    assert!(error.message.contains("the Delta table feature \"new\""), "{error}");
    let error = connection.error("SELECT * FROM db.cut_commit");
    assert!(error.message.contains("00000000000000000007.json"), "{error}");
}

#[test]
fn a_table_is_named_by_its_folder() {
    let lake = golden_lake();
    let server = Server::standalone(&lake);
    let mut connection = server.connect();
    for location in ["db/py_evolved", "db/py_evolved/"] {
        connection.run(&format!("CREATE EXTERNAL TABLE t STORED AS DELTA LOCATION '{location}'"));
        assert_eq!(connection.scalar("SELECT count(*) FROM t"), "96");
        assert_eq!(connection.scalar("SELECT count(*) FROM \"t@0\""), "50");
        connection.run("DROP TABLE t");
    }
    let listed = connection.scalar(
        "SELECT count(*) FROM information_schema.tables WHERE table_schema = 'db' AND table_name LIKE 'py%'",
    );
    assert_eq!(listed, "3");
    // The files of a table are no table: read by themselves they would show rows that are gone.
    copy_folder(&lake.path().join("db/py_events"), &lake.path().join("rides"));
    assert_eq!(connection.scalar("SELECT count(*) FROM rides"), "320");
    assert_eq!(connection.error("SELECT * FROM rides.\"region=r1\"").code, "3F000");
    let missing = connection.error("CREATE EXTERNAL TABLE t STORED AS DELTA LOCATION 'db/nothing'");
    assert_eq!(missing.code, "58030", "{missing}");
    let columns = "CREATE EXTERNAL TABLE t (a int) STORED AS DELTA LOCATION 'db/py_evolved'";
    assert_eq!(connection.error(columns).code, "0A000");
}

#[test]
fn versions_and_times_are_read() {
    let lake = golden_lake();
    let start = SystemTime::UNIX_EPOCH + Duration::from_secs(1_714_521_600); // 2024-05-01
    for version in 0..6 {
        let file = fs::File::options().write(true).open(commit(&lake, "py_evolved", version));
        let at = start + Duration::from_secs(3600 * version);
        file.unwrap().set_modified(at).unwrap();
    }
    let server = Server::standalone(&lake);
    let mut connection = server.connect();
    let counts = ["50", "100", "90", "90", "100", "96"];
    for (version, expected) in counts.iter().enumerate() {
        for sql in [
            format!("SELECT count(*) FROM db.py_evolved FOR VERSION AS OF {version}"),
            format!("SELECT count(id) FROM db.\"py_evolved@{version}\""),
            format!(
                "SELECT count(t.id) FROM db.py_evolved FOR TIMESTAMP AS OF '2024-05-01 0{version}:59:00' t"
            ),
        ] {
            assert_eq!(connection.scalar(&sql), *expected, "{sql}");
        }
    }
    let both =
        "SELECT count(*) FROM db.py_evolved FOR VERSION AS OF 0 a JOIN db.py_evolved b USING (id)";
    assert_eq!(connection.scalar(both), "41");
    // Columns are those of the version.
    for (sql, code) in [
        ("SELECT score FROM db.py_evolved FOR VERSION AS OF 0", "42703"),
        ("SELECT * FROM db.py_evolved FOR VERSION AS OF 42", "42704"),
        ("SELECT * FROM db.py_evolved FOR VERSION AS OF 'main'", "42704"),
        ("SELECT * FROM db.py_evolved FOR TIMESTAMP AS OF '1999-01-01'", "42704"),
        ("SELECT * FROM db.no_such FOR VERSION AS OF 1", "42P01"),
        ("SELECT * FROM db.\"py_evolved$files\"", "0A000"),
        ("SELECT * FROM db.\"py_evolved$nothing\"", "42P01"),
    ] {
        let error = connection.error(sql);
        assert_eq!(error.code, code, "{sql}: {error}");
    }
    let mut check =
        |sql: &str, expected: &str| assert_eq!(connection.scalar(sql), expected, "{sql}");
    check("SELECT count(*) FROM db.\"py_evolved$history\"", "6");
    check("SELECT operation FROM db.\"py_evolved$history\" WHERE version = 2", "DELETE");
    check("SELECT max(version) FROM db.\"py_evolved@3$history\"", "3");
    check("SELECT count(*) FROM db.\"py_evolved$history\" WHERE engine_info LIKE 'delta-rs%'", "6");
}

/// A commit between two uses of a table in one statement must not show: both uses see one version.
#[test]
fn one_statement_sees_one_version() {
    let lake = golden_lake();
    let server = Server::standalone(&lake);
    let mut connection = server.connect();
    connection.run("CREATE VIEW again AS SELECT * FROM db.py_evolved");
    let newest = commit(&lake, "py_evolved", 5);
    let kept = fs::read(&newest).unwrap();
    let stop = std::sync::atomic::AtomicBool::new(false);
    let sql = "SELECT (SELECT count(*) FROM db.py_evolved) a, (SELECT count(*) FROM again) b, \
               (SELECT count(*) FROM db.py_evolved x JOIN again y USING (id)) c";
    let mut seen = std::collections::BTreeSet::new();
    std::thread::scope(|scope| {
        // Commits and takes back the last version, again and again.
        scope.spawn(|| {
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                fs::remove_file(&newest).unwrap();
                std::thread::sleep(Duration::from_millis(7));
                place(&newest, &kept);
                std::thread::sleep(Duration::from_millis(7));
            }
        });
        for _ in 0..60 {
            // A commit that goes away while it is read is an error, not other rows.
            let Ok(answer) = connection.query(sql) else { continue };
            let cells: Vec<String> =
                answer.rows[0].iter().map(|cell| cell.clone().unwrap()).collect();
            assert!(cells.iter().all(|cell| *cell == cells[0]), "{cells:?}");
            seen.insert(cells[0].clone());
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
    });
    assert!(
        seen.iter().all(|count| count == "96" || count == "100") && !seen.is_empty(),
        "{seen:?}"
    );
}

#[test]
fn commits_are_seen_at_once_and_what_is_known_is_kept() {
    let lake = golden_lake();
    let later: Vec<Vec<u8>> =
        (1..8).map(|version| fs::read(commit(&lake, "py_events", version)).unwrap()).collect();
    for version in 1..8 {
        fs::remove_file(commit(&lake, "py_events", version)).unwrap();
    }
    let server = Server::standalone(&lake);
    let mut connection = server.connect();
    let sql = "SELECT count(*), sum(id), count(gone) FROM db.py_events";
    assert_eq!(rows(&mut connection, sql), ["40\t780\t0"]);
    for (version, content) in (1..).zip(&later) {
        place(&commit(&lake, "py_events", version), content);
        let n = 40 * (version + 1);
        let n_gone = n - 160.min(n);
        let expected = format!("{n}\t{}\t{n_gone}", n * (n - 1) / 2);
        assert_eq!(rows(&mut connection, sql), [expected], "version {version}");
    }
    let of = |connection: &mut Pg, column: &str, cache: &str| {
        connection.scalar(&format!("SELECT {column} FROM system.caches WHERE name = '{cache}'"))
    };
    for cache in ["delta_versions", "delta_files"] {
        assert_eq!(of(&mut connection, "misses", cache), "8", "{cache}");
        assert_eq!(of(&mut connection, "hits > 0 AND bytes < max_bytes", cache), "t", "{cache}");
    }
    rows(&mut connection, sql);
    assert_eq!(of(&mut connection, "misses", "delta_files"), "8");
    assert_eq!(connection.run("CALL system.flush_metadata_cache()").tag, "CALL");
    rows(&mut connection, sql);
    assert_eq!(of(&mut connection, "misses", "delta_files"), "9");
    // Another table in the same place is not this one's next version.
    fs::remove_dir_all(lake.path().join("db/py_events")).unwrap();
    copy_folder(&lake.path().join("db/py_evolved"), &lake.path().join("db/py_events"));
    assert_eq!(connection.scalar("SELECT count(*) FROM db.py_events"), "96");
}

/// Deletion vectors that the log holds itself, and such in a file that is named by its full path.
#[test]
fn deletion_vectors_are_found_wherever_they_are() {
    let lake = golden_lake();
    let first = fs::read_to_string(commit(&lake, "py_evolved", 0)).unwrap();
    let write = |name: &str, vector: &str| {
        copy_folder(&lake.path().join("db/py_evolved"), &lake.path().join("db").join(name));
        fs::remove_dir_all(log_of(&lake, name)).unwrap();
        fs::create_dir(log_of(&lake, name)).unwrap();
        let protocol = "{\"protocol\":{\"minReaderVersion\":3,\"minWriterVersion\":7,\
                        \"readerFeatures\":[\"deletionVectors\"],\"writerFeatures\":[\"deletionVectors\"]}}";
        let line = |line: &str| match line {
            _ if line.starts_with("{\"protocol\"") => protocol.to_owned(),
            _ if line.starts_with("{\"add\"") => {
                format!("{},\"deletionVector\":{vector}}}}}", line.strip_suffix("}}").unwrap())
            }
            other => other.to_owned(),
        };
        let lines: Vec<String> = first.lines().map(line).collect();
        fs::write(commit(&lake, name, 0), lines.join("\n")).unwrap();
    };
    // The example of the protocol: rows 3, 4, 7, 11, 18 and 29.
    let inline = "^Bg9^0rr910000000000iXQKl0rr91000f55c8Xg0@@D72lkbi5=-{L";
    let vector = |storage: &str, path: &str, more: &str, n: u8| {
        format!(
            "{{\"storageType\":\"{storage}\",\"pathOrInlineDv\":\"{path}\",{more}\"cardinality\":{n}}}"
        )
    };
    write("inline", &vector("i", inline, "\"sizeInBytes\":44,", 6));
    write("wrong_inline", &vector("i", inline, "\"sizeInBytes\":44,", 7));
    write("no_inline", &vector("i", "wi5b", "\"sizeInBytes\":44,", 6));
    let file = "table_with_dv_small/deletion_vector_61d16c75-6994-46b7-a15b-8b538852e50e.bin";
    let path = format!("file://{}/db/{file}", lake.path().display());
    write("absolute", &vector("p", &path, "\"offset\":1,\"sizeInBytes\":36,", 2));
    write("outside", &vector("p", "file:///etc/passwd", "\"offset\":1,\"sizeInBytes\":36,", 2));
    let check = |connection: &mut Pg| {
        let mut sums = |table: &str| {
            rows(connection, &format!("SELECT count(*), sum(id), min(id) FROM db.{table}"))
        };
        assert_eq!(sums("inline"), [format!("44\t{}\t0", 1225 - 72)]);
        assert_eq!(sums("absolute"), [format!("48\t{}\t1", 1225 - 9)]);
        let expected = [("wrong_inline", "XX001"), ("no_inline", "XX001"), ("outside", "42501")];
        check_errors(connection, &expected);
    };
    check(&mut Server::standalone(&lake).connect());
    check(&mut Cluster::start(&lake, 2).connect_distributed());
}
