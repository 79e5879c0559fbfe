//! A server in one process, and a coordinator with workers, each started on port 0 and awaited.

use super::{FlightClient, Pg, Process, READY_DEADLINE, wait_until};
use crate::lake::Lake;
use std::ops::{Deref, DerefMut};
use std::process::ExitStatus;
use std::time::Duration;

/// How a server is started, beyond its lake.
#[derive(Clone, Default)]
pub struct ServerOptions {
    /// Environment variables.
    pub envs: Vec<(String, String)>,
    /// Where the lake is, when not in a folder: an object store URL.
    pub lake_url: Option<String>,
}

impl ServerOptions {
    /// Adds an environment variable.
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.envs.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Serves an object store instead of a folder.
    pub fn lake_url(mut self, url: &str) -> Self {
        self.lake_url = Some(url.to_owned());
        self
    }

    /// Returns the command line of a role over `lake`, with every door on port 0.
    pub fn command_line(&self, role: &str, lake: &Lake) -> Vec<String> {
        let folder = lake.path().display().to_string();
        let location = self.lake_url.clone().unwrap_or(folder);
        let mut args = vec![role.to_owned(), "--lake".to_owned(), location];
        for listener in ["--pg", "--flight", "--http"] {
            args.extend([listener.to_owned(), "127.0.0.1:0".to_owned()]);
        }
        args
    }
}

/// A process that answers SQL: standalone, or the coordinator of a [`Cluster`].
pub struct Server {
    /// The process; its log fails the test when it holds unexpected error lines.
    pub process: Process,
    /// `host:port` of the PostgreSQL door.
    pub pg: String,
    /// `host:port` of the Flight SQL door.
    pub flight: String,
    /// `host:port` of the HTTP door.
    pub http: String,
    /// `host:port` for workers, on a coordinator.
    pub cluster: Option<String>,
}

impl Server {
    /// Starts everything in one process over `lake`.
    pub fn standalone(lake: &Lake) -> Self {
        Self::standalone_with(lake, &ServerOptions::default())
    }

    /// Starts everything in one process over `lake`, with options.
    pub fn standalone_with(lake: &Lake, options: &ServerOptions) -> Self {
        Self::start("serve", &options.command_line("serve", lake), &options.envs)
    }

    fn start(role: &str, args: &[String], envs: &[(String, String)]) -> Self {
        let (process, ready) = Process::spawn_ready(role, args, envs);
        assert_eq!(ready["pid"].as_u64(), Some(u64::from(process.pid())), "{ready}");
        let address = |key: &str| ready[key].as_str().map(str::to_owned);
        Self {
            process,
            pg: address("pg").expect("the ready file names pg"),
            flight: address("flight").expect("the ready file names flight"),
            http: address("http").expect("the ready file names http"),
            cluster: address("cluster"),
        }
    }

    /// Opens a PostgreSQL connection.
    pub fn connect(&self) -> Pg {
        Pg::connect(&self.pg).unwrap_or_else(|e| panic!("connect to {}: {e}", self.pg))
    }

    /// Opens a Flight SQL connection.
    pub fn connect_flight(&self) -> FlightClient {
        FlightClient::connect(&self.flight)
    }

    /// Returns the only value of the only row of `sql`, asked on a fresh connection.
    pub fn scalar(&self, sql: &str) -> String {
        self.connect().scalar(sql)
    }

    /// Returns the body of an HTTP GET; panics unless the status is 200.
    pub fn http_get(&self, path: &str) -> String {
        let (status, body) = self.http_get_any(path);
        assert_eq!(status, 200, "GET {path}: {body}");
        body
    }

    /// Returns status and body of an HTTP GET.
    pub fn http_get_any(&self, path: &str) -> (u16, String) {
        use std::io::{Read, Write};
        let mut stream = std::net::TcpStream::connect(&self.http).unwrap();
        stream.set_read_timeout(Some(super::CLIENT_DEADLINE)).unwrap();
        let head = format!("GET {path} HTTP/1.1\r\nhost: saltlake\r\nconnection: close\r\n\r\n");
        stream.write_all(head.as_bytes()).unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        let status = text.split(' ').nth(1).and_then(|code| code.parse().ok());
        let body = text.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        (status.unwrap_or_else(|| panic!("not HTTP: {text}")), body.to_owned())
    }

    /// Asks the server to end and waits for it.
    pub fn stop(&mut self, deadline: Duration) -> ExitStatus {
        self.process.terminate();
        self.process.wait_exit(deadline)
    }
}

/// A coordinator and its workers.
pub struct Cluster {
    /// The coordinator; `Cluster` derefs to it.
    pub coordinator: Server,
    workers: Vec<Option<Process>>,
    worker_envs: Vec<(String, String)>,
}

impl Cluster {
    /// Starts a coordinator and `n_workers` workers over `lake`, and waits until all are members.
    pub fn start(lake: &Lake, n_workers: usize) -> Self {
        Self::start_with(lake, n_workers, &ServerOptions::default())
    }

