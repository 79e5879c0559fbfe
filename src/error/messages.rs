//! Reads the texts of engine errors, where nothing but a text says what happened.
//!
//! Called by [`super::engine`]. Patterns follow DataFusion 55 and arrow 59; `tests.rs` raises each of them for real, so an
//! upgrade that words one differently fails there. Messages are PostgreSQL's where it has one for the case.

use super::types::{postgres_name, split_outside};
use super::{Place, Report, did_you_mean, nearest};
use crate::sqlstate as code;

/// What to do when there are no workers.
pub(super) const START_A_WORKER: &str = "start one with: saltlake worker --coordinator URL";

/// PostgreSQL's words.
pub(super) const DIVISION_BY_ZERO: &str = "division by zero";

/// PostgreSQL's words for a statement that stops too early; its position is the end of the text.
pub(super) const AT_END: &str = "syntax error at end of input";

/// The catalog of every session, and PostgreSQL's database name.
const DEFAULT_CATALOG: &str = "lake";

/// Longest piece of an internal error's text that a client gets, in characters.
const MAX_INTERNAL_CHARS: usize = 200;

/// Returns the first line of a text.
pub(super) fn first_line(text: &str) -> String {
    text.trim().lines().next().unwrap_or_default().trim_end_matches(['.', ':']).to_string()
}

/// Returns the report of our own bug: the message is short, the whole text goes to the log.
pub(super) fn internal(text: &str) -> Report {
    if text.contains("No task routing handler was able to resolve")
        || text.contains("0 URLs available")
    {
        return no_workers();
    }
    if text.contains("array_resize: failed to convert size") {
        return Report::new(code::INVALID_PARAMETER_VALUE, "the size of an array is out of range");
    }
    if text.contains("unnest on struct can only be applied") {
        let message = "unnest of a struct is offered as a column of its own only";
        return Report::new(code::FEATURE_NOT_SUPPORTED, message);
    }
    Report::new(code::INTERNAL_ERROR, format!("internal error: {}", short(text)))
}

fn short(text: &str) -> String {
    first_line(text).chars().take(MAX_INTERNAL_CHARS).collect()
}

/// Returns the report of a parser's message, and the place it names.
pub(super) fn syntax(text: &str) -> (Report, Option<Place>) {
    let text = first_line(text.trim_start_matches("sql parser error: "));
    let (text, place) = Place::split_off(&text);
    let report = match text.strip_prefix("Expected: ").and_then(|rest| rest.split_once(", found: "))
    {
        Some((expected, found)) => {
            let message = match found.trim() {
                "EOF" => AT_END.to_string(),
                token => format!("syntax error at or near \"{token}\""),
            };
            Report::new(code::SYNTAX_ERROR, message).with_detail(format!("expected {expected}"))
        }
        None => Report::new(code::SYNTAX_ERROR, format!("syntax error: {}", lower_first(text))),
    };
    (report, place)
}

/// Returns the report of an error of planning.
pub(super) fn plan(text: &str) -> Report {
    missing_name(text)
        .or_else(|| grouping(text))
        .or_else(|| type_mismatch(text))
        .or_else(|| shape(text))
        .or_else(|| time_zone(text))
        .unwrap_or_else(|| Report::new(code::SYNTAX_OR_RULE_VIOLATION, first_line(text)))
}

/// Returns the report of a time zone that is none.
fn time_zone(text: &str) -> Option<Report> {
    let unknown = text.starts_with("time zone \"") && text.contains("not recognized");
    unknown.then(|| Report::new(code::INVALID_PARAMETER_VALUE, first_line(text)))
}

