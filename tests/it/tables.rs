//! What is a table: files and folders of the lake, as they are and as they change; and what COPY leaves behind.

use crate::harness::{Cluster, Pg, Server, wait_until};
use crate::lake::Lake;
use crate::lake::tables::{Layout, standard};
use std::path::Path;
use std::time::Duration;

/// Returns the names of all files under `folder`, hidden ones too.
fn files_under(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files_under(&path));
        } else {
            found.push(path.display().to_string());
        }
    }
    found.sort();
    found
}

#[test]
fn files_and_folders_are_tables_of_their_schemas() {
    let lake = Lake::empty();
    lake.write("single.csv", "id,word\n1,one\n");
    lake.write("folder/a.csv", "id,word\n1,one\n2,two\n");
    lake.write("folder/b.csv", "id,word\n3,three\n");
    lake.write("nyc/trips/a.json", "{\"id\":1}\n{\"id\":2}\n");
    lake.write("nyc/zones.json", "{\"zone\":\"north\"}\n");
    let server = Server::standalone(&lake);
    let mut connection = server.connect();
    assert_eq!(connection.scalar("SELECT word FROM single"), "one");
    assert_eq!(connection.scalar("SELECT count(*) FROM folder"), "3");
    assert_eq!(connection.scalar("SELECT sum(id) FROM nyc.trips"), "3");
    assert_eq!(connection.scalar("SELECT zone FROM lake.nyc.zones"), "north");
    let listed = connection.rows(
        "SELECT table_schema, table_name FROM information_schema.tables \
         WHERE table_schema IN ('public', 'nyc') ORDER BY 1, 2",
    );
    let expected = [["nyc", "trips"], ["nyc", "zones"], ["public", "folder"], ["public", "single"]];
    assert_eq!(listed, expected);
}

#[test]
fn next_query_sees_what_changed() {
    let lake = Lake::empty();
    lake.write("log/1.csv", "id\n1\n");
    let server = Server::standalone(&lake);
    let mut connection = server.connect();
    assert_eq!(connection.scalar("SELECT count(*) FROM log"), "1");
    lake.write("log/2.csv", "id\n2\n3\n");
    let sees = |connection: &mut Pg, n_rows: &str| {
        wait_until(&format!("{n_rows} rows"), Duration::from_secs(5), || {
            connection.scalar("SELECT count(*) FROM log") == n_rows
        });
    };
    sees(&mut connection, "3");
    std::fs::remove_file(lake.path().join("log/1.csv")).unwrap();
    sees(&mut connection, "2");
    lake.write("fresh/1.csv", "id\n7\n");
    wait_until("a new table is there", Duration::from_secs(5), || {
        connection.query("SELECT id FROM fresh").is_ok()
    });
    lake.write("log/2.csv", "id\n4\n5\n6\n8\n");
    sees(&mut connection, "4");
}

#[test]
fn files_of_one_table_may_gain_columns() {
    let lake = Lake::empty();
    lake.write("people/1.json", "{\"id\":1,\"name\":\"Ada\"}\n");
    lake.write("people/2.json", "{\"id\":2,\"name\":\"Bob\",\"age\":40}\n");
    let server = Server::standalone(&lake);
    let rows = server.connect().rows("SELECT id, name, age FROM people ORDER BY id");
    assert_eq!(rows, [["1", "Ada", "NULL"], ["2", "Bob", "40"]]);
}

#[test]
fn leftovers_of_other_tools_are_not_data() {
    let lake = Lake::empty();
    lake.write("spark/part-0.csv", "id\n1\n");
    lake.write("spark/_SUCCESS", "");
    lake.write("spark/.part-0.csv.crc", "junk");
    lake.write("spark/_temporary/0/part-1.csv", "id\n9\n");
    let server = Server::standalone(&lake);
    assert_eq!(server.scalar("SELECT count(*) FROM spark"), "1");
}

#[test]
fn csv_keeps_quotes_newlines_and_empty_values() {
    let lake = Lake::empty();
    lake.write("quotes.csv", "id,text\n1,\"a, b\"\n2,\"line\nbreak\"\n3,\"say \"\"hi\"\"\"\n4,\n");
    let server = Server::standalone(&lake);
    let mut connection = server.connect();
    assert_eq!(connection.scalar("SELECT text FROM quotes WHERE id = 1"), "a, b");
    assert_eq!(connection.scalar("SELECT text FROM quotes WHERE id = 2"), "line\nbreak");
    assert_eq!(connection.scalar("SELECT text FROM quotes WHERE id = 3"), "say \"hi\"");
    assert_eq!(connection.scalar("SELECT count(*) FROM quotes"), "4");
}

#[test]
fn hive_folders_prune_and_explain_says_so() {
    let lake = Lake::standard();
    let server = Server::standalone(&lake);
    let mut connection = server.connect();
    let plan = connection
        .rows("EXPLAIN SELECT sum(score) FROM events WHERE year = 2023 AND region = 'eu'");
    let plan = plan.concat().join("\n");
    assert!(plan.contains("region=eu"), "the one file that is read: {plan}");
    assert!(!plan.contains("region=us"), "files of other folders are not: {plan}");
    assert!(plan.contains("Scan: 1 file ("), "{plan}");
    assert!(plan.contains(" pruned), "), "{plan}");
}

