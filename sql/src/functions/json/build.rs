//! SQL values to JSON, as `to_json` and `json_build_object` write them.

use super::Flavor;
use super::calls::spelled;
use super::value::quote;
use crate::functions::datetime::{Clocks, Parts};
use crate::functions::given::{Call, failed};
use arrow::array::types::{Date32Type, Float64Type, TimestampMicrosecondType};
use arrow::array::{Array, ArrayRef, AsArray, StringBuilder};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, FieldRef, TimeUnit};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use datafusion::common::Result;
use std::sync::Arc;

/// Writes an object of keys and values that follow each other.
pub(super) fn object(
    flavor: Flavor,
    fields: &[FieldRef],
    arrays: &[ArrayRef],
    call: &Call<'_>,
) -> Result<ArrayRef> {
    if !arrays.len().is_multiple_of(2) {
        return Err(failed("argument list must have even number of elements"));
    }
    let writers = writers(fields, arrays, call)?;
    rows(flavor, call.n_rows, |row, out| {
        out.push('{');
        for (idx, pair) in writers.chunks(2).enumerate() {
            let key = pair[0].text(row)?;
            let key = key
                .ok_or_else(|| failed(format!("argument {}: key must not be null", 2 * idx + 1)))?;
            out.push_str(if idx == 0 { "" } else { ", " });
            quote(&key, out);
            out.push_str(" : ");
            pair[1].write(row, out)?;
        }
        out.push('}');
        Ok(())
    })
}

/// Writes an array of values.
pub(super) fn array(
    flavor: Flavor,
    fields: &[FieldRef],
    arrays: &[ArrayRef],
    call: &Call<'_>,
) -> Result<ArrayRef> {
    let writers = writers(fields, arrays, call)?;
    rows(flavor, call.n_rows, |row, out| {
        out.push('[');
        for (idx, writer) in writers.iter().enumerate() {
            out.push_str(if idx == 0 { "" } else { ", " });
            writer.write(row, out)?;
        }
        out.push(']');
        Ok(())
    })
}

/// Writes one value; NULL stays NULL.
pub(super) fn scalar(
    flavor: Flavor,
    fields: &[FieldRef],
    arrays: &[ArrayRef],
    call: &Call<'_>,
) -> Result<ArrayRef> {
    let [values] = arrays else { return Err(failed("to_json takes one value")) };
    let writer = Writer::new(&fields[0], values, call)?;
    let mut made = StringBuilder::new();
    for row in 0..values.len() {
        if values.is_null(row) {
            made.append_null();
            continue;
        }
        let mut text = String::new();
        writer.write(row, &mut text)?;
        made.append_value(flavored(flavor, text)?);
    }
    Ok(Arc::new(made.finish()))
}

fn writers(fields: &[FieldRef], arrays: &[ArrayRef], call: &Call<'_>) -> Result<Vec<Writer>> {
    fields.iter().zip(arrays).map(|(field, array)| Writer::new(field, array, call)).collect()
}

fn rows(
    flavor: Flavor,
    n_rows: usize,
    write: impl Fn(usize, &mut String) -> Result<()>,
) -> Result<ArrayRef> {
    let mut made = StringBuilder::new();
    for row in 0..n_rows {
        let mut text = String::new();
        write(row, &mut text)?;
        made.append_value(flavored(flavor, text)?);
    }
    Ok(Arc::new(made.finish()))
}

fn flavored(flavor: Flavor, text: String) -> Result<String> {
    match flavor {
        Flavor::Json => Ok(text),
        Flavor::Jsonb => spelled(&text),
    }
}

/// Values that are written in one way.
struct Writer {
    values: ArrayRef,
    kind: Kind,
}

enum Kind {
    /// As the value prints, without quotes.
    Bare,
    Float,
    /// JSON already.
    Json,
    Text,
    Date,
    Timestamp(Option<Clocks>),
    List(Box<Writer>),
    Object(Vec<(String, Writer)>),
    /// As the value prints, in quotes.
    Quoted,
}

impl Writer {
    fn new(field: &Field, values: &ArrayRef, call: &Call<'_>) -> Result<Self> {
        let mut values = Arc::clone(values);
        let kind = match field.data_type() {
            DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => {
                values = cast(&values, &DataType::Utf8)?;
                if Flavor::of(field).is_some() { Kind::Json } else { Kind::Text }
            }
            DataType::Float16 | DataType::Float32 | DataType::Float64 => Kind::Float,
            DataType::Boolean | DataType::Null => Kind::Bare,
            data_type if data_type.is_numeric() => Kind::Bare,
            DataType::Date32 | DataType::Date64 => {
                values = cast(&values, &DataType::Date32)?;
                Kind::Date
            }
            DataType::Timestamp(_, zone) => {
                values = cast(&values, &DataType::Timestamp(TimeUnit::Microsecond, zone.clone()))?;
                let clocks = zone.as_ref().map(|_| Clocks::parse(call.time_zone));
                Kind::Timestamp(clocks.transpose()?)
            }
            DataType::List(element) => {
                let elements = Arc::clone(values.as_list::<i32>().values());
                Kind::List(Box::new(Self::new(element, &elements, call)?))
            }
            DataType::Struct(fields) => {
                let columns = fields.iter().zip(values.as_struct().columns());
                let member = |(field, column): (&FieldRef, &ArrayRef)| {
                    Ok((field.name().clone(), Self::new(field, column, call)?))
                };
                Kind::Object(columns.map(member).collect::<Result<_>>()?)
            }
            _ => Kind::Quoted,
        };
        Ok(Self { values, kind })
    }

