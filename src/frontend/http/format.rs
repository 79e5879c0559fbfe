//! The forms in which `/v1/sql` writes rows: JSON, JSON lines, CSV, Arrow stream.
//!
//! Called by `http` with one batch at a time. JSON is `{"columns": [{"name", "type"}], "rows": [[…]], "query_id"}`;
//! JSON lines is one object a row. Numbers keep all their digits, also decimals and 64-bit integers: a client that
//! reads them into doubles loses some. Nested values in CSV are JSON texts.

use super::from_arrow;
use crate::error::Result;
use crate::frontend::flight::wire;
use arrow::array::{Array, ArrayRef, RecordBatch, RecordBatchOptions, StringBuilder};
use arrow::csv::WriterBuilder;
use arrow::datatypes::{DataType, FieldRef, Schema, SchemaRef};
use arrow::error::ArrowError;
use arrow::ipc::writer::StreamWriter;
use arrow::json::writer::{EncoderOptions, NullableEncoder, make_encoder};
use serde_json::{Value, json};
use std::sync::Arc;
use uuid::Uuid;

/// A form of rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// One JSON object with columns and rows.
    Json,
    /// One JSON object a line and row.
    JsonLines,
    /// Comma-separated values with a header line.
    Csv,
    /// Arrow's IPC stream.
    Arrow,
}

impl Format {
    /// Returns the form a request asks for, by its query string or else its `Accept` header; JSON by default.
    ///
    /// # Errors
    /// A text for the client when no form fits.
    pub fn choose(parameter: Option<&str>, accept: &str) -> Result<Self, String> {
        if let Some(name) = parameter {
            return Self::named(name).ok_or_else(|| {
                format!("unknown format \"{name}\": use json, ndjson, csv or arrow")
            });
        }
        if accept.is_empty() {
            return Ok(Self::Json);
        }
        let types = accept.split(',').map(|part| part.split(';').next().unwrap_or("").trim());
        types.into_iter().find_map(Self::of_media_type).ok_or_else(|| {
            format!(
                "no format for \"{accept}\": accept application/json, application/x-ndjson, text/csv or {}",
                Self::Arrow.media_type()
            )
        })
    }

    /// Returns the form of a name in a query string.
    fn named(name: &str) -> Option<Self> {
        match name {
            "json" => Some(Self::Json),
            "ndjson" | "jsonl" => Some(Self::JsonLines),
            "csv" => Some(Self::Csv),
            "arrow" => Some(Self::Arrow),
            _ => None,
        }
    }

    /// Returns the form of a media type.
    fn of_media_type(media_type: &str) -> Option<Self> {
        match media_type {
            "*/*" | "application/*" | "application/json" => Some(Self::Json),
            "application/x-ndjson" | "application/jsonl" => Some(Self::JsonLines),
            "text/csv" | "text/*" => Some(Self::Csv),
            "application/vnd.apache.arrow.stream" => Some(Self::Arrow),
            _ => None,
        }
    }

    /// Returns the media type of the form.
    pub fn media_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::JsonLines => "application/x-ndjson",
            Self::Csv => "text/csv; charset=utf-8; header=present",
            Self::Arrow => "application/vnd.apache.arrow.stream",
        }
    }
}

/// Writes the batches of one result.
pub struct Writer {
    schema: SchemaRef,
    form: Form,
}

/// What a form needs from one batch to the next.
enum Form {
    /// What stands before the next row: the start of the object, then commas.
    Json { before: String, query_id: Uuid },
    /// The keys of a row, ready to be written.
    JsonLines { keys: Vec<String> },
    /// Whether the header is still to be written.
    Csv { header: bool },
    /// The stream so far, taken out after every batch.
    Arrow(Box<StreamWriter<Vec<u8>>>),
}

