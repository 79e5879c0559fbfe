//! The one error type of the server and what a client sees of it.

use datafusion::error::DataFusionError;

/// Result of server operations.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What can go wrong in the server.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Parsing or planning failed.
    #[error(transparent)]
    Sql(#[from] saltlake_sql::Error),
    /// The engine failed, while planning or running.
    #[error(transparent)]
    DataFusion(#[from] DataFusionError),
    /// A table, a location or the lake's catalog failed.
    #[error(transparent)]
    Catalog(#[from] saltlake_catalog::Error),
    /// The client asked for a catalog that is not served.
    #[error("database \"{name}\" does not exist")]
    DatabaseNotFound {
        /// The name as given.
        name: String,
    },
    /// No more sessions are taken.
    #[error("too many sessions: the limit is {limit}")]
    TooManySessions {
        /// Sessions open at most.
        limit: usize,
    },
    /// Too many queries wait for their turn already.
    #[error("too many queries are waiting")]
    QueueFull {
        /// Queries running at most.
        limit: usize,
    },
    /// The query needs workers and none lives.
    #[error("no workers are available")]
    NoWorkers,
    /// Our bug.
    #[error("internal error: {message}")]
    Internal {
        /// What went wrong, for the log.
        message: String,
    },
    /// The query was cancelled on the user's request or the client went away.
    #[error("query was cancelled: {reason}")]
    Cancelled {
        /// Who or what cancelled it.
        reason: &'static str,
    },
    /// A statement or an option that the server does not offer.
    #[error("{feature} is not supported")]
    NotSupported {
        /// What was asked for.
        feature: String,
    },
    /// A setting that does not exist.
    #[error("unrecognized configuration parameter \"{name}\"")]
    UnknownSetting {
        /// The name as given.
        name: String,
        /// Known names that look alike.
        similar: Vec<String>,
    },
    /// The configuration cannot be used.
    #[error("{message}")]
    Config {
        /// What is wrong, with the key and where it came from.
        message: String,
        /// What to write instead.
        hint: Option<String>,
    },
    /// A file or a socket of the server itself failed.
    #[error("{action}")]
    Io {
        /// What the server was doing, such as "cannot listen on 127.0.0.1:5433".
        action: String,
        /// Why it failed.
        source: std::io::Error,
    },
    /// A value that a setting does not take.
    #[error("invalid value for parameter \"{name}\": \"{value}\"")]
    BadSettingValue {
        /// The setting.
        name: String,
        /// The value as given.
        value: String,
        /// What it takes.
        hint: String,
    },
}

/// Errors travel inside DataFusion's streams and come out as themselves again.
impl From<Error> for DataFusionError {
    fn from(error: Error) -> Self {
        match error {
            Error::DataFusion(error) => error,
            error => Self::External(Box::new(error)),
        }
    }
}

/// Who has to act on an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// The statement is wrong; logged at debug.
    User,
    /// A limit was reached; logged at warn.
    Resource,
    /// Something outside failed (object store, worker); logged at warn.
    External,
    /// Our bug; logged at error.
    Internal,
}

/// What a client is told of an error.
#[derive(Debug, Clone)]
pub struct Report {
    /// Who has to act.
    pub class: Class,
    /// Five characters of SQLSTATE.
    pub sqlstate: &'static str,
    /// One line, lowercase, names the thing.
    pub message: String,
    /// More about it.
    pub detail: Option<String>,
    /// What to do.
    pub hint: Option<String>,
    /// Position in the statement's text in characters, from 1.
    pub position: Option<usize>,
}

impl Error {
    /// Returns an internal error that says what panicked, and where it was caught.
    pub(crate) fn from_panic(during: &str, panic: &(dyn std::any::Any + Send)) -> Self {
        let text = panic.downcast_ref::<&str>().map(|text| (*text).to_string());
        let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
        let text = text.unwrap_or_else(|| "no message".to_string());
        Self::Internal { message: format!("panic during {during}: {text}") }
    }

    /// Returns whether a worker vanished: the query did nothing wrong and may succeed on the workers that live.
    pub fn is_worker_lost(&self) -> bool {
        let text = self.to_string();
        ["cannot connect to worker", "transport error", "tcp connect error", "h2 protocol error"]
            .iter()
            .any(|sign| text.contains(sign))
    }

    /// Returns what a client sees of this error.
    pub fn report(&self) -> Report {
        Report {
            class: Class::Internal,
            sqlstate: "XX000",
            message: self.to_string(),
            detail: None,
            hint: None,
            position: None,
        }
    }
}

/// Returns the candidate that reads most like `name`, if one is near enough to be a slip of the hand.
pub fn nearest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let name = name.to_lowercase();
    let allowed = (name.chars().count() / 3).max(1);
    candidates
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(&name, &candidate.to_lowercase()), candidate))
        .filter(|(distance, _)| *distance <= allowed)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}
