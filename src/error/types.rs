//! PostgreSQL's names for the types that the engine's messages name in Arrow's words.

/// Returns PostgreSQL's name of an Arrow type as printed, or the name itself when there is none.
pub(super) fn postgres_name(arrow: &str) -> String {
    let (head, arguments) = arrow.split_once('(').unwrap_or((arrow, ""));
    let name = match head {
        "Int8" | "Int16" | "UInt8" => "smallint",
        "Int32" | "UInt16" => "integer",
        "Int64" | "UInt32" => "bigint",
        "UInt64" | "Decimal32" | "Decimal64" | "Decimal128" | "Decimal256" => "numeric",
        "Float16" | "Float32" => "real",
        "Float64" => "double precision",
        "Utf8" | "LargeUtf8" | "Utf8View" => "text",
        "Boolean" => "boolean",
        "Date32" | "Date64" => "date",
        "Timestamp" if is_zoned(arguments) => "timestamp with time zone",
        "Timestamp" => "timestamp without time zone",
        "Time32" | "Time64" => "time without time zone",
        "Interval" | "Duration" => "interval",
        "Binary" | "LargeBinary" | "BinaryView" | "FixedSizeBinary" => "bytea",
        "Null" => "unknown",
        "List" | "LargeList" | "FixedSizeList" | "ListView" => "array",
        "Struct" => "record",
        _ => arrow,
    };
    name.to_string()
}

/// Returns whether the arguments of a printed `Timestamp(ns, "UTC")` name a zone.
fn is_zoned(arguments: &str) -> bool {
    arguments.contains(',') && !arguments.contains("None")
}

/// Splits `text` at `separator`, but not inside brackets or quotes.
pub(super) fn split_outside(text: &str, separator: char) -> Vec<&str> {
    let (mut parts, mut start, mut depth, mut quoted) = (Vec::new(), 0, 0_usize, false);
    for (idx, c) in text.char_indices() {
        match c {
            '"' => quoted = !quoted,
            _ if quoted => {}
            '(' | '[' | '<' => depth += 1,
            ')' | ']' | '>' => depth = depth.saturating_sub(1),
            c if c == separator && depth == 0 => {
                parts.push(text[start..idx].trim());
                start = idx + c.len_utf8();
            }
            _ => {}
        }
    }
    parts.push(text[start..].trim());
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_postgres_names() {
        for (arrow, expected) in [
            ("Int64", "bigint"),
            ("Utf8View", "text"),
            ("Decimal128(10, 2)", "numeric"),
            ("Timestamp(ns)", "timestamp without time zone"),
            ("Timestamp(ns, \"UTC\")", "timestamp with time zone"),
            ("Timestamp(Nanosecond, None)", "timestamp without time zone"),
            ("Map(x)", "Map(x)"),
        ] {
            assert_eq!(postgres_name(arrow), expected);
        }
    }

    #[test]
    fn brackets_are_not_split() {
        assert_eq!(split_outside("Int64, Decimal128(10, 2)", ','), ["Int64", "Decimal128(10, 2)"]);
        assert_eq!(split_outside("List(Int64) = Utf8", ' '), ["List(Int64)", "=", "Utf8"]);
    }
}
