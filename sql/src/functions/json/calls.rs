//! The functions of JSON, and those that its operators stand for.

use super::scan::{Kind, check, members, unescaped};
use super::value::Value;
use super::{Flavor, build};
use crate::functions::given::{Call, calculated, failed, is_text, no_function};
use arrow::array::types::Int64Type;
use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Int32Array, StringArray, StringBuilder,
};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::{DataFusionError, Result};
use datafusion::logical_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
    Volatility,
};
use std::sync::{Arc, LazyLock};

/// What a function calculates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Calculation {
    /// A cast.
    Cast(Flavor),
    /// `->` and `->>`
    Member {
        as_text: bool,
    },
    /// `#>` and `#>>`
    Path {
        as_text: bool,
    },
    /// `@>`
    Contains,
    TypeOf,
    ArrayLength,
    /// `json_extract_path`
    Extract {
        as_text: bool,
    },
    BuildObject(Flavor),
    BuildArray(Flavor),
    /// `to_json`
    To(Flavor),
}

/// Every function, by its name in SQL.
static FUNCTIONS: LazyLock<Vec<(Calculation, Arc<ScalarUDF>)>> = LazyLock::new(|| {
    let named = |(name, calculation)| {
        let signature = match calculation {
            Calculation::BuildObject(_) | Calculation::BuildArray(_) | Calculation::To(_) => {
                Signature::one_of(
                    vec![
                        datafusion::logical_expr::TypeSignature::VariadicAny,
                        datafusion::logical_expr::TypeSignature::Nullary,
                    ],
                    Volatility::Stable,
                )
            }
            _ => Signature::user_defined(Volatility::Immutable),
        };
        (calculation, Arc::new(ScalarUDF::from(Function { name, calculation, signature })))
    };
    NAMES.into_iter().map(named).collect()
});

const NAMES: [(&str, Calculation); 21] = [
    ("saltlake_json", Calculation::Cast(Flavor::Json)),
    ("saltlake_jsonb", Calculation::Cast(Flavor::Jsonb)),
    ("saltlake_json_member", Calculation::Member { as_text: false }),
    ("saltlake_json_member_text", Calculation::Member { as_text: true }),
    ("saltlake_json_path", Calculation::Path { as_text: false }),
    ("saltlake_json_path_text", Calculation::Path { as_text: true }),
    ("saltlake_json_contains", Calculation::Contains),
    ("json_typeof", Calculation::TypeOf),
    ("jsonb_typeof", Calculation::TypeOf),
    ("json_array_length", Calculation::ArrayLength),
    ("jsonb_array_length", Calculation::ArrayLength),
    ("json_extract_path", Calculation::Extract { as_text: false }),
    ("jsonb_extract_path", Calculation::Extract { as_text: false }),
    ("json_extract_path_text", Calculation::Extract { as_text: true }),
    ("jsonb_extract_path_text", Calculation::Extract { as_text: true }),
    ("json_build_object", Calculation::BuildObject(Flavor::Json)),
    ("jsonb_build_object", Calculation::BuildObject(Flavor::Jsonb)),
    ("json_build_array", Calculation::BuildArray(Flavor::Json)),
    ("jsonb_build_array", Calculation::BuildArray(Flavor::Jsonb)),
    ("to_json", Calculation::To(Flavor::Json)),
    ("to_jsonb", Calculation::To(Flavor::Jsonb)),
];

/// Returns the functions to register.
pub(super) fn all() -> Vec<Arc<ScalarUDF>> {
    FUNCTIONS.iter().map(|(_, function)| Arc::clone(function)).collect()
}

