//! Users and encryption through every door, with libpq, ADBC and Python's own HTTP client.

use crate::harness::{Pg, Process, Python, Server, ServerOptions, psql_command, run_saltlake};
use crate::lake::Lake;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

const PASSWORD: &str = "pässword 1";

fn lake() -> Lake {
    let lake = Lake::empty();
    lake.write("trips.csv", "id,fare\n1,2.5\n2,3.5\n");
    lake
}

/// Returns the users file's line for ann, made by the command for it.
fn users_line(dir: &Path) -> String {
    let mut child = Command::new(env!("CARGO_BIN_EXE_saltlake"))
        .args(["password", "ann"])
        .current_dir(dir)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(format!("{PASSWORD}\n").as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// A folder with a users file and a certificate for localhost.
fn secrets() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("users"), users_line(dir.path())).unwrap();
    let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
    let made = rcgen::generate_simple_self_signed(names).unwrap();
    std::fs::write(dir.path().join("cert.pem"), made.cert.pem()).unwrap();
    std::fs::write(dir.path().join("key.pem"), made.signing_key.serialize_pem()).unwrap();
    dir
}

fn with_users(dir: &Path) -> ServerOptions {
    let file = dir.join("users").display().to_string();
    ServerOptions::default().env("SALTLAKE_FRONTEND__AUTH__USERS_FILE", &file)
}

fn with_tls(options: ServerOptions, dir: &Path) -> ServerOptions {
    let file = |name: &str| dir.join(name).display().to_string();
    options
        .env("SALTLAKE_FRONTEND__TLS__CERTIFICATE", &file("cert.pem"))
        .env("SALTLAKE_FRONTEND__TLS__KEY", &file("key.pem"))
}

/// Asks through libpq; `settings` are further words of the connection string.
fn psql(server: &Server, user: &str, password: &str, settings: &str) -> Output {
    let (_, port) = server.pg.rsplit_once(':').unwrap();
    let target = format!("host=localhost port={port} user={user} dbname=lake {settings}");
    Command::new("psql")
        .args(["--no-psqlrc", "-At", "-c", "SELECT current_user", &target])
        .env("PGPASSWORD", password)
        .output()
        .unwrap()
}

fn accepted(output: &Output, user: &str) {
    assert!(output.status.success(), "{output:?}");
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), user);
}

fn refused(output: &Output, words: &str) {
    assert!(!output.status.success(), "{output:?}");
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(error.contains(words), "{error}");
}

#[test]
fn passwords_are_asked_for_over_pg() {
    let (dir, lake) = (secrets(), lake());
    let server = Server::standalone_with(&lake, &with_users(dir.path()));
    accepted(&psql(&server, "ann", PASSWORD, ""), "ann");
    let words = "password authentication failed for user";
    refused(&psql(&server, "ann", "wrong", ""), words);
    refused(&psql(&server, "bob", PASSWORD, ""), words);
    refused(&psql(&server, "ann", PASSWORD, "sslmode=require"), "does not support SSL");
    // A client that cannot speak SASL gets no further either.
    assert!(Pg::connect(&server.pg).is_err());
}

#[test]
fn pg_is_encrypted_or_not_served() {
    let (dir, lake) = (secrets(), lake());
    let server = Server::standalone_with(&lake, &with_tls(with_users(dir.path()), dir.path()));
    let root = dir.path().join("cert.pem").display().to_string();
    let verified = format!("sslmode=verify-full sslrootcert={root}");
    accepted(&psql(&server, "ann", PASSWORD, &verified), "ann");
    let bound = format!("{verified} channel_binding=require");
    accepted(&psql(&server, "ann", PASSWORD, &bound), "ann");
    refused(&psql(&server, "ann", "wrong", &bound), "password authentication failed");
    refused(&psql(&server, "ann", PASSWORD, "sslmode=disable"), "encrypted connections only");
    // Another certificate is not ours.
    let other = secrets();
    let root = other.path().join("cert.pem").display().to_string();
    let output = psql(&server, "ann", PASSWORD, &format!("sslmode=verify-full sslrootcert={root}"));
    refused(&output, "certificate verify failed");
}

#[test]
fn tls_without_users_lets_everyone_in_encrypted() {
    let (dir, lake) = (secrets(), lake());
    let options = with_tls(ServerOptions::default(), dir.path());
    let server = Server::standalone_with(&lake, &options);
    accepted(&psql(&server, "anyone", "", "sslmode=require"), "anyone");
    let mut plain = psql_command(&server.pg);
    let output = plain.env("PGSSLMODE", "disable").args(["-c", "SELECT 1"]).output().unwrap();
    refused(&output, "encrypted connections only");
}

/// Asks Flight SQL and HTTP; prints a line a try.
const ASK: &str = r#"
import ssl, sys, urllib.error, urllib.request, base64
import adbc_driver_flightsql
import adbc_driver_flightsql.dbapi as flight_sql

flight, http, password, root = sys.argv[1:5]
scheme = ("grpc+tls", "https") if root else ("grpc", "http")

def flight_try(user, given):
    options = {"username": user, "password": given} if user else {}
    if root:
        options[adbc_driver_flightsql.DatabaseOptions.TLS_ROOT_CERTS.value] = open(root).read()
    try:
        with flight_sql.connect(f"{scheme[0]}://{flight}", db_kwargs=options) as connection, connection.cursor() as cursor:
            cursor.execute("SELECT count(*) FROM trips")
            return cursor.fetchall()[0][0]
    except Exception as error:
        return "unauthenticated" if "unauthenticated" in str(error).lower() else str(error).splitlines()[0]

