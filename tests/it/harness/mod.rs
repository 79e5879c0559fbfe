//! What system tests stand on: processes with deadlines, and small clients that show the wire as it is.
//!
//! Everything here blocks, so that a test is a plain function and a failure has a line number. Tests that want an
//! async client open one themselves on [`Server::pg`] or [`Server::flight`].

mod cluster;
mod flight;
mod pg;
mod postgres;
mod proc_fs;
mod process;
mod psql;
mod tools;
mod wire;

pub use cluster::{Cluster, Server, ServerOptions};
pub use flight::FlightClient;
pub use pg::{Message, Pg, PgError};
pub use postgres::Postgres;
pub use proc_fs::{cpu_load, cpu_seconds, peak_rss_mib, rss_mib};
pub use process::{Process, run_saltlake};
pub use psql::psql_command;
pub use tools::{Node, Python, S3_ACCESS_KEY, S3_SECRET_KEY, SeaweedFs, free_port, skip};
pub use wire::Wire;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long a started process may take until it answers. Generous: tests may run beside a compiler.
pub const READY_DEADLINE: Duration = Duration::from_secs(30);

/// How long one client waits for the next byte before the test fails: a hang is a failure, not a slow test.
pub const CLIENT_DEADLINE: Duration = Duration::from_secs(120);

/// Waits until `condition` gives a value; panics with `what` after `deadline`.
pub fn wait_for<T>(what: &str, deadline: Duration, mut condition: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(started.elapsed() < deadline, "{what}: not within {deadline:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Waits until `condition` holds; panics with `what` after `deadline`.
pub fn wait_until(what: &str, deadline: Duration, mut condition: impl FnMut() -> bool) {
    wait_for(what, deadline, || condition().then_some(()));
}

/// Returns the folder for everything tests write; cargo makes it, under the target folder.
pub fn scratch_dir() -> PathBuf {
    PathBuf::from(env!("CARGO_TARGET_TMPDIR"))
}

/// Returns the root of the source tree.
pub fn source_root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Copies a folder with all that is in it.
pub fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy_folder(&entry.path(), &target),
            false => drop(std::fs::copy(entry.path(), target).unwrap()),
        }
    }
}
