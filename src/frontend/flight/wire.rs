//! Record batches to Flight messages that every client can read.
//!
//! Called when a result starts to stream. Two ideas. First, what was advertised is what is sent: [`wire_schema`]
//! gives the one schema for both, and every batch is converted to it. Views, dictionaries, run ends and the like
//! become plain types, because not every driver reads them and because a slice of a view array drags all of its
//! buffers along. Second, batches are split before they are converted, so that a message stays near
//! [`MAX_MESSAGE_BYTES`]; clients refuse larger ones (the Go driver above 16 MiB, others above 4). One row larger
//! than that cannot be split and goes out as it is.

use super::status;
use crate::error::Error;
use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, RecordBatchOptions};
use arrow::buffer::OffsetBuffer;
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{ArrowNativeType, DataType, FieldRef, Schema, SchemaRef};
use arrow::error::ArrowError;
use arrow_flight::FlightData;
use arrow_flight::encode::FlightDataEncoderBuilder;
use arrow_flight::error::FlightError;
use datafusion::error::DataFusionError;
use futures::{Stream, StreamExt, TryStreamExt, stream};
use std::sync::Arc;
use tonic::Status;

/// Size a message is kept under when it has more than one row. gRPC's own default limit is 4 MiB; the other half
/// is left for encoding overhead and for estimates that are too low.
const MAX_MESSAGE_BYTES: usize = 2 * 1024 * 1024;

/// Returns the schema under which a result of `schema` is advertised and sent.
pub fn wire_schema(schema: &Schema) -> SchemaRef {
    let fields: Vec<FieldRef> = schema.fields().iter().map(wire_field).collect();
    Arc::new(Schema::new_with_metadata(fields, schema.metadata().clone()))
}

/// Returns a field with its type in wire form; name, nullability and metadata stay.
fn wire_field(field: &FieldRef) -> FieldRef {
    Arc::new(field.as_ref().clone().with_data_type(wire_type(field.data_type())))
}

/// Returns the type that is sent for `data_type`.
///
/// `LargeList` becomes `List` because arrow-flight's encoder advertises it so.
fn wire_type(data_type: &DataType) -> DataType {
    match data_type {
        DataType::Utf8View => DataType::Utf8,
        DataType::BinaryView => DataType::Binary,
        DataType::Dictionary(_, value) => wire_type(value),
        DataType::RunEndEncoded(_, values) => wire_type(values.data_type()),
        DataType::List(item)
        | DataType::LargeList(item)
        | DataType::ListView(item)
        | DataType::LargeListView(item) => DataType::List(wire_field(item)),
        DataType::FixedSizeList(item, size) => DataType::FixedSizeList(wire_field(item), *size),
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(wire_field).collect()),
        DataType::Map(entries, sorted) => DataType::Map(wire_field(entries), *sorted),
        other => other.clone(),
    }
}

/// Encodes the batches of a query as Flight messages under `schema`, the wire schema that was advertised.
///
/// The schema message comes first, also when there are no rows. Batches are pulled only as messages are.
pub fn encode(
    rows: impl Stream<Item = Result<RecordBatch, Status>> + Send + 'static,
    schema: SchemaRef,
) -> impl Stream<Item = Result<FlightData, Status>> + Send + 'static {
    let target = Arc::clone(&schema);
    let batches = rows
        .map_err(FlightError::from)
        .flat_map(|batch| stream::iter(split_result(batch)))
        .map(move |batch| Ok(to_wire(&batch?, &target)?));
    encode_batches(batches, schema)
}

/// Encodes batches that are in wire form already, such as metadata.
pub fn encode_batches(
    batches: impl Stream<Item = Result<RecordBatch, FlightError>> + Send + 'static,
    schema: SchemaRef,
) -> impl Stream<Item = Result<FlightData, Status>> + Send + 'static {
    FlightDataEncoderBuilder::new()
        .with_schema(schema)
        // Batches were split by the bytes they really hold; the encoder counts whole buffers, shared ones too.
        .with_max_flight_data_size(usize::MAX)
        .build(batches)
        .map_err(into_status)
}

/// Returns the status of what ended a stream.
fn into_status(error: FlightError) -> Status {
    match error {
        FlightError::Tonic(status) => *status,
        FlightError::Arrow(error) => from_datafusion(DataFusionError::from(error)),
        other => from_datafusion(DataFusionError::External(Box::new(other))),
    }
}

/// Returns the status of an error the engine raised while rows were streaming.
pub fn from_datafusion(error: DataFusionError) -> Status {
    status::from_error(&Error::from(error))
}

/// Converts one batch to the wire schema.
///
/// # Errors
/// When a column that was advertised without nulls holds one, or a value does not fit.
pub fn to_wire(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch, ArrowError> {
    let strict = CastOptions { safe: false, ..CastOptions::default() };
    let columns = batch
        .columns()
        .iter()
        .zip(schema.fields())
        .map(|(column, field)| match column.data_type() == field.data_type() {
            true => Ok(Arc::clone(column)),
            false => cast_with_options(column, field.data_type(), &strict),
        })
        .collect::<Result<Vec<ArrayRef>, ArrowError>>()?;
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options)
}

