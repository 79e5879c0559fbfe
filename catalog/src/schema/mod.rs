//! The columns of a table: read from each file, merged into one schema.

pub(crate) mod infer;
pub(crate) mod merge;
