//! The one error type of the server and what a client sees of it.
//!
//! [`Error::report`] alone decides code, message and hint; frontends only translate a [`Report`] into their protocol.
//! Most errors come from the engine: [`engine`] walks them, [`messages`] reads the texts of those that carry nothing else.

mod engine;
mod lost_worker;
mod messages;
mod place;
mod types;

#[cfg(test)]
mod tests;

use crate::sqlstate;
use datafusion::error::DataFusionError;
use place::Place;

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
    /// The error of a statement, with its text.
    #[error("{source}")]
    InStatement {
        /// The statement.
        sql: String,
        /// What is wrong with it.
        source: Box<Error>,
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
    /// A relation that does not exist, with those that look alike.
    #[error("{source}")]
    Similar {
        /// Names that look alike, the nearest first.
        similar: Vec<String>,
        /// What the planner said.
        source: Box<Error>,
    },
    /// A statement that would change a table of the lake.
    #[error("cannot execute {statement}: tables of the lake are read-only")]
    WriteRefused {
        /// Its first word.
        statement: String,
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

impl Report {
    /// Returns a report of `message` under a code of [`crate::sqlstate`].
    pub(crate) fn new(sqlstate: &'static str, message: impl Into<String>) -> Self {
        Self {
            class: sqlstate::class(sqlstate),
            sqlstate,
            message: message.into(),
            detail: None,
            hint: None,
            position: None,
        }
    }

    pub(crate) fn with_detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    pub(crate) fn with_hint(mut self, hint: Option<String>) -> Self {
        self.hint = hint;
        self
    }
}

impl Error {
    /// Returns an internal error that says what panicked, and where it was caught.
    pub(crate) fn from_panic(during: &str, panic: &(dyn std::any::Any + Send)) -> Self {
        let text = panic.downcast_ref::<&str>().map(|text| (*text).to_string());
        let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
        let text = text.unwrap_or_else(|| "no message".to_string());
        Self::Internal { message: format!("panic during {during}: {text}") }
    }

    /// Returns this error together with the text of the statement it is about, so that its report has a position.
    pub fn in_statement(self, sql: &str) -> Self {
        match self {
            Self::InStatement { .. } => self,
            error => Self::InStatement { sql: sql.to_string(), source: Box::new(error) },
        }
    }

    /// Returns what a client sees of this error. It has a position only after [`Error::in_statement`].
    pub fn report(&self) -> Report {
        match self {
            Self::InStatement { sql, source } => source.report_for(sql),
            error => error.describe().0,
        }
    }

    /// Returns what a client sees of this error of the statement `sql`, with its position where it is known.
    pub fn report_for(&self, sql: &str) -> Report {
        let (mut report, place) = self.describe();
        report.position = match place {
            Some(place) => place.offset_in(sql),
            None if report.message == messages::AT_END => Some(sql.chars().count() + 1),
            None => None,
        };
        report
    }

    /// Returns whether a worker vanished: the query did nothing wrong and may succeed on the workers that live.
    pub fn is_worker_lost(&self) -> bool {
        match self {
            Self::DataFusion(error) | Self::Sql(saltlake_sql::Error::DataFusion(error)) => {
                lost_worker::is_cause_of(error)
            }
            Self::InStatement { source, .. } => source.is_worker_lost(),
            _ => false,
        }
    }

    /// Returns the report and the place in the statement's text.
    fn describe(&self) -> (Report, Option<Place>) {
        match self {
            Self::InStatement { source, .. } => source.describe(),
            Self::Similar { similar, source } => {
                let (report, place) = source.describe();
                (report.with_hint(did_you_mean(similar.first())), place)
            }
            Self::DataFusion(error) => engine::describe(error),
            Self::Catalog(error) => engine::describe_catalog(error),
            Self::Sql(error) => describe_sql(error),
            Self::Internal { message } => (messages::internal(message), None),
            error => {
                let report = Report::new(error.own_sqlstate(), error.own_message());
                (report.with_hint(error.own_hint()), None)
            }
        }
    }

    /// Returns the code of an error that was raised in this crate.
    fn own_sqlstate(&self) -> &'static str {
        match self {
            Self::DatabaseNotFound { .. } => sqlstate::INVALID_CATALOG_NAME,
            Self::TooManySessions { .. } => sqlstate::TOO_MANY_CONNECTIONS,
            Self::QueueFull { .. } => sqlstate::QUEUE_FULL,
            Self::NoWorkers => sqlstate::NO_WORKERS,
            Self::Cancelled { .. } => sqlstate::QUERY_CANCELED,
            Self::NotSupported { .. } => sqlstate::FEATURE_NOT_SUPPORTED,
            Self::WriteRefused { .. } => sqlstate::READ_ONLY,
            Self::UnknownSetting { .. } => sqlstate::UNDEFINED_OBJECT,
            Self::BadSettingValue { .. } => sqlstate::INVALID_PARAMETER_VALUE,
            Self::Config { .. } => sqlstate::CONFIG_FILE_ERROR,
            Self::Io { .. } => sqlstate::IO_ERROR,
            Self::Internal { .. }
            | Self::InStatement { .. }
            | Self::Similar { .. }
            | Self::DataFusion(_)
            | Self::Catalog(_)
            | Self::Sql(_) => sqlstate::INTERNAL_ERROR,
        }
    }

    fn own_message(&self) -> String {
        match self {
            Self::Io { source, .. } => format!("{self}: {source}"),
            error => error.to_string(),
        }
    }

    fn own_hint(&self) -> Option<String> {
        match self {
            Self::UnknownSetting { similar, .. } => did_you_mean(similar.first()),
            Self::BadSettingValue { hint, .. } => Some(hint.clone()),
            Self::Config { hint, .. } => hint.clone(),
            Self::WriteRefused { .. } => {
                Some("write a new table with COPY (SELECT …) TO 'name.parquet'".to_string())
            }
            Self::NoWorkers => Some(messages::START_A_WORKER.to_string()),
            _ => None,
        }
    }
}

fn describe_sql(error: &saltlake_sql::Error) -> (Report, Option<Place>) {
    match error {
        saltlake_sql::Error::Syntax { message, line, column } => {
            let place = Place { line: *line, column: *column };
            let (report, found) = messages::syntax(message);
            (report, found.or((place.line > 0).then_some(place)))
        }
        saltlake_sql::Error::TooComplex { .. } => {
            (Report::new(sqlstate::STATEMENT_TOO_COMPLEX, error.to_string()), None)
        }
        saltlake_sql::Error::NotSupported { .. } => {
            (Report::new(sqlstate::FEATURE_NOT_SUPPORTED, error.to_string()), None)
        }
        saltlake_sql::Error::DataFusion(error) => engine::describe(error),
    }
}

/// Returns the hint that names the candidate.
fn did_you_mean(candidate: Option<impl std::fmt::Display>) -> Option<String> {
    candidate.map(|candidate| format!("did you mean \"{candidate}\"?"))
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
