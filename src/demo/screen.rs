//! What the demo shows: headings, statements, results and checks, within 96 columns.

use super::tour::Summary;
use crate::shell::diagnostic::{Diagnostic, Failure, Printer, Source};
use crate::shell::progress::duration_text;
use crate::shell::table::Table;
use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use std::io::{IsTerminal, Write, stdout};
use std::sync::Arc;
use std::time::Duration;

/// Columns of the screen that are used.
const WIDTH: usize = 96;

/// Lines of a plan that are shown.
const MAX_PLAN_LINES: usize = 40;

/// Writes to standard output; colours only on a terminal without `NO_COLOR`.
pub struct Screen {
    colour: bool,
}

impl Screen {
    /// Returns a screen on standard output.
    pub fn new() -> Self {
        let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self { colour: stdout().is_terminal() && !refused }
    }

    /// Writes a heading.
    pub fn title(&mut self, text: &str) -> Result<(), Failure> {
        let rule = "─".repeat(WIDTH.saturating_sub(text.chars().count() + 4));
        self.line(&format!(
            "\n{} {}",
            self.paint("1", &format!("── {text}")),
            self.paint("2", &rule)
        ))
    }

    /// Writes a labelled fact.
    pub fn fact(&mut self, label: &str, text: &str) -> Result<(), Failure> {
        self.line(&format!("  {} {text}", self.paint("2", &format!("{label:<10}"))))
    }

    /// Writes a sentence about what follows.
    pub fn remark(&mut self, text: &str) -> Result<(), Failure> {
        self.line(&format!("  {text}"))
    }

    /// Writes a statement as it is sent.
    pub fn sql(&mut self, sql: &str) -> Result<(), Failure> {
        self.line("")?;
        for line in sql.trim().lines() {
            self.line(&format!("  {}", self.paint("36", line)))?;
        }
        self.line("")
    }

    /// Writes a result as a table.
    pub fn table(&mut self, schema: &SchemaRef, batches: &[RecordBatch]) -> Result<(), Failure> {
        let mut text = Vec::new();
        let mut table = Table::new(Arc::clone(schema));
        for batch in batches {
            table.write(batch, &mut text)?;
        }
        table.finish(&mut text)?;
        self.block(&String::from_utf8_lossy(&text), usize::MAX)
    }

    /// Writes the lines of a plan, cut to the screen.
    pub fn plan(&mut self, text: &str) -> Result<(), Failure> {
        self.block(text, MAX_PLAN_LINES)
    }

    /// Writes an error as the shell would.
    pub fn diagnostic(&mut self, diagnostic: &Diagnostic, sql: &str) -> Result<(), Failure> {
        let source = Source { sql, first_line: 1, file: None };
        let failure = Failure::statement(diagnostic.clone());
        self.block(&Printer::with_colour(self.colour).render(&failure, Some(source)), usize::MAX)
    }

    fn block(&mut self, text: &str, max_lines: usize) -> Result<(), Failure> {
        let n_lines = text.lines().count();
        for line in text.lines().take(max_lines) {
            self.line(&format!("  {}", cut(line)))?;
        }
        if n_lines > max_lines {
            self.line(&format!("  … {} more lines", n_lines - max_lines))?;
        }
        Ok(())
    }

    /// Writes how a step went.
    pub fn verdict(
        &mut self,
        what: &str,
        wrong: Option<&str>,
        took: Duration,
    ) -> Result<(), Failure> {
        let mark = match wrong {
            None => self.paint("32", "✓"),
            Some(_) => self.paint("1;31", "✗"),
        };
        self.line(&format!("  {mark} {what}, {}", duration_text(took)))?;
        match wrong {
            Some(wrong) => self.block(wrong, MAX_PLAN_LINES),
            None => Ok(()),
        }
    }

    /// Writes the end of the tour.
    pub fn summary(&mut self, summary: &Summary) -> Result<(), Failure> {
        let Summary { n_steps, n_wrong, took } = summary;
        let took = duration_text(*took);
        let text = match n_wrong {
            0 => self.paint("1;32", &format!("All {n_steps} results are right")),
            _ => self.paint("1;31", &format!("{n_wrong} of {n_steps} results are wrong")),
        };
        self.line(&format!("\n{text} ({took} in statements)."))
    }

    fn line(&mut self, text: &str) -> Result<(), Failure> {
        let mut out = stdout().lock();
        writeln!(out, "{text}")?;
        Ok(out.flush()?)
    }

    fn paint(&self, code: &str, text: &str) -> String {
        if self.colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_string() }
    }
}

/// Cuts a line to the screen.
fn cut(line: &str) -> String {
    let limit = WIDTH - 2;
    if line.chars().count() <= limit {
        return line.to_string();
    }
    let mut shown: String = line.chars().take(limit - 1).collect();
    shown.push('…');
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_lines_are_cut_at_the_edge() {
        assert_eq!(cut("short"), "short");
        let shown = cut(&"ä".repeat(200));
        assert_eq!(shown.chars().count(), WIDTH - 2);
        assert!(shown.ends_with('…'));
    }
}
