//! Tables, locations and metadata caches of a lake. No SQL text is parsed here, no protocol is spoken.

/// A lake: one root of tables and the catalog that names them.
pub struct Lake {}
