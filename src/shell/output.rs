//! Results as text or bytes on standard output.
//!
//! Called by the runner with each batch as it arrives; nothing but the first block of a table is held back.

use super::Format;
use super::diagnostic::Failure;
use super::table::{self, Table};
use arrow::array::{ArrayRef, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::error::ArrowError;
use arrow::ipc::writer::StreamWriter;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use std::io::Write;
use std::sync::Arc;

/// How values look as text: PostgreSQL's date and time forms, so that output can be read back by either.
const VALUE_OPTIONS: FormatOptions<'static> = FormatOptions::new()
    .with_display_error(true)
    .with_null("NULL")
    .with_date_format(Some("%Y-%m-%d"))
    .with_time_format(Some("%H:%M:%S%.f"))
    .with_timestamp_format(Some("%Y-%m-%d %H:%M:%S%.f"))
    .with_timestamp_tz_format(Some("%Y-%m-%d %H:%M:%S%.f%:z"));

/// Formats the cells of one batch for reading.
pub struct Cells<'a> {
    formatters: Vec<ArrayFormatter<'a>>,
}

impl<'a> Cells<'a> {
    /// Returns the cells of a batch.
    ///
    /// # Errors
    /// When a column has a type that has no text form.
    pub fn new(batch: &'a RecordBatch) -> std::io::Result<Self> {
        let formatters: Result<_, ArrowError> = batch
            .columns()
            .iter()
            .map(|column| ArrayFormatter::try_new(column.as_ref(), &VALUE_OPTIONS))
            .collect();
        Ok(Self { formatters: formatters.map_err(std::io::Error::other)? })
    }

    /// Returns one cell. Control characters other than line ends are escaped: a value must not steer the terminal.
    ///
    /// # Errors
    /// When the value has no text form.
    pub fn text(&self, column: usize, row: usize) -> std::io::Result<String> {
        let text =
            self.formatters[column].value(row).try_to_string().map_err(std::io::Error::other)?;
        let is_plain = |c: char| c == '\n' || !c.is_control();
        if text.chars().all(is_plain) {
            return Ok(text);
        }
        let escape =
            |c: char| if is_plain(c) { c.to_string() } else { c.escape_default().to_string() };
        Ok(text.chars().map(escape).collect())
    }
}

/// Writes one result set in a format.
pub struct ResultWriter {
    kind: Kind,
    n_rows: usize,
}

/// The state each format needs. `Arrow` owns no output, so bytes are taken out of its buffer after each batch.
enum Kind {
    Table(Table),
    Expanded,
    Csv { is_started: bool },
    Json,
    Arrow(Box<StreamWriter<Vec<u8>>>),
}

impl ResultWriter {
    /// Returns a writer for a result set; `expanded` turns a table's rows into blocks.
    ///
    /// # Errors
    /// When the format cannot carry the schema.
    pub fn new(format: Format, expanded: bool, schema: &SchemaRef) -> Result<Self, Failure> {
        let kind = match format {
            Format::Table if expanded => Kind::Expanded,
            Format::Table => Kind::Table(Table::new(Arc::clone(schema))),
            Format::Csv => Kind::Csv { is_started: false },
            Format::Json => Kind::Json,
            Format::Arrow => Kind::Arrow(Box::new(StreamWriter::try_new(Vec::new(), schema)?)),
        };
        Ok(Self { kind, n_rows: 0 })
    }

    /// Returns how many rows were given so far.
    pub fn n_rows(&self) -> usize {
        self.n_rows
    }

    /// Writes a batch.
    ///
    /// # Errors
    /// When a value has no form in this format, or writing fails.
    pub fn write(&mut self, batch: &RecordBatch, out: &mut dyn Write) -> Result<(), Failure> {
        match &mut self.kind {
            Kind::Table(table) => table.write(batch, out)?,
            Kind::Expanded => table::write_expanded(batch, self.n_rows, out)?,
            Kind::Csv { is_started } => {
                write_csv(batch, !std::mem::replace(is_started, true), out)?
            }
            Kind::Json => write_json(batch, out)?,
            Kind::Arrow(writer) => {
                writer.write(batch)?;
                out.write_all(&std::mem::take(writer.get_mut()))?;
            }
        }
        self.n_rows += batch.num_rows();
        Ok(out.flush()?)
    }

    /// Writes what belongs after the last batch: the row count of a table, the end mark of a stream.
    ///
    /// # Errors
    /// When writing fails.
    pub fn finish(&mut self, schema: &SchemaRef, out: &mut dyn Write) -> Result<(), Failure> {
        match &mut self.kind {
            Kind::Table(table) => {
                table.finish(out)?;
                writeln!(out, "({})\n", plural(self.n_rows, "row"))?;
            }
            Kind::Expanded => writeln!(out, "({})\n", plural(self.n_rows, "row"))?,
            Kind::Csv { is_started: false } => {
                write_csv(&RecordBatch::new_empty(Arc::clone(schema)), true, out)?;
            }
            Kind::Csv { is_started: true } | Kind::Json => {}
            Kind::Arrow(writer) => {
                writer.finish()?;
                out.write_all(&std::mem::take(writer.get_mut()))?;
            }
        }
        Ok(out.flush()?)
    }
}

/// Returns a count with its noun, digits in groups of three.
pub fn plural(count: usize, noun: &str) -> String {
    let ending = if count == 1 { "" } else { "s" };
    format!("{} {noun}{ending}", grouped(count))
}

