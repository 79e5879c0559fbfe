//! A real PostgreSQL 15 or later on a port of its own, for answers beside ours.
//!
//! It must be installed (Debian's `postgresql-15`); a test that finds none says so and passes, unless tools are required.

use super::tools::{free_port, skip};
use super::wait_until;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;
use tempfile::TempDir;

/// Where Debian installs each version.
const VERSIONS: &str = "/usr/lib/postgresql";

/// A running server with an empty database `lake`, which lets user `test` in without a password.
pub struct Postgres {
    bin: PathBuf,
    dir: TempDir,
    /// `host:port` it listens on.
    pub address: String,
}

impl Postgres {
    /// Starts one; `None`, said aloud, where none is installed.
    pub fn start() -> Option<Self> {
        let Some(bin) = newest() else {
            skip("no PostgreSQL server is installed (postgresql-15)");
            return None;
        };
        // Not under the target folder: PostgreSQL refuses to run as root, and its user may not read there.
        let dir = tempfile::Builder::new().prefix("saltlake-postgres").tempdir().unwrap();
        let address = format!("127.0.0.1:{}", free_port());
        let server = Self { bin, dir, address };
        server.make();
        Some(server)
    }

    fn make(&self) {
        if is_root() {
            let status = Command::new("chown").arg("postgres").arg(self.dir.path()).status();
            assert!(status.unwrap().success(), "chown postgres");
        }
        let data = self.data();
        self.run(
            "initdb",
            &["-D", &data, "-U", "test", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync"],
        );
        let (_, port) = self.address.split_once(':').unwrap();
        let folder = self.dir.path().display();
        let options = format!(
            "-p {port} -k {folder} -c listen_addresses=127.0.0.1 -c fsync=off -c timezone=UTC"
        );
        let log = format!("{folder}/log");
        self.run("pg_ctl", &["-D", &data, "-o", &options, "-l", &log, "-w", "start"]);
        wait_until("PostgreSQL answers", Duration::from_secs(30), || {
            super::Pg::connect_as(&self.address, "test", "postgres").is_ok()
        });
        let mut connection = super::Pg::connect_as(&self.address, "test", "postgres").unwrap();
        connection.run("CREATE DATABASE lake");
    }

    fn data(&self) -> String {
        self.dir.path().join("data").display().to_string()
    }

    fn run(&self, program: &str, args: &[&str]) {
        let program = self.bin.join(program);
        let mut command = match is_root() {
            true => {
                let mut command = Command::new("runuser");
                command.args(["-u", "postgres", "--"]).arg(program);
                command
            }
            false => Command::new(program),
        };
        command.args(args).current_dir("/").stdin(Stdio::null()).stdout(Stdio::null());
        assert!(command.status().unwrap().success(), "{command:?}");
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        let data = self.data();
        self.run("pg_ctl", &["-D", &data, "-m", "immediate", "-w", "stop"]);
    }
}

fn newest() -> Option<PathBuf> {
    let versions = std::fs::read_dir(VERSIONS).ok()?.filter_map(Result::ok);
    let mut found: Vec<(u32, PathBuf)> = versions
        .filter_map(|version| {
            let number = version.file_name().to_str()?.parse().ok()?;
            Some((number, version.path().join("bin")))
        })
        .filter(|(number, bin)| *number >= 15 && has_server(bin))
        .collect();
    // The lowest that fits: the answers are those of PostgreSQL 15.
    found.sort();
    found.into_iter().next().map(|(_, bin)| bin)
}

fn has_server(bin: &Path) -> bool {
    bin.join("initdb").exists() && bin.join("postgres").exists()
}

fn is_root() -> bool {
    let id = Command::new("id").arg("-u").output().unwrap();
    id.stdout == b"0\n"
}