#[test]
fn cluster_reads_every_format() {
    let lake = Lake::standard();
    let cluster = Cluster::start(&lake, 2);
    let mut connection = cluster.connect_distributed();
    for table in standard() {
        let n_rows = connection.scalar(&format!("SELECT count(*) FROM {}", table.name));
        assert_eq!(n_rows, table.rows.len().to_string(), "{}", table.name);
        if table.layout != Layout::Hive {
            let (first, _) = table.columns[0];
            let sql = format!(
                "SELECT count({first}) FROM (SELECT {first} FROM {} GROUP BY 1) t",
                table.name
            );
            connection.run(&sql);
        }
    }
}

/// A file that is one array cannot be read in ranges, nor by workers.
#[test]
fn json_arrays_are_read_whole() {
    let lake = Lake::empty();
    let numbers: Vec<_> =
        (0..60_000).map(|n| format!("{{\"n\": {n}, \"text\": \"{n:0>190}\"}}")).collect();
    // Larger than what a scan is cut at (10 MiB).
    lake.write("files/1.json", format!("[{}]", numbers.join(",\n")));
    lake.write("files/2.json", "[]");
    let create = "CREATE EXTERNAL TABLE numbers STORED AS JSON LOCATION 'files' \
                  OPTIONS ('newline_delimited' 'false')";
    let check = |connection: &mut Pg| {
        let sql = "SELECT count(*), sum(n), max(length(text)) FROM numbers";
        assert_eq!(connection.rows(sql), [["60000", "1799970000", "190"]]);
    };
    let server = Server::standalone(&lake);
    let mut connection = server.connect();
    connection.run(create);
    check(&mut connection);
    drop(server);
    let cluster = Cluster::start(&lake, 2);
    let mut connection = cluster.connect_distributed();
    check(&mut connection);
    let plan = connection.rows("EXPLAIN SELECT sum(n) FROM numbers").concat().join("\n");
    assert!(plan.contains("text files in a form that is lost"), "{plan}");
}

#[test]
fn failed_copy_leaves_nothing_visible() {
    let lake = Lake::standard();
    let server = Server::standalone(&lake);
    let before = files_under(lake.path());
    let mut connection = server.connect();
    let target = lake.path().join("out/failed.parquet");
    let copy = format!(
        "COPY (SELECT n / (n - 9999) AS x FROM numbers) TO '{}' (FORMAT parquet)",
        target.display()
    );
    assert_eq!(connection.error(&copy).code, "22012");
    let visible: Vec<String> = files_under(lake.path())
        .into_iter()
        .filter(|file| !before.contains(file) && !file.contains("/.") && !file.contains("/_"))
        .collect();
    assert_eq!(visible, Vec::<String>::new());
}

#[test]
fn cancelled_copy_leaves_nothing_visible() {
    let lake = Lake::standard();
    let server = Server::standalone(&lake);
    let before = files_under(lake.path());
    let mut connection = server.connect();
    connection.run("SET statement_timeout = '700ms'");
    let target = lake.path().join("out/cancelled.parquet");
    let copy = format!(
        "COPY (SELECT a.n, b.n AS o, c.n AS p FROM numbers a CROSS JOIN numbers b CROSS JOIN numbers c) TO '{}'",
        target.display()
    );
    assert_eq!(connection.error(&copy).code, "57014");
    let leftovers = || {
        files_under(lake.path())
            .into_iter()
            .filter(|file| !before.contains(file) && !file.contains("/.") && !file.contains("/_"))
            .collect::<Vec<_>>()
    };
    wait_until("nothing is left", Duration::from_secs(5), || leftovers().is_empty());
}

#[test]
fn copy_on_a_cluster_writes_one_file_when_asked_for_one() {
    let lake = Lake::standard();
    let cluster = Cluster::start(&lake, 2);
    let mut connection = cluster.connect_distributed();
    let target = lake.path().join("out/one.parquet");
    let answer = connection.run(&format!(
        "COPY (SELECT parity, count(*) AS n FROM numbers GROUP BY parity) TO '{}' (FORMAT parquet)",
        target.display()
    ));
    assert_eq!(answer.tag, "COPY 2");
    assert!(target.is_file(), "{:?}", files_under(&lake.path().join("out")));
    let folder = lake.path().join("out/many/");
    let answer =
        connection.run(&format!("COPY numbers TO '{}/' (FORMAT parquet)", folder.display()));
    assert_eq!(answer.tag, "COPY 10000");
    assert!(!files_under(&folder).is_empty());
}

