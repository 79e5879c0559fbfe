//! SQL for Saltlake: text to statement, statement to plan, plan to a better plan.
//!
//! 1. [`parse`] splits a text into [`parse::Statement`]s and guards depth and size.
//! 2. [`settings`] declares every `SET saltlake.*` option once.
//!
//! This crate never opens a socket and never reads a catalog; it works on DataFusion's plans.

pub mod error;
pub mod parse;
pub mod settings;

pub use error::Error;