/// Returns the report of an error of running.
pub(super) fn execution(text: &str) -> Report {
    let lower = text.to_ascii_lowercase();
    let has = |part: &str| lower.contains(part);
    if let Some(code) = of_our_functions(text) {
        Report::new(code, first_line(text))
    } else if has("divide by zero") || has("division by zero") {
        Report::new(code::DIVISION_BY_ZERO, DIVISION_BY_ZERO)
    } else if has("too large to store") || has("too small to store") {
        cast(text)
    } else if has("overflow") || has("out of range") {
        overflow(text)
    } else if has("no task routing handler was able to resolve") || has("0 urls available") {
        no_workers()
    } else if has("violates not-null constraint") {
        Report::new(code::NOT_NULL_VIOLATION, first_line(text))
    } else if has("returned more than one row") {
        let message = "more than one row returned by a subquery used as an expression";
        Report::new(code::CARDINALITY_VIOLATION, message)
    } else if has("regular expression") || has("regex parse error") {
        regular_expression(text)
    } else if has("resources exhausted") || has("failed to allocate") {
        resources(text)
    } else if has("already exists") {
        Report::new(code::DUPLICATE_TABLE, first_line(text))
    } else if has("cannot cast") || has("can't cast") || has("error parsing") || has("parse") {
        cast(text)
    } else if has("placeholder '") {
        let name = between(text, "Placeholder '", "'").unwrap_or("placeholder");
        Report::new(code::UNDEFINED_PARAMETER, format!("there is no value for parameter {name}"))
    } else if has("unsupported") {
        Report::new(code::INVALID_PARAMETER_VALUE, lower_first(&first_line(text)))
    } else {
        missing_name(text)
            .or_else(|| time_zone(text))
            .unwrap_or_else(|| Report::new(code::DATA_EXCEPTION, first_line(text)))
    }
}

/// Returns the code of an error that a function of `saltlake_sql` words as PostgreSQL does.
fn of_our_functions(text: &str) -> Option<&'static str> {
    const STARTS: [(&str, &str); 25] = [
        ("date/time field value out of range: ", code::DATETIME_FIELD_OVERFLOW),
        ("date field value out of range: ", code::DATETIME_FIELD_OVERFLOW),
        ("time field value out of range: ", code::DATETIME_FIELD_OVERFLOW),
        ("timestamp out of range", code::DATETIME_FIELD_OVERFLOW),
        ("date out of range", code::DATETIME_FIELD_OVERFLOW),
        ("interval out of range", code::DATETIME_FIELD_OVERFLOW),
        ("value for \"", code::DATETIME_FIELD_OVERFLOW),
        ("invalid value \"", code::INVALID_DATETIME_FORMAT),
        ("source string too short for \"", code::INVALID_DATETIME_FORMAT),
        ("conflicting values for \"", code::INVALID_DATETIME_FORMAT),
        ("hour \"", code::INVALID_DATETIME_FORMAT),
        ("invalid combination of date conventions", code::INVALID_DATETIME_FORMAT),
        ("cannot calculate day of year without", code::INVALID_DATETIME_FORMAT),
        ("invalid format specification for an interval", code::INVALID_DATETIME_FORMAT),
        ("invalid input syntax for type ", code::INVALID_TEXT_REPRESENTATION),
        ("malformed array literal: ", code::INVALID_TEXT_REPRESENTATION),
        ("cannot get array length of ", code::INVALID_PARAMETER_VALUE),
        ("argument list must have even number", code::INVALID_PARAMETER_VALUE),
        ("regexp_split_to_array() does not", code::INVALID_PARAMETER_VALUE),
        ("invalid regular expression option", code::INVALID_PARAMETER_VALUE),
        ("multiple decimal points", code::SYNTAX_ERROR),
        ("cannot use \"", code::SYNTAX_ERROR),
        ("\"9\" must be ahead of", code::SYNTAX_ERROR),
        ("\"0\" must be ahead of", code::SYNTAX_ERROR),
        ("\"EEEE\" ", code::SYNTAX_ERROR),
    ];
    STARTS.iter().find(|(start, _)| text.starts_with(start)).map(|(_, code)| *code)
}

/// Returns the report of a pattern that cannot be compiled; the compiler's last line says why.
fn regular_expression(text: &str) -> Report {
    let why = text.lines().find_map(|line| line.trim().strip_prefix("error: "));
    let message = match why {
        Some(why) => format!("invalid regular expression: {why}"),
        None => "invalid regular expression".to_string(),
    };
    Report::new(code::INVALID_REGULAR_EXPRESSION, message)
}

