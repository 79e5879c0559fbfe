//! The role that runs tasks for a coordinator. It keeps nothing between tasks but caches.
//!
//! [`run`] serves datafusion-distributed's worker service, announces itself ([`register`]), asks the coordinator for
//! [`credentials`] that end, and counts its open task streams ([`in_flight`]), so that a drain can wait for them. [`sweep`] frees what ended tasks hold.

mod credentials;
mod in_flight;
mod register;
mod sweep;

use crate::cluster::Channels;
use crate::config::Config;
use crate::engine;
use crate::error::{Error, Result};
use datafusion::common::runtime::SpawnedTask;
use datafusion::error::DataFusionError;
use datafusion::execution::SessionState;
use datafusion::execution::runtime_env::RuntimeEnv;
use datafusion_distributed::{
    DistributedExt, Worker, WorkerPlanRewriteEvent, WorkerPlanRewriteEventResponse,
    WorkerQueryContext,
};
use in_flight::{InFlight, InFlightLayer};
use register::{Announcement, Registration};
use saltlake_catalog::{ScanCodec, with_counted_reads};
use saltlake_sql::codec::Codec;
use saltlake_sql::settings::SaltlakeOptions;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::Server;
use tracing::{info, warn};
use url::Url;
use uuid::Uuid;

/// How long a draining worker keeps serving after its last stream closed: consumers of a running query connect late.
const QUIET_TIME: Duration = Duration::from_millis(500);

/// Silence on a connection after which a ping is sent, and how long its answer may take.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(5);
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(5);

/// Runs a worker until `shutdown`, then drains: no new queries, running tasks finish.
///
/// `on_ready` is called once the coordinator has accepted it.
///
/// # Errors
/// When the coordinator's address is not valid, the coordinator refuses this version, or serving fails.
pub async fn run(
    config: Config,
    listener: TcpListener,
    on_ready: impl FnOnce() -> Result<()> + Send,
    shutdown: CancellationToken,
) -> Result<()> {
    let settings = &config.worker;
    let address = listener.local_addr().map_err(|source| Error::Io {
        action: "cannot read the worker's own address".to_string(),
        source,
    })?;
    let coordinator = parse_url("worker.coordinator", &settings.coordinator)?;
    let url = match settings.advertise.as_str() {
        "" => reachable_url(address, &coordinator)?,
        url => parse_url("worker.advertise", url)?,
    };
    let memory_limit_bytes = settings.memory_limit_bytes();
    let runtime = engine::runtime(&config.storage, memory_limit_bytes, &settings.spill_dir)?;
    let in_flight = InFlight::default();
    let id = Uuid::now_v7();
    let source = credentials::Coordinator::new(&coordinator, id);
    let registration = Registration::start(Announcement {
        id,
        coordinator,
        url: url.clone(),
        interval: *settings.heartbeat_interval,
        n_threads: settings.thread_count(),
        memory_limit_bytes: memory_limit_bytes as u64,
        runtime: Arc::clone(&runtime),
        in_flight: in_flight.clone(),
    })?;
    let stop = CancellationToken::new();
    let connect_timeout = *config.coordinator.worker_connect_timeout;
    // One for all tasks: it keeps what was read from delete files.
    let scans = ScanCodec::for_worker(&engine::store_options(&config.storage), Arc::new(source));
    let service = service(runtime, Channels::new(connect_timeout), scans);
    let _sweep = SpawnedTask::spawn(sweep::sweep(service.clone()));
    let mut server = SpawnedTask::spawn(serve(listener, service, in_flight.clone(), stop.clone()));
    tokio::select! {
        accepted = registration.accepted() => accepted?,
        () = shutdown.cancelled() => {}
        ended = &mut server => return ended.map_err(|error| Error::Internal { message: error.to_string() })?,
    }
    on_ready()?;
    info!(%url, "worker ready");
    tokio::select! {
        () = shutdown.cancelled() => {}
        ended = &mut server => return ended.map_err(|error| Error::Internal { message: error.to_string() })?,
    }
    registration.drain();
    info!(n_tasks = in_flight.count(), "worker draining");
    if !in_flight.wait_quiet(QUIET_TIME, *settings.drain_timeout).await {
        warn!(n_tasks = in_flight.count(), "drain time is over, running tasks are ended");
    }
    registration.leave().await;
    stop.cancel();
    Ok(())
}

