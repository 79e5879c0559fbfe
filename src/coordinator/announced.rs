//! The columns of a result as clients are told of them, before it runs.
//!
//! Called by the session for every query: names are PostgreSQL's, and so are types that Arrow has no word for.

use arrow::datatypes::{Field, Schema, SchemaRef};
use datafusion::logical_expr::LogicalPlan;
use saltlake_sql::names::OutputNames;
use saltlake_sql::type_names::KEY;
use std::sync::Arc;

/// A plan, with PostgreSQL's names for the types of its columns, where Arrow has none.
pub(super) type TypedPlan = (LogicalPlan, Vec<Option<String>>);

/// Returns the columns a client sees. All may be NULL: the planner's word is not kept by every operator, and clients
/// reject batches that differ from the announced schema.
pub(super) fn schema(
    plan: &LogicalPlan,
    names: &OutputNames,
    types: &[Option<String>],
) -> SchemaRef {
    let fields = plan.schema().as_arrow().fields();
    let announced = |((idx, field), name): ((usize, &Arc<Field>), Option<&str>)| {
        let mut field = field.as_ref().clone().with_nullable(true);
        match types.get(idx).cloned().flatten() {
            Some(ty) => field.metadata_mut().insert(KEY.to_string(), ty),
            None => field.metadata_mut().remove(KEY),
        };
        match name {
            Some(name) => field.with_name(name),
            None => field,
        }
    };
    let names = names.resolve(fields.len());
    Arc::new(Schema::new(fields.iter().enumerate().zip(names).map(announced).collect::<Vec<_>>()))
}

/// Returns the names of types that a schema was announced with.
pub(super) fn types_of(schema: Option<&Schema>) -> Vec<Option<String>> {
    let fields = schema.iter().flat_map(|schema| schema.fields().iter());
    fields.map(|field| field.metadata().get(KEY).cloned()).collect()
}
