//! Statements through a session: plan, bind, run.
//!
//! Called by `sql` for the commands that carry SQL. Most queries run when their rows are fetched. Two kinds run when
//! they are announced: statements without rows (DDL, SET, COPY), because drivers do not always fetch a result that
//! has no columns, and an error should reach the call that sent the statement; and statements whose columns depend
//! on the type of a parameter, because only then their schema is known. Rows are pulled only when fetched.

use super::results::{Pending, Work};
use super::session::Client;
use super::{status, wire};
use crate::coordinator::{Outcome, Prepared};
use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::ipc::writer::IpcWriteOptions;
use arrow_flight::decode::FlightRecordBatchStream;
use arrow_flight::error::FlightError;
use arrow_flight::sql::server::PeekableFlightDataStream;
use arrow_flight::{IpcMessage, SchemaAsIpc};
use bytes::Bytes;
use datafusion::logical_expr::{Distinct, LogicalPlan};
use datafusion::scalar::ScalarValue;
use datafusion::sql::parser::Statement as Ast;
use datafusion::sql::sqlparser::ast::Statement as Sql;
use futures::{Stream, StreamExt, TryStreamExt, future};
use std::sync::Arc;
use tonic::Status;

/// Plans a text that holds exactly one statement.
///
/// # Errors
/// INVALID_ARGUMENT (42601) for none or several statements, else what parsing and planning give.
pub async fn prepare(client: &Client, sql: &str) -> Result<Prepared, Status> {
    let statements = client.session.parse(sql).map_err(|error| status::from_error(&error))?;
    let [statement] = statements.as_slice() else {
        let message = format!("expected one statement, found {}", statements.len());
        return Err(status::refuse("42601", message, Some("send one statement at a time")));
    };
    client.session.prepare(statement).await.map_err(|error| status::from_error(&error))
}

/// Returns the result of a planned statement as it is announced, and runs the statement when that cannot wait.
///
/// # Errors
/// When parameters are missing, or what running gives.
pub async fn result(
    client: Arc<Client>,
    prepared: Arc<Prepared>,
    parameters: Vec<ScalarValue>,
) -> Result<Pending, Status> {
    check_count(&prepared, parameters.len())?;
    let is_typed = prepared.parameters.iter().all(Option::is_some);
    if let Some(schema) = prepared.schema.as_ref().filter(|_| is_typed) {
        let schema = wire::wire_schema(schema);
        let n_endpoints = n_endpoints(&client, &prepared);
        let work = Work::Planned { prepared, parameters };
        return Ok(Pending { client, work, schema, tag: None, n_endpoints });
    }
    let (rows, schema, tag) = match run(&client, &prepared, parameters).await? {
        Outcome::Rows(rows) => {
            let schema = wire::wire_schema(&rows.schema);
            (Some(rows), schema, None)
        }
        Outcome::Done { tag } => (None, Arc::new(Schema::empty()), Some(tag)),
    };
    Ok(Pending { client, work: Work::Done(rows), schema, tag, n_endpoints: 1 })
}

/// Returns how many endpoints share the rows of a statement: as many as the session wants for a query without an
/// order, else one.
fn n_endpoints(client: &Client, prepared: &Prepared) -> u16 {
    let is_query = matches!(&prepared.statement.ast, Ast::Statement(statement)
        if matches!(statement.as_ref(), Sql::Query(_)));
    match &prepared.plan {
        Some(plan) if is_query && !is_ordered(plan) => client.session.flight_endpoints(),
        _ => 1,
    }
}

/// Returns whether the rows of a plan come in an order that the statement asks for.
fn is_ordered(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::Sort(_) | LogicalPlan::Distinct(Distinct::On(_)) => true,
        LogicalPlan::Projection(projection) => is_ordered(&projection.input),
        LogicalPlan::SubqueryAlias(alias) => is_ordered(&alias.input),
        LogicalPlan::Limit(limit) => is_ordered(&limit.input),
        _ => false,
    }
}

/// Runs a statement for its effect and returns how many rows it affected.
///
/// # Errors
/// What planning and running give.
pub async fn update(client: &Client, sql: &str) -> Result<i64, Status> {
    let prepared = prepare(client, sql).await?;
    check_count(&prepared, 0)?;
    affected(run(client, &prepared, Vec::new()).await?).await
}

/// Runs a prepared statement once for every row of parameters, or once without any, and returns the sum of the
/// rows affected.
///
/// # Errors
/// What decoding the parameters and running give; rows before the failing one have had their effect.
pub async fn update_prepared(
    client: &Client,
    prepared: &Prepared,
    parameters: PeekableFlightDataStream,
) -> Result<i64, Status> {
    let mut batches = parameter_batches(parameters);
    let (mut n_affected, mut n_runs) = (0, 0);
    while let Some(batch) = batches.try_next().await? {
        for row in 0..batch.num_rows() {
            let values = parameter_row(prepared, &batch, row)?;
            n_affected += affected(run(client, prepared, values).await?).await?;
            n_runs += 1;
        }
    }
    if n_runs == 0 {
        check_count(prepared, 0)?;
        n_affected = affected(run(client, prepared, Vec::new()).await?).await?;
    }
    Ok(n_affected)
}

/// Reads the one row of parameters a query is bound to.
///
/// # Errors
/// INVALID_ARGUMENT when there is more than one row or not one value per parameter.
pub async fn bind(
    prepared: &Prepared,
    parameters: PeekableFlightDataStream,
) -> Result<Vec<ScalarValue>, Status> {
    let mut batches = parameter_batches(parameters);
    let mut values = None;
    while let Some(batch) = batches.try_next().await? {
        for row in 0..batch.num_rows() {
            let bound = parameter_row(prepared, &batch, row)?;
            if values.replace(bound).is_some() {
                return Err(status::refuse(
                    "0A000",
                    "a query with more than one row of parameters is not supported",
                    Some("bind one row and run the query once for each"),
                ));
            }
        }
    }
    Ok(values.unwrap_or_default())
}

