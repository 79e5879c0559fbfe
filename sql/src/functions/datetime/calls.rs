//! `to_char`, `to_date` and `to_timestamp`.
//!
//! Each is the engine's function where a pattern holds a `%`, as its own patterns do, and where there is none or are
//! several; PostgreSQL's otherwise. A pattern of `to_timestamp` that is not a constant is the engine's, because the type
//! of the result depends on it.

use super::Clocks;
use super::pattern::{Part, parse};
use super::print::print;
use super::read::read;
use super::times::Times;
use crate::functions::given::{Call, Given, Types, calculated, failed, is_text};
use crate::functions::number;
use arrow::array::types::{Date32Type, TimestampMicrosecondType};
use arrow::array::{Array, ArrayRef, AsArray, PrimitiveArray, StringArray, StringBuilder};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, FieldRef, TimeUnit};
use datafusion::common::{Result, ScalarValue};
use datafusion::config::ConfigOptions;
use datafusion::functions::datetime::{to_char, to_date, to_timestamp};
use datafusion::logical_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
    Volatility,
};
use std::sync::Arc;

/// Patterns of a duration that are the engine's without a `%`.
const DURATION_PATTERNS: [&str; 2] = ["pretty", "iso8601"];

/// Returns the functions to register.
pub(super) fn all() -> Vec<Arc<ScalarUDF>> {
    let to_char = Given {
        name: "to_char",
        aliases: &["date_format"],
        volatility: Volatility::Stable,
        types: to_char_types,
        run: run_to_char,
    };
    let reading = |kind, inner| {
        let signature = Signature::variadic_any(Volatility::Stable);
        Arc::new(ScalarUDF::from(Reading { kind, inner, signature }))
    };
    vec![
        to_char.function(),
        reading(Kind::Date, to_date()),
        reading(Kind::Timestamp, to_timestamp(&ConfigOptions::default())),
    ]
}

/// Returns whether a pattern is the engine's.
fn is_engines(pattern: &str) -> bool {
    pattern.contains('%') || DURATION_PATTERNS.iter().any(|own| pattern.eq_ignore_ascii_case(own))
}

fn to_char_types(types: &[DataType]) -> Types {
    let [value, pattern] = types else { return None };
    let is_value = value.is_temporal() || value.is_numeric() || value.is_null();
    (is_value && is_text(pattern)).then(|| (vec![value.clone(), DataType::Utf8], DataType::Utf8))
}

fn run_to_char(arrays: &[ArrayRef], call: &Call<'_>) -> Result<ArrayRef> {
    let (values, patterns) = (&arrays[0], arrays[1].as_string::<i32>());
    let data_type = values.data_type();
    let has_own = data_type.is_temporal() && !matches!(data_type, DataType::Interval(_));
    let engines = match has_own && patterns.iter().flatten().any(is_engines) {
        true => Some(engines_to_char(values, patterns)?),
        false => None,
    };
    let engines = engines.as_ref().map(|array| array.as_string::<i32>());
    let printer = Printer::new(values, call)?;
    let (mut last, mut text) = (Last::default(), String::new());
    let mut written = StringBuilder::with_capacity(patterns.len(), patterns.len() * 16);
    for row in 0..patterns.len() {
        // An array of nothing but NULL has no bitmap that says so.
        if data_type.is_null() || values.is_null(row) || patterns.is_null(row) {
            written.append_null();
            continue;
        }
        let pattern = patterns.value(row);
        match engines {
            Some(engines) if is_engines(pattern) => written.append_value(engines.value(row)),
            _ => {
                text.clear();
                printer.print(row, pattern, &mut last, &mut text)?;
                written.append_value(&text);
            }
        }
    }
    Ok(Arc::new(written.finish()))
}

/// Prints the rows whose pattern is the engine's; the others are NULL.
fn engines_to_char(values: &ArrayRef, patterns: &StringArray) -> Result<ArrayRef> {
    let own: StringArray =
        patterns.iter().map(|pattern| pattern.filter(|pattern| is_engines(pattern))).collect();
    let arguments = [Arc::clone(values), Arc::new(own) as ArrayRef];
    let fields = arguments.iter().map(|array| field(array.data_type().clone())).collect();
    let n_rows = values.len();
    let args = arguments.into_iter().map(ColumnarValue::Array).collect();
    let printed = to_char().invoke_with_args(ScalarFunctionArgs {
        args,
        arg_fields: fields,
        number_rows: n_rows,
        return_field: field(DataType::Utf8),
        config_options: Arc::default(),
    })?;
    printed.into_array(n_rows)
}

fn field(data_type: DataType) -> FieldRef {
    Arc::new(Field::new("", data_type, true))
}

/// The pattern of the row before, taken apart.
#[derive(Default)]
struct Last {
    pattern: String,
    parts: Vec<Part>,
    number: Option<number::Pattern>,
}

impl Last {
    fn parts(&mut self, pattern: &str) -> &[Part] {
        if self.pattern != pattern {
            self.parts = parse(pattern);
            pattern.clone_into(&mut self.pattern);
        }
        &self.parts
    }

