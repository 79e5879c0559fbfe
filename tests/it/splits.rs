//! Any number of files on any number of workers: the plan goes to the workers, and every row is read once.

use crate::harness::{Cluster, Pg, Server, ServerOptions};
use crate::lake::Lake;
use arrow::array::{Int64Array, RecordBatch};
use std::fmt::Write;
use std::sync::Arc;

/// Rows of a small file.
const N_ROWS: i64 = 40;

fn numbers(from: i64, n_rows: i64) -> RecordBatch {
    let values = Int64Array::from_iter_values(from..from + n_rows);
    RecordBatch::try_from_iter([("n", Arc::new(values) as _)]).unwrap()
}

fn lines(from: i64, n_rows: i64, line: impl Fn(i64) -> String) -> String {
    (from..from + n_rows).fold(String::new(), |mut text, n| {
        writeln!(text, "{}", line(n)).unwrap();
        text
    })
}

/// Tables of one to seven small files in each format, `p1` to `p7`, `c1` to `c7`, `j1` to `j7`; one large file, `huge`
/// and `huge_csv`; and a thousand tiny ones, `tiny`.
fn lake() -> Lake {
    let lake = Lake::empty();
    for n_files in 1..=7 {
        for idx in 0..n_files {
            // Files of very different sizes.
            let (from, n_rows) = (N_ROWS * idx, if idx == 0 { N_ROWS * 20 } else { N_ROWS });
            let from = if idx == 0 { 1_000_000 } else { from };
            lake.write_parquet(&format!("p{n_files}/{idx}.parquet"), &[numbers(from, n_rows)]);
            let csv = "n\n".to_owned() + &lines(from, n_rows, |n| n.to_string());
            lake.write(&format!("c{n_files}/{idx}.csv"), csv);
            let json = lines(from, n_rows, |n| format!("{{\"n\":{n}}}"));
            lake.write(&format!("j{n_files}/{idx}.json"), json);
        }
    }
    lake.write_parquet("huge.parquet", &[numbers(0, 200_000)]);
    lake.write("huge_csv.csv", "n\n".to_owned() + &lines(0, 200_000, |n| n.to_string()));
    for idx in 0..1000 {
        lake.write(&format!("tiny/{idx:04}.csv"), format!("n\n{idx}\n{}\n", idx + 1000));
    }
    lake
}

fn tables() -> Vec<String> {
    let small = ["p", "c", "j"].iter().flat_map(|kind| (1..=7).map(move |n| format!("{kind}{n}")));
    small.chain(["huge", "huge_csv", "tiny"].map(str::to_owned)).collect()
}

/// Questions that differ in what they need of partitions: sums, groups, an order, distinct values, a join with itself.
fn questions(table: &str) -> [String; 5] {
    [
        format!("SELECT count(*), sum(n), min(n), max(n) FROM {table}"),
        format!("SELECT n % 3, count(*), sum(n) FROM {table} GROUP BY 1 ORDER BY 1"),
        format!("SELECT n FROM {table} ORDER BY n DESC LIMIT 5"),
        format!("SELECT count(DISTINCT n) FROM {table}"),
        format!("SELECT count(*) FROM {table} a JOIN {table} b ON a.n = b.n"),
    ]
}

fn check(connection: &mut Pg, expected: &[(String, Vec<Vec<String>>)], what: &str) {
    for (sql, rows) in expected {
        assert_eq!(&connection.rows(sql), rows, "{sql} on {what}");
    }
}

#[test]
fn any_number_of_files_is_read_by_any_cluster() {
    let lake = lake();
    let server = Server::standalone(&lake);
    let mut connection = server.connect();
    let questions: Vec<_> = tables().iter().flat_map(|table| questions(table)).collect();
    let expected: Vec<_> =
        questions.into_iter().map(|sql| (sql.clone(), connection.rows(&sql))).collect();
    for n_workers in 1..=3 {
        for threads in ["1", "2"] {
            let options = ServerOptions::default()
                .env("SALTLAKE_COORDINATOR__THREADS", threads)
                .env("SALTLAKE_WORKER__THREADS", threads);
            let cluster = Cluster::start_with(&lake, n_workers, &options);
            let mut connection = cluster.connect_distributed();
            let what = format!("{n_workers} workers of {threads} threads");
            for table in tables() {
                let plan = connection
                    .rows(&format!("EXPLAIN SELECT n % 3, sum(n) FROM {table} GROUP BY 1"));
                let plan = plan.concat().join("\n");
                // One small file is one partition, and so one task; one worker is one task too.
                let is_split = n_workers > 1 && !table.ends_with('1');
                let is_distributed =
                    plan.contains("Placement: distributed") && plan.contains("Splits: ");
                assert!(is_distributed || !is_split, "{table} on {what}:\n{plan}");
            }
            check(&mut connection, &expected, &what);
        }
    }
}

#[test]
fn text_in_a_form_that_workers_are_not_told_of_stays_on_the_coordinator() {
    let lake = Lake::standard();
    let cluster = Cluster::start(&lake, 2);
    let mut connection = cluster.connect_distributed();
    let target = lake.path().join("packed.csv.gz");
    connection.run(&format!(
        "COPY numbers TO '{}' STORED AS CSV OPTIONS ('format.compression' 'gzip')",
        target.display()
    ));
    let sql = "SELECT count(*), sum(n) FROM packed";
    assert_eq!(connection.rows(sql), [["10000", "50005000"]]);
    let plan = connection.rows(&format!("EXPLAIN {sql}")).concat().join("\n");
    assert!(plan.contains("Placement: local (text files in a form"), "{plan}");
}