/// Returns the schema of a statement's parameters: `$1`, `$2`, … The null type stands for one that is not known.
pub fn parameter_schema(prepared: &Prepared) -> Schema {
    let fields = prepared.parameters.iter().enumerate().map(|(idx, data_type)| {
        let data_type = data_type.clone().unwrap_or(DataType::Null);
        Field::new(format!("${}", idx + 1), data_type, true)
    });
    wire::wire_schema(&Schema::new(fields.collect::<Vec<_>>())).as_ref().clone()
}

/// Returns the schema of a statement's rows; without columns when it has no rows.
pub fn dataset_schema(prepared: &Prepared) -> SchemaRef {
    match &prepared.schema {
        Some(schema) => wire::wire_schema(schema),
        None => Arc::new(Schema::empty()),
    }
}

/// Returns a schema in the form messages carry it.
///
/// # Errors
/// INTERNAL when it cannot be written.
pub fn schema_bytes(schema: &Schema) -> Result<Bytes, Status> {
    let options = IpcWriteOptions::default();
    let IpcMessage(bytes) =
        SchemaAsIpc::new(schema, &options).try_into().map_err(FlightError::Arrow)?;
    Ok(bytes)
}

/// Runs a prepared statement.
async fn run(
    client: &Client,
    prepared: &Prepared,
    parameters: Vec<ScalarValue>,
) -> Result<Outcome, Status> {
    client.session.run(prepared, parameters).await.map_err(|error| status::from_error(&error))
}

/// Returns the rows a finished statement affected: the last number of its command tag, 0 without one. The rows of
/// a query are read to their end and counted.
async fn affected(outcome: Outcome) -> Result<i64, Status> {
    match outcome {
        Outcome::Done { tag } => Ok(count_of_tag(&tag)),
        Outcome::Rows(rows) => {
            let counted = rows.stream.try_fold(0, |n_rows, batch| {
                future::ok(n_rows + i64::try_from(batch.num_rows()).unwrap_or(i64::MAX))
            });
            counted.await.map_err(|error| status::from_error(&error.into()))
        }
    }
}

/// Returns the count of a command tag such as `COPY 42`.
fn count_of_tag(tag: &str) -> i64 {
    tag.rsplit(' ').next().and_then(|word| word.parse().ok()).unwrap_or(0)
}

/// Refuses to run a statement whose parameters are not all given.
fn check_count(prepared: &Prepared, n_given: usize) -> Result<(), Status> {
    let n_wanted = prepared.parameters.len();
    if n_given == n_wanted {
        return Ok(());
    }
    let message = format!("the statement has {n_wanted} parameters, but {n_given} were given");
    Err(status::refuse("42P02", message, None))
}

/// Decodes batches of parameters. A call without parameters sends a message without a header, which is no batch.
fn parameter_batches(
    messages: PeekableFlightDataStream,
) -> impl Stream<Item = Result<RecordBatch, Status>> + Send + Unpin {
    let messages = messages
        .try_filter(|message| future::ready(!message.data_header.is_empty()))
        .map_err(FlightError::from);
    FlightRecordBatchStream::new_from_flight_data(messages).map_err(bad_parameters).boxed()
}

/// Returns what a client is told of parameters that cannot be decoded.
fn bad_parameters(error: FlightError) -> Status {
    match error {
        FlightError::Tonic(status) => *status,
        other => status::refuse("22023", format!("parameters cannot be read: {other}"), None),
    }
}

/// Returns one row of parameters, each converted to the type the plan wants when that loses nothing.
fn parameter_row(
    prepared: &Prepared,
    batch: &RecordBatch,
    row: usize,
) -> Result<Vec<ScalarValue>, Status> {
    check_count(prepared, batch.num_columns())?;
    let columns = batch.columns().iter().zip(&prepared.parameters);
    columns
        .map(|(column, wanted)| {
            let value = ScalarValue::try_from_array(column, row)
                .map_err(|error| status::from_error(&error.into()))?;
            Ok(wanted.as_ref().and_then(|wanted| converted(&value, wanted)).unwrap_or(value))
        })
        .collect()
}

/// Returns the value in another type, or `None` when something would be lost.
fn converted(value: &ScalarValue, wanted: &DataType) -> Option<ScalarValue> {
    let result = value.cast_to(wanted).ok()?;
    let back = result.cast_to(&value.data_type()).ok()?;
    (back == *value).then_some(result)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_count_is_the_last_number_of_a_tag() {
        assert_eq!(count_of_tag("COPY 42"), 42);
        assert_eq!(count_of_tag("INSERT 0 5"), 5);
        assert_eq!(count_of_tag("CREATE VIEW"), 0);
        assert_eq!(count_of_tag(""), 0);
    }

    #[test]
    fn parameters_are_converted_only_when_nothing_is_lost() {
        let int = |value| ScalarValue::Int64(Some(value));
        assert_eq!(converted(&int(5), &DataType::Int32), Some(ScalarValue::Int32(Some(5))));
        assert_eq!(converted(&int(5_000_000_000), &DataType::Int32), None);
        assert_eq!(converted(&ScalarValue::Float64(Some(2.5)), &DataType::Int64), None);
        let null = ScalarValue::Utf8(None);
        assert_eq!(converted(&null, &DataType::Int64), Some(ScalarValue::Int64(None)));
    }
}