impl Writer {
    /// Returns a writer of rows of `schema`.
    ///
    /// # Errors
    /// When the Arrow stream cannot be begun.
    pub fn new(format: Format, schema: &Schema, query_id: Uuid) -> Result<Self> {
        let schema = wire::wire_schema(schema);
        let form = match format {
            Format::Json => Form::Json { before: json_start(&schema), query_id },
            Format::JsonLines => Form::JsonLines { keys: json_keys(&schema) },
            Format::Csv => Form::Csv { header: true },
            Format::Arrow => {
                let stream = StreamWriter::try_new(Vec::new(), &schema).map_err(from_arrow)?;
                Form::Arrow(Box::new(stream))
            }
        };
        Ok(Self { schema, form })
    }

    /// Returns the rows of a batch as bytes of the body.
    ///
    /// # Errors
    /// When a value has no representation in the form.
    pub fn write(&mut self, batch: &RecordBatch) -> Result<Vec<u8>> {
        self.write_batch(batch).map_err(from_arrow)
    }

    /// Returns the end of a body whose rows are all written.
    ///
    /// # Errors
    /// When the Arrow stream cannot be ended.
    pub fn finish(&mut self) -> Result<Vec<u8>> {
        let schema = Arc::clone(&self.schema);
        match &mut self.form {
            Form::Json { before, query_id } => {
                // Without rows, the start of the object is still to be written.
                let start = if before == "," { "" } else { before.as_str() };
                Ok(format!("{start}],\"query_id\":\"{query_id}\"}}\n").into_bytes())
            }
            Form::Csv { header: true } => self.write(&RecordBatch::new_empty(schema)),
            Form::Csv { .. } | Form::JsonLines { .. } => Ok(Vec::new()),
            Form::Arrow(stream) => {
                stream.finish().map_err(from_arrow)?;
                Ok(std::mem::take(stream.get_mut()))
            }
        }
    }

    /// Returns the end of a body whose rows failed, or `None` when the form has no place for an error.
    pub fn fail(&self, error: &Value) -> Option<Vec<u8>> {
        match &self.form {
            Form::Json { before, .. } => {
                let start = if before == "," { "" } else { before.as_str() };
                Some(format!("{start}],\"error\":{error}}}\n").into_bytes())
            }
            Form::JsonLines { .. } => Some(format!("{{\"error\":{error}}}\n").into_bytes()),
            Form::Csv { .. } | Form::Arrow(_) => None,
        }
    }

    /// Writes one batch in its form.
    fn write_batch(&mut self, batch: &RecordBatch) -> Result<Vec<u8>, ArrowError> {
        let batch = wire::to_wire(batch, &self.schema)?;
        let mut out = Vec::new();
        match &mut self.form {
            Form::Json { before, .. } => write_json(&batch, before, &mut out)?,
            Form::JsonLines { keys } => write_json_lines(&batch, keys, &mut out)?,
            Form::Csv { header } => {
                let flat = flatten(&batch)?;
                WriterBuilder::new().with_header(*header).build(&mut out).write(&flat)?;
                *header = false;
            }
            Form::Arrow(stream) => {
                stream.write(&batch)?;
                out = std::mem::take(stream.get_mut());
            }
        }
        Ok(out)
    }
}

/// Returns the start of a JSON body up to the first row.
fn json_start(schema: &Schema) -> String {
    let columns: Vec<Value> = schema
        .fields()
        .iter()
        .map(|field| json!({ "name": field.name(), "type": field.data_type().to_string() }))
        .collect();
    format!("{{\"columns\":{},\"rows\":[", Value::Array(columns))
}

/// Returns what stands before each value of a JSON line: `{"a":`, then `,"b":`.
fn json_keys(schema: &Schema) -> Vec<String> {
    let fields = schema.fields().iter().enumerate();
    fields
        .map(|(idx, field)| {
            let before = if idx == 0 { "{" } else { "," };
            format!("{before}{}:", Value::from(field.name().as_str()))
        })
        .collect()
}

