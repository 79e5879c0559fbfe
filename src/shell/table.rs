//! Rows as aligned columns, the way psql draws them.
//!
//! The first rows (at most [`WIDTH_ROWS`]) are held back to find the column widths; later rows stream with the same
//! widths, and a wider value pushes its line to the right. Memory is bounded for a result of any size.

use super::output::Cells;
use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, SchemaRef};
use std::io::{Result, Write};
use unicode_width::UnicodeWidthStr;

/// Rows that decide the widths.
const WIDTH_ROWS: usize = 10_000;

/// Cells of some rows, row by row.
type Rows = Vec<Vec<String>>;

/// Draws rows as a table.
pub struct Table {
    schema: SchemaRef,
    /// Rows held back; empty once the widths are known.
    held: Rows,
    /// Known after the first block.
    widths: Option<Vec<usize>>,
}

impl Table {
    /// Returns an empty table with these columns.
    pub fn new(schema: SchemaRef) -> Self {
        Self { schema, held: Vec::new(), widths: None }
    }

    /// Draws a batch, or holds it back while the widths are open.
    ///
    /// # Errors
    /// When a value cannot be formatted or written.
    pub fn write(&mut self, batch: &RecordBatch, out: &mut dyn Write) -> Result<()> {
        let rows = format_rows(batch)?;
        match &self.widths {
            Some(widths) => draw_rows(&self.schema, widths, &rows, out),
            None => {
                self.held.extend(rows);
                if self.held.len() >= WIDTH_ROWS { self.start(out) } else { Ok(()) }
            }
        }
    }

    /// Draws what is held back.
    ///
    /// # Errors
    /// When writing fails.
    pub fn finish(&mut self, out: &mut dyn Write) -> Result<()> {
        if self.widths.is_none() { self.start(out) } else { Ok(()) }
    }

    fn start(&mut self, out: &mut dyn Write) -> Result<()> {
        let held = std::mem::take(&mut self.held);
        let widths = column_widths(&self.schema, &held);
        draw_header(&self.schema, &widths, out)?;
        draw_rows(&self.schema, &widths, &held, out)?;
        self.widths = Some(widths);
        Ok(())
    }
}

/// Draws rows one under the other, each column on its own line (`\x`). `n_before` rows were drawn before.
///
/// # Errors
/// When a value cannot be formatted or written.
pub fn write_expanded(batch: &RecordBatch, n_before: usize, out: &mut dyn Write) -> Result<()> {
    let schema = batch.schema();
    let name_width = schema.fields().iter().map(|field| field.name().width()).max().unwrap_or(0);
    for (idx, row) in format_rows(batch)?.iter().enumerate() {
        writeln!(out, "{:-<1$}", format!("-[ RECORD {} ]", n_before + idx + 1), name_width + 24)?;
        for (field, cell) in schema.fields().iter().zip(row) {
            let mut label = field.name().as_str();
            for line in cell.split('\n') {
                write!(out, "{label}{} | ", " ".repeat(name_width - label.width()))?;
                writeln!(out, "{line}")?;
                label = "";
            }
        }
    }
    Ok(())
}

fn format_rows(batch: &RecordBatch) -> Result<Rows> {
    let cells = Cells::new(batch)?;
    (0..batch.num_rows())
        .map(|row| (0..batch.num_columns()).map(|column| cells.text(column, row)).collect())
        .collect()
}

fn column_widths(schema: &SchemaRef, rows: &Rows) -> Vec<usize> {
    let mut widths: Vec<usize> = schema.fields().iter().map(|field| field.name().width()).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.split('\n').map(UnicodeWidthStr::width).max().unwrap_or(0).max(*width);
        }
    }
    widths
}

fn draw_header(schema: &SchemaRef, widths: &[usize], out: &mut dyn Write) -> Result<()> {
    let names: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
    draw_line(schema, widths, &names, out)?;
    let rules: Vec<String> = widths.iter().map(|width| "-".repeat(width + 2)).collect();
    writeln!(out, "{}", rules.join("+"))
}

