//! `COPY … TO STDOUT`: its options, checked as PostgreSQL checks them, and the rows as it writes them.

use super::connection::Connection;
use super::encode::copy::{CopyFormat, CopyKind};
use super::failure::{Failure, Interrupt, Severity};
use super::rows::RowCursor;
use crate::coordinator::{Outcome, Prepared};
use arrow::datatypes::Schema;
use datafusion::scalar::ScalarValue;
use datafusion::sql::sqlparser::ast::Ident;
use pgwire::messages::copy::{CopyDone, CopyOutResponse};
use pgwire::messages::response::CommandComplete;
use saltlake_sql::parse::{CopyOut, CopyValue};

/// Characters the text form gives a meaning behind a backslash, so none of them can part values.
const NOT_DELIMITERS: &str = "\\.abcdefghijklmnopqrstuvwxyz0123456789";

impl Connection {
    /// Sends a query's rows as a COPY.
    pub(super) async fn copy_out(
        &mut self,
        copy: &CopyOut,
        prepared: &Prepared,
        values: Vec<ScalarValue>,
    ) -> Result<(), Interrupt> {
        let options = Options::read(copy)?;
        let Outcome::Rows(rows) = self.run(prepared, values).await? else {
            let message = "COPY needs a query that gives rows";
            return Err(Failure::new(Severity::Error, "0A000", message).into());
        };
        let format = options.format(&rows.schema)?;
        let code = i8::from(format.kind == CopyKind::Binary);
        let n_columns = rows.schema.fields().len();
        let codes = vec![i16::from(code); n_columns];
        let response = CopyOutResponse::new(code, n_columns as i16, codes);
        self.socket.put(&response)?;
        let mut cursor = RowCursor::copy(rows, format, self.time_zone())?;
        let drained = self.shutdown.drained.clone();
        let n_rows = cursor.send_copy(&mut self.socket, &drained).await?;
        self.socket.put(&CopyDone::new())?;
        self.socket.put(&CommandComplete::new(format!("COPY {n_rows}")))
    }
}

/// Checks what can be checked before the columns are known.
///
/// # Errors
/// As PostgreSQL: an unknown or repeated option, or one that does not go with another.
pub(super) fn check_options(copy: &CopyOut) -> Result<(), Failure> {
    Options::read(copy).map(|_| ())
}

/// Options as they were given.
#[derive(Debug, Default)]
struct Options {
    kind: Option<CopyKind>,
    header: Option<bool>,
    delimiter: Option<String>,
    null: Option<String>,
    quote: Option<String>,
    escape: Option<String>,
    force_quote: Option<Force>,
    freeze: Option<bool>,
    encoding: Option<String>,
}

/// Which columns are always quoted.
#[derive(Debug)]
enum Force {
    All,
    Columns(Vec<Ident>),
}

impl Options {
    fn read(copy: &CopyOut) -> Result<Self, Failure> {
        let mut options = Self::default();
        for (name, value) in &copy.options {
            options.add(name, value)?;
        }
        options.check()?;
        Ok(options)
    }

    fn add(&mut self, name: &str, value: &CopyValue) -> Result<(), Failure> {
        match name {
            "format" => once(&mut self.kind, kind(&text(name, value)?)?),
            "header" => once(&mut self.header, header(value)?),
            "delimiter" => once(&mut self.delimiter, text(name, value)?),
            "null" => once(&mut self.null, text(name, value)?),
            "quote" => once(&mut self.quote, text(name, value)?),
            "escape" => once(&mut self.escape, text(name, value)?),
            "freeze" => once(&mut self.freeze, boolean(name, value)?),
            "encoding" => once(&mut self.encoding, text(name, value)?),
            "force_quote" => once(
                &mut self.force_quote,
                match value {
                    CopyValue::All => Force::All,
                    CopyValue::Columns(columns) => Force::Columns(columns.clone()),
                    _ => {
                        let message =
                            "argument to option \"force_quote\" must be a list of column names";
                        return Err(refused("22023", message));
                    }
                },
            ),
            "force_not_null" | "force_null" => {
                let words = name.replace('_', " ");
                let message = format!("COPY {words} only available using COPY FROM");
                Err(refused("0A000", &message))
            }
            _ => Err(refused("42601", &format!("option \"{name}\" not recognized"))),
        }
    }

