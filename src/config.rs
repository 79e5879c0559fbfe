//! The configuration tree: every key of `saltlake.toml`, with its default and its meaning.
//!
//! Loaded once by `main` (see [`mod@load`]) and passed down; nothing else reads files or the environment.
//! The doc comment of a field is its text in `docs/config.md` (see [`mod@reference`]): `section!` keeps both
//! from one source. Layers, later ones win: defaults, `saltlake.toml`, `SALTLAKE_…` variables, flags.

pub mod catalogs;
pub mod load;
pub mod machine;
pub mod reference;
pub mod values;

pub use catalogs::Catalogs;
pub use load::{Loaded, Overrides, load};
pub use values::{ByteSize, Duration, ListenAddress, Secret, SessionSettings};

use reference::{Describe, Entry};
use serde::{Deserialize, Serialize};

/// Declares a section: the struct, its defaults, and its entries in the reference.
macro_rules! section {
    (
        $(#[doc = $section_doc:literal])*
        pub struct $name:ident {
            $( $(#[doc = $doc:literal])* pub $field:ident : $type:ty = $default:expr, )*
        }
    ) => {
        $(#[doc = $section_doc])*
        #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
        #[serde(default, deny_unknown_fields)]
        pub struct $name {
            $( $(#[doc = $doc])* pub $field: $type, )*
        }

        impl Default for $name {
            fn default() -> Self {
                Self { $( $field: $default, )* }
            }
        }

        impl Describe for $name {
            fn describe(&self, path: &str, _doc: &[&'static str], out: &mut Vec<Entry>) {
                out.push(Entry::section(path, &[$($section_doc),*]));
                $(
                    self.$field.describe(
                        &reference::join(path, stringify!($field)),
                        &[$($doc),*],
                        out,
                    );
                )*
            }
        }
    };
}

section! {
    /// Everything the server can be told at start.
    pub struct Config {
        /// The lake.
        pub lake: Lake = Lake::default(),
        /// Object stores.
        pub storage: Storage = Storage::default(),
        /// The doors clients come through.
        pub frontend: Frontend = Frontend::default(),
        /// The coordinator.
        pub coordinator: Coordinator = Coordinator::default(),
        /// The worker.
        pub worker: Worker = Worker::default(),
        /// The process.
        pub process: Process = Process::default(),
        /// Logs.
        pub telemetry: Telemetry = Telemetry::default(),
        /// Iceberg catalogs beside the lake, a section for each: `[catalogs.ice]` with `type` (`iceberg-sql` or
        /// `iceberg-rest`), `uri`, `warehouse` and what else the type takes, serves the catalog `ice`; see
        /// [catalogs.md](catalogs.md). Each key has a variable of its own, such as `SALTLAKE_CATALOGS__ICE__TOKEN`.
        pub catalogs: Catalogs = Catalogs::default(),
        /// Start values of session settings, by name: `[session] skew_ratio = 4` gives every new session what
        /// `SET saltlake.skew_ratio = 4` would.
        pub session: SessionSettings = SessionSettings::default(),
    }
}

section! {
    /// Where the tables are.
    pub struct Lake {
        /// Folder or URL (`s3://bucket/prefix`) whose folders and files are the tables. A local folder that does not
        /// exist is made. Flag `--lake`.
        pub root: String = "./lake".into(),
        /// Further folders and URLs that `CREATE EXTERNAL TABLE … LOCATION` and `COPY … TO` may name.
        /// The lake's root is always allowed; everything else is refused.
        pub allowed_roots: Vec<String> = Vec::new(),
    }
}

section! {
    /// How object stores are reached.
    pub struct Storage {
        /// S3 and compatible stores.
        pub s3: S3 = S3::default(),
    }
}

section! {
    /// Access to S3 and stores that speak its protocol. Empty fields are taken from the usual `AWS_…` variables.
    pub struct S3 {
        /// URL of the service, such as `http://127.0.0.1:8333`; empty means AWS.
        pub endpoint: String = String::new(),
        /// Region of the buckets.
        pub region: String = String::new(),
        /// Access key.
        pub access_key_id: String = String::new(),
        /// Secret key; printed as `***`.
        pub secret_access_key: Secret = Secret::default(),
        /// Token of temporary credentials; printed as `***`.
        pub session_token: Secret = Secret::default(),
        /// Accept `http://` endpoints, which send data and signatures in the clear.
        pub allow_http: bool = false,
        /// Address buckets as `bucket.host` rather than `host/bucket`.
        pub virtual_hosted: bool = false,
    }
}

section! {
    /// The doors clients come through.
    pub struct Frontend {
        /// Who may come in.
        pub auth: Auth = Auth::default(),
        /// Encryption.
        pub tls: Tls = Tls::default(),
        /// PostgreSQL protocol.
        pub pg: Pg = Pg::default(),
        /// Arrow Flight SQL.
        pub flight: Flight = Flight::default(),
        /// HTTP.
        pub http: Http = Http::default(),
    }
}

section! {
    /// Who may come in, through every door. Without a users file everyone may, and the doors listen on this machine only.
    pub struct Auth {
        /// File with a line for each user, as `saltlake password NAME` prints it and PostgreSQL keeps it in `pg_authid`:
        /// `name:SCRAM-SHA-256$…`. Read at start; empty means no passwords.
        pub users_file: String = String::new(),
        /// Listen beyond this machine although there are no passwords, where whoever can connect may read the lake.
        pub open_to_all: bool = false,
    }
}

section! {
    /// Encryption of every door. With a certificate nothing is served in clear text.
    pub struct Tls {
        /// File with the certificate chain, PEM; empty means no encryption.
        pub certificate: String = String::new(),
        /// File with the certificate's private key, PEM.
        pub key: String = String::new(),
    }
}

section! {
    /// The PostgreSQL protocol, for psql and every PostgreSQL driver.
    pub struct Pg {
        /// Address to listen on; port 0 takes a free one. Flag `--pg`.
        pub listen: ListenAddress = loopback(5433),
        /// Connections at a time; one more is refused with 53300.
        pub max_connections: usize = 200,
    }
}

section! {
    /// Arrow Flight SQL, for ADBC and JDBC drivers: columnar results.
    pub struct Flight {
        /// Address to listen on; port 0 takes a free one. Flag `--flight`.
        pub listen: ListenAddress = loopback(5434),
    }
}

section! {
    /// HTTP: health, readiness, metrics, running queries.
    pub struct Http {
        /// Address to listen on; port 0 takes a free one. Flag `--http`.
        pub listen: ListenAddress = loopback(5435),
    }
}

section! {
    /// The role that accepts and plans statements and places their tasks. `saltlake serve` runs it alone and runs the
    /// tasks itself.
    pub struct Coordinator {
        /// Address workers announce themselves to (`saltlake coordinator` only). Flag `--cluster`.
        pub cluster_listen: ListenAddress = loopback(5436),
        /// A worker that was silent for this long gets no tasks until it is heard again.
        pub heartbeat_timeout: Duration = seconds(2),
        /// Time to connect to a worker before it counts as lost.
        pub worker_connect_timeout: Duration = seconds(2),
        /// Threads that plan statements.
        pub planning_threads: usize = 2,
        /// Stack of a planning thread. Planning recurses along the statement: it must fit
        /// `max_expression_depth` levels.
        pub planning_stack: ByteSize = ByteSize(64 << 20),
        /// Longest statement accepted, in bytes of SQL text.
        pub max_statement_bytes: ByteSize = ByteSize(1 << 20),
        /// Deepest expression accepted, in levels; `1 + 1 + …` counts one level a term.
        pub max_expression_depth: usize = 1_000,
        /// Largest statement accepted, in nodes of its syntax tree.
        pub max_statement_nodes: usize = 50_000,
        /// Memory queries may reserve on this process; 0 takes 60 % of the machine's or the container's.
        pub memory_limit: ByteSize = ByteSize(0),
        /// Folder for data that does not fit in memory; empty means the system's folder for temporary files.
        pub spill_dir: String = String::new(),
        /// Threads that run queries and connections; 0 means one for each core.
        pub threads: usize = 0,
        /// Queries running at a time; more wait for their turn.
        pub max_running_queries: usize = 100,
        /// How often a query that lost a worker before its first row is planned again on those that live.
        pub retry_limit: usize = 1,
        /// Time running statements get to finish on SIGTERM before they are cancelled.
        pub drain_timeout: Duration = seconds(10),
    }
}

section! {
    /// The role that runs tasks for a coordinator and keeps nothing but caches.
    pub struct Worker {
        /// URL of the coordinator's cluster address, such as `http://127.0.0.1:5436`. Flag `--coordinator`.
        pub coordinator: String = String::new(),
        /// Address to take tasks on; port 0 takes a free one. Flag `--listen`.
        pub listen: ListenAddress = loopback(0),
        /// URL under which coordinator and workers reach this worker, when it is not the listen address, as in a container;
        /// empty means the listen address.
        pub advertise: String = String::new(),
        /// Memory tasks may reserve on this worker; 0 takes 60 % of the machine's or the container's.
        pub memory_limit: ByteSize = ByteSize(0),
        /// Folder for data that does not fit in memory; empty means the system's folder for temporary files.
        pub spill_dir: String = String::new(),
        /// Threads that run tasks; 0 means one for each core.
        pub threads: usize = 0,
        /// Time between two signs of life to the coordinator.
        pub heartbeat_interval: Duration = Duration(std::time::Duration::from_millis(500)),
        /// Time running tasks get to finish on SIGTERM.
        pub drain_timeout: Duration = seconds(30),
    }
}

section! {
    /// The process itself.
    pub struct Process {
        /// File that is written, as JSON with the real addresses and the process id, once statements are accepted; empty
        /// means none. Flag `--ready-file`.
        pub ready_file: String = String::new(),
    }
}

section! {
    /// Logs, to standard error.
    pub struct Telemetry {
        /// Filter: `error`, `warn`, `info`, `debug`, `trace`, or by module, such as `info,saltlake=debug`. Flag `--log`.
        pub log: String = "info".into(),
        /// `text` for people, `json` for machines: one object a line.
        pub format: LogFormat = LogFormat::Text,
    }
}

/// How log lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

impl Coordinator {
    /// Returns the memory queries may reserve, in bytes.
    pub fn memory_limit_bytes(&self) -> usize {
        limit_or_default(self.memory_limit)
    }

    /// Returns the number of threads that run queries, at least 1.
    pub fn thread_count(&self) -> usize {
        machine::threads_or_cores(self.threads)
    }
}

impl Worker {
    /// Returns the memory tasks may reserve, in bytes.
    pub fn memory_limit_bytes(&self) -> usize {
        limit_or_default(self.memory_limit)
    }

    /// Returns the number of threads that run tasks, at least 1.
    pub fn thread_count(&self) -> usize {
        machine::threads_or_cores(self.threads)
    }
}

fn limit_or_default(limit: ByteSize) -> usize {
    match limit.bytes() {
        0 => ByteSize(machine::default_memory_limit()).as_usize(),
        _ => limit.as_usize(),
    }
}

fn loopback(port: u16) -> ListenAddress {
    ListenAddress { host: "127.0.0.1".into(), port }
}

fn seconds(n: u64) -> Duration {
    Duration(std::time::Duration::from_secs(n))
}