def http_try(path, user=None, given=None):
    request = urllib.request.Request(f"{scheme[1]}://{http}{path}", data=b"SELECT count(*) AS n FROM trips" if "sql" in path else None)
    if user:
        request.add_header("Authorization", "Basic " + base64.b64encode(f"{user}:{given}".encode()).decode())
    context = ssl.create_default_context(cafile=root) if root else None
    try:
        return urllib.request.urlopen(request, context=context).status
    except urllib.error.HTTPError as error:
        return error.code

print(flight_try("ann", password), flight_try("ann", "wrong"), flight_try("bob", password), flight_try(None, None))
print(http_try("/v1/sql", "ann", password), http_try("/v1/sql", "ann", "wrong"), http_try("/v1/sql"),
      http_try("/queries"), http_try("/metrics"), http_try("/health"), http_try("/ready"))
"#;

fn ask(python: &Python, server: &Server, root: &str) -> String {
    let local = |address: &str| address.replace("127.0.0.1", "localhost");
    let output = python.run(ASK, &[&local(&server.flight), &local(&server.http), PASSWORD, root]);
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

const EXPECTED: &str =
    "2 unauthenticated unauthenticated unauthenticated\n200 401 401 401 401 200 200\n";

#[test]
fn flight_and_http_ask_for_passwords() {
    let Some(python) = Python::find() else { return };
    let (dir, lake) = (secrets(), lake());
    let server = Server::standalone_with(&lake, &with_users(dir.path()));
    assert_eq!(ask(&python, &server, ""), EXPECTED);
}

#[test]
fn flight_and_http_are_encrypted() {
    let Some(python) = Python::find() else { return };
    let (dir, lake) = (secrets(), lake());
    let server = Server::standalone_with(&lake, &with_tls(with_users(dir.path()), dir.path()));
    let root = dir.path().join("cert.pem").display().to_string();
    assert_eq!(ask(&python, &server, &root), EXPECTED);
}

/// Asks with `saltlake sql`.
fn shell(server: &Server, dir: &Path, url: &str, password: Option<&str>) -> Output {
    let (_, port) = server.flight.rsplit_once(':').unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_saltlake"));
    let url = url.replace("PORT", port);
    command.args([
        "sql",
        "--url",
        &url,
        "--format",
        "csv",
        "-c",
        "SELECT count(*) AS n FROM trips",
    ]);
    for name in ["PGUSER", "PGPASSWORD", "PGSSLMODE", "PGSSLROOTCERT"] {
        command.env_remove(name);
    }
    command.envs(password.map(|password| ("PGPASSWORD", password)));
    command.current_dir(dir).stdin(Stdio::null()).output().unwrap()
}

#[test]
fn the_shell_logs_in_encrypted_or_not() {
    let (dir, lake) = (secrets(), lake());
    let plain = Server::standalone_with(&lake, &with_users(dir.path()));
    let folder = dir.path();
    let url = "http://ann@localhost:PORT";
    accepted(&shell(&plain, folder, url, Some(PASSWORD)), "n\n2");
    accepted(&shell(&plain, folder, "http://ann:p%C3%A4ssword%201@localhost:PORT", None), "n\n2");
    for (url, password) in
        [(url, Some("wrong")), (url, None), ("http://bob@localhost:PORT", Some(PASSWORD))]
    {
        let output = shell(&plain, folder, url, password);
        assert_eq!(output.status.code(), Some(3), "{output:?}");
        refused(&output, "password authentication failed for user");
    }
    refused(&shell(&plain, folder, "http://localhost:PORT", None), "password authentication");

    let options = with_tls(with_users(dir.path()), dir.path());
    let encrypted = Server::standalone_with(&lake, &options);
    let url = "https://ann@localhost:PORT?sslrootcert=cert.pem";
    accepted(&shell(&encrypted, folder, url, Some(PASSWORD)), "n\n2");
    let url = "ann@localhost:PORT?sslmode=verify-full&sslrootcert=cert.pem";
    let url = format!("grpc://{url}");
    accepted(&shell(&encrypted, folder, &url, Some(PASSWORD)), "n\n2");
    refused(&shell(&encrypted, secrets().path(), &url, Some(PASSWORD)), "cannot open localhost");
    refused(&shell(&encrypted, folder, "http://ann@localhost:PORT", Some(PASSWORD)), "localhost");
}

#[test]
fn a_server_that_would_be_open_to_a_network_does_not_start() {
    let lake = lake();
    let folder = lake.path().display().to_string();
    let doors = ["--pg", "0.0.0.0:0", "--flight", "127.0.0.1:0", "--http", "127.0.0.1:0"];
    let output =
        run_saltlake(&[&["serve", "--lake", &folder][..], &doors[..]].concat(), lake.path());
    refused(&output, "beyond this machine");
    let dir = secrets();
    std::fs::write(dir.path().join("cert.pem"), "not a certificate").unwrap();
    let options = with_tls(ServerOptions::default(), dir.path());
    let line = options.command_line("serve", &lake);
    let mut process = Process::spawn("serve", &line, &options.envs);
    let status = process.wait_exit(crate::harness::READY_DEADLINE);
    assert!(!status.success());
    assert!(process.log().contains("cannot be used for TLS"), "{}", process.log());
}
