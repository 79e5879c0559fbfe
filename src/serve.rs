//! Runs a role: bind every listener, say where, build the role, serve, drain.
//!
//! Called by `main` for `serve`, `coordinator` and `worker`. The order matters: addresses are bound before anything slow
//! starts, so a wrong address fails at once and port 0 works; the ready file appears only when statements are accepted.

use crate::config::{Config, ListenAddress};
use crate::coordinator::{Coordinator, Role, membership};
use crate::error::{Error, Result};
use crate::frontend::{Security, flight, http, pg};
use crate::shutdown::Signals;
use crate::{metrics, worker};
use metrics_exporter_prometheus::PrometheusHandle;
use serde::Serialize;
use std::io::Write;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

/// Time beyond the drain timeout in which servers must end by themselves.
const DRAIN_GRACE: Duration = Duration::from_secs(3);

/// What the ready file says.
#[derive(Debug, Clone, Default, Serialize)]
struct Ready {
    pid: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pg: Option<SocketAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    flight: Option<SocketAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    http: Option<SocketAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cluster: Option<SocketAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    worker: Option<SocketAddr>,
}

/// A bound socket and its real address.
struct Door {
    listener: TcpListener,
    address: SocketAddr,
}

impl Door {
    async fn bind(name: &str, listen: &ListenAddress) -> Result<Self> {
        let failed =
            |source| Error::Io { action: format!("cannot listen on {listen} for {name}"), source };
        let listener =
            TcpListener::bind((listen.host.as_str(), listen.port)).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        Ok(Self { listener, address })
    }

    /// Refuses to be open to everyone on a network, unless that is wanted.
    fn guard(self, name: &str, config: &Config) -> Result<Self> {
        let auth = &config.frontend.auth;
        if self.address.ip().is_loopback() || !auth.users_file.is_empty() {
            return Ok(self);
        }
        if !auth.open_to_all {
            return Err(Error::Config {
                message: format!(
                    "{name} would listen on {}, beyond this machine, and ask nobody for a password",
                    self.address
                ),
                hint: Some(
                    "set frontend.auth.users_file (saltlake password NAME makes its lines), or \
                     frontend.auth.open_to_all = true"
                        .to_string(),
                ),
            });
        }
        warn!(address = %self.address, name, "open to all: whoever can connect can read the lake");
        Ok(self)
    }

    /// Warns of an address that nodes of the cluster use, which know no passwords.
    fn between_nodes(self, name: &str) -> Self {
        if !self.address.ip().is_loopback() {
            warn!(
                address = %self.address, name,
                "listening beyond this machine for the cluster's own nodes, without passwords"
            );
        }
        self
    }
}

/// The sockets of the role that accepts statements.
struct Doors {
    pg: Door,
    flight: Door,
    http: Door,
    cluster: Option<Door>,
}

impl Doors {
    async fn bind(config: &Config, role: Role) -> Result<Self> {
        let frontend = &config.frontend;
        let cluster = match role {
            Role::Standalone => None,
            Role::Cluster => {
                let door = Door::bind("cluster", &config.coordinator.cluster_listen).await?;
                Some(door.between_nodes("cluster"))
            }
        };
        Ok(Self {
            pg: Door::bind("pg", &frontend.pg.listen).await?.guard("pg", config)?,
            flight: Door::bind("flight", &frontend.flight.listen).await?.guard("flight", config)?,
            http: Door::bind("http", &frontend.http.listen).await?.guard("http", config)?,
            cluster,
        })
    }

    /// Writes one line per address, with what to paste to reach it.
    fn announce(&self, is_encrypted: bool, out: &mut dyn Write) -> std::io::Result<()> {
        let (pg, flight, http) = (self.pg.address, self.flight.address, self.http.address);
        let host = reachable(pg).ip();
        let mut line = |name: &str, address: SocketAddr, usage: String| {
            writeln!(out, "{name:<8}{:<22}  {usage}", address.to_string())
        };
        let (grpc, web) = if is_encrypted { ("grpc+tls", "https") } else { ("grpc", "http") };
        line("pg", pg, format!("psql -h {host} -p {} -d lake", pg.port()))?;
        line("flight", flight, format!("{grpc}://{}", reachable(flight)))?;
        line("http", http, format!("{web}://{}/health", reachable(http)))?;
        if let Some(cluster) = &self.cluster {
            let address = reachable(cluster.address);
            line(
                "cluster",
                cluster.address,
                format!("saltlake worker --coordinator http://{address}"),
            )?;
        }
        out.flush()
    }

    fn ready(&self) -> Ready {
        Ready {
            pid: std::process::id(),
            pg: Some(self.pg.address),
            flight: Some(self.flight.address),
            http: Some(self.http.address),
            cluster: self.cluster.as_ref().map(|door| door.address),
            worker: None,
        }
    }
}

