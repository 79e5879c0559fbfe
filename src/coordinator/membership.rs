//! Which workers live: they announce themselves over HTTP, and one that falls silent gets no more tasks.
//!
//! `worker::register` posts a [`Heartbeat`] twice a second to the coordinator's cluster address; `Session` pins
//! [`Members::live`] for each query. The listener runs on a thread of its own, so that heavy queries cannot delay it.

use super::Coordinator;
use crate::cluster::{CredentialRequest, Goodbye, Heartbeat, Welcome};
use crate::error::{Error, Result};
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};
use dashmap::DashMap;
use saltlake_catalog::Credentials;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};
use url::Url;
use uuid::Uuid;

/// Workers a coordinator takes; a bound on what a runaway announcer can fill.
const MAX_WORKERS: usize = 10_000;

/// A worker as the coordinator sees it.
#[derive(Debug, Clone)]
pub struct Member {
    /// What it said last.
    pub heartbeat: Heartbeat,
    /// When it said so.
    pub seen: Instant,
    /// Found unreachable since then.
    pub suspect: bool,
}

/// The workers of a cluster.
pub struct Members {
    workers: DashMap<Uuid, Member>,
    timeout: Duration,
}

impl Members {
    /// Returns an empty cluster whose workers are dead after `timeout` of silence.
    pub fn new(timeout: Duration) -> Self {
        Self { workers: DashMap::new(), timeout }
    }

    /// Takes a sign of life.
    pub fn hear(&self, heartbeat: Heartbeat) -> Welcome {
        let refuse = |reason: String| Welcome { accepted: false, reason: Some(reason) };
        if heartbeat.version != env!("CARGO_PKG_VERSION") {
            let ours = env!("CARGO_PKG_VERSION");
            return refuse(format!("worker is version {}, coordinator {ours}", heartbeat.version));
        }
        let known = self.workers.contains_key(&heartbeat.id);
        if !known && self.workers.len() >= MAX_WORKERS {
            return refuse(format!("the cluster has {MAX_WORKERS} workers already"));
        }
        if !known {
            info!(worker = %heartbeat.url, pid = heartbeat.pid, "worker joined");
            // A restarted worker may come back on its old address before the old start times out.
            self.workers.retain(|_, member| member.heartbeat.url != heartbeat.url);
        }
        let member = Member { heartbeat, seen: Instant::now(), suspect: false };
        self.workers.insert(member.heartbeat.id, member);
        self.forget_silent();
        Welcome { accepted: true, reason: None }
    }

    /// Forgets a worker that said goodbye.
    pub fn leave(&self, id: Uuid) {
        if let Some((_, member)) = self.workers.remove(&id) {
            info!(worker = %member.heartbeat.url, "worker left");
        }
    }

    /// Marks a worker as unreachable until it is heard again.
    pub fn suspect(&self, url: &Url) {
        for mut member in self.workers.iter_mut().filter(|member| member.heartbeat.url == *url) {
            if !member.suspect {
                warn!(worker = %url, "worker cannot be reached");
            }
            member.suspect = true;
        }
    }

    /// Returns the addresses of the workers that may get tasks, in a stable order.
    pub fn live(&self) -> Vec<Url> {
        let mut urls: Vec<_> = self
            .workers
            .iter()
            .filter(|member| self.is_live(member) && !member.heartbeat.draining)
            .map(|member| member.heartbeat.url.clone())
            .collect();
        urls.sort();
        urls
    }

    /// Returns the threads of all workers that take tasks.
    pub fn n_threads(&self) -> usize {
        let takes_tasks = |member: &Member| self.is_live(member) && !member.heartbeat.draining;
        let members = self.workers.iter().filter(|member| takes_tasks(member));
        members.map(|member| member.heartbeat.n_threads).sum::<usize>().max(1)
    }

    /// Returns the memory for operators of the worker that has least, of those that take tasks.
    pub fn least_memory_bytes(&self) -> u64 {
        let takes_tasks = |member: &Member| self.is_live(member) && !member.heartbeat.draining;
        let members = self.workers.iter().filter(|member| takes_tasks(member));
        members.map(|member| member.heartbeat.memory_limit_bytes).min().unwrap_or_default()
    }

    /// Returns all workers that were heard of lately, draining ones too, with whether they live.
    pub fn list(&self) -> Vec<(Member, &'static str)> {
        self.forget_silent();
        let mut list: Vec<_> = self
            .workers
            .iter()
            .map(|member| {
                let state = match (self.is_live(&member), member.heartbeat.draining) {
                    (false, _) => "lost",
                    (true, true) => "draining",
                    (true, false) => "active",
                };
                (member.value().clone(), state)
            })
            .collect();
        list.sort_by(|a, b| a.0.heartbeat.url.cmp(&b.0.heartbeat.url));
        list
    }