/// Draws rows; a value of several lines makes its row several lines high.
fn draw_rows(schema: &SchemaRef, widths: &[usize], rows: &Rows, out: &mut dyn Write) -> Result<()> {
    for row in rows {
        let mut lines: Vec<_> = row.iter().map(|cell| cell.split('\n')).collect();
        let height = row.iter().map(|cell| cell.matches('\n').count() + 1).max().unwrap_or(1);
        for _ in 0..height {
            let cells: Vec<&str> =
                lines.iter_mut().map(|lines| lines.next().unwrap_or_default()).collect();
            draw_line(schema, widths, &cells, out)?;
        }
    }
    Ok(())
}

fn draw_line(
    schema: &SchemaRef,
    widths: &[usize],
    cells: &[&str],
    out: &mut dyn Write,
) -> Result<()> {
    let mut line = String::new();
    for (idx, (cell, width)) in cells.iter().zip(widths).enumerate() {
        line.push_str(if idx == 0 { " " } else { " | " });
        let padding = " ".repeat(width.saturating_sub(cell.width()));
        if is_number(schema.field(idx).data_type()) {
            line.push_str(&padding);
            line.push_str(cell);
        } else {
            line.push_str(cell);
            line.push_str(&padding);
        }
    }
    writeln!(out, "{}", line.trim_end())
}

fn is_number(data_type: &DataType) -> bool {
    match data_type {
        DataType::Dictionary(_, values) => is_number(values),
        other => other.is_numeric(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{Float64Array, StringArray};
    use arrow::datatypes::{Field, Schema};
    use std::sync::Arc;

    fn batch(names: &[Option<&str>], values: &[Option<f64>]) -> RecordBatch {
        let schema = Schema::new(vec![
            Field::new("zone", DataType::Utf8, true),
            Field::new("fare", DataType::Float64, true),
        ]);
        let columns: Vec<arrow::array::ArrayRef> = vec![
            Arc::new(StringArray::from(names.to_vec())),
            Arc::new(Float64Array::from(values.to_vec())),
        ];
        RecordBatch::try_new(Arc::new(schema), columns).expect("a batch")
    }

    fn draw(batches: &[RecordBatch]) -> String {
        let mut out = Vec::new();
        let mut table = Table::new(batches[0].schema());
        for batch in batches {
            table.write(batch, &mut out).expect("write");
        }
        table.finish(&mut out).expect("finish");
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn numbers_stand_right_and_null_shows() {
        let text = draw(&[batch(&[Some("Upper East"), None], &[Some(10.5), None])]);
        assert_eq!(
            text,
            " zone       | fare\n------------+------\n Upper East | 10.5\n NULL       | NULL\n"
        );
    }

    #[test]
    fn an_empty_result_has_its_header() {
        let text = draw(&[batch(&[], &[])]);
        assert_eq!(text, " zone | fare\n------+------\n");
    }

    #[test]
    fn wide_characters_and_lines_keep_the_columns() {
        let text = draw(&[batch(&[Some("東京"), Some("a\nb")], &[Some(1.0), Some(2.0)])]);
        assert_eq!(text, " zone | fare\n------+------\n 東京 |  1.0\n a    |  2.0\n b    |\n");
    }

    #[test]
    fn rows_after_the_first_block_stream_with_its_widths() {
        let first = batch(&vec![Some("ab"); WIDTH_ROWS], &vec![Some(1.0); WIDTH_ROWS]);
        let mut out = Vec::new();
        let mut table = Table::new(first.schema());
        table.write(&first, &mut out).expect("write");
        assert!(!out.is_empty(), "the first block is drawn when it is full");
        out.clear();
        table.write(&batch(&[Some("abcdefgh")], &[Some(2.0)]), &mut out).expect("write");
        assert_eq!(String::from_utf8(out).expect("text"), " abcdefgh |  2.0\n");
    }

    #[test]
    fn expanded_rows_are_numbered_on() {
        let mut out = Vec::new();
        write_expanded(&batch(&[Some("x")], &[None]), 4, &mut out).expect("write");
        let text = String::from_utf8(out).expect("text");
        assert_eq!(text, "-[ RECORD 5 ]---------------\nzone | x\nfare | NULL\n");
    }
}