    fn kind(&self) -> CopyKind {
        self.kind.unwrap_or(CopyKind::Text)
    }

    fn delimiter(&self) -> &str {
        let usual = if self.kind() == CopyKind::Csv { "," } else { "\t" };
        self.delimiter.as_deref().unwrap_or(usual)
    }

    fn null(&self) -> &str {
        let usual = if self.kind() == CopyKind::Csv { "" } else { "\\N" };
        self.null.as_deref().unwrap_or(usual)
    }

    fn quote(&self) -> &str {
        self.quote.as_deref().unwrap_or("\"")
    }

    /// The checks of PostgreSQL's `ProcessCopyOptions`, in its order.
    fn check(&self) -> Result<(), Failure> {
        let kind = self.kind();
        if kind == CopyKind::Binary {
            if self.delimiter.is_some() {
                return Err(refused("42601", "cannot specify DELIMITER in BINARY mode"));
            }
            if self.null.is_some() {
                return Err(refused("42601", "cannot specify NULL in BINARY mode"));
            }
        }
        one_byte("delimiter", self.delimiter())?;
        let (delimiter, null) = (self.delimiter(), self.null());
        if delimiter.contains(['\r', '\n']) {
            let message = "COPY delimiter cannot be newline or carriage return";
            return Err(refused("22023", message));
        }
        if null.contains(['\r', '\n']) {
            let message = "COPY null representation cannot use newline or carriage return";
            return Err(refused("22023", message));
        }
        if kind != CopyKind::Csv && NOT_DELIMITERS.contains(delimiter) {
            let message = format!("COPY delimiter cannot be \"{delimiter}\"");
            return Err(refused("22023", &message));
        }
        if kind == CopyKind::Binary && self.header == Some(true) {
            return Err(refused("0A000", "cannot specify HEADER in BINARY mode"));
        }
        self.check_quotes()?;
        if null.contains(delimiter) && kind != CopyKind::Binary {
            let message = "COPY delimiter must not appear in the NULL specification";
            return Err(refused("0A000", message));
        }
        if kind == CopyKind::Csv && null.contains(self.quote()) {
            let message = "CSV quote character must not appear in the NULL specification";
            return Err(refused("0A000", message));
        }
        match self.encoding.as_deref().map(str::to_ascii_uppercase).as_deref() {
            None | Some("UTF8" | "UTF-8" | "UNICODE") => Ok(()),
            Some(other) => {
                Err(refused("0A000", &format!("COPY in the encoding {other} is not supported")))
            }
        }
    }

    fn check_quotes(&self) -> Result<(), Failure> {
        let is_csv = self.kind() == CopyKind::Csv;
        for (what, value) in [("quote", &self.quote), ("escape", &self.escape)] {
            if value.is_some() && !is_csv {
                return Err(refused("0A000", &format!("COPY {what} available only in CSV mode")));
            }
            if let Some(value) = value {
                one_byte(what, value)?;
            }
            if is_csv && what == "quote" && self.quote() == self.delimiter() {
                return Err(refused("22023", "COPY delimiter and quote must be different"));
            }
        }
        if self.force_quote.is_some() && !is_csv {
            return Err(refused("0A000", "COPY force quote available only in CSV mode"));
        }
        Ok(())
    }

    /// Returns how rows of these columns are written.
    fn format(&self, schema: &Schema) -> Result<CopyFormat, Failure> {
        let first = |text: &str| text.as_bytes().first().copied().unwrap_or_default();
        let force_quote = match &self.force_quote {
            None => Vec::new(),
            Some(Force::All) => vec![true; schema.fields().len()],
            Some(Force::Columns(columns)) => {
                let mut forced = vec![false; schema.fields().len()];
                for column in columns {
                    forced[position(schema, column)?] = true;
                }
                forced
            }
        };
        Ok(CopyFormat {
            kind: self.kind(),
            header: self.header == Some(true),
            delimiter: first(self.delimiter()),
            null: self.null().as_bytes().to_vec(),
            quote: first(self.quote()),
            escape: first(self.escape.as_deref().unwrap_or(self.quote())),
            force_quote,
        })
    }
}

