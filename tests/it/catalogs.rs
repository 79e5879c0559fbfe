//! Catalog services beside the lake: a SQLite catalog that pyiceberg writes, SeaweedFS as a REST catalog, and a service
//! that answers as a test says. On one process and on a coordinator with three workers.

mod server;

use crate::harness::{
    Cluster, Pg, Python, S3_ACCESS_KEY, S3_SECRET_KEY, SeaweedFs, Server, ServerOptions,
    scratch_dir, source_root, wait_until,
};
use crate::lake::Lake;
use serde_json::json;
use server::{FakeService, Say, config, ok, refuse};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tempfile::TempDir;

/// Rows of `db.orders` with the departments of the lake, as both topologies must give them.
const JOIN: &str = "SELECT d.name, count(*), min(o.order_id), count(o.note) FROM ice.db.orders o \
                    JOIN dept d USING (dept_id) GROUP BY d.name ORDER BY d.name";

/// A catalog in a SQLite file, and its warehouse, in a folder that the lake's roots do not cover.
struct SqlCatalog {
    python: Python,
    dir: TempDir,
}

impl SqlCatalog {
    fn create() -> Option<Self> {
        let python = Python::find()?;
        let dir = tempfile::Builder::new().prefix("catalog").tempdir_in(scratch_dir()).unwrap();
        let catalog = Self { python, dir };
        catalog.write("create");
        Some(catalog)
    }

    fn file(&self) -> String {
        self.dir.path().join("catalog.db").display().to_string()
    }

    fn write(&self, action: &str) -> String {
        let warehouse = self.dir.path().display().to_string();
        write(&self.python, &["sql", &self.file(), &warehouse, action], &[])
    }

    /// A server whose statements may read it.
    fn options(&self) -> ServerOptions {
        let roots = self.dir.path().display().to_string();
        ServerOptions::default().env("SALTLAKE_LAKE__ALLOWED_ROOTS", &roots)
    }

    /// A server whose configuration names it.
    fn configured(&self) -> ServerOptions {
        ServerOptions::default()
            .env("SALTLAKE_CATALOGS__ICE__TYPE", "iceberg-sql")
            .env("SALTLAKE_CATALOGS__ICE__URI", &format!("sqlite:///{}", self.file()))
            .env("SALTLAKE_CATALOGS__ICE__WAREHOUSE", &self.dir.path().display().to_string())
    }
}