/// Runs the role that accepts statements until a signal, then drains.
///
/// # Errors
/// When an address cannot be bound, the lake cannot be opened, or a server fails.
pub async fn coordinator(config: &Config, role: Role) -> Result<()> {
    let signals = Signals::listen()?;
    let recorder = metrics::install()?;
    remove_stale(&config.process.ready_file);
    let security = Security::read(&config.frontend)?;
    let doors = Doors::bind(config, role).await?;
    let announced = doors.announce(security.tls.is_some(), &mut std::io::stdout().lock());
    announced.map_err(|source| Error::Io {
        action: "cannot write to standard output".to_string(),
        source,
    })?;
    let ready = doors.ready();
    let (ready_sender, ready_receiver) = watch::channel(false);
    let coordinator = Coordinator::start(config, role).await?;
    let shutdown = signals.token();
    let mut servers = JoinSet::new();
    let options = DoorOptions::new(config, security, recorder.clone(), ready_receiver);
    start_doors(&mut servers, options, doors, &coordinator, &shutdown);
    servers.spawn(keep_metrics(recorder, shutdown.clone()));
    write_ready(&config.process.ready_file, &ready)?;
    ready_sender.send_replace(true);
    info!(lake = config.lake.root, "accepting statements");
    let watcher = shutdown.clone();
    servers.spawn(async move {
        watcher.cancelled().await;
        ready_sender.send_replace(false);
        Ok(())
    });
    run(servers, &shutdown, *config.coordinator.drain_timeout).await
}

/// What each door is told.
struct DoorOptions {
    pg: pg::PgOptions,
    flight: flight::FlightOptions,
    http: http::HttpOptions,
}

impl DoorOptions {
    fn new(
        config: &Config,
        security: Security,
        recorder: PrometheusHandle,
        ready: watch::Receiver<bool>,
    ) -> Self {
        let drain = *config.coordinator.drain_timeout;
        Self {
            pg: pg::PgOptions {
                max_connections: config.frontend.pg.max_connections,
                drain_timeout: drain,
                security: security.clone(),
            },
            flight: flight::FlightOptions {
                drain,
                security: security.clone(),
                ..Default::default()
            },
            http: http::HttpOptions { metrics: Some(recorder), ready, drain, security },
        }
    }
}

/// Starts the server of each door.
fn start_doors(
    servers: &mut JoinSet<Result<()>>,
    options: DoorOptions,
    doors: Doors,
    coordinator: &Arc<Coordinator>,
    shutdown: &CancellationToken,
) {
    let shared = || (Arc::clone(coordinator), shutdown.clone());
    let (c, s) = shared();
    servers.spawn(pg::serve(doors.pg.listener, c, options.pg, s));
    let (c, s) = shared();
    servers.spawn(flight::serve(doors.flight.listener, c, options.flight, s));
    let (c, s) = shared();
    servers.spawn(http::serve(doors.http.listener, c, options.http, s));
    if let Some(cluster) = doors.cluster {
        let (c, s) = shared();
        servers.spawn(membership::serve(cluster.listener, c, s));
    }
}

/// Runs the role that takes tasks until a signal, then drains.
///
/// # Errors
/// When no coordinator is named, the address cannot be bound, or the server fails.
pub async fn worker(config: &Config) -> Result<()> {
    if config.worker.coordinator.is_empty() {
        return Err(Error::Config {
            message: "a worker needs its coordinator".to_string(),
            hint: Some("name it: saltlake worker --coordinator http://127.0.0.1:5436".to_string()),
        });
    }
    let signals = Signals::listen()?;
    let recorder = metrics::install()?;
    remove_stale(&config.process.ready_file);
    let door = Door::bind("worker", &config.worker.listen).await?.between_nodes("worker");
    let ready = Ready { pid: std::process::id(), worker: Some(door.address), ..Ready::default() };
    let announced = writeln!(
        std::io::stdout().lock(),
        "{:<8}{:<22}  tasks of {}",
        "worker",
        door.address.to_string(),
        config.worker.coordinator
    );
    announced.map_err(|source| Error::Io {
        action: "cannot write to standard output".to_string(),
        source,
    })?;
    let ready_file = config.process.ready_file.clone();
    let on_ready = move || write_ready(&ready_file, &ready);
    let shutdown = signals.token();
    let mut servers = JoinSet::new();
    servers.spawn(worker::run(config.clone(), door.listener, on_ready, shutdown.clone()));
    servers.spawn(keep_metrics(recorder, shutdown.clone()));
    run(servers, &shutdown, *config.worker.drain_timeout).await
}