#[test]
fn explain_analyze_of_copy_writes_what_copy_writes_and_explain_nothing() {
    let lake = Lake::standard();
    let server = Server::standalone(&lake);
    let mut connection = server.connect();
    let target = lake.path().join("explained.parquet");
    let copy = format!("COPY dept TO '{}' STORED AS PARQUET", target.display());
    connection.rows(&format!("EXPLAIN {copy}"));
    assert!(!target.exists());
    connection.rows(&format!("EXPLAIN ANALYZE {copy}"));
    assert!(target.is_file(), "{:?}", files_under(lake.path()));
    let n_rows = connection.scalar("SELECT count(*) FROM dept");
    assert_eq!(connection.scalar("SELECT count(*) FROM explained"), n_rows);
}

/// Lines of a server's log with this text.
fn n_logged(server: &Server, text: &str) -> usize {
    server.process.log().lines().filter(|line| line.contains(text)).count()
}

#[test]
fn a_table_that_cannot_be_read_hides_no_other() {
    const WARNING: &str = "table listed without its columns";
    let lake = Lake::standard();
    lake.write("broken.parquet", "this is no Parquet file");
    let server = Server::standalone(&lake);
    let mut connection = server.connect();
    let names = "SELECT table_name FROM information_schema.tables \
                 WHERE table_name IN ('broken', 'dept') ORDER BY 1";
    assert_eq!(connection.rows(names), [["broken"], ["dept"]]);
    let classes = "SELECT relname FROM pg_class WHERE relname IN ('broken', 'dept') ORDER BY 1";
    assert_eq!(connection.rows(classes), [["broken"], ["dept"]]);
    let one = "SELECT count(*) > 2 FROM information_schema.columns WHERE table_name = 'dept'";
    assert_eq!(connection.scalar(one), "t");
    let one = "SELECT count(*) > 2 FROM pg_attribute WHERE attrelid = 'dept'::regclass";
    assert_eq!(connection.scalar(one), "t");
    assert_eq!(n_logged(&server, WARNING), 0, "names and one table read no other");
    let all = "SELECT DISTINCT table_name FROM information_schema.columns \
               WHERE table_schema = 'public' AND table_name IN ('broken', 'dept')";
    assert_eq!(connection.rows(all), [["dept"]]);
    assert_eq!(n_logged(&server, WARNING), 1);
    let attributes = "SELECT DISTINCT c.relname FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid \
                      WHERE c.relname IN ('broken', 'dept')";
    assert_eq!(connection.rows(attributes), [["dept"]]);
    assert_eq!(connection.error("SELECT * FROM broken").code, "XX001");
    assert_eq!(server.connect_flight().rows("SELECT count(*) FROM dept").len(), 1);
}

#[test]
fn views_that_cannot_be_planned_hide_no_other() {
    let lake = Lake::standard();
    lake.write("gone.csv", "id\n1\n");
    let server = Server::standalone(&lake);
    let mut connection = server.connect();
    connection.run("CREATE VIEW over_gone AS SELECT * FROM gone");
    connection.run("CREATE VIEW over_dept AS SELECT * FROM dept");
    std::fs::remove_file(lake.path().join("gone.csv")).unwrap();
    let views = "SELECT table_name, definition IS NULL FROM information_schema.views \
                 WHERE table_name LIKE 'over_%' ORDER BY 1";
    assert_eq!(connection.rows(views), [["over_dept", "f"], ["over_gone", "t"]]);
    assert_eq!(connection.error("SELECT * FROM over_gone").code, "42P01");
}

#[test]
fn tabs_separate_what_a_name_says_they_do() {
    let lake = Lake::standard();
    lake.write("given.tsv", "a\tb\n1\tx,y\n");
    lake.write("folder/1.tsv", "a\tb\n1\tx,y\n");
    let server = Server::standalone(&lake);
    let mut connection = server.connect();
    assert_eq!(connection.rows("SELECT a, b FROM given"), [["1", "x,y"]]);
    assert_eq!(connection.rows("SELECT a, b FROM folder"), [["1", "x,y"]]);
    connection.run("CREATE EXTERNAL TABLE declared STORED AS CSV LOCATION 'given.tsv'");
    assert_eq!(connection.rows("SELECT a, b FROM declared"), [["1", "x,y"]]);
    connection.run("CREATE EXTERNAL TABLE words STORED AS TSV LOCATION 'folder/'");
    assert_eq!(connection.rows("SELECT a, b FROM words"), [["1", "x,y"]]);
    for (name, format) in [("plain", ""), ("csv", " (FORMAT csv)")] {
        let target = lake.path().join(format!("{name}.tsv"));
        connection.run(&format!("COPY dept TO '{}'{format}", target.display()));
        let text = std::fs::read_to_string(&target).unwrap();
        assert!(text.lines().all(|line| line.split('\t').count() == 4), "{text}");
        assert_eq!(
            connection.rows(&format!("SELECT * FROM {name}")).len(),
            connection.rows("SELECT * FROM dept").len()
        );
    }
    let target = lake.path().join("other.tsv");
    connection.run(&format!("COPY dept TO '{}' (FORMAT csv, DELIMITER ';')", target.display()));
    assert!(std::fs::read_to_string(&target).unwrap().contains(';'), "an option is stronger");
}
