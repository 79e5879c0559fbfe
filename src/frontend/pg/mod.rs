//! The PostgreSQL door: listener, connections, and the translation of sessions to PostgreSQL's wire protocol 3.0.
//!
//! Called by the coordinator's role with a bound listener. pgwire encodes and decodes messages; what they mean is
//! decided here, per connection:
//! `serve` → `startup` (greeting, session) and `login` → `connection` (simple protocol) and `extended` → `prepared`, `portal`,
//! `cursor`, `copy` → `rows` → `encode`.

mod catalog;
mod connection;
mod copy;
mod cursor;
mod encode;
mod extended;
mod failure;
mod local;
mod login;
mod params;
mod portal;
mod prepared;
mod rows;
mod scroll;
mod socket;
mod startup;
mod statement;
mod transaction;
pub mod types;

use crate::coordinator::Coordinator;
use crate::error::Result;
use crate::frontend::Security;
use connection::{Connection, Shutdown};
use failure::{Failure, Interrupt};
use socket::Socket;
use startup::Greeting;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info, warn};

/// A client has this long to say what it wants.
const STARTUP_TIMEOUT: Duration = Duration::from_secs(10);
/// Sockets beyond the connection limit that are still heard: cancel requests, and clients to be told 53300.
const EXTRA_SOCKETS: usize = 64;
/// After the drain deadline connections have this long to say goodbye.
const GOODBYE_TIMEOUT: Duration = Duration::from_secs(1);
/// Pause after a failed accept, which usually means that the process is out of file descriptors.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// Limits of the PostgreSQL door.
#[derive(Debug, Clone)]
pub struct PgOptions {
    /// Clients served at the same time; one more is refused with 53300.
    pub max_connections: usize,
    /// How long running statements may go on after a shutdown began.
    pub drain_timeout: Duration,
    /// Who may come in, and whether they must be encrypted.
    pub security: Security,
}

impl Default for PgOptions {
    fn default() -> Self {
        let security = Security::default();
        Self { max_connections: 100, drain_timeout: Duration::from_secs(30), security }
    }
}

/// Serves PostgreSQL clients until `shutdown` fires and their statements are done or out of time.
///
/// # Errors
/// Never once it runs: a failed accept is logged and tried again, a failed connection ends alone.
pub async fn serve(
    listener: TcpListener,
    coordinator: Arc<Coordinator>,
    options: PgOptions,
    shutdown: CancellationToken,
) -> Result<()> {
    let door = Door {
        coordinator,
        permits: Arc::new(Semaphore::new(options.max_connections)),
        shutdown: Shutdown { stop: shutdown, drained: CancellationToken::new() },
        security: options.security,
    };
    let mut connections = JoinSet::new();
    let max_sockets = options.max_connections.saturating_add(EXTRA_SOCKETS);
    loop {
        tokio::select! {
            biased;
            () = door.shutdown.stop.cancelled() => break,
            Some(ended) = connections.join_next() => log_end(ended),
            accepted = listener.accept(), if connections.len() < max_sockets => match accepted {
                Ok((stream, peer)) => {
                    debug!(%peer, "client connected");
                    connections.spawn(door.clone().serve_client(stream, peer));
                }
                Err(error) => {
                    warn!(%error, "accepting a connection failed");
                    tokio::time::sleep(ACCEPT_RETRY).await;
                }
            },
        }
    }
    drop(listener);
    drain(connections, &door.shutdown, options.drain_timeout).await;
    Ok(())
}

/// Waits for the connections; what is left at the deadline is cancelled, then dropped.
async fn drain(mut connections: JoinSet<()>, shutdown: &Shutdown, timeout: Duration) {
    if tokio::time::timeout(timeout, join_all(&mut connections)).await.is_ok() {
        return;
    }
    info!(n_connections = connections.len(), "drain deadline reached, ending statements");
    shutdown.drained.cancel();
    if tokio::time::timeout(GOODBYE_TIMEOUT, join_all(&mut connections)).await.is_err() {
        connections.shutdown().await;
    }
}

async fn join_all(connections: &mut JoinSet<()>) {
    while let Some(ended) = connections.join_next().await {
        log_end(ended);
    }
}

fn log_end(ended: std::result::Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        error!(%error, "a connection's task panicked");
    }
}

/// What every connection shares.
#[derive(Clone)]
struct Door {
    coordinator: Arc<Coordinator>,
    permits: Arc<Semaphore>,
    shutdown: Shutdown,
    security: Security,
}

impl Door {
    async fn serve_client(self, stream: TcpStream, peer: SocketAddr) {
        // Answers are written whole, so waiting to fill a packet would only delay them.
        if let Err(error) = stream.set_nodelay(true) {
            debug!(%error, "client is gone");
            return;
        }
        let mut socket = Socket::new(stream);
        let tls = self.security.tls.as_deref();
        let greeting = tokio::select! {
            () = self.shutdown.stop.cancelled() => return,
            greeting = tokio::time::timeout(
                STARTUP_TIMEOUT,
                startup::negotiate(&mut socket, &self.coordinator, tls),
            ) => greeting,
        };
        let startup = match greeting {
            Ok(Ok(Greeting::Startup(startup))) => startup,
            Ok(Err(Interrupt::Failed(failure))) => return refuse(socket, &failure).await,
            Ok(Ok(Greeting::Done) | Err(Interrupt::Gone(_))) | Err(_) => return,
        };
        let Ok(permit) = self.permits.try_acquire() else {
            warn!("connection refused: the limit is reached");
            return refuse(socket, &Failure::too_many_connections()).await;
        };
        let login = tokio::time::timeout(
            STARTUP_TIMEOUT,
            login::authenticate(&mut socket, &startup, &self.security),
        );
        let failure = match login.await {
            Ok(Ok(())) => None,
            Ok(Err(Interrupt::Failed(failure))) => Some(failure),
            Ok(Err(Interrupt::Gone(_))) | Err(_) => return,
        };
        if let Some(failure) = failure {
            drop(permit);
            return refuse(socket, &failure).await;
        }
        let opened = startup::open_session(&self.coordinator, &startup, peer).and_then(
            |(session, catalog)| {
                startup::configure(&session, &startup)?;
                Ok((session, catalog))
            },
        );
        let (session, catalog) = match opened {
            Ok(opened) => opened,
            Err(Interrupt::Failed(failure)) => {
                // A client that is told to go may come again at once.
                drop(permit);
                return refuse(socket, &failure).await;
            }
            Err(Interrupt::Gone(_)) => return,
        };
        match startup::greet(&mut socket, &startup, &session) {
            Ok(known_settings) => {
                let shutdown = self.shutdown.clone();
                Connection::new(socket, session, catalog, known_settings, shutdown).serve().await;
            }
            Err(error) => debug!(?error, "greeting a client failed"),
        }
    }
}

/// Tells a client why it is not served.
async fn refuse(mut socket: Socket, failure: &Failure) {
    if socket.put(&failure.to_error_response()).is_ok() {
        socket.close().await;
    }
}