    /// Returns where a worker takes tasks; `None` for one that has not announced itself.
    pub fn url_of(&self, worker: Uuid) -> Option<Url> {
        self.workers.get(&worker).map(|member| member.heartbeat.url.clone())
    }

    fn is_live(&self, member: &Member) -> bool {
        !member.suspect && member.seen.elapsed() < self.timeout
    }

    /// Drops workers that were silent for ten time-outs.
    fn forget_silent(&self) {
        self.workers.retain(|_, member| member.seen.elapsed() < self.timeout * 10);
    }
}

/// Serves the cluster address on a thread of its own until `shutdown`.
///
/// # Errors
/// When the thread or its runtime cannot be started.
pub async fn serve(
    listener: TcpListener,
    coordinator: Arc<Coordinator>,
    shutdown: CancellationToken,
) -> Result<()> {
    let io = |action: &str| {
        let action = action.to_string();
        move |source| Error::Io { action, source }
    };
    let listener = listener.into_std().map_err(io("cannot use the cluster listener"))?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(io("cannot start the cluster listener"))?;
    let stop = shutdown.clone();
    let run = move || {
        let served = runtime.block_on(async {
            let listener = TcpListener::from_std(listener)?;
            axum::serve(listener, routes(coordinator))
                .with_graceful_shutdown(stop.cancelled_owned())
                .await
        });
        if let Err(error) = served {
            tracing::error!(%error, "cluster listener ended");
        }
    };
    std::thread::Builder::new()
        .name("cluster".to_string())
        .spawn(run)
        .map_err(io("cannot start the cluster listener"))?;
    shutdown.cancelled().await;
    Ok(())
}

fn routes(coordinator: Arc<Coordinator>) -> Router {
    Router::new()
        .route("/health", get(|| async { "ok\n" }))
        .route("/v1/workers", post(heard))
        .route("/v1/workers/leave", post(left))
        .route("/v1/credentials", post(credentials))
        .with_state(coordinator)
}

async fn heard(
    State(coordinator): State<Arc<Coordinator>>,
    Json(heartbeat): Json<Heartbeat>,
) -> Json<Welcome> {
    Json(coordinator.members().hear(heartbeat))
}

async fn left(State(coordinator): State<Arc<Coordinator>>, Json(goodbye): Json<Goodbye>) {
    coordinator.members().leave(goodbye.id);
}

/// Answers a worker whose credentials for a store are about to end. Only one that has announced itself is answered: it
/// was sent such credentials with its tasks.
async fn credentials(
    State(coordinator): State<Arc<Coordinator>>,
    Json(request): Json<CredentialRequest>,
) -> Result<Json<Option<Credentials>>, StatusCode> {
    let Some(worker) = coordinator.members().url_of(request.worker) else {
        return Err(StatusCode::FORBIDDEN);
    };
    match coordinator.lake().credentials(&request.store).await {
        Ok(credentials) => {
            let is_known = credentials.is_some();
            info!(%worker, store = request.store, is_known, "worker asked for credentials");
            Ok(Json(credentials))
        }
        Err(error) => {
            warn!(%worker, store = request.store, %error, "credentials were not renewed");
            Err(StatusCode::BAD_GATEWAY)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heartbeat(port: u16) -> Heartbeat {
        Heartbeat {
            id: Uuid::now_v7(),
            url: Url::parse(&format!("http://127.0.0.1:{port}")).unwrap(),
            version: env!("CARGO_PKG_VERSION").to_string(),
            pid: 1,
            n_threads: 1,
            memory_limit_bytes: 1,
            memory_reserved_bytes: 0,
            n_tasks: 0,
            draining: false,
        }
    }

    #[test]
    fn a_draining_or_suspect_worker_gets_no_tasks() {
        let members = Members::new(Duration::from_secs(60));
        let (a, mut b) = (heartbeat(1), heartbeat(2));
        members.hear(a.clone());
        members.hear(b.clone());
        assert_eq!(members.live().len(), 2);
        b.draining = true;
        members.hear(b.clone());
        assert_eq!(members.live(), std::slice::from_ref(&a.url));
        members.suspect(&a.url);
        assert!(members.live().is_empty());
        members.hear(a.clone());
        assert_eq!(members.live(), [a.url]);
    }

    #[test]
    fn a_silent_worker_is_dead() {
        let members = Members::new(Duration::ZERO);
        members.hear(heartbeat(1));
        assert!(members.live().is_empty());
    }

    #[test]
    fn a_restarted_worker_replaces_itself() {
        let members = Members::new(Duration::from_secs(60));
        members.hear(heartbeat(1));
        members.hear(heartbeat(1));
        assert_eq!(members.list().len(), 1);
    }

    #[test]
    fn another_version_is_refused() {
        let members = Members::new(Duration::from_secs(60));
        let mut other = heartbeat(1);
        other.version = "0.0.0-other".to_string();
        assert!(!members.hear(other).accepted);
        assert!(members.live().is_empty());
    }
}
