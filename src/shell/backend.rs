//! What the shell needs from whatever runs its statements.

use super::diagnostic::Failure;
use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use futures::future::BoxFuture;
use futures::stream::BoxStream;

/// What one statement gave.
pub enum Reply {
    /// A result set. Dropping the stream cancels the query.
    Rows {
        /// Columns of the result.
        schema: SchemaRef,
        /// The batches.
        stream: BoxStream<'static, Result<RecordBatch, Failure>>,
    },
    /// A statement without rows, with its command tag such as `CREATE VIEW`.
    Done {
        /// The command tag.
        tag: String,
    },
}

/// Runs statements: a server, or a coordinator inside this process.
///
/// All statements of one backend share one session, so a `SET` holds for those that follow.
pub trait Backend: Send + Sync {
    /// Runs one statement; the text has no trailing semicolon.
    ///
    /// Dropping the future before it is ready cancels the statement.
    fn execute<'a>(&'a self, sql: &'a str) -> BoxFuture<'a, Result<Reply, Failure>>;

    /// Returns what the prompt tells of where statements run.
    fn describe(&self) -> String;
}
