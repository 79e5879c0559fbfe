//! `saltlake sql`: the same text gives the same output with and without a server, and scripts can rely on exit codes.

use crate::harness::{Cluster, READY_DEADLINE, Server, run_saltlake, wait_for, wait_until};
use crate::lake::Lake;
use arrow::ipc::reader::StreamReader;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Output, Stdio};
use std::sync::{Arc, Mutex};

/// Runs for longer than any test waits, and yields rows never.
const ENDLESS: &str =
    "SELECT count(*) FROM numbers a, numbers b, numbers c WHERE a.n + b.n + c.n = 7";

const OSLO: &str = "SELECT name, budget FROM dept WHERE city = 'Oslo' ORDER BY name";

/// Runs `saltlake sql` over a lake without a server.
fn embedded(lake: &Lake, args: &[&str]) -> Output {
    let folder = lake.path().display().to_string();
    run_saltlake(&[&["sql", "--lake", &folder], args].concat(), lake.path())
}

/// Runs `saltlake sql` against a server.
fn remote(server: &Server, lake: &Lake, args: &[&str]) -> Output {
    let url = format!("http://{}", server.flight);
    run_saltlake(&[&["sql", "--url", &url], args].concat(), lake.path())
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[test]
fn each_format_is_the_same_with_and_without_a_server() {
    let lake = Lake::standard();
    let server = Server::standalone(&lake);
    let table = " name        | budget\n-------------+--------\n Engineering | 500000\n Support     |  80000\n(2 rows)\n\n";
    let csv = "name,budget\nEngineering,500000\nSupport,80000\n";
    let json =
        "{\"name\":\"Engineering\",\"budget\":500000}\n{\"name\":\"Support\",\"budget\":80000}\n";
    for (format, expected) in [("table", table), ("csv", csv), ("json", json)] {
        let args = ["-c", OSLO, "--format", format];
        for output in [embedded(&lake, &args), remote(&server, &lake, &args)] {
            assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
            assert_eq!(stdout(&output), expected, "{format}");
        }
    }
}

#[test]
fn arrow_output_is_a_stream_that_reads_back() {
    let lake = Lake::standard();
    let server = Server::standalone(&lake);
    let args = ["-c", "SELECT n FROM numbers ORDER BY n", "--format", "arrow"];
    for output in [embedded(&lake, &args), remote(&server, &lake, &args)] {
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        let reader = StreamReader::try_new(output.stdout.as_slice(), None).unwrap();
        let n_rows: usize = reader.map(|batch| batch.unwrap().num_rows()).sum();
        assert_eq!(n_rows, 10_000);
    }
}

#[test]
fn a_failed_statement_ends_the_script_with_1_and_shows_the_place() {
    let lake = Lake::standard();
    let server = Server::standalone(&lake);
    let args = ["-c", "SELECT 1 AS one; SELECT budgt FROM dept; SELECT 2 AS two"];
    for output in [embedded(&lake, &args), remote(&server, &lake, &args)] {
        let (results, errors) = (stdout(&output), stderr(&output));
        assert_eq!(output.status.code(), Some(1), "{errors}");
        assert!(results.contains("one") && !results.contains("two"), "{results}");
        let lines: Vec<&str> = errors.lines().collect();
        assert!(lines[0].starts_with("ERROR 42703: "), "{errors}");
        assert_eq!(lines[1], "LINE 1: SELECT budgt FROM dept", "{errors}");
        assert_eq!(lines[2], "               ^", "{errors}");
        assert!(errors.contains("HINT: ") && errors.contains("budget"), "{errors}");
        assert!(!errors.contains('\x1b'), "colours without a terminal: {errors}");
    }
}

#[test]
fn files_run_statement_by_statement_and_errors_name_their_line() {
    let lake = Lake::standard();
    let script = "-- the lake\n\\d dept\nSELECT 'a;b' AS s;\n\nSELECT nothing\nFROM dept;\n";
    std::fs::write(lake.path().join("script.sql"), script).unwrap();
    let output = embedded(&lake, &["-f", "script.sql", "--format", "csv"]);
    assert_eq!(output.status.code(), Some(1));
    let results = stdout(&output);
    assert!(results.starts_with("column,type,nullable\n"), "{results}");
    assert!(results.ends_with("\ns\na;b\n"), "{results}");
    let errors = stderr(&output);
    assert!(errors.starts_with("script.sql:5: ERROR 42703: "), "{errors}");
}

#[test]
fn settings_and_views_hold_from_one_statement_to_the_next() {
    let lake = Lake::standard();
    let server = Server::standalone(&lake);
    let text = "SET saltlake.distribution = 'never'; SHOW saltlake.distribution";
    let args = ["-c", text, "--format", "json"];
    for output in [embedded(&lake, &args), remote(&server, &lake, &args)] {
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        assert!(stdout(&output).contains("never"), "{}", stdout(&output));
    }
}

#[test]
fn usage_and_connection_failures_have_their_own_codes() {
    let lake = Lake::empty();
    let run = |args: &[&str]| run_saltlake(args, lake.path());
    assert_eq!(run(&["sql", "--format", "xml", "-c", "SELECT 1"]).status.code(), Some(2));
    assert_eq!(run(&["sql", "-f", "missing.sql"]).status.code(), Some(2));
    let port = crate::harness::free_port();
    let output = run(&["sql", "--url", &format!("127.0.0.1:{port}"), "-c", "SELECT 1"]);
    assert_eq!(output.status.code(), Some(3));
    assert!(stderr(&output).contains("refused"), "{}", stderr(&output));
}

#[test]
fn a_closed_pipe_ends_the_shell_quietly() {
    let lake = Lake::standard();
    let sql = "SELECT a.n, b.n FROM numbers a CROSS JOIN numbers b";
    let command = format!(
        "set -o pipefail; '{}' sql --lake '{}' --format csv -c '{sql}' | head -n 2",
        env!("CARGO_BIN_EXE_saltlake"),
        lake.path().display()
    );
    let output = Command::new("bash").args(["-c", &command]).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert_eq!(stderr(&output), "");
    assert!(stdout(&output).starts_with("n,n"), "{}", stdout(&output));
}

#[test]
fn ctrl_c_cancels_the_query_on_the_server_and_ends_with_130() {
    let lake = Lake::standard();
    let server = Server::standalone(&lake);
    let child = Command::new(env!("CARGO_BIN_EXE_saltlake"))
        .args(["sql", "--url", &server.flight, "-c", ENDLESS])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    wait_until("the query runs", READY_DEADLINE, || n_endless(&server) == "1");
    kill(Pid::from_raw(child.id().cast_signed()), Signal::SIGINT).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130), "{}", stderr(&output));
    wait_until("the query is gone", READY_DEADLINE, || n_endless(&server) == "0");
}