    fn number(&mut self, pattern: &str) -> Result<&number::Pattern> {
        if self.number.is_none() || self.pattern != pattern {
            self.number = Some(number::Pattern::parse(pattern)?);
            pattern.clone_into(&mut self.pattern);
        }
        self.number.as_ref().ok_or_else(|| failed("a pattern without parts"))
    }
}

/// Values as one of the kinds that are printed differently.
enum Printer {
    Time(Times),
    Number(number::Numbers),
    Null,
}

impl Printer {
    fn new(values: &ArrayRef, call: &Call<'_>) -> Result<Self> {
        Ok(match values.data_type() {
            DataType::Null => Self::Null,
            data_type if data_type.is_temporal() => Self::Time(Times::new(values, call.time_zone)?),
            _ => Self::Number(number::Numbers::new(values)?),
        })
    }

    fn print(&self, row: usize, pattern: &str, last: &mut Last, out: &mut String) -> Result<()> {
        match self {
            Self::Null => Ok(()),
            Self::Number(numbers) => {
                last.number(pattern)?.print(numbers, row, out);
                Ok(())
            }
            Self::Time(times) => print(last.parts(pattern), &times.parts(row)?, out),
        }
    }
}

/// What is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Kind {
    Date,
    Timestamp,
}

/// `to_date` or `to_timestamp`.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Reading {
    kind: Kind,
    /// The engine's function of the name.
    inner: Arc<ScalarUDF>,
    signature: Signature,
}

impl Reading {
    /// Returns whether PostgreSQL's function is meant: a text and one pattern without a `%`.
    fn is_postgres(types: &[&DataType], pattern: Option<&ScalarValue>) -> bool {
        let is_own = |pattern: &ScalarValue| {
            pattern.is_null() || pattern.try_as_str().flatten().is_some_and(|p| !is_engines(p))
        };
        matches!(types, [text, pattern] if is_text(text) && is_text(pattern))
            && pattern.is_some_and(is_own)
    }
}

impl ScalarUDFImpl for Reading {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        self.inner.return_type(types)
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        let types: Vec<_> = args.arg_fields.iter().map(|field| field.data_type()).collect();
        let pattern = args.scalar_arguments.get(1).copied().flatten();
        if self.kind == Kind::Timestamp && Self::is_postgres(&types, pattern) {
            let data_type = DataType::Timestamp(TimeUnit::Microsecond, Some("+00:00".into()));
            return Ok(Arc::new(Field::new(self.name(), data_type, true)));
        }
        self.inner.return_field_from_args(args)
    }

    fn with_updated_config(&self, config: &ConfigOptions) -> Option<ScalarUDF> {
        let inner = Arc::new(self.inner.inner().with_updated_config(config)?);
        let (kind, signature) = (self.kind, self.signature.clone());
        Some(ScalarUDF::from(Self { kind, inner, signature }))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let types: Vec<_> = args.arg_fields.iter().map(|field| field.data_type()).collect();
        let pattern = match args.args.get(1) {
            Some(ColumnarValue::Scalar(pattern)) => Some(pattern),
            _ => None,
        };
        if !Self::is_postgres(&types, pattern) {
            return self.inner.invoke_with_args(args);
        }
        let time_zone = args.config_options.execution.time_zone.clone();
        let call = Call {
            time_zone: time_zone.as_deref().unwrap_or("UTC"),
            result: args.return_field.data_type(),
            n_rows: args.number_rows,
        };
        calculated(&args.args, call, |arrays, call| run_reading(self.kind, arrays, call))
    }
}

fn run_reading(kind: Kind, arrays: &[ArrayRef], call: &Call<'_>) -> Result<ArrayRef> {
    let texts = cast(&arrays[0], &DataType::Utf8)?;
    let patterns = cast(&arrays[1], &DataType::Utf8)?;
    let (texts, patterns) = (texts.as_string::<i32>(), patterns.as_string::<i32>());
    let clocks = Clocks::parse(call.time_zone)?;
    let mut last = Last::default();
    let values = texts.iter().zip(patterns).map(|(text, pattern)| {
        let (Some(text), Some(pattern)) = (text, pattern) else { return Ok(None) };
        let found = read(last.parts(pattern), text)?;
        Ok(Some(match kind {
            Kind::Date => found.date(text)?,
            Kind::Timestamp => found.moment(text, &clocks)?,
        }))
    });
    match kind {
        Kind::Date => {
            let out_of_range = |_| failed("date out of range");
            let days = values.map(|days: Result<Option<i64>>| {
                days?.map(|days| i32::try_from(days).map_err(out_of_range)).transpose()
            });
            Ok(Arc::new(days.collect::<Result<PrimitiveArray<Date32Type>>>()?))
        }
        Kind::Timestamp => {
            let micros = values.collect::<Result<PrimitiveArray<TimestampMicrosecondType>>>()?;
            Ok(Arc::new(micros.with_data_type(call.result.clone())))
        }
    }
}
