//! Numbers as PostgreSQL's `to_char` writes and `to_number` reads them.
//!
//! ```text
//! pattern   '999D99S' to its parts     digits   values to digits, rounded as the pattern asks
//! print     to_char                    read     to_number
//! ```

mod digits;
mod pattern;
mod print;
mod read;

pub(super) use digits::Numbers;
pub(super) use pattern::Pattern;

use datafusion::logical_expr::ScalarUDF;
use std::sync::Arc;

/// Returns the functions to register; `to_char` is with the dates.
pub(super) fn all() -> Vec<Arc<ScalarUDF>> {
    vec![Arc::new(ScalarUDF::from(read::ToNumber::default()))]
}