/// Waits for the servers: until one fails, or until all have drained after `shutdown`.
async fn run(
    mut servers: JoinSet<Result<()>>,
    shutdown: &CancellationToken,
    drain: Duration,
) -> Result<()> {
    let mut outcome = Ok(());
    let deadline = async {
        shutdown.cancelled().await;
        tokio::time::sleep(drain + DRAIN_GRACE).await;
    };
    tokio::pin!(deadline);
    loop {
        let ended = tokio::select! {
            ended = servers.join_next() => ended,
            () = &mut deadline => {
                warn!("drain timeout reached; ending with statements still running");
                return outcome;
            }
        };
        let result = match ended {
            None => break,
            Some(Ok(result)) => result,
            Some(Err(error)) => Err(Error::Io {
                action: "a server of this process failed".to_string(),
                source: std::io::Error::other(error),
            }),
        };
        if let Err(error) = result {
            outcome = outcome.and(Err(error));
            shutdown.cancel();
        }
    }
    info!("stopped");
    outcome
}

/// Lets the recorder fold what it measured, until `shutdown`.
async fn keep_metrics(recorder: PrometheusHandle, shutdown: CancellationToken) -> Result<()> {
    let mut ticks = tokio::time::interval(metrics::UPKEEP_INTERVAL);
    loop {
        tokio::select! {
            _ = ticks.tick() => recorder.run_upkeep(),
            () = shutdown.cancelled() => return Ok(()),
        }
    }
}

/// Returns an address that reaches a socket that listens everywhere.
fn reachable(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        address.set_ip(std::net::Ipv4Addr::LOCALHOST.into());
    }
    address
}

/// Removes the ready file of an earlier process, so that nobody takes it for ours.
fn remove_stale(ready_file: &str) {
    if !ready_file.is_empty() {
        // It fails when there is none, which is the usual case; a file we cannot write fails later, with a message.
        let _ = std::fs::remove_file(ready_file);
    }
}

/// Writes the ready file, whole or not at all: a reader never sees half of it.
fn write_ready(ready_file: &str, ready: &Ready) -> Result<()> {
    if ready_file.is_empty() {
        return Ok(());
    }
    let path = Path::new(ready_file);
    let failed = |source| Error::Io {
        action: format!("cannot write the ready file \"{ready_file}\""),
        source,
    };
    let text = serde_json::to_vec(ready).map_err(|error| failed(error.into()))?;
    let half = path.with_extension(format!("{}.tmp", std::process::id()));
    std::fs::write(&half, text).and_then(|()| std::fs::rename(&half, path)).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn doors_are_bound_announced_and_told() {
        let mut config = Config::default();
        for listen in [
            &mut config.frontend.pg.listen,
            &mut config.frontend.flight.listen,
            &mut config.frontend.http.listen,
            &mut config.coordinator.cluster_listen,
        ] {
            listen.port = 0;
        }
        let doors = Doors::bind(&config, Role::Cluster).await.unwrap();
        let mut out = Vec::new();
        doors.announce(false, &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines.len(), 4, "{text}");
        let port = doors.pg.address.port();
        assert!(port > 0);
        assert!(lines[0].ends_with(&format!("psql -h 127.0.0.1 -p {port} -d lake")), "{text}");
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("ready.json");
        write_ready(file.to_str().unwrap(), &doors.ready()).unwrap();
        let told: serde_json::Value =
            serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
        assert_eq!(told["pg"], format!("127.0.0.1:{port}"));
        assert_eq!(told["pid"], std::process::id());
        assert!(told["cluster"].is_string() && told.get("worker").is_none(), "{told}");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "no half file is left");
    }

    #[tokio::test]
    async fn a_door_without_passwords_stays_on_this_machine() {
        let mut config = Config::default();
        let listen = ListenAddress { host: "0.0.0.0".into(), port: 0 };
        let guarded = |config: &Config| {
            let (listen, config) = (listen.clone(), config.clone());
            async move { Door::bind("pg", &listen).await.unwrap().guard("pg", &config) }
        };
        let error = guarded(&config).await.err().unwrap().report();
        assert!(error.message.contains("beyond this machine"), "{}", error.message);
        config.frontend.auth.open_to_all = true;
        assert!(guarded(&config).await.is_ok());
        config.frontend.auth.open_to_all = false;
        config.frontend.auth.users_file = "users".into();
        assert!(guarded(&config).await.is_ok());
    }

    #[tokio::test]
    async fn a_taken_address_is_a_clear_error() {
        let listen = ListenAddress { host: "127.0.0.1".into(), port: 0 };
        let first = Door::bind("pg", &listen).await.unwrap();
        let listen = ListenAddress { port: first.address.port(), ..listen };
        let error = Door::bind("pg", &listen).await.err().unwrap();
        let message = error.report().message;
        assert!(message.starts_with(&format!("cannot listen on {listen} for pg: ")), "{message}");
    }
}