    /// Starts a cluster with options; their environment goes to coordinator and workers.
    pub fn start_with(lake: &Lake, n_workers: usize, options: &ServerOptions) -> Self {
        let coordinator = Self::start_coordinator(lake, options, "127.0.0.1:0");
        let worker_envs = options.envs.clone();
        let mut cluster = Self { coordinator, workers: Vec::new(), worker_envs };
        for _ in 0..n_workers {
            cluster.spawn_worker();
        }
        cluster.wait_for_members(n_workers);
        cluster
    }

    fn start_coordinator(lake: &Lake, options: &ServerOptions, cluster_door: &str) -> Server {
        let mut args = options.command_line("coordinator", lake);
        args.extend(["--cluster".to_owned(), cluster_door.to_owned()]);
        Server::start("coordinator", &args, &options.envs)
    }

    /// Ends the coordinator (SIGTERM) and starts another one at the same cluster address; the workers keep running.
    pub fn restart_coordinator(&mut self, lake: &Lake, options: &ServerOptions) {
        let door = self.coordinator.cluster.clone().expect("a coordinator has a cluster door");
        let status = self.coordinator.stop(READY_DEADLINE);
        assert!(status.success(), "the coordinator ended with {status}");
        self.coordinator = Self::start_coordinator(lake, options, &door);
    }

    /// Starts one more worker and waits until it is a member. Returns its index.
    pub fn add_worker(&mut self) -> usize {
        self.spawn_worker();
        self.wait_for_members(self.n_running());
        self.workers.len() - 1
    }

    fn spawn_worker(&mut self) {
        let address = self.coordinator.cluster.as_ref().expect("a coordinator has a cluster door");
        let args =
            ["worker", "--coordinator", &format!("http://{address}"), "--listen", "127.0.0.1:0"];
        let args: Vec<String> = args.iter().map(|&arg| arg.to_owned()).collect();
        let name = format!("worker{}", self.workers.len());
        self.workers.push(Some(Process::spawn(&name, &args, &self.worker_envs)));
    }

    /// Returns the number of workers that were not killed or stopped.
    pub fn n_running(&self) -> usize {
        self.workers.iter().flatten().count()
    }

    /// Returns worker `idx`, which must run.
    pub fn worker(&mut self, idx: usize) -> &mut Process {
        self.workers[idx].as_mut().expect("the worker was stopped before")
    }

    /// Ends worker `idx` as a crash would (SIGKILL). Its membership ends when the coordinator notices.
    pub fn kill_worker(&mut self, idx: usize) {
        let mut worker = self.workers[idx].take().expect("the worker was stopped before");
        worker.kill();
    }

    /// Returns the process ids of the workers that run.
    pub fn worker_pids(&self) -> Vec<u32> {
        self.workers.iter().flatten().map(Process::pid).collect()
    }

    /// Ends the worker with this process id as a crash would.
    pub fn kill_worker_with_pid(&mut self, pid: u32) {
        let has_pid = |worker: &Option<Process>| worker.as_ref().is_some_and(|w| w.pid() == pid);
        let idx = self.workers.iter().position(has_pid).expect("a worker has this id");
        self.kill_worker(idx);
    }

    /// Ends the worker that was started first as a crash would, and starts another without waiting for it.
    pub fn replace_oldest_worker(&mut self) {
        let oldest = self.workers.iter().position(Option::is_some).expect("a worker runs");
        self.kill_worker(oldest);
        self.spawn_worker();
    }

    /// Asks worker `idx` to leave (SIGTERM), and waits for its end and its membership's.
    pub fn stop_worker(&mut self, idx: usize, deadline: Duration) -> ExitStatus {
        let mut worker = self.workers[idx].take().expect("the worker was stopped before");
        worker.terminate();
        let status = worker.wait_exit(deadline);
        self.wait_for_members(self.n_running());
        status
    }

    /// Waits until the coordinator counts exactly `n_workers` members.
    pub fn wait_for_members(&self, n_workers: usize) {
        let expected = n_workers.to_string();
        let mut connection = self.coordinator.connect();
        wait_until(&format!("{n_workers} workers are members"), READY_DEADLINE, || {
            connection.scalar("SELECT count(*) FROM system.workers") == expected
        });
    }

    /// Opens a PostgreSQL connection whose queries run on the workers, however small they are, in several tasks.
    pub fn connect_distributed(&self) -> Pg {
        let mut connection = self.coordinator.connect();
        connection.run("SET saltlake.distribution = 'always'");
        connection.run("SET saltlake.bytes_per_partition = 1024");
        connection
    }
}

impl Deref for Cluster {
    type Target = Server;

    fn deref(&self) -> &Server {
        &self.coordinator
    }
}

impl DerefMut for Cluster {
    fn deref_mut(&mut self) -> &mut Server {
        &mut self.coordinator
    }
}