/// Returns the report of a value that cannot become the type asked for.
pub(super) fn cast(text: &str) -> Report {
    let text = &first_line(text);
    if let Some(report) = cast_of_text(text) {
        return report;
    }
    let lower = text.to_ascii_lowercase();
    let has = |part: &str| lower.contains(part);
    if has("as time") || has("to date") || has("interval") || has("datetime") {
        return Report::new(code::INVALID_DATETIME_FORMAT, lower_first(text));
    }
    if let Some((_, rest)) = text.split_once("Can't cast value ")
        && let Some((value, type_name)) = rest.split_once(" to type ")
    {
        let type_name = postgres_name(type_name);
        let message = format!("value {value} is out of range for type {type_name}");
        return Report::new(code::NUMERIC_VALUE_OUT_OF_RANGE, message);
    }
    if has("too large to store") || has("too small to store") {
        return Report::new(
            code::NUMERIC_VALUE_OUT_OF_RANGE,
            "numeric field overflow, out of range",
        )
        .with_detail(text);
    }
    if has("overflow") || has("out of range") {
        return overflow(text);
    }
    if has("not supported") || has("unsupported cast") {
        return Report::new(code::DATATYPE_MISMATCH, lower_first(text));
    }
    Report::new(code::INVALID_TEXT_REPRESENTATION, lower_first(text))
}

/// Reads "this text is no value of that type".
fn cast_of_text(text: &str) -> Option<Report> {
    let quoted = between(text, "Cannot cast string '", "' to value of ")
        .or_else(|| between(text, "Cannot cast value '", "' to value of "));
    let (value, type_name) = if let Some(value) = quoted {
        (value, postgres_name(between(text, "' to value of ", " type").unwrap_or_default()))
    } else if let Some(value) = between(text, "Error parsing timestamp from '", "'") {
        (value, "timestamp".to_string())
    } else {
        let (_, rest) = text.split_once("the string value ")?;
        (rest.strip_suffix(" to decimal")?, "numeric".to_string())
    };
    let is_integer = matches!(type_name.as_str(), "smallint" | "integer" | "bigint");
    if is_integer && value.trim().parse::<i128>().is_ok() {
        let message = format!("value \"{value}\" is out of range for type {type_name}");
        return Some(Report::new(code::NUMERIC_VALUE_OUT_OF_RANGE, message));
    }
    let is_time = ["date", "time", "interval"].iter().any(|kind| type_name.starts_with(kind));
    let code = match is_time {
        true => code::INVALID_DATETIME_FORMAT,
        false => code::INVALID_TEXT_REPRESENTATION,
    };
    Some(Report::new(code, format!("invalid input syntax for type {type_name}: \"{value}\"")))
}

/// Returns the report of a number that does not fit.
pub(super) fn overflow(text: &str) -> Report {
    Report::new(code::NUMERIC_VALUE_OUT_OF_RANGE, "value out of range")
        .with_detail(lower_first(&first_line(text)))
}

/// Returns the report of something the engine does not offer.
pub(super) fn not_supported(text: &str) -> Report {
    if text.contains("logical expression WindowFunction") {
        return Report::new(code::WINDOWING_ERROR, "window functions are not allowed here");
    }
    Report::new(code::FEATURE_NOT_SUPPORTED, lower_first(&short(text)))
}

/// Returns the report of a bad setting of the engine.
pub(super) fn configuration(text: &str) -> Report {
    let lower = text.to_ascii_lowercase();
    let unknown = lower.contains("could not find config") || lower.contains("not found");
    let code = if unknown { code::UNDEFINED_OBJECT } else { code::INVALID_PARAMETER_VALUE };
    Report::new(code, lower_first(&first_line(text)))
}

/// Returns the report of memory or disk that is used up.
pub(super) fn resources(text: &str) -> Report {
    let lower = text.to_ascii_lowercase();
    if lower.contains("disk space") || lower.contains("no space left") {
        return Report::new(code::DISK_FULL, "the spill disk is full")
            .with_detail(first_line(text));
    }
    Report::new(code::OUT_OF_MEMORY, "out of memory").with_detail(first_line(text)).with_hint(Some(
        "read less at a time, or raise coordinator.memory_limit or worker.memory_limit".to_string(),
    ))
}

/// Returns the report of a CSV file that cannot be read, or of a value in it.
pub(super) fn csv(text: &str) -> Report {
    match text.contains("Error while parsing value") {
        true => Report::new(code::INVALID_TEXT_REPRESENTATION, lower_first(&first_line(text))),
        false => {
            Report::new(code::DATA_CORRUPTED, "corrupt CSV file").with_detail(first_line(text))
        }
    }
}

