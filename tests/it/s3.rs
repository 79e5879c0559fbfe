//! A lake on an S3-compatible store: a real server, reached with credentials from the environment.

use crate::golden;
use crate::harness::{Cluster, Process, Python, SeaweedFs, Server, ServerOptions, wait_until};
use crate::lake::Lake;
use std::time::Duration;

const LAKE_URL: &str = "s3://lake/warehouse";

/// Starts the store and puts the standard lake into it; `None` where it cannot be installed.
fn store_with_lake() -> Option<(SeaweedFs, ServerOptions)> {
    store_with(&Lake::standard())
}

/// Starts the store and puts a lake into it.
pub fn store_with(lake: &Lake) -> Option<(SeaweedFs, ServerOptions)> {
    let python = Python::find()?;
    let store = SeaweedFs::start()?;
    let upload = "pyarrow.fs.copy_files(sys.argv[1], sys.argv[2], destination_filesystem=s3)";
    let source = lake.path().display().to_string();
    let output = store.python(&python, upload, &[&source, LAKE_URL.trim_start_matches("s3://")]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut options = ServerOptions::default().lake_url(LAKE_URL);
    options.envs.extend(store.env());
    Some((store, options))
}

#[test]
fn lake_on_s3_is_read_written_and_declared() {
    let Some((_store, options)) = store_with_lake() else { return };
    let unused = Lake::empty();
    let mut server = Server::standalone_with(&unused, &options);
    let mut connection = server.connect();
    assert_eq!(connection.scalar("SELECT count(*) FROM sales"), "3000");
    assert_eq!(
        connection.scalar("SELECT count(*) FROM events WHERE year = 2023 AND region = 'eu'"),
        "5"
    );
    assert_eq!(connection.scalar("SELECT sum(budget) FROM dept"), "840000");
    let copied = connection.run("COPY (SELECT * FROM sales WHERE product = 'tea') TO 's3://lake/warehouse/out/tea.parquet' (FORMAT parquet)");
    let n_tea = connection.scalar("SELECT count(*) FROM sales WHERE product = 'tea'");
    assert_eq!(copied.tag, format!("COPY {n_tea}"));
    connection.run("CREATE EXTERNAL TABLE tea STORED AS PARQUET LOCATION 's3://lake/warehouse/out/tea.parquet'");
    assert_eq!(connection.scalar("SELECT count(*) FROM tea"), n_tea);
    assert_eq!(connection.error("SELECT 1 FROM no_such").code, "42P01");
    let outside =
        "CREATE EXTERNAL TABLE other STORED AS PARQUET LOCATION 's3://other/warehouse/x.parquet'";
    assert_eq!(connection.error(outside).code, "42501");
    connection.run("CREATE VIEW teas AS SELECT sale_id FROM tea");
    assert!(server.stop(Duration::from_secs(10)).success());
    let server = Server::standalone_with(&unused, &options);
    assert_eq!(server.scalar("SELECT count(*) FROM teas"), n_tea, "the catalog lives in the store");
}

/// Returns the names of all objects under a prefix of the bucket, hidden ones too.
fn objects(store: &SeaweedFs, prefix: &str) -> Vec<String> {
    let python = Python::find().expect("it was there before");
    let list = "for f in s3.get_file_info(pyarrow.fs.FileSelector(sys.argv[1], recursive=True, allow_not_found=True)):\n\
                \x20   if f.is_file: print(f.path)";
    let output = store.python(&python, list, &[prefix]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect()
}

/// A COPY of two million rows, some of them wide, to several files.
fn large_copy(column: &str) -> String {
    format!(
        "COPY (SELECT a.n % 4 AS part, b.n AS m, {column} AS x FROM numbers a CROSS JOIN (SELECT n FROM numbers WHERE n <= 200) b) \
         TO '{LAKE_URL}/out/large/' STORED AS PARQUET PARTITIONED BY (part)"
    )
}

#[test]
fn a_folder_is_copied_to_s3_as_a_whole_or_not_at_all() {
    let Some((store, options)) = store_with_lake() else { return };
    let unused = Lake::empty();
    let mut server = Server::standalone_with(&unused, &options);
    let mut connection = server.connect();
    let before = objects(&store, "lake/warehouse").len();

    // Fails at its last rows, when most is uploaded.
    let error = connection.error(&large_copy("1 / (b.n * 10000 + a.n - 2010000)"));
    assert_eq!(error.code, "22012");
    assert_eq!(objects(&store, "lake/warehouse").len(), before);

    connection.run("SET statement_timeout = 1000");
    let error = connection.error(&large_copy("md5(repeat(CAST(a.n + b.n AS text), 100))"));
    assert_eq!(error.code, "57014");
    assert_eq!(objects(&store, "lake/warehouse").len(), before);

    connection.run("SET statement_timeout = 0");
    let answer = connection.run(&large_copy("md5(CAST(a.n * 1000 + b.n AS text))"));
    assert_eq!(answer.tag, "COPY 2000000");
    let written = objects(&store, "lake/warehouse/out/large");
    assert!(
        written.len() >= 4 && written.iter().all(|name| name.contains("/part=")),
        "{written:?}"
    );
    assert_eq!(
        objects(&store, "lake/warehouse").len(),
        before + written.len(),
        "nothing else is left"
    );
    connection.run(&format!(
        "CREATE EXTERNAL TABLE large STORED AS PARQUET LOCATION '{LAKE_URL}/out/large/'"
    ));
    let check = "SELECT count(*), count(DISTINCT part), sum(m) FROM large";
    assert_eq!(connection.rows(check), [["2000000", "4", "201000000"]]);

    // Killed while it writes: what is uploaded is not seen.
    connection.start(&large_copy("md5(repeat(CAST(a.n - b.n AS text), 1000))")).unwrap();
    let mut watcher = server.connect();
    wait_until("the COPY runs", Duration::from_secs(10), || {
        watcher.scalar(
            "SELECT count(*) FROM system.queries WHERE state = 'running' AND sql LIKE 'COPY%'",
        ) == "1"
    });
    let n_objects = objects(&store, "lake/warehouse").len();
    server.process.kill();
    assert_eq!(objects(&store, "lake/warehouse").len(), n_objects);
}

#[test]
fn cluster_reads_a_lake_on_s3_with_credentials_from_the_environment() {
    let Some((_store, options)) = store_with_lake() else { return };
    let unused = Lake::empty();
    let cluster = Cluster::start_with(&unused, 2, &options);
    let mut connection = cluster.connect_distributed();
    let sql = "SELECT country, count(*) FROM sales JOIN customers USING (customer_id) GROUP BY country ORDER BY country";
    let distributed = connection.rows(sql);
    assert_eq!(distributed.len(), 4);
    connection.run("SET saltlake.distribution = 'never'");
    assert_eq!(connection.rows(sql), distributed);
    let sum = connection.scalar("SELECT sum(n) FROM numbers");
    assert_eq!(sum, "50005000");
}

#[test]
fn delta_tables_on_s3_are_read() {
    let Some((_store, options)) = store_with(&golden::golden_lake("delta")) else { return };
    let cluster = Cluster::start_with(&Lake::empty(), 2, &options);
    golden::check_golden_tables("delta", &mut cluster.connect_distributed());
    let mut connection = cluster.connect_distributed();
    assert_eq!(connection.scalar("SELECT count(*) FROM db.py_evolved"), "96");
    let known = "SELECT hits > 0 AND misses > 0 FROM system.caches WHERE name = 'delta_files'";
    assert_eq!(connection.scalar(known), "t");
    assert_eq!(connection.scalar("SELECT count(*) FROM db.\"py_evolved@1\""), "100");
}

#[test]
fn wrong_credentials_are_an_error_and_not_a_hang() {
    const WRONG_SECRET: &str = "qwertyuiop-0987";
    let Some((_store, mut options)) = store_with_lake() else { return };
    options.envs.retain(|(name, _)| name != "AWS_SECRET_ACCESS_KEY");
    let options = options.env("AWS_SECRET_ACCESS_KEY", WRONG_SECRET);
    let args = options.command_line("serve", &Lake::empty());
    let mut process = Process::spawn("refused", &args, &options.envs);
    process.expect_error_log("");
    let status = process.wait_exit(Duration::from_secs(30));
    assert!(!status.success(), "a lake that cannot be read is refused at start");
    assert!(!process.log().contains(WRONG_SECRET), "secrets stay out of logs: {}", process.log());
}