/// Returns the function of a calculation.
pub(super) fn function(calculation: Calculation) -> Arc<ScalarUDF> {
    let found = FUNCTIONS.iter().find(|(known, _)| *known == calculation);
    Arc::clone(&found.unwrap_or(&FUNCTIONS[0]).1)
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Function {
    name: &'static str,
    calculation: Calculation,
    signature: Signature,
}

impl ScalarUDFImpl for Function {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        // Texts stay as they are: a cast would lose what the field says of them.
        let coerced = match (self.calculation, types) {
            (Calculation::Member { .. }, [text, key]) if is_text(text) => {
                let key = match key {
                    key if key.is_integer() => Some(DataType::Int64),
                    key => is_text(key).then_some(DataType::Utf8),
                };
                key.map(|key| vec![text.clone(), key])
            }
            (Calculation::Path { .. }, [text, path]) if is_text(text) => match path {
                DataType::List(_) | DataType::LargeList(_) | DataType::FixedSizeList(_, _) => {
                    Some(vec![text.clone(), DataType::new_list(DataType::Utf8, true)])
                }
                path => is_text(path).then(|| vec![text.clone(), DataType::Utf8]),
            },
            (Calculation::Extract { .. }, [text, path @ ..]) if is_text(text) => {
                let all_text = path.iter().all(is_text);
                let path = path.iter().map(|_| DataType::Utf8);
                all_text.then(|| std::iter::once(text.clone()).chain(path).collect())
            }
            (Calculation::Contains, [left, right]) if is_text(left) && is_text(right) => {
                Some(types.to_vec())
            }
            (Calculation::Cast(_) | Calculation::TypeOf | Calculation::ArrayLength, [text])
                if is_text(text) =>
            {
                Some(types.to_vec())
            }
            _ => None,
        };
        coerced.map_or_else(|| no_function(self.name, types), Ok)
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(match self.calculation {
            Calculation::Contains => DataType::Boolean,
            Calculation::ArrayLength => DataType::Int32,
            _ => DataType::Utf8,
        })
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        let flavor = match self.calculation {
            Calculation::Cast(flavor)
            | Calculation::BuildObject(flavor)
            | Calculation::BuildArray(flavor)
            | Calculation::To(flavor) => Some(flavor),
            Calculation::Member { as_text: false }
            | Calculation::Path { as_text: false }
            | Calculation::Extract { as_text: false } => {
                let known = args.arg_fields.first().and_then(|field| Flavor::of(field));
                Some(known.unwrap_or(Flavor::Json))
            }
            _ => None,
        };
        Ok(match flavor {
            Some(flavor) => flavor.field(self.name),
            None => Arc::new(Field::new(self.name, self.return_type(&[])?, true)),
        })
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let time_zone = args.config_options.execution.time_zone.clone();
        let call = Call {
            time_zone: time_zone.as_deref().unwrap_or("UTC"),
            result: args.return_field.data_type(),
            n_rows: args.number_rows,
        };
        let (calculation, fields) = (self.calculation, &args.arg_fields);
        calculated(&args.args, call, |arrays, call| run(calculation, fields, arrays, call))
    }
}

fn run(
    calculation: Calculation,
    fields: &[FieldRef],
    arrays: &[ArrayRef],
    call: &Call<'_>,
) -> Result<ArrayRef> {
    match calculation {
        Calculation::BuildObject(flavor) => build::object(flavor, fields, arrays, call),
        Calculation::BuildArray(flavor) => build::array(flavor, fields, arrays, call),
        Calculation::To(flavor) => build::scalar(flavor, fields, arrays, call),
        _ => {
            let texts = cast(&arrays[0], &DataType::Utf8)?;
            run_on_text(calculation, texts.as_string(), &arrays[1..])
        }
    }
}

