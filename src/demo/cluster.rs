//! The demo's processes: a coordinator and workers, the same executable as the demo itself.
//!
//! They get free ports, write to log files, and are asked to end (SIGTERM) before they are killed. Each is its own
//! process group, so that Ctrl-C reaches only the demo, which then ends the workers after the coordinator.

use super::sample::Layout;
use crate::shell::backend::{Backend, Reply};
use crate::shell::diagnostic::{Failure, Printer};
use crate::shell::output::Cells;
use futures::TryStreamExt;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::Deserialize;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};
use tokio::process::{Child, Command};

/// How long the processes may take until they accept queries. Generous: a first start reads a cold disk.
const READY_DEADLINE: Duration = Duration::from_secs(30);

/// How long a process may take to end before it is killed.
const STOP_DEADLINE: Duration = Duration::from_secs(15);

/// How often a condition is looked at while waiting for it.
const POLL: Duration = Duration::from_millis(20);

/// Lines of each log shown when the demo fails.
const LOG_TAIL_LINES: usize = 15;

const ANY_PORT: &str = "127.0.0.1:0";

/// What a coordinator writes when it accepts queries.
#[derive(Debug, Clone, Default, Deserialize)]
struct Ready {
    pg: String,
    flight: String,
    http: String,
    cluster: String,
}

struct Process {
    name: String,
    child: Child,
    log: PathBuf,
}

/// The processes of the demo; dropping it kills them.
#[derive(Default)]
pub struct DemoCluster {
    /// The coordinator first.
    processes: Vec<Process>,
    ready: Ready,
}

impl DemoCluster {
    /// Starts a coordinator over the lake, and workers for it.
    ///
    /// # Errors
    /// When a process cannot be started, ends early, or is not ready in time.
    pub async fn start(&mut self, layout: &Layout, n_workers: usize) -> Result<(), Failure> {
        let ready_file = layout.logs().join("coordinator.json");
        let lake = layout.lake().display().to_string();
        let ready_path = ready_file.display().to_string();
        let flags = [
            ["--lake", &lake],
            ["--pg", ANY_PORT],
            ["--flight", ANY_PORT],
            ["--http", ANY_PORT],
            ["--cluster", ANY_PORT],
            ["--ready-file", &ready_path],
        ];
        self.spawn("coordinator", "coordinator", flags.as_flattened(), layout)?;
        self.ready = self.wait_for_ready_file(&ready_file).await?;
        let url = format!("http://{}", self.ready.cluster);
        for idx in 1..=n_workers {
            let flags = ["--coordinator", &url, "--listen", ANY_PORT];
            self.spawn("worker", &format!("worker{idx}"), &flags, layout)?;
        }
        Ok(())
    }

    fn spawn(
        &mut self,
        role: &str,
        name: &str,
        flags: &[&str],
        layout: &Layout,
    ) -> Result<(), Failure> {
        let log = layout.logs().join(format!("{name}.log"));
        let failed = |error| Failure::usage(format!("cannot start {name}: {error}"));
        let file = File::create(&log).map_err(failed)?;
        let child = Command::new(std::env::current_exe().map_err(failed)?)
            .arg(role)
            .args(flags)
            .current_dir(layout.logs())
            .stdin(Stdio::null())
            .stdout(file.try_clone().map_err(failed)?)
            .stderr(file)
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .map_err(failed)?;
        self.processes.push(Process { name: name.to_string(), child, log });
        Ok(())
    }

    async fn wait_for_ready_file(&mut self, path: &Path) -> Result<Ready, Failure> {
        let started = Instant::now();
        loop {
            // The file appears whole: a text that is no JSON yet is not there yet.
            if let Ok(text) = std::fs::read_to_string(path)
                && let Ok(ready) = serde_json::from_str(&text)
            {
                return Ok(ready);
            }
            self.check_alive()?;
            check_deadline(started, "the coordinator is not ready")?;
            tokio::time::sleep(POLL).await;
        }
    }

