//! One real `saltlake` process: started with its output in a file, killed on drop, its log shown when the test fails.

use super::{READY_DEADLINE, scratch_dir, wait_for};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs::File;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::Duration;
use tempfile::TempDir;

/// Lines of log shown for a process whose test failed.
const LOG_TAIL_LINES: usize = 80;

/// A running `saltlake` process.
pub struct Process {
    name: String,
    child: Child,
    dir: TempDir,
    /// Texts of error lines that the test brings about on purpose.
    expected_errors: Vec<String>,
}

impl Process {
    /// Starts `saltlake` with `args` and `envs`. Settings of the caller's own environment are not passed on.
    pub fn spawn(name: &str, args: &[String], envs: &[(String, String)]) -> Self {
        let dir = tempfile::Builder::new().prefix(name).tempdir_in(scratch_dir()).unwrap();
        Self::spawn_in(name, dir, args, envs)
    }

    fn spawn_in(name: &str, dir: TempDir, args: &[String], envs: &[(String, String)]) -> Self {
        let log = File::create(dir.path().join("log")).unwrap();
        let mut command = saltlake(args, envs);
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        let child = command.spawn().unwrap();
        Self { name: name.to_owned(), child, dir, expected_errors: Vec::new() }
    }

    /// Starts `saltlake` with `--ready-file` added and waits until it accepts queries; returns the file's JSON too.
    pub fn spawn_ready(
        name: &str,
        args: &[String],
        envs: &[(String, String)],
    ) -> (Self, serde_json::Value) {
        let dir = tempfile::Builder::new().prefix(name).tempdir_in(scratch_dir()).unwrap();
        let ready_file = dir.path().join("ready.json");
        let mut args = args.to_vec();
        args.extend(["--ready-file".to_owned(), ready_file.display().to_string()]);
        let mut process = Self::spawn_in(name, dir, &args, envs);
        let ready = wait_for(&format!("{name} is ready"), READY_DEADLINE, || {
            if let Some(status) = process.child.try_wait().unwrap() {
                panic!("{name} ended before it was ready: {status}\n{}", process.log());
            }
            serde_json::from_str(&std::fs::read_to_string(&ready_file).ok()?).ok()
        });
        (process, ready)
    }

    /// Returns the process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Returns whether the process still runs.
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Ends the process at once, as a crash would (SIGKILL).
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Asks the process to end (SIGTERM) and does not wait.
    pub fn terminate(&self) {
        kill(Pid::from_raw(self.child.id().cast_signed()), Signal::SIGTERM).unwrap();
    }

    /// Waits until the process has ended by itself.
    pub fn wait_exit(&mut self, deadline: Duration) -> ExitStatus {
        let what = format!("{} ends", self.name);
        wait_for(&what, deadline, || self.child.try_wait().unwrap())
    }

    /// Returns everything the process printed.
    pub fn log(&self) -> String {
        let bytes = std::fs::read(self.dir.path().join("log")).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Says that error lines with `text` are what this test is about.
    pub fn expect_error_log(&mut self, text: &str) {
        self.expected_errors.push(text.to_owned());
    }

    fn unexpected_errors(&self) -> Vec<String> {
        let is_error = |line: &&str| line.contains(" ERROR ") || line.contains("panicked at");
        let is_expected = |line: &&str| self.expected_errors.iter().any(|text| line.contains(text));
        let log = self.log();
        log.lines().filter(is_error).filter(|line| !is_expected(line)).map(str::to_owned).collect()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Both fail only when the process is gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let log = self.log();
            let n_skipped = log.lines().count().saturating_sub(LOG_TAIL_LINES);
            let tail: Vec<&str> = log.lines().skip(n_skipped).collect();
            eprintln!(
                "--- log of {} ({n_skipped} lines before) ---\n{}",
                self.name,
                tail.join("\n")
            );
            self.dir.disable_cleanup(true);
            eprintln!("--- kept: {} ---", self.dir.path().display());
        } else {
            let errors = self.unexpected_errors();
            assert!(errors.is_empty(), "error lines in the log of {}: {errors:#?}", self.name);
        }
    }
}

/// Runs `saltlake` to its end and returns what it printed.
pub fn run_saltlake(args: &[&str], dir: &Path) -> Output {
    let args: Vec<String> = args.iter().map(|&arg| arg.to_owned()).collect();
    saltlake(&args, &[]).current_dir(dir).stdin(Stdio::null()).output().unwrap()
}

fn saltlake(args: &[String], envs: &[(String, String)]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_saltlake"));
    for (name, _) in std::env::vars_os() {
        let name_text = name.to_string_lossy();
        if name_text.starts_with("SALTLAKE_") || name_text.starts_with("AWS_") {
            command.env_remove(&name);
        }
    }
    command.args(args).envs(envs.iter().map(|(name, value)| (name, value)));
    command.env("NO_COLOR", "1");
    command
}
