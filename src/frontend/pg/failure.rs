//! What goes to a client as an `ErrorResponse` or a `NoticeResponse`.
//!
//! [`crate::error::Report`] decides code and words of the server's errors; this file adds only the conditions that
//! belong to the protocol itself, such as an unknown portal.

use crate::error::{Class, Error, Report};
use pgwire::messages::response::{ErrorResponse, NoticeResponse};
use std::io;

/// How bad it is for the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// The statement failed; the connection goes on.
    Error,
    /// The connection ends.
    Fatal,
    /// Nothing failed.
    Warning,
    /// Nothing failed, and nothing is wrong.
    Notice,
}

impl Severity {
    fn name(self) -> &'static str {
        match self {
            Self::Error => "ERROR",
            Self::Fatal => "FATAL",
            Self::Warning => "WARNING",
            Self::Notice => "NOTICE",
        }
    }
}

/// A report with its severity.
#[derive(Debug, Clone)]
pub struct Failure {
    /// How bad it is for the connection.
    pub severity: Severity,
    /// What the client is told.
    pub report: Report,
}

/// Why handling a message stopped.
#[derive(Debug)]
pub enum Interrupt {
    /// The client is gone: nothing can be sent any more.
    Gone(io::Error),
    /// The client is told, then served on unless the failure is fatal.
    Failed(Box<Failure>),
}

impl From<io::Error> for Interrupt {
    fn from(error: io::Error) -> Self {
        Self::Gone(error)
    }
}

impl From<Failure> for Interrupt {
    fn from(failure: Failure) -> Self {
        Self::Failed(Box::new(failure))
    }
}

impl From<Error> for Interrupt {
    fn from(error: Error) -> Self {
        Failure::from(error).into()
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self { severity: Severity::Error, report: error.report() }
    }
}

impl Failure {
    /// Returns a failure of the protocol with its SQLSTATE.
    pub fn new(severity: Severity, sqlstate: &'static str, message: impl Into<String>) -> Self {
        let report = Report {
            class: Class::User,
            sqlstate,
            message: message.into(),
            detail: None,
            hint: None,
            position: None,
        };
        Self { severity, report }
    }

    /// A message that breaks the protocol: the two sides no longer agree, so the connection ends.
    pub fn protocol(message: impl Into<String>) -> Self {
        Self::new(Severity::Fatal, "08P01", message)
    }

    /// The server is going down; also sent to statements that outlast the drain deadline.
    pub fn shutdown() -> Self {
        Self::new(Severity::Fatal, "57P01", "terminating connection due to administrator command")
    }

    /// A client that did nothing for longer than its settings allow.
    pub fn idle(in_transaction: bool) -> Self {
        match in_transaction {
            true => Self::new(
                Severity::Fatal,
                "25P03",
                "terminating connection due to idle-in-transaction timeout",
            ),
            false => Self::new(
                Severity::Fatal,
                "57P05",
                "terminating connection due to idle-session timeout",
            ),
        }
    }

    /// Too many connections are open.
    pub fn too_many_connections() -> Self {
        let mut failure = Self::new(Severity::Fatal, "53300", "sorry, too many clients already");
        failure.report.class = Class::Resource;
        failure
    }

    /// A statement inside a transaction that has failed.
    pub fn aborted_transaction() -> Self {
        Self::new(
            Severity::Error,
            "25P02",
            "current transaction is aborted, commands ignored until end of transaction block",
        )
    }

    /// Returns the message for the wire.
    pub fn to_error_response(&self) -> ErrorResponse {
        ErrorResponse::new(self.fields())
    }

    /// Returns the message for the wire, as a notice.
    pub fn to_notice(&self) -> NoticeResponse {
        NoticeResponse::new(self.fields())
    }

    /// PostgreSQL's field letters: severity twice (localized and not), code, message, then what there is.
    fn fields(&self) -> Vec<(u8, String)> {
        let severity = self.severity.name().to_string();
        let report = &self.report;
        let mut fields = vec![
            (b'S', severity.clone()),
            (b'V', severity),
            (b'C', report.sqlstate.to_string()),
            (b'M', report.message.clone()),
        ];
        let optional = [
            (b'D', report.detail.clone()),
            (b'H', report.hint.clone()),
            (b'P', report.position.map(|position| position.to_string())),
        ];
        fields.extend(optional.into_iter().filter_map(|(letter, text)| Some((letter, text?))));
        // A zero byte would end the field early and shift everything behind it.
        for (_, text) in &mut fields {
            text.retain(|character| character != '\0');
        }
        fields
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn report_becomes_the_fields_of_the_protocol() {
        let mut failure = Failure::new(Severity::Error, "42P01", "relation \"t\0\" does not exist");
        failure.report.hint = Some("perhaps you meant \"trips\"".to_string());
        failure.report.position = Some(15);
        let fields = failure.to_error_response().fields;
        let text = |letter| {
            fields.iter().find(|(found, _)| *found == letter).map(|(_, text)| text.as_str())
        };
        assert_eq!(text(b'S'), Some("ERROR"));
        assert_eq!(text(b'C'), Some("42P01"));
        assert_eq!(text(b'M'), Some("relation \"t\" does not exist"));
        assert_eq!(text(b'H'), Some("perhaps you meant \"trips\""));
        assert_eq!(text(b'P'), Some("15"));
        assert_eq!(text(b'D'), None);
    }
}