fn write(python: &Python, args: &[&str], envs: &[(String, String)]) -> String {
    let output = Command::new(python.program("python"))
        .arg("-B")
        .arg(source_root().join("tests/it/catalogs/write.py"))
        .args(args)
        .envs(envs.iter().map(|(name, value)| (name, value)))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

fn create_sql(uri: &str) -> String {
    format!("CREATE CATALOG ice WITH (type = 'iceberg-sql', uri = '{uri}')")
}

pub fn create_rest(uri: &str, more: &str) -> String {
    format!("CREATE CATALOG ice WITH (type = 'iceberg-rest', uri = '{uri}'{more})")
}

#[track_caller]
fn check_error(connection: &mut Pg, sql: &str, code: &str, mentions: &str) {
    let error = connection.error(sql);
    let text = error.to_string();
    assert!(error.code == code && text.contains(mentions), "{sql}: {text}");
}

#[test]
fn a_catalog_comes_and_goes_by_statement() {
    let Some(catalog) = SqlCatalog::create() else { return };
    let lake = Lake::standard();
    let mut server = Server::standalone_with(&lake, &catalog.options());
    let mut connection = server.connect();
    let create = create_sql(&catalog.file());
    assert_eq!(connection.run(&create).tag, "CREATE CATALOG");
    check_error(&mut connection, &create, "42P04", "ice");
    connection.run(&create.replace("CATALOG", "CATALOG IF NOT EXISTS"));
    assert_eq!(connection.scalar("SELECT count(*) FROM ice.db.orders"), "590");
    assert_eq!(connection.scalar("SELECT count(*) FROM ice.\"db.deep\".empty"), "0");
    assert_eq!(connection.rows(JOIN).len(), 4);
    connection
        .run("CREATE VIEW noted AS SELECT order_id FROM ice.db.orders WHERE note IS NOT NULL");
    let noted = connection.scalar("SELECT count(*) FROM noted");
    let shown = connection.rows("SHOW CATALOGS");
    assert_eq!(shown[0][..2], ["lake", "lake"]);
    assert_eq!(shown[1][..3], ["ice", "iceberg-sql", catalog.file().as_str()]);
    assert!(server.stop(Duration::from_secs(10)).success());

    let server = Server::standalone_with(&lake, &catalog.options());
    let mut connection = server.connect();
    assert_eq!(connection.scalar("SELECT count(*) FROM noted"), noted, "it outlives the server");
    assert_eq!(connection.run("DROP CATALOG ice").tag, "DROP CATALOG");
    check_error(&mut connection, "SELECT * FROM ice.db.orders", "3D000", "ice");
    check_error(&mut connection, "DROP CATALOG ice", "3D000", "ice");
    connection.run("DROP CATALOG IF EXISTS ice");
    check_error(&mut connection, "DROP CATALOG lake", "0A000", "lake");
}

#[test]
fn every_statement_sees_what_the_catalog_says_now() {
    let Some(catalog) = SqlCatalog::create() else { return };
    let lake = Lake::standard();
    let server = Server::standalone_with(&lake, &catalog.configured());
    let mut connection = server.connect();
    connection.run("PREPARE n AS SELECT count(*) FROM ice.db.orders");
    assert_eq!(connection.scalar("EXECUTE n"), "590");
    let newest =
        "SELECT snapshot_id FROM ice.db.\"orders$snapshots\" ORDER BY committed_at DESC LIMIT 1";
    let before = connection.scalar(newest);
    catalog.write("append");
    assert_eq!(connection.scalar("SELECT count(*) FROM ice.db.orders"), "600");
    assert_eq!(connection.scalar("EXECUTE n"), "600", "a later run asks again");
    let twice = "SELECT count(*) FROM ice.db.orders a JOIN ice.db.orders b USING (order_id)";
    assert_eq!(connection.scalar(twice), "600");
    let old = format!("SELECT count(*) FROM ice.db.\"orders@{before}\"");
    assert_eq!(connection.scalar(&old), "590");
    let version = format!("SELECT count(*) FROM ice.db.orders FOR VERSION AS OF {before}");
    assert_eq!(connection.scalar(&version), "590");
}

#[test]
fn names_that_are_not_there_are_told_apart() {
    let Some(catalog) = SqlCatalog::create() else { return };
    let lake = Lake::standard();
    let server = Server::standalone_with(&lake, &catalog.configured());
    let mut connection = server.connect();
    check_error(&mut connection, "SELECT * FROM icy.db.orders", "3D000", "did you mean \"ice\"?");
    check_error(&mut connection, "SELECT * FROM ice.dbb.orders", "3F000", "did you mean \"db\"?");
    check_error(&mut connection, "SELECT * FROM ice.db.order", "42P01", "did you mean \"orders\"?");
    check_error(&mut connection, "SELECT * FROM ice.public.t", "42P01", "ice.public.t");
    check_error(&mut connection, "CREATE VIEW ice.db.v AS SELECT 1", "0A000", "ice");
    check_error(&mut connection, "CREATE SCHEMA ice.other", "0A000", "ice");
    check_error(&mut connection, "DROP TABLE ice.db.orders", "0A000", "ice");
    check_error(&mut connection, "DROP VIEW icy.db.orders", "3D000", "icy");
    check_error(&mut connection, "INSERT INTO ice.db.orders VALUES (1, 1, 'a')", "25006", "");
    check_error(&mut connection, "DROP CATALOG ice", "0A000", "configuration");
    check_error(&mut connection, "CREATE CATALOG x WITH (uri = 'y')", "42P17", "type is missing");
    check_error(&mut connection, "CREATE CATALOG x", "42601", "");
    check_error(&mut connection, "CREATE SERVER x FOREIGN DATA WRAPPER y", "0A000", "SERVER");
}

#[test]
fn statements_reach_no_further_than_the_roots() {
    let Some(catalog) = SqlCatalog::create() else { return };
    let lake = Lake::standard();
    let server = Server::standalone(&lake);
    let mut connection = server.connect();
    check_error(&mut connection, &create_sql(&catalog.file()), "42501", "lake.allowed_roots");
    // The file may lie in the lake while its tables do not.
    std::fs::copy(catalog.file(), lake.path().join("copy.db")).unwrap();
    connection.run(&create_sql("copy.db"));
    check_error(&mut connection, "SELECT * FROM ice.db.orders", "42501", "lake.allowed_roots");
    std::fs::write(lake.path().join("text.db"), "no database".repeat(100)).unwrap();
    connection.run("DROP CATALOG ice");
    check_error(&mut connection, &create_sql("text.db"), "58030", "text.db");
    check_error(&mut connection, &create_sql("none.db"), "58030", "none.db");
    let definitions = "CREATE EXTERNAL TABLE d STORED AS JSON LOCATION '_saltlake/catalog/'";
    check_error(&mut connection, definitions, "42501", "_saltlake");
}

#[test]
fn a_client_may_connect_to_a_catalog() {
    let Some(catalog) = SqlCatalog::create() else { return };
    let lake = Lake::standard();
    let server = Server::standalone_with(&lake, &catalog.configured());
    let mut connection = Pg::connect_as(&server.pg, "test", "ice").unwrap();
    assert_eq!(connection.scalar("SELECT current_database()"), "ice");
    assert_eq!(connection.scalar("SELECT count(*) FROM db.orders"), "590");
    assert_eq!(connection.scalar("SELECT count(*) FROM lake.public.dept"), "4");
    connection.run("SET search_path = db");
    assert_eq!(connection.scalar("SELECT count(*) FROM orders"), "590");
    check_error(&mut connection, "SELECT * FROM ordrs", "42P01", "ordrs");
    check_error(&mut connection, "CREATE VIEW v AS SELECT 1", "0A000", "ice");
    let listed = "SELECT table_schema, table_name FROM information_schema.tables \
                  WHERE table_catalog = 'ice' AND table_schema LIKE 'db%' ORDER BY 1, 2";
    assert_eq!(connection.rows(listed), [["db", "orders"], ["db.deep", "empty"]]);
    let classes = "SELECT n.nspname, c.relname FROM pg_class c \
                   JOIN pg_namespace n ON n.oid = c.relnamespace \
                   WHERE n.nspname LIKE 'db%' ORDER BY 1, 2";
    assert_eq!(connection.rows(classes), [["db", "orders"], ["db.deep", "empty"]]);
    let columns = "SELECT attname FROM pg_attribute WHERE attrelid = 'db.orders'::regclass \
                   ORDER BY attnum";
    assert_eq!(connection.rows(columns).concat(), ["order_id", "dept_id", "note"]);
    let databases = server.connect().rows("SELECT datname FROM pg_database ORDER BY 1");
    assert_eq!(databases.concat(), ["ice", "lake"]);
    let in_lake =
        server.scalar("SELECT count(*) FROM information_schema.tables WHERE table_schema = 'db'");
    assert_eq!(in_lake, "0", "a connection lists its own database");
    let named = "SELECT table_name FROM ice.information_schema.tables WHERE table_schema = 'db'";
    assert_eq!(server.scalar(named), "orders");
    assert_eq!(Pg::connect_as(&server.pg, "test", "icy").err().unwrap().code, "3D000");
}

#[test]
fn workers_read_a_catalog_of_the_configuration() {
    let Some(catalog) = SqlCatalog::create() else { return };
    let lake = Lake::standard();
    let server = Server::standalone_with(&lake, &catalog.configured());
    let cluster = Cluster::start_with(&lake, 3, &catalog.configured());
    let expected = server.connect().rows(JOIN);
    assert_eq!(expected.len(), 4);
    let mut connection = cluster.connect_distributed();
    assert_eq!(connection.rows(JOIN), expected);
    let plan = connection.rows(&format!("EXPLAIN {JOIN}")).concat().join("\n");
    assert!(plan.contains("Stage"), "{plan}");
}

/// SeaweedFS with tables that pyiceberg made through its catalog.
fn seaweed_catalog() -> Option<(Python, SeaweedFs)> {
    seaweed_catalog_with("create")
}

/// SeaweedFS with the tables of one action of `write.py`.
pub fn seaweed_catalog_with(action: &str) -> Option<(Python, SeaweedFs)> {
    let python = Python::find()?;
    let store = SeaweedFs::start_catalog(&python);
    let uri = store.iceberg_endpoint();
    write(&python, &["rest", &uri, "s3://warehouse", action], &store.env());
    Some((python, store))
}

#[test]
fn a_rest_catalog_is_read_with_client_credentials() {
    let Some((python, store)) = seaweed_catalog() else { return };
    let lake = Lake::standard();
    let uri = store.iceberg_endpoint();
    let credential = format!("{S3_ACCESS_KEY}:{S3_SECRET_KEY}");
    let mut options =
        ServerOptions::default().env("SALTLAKE_LAKE__ALLOWED_ROOTS", "s3://warehouse");
    options.envs.extend(store.env());
    let server = Server::standalone_with(&lake, &options);
    let mut connection = server.connect();
    let wrong = create_rest(&uri, ", warehouse = 's3://warehouse', credential = 'me:hush-hush'");
    check_error(&mut connection, &wrong, "42501", "/v1/oauth/tokens");
    let more = format!(", warehouse = 's3://warehouse', credential = '{credential}'");
    connection.run(&create_rest(&uri, &more));
    assert_eq!(connection.scalar("SELECT count(*) FROM ice.db.orders"), "590");
    let expected = connection.rows(JOIN);
    write(&python, &["rest", &uri, "s3://warehouse", "append"], &store.env());
    assert_eq!(connection.scalar("SELECT count(*) FROM ice.db.orders"), "600");
    check_error(&mut connection, "SELECT * FROM ice.db.order", "42P01", "did you mean \"orders\"?");
    let shown = connection.rows("SHOW CATALOGS").concat().join(" ");
    assert!(shown.contains("credential=***") && !shown.contains(S3_SECRET_KEY), "{shown}");
    let mut inside = Pg::connect_as(&server.pg, "test", "ice").unwrap();
    let listed = "SELECT table_schema, table_name FROM information_schema.tables \
                  WHERE table_schema = 'db'";
    assert_eq!(inside.rows(listed), [["db", "orders"]]);
    assert!(!server.process.log().contains(S3_SECRET_KEY), "{}", server.process.log());

    let configured = options
        .env("SALTLAKE_CATALOGS__ICE__TYPE", "iceberg-rest")
        .env("SALTLAKE_CATALOGS__ICE__URI", &uri)
        .env("SALTLAKE_CATALOGS__ICE__WAREHOUSE", "s3://warehouse")
        .env("SALTLAKE_CATALOGS__ICE__CREDENTIAL", &credential);
    let cluster = Cluster::start_with(&lake, 3, &configured);
    let mut connection = cluster.connect_distributed();
    assert_eq!(connection.scalar("SELECT count(*) FROM ice.db.orders"), "600");
    assert_eq!(connection.rows(JOIN).len(), expected.len());
}

/// A service that hands out keys for the tables of a store.
fn vending(store: &SeaweedFs, location: String, secret: &'static str) -> FakeService {
    vending_for(store, location, secret, Duration::from_secs(3600))
}

/// The same, with keys that last for a time.
fn vending_for(
    store: &SeaweedFs,
    location: String,
    secret: &'static str,
    lasts: Duration,
) -> FakeService {
    let endpoint = store.endpoint();
    let ends_at_ms = move || {
        let ends_at = SystemTime::now() + lasts;
        ends_at.duration_since(UNIX_EPOCH).unwrap().as_millis().to_string()
    };
    FakeService::start(move |path| match path {
        path if path.starts_with("/v1/config") => config(),
        path if path.contains("/tables/orders") => ok(&json!({
            "metadata-location": location,
            "config": {"s3.endpoint": endpoint, "client.region": "us-east-1"},
            "storage-credentials": [{
                "prefix": "s3://warehouse/db",
                "config": {
                    "s3.access-key-id": S3_ACCESS_KEY,
                    "s3.secret-access-key": secret,
                    "s3.session-token-expires-at-ms": ends_at_ms(),
                },
            }],
        })),
        path if path.ends_with("/namespaces") => ok(&json!({"namespaces": [["db"]]})),
        _ => refuse(404, "NoSuchTableException"),
    })
}

#[test]
fn credentials_of_a_service_reach_the_workers_and_nothing_else() {
    let Some((python, store)) = seaweed_catalog() else { return };
    let uri = store.iceberg_endpoint();
    let location = write(&python, &["rest", &uri, "s3://warehouse", "describe"], &store.env());
    let service = vending(&store, location.clone(), S3_SECRET_KEY);
    let lake = Lake::standard();
    // No process has keys of its own, and no root covers the tables.
    let options = ServerOptions::default()
        .env("SALTLAKE_STORAGE__S3__ALLOW_HTTP", "true")
        .env("SALTLAKE_STORAGE__S3__ENDPOINT", &store.endpoint());
    let cluster = Cluster::start_with(&lake, 3, &options);
    let mut connection = cluster.connect_distributed();
    connection.run(&create_rest(&service.url, ""));
    assert_eq!(connection.scalar("SELECT count(*) FROM ice.db.orders"), "590");
    let distributed = connection.rows(JOIN);
    let plan = connection.rows(&format!("EXPLAIN {JOIN}")).concat().join("\n");
    assert!(plan.contains("Stage") && !plan.contains(S3_SECRET_KEY), "{plan}");
    connection.run("SET saltlake.distribution = 'never'");
    assert_eq!(connection.rows(JOIN), distributed);
    let outside = format!("CREATE EXTERNAL TABLE o STORED AS ICEBERG LOCATION '{location}'");
    check_error(&mut connection, &outside, "42501", "lake.allowed_roots");

    let wrong = vending(&store, location, "not-the-secret");
    connection.run("DROP CATALOG ice");
    connection.run(&create_rest(&wrong.url, ""));
    let error = connection.error("SELECT count(*) FROM ice.db.orders");
    assert!(["58030", "42501"].contains(&error.code.as_str()), "{error}");
}

#[test]
fn workers_ask_for_credentials_that_are_about_to_end() {
    let Some((python, store)) = seaweed_catalog() else { return };
    let uri = store.iceberg_endpoint();
    let location = write(&python, &["rest", &uri, "s3://warehouse", "describe"], &store.env());
    // Less than the time before their end in which keys are renewed: each use asks for new ones.
    let service = vending_for(&store, location, S3_SECRET_KEY, Duration::from_secs(30));
    let lake = Lake::standard();
    let options = ServerOptions::default().env("SALTLAKE_STORAGE__S3__ALLOW_HTTP", "true");
    let cluster = Cluster::start_with(&lake, 3, &options);
    let mut connection = cluster.connect_distributed();
    connection.run(&create_rest(&service.url, ""));
    assert_eq!(connection.rows(JOIN).len(), 4);
    let log = cluster.process.log();
    assert!(log.contains("worker asked for credentials") && log.contains("is_known=true"), "{log}");
    assert!(!log.contains(S3_SECRET_KEY), "{log}");
}

#[test]
fn a_rest_catalog_is_asked_over_tls() {
    let secret = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let say = |path: &str| match path {
        path if path.starts_with("/v1/config") => config(),
        path if path.ends_with("/namespaces") => ok(&json!({"namespaces": [["db"]]})),
        path if path.ends_with("/tables") => {
            ok(&json!({"identifiers": [{"namespace": ["db"], "name": "over_tls"}]}))
        }
        _ => refuse(404, "NoSuchTableException"),
    };
    let service = FakeService::start_tls(say, &secret);
    let lake = Lake::standard();
    let trusted = lake.path().join("trusted.pem");
    std::fs::write(&trusted, secret.cert.pem()).unwrap();
    let check = |options: &ServerOptions, is_trusted: bool| {
        let server = Server::standalone_with(&lake, options);
        let mut connection = server.connect();
        let create = create_rest(&service.url, ", token = 'hush-hush'");
        if !is_trusted {
            check_error(&mut connection, &create, "58030", "localhost");
            return;
        }
        connection.run(&create);
        check_error(&mut connection, "SELECT * FROM ice.db.over_tl", "42P01", "over_tls");
        assert!(!server.process.log().contains("hush-hush"), "{}", server.process.log());
    };
    check(&ServerOptions::default(), false);
    let file = trusted.display().to_string();
    check(&ServerOptions::default().env("SSL_CERT_FILE", &file), true);
}

#[test]
fn a_service_that_sends_us_over_plain_http_is_refused_unless_allowed() {
    let service = FakeService::start(|path| match path {
        path if path.starts_with("/v1/config") => config(),
        path if path.ends_with("/namespaces") => ok(&json!({"namespaces": [["db"]]})),
        _ => ok(&json!({
            "metadata-location": "s3://b/t/metadata/1.metadata.json",
            "config": {
                "s3.endpoint": "http://127.0.0.1:1",
                "s3.access-key-id": "x",
                "s3.secret-access-key": "hush-hush",
            },
        })),
    });
    let lake = Lake::standard();
    let server = Server::standalone(&lake);
    let mut connection = server.connect();
    connection.run(&create_rest(&service.url, ""));
    check_error(&mut connection, "SELECT * FROM ice.db.t", "0A000", "storage.s3.allow_http");
}

/// A service that is fine when the catalog is created, and then says something else of every table.
fn service_that_says(say: impl Fn() -> Say + Send + Sync + 'static) -> FakeService {
    FakeService::start(move |path| match path {
        path if path.starts_with("/v1/config") => config(),
        path if path.ends_with("/namespaces") => ok(&json!({"namespaces": [["db"]]})),
        path if path.ends_with("/tables") => ok(&json!({"identifiers": []})),
        _ => say(),
    })
}

#[test]
fn what_a_service_answers_becomes_an_error_with_its_code() {
    let lake = Lake::standard();
    let server = Server::standalone(&lake);
    let mut connection = server.connect();
    let mut check = |say: fn() -> Say, code: &str, mentions: &str| {
        let service = service_that_says(say);
        connection.run(&create_rest(&service.url, ", token = 'hush-hush'"));
        check_error(&mut connection, "SELECT * FROM ice.db.t", code, mentions);
        connection.run("DROP CATALOG ice");
        service
    };
    check(|| refuse(401, "NotAuthorizedException"), "42501", "the test says no");
    check(|| refuse(403, "ForbiddenException"), "42501", "/namespaces/db/tables/t");
    check(|| refuse(404, "NoSuchTableException"), "42P01", "ice.db.t");
    check(|| refuse(400, "BadRequestException"), "58030", "400");
    check(|| Say::Answer(200, "<html>".to_owned()), "58030", "not that of an Iceberg REST catalog");
    check(|| Say::Answer(200, "{}".to_owned()), "58030", "metadata-location");
    check(|| Say::Answer(404, "nothing here".to_owned()), "58030", "404");
    let elsewhere = || ok(&json!({"metadata-location": "/etc/metadata/1.metadata.json"}));
    check(elsewhere, "42501", "lake.allowed_roots");
    let foreign = || ok(&json!({"metadata-location": "gs://b/t/metadata/1.metadata.json"}));
    check(foreign, "0A000", "gs");
    let busy = check(|| refuse(503, "ServiceUnavailable"), "58030", "503");
    let n_asked = busy.asked().iter().filter(|path| path.contains("/tables/t")).count();
    assert!(n_asked > 1, "a busy service is asked again");
    assert!(!server.process.log().contains("hush-hush"), "{}", server.process.log());
}

#[test]
fn a_silent_service_is_an_error_and_not_a_hang() {
    let service = service_that_says(|| Say::Nothing);
    let lake = Lake::standard();
    let server = Server::standalone(&lake);
    server.connect().run(&create_rest(&service.url, ""));
    let ask = || {
        let mut connection = server.connect();
        let started = Instant::now();
        check_error(&mut connection, "SELECT * FROM ice.db.t", "58030", "within 30 s");
        let waited = started.elapsed();
        assert!(waited > Duration::from_secs(25) && waited < Duration::from_secs(60), "{waited:?}");
    };
    std::thread::scope(|scope| {
        // More than there are threads that plan.
        for _ in 0..5 {
            scope.spawn(ask);
        }
        let n_asked = || service.asked().iter().filter(|path| path.contains("/tables/t")).count();
        wait_until("the service is asked", Duration::from_secs(20), || n_asked() == 5);
        let started = Instant::now();
        assert_eq!(server.scalar("SELECT count(*) FROM dept"), "4", "the lake is not concerned");
        assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
    });
}

#[test]
fn a_configuration_that_cannot_be_read_is_named() {
    let dir = tempfile::tempdir_in(scratch_dir()).unwrap();
    let check = |text: &str, mentions: &str| {
        let file = dir.path().join("saltlake.toml");
        std::fs::write(&file, text).unwrap();
        let args = ["config", "check", "--config", file.to_str().unwrap()];
        let output = crate::harness::run_saltlake(&args, Path::new("."));
        let said = String::from_utf8_lossy(&output.stderr).into_owned()
            + &String::from_utf8_lossy(&output.stdout);
        assert!(!output.status.success() && said.contains(mentions), "{said}");
        assert!(!said.contains("hush"), "{said}");
    };
    check("[catalogs.x]\ntype = \"iceberg-sql\"\n", "uri is missing");
    check(
        "[catalogs.x]\ntype = \"iceberg-rest\"\nuri = \"http://h\"\ntokn = \"hush\"\n",
        "did you mean \"token\"?",
    );
}
