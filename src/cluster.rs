//! What coordinator and workers share: the messages a worker announces itself with, and connections.
//!
//! datafusion-distributed's own resolver connects without a time limit and never notices a host that vanished;
//! [`Channels`] bounds the connect and keeps idle connections checked. Workers use it too, since they read each other's
//! exchanges.

use async_trait::async_trait;
use datafusion::common::{DataFusionError, exec_datafusion_err};
use datafusion_distributed::grpc::{BoxCloneSyncChannel, create_worker_client};
use datafusion_distributed::{ChannelResolver, GetWorkerInfoRequest, WorkerChannel};
use moka::future::Cache;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::Duration;
use tonic::transport::Endpoint;
use url::Url;
use uuid::Uuid;

/// Silence on a connection after which a ping is sent, and how long its answer may take: a host that vanished without
/// closing is noticed within the sum.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(2);
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(6);

/// Bytes a producer may send on one exchange, and on all exchanges of a connection, before the consumer has read them.
/// HTTP/2's default of 64 KiB is less than one batch: every batch would wait for a round trip.
pub(crate) const EXCHANGE_WINDOW_BYTES: u32 = 4 << 20;
pub(crate) const CONNECTION_WINDOW_BYTES: u32 = 16 << 20;

/// Connections kept; far above any cluster, a bound on what changing addresses can fill.
const MAX_CHANNELS: u64 = 10_000;

/// Unused connections are closed after this time.
const IDLE_TIME: Duration = Duration::from_mins(5);

/// How long a worker may take to answer whether it lives.
const PROBE_TIME: Duration = Duration::from_secs(1);

/// What a worker says of itself.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Heartbeat {
    /// This start of the worker; a restarted one has a new id.
    #[serde(with = "as_text")]
    pub id: Uuid,
    /// Where it takes tasks.
    #[serde(with = "as_text")]
    pub url: Url,
    /// Saltlake's version; only equal ones work together.
    pub version: String,
    /// Process id.
    pub pid: u32,
    /// Threads that run tasks.
    pub n_threads: usize,
    /// Memory its tasks may reserve, in bytes.
    pub memory_limit_bytes: u64,
    /// Memory reserved now, in bytes.
    pub memory_reserved_bytes: u64,
    /// Task streams open now.
    pub n_tasks: usize,
    /// Finishes what it has and takes nothing new.
    pub draining: bool,
}

/// What a worker says when it leaves.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Goodbye {
    /// The start of the worker that ends.
    #[serde(with = "as_text")]
    pub id: Uuid,
}

/// Which credentials a worker asks for.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct CredentialRequest {
    /// The start of the worker that asks.
    #[serde(with = "as_text")]
    pub worker: Uuid,
    /// The store's URL, as it came with a scan.
    pub store: String,
}

/// What the coordinator answers.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Welcome {
    /// Whether the worker will get tasks.
    pub accepted: bool,
    /// Why not.
    pub reason: Option<String>,
}

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
            .initial_stream_window_size(EXCHANGE_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
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

/// Writes a value as its text. The serde features of `uuid` and `url` would say the same, and recompile half the tree.
mod as_text {
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};
    use std::fmt::Display;
    use std::str::FromStr;

    pub(super) fn serialize<S: Serializer>(
        value: &impl Display,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_str(value)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>, T: FromStr<Err: Display>>(
        deserializer: D,
    ) -> Result<T, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}