fn run_on_text(
    calculation: Calculation,
    texts: &StringArray,
    others: &[ArrayRef],
) -> Result<ArrayRef> {
    let rows = texts.iter().enumerate();
    match calculation {
        Calculation::Contains => {
            let others = cast(&others[0], &DataType::Utf8)?;
            let both = texts.iter().zip(others.as_string::<i32>());
            let contains = both.map(|(left, right)| match (left, right) {
                (Some(left), Some(right)) => {
                    Ok(Some(Value::parse(left)?.contains(&Value::parse(right)?)))
                }
                _ => Ok::<_, DataFusionError>(None),
            });
            Ok(Arc::new(contains.collect::<Result<BooleanArray>>()?))
        }
        Calculation::ArrayLength => {
            let lengths = texts.iter().map(|text| text.map(array_length).transpose());
            Ok(Arc::new(lengths.collect::<Result<Int32Array>>()?))
        }
        Calculation::TypeOf => {
            strings(rows, |_, text| Ok(Some(Kind::of(check(text)?).name().to_string())))
        }
        Calculation::Cast(Flavor::Json) => strings(rows, |_, text| {
            check(text)?;
            Ok(Some(text.to_string()))
        }),
        Calculation::Cast(Flavor::Jsonb) => strings(rows, |_, text| spelled(text).map(Some)),
        Calculation::Member { as_text } => match others[0].data_type() {
            DataType::Int64 => {
                let indexes = others[0].as_primitive::<Int64Type>();
                strings(rows, |row, text| match indexes.is_valid(row) {
                    true => shown(element(check(text)?, indexes.value(row))?, as_text),
                    false => Ok(None),
                })
            }
            _ => {
                let keys = others[0].as_string::<i32>();
                strings(rows, |row, text| match keys.is_valid(row) {
                    true => shown(member(check(text)?, keys.value(row))?, as_text),
                    false => Ok(None),
                })
            }
        },
        Calculation::Path { as_text } => strings(rows, |row, text| match path(&others[0], row)? {
            Some(path) => shown(follow(text, path.iter().map(String::as_str))?, as_text),
            None => Ok(None),
        }),
        Calculation::Extract { as_text } => {
            let paths: Vec<_> = others.iter().map(|other| other.as_string::<i32>()).collect();
            strings(rows, |row, text| {
                if paths.iter().any(|steps| steps.is_null(row)) {
                    return Ok(None);
                }
                let steps = paths.iter().map(|steps| steps.value(row));
                shown(follow(text, steps)?, as_text)
            })
        }
        Calculation::BuildObject(_) | Calculation::BuildArray(_) | Calculation::To(_) => {
            Err(failed("a function without a text"))
        }
    }
}

/// Makes a text of each row that has one.
fn strings<'a>(
    rows: impl Iterator<Item = (usize, Option<&'a str>)>,
    make: impl Fn(usize, &'a str) -> Result<Option<String>>,
) -> Result<ArrayRef> {
    let mut made = StringBuilder::new();
    for (row, text) in rows {
        made.append_option(match text {
            Some(text) => make(row, text)?,
            None => None,
        });
    }
    Ok(Arc::new(made.finish()))
}

/// Returns a text as `jsonb` prints it.
pub(super) fn spelled(text: &str) -> Result<String> {
    let mut printed = String::with_capacity(text.len());
    Value::parse(text)?.print(&mut printed);
    Ok(printed)
}

/// Returns a value as JSON, or as the text that it is: a string's characters, and nothing for `null`.
fn shown(value: Option<&str>, as_text: bool) -> Result<Option<String>> {
    let Some(value) = value else { return Ok(None) };
    match (as_text, Kind::of(value)) {
        (true, Kind::Null) => Ok(None),
        (true, Kind::String) => unescaped(value).map(Some),
        _ => Ok(Some(value.to_string())),
    }
}

/// Returns the member of an object with a key; of several the last.
fn member<'a>(value: &'a str, wanted: &str) -> Result<Option<&'a str>> {
    if Kind::of(value) != Kind::Object {
        return Ok(None);
    }
    let (mut found, mut failure) = (None, None);
    members(value, |key, value| match key.map(unescaped) {
        Some(Ok(key)) if key == wanted => found = Some(value),
        Some(Err(error)) => failure = Some(error),
        _ => {}
    })?;
    failure.map_or(Ok(found), Err)
}

/// Returns an element of an array, counted from 0 or, below it, from the end.
fn element(value: &str, idx: i64) -> Result<Option<&str>> {
    if Kind::of(value) != Kind::Array {
        return Ok(None);
    }
    let mut elements = Vec::new();
    members(value, |_, element| elements.push(element))?;
    let idx = if idx < 0 { idx.saturating_add(elements.len() as i64) } else { idx };
    Ok(usize::try_from(idx).ok().and_then(|idx| elements.get(idx).copied()))
}

/// Follows a path of keys and indexes.
fn follow<'a, 'b>(text: &'a str, steps: impl Iterator<Item = &'b str>) -> Result<Option<&'a str>> {
    let mut value = check(text)?;
    for step in steps {
        let next = match Kind::of(value) {
            Kind::Array => match step.trim().parse() {
                Ok(idx) => element(value, idx)?,
                Err(_) => None,
            },
            _ => member(value, step)?,
        };
        match next {
            Some(next) => value = next,
            None => return Ok(None),
        }
    }
    Ok(Some(value))
}