/// Writes rows as arrays, `before` in front of the first and a comma in front of the others.
fn write_json(
    batch: &RecordBatch,
    before: &mut String,
    out: &mut Vec<u8>,
) -> Result<(), ArrowError> {
    let options = EncoderOptions::default().with_explicit_nulls(true);
    let schema = batch.schema();
    let mut encoders = encoders(batch, schema.fields(), &options)?;
    for row in 0..batch.num_rows() {
        out.extend_from_slice(before.as_bytes());
        *before = ",".to_string();
        out.push(b'[');
        for (idx, encoder) in encoders.iter_mut().enumerate() {
            if idx > 0 {
                out.push(b',');
            }
            write_value(encoder, row, out);
        }
        out.push(b']');
    }
    Ok(())
}

/// Writes rows as objects, one a line.
fn write_json_lines(
    batch: &RecordBatch,
    keys: &[String],
    out: &mut Vec<u8>,
) -> Result<(), ArrowError> {
    let options = EncoderOptions::default().with_explicit_nulls(true);
    let schema = batch.schema();
    let mut encoders = encoders(batch, schema.fields(), &options)?;
    for row in 0..batch.num_rows() {
        if keys.is_empty() {
            out.push(b'{');
        }
        for (key, encoder) in keys.iter().zip(&mut encoders) {
            out.extend_from_slice(key.as_bytes());
            write_value(encoder, row, out);
        }
        out.extend_from_slice(b"}\n");
    }
    Ok(())
}

/// Returns an encoder for every column.
fn encoders<'a>(
    batch: &'a RecordBatch,
    fields: &'a [FieldRef],
    options: &'a EncoderOptions,
) -> Result<Vec<NullableEncoder<'a>>, ArrowError> {
    let columns = batch.columns().iter().zip(fields);
    columns.map(|(column, field)| make_encoder(field, column.as_ref(), options)).collect()
}

/// Writes one value as JSON.
fn write_value(encoder: &mut NullableEncoder<'_>, row: usize, out: &mut Vec<u8>) {
    match encoder.is_null(row) {
        true => out.extend_from_slice(b"null"),
        false => encoder.encode(row, out),
    }
}

/// Returns a batch whose nested columns are JSON texts.
fn flatten(batch: &RecordBatch) -> Result<RecordBatch, ArrowError> {
    let schema = batch.schema();
    let mut fields = Vec::new();
    let mut columns: Vec<ArrayRef> = Vec::new();
    for (column, field) in batch.columns().iter().zip(schema.fields()) {
        if field.data_type().is_nested() {
            let text = field.as_ref().clone().with_data_type(DataType::Utf8);
            fields.push(Arc::new(text));
            columns.push(json_column(column.as_ref(), field)?);
        } else {
            fields.push(Arc::clone(field));
            columns.push(Arc::clone(column));
        }
    }
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), columns, &options)
}

