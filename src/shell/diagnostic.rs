//! What can go wrong in the shell, and how the user is told.
//!
//! Statement errors are shown as psql shows them (code, message, the line with a caret, detail, hint), from an
//! `error::Report` without a server and from a gRPC status with one.

use crate::error::Error;
use std::io::IsTerminal;

/// Metadata key in which the Flight SQL frontend sends the SQLSTATE.
const SQLSTATE_HEADER: &str = "x-saltlake-sqlstate";

/// Longest part of a source line that is shown around the caret, in characters.
const MAX_LINE_CHARS: usize = 100;

/// An error of a statement, as the server tells it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Diagnostic {
    /// Five characters of SQLSTATE.
    pub sqlstate: String,
    /// One line that names the thing.
    pub message: String,
    /// More about it.
    pub detail: Option<String>,
    /// What to do.
    pub hint: Option<String>,
    /// Position in the statement's text in characters, from 1.
    pub position: Option<usize>,
}

impl From<&tonic::Status> for Diagnostic {
    /// Takes apart the text the Flight SQL frontend makes of a report: the message, then labelled lines.
    fn from(status: &tonic::Status) -> Self {
        let mut diagnostic = Self::default();
        let mut message: Vec<&str> = Vec::new();
        for line in status.message().lines() {
            match line.split_once(": ") {
                Some(("DETAIL", text)) => diagnostic.detail = Some(text.to_string()),
                Some(("HINT", text)) => diagnostic.hint = Some(text.to_string()),
                Some(("POSITION", text)) => diagnostic.position = text.parse().ok(),
                Some(("SQLSTATE", text)) => diagnostic.sqlstate = text.to_string(),
                _ => message.push(line),
            }
        }
        diagnostic.message = message.join("\n");
        if let Some(code) = status.metadata().get(SQLSTATE_HEADER).and_then(|v| v.to_str().ok()) {
            diagnostic.sqlstate = code.to_string();
        }
        if diagnostic.sqlstate.is_empty() {
            // Not from a statement: the connection broke, or the server does not speak Flight SQL.
            diagnostic.sqlstate = "08006".to_string();
            diagnostic.message = format!("{} ({})", diagnostic.message, status.code());
        }
        diagnostic
    }
}

/// Why the shell could not do what it was asked to.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// A statement failed.
    #[error("{}", .0.message)]
    Statement(Box<Diagnostic>),
    /// Wrong flags, a file that cannot be read, an unknown backslash command.
    #[error("{0}")]
    Usage(String),
    /// There is no server, or no lake, to work with.
    #[error("cannot open {target}: {reason}")]
    Connect {
        /// What was tried.
        target: String,
        /// Why it failed.
        reason: String,
        /// What to do.
        hint: Option<String>,
    },
    /// The result cannot be written.
    #[error("cannot write the result: {0}")]
    Output(#[from] std::io::Error),
    /// The user pressed Ctrl-C.
    #[error("cancelled on the user's request")]
    Interrupted,
}

impl Failure {
    /// Returns a usage failure.
    pub fn usage(message: impl Into<String>) -> Self {
        Self::Usage(message.into())
    }

    /// Returns the failure of a statement.
    pub fn statement(diagnostic: Diagnostic) -> Self {
        Self::Statement(Box::new(diagnostic))
    }

    /// Returns the exit code a script is told.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Statement(_) => 1,
            // `saltlake sql … | head` has got what it wanted.
            Self::Output(error) if error.kind() == std::io::ErrorKind::BrokenPipe => 0,
            Self::Output(_) => 1,
            Self::Usage(_) => 2,
            Self::Connect { .. } => 3,
            Self::Interrupted => 130,
        }
    }
}

impl From<&Error> for Failure {
    fn from(error: &Error) -> Self {
        let report = error.report();
        Self::statement(Diagnostic {
            sqlstate: report.sqlstate.to_string(),
            message: report.message,
            detail: report.detail,
            hint: report.hint,
            position: report.position,
        })
    }
}

impl From<arrow::error::ArrowError> for Failure {
    /// Formatting a result failed: an I/O error underneath stays one, so that a closed pipe is recognized.
    fn from(error: arrow::error::ArrowError) -> Self {
        match error {
            arrow::error::ArrowError::IoError(_, source) => Self::Output(source),
            // The CSV writer keeps only the text of what the pipe said.
            arrow::error::ArrowError::CsvError(text) if text.contains("Broken pipe") => {
                Self::Output(std::io::ErrorKind::BrokenPipe.into())
            }
            other => Self::Output(std::io::Error::other(other)),
        }
    }
}

/// The statement a failure belongs to.
#[derive(Debug, Clone, Copy)]
pub struct Source<'a> {
    /// Text of the statement.
    pub sql: &'a str,
    /// Line of the input on which the statement starts, from 1.
    pub first_line: usize,
    /// File name shown before the message.
    pub file: Option<&'a str>,
}

/// Writes notices and failures to standard error.
#[derive(Debug, Clone, Copy)]
pub struct Printer {
    colour: bool,
}

impl Printer {
    /// Returns a printer that uses colours when standard error is a terminal and `NO_COLOR` is not set.
    pub fn for_stderr() -> Self {
        let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self { colour: std::io::stderr().is_terminal() && !refused }
    }

    /// Returns a printer that uses colours or does not.
    pub fn with_colour(colour: bool) -> Self {
        Self { colour }
    }

    /// Returns whether colours may be used.
    pub fn colour(self) -> bool {
        self.colour
    }