/// Splits the batch of a result, or passes its error on.
fn split_result(batch: Result<RecordBatch, FlightError>) -> Vec<Result<RecordBatch, FlightError>> {
    match batch {
        Ok(batch) => {
            let mut parts = Vec::new();
            split(batch, &mut parts);
            parts.into_iter().map(Ok).collect()
        }
        Err(error) => vec![Err(error)],
    }
}

/// Halves a batch until every part holds one row or at most [`MAX_MESSAGE_BYTES`]. Slicing copies nothing.
fn split(batch: RecordBatch, parts: &mut Vec<RecordBatch>) {
    let n_rows = batch.num_rows();
    let n_bytes: usize = batch.columns().iter().map(|column| wire_bytes(column.as_ref())).sum();
    if n_rows <= 1 || n_bytes <= MAX_MESSAGE_BYTES {
        parts.push(batch);
        return;
    }
    let half = n_rows / 2;
    split(batch.slice(0, half), parts);
    split(batch.slice(half, n_rows - half), parts);
}

/// Returns about how many bytes the rows of an array take on the wire; buffers outside the slice do not count.
fn wire_bytes(array: &dyn Array) -> usize {
    let n_rows = array.len();
    match array.data_type() {
        DataType::Utf8 => span(array.as_string::<i32>().offsets()).1 + 4 * n_rows,
        DataType::LargeUtf8 => span(array.as_string::<i64>().offsets()).1 + 8 * n_rows,
        DataType::Binary => span(array.as_binary::<i32>().offsets()).1 + 4 * n_rows,
        DataType::LargeBinary => span(array.as_binary::<i64>().offsets()).1 + 8 * n_rows,
        DataType::Utf8View => view_bytes(array.as_string_view().views()),
        DataType::BinaryView => view_bytes(array.as_binary_view().views()),
        DataType::List(_) => {
            let list = array.as_list::<i32>();
            slice_bytes(list.values().as_ref(), span(list.offsets())) + 4 * n_rows
        }
        DataType::LargeList(_) => {
            let list = array.as_list::<i64>();
            slice_bytes(list.values().as_ref(), span(list.offsets())) + 8 * n_rows
        }
        DataType::Map(_, _) => {
            let map = array.as_map();
            slice_bytes(map.entries(), span(map.offsets())) + 4 * n_rows
        }
        DataType::Struct(_) => {
            array.as_struct().columns().iter().map(|column| wire_bytes(column.as_ref())).sum()
        }
        DataType::FixedSizeList(_, _) => wire_bytes(array.as_fixed_size_list().values().as_ref()),
        DataType::Dictionary(_, _) => {
            let values = array.as_any_dictionary().values();
            n_rows * wire_bytes(values.as_ref()).div_ceil(values.len().max(1))
        }
        _ => array
            .to_data()
            .get_slice_memory_size()
            .unwrap_or_else(|_| array.get_array_memory_size()),
    }
}

/// Returns the start and the length of what the offsets of a slice point at.
fn span<O: ArrowNativeType>(offsets: &OffsetBuffer<O>) -> (usize, usize) {
    let first = offsets.first().map_or(0, |offset| offset.as_usize());
    let last = offsets.last().map_or(0, |offset| offset.as_usize());
    (first, last - first)
}

/// Returns the wire bytes of `length` values from `start`.
fn slice_bytes(values: &dyn Array, (start, length): (usize, usize)) -> usize {
    wire_bytes(values.slice(start, length).as_ref())
}