/// Returns a number with its digits in groups of three.
pub fn grouped(number: usize) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (idx, digit) in digits.chars().enumerate() {
        if idx > 0 && (digits.len() - idx).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn write_csv(batch: &RecordBatch, header: bool, out: &mut dyn Write) -> Result<(), Failure> {
    let flat = flatten(batch)?;
    let mut writer = arrow::csv::WriterBuilder::new()
        .with_header(header)
        .with_timestamp_format("%Y-%m-%d %H:%M:%S%.f".to_string())
        .with_timestamp_tz_format("%Y-%m-%d %H:%M:%S%.f%:z".to_string())
        .build(out);
    Ok(writer.write(&flat)?)
}

fn write_json(batch: &RecordBatch, out: &mut dyn Write) -> Result<(), Failure> {
    let mut writer = arrow::json::WriterBuilder::new()
        .with_explicit_nulls(true)
        .build::<_, arrow::json::writer::LineDelimited>(out);
    writer.write(batch)?;
    Ok(writer.finish()?)
}

/// Turns columns that CSV has no form for (lists, structs, maps) into text.
fn flatten(batch: &RecordBatch) -> Result<RecordBatch, Failure> {
    let schema = batch.schema();
    if !schema.fields().iter().any(|field| field.data_type().is_nested()) {
        return Ok(batch.clone());
    }
    let mut fields = Vec::new();
    let mut columns: Vec<ArrayRef> = Vec::new();
    for (field, column) in schema.fields().iter().zip(batch.columns()) {
        if !field.data_type().is_nested() {
            fields.push(Arc::clone(field));
            columns.push(Arc::clone(column));
            continue;
        }
        let formatter = ArrayFormatter::try_new(column.as_ref(), &VALUE_OPTIONS)?;
        let texts = (0..column.len()).map(|row| {
            column.is_valid(row).then(|| formatter.value(row).try_to_string()).transpose()
        });
        columns.push(Arc::new(texts.collect::<Result<StringArray, ArrowError>>()?));
        fields.push(Arc::new(Field::new(field.name(), DataType::Utf8, true)));
    }
    Ok(RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{Int64Array, ListArray, TimestampMicrosecondArray};
    use arrow::datatypes::{Int32Type, TimeUnit};
    use arrow::ipc::reader::StreamReader;

    fn sample() -> RecordBatch {
        let schema = Schema::new(vec![
            Field::new("n", DataType::Int64, true),
            Field::new("s", DataType::Utf8, true),
            Field::new("at", DataType::Timestamp(TimeUnit::Microsecond, None), true),
        ]);
        let columns: Vec<ArrayRef> = vec![
            Arc::new(Int64Array::from(vec![Some(1), None])),
            Arc::new(StringArray::from(vec![Some("a,\"b\""), None])),
            Arc::new(TimestampMicrosecondArray::from(vec![Some(1_500_000), None])),
        ];
        RecordBatch::try_new(Arc::new(schema), columns).expect("a batch")
    }

    fn write(format: Format, batches: &[RecordBatch], schema: &SchemaRef) -> Vec<u8> {
        let mut out = Vec::new();
        let mut writer = ResultWriter::new(format, false, schema).expect("writer");
        for batch in batches {
            writer.write(batch, &mut out).expect("write");
        }
        writer.finish(schema, &mut out).expect("finish");
        out
    }

    fn text(format: Format, batches: &[RecordBatch]) -> String {
        String::from_utf8(write(format, batches, &sample().schema())).expect("text")
    }

    #[test]
    fn csv_has_one_header_for_all_batches() {
        let row = "1,\"a,\"\"b\"\"\",1970-01-01 00:00:01.500\n,,\n";
        assert_eq!(text(Format::Csv, &[sample(), sample()]), format!("n,s,at\n{row}{row}"));
        assert_eq!(text(Format::Csv, &[]), "n,s,at\n");
    }

    #[test]
    fn json_is_one_object_a_line_with_explicit_nulls() {
        assert_eq!(
            text(Format::Json, &[sample()]),
            "{\"n\":1,\"s\":\"a,\\\"b\\\"\",\"at\":\"1970-01-01T00:00:01.500\"}\n\
             {\"n\":null,\"s\":null,\"at\":null}\n"
        );
        assert_eq!(text(Format::Json, &[]), "");
    }

    #[test]
    fn arrow_streams_read_back() {
        let bytes = write(Format::Arrow, &[sample(), sample()], &sample().schema());
        let reader = StreamReader::try_new(bytes.as_slice(), None).expect("a stream");
        let batches: Result<Vec<_>, _> = reader.collect();
        assert_eq!(batches.expect("batches"), [sample(), sample()]);
    }

    #[test]
    fn tables_end_with_the_row_count() {
        let table = text(Format::Table, &[sample()]);
        assert!(table.ends_with(" NULL | NULL  | NULL\n(2 rows)\n\n"), "{table}");
    }

    #[test]
    fn lists_become_text_in_csv() {
        let list =
            ListArray::from_iter_primitive::<Int32Type, _, _>(vec![Some(vec![Some(1), Some(2)])]);
        let batch = RecordBatch::try_from_iter([("l", Arc::new(list) as ArrayRef)]).expect("batch");
        let bytes = write(Format::Csv, std::slice::from_ref(&batch), &batch.schema());
        assert_eq!(String::from_utf8(bytes).expect("text"), "l\n\"[1, 2]\"\n");
    }

    #[test]
    fn values_cannot_steer_the_terminal() {
        let column: ArrayRef = Arc::new(StringArray::from(vec!["a\x1b[31mb\tc"]));
        let batch = RecordBatch::try_from_iter([("s", column)]).expect("batch");
        let cells = Cells::new(&batch).expect("cells");
        assert_eq!(cells.text(0, 0).expect("text"), "a\\u{1b}[31mb\\tc");
    }

    #[test]
    fn big_counts_are_grouped() {
        assert_eq!(grouped(0), "0");
        assert_eq!(grouped(1_234_567), "1,234,567");
        assert_eq!(plural(1, "row"), "1 row");
    }
}