/// Reads the rest of an error's text.
type Reader = fn(&str) -> Report;

/// Returns the report of an error of which only the printed text is left, as workers send those that they do not know.
pub(super) fn text(text: &str) -> Report {
    const PREFIXES: [(&str, Reader); 12] = [
        ("External error: ", self::text),
        ("Arrow error: ", self::text),
        ("Object Store error: ", io),
        ("object store: ", io),
        ("IO error: ", io),
        ("Parquet error: ", parquet),
        ("Execution error: ", execution),
        ("Error during planning: ", plan),
        ("This feature is not implemented: ", not_supported),
        ("Resources exhausted: ", resources),
        ("Invalid or Unsupported Configuration: ", configuration),
        ("Cast error: ", cast),
    ];
    let prefix =
        PREFIXES.iter().find_map(|(prefix, read)| Some((text.strip_prefix(prefix)?, read)));
    if let Some((rest, read)) = prefix {
        return read(rest);
    }
    if text.starts_with("file \"") && text.contains("\" is corrupt") {
        return Report::new(code::DATA_CORRUPTED, first_line(text));
    }
    if text.starts_with("regex parse error") {
        return regular_expression(text);
    }
    if text.starts_with("Divide by zero") || text.starts_with("Arithmetic overflow") {
        return execution(text);
    }
    if text.starts_with("query was cancelled") {
        return Report::new(code::QUERY_CANCELED, first_line(text));
    }
    internal(text)
}

fn io(text: &str) -> Report {
    Report::new(code::IO_ERROR, lower_first(&first_line(text)))
}

fn parquet(text: &str) -> Report {
    Report::new(code::DATA_CORRUPTED, "corrupt Parquet file").with_detail(first_line(text))
}

fn no_workers() -> Report {
    Report::new(code::NO_WORKERS, "no workers are available")
        .with_hint(Some(START_A_WORKER.to_string()))
}

/// Returns the report of a relation that does not exist; `name` may have a catalog and a schema in front.
pub(super) fn relation_not_found(name: &str) -> Report {
    let parts: Vec<_> = name.split('.').collect();
    if let [catalog, _, _] = parts.as_slice()
        && *catalog != DEFAULT_CATALOG
    {
        let message = format!("database \"{catalog}\" does not exist");
        return Report::new(code::INVALID_CATALOG_NAME, message);
    }
    Report::new(code::UNDEFINED_TABLE, format!("relation \"{name}\" does not exist"))
}

/// Returns the table that a text says is missing.
pub(super) fn missing_table(text: &str) -> Option<String> {
    let is_function = text.contains("able function '");
    between(text, "table '", "' not found").filter(|_| !is_function).map(str::to_string)
}

/// Reads "there is no such …".
fn missing_name(text: &str) -> Option<Report> {
    if let Some(name) = between(text, "able function '", "' not found") {
        let message = format!("function {name} does not exist");
        return Some(Report::new(code::UNDEFINED_FUNCTION, message));
    }
    if let Some(name) = missing_table(text) {
        return Some(relation_not_found(&name));
    }
    let gone =
        between(text, "View '", "' doesn't exist").or(between(text, "Table '", "' doesn't exist"));
    if let Some(name) = gone {
        return Some(relation_not_found(name));
    }
    if let Some(name) = text.strip_prefix("failed to resolve catalog: ") {
        let message = format!("database \"{}\" does not exist", first_line(name));
        return Some(Report::new(code::INVALID_CATALOG_NAME, message));
    }
    if let Some(name) = text.strip_prefix("failed to resolve schema: ") {
        let message = format!("schema \"{}\" does not exist", first_line(name));
        return Some(Report::new(code::INVALID_SCHEMA_NAME, message));
    }
    if let Some(name) = between(text, "Invalid function '", "'") {
        let suggested = between(text, "Did you mean '", "'");
        let hint = suggested.and_then(|suggested| nearest(name, [suggested]));
        let report =
            Report::new(code::UNDEFINED_FUNCTION, format!("function {name} does not exist"));
        return Some(report.with_hint(did_you_mean(hint)));
    }
    no_matching_function(text)
}

