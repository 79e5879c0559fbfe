//! Metadata columns (`_file`, `_pos`, …) of tables that other engines wrote: right on one process and where files are split
//! over three workers, and in no list of columns.

use crate::golden::{golden_lake, rows};
use crate::harness::{Cluster, Pg, Server, copy_folder, source_root};

/// Queries over Iceberg tables, and their only row.
const ICEBERG: [(&str, &str); 17] = [
    // Each of its two files was written in the order of ids; the first ten and others were deleted since.
    (
        "SELECT count(*), count(DISTINCT _file) FROM db.spark_upgraded WHERE _pos = CASE WHEN id < 100 THEN id ELSE id - 100 END",
        "133\t2",
    ),
    ("SELECT min(_pos), max(_pos) FROM db.spark_upgraded WHERE id < 100", "10\t99"),
    ("SELECT id FROM db.spark_upgraded WHERE _pos = 42 AND id < 100", "42"),
    ("SELECT id FROM db.spark_upgraded WHERE id = 77", "77"),
    ("SELECT _pos FROM db.spark_upgraded WHERE id = 77", "77"),
    ("SELECT id, _pos FROM db.spark_upgraded ORDER BY _pos DESC, id LIMIT 1", "99\t99"),
    // A file and a position name one row.
    ("SELECT count(*) - count(DISTINCT _file || '#' || _pos::text) FROM db.spark_pos_file", "0"),
    (
        "SELECT count(*) FROM db.spark_pos_partition a FULL JOIN db.spark_pos_partition b \
         ON a._file = b._file AND a._pos = b._pos WHERE a.id IS DISTINCT FROM b.id",
        "0",
    ),
    // What the metadata say of the files themselves.
    (
        "SELECT count(*) FROM (SELECT _file, count(*) AS n, max(_pos) AS last FROM db.spark_v1 GROUP BY _file) s \
         FULL JOIN db.\"spark_v1$files\" f ON f.file_path = s._file \
         WHERE f.record_count IS DISTINCT FROM s.n OR f.record_count <> s.last + 1",
        "0",
    ),
    (
        "SELECT count(*) FROM db.spark_pos_file WHERE _partition['region'] IS DISTINCT FROM region",
        "0",
    ),
    (
        "SELECT count(DISTINCT s._spec_id) > 1, count(*) FILTER (WHERE s._spec_id <> f.spec_id) \
         FROM db.py_events s JOIN db.\"py_events$files\" f ON f.file_path = s._file",
        "t\t0",
    ),
    // Values of fields that a file's spec has not are NULL.
    (
        "SELECT count(*) FROM db.py_events WHERE _spec_id = 1 AND (_partition['kind'] IS NOT NULL OR _partition['day_day'] <> day::date)",
        "0",
    ),
    (
        "SELECT count(*) FROM db.py_events WHERE _spec_id = 2 AND _partition['kind'] IS DISTINCT FROM kind",
        "0",
    ),
    // Row ids: each row has its own, below the table's next one.
    (
        "SELECT count(*) - count(DISTINCT _row_id), min(_row_id) >= 0, max(_row_id) < 297 FROM db.spark_v3",
        "0\tt\tt",
    ),
    ("SELECT count(*) - count(DISTINCT _row_id) FROM db.spark_upgraded", "0"),
    // Only rows of the first commit kept their names as they were.
    (
        "SELECT count(*) FROM db.spark_v3 WHERE (name = upper(name)) <> (_last_updated_sequence_number > 1)",
        "0",
    ),
    (
        "SELECT count(*) FROM (SELECT *, _file, _pos FROM db.spark_evolved) s WHERE s._file IS NULL",
        "0",
    ),
];

/// Statements that are refused, and the code.
const REFUSED: [(&str, &str); 4] = [
    ("SELECT _row_id FROM db.spark_v1", "42703"),
    ("SELECT _partition FROM db.spark_upgraded", "42703"),
    ("SELECT _pos FROM (SELECT * FROM db.spark_v1) s", "42703"),
    ("SELECT a.id FROM db.spark_v1 a NATURAL JOIN db.spark_v3 b WHERE a._pos = 1", "0A000"),
];

/// Tables whose `*` is compared with and without a metadata column in the statement.
const TABLES: [&str; 5] =
    ["spark_v1", "spark_v3", "spark_pos_file", "spark_upgraded", "java_equality"];

