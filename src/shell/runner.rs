//! Runs statements one after the other and writes what they give.

use super::Format;
use super::backend::{Backend, Reply};
use super::commands::{self, Flow};
use super::diagnostic::{Failure, Printer, Source};
use super::output::ResultWriter;
use super::progress::{Watch, duration_text};
use super::script::{Item, items};
use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use futures::TryStreamExt;
use futures::stream::BoxStream;
use std::io::{BufWriter, IsTerminal, Write, stderr, stdout};
use std::sync::Arc;

/// Files that may include each other by `\i`.
const MAX_DEPTH: usize = 16;

/// Where a text comes from; decides how errors name their place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// `-c`.
    CommandLine,
    /// A file, by the name the user gave.
    File(String),
    /// The prompt.
    Prompt,
}

/// The state of one shell: where statements run and how results look.
pub struct Runner {
    pub(super) backend: Arc<dyn Backend>,
    pub(super) printer: Printer,
    pub(super) format: Format,
    /// `\x`: one column a line.
    pub(super) expanded: bool,
    /// `\timing`: tell how long each statement took.
    pub(super) timing: bool,
    depth: usize,
}

impl Runner {
    /// Returns a shell over a backend. Timing starts on where a person watches.
    pub fn new(backend: Arc<dyn Backend>, format: Format, printer: Printer) -> Self {
        let timing = stderr().is_terminal();
        Self { backend, printer, format, expanded: false, timing, depth: 0 }
    }

    /// Runs a text, stops at the first failure, and returns the exit code.
    pub async fn script(&mut self, text: &str, origin: &Origin) -> u8 {
        for item in items(text) {
            match self.item(item, origin).await {
                Ok(Flow::Continue) => {}
                Ok(Flow::Quit) => break,
                Err(code) => return code,
            }
        }
        0
    }

    /// Runs one item; a failure is told here, and its exit code returned.
    ///
    /// # Errors
    /// The exit code of the failure.
    pub async fn item(&mut self, item: Item<'_>, origin: &Origin) -> Result<Flow, u8> {
        let file = match origin {
            Origin::File(name) => Some(name.as_str()),
            Origin::CommandLine | Origin::Prompt => None,
        };
        let (result, source) = match item {
            Item::Statement { sql, first_line } => {
                let source = Source { sql, first_line, file };
                (self.statement(sql).await.map(|()| Flow::Continue), Some(source))
            }
            Item::Command(line) => (commands::run(self, line).await, None),
        };
        result.map_err(|failure| {
            self.printer.failure(&failure, source);
            failure.exit_code()
        })
    }

    /// Runs the statements of a file, as `\i` does.
    ///
    /// # Errors
    /// When the file cannot be read or files include each other too deep. A failing statement is told, not returned.
    pub async fn include(&mut self, path: &str) -> Result<(), Failure> {
        if self.depth >= MAX_DEPTH {
            return Err(Failure::usage(format!("{path}: files include each other too deep")));
        }
        let text = tokio::fs::read_to_string(path)
            .await
            .map_err(|error| Failure::usage(format!("{path}: {error}")))?;
        self.depth += 1;
        let origin = Origin::File(path.to_string());
        let code = Box::pin(self.script(&text, &origin)).await;
        self.depth -= 1;
        match code {
            0 => Ok(()),
            130 => Err(Failure::Interrupted),
            _ => Err(Failure::usage(format!("{path}: stopped at the first error"))),
        }
    }

    /// Runs one statement and writes its result.
    ///
    /// # Errors
    /// When the statement fails, the result cannot be written, or the user interrupts.
    pub async fn statement(&mut self, sql: &str) -> Result<(), Failure> {
        let mut watch = Watch::start(stderr().is_terminal());
        match watch.wait(0, self.backend.execute(sql)).await? {
            Reply::Done { tag } => self.printer.notice(&tag),
            Reply::Rows { schema, stream } => self.rows(&schema, stream, &mut watch).await?,
        }
        if self.timing {
            self.printer.notice(&format!("Time: {}", duration_text(watch.elapsed())));
        }
        Ok(())
    }

    async fn rows(
        &self,
        schema: &SchemaRef,
        mut stream: BoxStream<'static, Result<RecordBatch, Failure>>,
        watch: &mut Watch,
    ) -> Result<(), Failure> {
        let mut out = BufWriter::new(stdout());
        let mut writer = ResultWriter::new(self.format, self.expanded, schema)?;
        while let Some(batch) = watch.wait(writer.n_rows(), stream.try_next()).await? {
            writer.write(&batch, &mut out)?;
        }
        writer.finish(schema, &mut out)?;
        Ok(out.flush()?)
    }
}