/// Reads "the function exists, but not for these types".
fn no_matching_function(text: &str) -> Option<Report> {
    let call = text.split_once("No function matches the given name and argument types '")?.1;
    let (call, _) = call.split_once("'. You might")?;
    let (name, arguments) = call.split_once('(')?;
    let arguments = arguments.strip_suffix(')').unwrap_or(arguments);
    let types: Vec<_> = split_outside(arguments, ',').into_iter().map(postgres_name).collect();
    let candidates: Vec<_> = text
        .split_once("Candidate functions:")
        .map(|(_, list)| list.lines().map(str::trim).filter(|line| !line.is_empty()).collect())
        .unwrap_or_default();
    let message = format!("function {}({}) does not exist", name.to_lowercase(), types.join(", "));
    let report = Report::new(code::UNDEFINED_FUNCTION, message);
    Some(match candidates.is_empty() {
        true => report,
        false => report.with_hint(Some(format!("there is: {}", candidates.join("; ")))),
    })
}

/// Reads errors of grouping and of nested aggregates.
fn grouping(text: &str) -> Option<Report> {
    if text.contains("must appear in the GROUP BY clause") || text.contains("must be in GROUP BY") {
        let message = match between(text, "column \"", "\" must appear") {
            Some(column) => format!(
                "column \"{column}\" must appear in the GROUP BY clause or be used in an aggregate function"
            ),
            None => "HAVING may name grouped columns and aggregate functions only".to_string(),
        };
        return Some(Report::new(code::GROUPING_ERROR, message));
    }
    let aggregate = text.contains("Aggregate function calls cannot")
        || text.contains("ggregate functions are not allowed")
        || text.contains("Invalid use of aggregate");
    if aggregate {
        return Some(Report::new(code::GROUPING_ERROR, lower_first(&first_line(text))));
    }
    let window = text.contains("Window function calls cannot")
        || text.contains("indow functions are not allowed");
    window.then(|| Report::new(code::WINDOWING_ERROR, lower_first(&first_line(text))))
}

/// Reads errors of types that do not fit.
fn type_mismatch(text: &str) -> Option<Report> {
    const OPERATIONS: [&str; 12] = [
        "Cannot infer common argument type for comparison operation ",
        "Cannot infer common argument type for logical boolean operation ",
        "Cannot infer common argument type for regex operation ",
        "Cannot infer common argument type for operation ",
        "Cannot infer common argument type for AtAt operation ",
        "Cannot infer common type for bitwise operation ",
        "Cannot infer common string type for string concat operation ",
        "Cannot get result type for arithmetic operation ",
        "Cannot get result type for temporal operation ",
        "Cannot get result type for decimal operation ",
        "Cannot coerce arithmetic expression ",
        "Cannot infer common array type for ",
    ];
    let operation = OPERATIONS.iter().find_map(|prefix| Some(text.split_once(prefix)?.1));
    if let Some(operation) = operation {
        return Some(no_operator(operation));
    }
    if let Some(type_name) = text.split_once("non-boolean predicate").map(|(_, rest)| rest) {
        let type_name = type_name.rsplit_once("returning ").map_or("", |(_, name)| name);
        let type_name = postgres_name(&first_line(type_name));
        let message = format!("argument of WHERE must be type boolean, not type {type_name}");
        return Some(Report::new(code::DATATYPE_MISMATCH, message));
    }
    let lower = text.to_ascii_lowercase();
    if lower.contains("placeholder type could not be resolved") {
        return Some(Report::new(code::INDETERMINATE_DATATYPE, lower_first(&first_line(text))));
    }
    if lower.contains("placeholder") {
        return Some(Report::new(code::UNDEFINED_PARAMETER, lower_first(&first_line(text))));
    }
    const SIGNS: [&str; 12] = [
        "coerce",
        "coercion",
        "unsupported cast",
        "cannot automatically convert",
        "incompatible",
        "cannot be cast",
        "type mismatch",
        "cannot be used with",
        "cannot cast",
        "unary operator",
        "but got utf8",
        "must be of type",
    ];
    let mismatch = SIGNS.iter().any(|sign| lower.contains(sign));
    mismatch.then(|| Report::new(code::DATATYPE_MISMATCH, lower_first(&first_line(text))))
}

