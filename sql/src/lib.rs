//! SQL for Saltlake: text to statement, statement to plan, plan to a better plan.
//!
//! 1. [`parse`] splits a text into statements and refuses those that are too deep or too large.
//! 2. [`optimizer`] runs the ordered passes, logical and physical, and times them.
//! 3. [`placement`] decides where the plan runs and cuts it into stages.
//! 4. [`explain`] shows the plan that really runs, and after a run what each stage and task did; [`progress`] says how
//!    far it is while it runs.
//!
//! [`metadata_columns`] keeps columns that a table has for one statement out of its `*`.
//! [`names`] knows what PostgreSQL calls the columns of a result, and [`type_names`] some of their types.
//! Skewed joins are decided in [`skew`], salted by a pass of the optimizer, and run by [`exec`]; [`codec`] is the wire form.
//! [`fingerprint`] tells whether what was learned from files still holds.
//! [`functions`] holds what PostgreSQL's functions have and the engine's have not, [`obstacle`] says what must not be
//! cut into stages, [`settings`] declares every `SET saltlake.*` option once,
//! [`walk`] shows syntax trees to visitors.
//! This crate never opens a socket and never reads a catalog; it works on DataFusion's plans.

pub mod codec;
pub mod error;
pub mod exec;
pub mod explain;
pub mod fingerprint;
pub mod functions;
pub mod metadata_columns;
pub mod names;
pub mod obstacle;
pub mod optimizer;
pub mod parse;
pub mod placement;
pub mod progress;
mod rewrite;
pub mod settings;
pub mod skew;
mod time_travel;
pub mod type_names;
pub mod walk;

pub use error::Error;