/// Builds the service that runs tasks.
fn service(runtime: Arc<RuntimeEnv>, channels: Channels, scans: ScanCodec) -> Worker {
    let of_tasks = Arc::clone(&runtime);
    let build = move |context: WorkerQueryContext| {
        let (channels, scans) = (channels.clone(), scans.clone());
        let runtime = Arc::clone(&of_tasks);
        async move { session_state(context, channels, scans, runtime) }
    };
    Worker::from_session_builder(build)
        .with_runtime_env(runtime)
        .with_version(env!("CARGO_PKG_VERSION"))
}

/// Builds the state of one task. DataFusion's own options do not travel with a query, so those that matter to a task
/// come in ours.
fn session_state(
    mut context: WorkerQueryContext,
    channels: Channels,
    scans: ScanCodec,
    runtime: Arc<RuntimeEnv>,
) -> Result<SessionState, DataFusionError> {
    let mut config = context.builder.config().take().unwrap_or_default();
    config.set_distributed_option_extension_from_headers::<SaltlakeOptions>(&context.headers)?;
    engine::apply_task_options(&mut config);
    config.set_distributed_channel_resolver(channels);
    config.set_distributed_user_codec(Codec);
    config.set_distributed_user_codec(scans);
    // Readers of files do not travel with a plan.
    config.set_distributed_worker_plan_rewrite_handler(move |event: WorkerPlanRewriteEvent<'_>| {
        with_counted_reads(event.plan, &runtime).map(WorkerPlanRewriteEventResponse::new)
    });
    let mut state = context.builder.with_config(config).build();
    engine::register_functions(&mut state)?;
    Ok(state)
}

async fn serve(
    listener: TcpListener,
    worker: Worker,
    in_flight: InFlight,
    stop: CancellationToken,
) -> Result<()> {
    Server::builder()
        .tcp_nodelay(true)
        .http2_keepalive_interval(Some(KEEP_ALIVE_INTERVAL))
        .http2_keepalive_timeout(Some(KEEP_ALIVE_TIMEOUT))
        .layer(InFlightLayer(in_flight))
        .add_service(worker.into_worker_server())
        .serve_with_incoming_shutdown(TcpListenerStream::new(listener), stop.cancelled_owned())
        .await
        .map_err(|error| Error::Io {
            action: "the worker's listener failed".to_string(),
            source: std::io::Error::other(error),
        })
}

/// Returns the URL others reach this worker under. A worker that listens on every interface advertises the one that
/// leads to its coordinator.
fn reachable_url(mut address: SocketAddr, coordinator: &Url) -> Result<Url> {
    if address.ip().is_unspecified() {
        let route = || {
            let any: IpAddr = match address {
                SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
                SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
            };
            let socket = UdpSocket::bind((any, 0))?;
            // Connecting a UDP socket sends nothing; it asks the system which interface it would use.
            socket.connect(&*coordinator.socket_addrs(|| None)?)?;
            socket.local_addr()
        };
        let local = route().map_err(|source| Error::Io {
            action: format!(
                "cannot find the interface that leads to {coordinator}; set worker.advertise"
            ),
            source,
        })?;
        address.set_ip(local.ip());
    }
    parse_url("worker.listen", &format!("http://{address}"))
}

fn parse_url(key: &str, text: &str) -> Result<Url> {
    Url::parse(text).ok().filter(Url::has_host).ok_or_else(|| Error::Config {
        message: format!("{key} is not a URL: \"{text}\""),
        hint: Some("write it as http://host:port".to_string()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_on_every_interface_advertises_the_one_to_its_coordinator() {
        let coordinator = Url::parse("http://127.0.0.1:5436").unwrap();
        let url = reachable_url("0.0.0.0:7000".parse().unwrap(), &coordinator).unwrap();
        assert_eq!(url.as_str(), "http://127.0.0.1:7000/");
        let url = reachable_url("10.1.2.3:7000".parse().unwrap(), &coordinator).unwrap();
        assert_eq!(url.as_str(), "http://10.1.2.3:7000/");
    }
}