fn array_length(text: &str) -> Result<i32> {
    let value = check(text)?;
    match Kind::of(value) {
        Kind::Array => {
            let mut n_elements = 0;
            members(value, |_, _| n_elements += 1)?;
            Ok(n_elements)
        }
        Kind::Object => Err(failed("cannot get array length of a non-array")),
        _ => Err(failed("cannot get array length of a scalar")),
    }
}

/// Returns the steps of a path, an array or the text of one; `None` when it or a step is NULL.
fn path(paths: &ArrayRef, row: usize) -> Result<Option<Vec<String>>> {
    if paths.is_null(row) {
        return Ok(None);
    }
    match paths.data_type() {
        DataType::List(_) => {
            let steps = paths.as_list::<i32>().value(row);
            let steps = steps.as_string::<i32>().iter();
            Ok(steps.map(|step| step.map(str::to_string)).collect())
        }
        _ => steps_of(paths.as_string::<i32>().value(row)),
    }
}

/// Reads `{a,"b c",0}`.
fn steps_of(text: &str) -> Result<Option<Vec<String>>> {
    let malformed = || failed(format!("malformed array literal: \"{text}\""));
    let inner = text.trim().strip_prefix('{').and_then(|inner| inner.strip_suffix('}'));
    let inner = inner.ok_or_else(malformed)?;
    if inner.trim().is_empty() {
        return Ok(Some(Vec::new()));
    }
    let (mut steps, mut step) = (Vec::new(), String::new());
    let (mut is_quoted, mut was_quoted) = (false, false);
    let mut rest = inner.chars();
    while let Some(character) = rest.next() {
        match character {
            '\\' => step.push(rest.next().ok_or_else(malformed)?),
            '"' => {
                is_quoted = !is_quoted;
                was_quoted = true;
            }
            ',' if !is_quoted => {
                steps.push((std::mem::take(&mut step), std::mem::take(&mut was_quoted)));
            }
            '{' | '}' if !is_quoted => return Err(malformed()),
            character => step.push(character),
        }
    }
    if is_quoted {
        return Err(malformed());
    }
    steps.push((step, was_quoted));
    let step = |(step, was_quoted): (String, bool)| match was_quoted {
        true => Some(step),
        false if step.trim().eq_ignore_ascii_case("null") => None,
        false => Some(step.trim().to_string()),
    };
    Ok(steps.into_iter().map(step).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_lead_to_what_they_lead_to_in_postgres() {
        let text = r#"{"a":1, "b": {"c":[1, 2,{"d":"x\u00e9"}]}, "a": 2}"#;
        for (path, expected) in [
            ("{a}", Some("2")),
            ("{b,c,-1}", Some(r#"{"d":"x\u00e9"}"#)),
            ("{b,c,2,d}", Some("xé")),
            ("{b,\"c\", 0 }", Some("1")),
            ("{b,x}", None),
            ("{b,c,x}", None),
        ] {
            let steps = steps_of(path).unwrap().unwrap();
            let found = follow(text, steps.iter().map(String::as_str)).unwrap();
            assert_eq!(shown(found, true).unwrap().as_deref(), expected, "{path}");
        }
        assert_eq!(steps_of("{}").unwrap(), Some(vec![]));
        assert_eq!(steps_of("{a,NULL}").unwrap(), None);
        assert!(steps_of("a").is_err());
    }

    #[test]
    fn arrays_have_lengths_and_others_have_not() {
        assert_eq!(array_length("[1, [2,3]]").unwrap(), 2);
        assert_eq!(array_length("[]").unwrap(), 0);
        assert!(array_length("{}").is_err());
    }

    #[test]
    fn every_calculation_has_a_function() {
        for (name, calculation) in NAMES {
            let known = NAMES.iter().find(|(_, other)| *other == calculation);
            assert_eq!(function(calculation).name(), known.map_or(name, |(name, _)| name));
        }
    }
}