/// Returns a column as JSON texts.
fn json_column(column: &dyn Array, field: &FieldRef) -> Result<ArrayRef, ArrowError> {
    let options = EncoderOptions::default().with_explicit_nulls(true);
    let mut encoder = make_encoder(field, column, &options)?;
    let mut texts = StringBuilder::new();
    let mut value = Vec::new();
    for row in 0..column.len() {
        if encoder.is_null(row) {
            texts.append_null();
            continue;
        }
        value.clear();
        encoder.encode(row, &mut value);
        texts.append_value(String::from_utf8_lossy(&value));
    }
    Ok(Arc::new(texts.finish()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{Decimal128Array, Int64Array, ListArray, StringViewArray};
    use arrow::datatypes::Int64Type;
    use arrow::ipc::reader::StreamReader;

    fn batch() -> RecordBatch {
        let lists = vec![Some(vec![Some(1), None]), None];
        let decimals = Decimal128Array::from(vec![Some(1050), None]);
        RecordBatch::try_from_iter_with_nullable(vec![
            ("id", Arc::new(Int64Array::from(vec![1, i64::MAX])) as ArrayRef, false),
            ("na\"me", Arc::new(StringViewArray::from(vec![Some("a,\"b\"\n"), None])), true),
            ("fare", Arc::new(decimals.with_precision_and_scale(10, 2).unwrap()), true),
            ("list", Arc::new(ListArray::from_iter_primitive::<Int64Type, _, _>(lists)), true),
        ])
        .unwrap()
    }

    /// Writes the batch twice and the end.
    fn body(format: Format) -> Vec<u8> {
        let mut writer = Writer::new(format, &batch().schema(), Uuid::nil()).unwrap();
        let mut body = writer.write(&batch()).unwrap();
        body.extend(writer.write(&batch()).unwrap());
        body.extend(writer.finish().unwrap());
        body
    }

    #[test]
    fn json_holds_columns_and_rows() {
        let value: Value = serde_json::from_slice(&body(Format::Json)).unwrap();
        assert_eq!(value["columns"][1], json!({"name": "na\"me", "type": "Utf8"}));
        assert_eq!(value["rows"].as_array().unwrap().len(), 4);
        assert_eq!(value["rows"][0], json!([1, "a,\"b\"\n", 10.50, [1, null]]));
        assert_eq!(value["rows"][3], json!([i64::MAX, null, null, null]));
        assert_eq!(value["query_id"], Uuid::nil().to_string());
    }

    #[test]
    fn json_without_rows_is_whole() {
        let mut writer = Writer::new(Format::Json, &batch().schema(), Uuid::nil()).unwrap();
        let value: Value = serde_json::from_slice(&writer.finish().unwrap()).unwrap();
        assert_eq!(value["rows"], json!([]));
    }

    #[test]
    fn json_tells_an_error_after_rows() {
        let mut writer = Writer::new(Format::Json, &batch().schema(), Uuid::nil()).unwrap();
        let mut body = writer.write(&batch()).unwrap();
        body.extend(writer.fail(&json!({"sqlstate": "22012"})).unwrap());
        let value: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(value["rows"].as_array().unwrap().len(), 2);
        assert_eq!(value["error"]["sqlstate"], "22012");
    }

    #[test]
    fn json_lines_is_one_object_a_row() {
        let text = String::from_utf8(body(Format::JsonLines)).unwrap();
        let lines: Vec<Value> =
            text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines.len(), 4);
        assert_eq!(lines[1], json!({"id": i64::MAX, "na\"me": null, "fare": null, "list": null}));
    }

    #[test]
    fn csv_has_one_header_and_nested_json() {
        let text = String::from_utf8(body(Format::Csv)).unwrap();
        let expected = "id,\"na\"\"me\",fare,list\n1,\"a,\"\"b\"\"\n\",10.50,\"[1,null]\"\n";
        assert!(text.starts_with(expected), "{text}");
        assert_eq!(text.matches("fare").count(), 1);
    }

    #[test]
    fn csv_without_rows_has_a_header() {
        let mut writer = Writer::new(Format::Csv, &batch().schema(), Uuid::nil()).unwrap();
        assert_eq!(writer.finish().unwrap(), b"id,\"na\"\"me\",fare,list\n");
    }

    #[test]
    fn arrow_is_one_stream() {
        let body = body(Format::Arrow);
        let reader = StreamReader::try_new(body.as_slice(), None).unwrap();
        let batches: Vec<RecordBatch> = reader.map(Result::unwrap).collect();
        assert_eq!(batches.iter().map(RecordBatch::num_rows).sum::<usize>(), 4);
        assert_eq!(batches[0].schema().field(1).data_type(), &DataType::Utf8);
    }

    #[test]
    fn the_format_follows_parameter_then_accept() {
        assert_eq!(Format::choose(Some("csv"), "application/json"), Ok(Format::Csv));
        assert_eq!(Format::choose(None, ""), Ok(Format::Json));
        assert_eq!(Format::choose(None, "*/*"), Ok(Format::Json));
        assert_eq!(Format::choose(None, "text/html, text/csv;q=0.9"), Ok(Format::Csv));
        assert!(Format::choose(None, "text/html").is_err());
        assert!(Format::choose(Some("xml"), "").is_err());
    }
}