/// Returns the wire bytes of views; the low 32 bits of each are its length.
fn view_bytes(views: &[u128]) -> usize {
    views.iter().map(|view| (*view as u32) as usize + 4).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{
        DictionaryArray, Int32Array, Int64Array, ListArray, StringArray, StringViewArray,
        StructArray,
    };
    use arrow::datatypes::{Field, Int32Type, Int64Type};
    use arrow_flight::decode::FlightRecordBatchStream;

    fn batch_of(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
        RecordBatch::try_from_iter_with_nullable(
            columns.into_iter().map(|(name, array)| (name, array, true)),
        )
        .unwrap()
    }

    /// Sends a batch through the encoder and decodes it as a client does.
    async fn round_trip(batch: &RecordBatch) -> (SchemaRef, Vec<RecordBatch>, usize) {
        let schema = wire_schema(&batch.schema());
        let rows = stream::iter([Ok(batch.clone())]);
        let messages: Vec<FlightData> = encode(rows, schema).try_collect().await.unwrap();
        let largest = messages.iter().map(|message| message.data_body.len()).max().unwrap();
        let mut decoder = FlightRecordBatchStream::new_from_flight_data(stream::iter(
            messages.into_iter().map(Ok),
        ));
        let mut batches = Vec::new();
        while let Some(batch) = decoder.next().await {
            batches.push(batch.unwrap());
        }
        (Arc::clone(decoder.schema().unwrap()), batches, largest)
    }

    #[tokio::test]
    async fn views_dictionaries_and_large_lists_become_plain() {
        let words =
            StringViewArray::from(vec![Some("a long string that is not inlined"), None, Some("b")]);
        let tags: DictionaryArray<Int32Type> =
            vec![Some("x"), Some("x"), None].into_iter().collect();
        let lists = arrow::array::LargeListArray::from_iter_primitive::<Int64Type, _, _>(vec![
            Some(vec![Some(1), None]),
            None,
            Some(vec![]),
        ]);
        let inner = StructArray::from(vec![(
            Arc::new(Field::new("word", DataType::Utf8View, true)),
            Arc::new(words.clone()) as ArrayRef,
        )]);
        let batch = batch_of(vec![
            ("word", Arc::new(words)),
            ("tag", Arc::new(tags)),
            ("list", Arc::new(lists)),
            ("inner", Arc::new(inner)),
        ]);

        let (schema, batches, _) = round_trip(&batch).await;

        assert_eq!(schema, wire_schema(&batch.schema()));
        assert_eq!(schema.field(0).data_type(), &DataType::Utf8);
        assert_eq!(schema.field(1).data_type(), &DataType::Utf8);
        assert!(matches!(schema.field(2).data_type(), DataType::List(_)));
        assert_eq!(batches.len(), 1);
        assert_eq!(batches[0].schema(), schema);
        let words = batches[0].column(0).as_string::<i32>();
        assert_eq!(words.iter().collect::<Vec<_>>(), batch_words());
        let lists = batches[0].column(2).as_list::<i32>();
        assert_eq!((lists.is_null(1), lists.value(0).len(), lists.value(2).len()), (true, 2, 0));
    }

    fn batch_words() -> Vec<Option<&'static str>> {
        vec![Some("a long string that is not inlined"), None, Some("b")]
    }

    #[tokio::test]
    async fn large_batches_leave_in_small_messages() {
        let texts: Vec<String> = (0..4000).map(|row| format!("{row:04}").repeat(500)).collect();
        let view: StringViewArray = texts.iter().map(Some).collect();
        let numbers = Int64Array::from_iter_values(0..4000);
        let batch = batch_of(vec![("text", Arc::new(view)), ("number", Arc::new(numbers))]);

        let (_, batches, largest) = round_trip(&batch).await;

        assert!(largest <= MAX_MESSAGE_BYTES + 64 * 1024, "largest message has {largest} bytes");
        assert_eq!(batches.len(), 4);
        let sent: Vec<i64> = batches
            .iter()
            .flat_map(|batch| batch.column(1).as_primitive::<Int64Type>().values().to_vec())
            .collect();
        assert_eq!(sent, (0..4000).collect::<Vec<i64>>());
    }

    #[test]
    fn a_slice_of_a_list_counts_only_its_own_values() {
        let lists = ListArray::from_iter_primitive::<Int32Type, _, _>(
            (0..100).map(|_| Some((0..1000).map(Some).collect::<Vec<_>>())),
        );
        let whole = wire_bytes(&lists);
        let tenth = wire_bytes(&lists.slice(30, 10));
        assert!(tenth * 9 < whole && tenth * 11 > whole, "{tenth} of {whole}");
    }

    #[test]
    fn a_large_row_is_not_split() {
        let text = "x".repeat(3 * MAX_MESSAGE_BYTES);
        let batch = batch_of(vec![("text", Arc::new(StringArray::from(vec!["a", &text, "b"])))]);
        let mut parts = Vec::new();
        split(batch, &mut parts);
        assert_eq!(parts.iter().map(RecordBatch::num_rows).sum::<usize>(), 3);
        assert!(parts.len() >= 2);
    }

    #[test]
    fn a_null_in_a_column_without_nulls_is_an_error() {
        let batch = batch_of(vec![("a", Arc::new(Int32Array::from(vec![Some(1), None])))]);
        let strict = Arc::new(Schema::new(vec![Field::new("a", DataType::Int32, false)]));
        let error = to_wire(&batch, &strict).unwrap_err();
        assert!(error.to_string().contains("'a'"), "{error}");
    }

    #[tokio::test]
    async fn rows_without_columns_keep_their_count() {
        let options = RecordBatchOptions::new().with_row_count(Some(3));
        let empty = Arc::new(Schema::empty());
        let batch = RecordBatch::try_new_with_options(empty, vec![], &options).unwrap();
        let (_, batches, _) = round_trip(&batch).await;
        assert_eq!(batches.iter().map(RecordBatch::num_rows).sum::<usize>(), 3);
    }
}