/// Returns the report of `left operator right` that has no meaning for its types.
fn no_operator(operation: &str) -> Report {
    let operation = operation.split_once(" to valid types").map_or(operation, |(text, _)| text);
    let operation = first_line(operation.split_once(": ").map_or(operation, |(text, _)| text));
    let parts = split_outside(&operation, ' ');
    let message = match parts.as_slice() {
        [left, operator @ .., right] if !operator.is_empty() => {
            let (left, right) = (postgres_name(left), postgres_name(right));
            format!("operator does not exist: {left} {} {right}", operator.join(" "))
        }
        _ => format!("types do not fit: {operation}"),
    };
    Report::new(code::DATATYPE_MISMATCH, message)
        .with_hint(Some("you might need to add a cast".to_string()))
}

/// Reads errors of the statement's shape.
fn shape(text: &str) -> Option<Report> {
    /// Sign in the text, code, and PostgreSQL's words or "" for the engine's.
    const SHAPES: [(&str, &str, &str); 15] = [
        (
            "different number of columns",
            code::SYNTAX_ERROR,
            "each query of a set operation must have the same number of columns",
        ),
        (
            "should only return one column",
            code::SYNTAX_ERROR,
            "subquery must return only one column",
        ),
        ("single column", code::SYNTAX_ERROR, ""),
        (
            "inconsistent data length across values",
            code::SYNTAX_ERROR,
            "VALUES lists must all be the same length",
        ),
        ("no sql statements were provided", code::SYNTAX_ERROR, ""),
        (
            "order by column out of bounds",
            code::INVALID_COLUMN_REFERENCE,
            "ORDER BY position is not in select list",
        ),
        (
            "cannot find column with position",
            code::INVALID_COLUMN_REFERENCE,
            "GROUP BY position is not in select list",
        ),
        ("limit must be >= 0", code::INVALID_ROW_COUNT, "LIMIT must not be negative"),
        ("offset must be >= 0", code::INVALID_ROW_COUNT, "OFFSET must not be negative"),
        (
            "unique expression names",
            code::DUPLICATE_COLUMN,
            "two columns of the result have the same name",
        ),
        ("duplicate", code::DUPLICATE_COLUMN, ""),
        ("already exists", code::DUPLICATE_TABLE, ""),
        ("not supported", code::FEATURE_NOT_SUPPORTED, ""),
        ("unsupported", code::FEATURE_NOT_SUPPORTED, ""),
        ("not implemented", code::FEATURE_NOT_SUPPORTED, ""),
    ];
    let lower = text.to_ascii_lowercase();
    let (_, code, words) = SHAPES.into_iter().find(|(sign, _, _)| lower.contains(sign))?;
    let engine = lower_first(&short(text));
    Some(match words {
        "" => Report::new(code, engine),
        words => Report::new(code, words).with_detail(engine),
    })
}

/// Returns the path of a data file that a text names.
pub(super) fn file_in(text: &str) -> Option<String> {
    let is_separator = |c: char| c.is_whitespace() || matches!(c, '"' | '\'' | '(' | ')' | ',');
    let mut words = text.split(is_separator).map(|word| word.trim_end_matches([':', '.']));
    let ends = [".parquet", ".csv", ".json", ".ndjson", ".gz", ".zst", ".puffin"];
    words.find(|word| ends.iter().any(|end| word.ends_with(end))).map(str::to_string)
}

/// Returns the path of an object that the store did not find, as the store's own text says it.
pub(super) fn missing_object(text: &str) -> Option<&str> {
    between(text, "Object at location ", " not found: ")
}

/// Returns what stands between two marks.
fn between<'a>(text: &'a str, start: &str, end: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(start)?;
    rest.split_once(end).map(|(found, _)| found)
}

/// Makes the first letter small, unless the first word is an acronym or a name.
fn lower_first(text: &str) -> String {
    let mut chars = text.chars();
    match (chars.next(), chars.next()) {
        (Some(first), Some(second)) if first.is_uppercase() && second.is_lowercase() => {
            format!("{}{}", first.to_lowercase(), &text[first.len_utf8()..])
        }
        _ => text.to_string(),
    }
}
