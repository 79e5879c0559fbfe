//! What can go wrong between SQL text and an executable plan.
//!
//! `saltlake::error` turns these into what a client sees.

use datafusion::error::DataFusionError;

/// An error of parsing, planning or optimizing.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The text is not SQL; `line` and `column` start at 1 and are 0 when unknown.
    #[error("{message}")]
    Syntax {
        /// What the parser said, without its position.
        message: String,
        /// Line of the offending token, from 1; 0 when unknown.
        line: u64,
        /// Column of the offending token, from 1; 0 when unknown.
        column: u64,
    },
    /// The statement is larger or deeper than the server accepts.
    #[error("statement is too complex: {what} exceeds the limit of {limit}")]
    TooComplex {
        /// Which measure was exceeded, such as "expression depth".
        what: &'static str,
        /// The limit in force.
        limit: usize,
    },
    /// The engine would answer it, and wrongly.
    #[error("{feature} is not supported")]
    NotSupported {
        /// What was asked for.
        feature: &'static str,
    },
    /// DataFusion refused to plan it.
    #[error(transparent)]
    DataFusion(#[from] DataFusionError),
}
