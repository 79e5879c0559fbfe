//! The real psql, as a user would call it.

use std::process::Command;

/// Returns a psql command on a server's PostgreSQL door, with no settings of the caller's own.
pub fn psql_command(address: &str) -> Command {
    let (host, port) = address.rsplit_once(':').expect("addresses are host:port");
    let mut command = Command::new("psql");
    command.args(["--no-psqlrc", "--host", host, "--port", port, "--username", "test"]);
    command.args(["--dbname", "lake", "--set", "ON_ERROR_STOP=1"]);
    command.env("PGCONNECT_TIMEOUT", "10").env("PAGER", "").env("LC_ALL", "C.UTF-8");
    command
}