    /// Returns a value's text, as a key; `None` for NULL.
    fn text(&self, row: usize) -> Result<Option<String>> {
        if self.values.is_null(row) || self.values.data_type().is_null() {
            return Ok(None);
        }
        if let Kind::Text | Kind::Json = self.kind {
            return Ok(Some(self.values.as_string::<i32>().value(row).to_string()));
        }
        let mut text = String::new();
        self.write(row, &mut text)?;
        let bare = text.strip_prefix('"').and_then(|text| text.strip_suffix('"'));
        Ok(Some(bare.map(str::to_string).unwrap_or(text)))
    }

    fn write(&self, row: usize, out: &mut String) -> Result<()> {
        if self.values.is_null(row) || self.values.data_type().is_null() {
            out.push_str("null");
            return Ok(());
        }
        match &self.kind {
            Kind::Bare => out.push_str(&self.printed(row)?),
            Kind::Quoted => quote(&self.printed(row)?, out),
            Kind::Json => out.push_str(self.values.as_string::<i32>().value(row)),
            Kind::Text => quote(self.values.as_string::<i32>().value(row), out),
            Kind::Float => {
                let value = match self.values.data_type() {
                    // Its own shortest digits, not those of the wider type.
                    DataType::Float32 => self.printed(row)?.parse().unwrap_or(f64::NAN),
                    _ => cast(&self.values.slice(row, 1), &DataType::Float64)?
                        .as_primitive::<Float64Type>()
                        .value(0),
                };
                match value.is_finite() {
                    true => out.push_str(&value.to_string()),
                    false => quote(if value.is_nan() { "NaN" } else { "Infinity" }, out),
                }
            }
            Kind::Date => {
                let days = i64::from(self.values.as_primitive::<Date32Type>().value(row));
                let time = Parts::of_local(days * crate::functions::datetime::MICROS_PER_DAY);
                quote(&date(&time), out);
            }
            Kind::Timestamp(clocks) => {
                let micros = self.values.as_primitive::<TimestampMicrosecondType>().value(row);
                quote(&timestamp(micros, clocks.as_ref())?, out);
            }
            Kind::List(elements) => {
                let offsets = self.values.as_list::<i32>().value_offsets();
                let range = offsets[row] as usize..offsets[row + 1] as usize;
                out.push('[');
                for element in range.clone() {
                    out.push_str(if element == range.start { "" } else { "," });
                    elements.write(element, out)?;
                }
                out.push(']');
            }
            Kind::Object(members) => {
                out.push('{');
                for (idx, (name, member)) in members.iter().enumerate() {
                    out.push_str(if idx == 0 { "" } else { "," });
                    quote(name, out);
                    out.push(':');
                    member.write(row, out)?;
                }
                out.push('}');
            }
        }
        Ok(())
    }

    fn printed(&self, row: usize) -> Result<String> {
        let options = FormatOptions::default();
        let formatter = ArrayFormatter::try_new(self.values.as_ref(), &options)?;
        Ok(formatter.value(row).try_to_string()?)
    }
}

fn date(time: &Parts) -> String {
    format!("{:04}-{:02}-{:02}", time.year, time.month, time.day)
}

fn timestamp(micros: i64, clocks: Option<&Clocks>) -> Result<String> {
    let time = match clocks {
        Some(clocks) => Parts::of_moment(micros, clocks),
        None => Some(Parts::of_local(micros)),
    };
    let time = time.ok_or_else(|| failed("timestamp out of range"))?;
    let mut text =
        format!("{}T{:02}:{:02}:{:02}", date(&time), time.hour, time.minute, time.second);
    if time.micro != 0 {
        let fraction = format!(".{:06}", time.micro);
        text.push_str(fraction.trim_end_matches('0'));
    }
    if let Some(zone) = &time.zone {
        let (sign, seconds) = (if zone.seconds_east < 0 { '-' } else { '+' }, zone.seconds_east);
        let (hours, minutes) = (seconds.abs() / 3_600, seconds.abs() / 60 % 60);
        text.push_str(&format!("{sign}{hours:02}:{minutes:02}"));
    }
    Ok(text)
}
