//! Announces a worker to its coordinator and keeps saying that it lives.
//!
//! Runs on a thread of its own with its own small runtime, so that tasks that use every core cannot delay a sign of
//! life and make the worker look dead.

use super::in_flight::InFlight;
use crate::cluster::{Goodbye, Heartbeat, Welcome};
use crate::error::{Error, Result};
use datafusion::execution::runtime_env::RuntimeEnv;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::watch;
use tracing::{info, warn};
use url::Url;
use uuid::Uuid;

/// Time a coordinator gets to answer.
const ANSWER_TIME: Duration = Duration::from_secs(2);

/// What to announce, and where.
pub(super) struct Announcement {
    /// This start of the worker.
    pub id: Uuid,
    /// The coordinator's cluster address.
    pub coordinator: Url,
    /// Where this worker takes tasks.
    pub url: Url,
    /// Time between two signs of life.
    pub interval: Duration,
    /// Threads that run tasks.
    pub n_threads: usize,
    /// Memory tasks may reserve, in bytes.
    pub memory_limit_bytes: u64,
    /// Whose memory pool is reported.
    pub runtime: Arc<RuntimeEnv>,
    /// Whose streams are reported.
    pub in_flight: InFlight,
}

/// What the coordinator has said so far.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Standing {
    Unknown,
    Accepted,
    Refused(String),
}

/// A running announcement; ends when it is dropped.
pub(super) struct Registration {
    standing: watch::Receiver<Standing>,
    draining: Arc<AtomicBool>,
    leave: watch::Sender<bool>,
    left: watch::Receiver<bool>,
}

impl Registration {
    /// Starts to announce.
    ///
    /// # Errors
    /// When the thread cannot be started.
    pub(super) fn start(announcement: Announcement) -> Result<Self> {
        let (standing_sender, standing) = watch::channel(Standing::Unknown);
        let (leave, leave_asked) = watch::channel(false);
        let (left_sender, left) = watch::channel(false);
        let draining = Arc::new(AtomicBool::new(false));
        let announcer =
            Announcer { announcement, draining: Arc::clone(&draining), standing: standing_sender };
        let failed = |source| Error::Io {
            action: "cannot start the worker's announcement".to_string(),
            source,
        };
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
        std::thread::Builder::new()
            .name("announce".to_string())
            .spawn(move || {
                runtime.block_on(announcer.run(leave_asked));
                left_sender.send_replace(true);
            })
            .map_err(failed)?;
        Ok(Self { standing, draining, leave, left })
    }

    /// Waits until the coordinator has answered.
    ///
    /// # Errors
    /// When it refuses this worker.
    pub(super) async fn accepted(&self) -> Result<()> {
        let mut standing = self.standing.clone();
        let answer = standing.wait_for(|standing| *standing != Standing::Unknown).await;
        match answer.map(|standing| standing.clone()) {
            Ok(Standing::Refused(reason)) => Err(Error::Config {
                message: format!("the coordinator refused this worker: {reason}"),
                hint: None,
            }),
            _ => Ok(()),
        }
    }

    /// Says from now on that this worker takes nothing new.
    pub(super) fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    /// Says goodbye, at most for the time the coordinator gets to answer.
    pub(super) async fn leave(self) {
        self.leave.send_replace(true);
        let mut left = self.left.clone();
        // When the thread is gone there is nobody left to say goodbye.
        let _ = tokio::time::timeout(ANSWER_TIME * 2, left.wait_for(|left| *left)).await;
    }
}

struct Announcer {
    announcement: Announcement,
    draining: Arc<AtomicBool>,
    standing: watch::Sender<Standing>,
}

impl Announcer {
    async fn run(self, mut leave: watch::Receiver<bool>) {
        let client = reqwest::Client::builder().timeout(ANSWER_TIME).no_proxy().build();
        let client = match client {
            Ok(client) => client,
            Err(error) => {
                tracing::error!(%error, "cannot announce this worker");
                return;
            }
        };
        let mut ticks = tokio::time::interval(self.announcement.interval);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut reachable = true;
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                asked = leave.changed() => {
                    if asked.is_ok() {
                        self.say_goodbye(&client).await;
                    }
                    return;
                }
            }
            match self.say(&client).await {
                Ok(welcome) => {
                    if !reachable {
                        info!(coordinator = %self.announcement.coordinator, "coordinator is back");
                    }
                    reachable = true;
                    self.note(welcome);
                }
                Err(error) if reachable => {
                    let coordinator = &self.announcement.coordinator;
                    warn!(%coordinator, %error, "coordinator cannot be reached, trying on");
                    reachable = false;
                }
                Err(_) => {}
            }
        }
    }

    async fn say(&self, client: &reqwest::Client) -> Result<Welcome, reqwest::Error> {
        let url = self.endpoint("/v1/workers");
        client.post(url).json(&self.heartbeat()).send().await?.error_for_status()?.json().await
    }

    async fn say_goodbye(&self, client: &reqwest::Client) {
        let url = self.endpoint("/v1/workers/leave");
        // A coordinator that cannot be told notices the silence.
        let _ = client.post(url).json(&Goodbye { id: self.announcement.id }).send().await;
    }

    fn endpoint(&self, path: &str) -> Url {
        let mut url = self.announcement.coordinator.clone();
        url.set_path(path);
        url
    }

    fn heartbeat(&self) -> Heartbeat {
        let announcement = &self.announcement;
        Heartbeat {
            id: announcement.id,
            url: announcement.url.clone(),
            version: env!("CARGO_PKG_VERSION").to_string(),
            pid: std::process::id(),
            n_threads: announcement.n_threads,
            memory_limit_bytes: announcement.memory_limit_bytes,
            memory_reserved_bytes: announcement.runtime.memory_pool.reserved() as u64,
            n_tasks: announcement.in_flight.count(),
            draining: self.draining.load(Ordering::Relaxed),
        }
    }

    fn note(&self, welcome: Welcome) {
        let standing = match welcome {
            Welcome { accepted: true, .. } => Standing::Accepted,
            Welcome { reason, .. } => Standing::Refused(reason.unwrap_or_default()),
        };
        self.standing.send_if_modified(|known| {
            let changed = *known != standing;
            *known = standing;
            changed
        });
    }
}
