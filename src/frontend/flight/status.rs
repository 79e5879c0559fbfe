//! What a Flight SQL client is told of an error: a gRPC status.
//!
//! Called wherever a `Report` leaves this frontend. The one idea: the SQLSTATE decides the gRPC code, one table for
//! all. The SQLSTATE itself travels in the metadata key [`SQLSTATE_HEADER`] and as the last line of the message,
//! because most drivers show the message only. The HTTP frontend derives its status codes from the same table.

use crate::error::{Class, Error, Report};
use tonic::{Code, Status};

/// Metadata key that carries the SQLSTATE of an error.
pub const SQLSTATE_HEADER: &str = "x-saltlake-sqlstate";

/// Longest message sent. gRPC puts it into a header, and clients refuse header lists above 8 KiB; percent
/// encoding can make a byte three.
const MAX_MESSAGE_BYTES: usize = 2048;

/// Returns the gRPC code of a SQLSTATE.
pub fn code(sqlstate: &str) -> Code {
    match sqlstate {
        "3D000" | "3F000" | "42P01" | "42703" | "42883" | "26000" | "34000" => Code::NotFound,
        "42P06" | "42P07" | "42710" | "42723" => Code::AlreadyExists,
        "0A000" => Code::Unimplemented,
        "25006" | "2BP01" | "55000" => Code::FailedPrecondition,
        "28000" | "28P01" => Code::Unauthenticated,
        "42501" => Code::PermissionDenied,
        "53000" => Code::Unavailable,
        "57014" => Code::Cancelled,
        "40001" => Code::Aborted,
        "XX001" => Code::DataLoss,
        _ => code_of_class(sqlstate),
    }
}

/// Returns the gRPC code of a SQLSTATE that has no line of its own, by its first two characters.
fn code_of_class(sqlstate: &str) -> Code {
    match sqlstate.get(..2) {
        Some("0A" | "21" | "22" | "2F" | "42") => Code::InvalidArgument,
        Some("23" | "25" | "55") => Code::FailedPrecondition,
        Some("40") => Code::Aborted,
        Some("53" | "54") => Code::ResourceExhausted,
        Some("57" | "58") => Code::Unavailable,
        _ => Code::Internal,
    }
}

/// Returns the status of an error, and logs the error: here it stops.
pub fn from_error(error: &Error) -> Status {
    let report = error.report();
    log(&report, error);
    from_report(&report)
}

/// Returns the status of an error the client was not told in a `Report` before.
///
/// Used for refusals this frontend decides on its own, such as an unknown handle.
pub fn refuse(sqlstate: &'static str, message: impl Into<String>, hint: Option<&str>) -> Status {
    from_report(&Report {
        class: Class::User,
        sqlstate,
        message: message.into(),
        detail: None,
        hint: hint.map(str::to_string),
        position: None,
    })
}

/// Returns the status of a report: message, detail, hint and SQLSTATE, one a line.
pub fn from_report(report: &Report) -> Status {
    let mut text = report.message.clone();
    let lines = [("DETAIL", &report.detail), ("HINT", &report.hint)];
    for (label, line) in lines.into_iter().filter_map(|(l, t)| Some((l, t.as_ref()?))) {
        text.push_str(&format!("\n{label}: {line}"));
    }
    if let Some(position) = report.position {
        text.push_str(&format!("\nPOSITION: {position}"));
    }
    truncate(&mut text);
    text.push_str(&format!("\nSQLSTATE: {}", report.sqlstate));
    let mut status = Status::new(status_code(report), text);
    if let Ok(value) = report.sqlstate.parse() {
        status.metadata_mut().insert(SQLSTATE_HEADER, value);
    }
    status
}

/// Returns the code of a report. A statement that ran out of time shares its SQLSTATE with a cancelled one.
fn status_code(report: &Report) -> Code {
    if report.sqlstate == "57014" && report.message.contains("timeout") {
        return Code::DeadlineExceeded;
    }
    code(report.sqlstate)
}