    /// Waits until the coordinator counts `n_workers` members.
    ///
    /// # Errors
    /// When a process ends, or the workers do not join in time.
    pub async fn wait_for_workers(
        &mut self,
        server: &dyn Backend,
        n_workers: usize,
    ) -> Result<(), Failure> {
        let started = Instant::now();
        let expected = n_workers.to_string();
        while scalar(server, "SELECT count(*) FROM system.workers").await? != expected {
            self.check_alive()?;
            check_deadline(started, "the workers did not join")?;
            tokio::time::sleep(POLL).await;
        }
        Ok(())
    }

    fn check_alive(&mut self) -> Result<(), Failure> {
        for process in &mut self.processes {
            if let Ok(Some(status)) = process.child.try_wait() {
                let name = &process.name;
                return Err(Failure::Connect {
                    target: name.clone(),
                    reason: format!("it ended early ({status})"),
                    hint: Some(format!("see {}", process.log.display())),
                });
            }
        }
        Ok(())
    }

    /// Returns `host:port` of the Flight SQL frontend.
    pub fn flight(&self) -> &str {
        &self.ready.flight
    }

    /// Returns `host:port` of the PostgreSQL frontend.
    pub fn pg(&self) -> &str {
        &self.ready.pg
    }

    /// Returns `host:port` of the HTTP frontend.
    pub fn http(&self) -> &str {
        &self.ready.http
    }

    /// Returns one line about the processes.
    pub fn describe(&self, elapsed: Duration) -> String {
        let pids: Vec<String> =
            self.processes.iter().filter_map(|p| Some(p.child.id()?.to_string())).collect();
        let (coordinator, workers) = pids.split_first().map_or(("", &[][..]), |(c, w)| (c, w));
        let workers = workers.join(", ");
        format!(
            "coordinator {coordinator}, workers {workers}; up in {:.1} s",
            elapsed.as_secs_f64()
        )
    }

    /// Shows the end of each log on standard error.
    pub fn show_logs(&self) {
        for process in &self.processes {
            let text = std::fs::read_to_string(&process.log).unwrap_or_default();
            let lines: Vec<&str> = text.lines().collect();
            let tail = &lines[lines.len().saturating_sub(LOG_TAIL_LINES)..];
            let heading = format!("--- {} ({})", process.name, process.log.display());
            Printer::for_stderr().notice(&format!("{heading}\n{}", tail.join("\n")));
        }
    }

    /// Ends all processes, the coordinator first, so that it does not see its workers leave.
    pub async fn stop(&mut self) {
        for mut process in self.processes.drain(..) {
            if let Some(pid) = process.child.id() {
                // Fails only when the process is gone already.
                let _ = kill(Pid::from_raw(pid.cast_signed()), Signal::SIGTERM);
            }
            if tokio::time::timeout(STOP_DEADLINE, process.child.wait()).await.is_err() {
                let text = format!("{} did not end in time and is killed", process.name);
                Printer::for_stderr().notice(&text);
                let _ = process.child.kill().await;
            }
        }
    }
}

fn check_deadline(started: Instant, what: &str) -> Result<(), Failure> {
    if started.elapsed() < READY_DEADLINE {
        return Ok(());
    }
    Err(Failure::Connect {
        target: "the cluster".to_string(),
        reason: format!("{what} after {READY_DEADLINE:?}"),
        hint: None,
    })
}

/// Returns the only value of a query's only row.
async fn scalar(server: &dyn Backend, sql: &str) -> Result<String, Failure> {
    let Reply::Rows { mut stream, .. } = server.execute(sql).await? else {
        return Ok(String::new());
    };
    let mut value = String::new();
    while let Some(batch) = stream.try_next().await? {
        if batch.num_rows() > 0 {
            value = Cells::new(&batch)?.text(0, 0)?;
        }
    }
    Ok(value)
}