    /// Writes one line.
    pub fn notice(self, text: &str) {
        write_stderr(&format!("{text}\n"));
    }

    /// Writes a failure, with the place in the statement it is about.
    pub fn failure(self, failure: &Failure, source: Option<Source<'_>>) {
        if failure.exit_code() == 0 {
            return;
        }
        write_stderr(&self.render(failure, source));
    }

    /// Returns the text of a failure.
    pub fn render(self, failure: &Failure, source: Option<Source<'_>>) -> String {
        let error = self.paint("1;31", "ERROR");
        match failure {
            Failure::Statement(diagnostic) => {
                let place = source.and_then(place).unwrap_or_default();
                let mut text = format!("{place}{error}");
                text.push_str(&format!(" {}: {}\n", diagnostic.sqlstate, diagnostic.message));
                if let (Some(source), Some(position)) = (source, diagnostic.position) {
                    text.push_str(&self.excerpt(source, position));
                }
                for (label, line) in [("DETAIL", &diagnostic.detail), ("HINT", &diagnostic.hint)] {
                    if let Some(line) = line {
                        text.push_str(&format!("{}: {line}\n", self.paint("1", label)));
                    }
                }
                text
            }
            Failure::Connect { hint, .. } => {
                let mut text = format!("{error}: {failure}\n");
                if let Some(hint) = hint {
                    text.push_str(&format!("{}: {hint}\n", self.paint("1", "HINT")));
                }
                text
            }
            other => format!("{error}: {other}\n"),
        }
    }

    /// Returns the line of the statement a position is in, and a caret under the place.
    fn excerpt(self, source: Source<'_>, position: usize) -> String {
        let Some(offset) = position.checked_sub(1) else { return String::new() };
        let before: String = source.sql.chars().take(offset).collect();
        let line_idx = before.matches('\n').count();
        let column = before.chars().rev().take_while(|c| *c != '\n').count();
        let line: Vec<char> =
            source.sql.lines().nth(line_idx).unwrap_or_default().chars().collect();
        // A long line is cut so that the caret stays on the screen.
        let start = column.saturating_sub(MAX_LINE_CHARS * 2 / 3);
        let shown: String = line.iter().skip(start).take(MAX_LINE_CHARS).collect();
        let label = format!("LINE {}: ", source.first_line + line_idx);
        let indent = " ".repeat(label.len() + column - start);
        format!("{label}{}\n{indent}{}\n", shown.replace('\t', " "), self.paint("1;31", "^"))
    }

    fn paint(self, code: &str, text: &str) -> String {
        if self.colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_string() }
    }
}

/// Returns `file:line: ` of a statement that came from a file.
fn place(source: Source<'_>) -> Option<String> {
    Some(format!("{}:{}: ", source.file?, source.first_line))
}

/// Writes to standard error; a closed standard error is nobody's failure.
pub(crate) fn write_stderr(text: &str) {
    use std::io::Write;
    let mut stderr = std::io::stderr().lock();
    let _ = stderr.write_all(text.as_bytes()).and_then(|()| stderr.flush());
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: Printer = Printer { colour: false };

    fn source(sql: &str) -> Source<'_> {
        Source { sql, first_line: 1, file: None }
    }

    #[test]
    fn a_statement_error_shows_code_line_caret_and_hint() {
        let failure = Failure::statement(Diagnostic {
            sqlstate: "42P01".into(),
            message: "table \"trip\" does not exist".into(),
            hint: Some("did you mean \"trips\"?".into()),
            position: Some(17),
            ..Diagnostic::default()
        });
        let text = PLAIN.render(&failure, Some(source("SELECT *\n  FROM trip")));
        assert_eq!(
            text,
            "ERROR 42P01: table \"trip\" does not exist\n\
             LINE 2:   FROM trip\n\
             \x20              ^\n\
             HINT: did you mean \"trips\"?\n"
        );
    }

    #[test]
    fn a_long_line_is_cut_around_the_caret() {
        let sql = format!("SELECT {}x", "1 + ".repeat(100));
        let failure = Failure::statement(Diagnostic {
            sqlstate: "42703".into(),
            message: "no".into(),
            position: Some(sql.len()),
            ..Diagnostic::default()
        });
        let text = PLAIN.render(&failure, Some(source(&sql)));
        let lines: Vec<&str> = text.lines().collect();
        let caret = lines[2].find('^').expect("a caret");
        assert_eq!(lines[1].chars().nth(caret), Some('x'));
        assert!(lines[1].len() <= MAX_LINE_CHARS + "LINE 1: ".len());
    }

    #[test]
    fn a_status_of_our_server_is_taken_apart() {
        let status = tonic::Status::not_found(
            "column \"fare\" does not exist\nHINT: did you mean \"fare_amount\"?\nPOSITION: 8\nSQLSTATE: 42703",
        );
        let expected = Diagnostic {
            sqlstate: "42703".into(),
            message: "column \"fare\" does not exist".into(),
            detail: None,
            hint: Some("did you mean \"fare_amount\"?".into()),
            position: Some(8),
        };
        assert_eq!(Diagnostic::from(&status), expected);
    }

    #[test]
    fn a_status_from_elsewhere_keeps_its_grpc_code() {
        let diagnostic = Diagnostic::from(&tonic::Status::unavailable("connection reset"));
        assert_eq!(diagnostic.sqlstate, "08006");
        assert!(diagnostic.message.starts_with("connection reset"), "{}", diagnostic.message);
    }
}
