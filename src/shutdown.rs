//! Signals: the first asks the process to drain, the second ends it at once.
//!
//! Called once by `serve`. Everything that accepts work holds the token and stops accepting when it fires.

use crate::error::{Error, Result};
use datafusion::common::runtime::SpawnedTask;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

/// Exit code after a second signal: what a shell reports for a program ended by SIGINT.
const EXIT_INTERRUPTED: i32 = 130;

/// Listens for SIGTERM and SIGINT for as long as it lives.
pub struct Signals {
    token: CancellationToken,
    _listener: SpawnedTask<()>,
}

impl Signals {
    /// Starts to listen; needs a running tokio runtime.
    ///
    /// # Errors
    /// When the process may not handle signals.
    pub fn listen() -> Result<Self> {
        let terminate = open(SignalKind::terminate())?;
        let interrupt = open(SignalKind::interrupt())?;
        let token = CancellationToken::new();
        let listener = SpawnedTask::spawn(watch(terminate, interrupt, token.clone()));
        Ok(Self { token, _listener: listener })
    }

    /// Returns the token that fires at the first signal.
    pub fn token(&self) -> CancellationToken {
        self.token.clone()
    }
}

fn open(kind: SignalKind) -> Result<Signal> {
    signal(kind)
        .map_err(|source| Error::Io { action: "cannot listen for signals".to_string(), source })
}

async fn watch(mut terminate: Signal, mut interrupt: Signal, token: CancellationToken) {
    let name = next(&mut terminate, &mut interrupt).await;
    info!(signal = name, "draining; a second signal ends at once");
    token.cancel();
    let name = next(&mut terminate, &mut interrupt).await;
    warn!(signal = name, "ending at once");
    std::process::exit(EXIT_INTERRUPTED);
}

async fn next(terminate: &mut Signal, interrupt: &mut Signal) -> &'static str {
    tokio::select! {
        _ = terminate.recv() => "SIGTERM",
        _ = interrupt.recv() => "SIGINT",
    }
}