/// Returns how many endless queries the server runs.
fn n_endless(server: &Server) -> String {
    server.scalar(
        "SELECT count(*) FROM system.queries WHERE state = 'running' AND sql LIKE '%a.n + b.n + c.n = 7'",
    )
}

#[test]
fn a_cluster_answers_the_shell() {
    let lake = Lake::standard();
    let cluster = Cluster::start(&lake, 2);
    let text = "SET saltlake.distribution = 'always'; SELECT sum(n) AS total FROM numbers";
    let output = remote(&cluster, &lake, &["-c", text, "--format", "csv"]);
    assert_eq!(stdout(&output), "total\n50005000\n", "{}", stderr(&output));
}

/// A shell on a terminal of its own, which `script` of util-linux provides.
struct Terminal {
    child: Child,
    keys: ChildStdin,
    screen: Arc<Mutex<String>>,
}

impl Terminal {
    fn open(lake: &Lake, history: &Path) -> Self {
        // `exec`: a shell between the two would take Ctrl-C as well, and some report it as their own end.
        let shell = format!(
            "exec '{}' sql --lake '{}' --history '{}'",
            env!("CARGO_BIN_EXE_saltlake"),
            lake.path().display(),
            history.display()
        );
        let mut child = Command::new("script")
            .args(["--quiet", "--flush", "--return", "--command", &shell, "/dev/null"])
            .env("TERM", "xterm")
            .env("NO_COLOR", "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let keys = child.stdin.take().unwrap();
        let mut output = child.stdout.take().unwrap();
        let screen = Arc::new(Mutex::new(String::new()));
        let shared = Arc::clone(&screen);
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(n_bytes @ 1..) = output.read(&mut bytes) {
                shared.lock().unwrap().push_str(&String::from_utf8_lossy(&bytes[..n_bytes]));
            }
        });
        Self { child, keys, screen }
    }

    /// Presses keys once `expected` is on the screen, and forgets what was shown so far.
    fn press_after(&mut self, expected: &str, keys: &str) {
        self.press_after_all(&[expected], keys);
    }

    /// Presses keys at the prompt that follows `expected`. Only there the shell sees every key: between two prompts
    /// the terminal keeps Ctrl-D to itself.
    fn press_at_prompt_after(&mut self, expected: &str, keys: &str) {
        self.press_after_all(&[expected, "saltlake> "], keys);
    }

    fn press_after_all(&mut self, expected: &[&str], keys: &str) {
        let is_shown = |screen: &str| {
            let mut rest = Some(screen);
            for text in expected {
                rest = rest.and_then(|rest| rest.split_once(text)).map(|(_, rest)| rest);
            }
            rest.is_some()
        };
        let started = std::time::Instant::now();
        while !is_shown(&self.screen.lock().unwrap()) {
            let screen = self.screen.lock().unwrap().clone();
            assert!(started.elapsed() < READY_DEADLINE, "no {expected:?} on:\n{screen}");
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        self.screen.lock().unwrap().clear();
        self.keys.write_all(keys.as_bytes()).unwrap();
        self.keys.flush().unwrap();
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // Both fail only when the shell has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn the_prompt_reads_statements_over_lines_and_keeps_a_history() {
    let lake = Lake::standard();
    let history = lake.path().join("history");
    let mut terminal = Terminal::open(&lake, &history);
    terminal.press_after("saltlake> ", "SELECT 40 +\r2 AS answer;\r");
    terminal.press_at_prompt_after("     42", "\\dt\r");
    terminal.press_at_prompt_after("dept", "\\x\r");
    terminal.press_at_prompt_after("Expanded display is on.", "SELECT count(*) AS n FROM nume\t");
    // The names are read in the background: Tab again until the name is complete.
    terminal.press_after("nume", "\x15SELECT 1 AS one;\r");
    terminal.press_at_prompt_after("one | 1", "SELECT wrong;\r");
    terminal.press_at_prompt_after("ERROR 42703", "\\q\r");
    let status = wait_for("the shell ends", READY_DEADLINE, || terminal.child.try_wait().unwrap());
    assert_eq!(status.code(), Some(0));
    let text = std::fs::read_to_string(&history).unwrap();
    assert!(text.contains("AS answer;"), "{text}");
}

#[test]
fn ctrl_c_at_the_prompt_cancels_the_statement_and_keeps_the_shell() {
    let lake = Lake::standard();
    let mut terminal = Terminal::open(&lake, &lake.path().join("history"));
    terminal.press_after("saltlake> ", &format!("{ENDLESS};\r"));
    terminal.press_after("(Ctrl-C cancels)", "\x03");
    terminal.press_at_prompt_after("ERROR: cancelled", "SELECT 6 * 7 AS answer;\r");
    terminal.press_at_prompt_after("     42", "\x04");
    let status = wait_for("the shell ends", READY_DEADLINE, || terminal.child.try_wait().unwrap());
    assert_eq!(status.code(), Some(0));
}
