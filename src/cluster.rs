//! Connections between coordinator and workers, the same on both sides.
//!
//! datafusion-distributed's own resolver connects without a time limit and never notices a host that vanished;
//! [`Channels`] bounds the connect and keeps idle connections checked. Workers use it too, since they read each other's
//! exchanges.

use async_trait::async_trait;
use datafusion::common::{DataFusionError, exec_datafusion_err};
use datafusion_distributed::grpc::{BoxCloneSyncChannel, create_worker_client};
use datafusion_distributed::{ChannelResolver, GetWorkerInfoRequest, WorkerChannel};
use moka::future::Cache;
use std::sync::Arc;
use std::time::Duration;
use tonic::transport::Endpoint;
use url::Url;

/// Silence on a connection after which a ping is sent, and how long its answer may take: a host that vanished without
/// closing is noticed within the sum.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(2);
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(3);

/// Connections kept; far above any cluster, a bound on what changing addresses can fill.
const MAX_CHANNELS: u64 = 10_000;

/// Unused connections are closed after this time.
const IDLE_TIME: Duration = Duration::from_mins(5);

/// How long a worker may take to answer whether it lives.
const PROBE_TIME: Duration = Duration::from_secs(1);

/// Open connections by address.
#[derive(Clone)]
pub struct Channels {
    open: Cache<Url, BoxCloneSyncChannel>,
    connect_timeout: Duration,
}

impl Channels {
    /// Returns an empty set; a connect that takes longer than `connect_timeout` fails.
    pub fn new(connect_timeout: Duration) -> Self {
        let open = Cache::builder().max_capacity(MAX_CHANNELS).time_to_idle(IDLE_TIME).build();
        Self { open, connect_timeout }
    }

    /// Returns whether a worker answers. A broken connection is forgotten, so that the next use opens a new one.
    pub async fn is_alive(&self, url: &Url) -> bool {
        let ask = async {
            let mut client = self.get_worker_client_for_url(url).await?;
            client.get_worker_info(GetWorkerInfoRequest {}).await
        };
        let alive = matches!(tokio::time::timeout(PROBE_TIME, ask).await, Ok(Ok(_)));
        if !alive {
            self.open.invalidate(url).await;
        }
        alive
    }

    async fn connect(&self, url: &Url) -> Result<BoxCloneSyncChannel, DataFusionError> {
        let endpoint = Endpoint::from_shared(url.to_string())
            .map_err(|error| exec_datafusion_err!("worker address {url} is not valid: {error}"))?
            .connect_timeout(self.connect_timeout)
            .http2_keep_alive_interval(KEEP_ALIVE_INTERVAL)
            .keep_alive_timeout(KEEP_ALIVE_TIMEOUT)
            .keep_alive_while_idle(true)
            .tcp_nodelay(true);
        let channel = endpoint.connect().await.map_err(|error| {
            // The transport's own text says only "transport error"; its source says why.
            let cause = std::error::Error::source(&error).map(|source| format!(": {source}"));
            exec_datafusion_err!(
                "cannot connect to worker {url}: {error}{}",
                cause.unwrap_or_default()
            )
        })?;
        Ok(BoxCloneSyncChannel::new(channel))
    }
}

#[async_trait]
impl ChannelResolver for Channels {
    async fn get_worker_client_for_url(
        &self,
        url: &Url,
    ) -> Result<Box<dyn WorkerChannel>, DataFusionError> {
        let channel = self.open.try_get_with_by_ref(url, self.connect(url)).await;
        let channel =
            channel.map_err(|error: Arc<DataFusionError>| DataFusionError::Shared(error))?;
        Ok(create_worker_client(channel))
    }
}
