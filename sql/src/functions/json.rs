//! JSON, held as text.
//!
//! There is no column type of its own: a cast to `json` checks a text, a cast to `jsonb` spells it as PostgreSQL prints
//! one, and a field's metadata says which it is, so that clients are told. Operators take any text.
//!
//! ```text
//! scan    a text's values without building anything: paths, lengths      planner  operators to functions
//! value   a text taken apart: jsonb, containment                         build    SQL values to JSON
//! calls   the functions
//! ```

mod build;
mod calls;
mod planner;
mod scan;
mod value;

pub use planner::JsonPlanner;

use crate::type_names::KEY;
use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::logical_expr::ScalarUDF;
use std::sync::Arc;

/// Metadata of Arrow's canonical extension types.
const EXTENSION_METADATA: &str = "ARROW:extension:name";

/// Returns the functions to register.
pub(super) fn all() -> Vec<Arc<ScalarUDF>> {
    calls::all()
}

/// Which of PostgreSQL's two types a text is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Flavor {
    /// The text as it was written.
    Json,
    /// Spelled anew, keys in order.
    Jsonb,
}

impl Flavor {
    fn name(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Jsonb => "jsonb",
        }
    }

    /// Returns the flavor of a field; `None` for one that is not known to be JSON.
    fn of(field: &Field) -> Option<Self> {
        let metadata = field.metadata();
        match metadata.get(KEY).map(String::as_str) {
            Some("json") => Some(Self::Json),
            Some("jsonb") => Some(Self::Jsonb),
            _ => (metadata.get(EXTENSION_METADATA).map(String::as_str) == Some("arrow.json"))
                .then_some(Self::Json),
        }
    }

    /// Returns a field that says what it holds.
    fn field(self, name: &str) -> FieldRef {
        let metadata = [(KEY.to_string(), self.name().to_string())].into();
        Arc::new(Field::new(name, DataType::Utf8, true).with_metadata(metadata))
    }
}