fn check_iceberg(connection: &mut Pg) {
    let mut wrong = String::new();
    for (sql, expected) in ICEBERG {
        let found = rows(connection, sql);
        if found != [expected] {
            wrong += &format!("{sql}\n    {found:?} instead of {expected}\n");
        }
    }
    for (sql, code) in REFUSED {
        match connection.query(sql) {
            Err(error) if error.code == code => {}
            answer => wrong += &format!("{sql}\n    {answer:?} instead of {code}\n"),
        }
    }
    for table in TABLES {
        let plain = rows(connection, &format!("SELECT * FROM db.{table} ORDER BY id"));
        let named =
            rows(connection, &format!("SELECT * FROM db.{table} WHERE _pos >= 0 ORDER BY id"));
        if plain != named {
            wrong += &format!("{table}: * is not the same with a metadata column in the filter\n");
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
    let listed = "SELECT count(*) FROM information_schema.columns \
         WHERE table_schema = 'db' AND column_name IN ('_file', '_pos', '_row_id')";
    assert_eq!(connection.scalar(listed), "0");
}

#[test]
fn iceberg_rows_know_where_they_are_standalone() {
    let lake = golden_lake("iceberg");
    check_iceberg(&mut Server::standalone(&lake).connect());
}

#[test]
fn iceberg_rows_know_where_they_are_on_a_coordinator_with_three_workers() {
    let lake = golden_lake("iceberg");
    check_iceberg(&mut Cluster::start(&lake, 3).connect_distributed());
}

/// Delta tables with deletion vectors: a file and a position name one row, and locations are whole.
fn check_delta(connection: &mut Pg) {
    for table in ["dv_partitioned_with_checkpoint", "table_with_dv_small", "py_events"] {
        let twice =
            format!("SELECT count(*) - count(DISTINCT _file || '#' || _pos::text) FROM db.{table}");
        assert_eq!(rows(connection, &twice), ["0"], "{table}");
        let foreign = format!(
            "SELECT count(*) FROM db.{table} WHERE _file IS NULL OR _file NOT LIKE 'file:///%/{table}/%.parquet'"
        );
        assert_eq!(rows(connection, &foreign), ["0"], "{table}");
    }
    // Its one file holds the values 0 to 9 in order; two of them are deleted.
    let moved =
        "SELECT count(*), count(*) FILTER (WHERE _pos <> value) FROM db.table_with_dv_small";
    assert_eq!(rows(connection, moved), ["8\t0"]);
}

#[test]
fn delta_rows_know_where_they_are_on_both_topologies() {
    let lake = golden_lake("delta");
    check_delta(&mut Server::standalone(&lake).connect());
    check_delta(&mut Cluster::start(&lake, 3).connect_distributed());
}

#[test]
fn filters_on_files_and_specs_leave_out_other_files() {
    let lake = golden_lake("iceberg");
    let fares = source_root().join("tests/delta/tables/py_evolved");
    copy_folder(&fares, &lake.path().join("fares/py_evolved"));
    let server = Server::standalone(&lake);
    let mut connection = server.connect();
    for table in ["db.spark_v1", "db.py_events", "db.spark_upgraded", "fares.py_evolved"] {
        let all =
            connection.rows(&format!("SELECT _file, count(*) FROM {table} GROUP BY 1 ORDER BY 1"));
        assert!(all.len() > 1, "{table}");
        let (file, n_rows) = (&all[0][0], &all[0][1]);
        let filter = format!("_file = '{file}'");
        let sql = format!("SELECT count(*) FROM {table} WHERE {filter}");
        assert_eq!(connection.scalar(&sql), *n_rows, "{table}");
        let plan = rows(&mut connection, &format!("EXPLAIN {sql}")).join("\n");
        assert!(plan.contains(&format!("Scan: 1 file ({} pruned)", all.len() - 1)), "{plan}");
        let files = format!("'{file}', '{}'", all[1][0]);
        let plan = format!("EXPLAIN SELECT _pos FROM {table} WHERE _file IN ({files})");
        let plan = rows(&mut connection, &plan).join("\n");
        assert!(plan.contains("Scan: 2 files"), "{plan}");
    }
    let count = |connection: &mut Pg, filter: &str| {
        connection.scalar(&format!("SELECT count(*) FROM db.py_events WHERE {filter}"))
    };
    let of_spec =
        connection.rows("SELECT _spec_id, count(*) FROM db.py_events GROUP BY 1 ORDER BY 1");
    for row in &of_spec {
        assert_eq!(count(&mut connection, &format!("_spec_id = {}", row[0])), row[1]);
    }
    assert_eq!(count(&mut connection, "_spec_id IS NULL"), "0");
    let plan =
        rows(&mut connection, "EXPLAIN SELECT id FROM db.py_events WHERE _spec_id = 0").join("\n");
    assert!(plan.contains("pruned"), "{plan}");
}
