//! Every `SET saltlake.*` option, declared once.
//!
//! The struct is a DataFusion `ConfigExtension`, so an option is read by the planner, set by a session, and travels
//! to the workers with the query. PostgreSQL's own settings (`TimeZone`, `search_path`, …) live in the session.

use crate::skew::hint::SkewHint;
use datafusion::common::extensions_options;
use datafusion::config::ConfigExtension;
use std::fmt::{self, Display};
use std::str::FromStr;

/// Where a query's plan may run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Distribution {
    /// On the workers when it scans enough bytes to pay for it.
    #[default]
    Auto,
    /// On the workers whenever the plan can be cut into stages.
    Always,
    /// On the coordinator.
    Never,
}

impl FromStr for Distribution {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.to_ascii_lowercase().as_str() {
            "auto" => Ok(Self::Auto),
            "always" => Ok(Self::Always),
            "never" => Ok(Self::Never),
            _ => Err(format!("\"{text}\" is not one of auto, always, never")),
        }
    }
}

impl Display for Distribution {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Auto => "auto",
            Self::Always => "always",
            Self::Never => "never",
        })
    }
}

/// How batches are compressed between processes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ExchangeCompression {
    /// Not at all when every process is on this host, where it only costs; LZ4 otherwise.
    #[default]
    Auto,
    /// Not at all.
    None,
    /// LZ4: fast, for networks up to some 10 Gbit/s.
    Lz4,
    /// Zstandard: half the bytes, several times the processor time.
    Zstd,
}

impl FromStr for ExchangeCompression {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.to_ascii_lowercase().as_str() {
            "auto" => Ok(Self::Auto),
            "none" => Ok(Self::None),
            "lz4" => Ok(Self::Lz4),
            "zstd" => Ok(Self::Zstd),
            _ => Err(format!("\"{text}\" is not one of auto, none, lz4, zstd")),
        }
    }
}

impl Display for ExchangeCompression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Auto => "auto",
            Self::None => "none",
            Self::Lz4 => "lz4",
            Self::Zstd => "zstd",
        })
    }
}

/// Whether joins over heavy keys are salted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Skew {
    /// Where it is predicted to pay.
    Auto,
    /// Never; keys are not looked at.
    #[default]
    Off,
    /// Wherever it is right; for tests.
    Force,
}

impl FromStr for Skew {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.to_ascii_lowercase().as_str() {
            "auto" => Ok(Self::Auto),
            "off" => Ok(Self::Off),
            "force" => Ok(Self::Force),
            _ => Err(format!("\"{text}\" is not one of auto, off, force")),
        }
    }
}

impl Display for Skew {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Auto => "auto",
            Self::Off => "off",
            Self::Force => "force",
        })
    }
}

/// How many endpoints a Flight SQL result is announced with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FlightEndpoints(pub u16);

impl FlightEndpoints {
    /// A client opens a stream for each, at once if it likes.
    const MAX: u16 = 64;
}

impl Default for FlightEndpoints {
    fn default() -> Self {
        // There are clients that read the first endpoint and no other.
        Self(1)
    }
}

impl FromStr for FlightEndpoints {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.trim().parse::<u16>() {
            Ok(n @ 1..=Self::MAX) => Ok(Self(n)),
            _ => Err(format!("\"{text}\" is not a whole number from 1 to {}", Self::MAX)),
        }
    }
}

impl Display for FlightEndpoints {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Lets a type that reads and writes itself as text be an option.
macro_rules! text_option {
    ($($name:ty),+) => { $(
        impl datafusion::config::ConfigField for $name {
            fn visit<V: datafusion::config::Visit>(&self, v: &mut V, key: &str, doc: &'static str) {
                v.some(key, self, doc);
            }

            fn set(&mut self, _: &str, value: &str) -> datafusion::common::Result<()> {
                *self = value.parse().map_err(datafusion::common::DataFusionError::Configuration)?;
                Ok(())
            }
        }
    )+ };
}

text_option!(Distribution, ExchangeCompression, Skew, FlightEndpoints);

extensions_options! {
    /// Options of one session, `saltlake.*`.
    pub struct SaltlakeOptions {
        /// Where plans run: `auto` (workers when the scan is at least `distribution_min_bytes` and they are predicted to be faster), `always`, or `never`.
        pub distribution: Distribution, default = Distribution::Auto
        /// Bytes of columns a query must read before `auto` sends it to the workers.
        pub distribution_min_bytes: usize, default = 64 * 1024 * 1024
        /// Bytes each partition of a task should scan; lower means more tasks.
        pub bytes_per_partition: usize, default = 16 * 1024 * 1024
        /// How batches are compressed between processes: `auto` (`none` on one host, `lz4` otherwise), `none`, `lz4`, `zstd`.
        pub exchange_compression: ExchangeCompression, default = ExchangeCompression::Auto
        /// Optimizer passes to skip, by name, separated by commas; for finding a pass that does harm.
        pub disabled_passes: String, default = String::new()
        /// Bytes in memory of a build side up to which it may be sent to every task of a join.
        pub broadcast_max_bytes: usize, default = 64 * 1024 * 1024
        /// Seconds EXPLAIN ANALYZE waits for the metrics of workers after the last row.
        pub metrics_timeout_seconds: usize, default = 5
        /// Time zone of the session as the workers see it; follows `SET TIME ZONE`.
        pub time_zone: String, default = "UTC".to_string()
        /// Rows per batch inside a task.
        pub batch_size: usize, default = 8192
        /// Endpoints a Flight SQL result is announced with when nothing orders it, 1 to 64; clients read them side by side.
        pub flight_endpoints: FlightEndpoints, default = FlightEndpoints::default()
        /// Whether joins over heavy keys are salted: `auto` (where it is predicted to pay), `off`, or `force`.
        pub skew: Skew, default = Skew::Auto
        /// Values known to be heavy: `orders.customer_id = (17, 42); country = ('DE')`.
        pub skew_hint: SkewHint, default = SkewHint::default()
        /// Rows the larger input of a join must have before `auto` looks at its keys.
        pub skew_min_rows: usize, default = 4_000_000
        /// Milliseconds of the slowest partition that salting must be predicted to save.
        pub skew_min_saving_ms: usize, default = 100
        /// Rows that the copies of one salted join may add.
        pub skew_max_replicated_rows: usize, default = 5_000_000
        /// Rows sampled of each input of a join.
        pub skew_sample_rows: usize, default = 65_536
        /// Milliseconds that all samples of a query may take.
        pub skew_sample_ms: usize, default = 300
    }
}

impl ConfigExtension for SaltlakeOptions {
    const PREFIX: &'static str = "saltlake";
}