/// Cuts a message to [`MAX_MESSAGE_BYTES`] at a character boundary.
fn truncate(text: &mut String) {
    if text.len() > MAX_MESSAGE_BYTES {
        text.truncate(text.floor_char_boundary(MAX_MESSAGE_BYTES));
        text.push('…');
    }
}

/// Logs an error where it leaves the server, as loud as its class asks for.
pub(in crate::frontend) fn log(report: &Report, error: &Error) {
    let sqlstate = report.sqlstate;
    match report.class {
        Class::User => tracing::debug!(sqlstate, %error, "statement refused"),
        Class::Resource => tracing::warn!(sqlstate, %error, "statement hit a limit"),
        Class::External => tracing::warn!(sqlstate, %error, "statement failed outside the server"),
        Class::Internal => tracing::error!(sqlstate, %error, "statement failed inside the server"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_documented_sqlstate_has_its_code() {
        let table = [
            ("42601", Code::InvalidArgument),
            ("3D000", Code::NotFound),
            ("3F000", Code::NotFound),
            ("42P01", Code::NotFound),
            ("42703", Code::NotFound),
            ("42883", Code::NotFound),
            ("42702", Code::InvalidArgument),
            ("42804", Code::InvalidArgument),
            ("42803", Code::InvalidArgument),
            ("0A000", Code::Unimplemented),
            ("42704", Code::InvalidArgument),
            ("22023", Code::InvalidArgument),
            ("25006", Code::FailedPrecondition),
            ("22012", Code::InvalidArgument),
            ("22003", Code::InvalidArgument),
            ("22P02", Code::InvalidArgument),
            ("28P01", Code::Unauthenticated),
            ("42501", Code::PermissionDenied),
            ("53200", Code::ResourceExhausted),
            ("53100", Code::ResourceExhausted),
            ("53300", Code::ResourceExhausted),
            ("54000", Code::ResourceExhausted),
            ("53400", Code::ResourceExhausted),
            ("57014", Code::Cancelled),
            ("57P01", Code::Unavailable),
            ("53000", Code::Unavailable),
            ("58000", Code::Unavailable),
            ("58030", Code::Unavailable),
            ("40001", Code::Aborted),
            ("XX001", Code::DataLoss),
            ("XX000", Code::Internal),
        ];
        for (sqlstate, expected) in table {
            assert_eq!(code(sqlstate), expected, "{sqlstate}");
        }
    }

    fn report(message: &str) -> Report {
        Report {
            class: Class::User,
            sqlstate: "42P01",
            message: message.to_string(),
            detail: Some("no such folder".into()),
            hint: Some("did you mean \"trips\"?".into()),
            position: Some(15),
        }
    }

    #[test]
    fn a_report_keeps_all_its_parts() {
        let status = from_report(&report("table \"trip\" does not exist"));
        assert_eq!(status.code(), Code::NotFound);
        assert_eq!(
            status.message(),
            "table \"trip\" does not exist\nDETAIL: no such folder\nHINT: did you mean \"trips\"?\n\
             POSITION: 15\nSQLSTATE: 42P01"
        );
        assert_eq!(status.metadata().get(SQLSTATE_HEADER).unwrap(), "42P01");
    }

    #[test]
    fn a_long_message_is_cut_and_keeps_its_sqlstate() {
        let status = from_report(&report(&"ü".repeat(5000)));
        assert!(status.message().len() < MAX_MESSAGE_BYTES + 40);
        assert!(status.message().ends_with("…\nSQLSTATE: 42P01"));
    }

    #[test]
    fn a_timeout_is_deadline_exceeded() {
        let mut report = report("canceling statement due to statement timeout");
        report.sqlstate = "57014";
        assert_eq!(from_report(&report).code(), Code::DeadlineExceeded);
    }
}