fn refused(sqlstate: &'static str, message: &str) -> Failure {
    Failure::new(Severity::Error, sqlstate, message)
}

fn once<T>(option: &mut Option<T>, value: T) -> Result<(), Failure> {
    match option.replace(value) {
        None => Ok(()),
        Some(_) => Err(refused("42601", "conflicting or redundant options")),
    }
}

fn text(name: &str, value: &CopyValue) -> Result<String, Failure> {
    match value {
        CopyValue::Text(text) => Ok(text.clone()),
        CopyValue::None => Err(refused("42601", &format!("{name} requires a parameter"))),
        _ => Err(refused("22023", &format!("{name} requires a text value"))),
    }
}

fn boolean(name: &str, value: &CopyValue) -> Result<bool, Failure> {
    let word = match value {
        CopyValue::None => return Ok(true),
        CopyValue::Text(word) => word.to_ascii_lowercase(),
        _ => String::new(),
    };
    match word.as_str() {
        "true" | "on" | "1" => Ok(true),
        "false" | "off" | "0" => Ok(false),
        _ => Err(refused("42601", &format!("{name} requires a Boolean value"))),
    }
}

fn header(value: &CopyValue) -> Result<bool, Failure> {
    match value {
        CopyValue::Text(word) if word.eq_ignore_ascii_case("match") => {
            Err(refused("0A000", "cannot use \"match\" with HEADER in COPY TO"))
        }
        value => boolean("header", value)
            .map_err(|_| refused("42601", "header requires a Boolean value or \"match\"")),
    }
}

fn kind(name: &str) -> Result<CopyKind, Failure> {
    match name {
        "text" => Ok(CopyKind::Text),
        "csv" => Ok(CopyKind::Csv),
        "binary" => Ok(CopyKind::Binary),
        other => Err(refused("22023", &format!("COPY format \"{other}\" not recognized"))),
    }
}

fn one_byte(what: &str, value: &str) -> Result<(), Failure> {
    match value.len() {
        1 => Ok(()),
        _ => Err(refused("0A000", &format!("COPY {what} must be a single one-byte character"))),
    }
}

fn position(schema: &Schema, column: &Ident) -> Result<usize, Failure> {
    let name = match column.quote_style {
        Some(_) => column.value.clone(),
        None => column.value.to_lowercase(),
    };
    schema
        .index_of(&name)
        .map_err(|_| refused("42703", &format!("column \"{name}\" does not exist")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use saltlake_sql::parse::{Limits, parse};

    fn check(options: &str, expected: Result<(), (&str, &str)>) {
        let sql = format!("COPY t TO STDOUT {options}");
        let copy = parse(&sql, Limits::default()).unwrap().remove(0).copy.unwrap();
        let checked = check_options(&copy).map_err(|failure| failure.report);
        let checked = checked.as_ref().map_err(|report| (report.sqlstate, report.message.as_str()));
        assert_eq!(checked.copied(), expected, "{options}");
    }

    #[test]
    fn options_are_refused_in_the_words_of_postgres() {
        check("(FORMAT csv, HEADER true, FORCE_QUOTE *)", Ok(()));
        check("WITH BINARY", Ok(()));
        check("(FORMAT xml)", Err(("22023", "COPY format \"xml\" not recognized")));
        check("(FORMAT csv, FORMAT text)", Err(("42601", "conflicting or redundant options")));
        check("(COLOR red)", Err(("42601", "option \"color\" not recognized")));
        check(
            "(FORMAT binary, DELIMITER ',')",
            Err(("42601", "cannot specify DELIMITER in BINARY mode")),
        );
        check("(DELIMITER 'a')", Err(("22023", "COPY delimiter cannot be \"a\"")));
        check(
            "(DELIMITER '::')",
            Err(("0A000", "COPY delimiter must be a single one-byte character")),
        );
        check("(QUOTE '''')", Err(("0A000", "COPY quote available only in CSV mode")));
        check("CSV QUOTE ','", Err(("22023", "COPY delimiter and quote must be different")));
        check(
            "(FORMAT csv, FORCE_NULL (a))",
            Err(("0A000", "COPY force null only available using COPY FROM")),
        );
        check("(HEADER match)", Err(("0A000", "cannot use \"match\" with HEADER in COPY TO")));
    }
}
