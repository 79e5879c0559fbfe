//! Parameters in both formats, and what is refused.

use super::*;
use crate::frontend::pg::encode::Format;

fn utc() -> Tz {
    "UTC".parse().unwrap()
}

fn decode_as(oid: u32, format: Format, bytes: &[u8]) -> Result<ScalarValue, Failure> {
    let parameters = merge(&[oid], &[None]);
    let values = [Some(Bytes::copy_from_slice(bytes))];
    decode_all("", &parameters, &[format.code()], &values, utc()).map(|values| values[0].clone())
}

fn check_text(oid: u32, text: &str, expected: ScalarValue) {
    assert_eq!(decode_as(oid, Format::Text, text.as_bytes()).unwrap(), expected, "{text}");
}

#[test]
fn text_of_every_common_type_is_read() {
    check_text(16, "yes", ScalarValue::from(true));
    check_text(16, "f", ScalarValue::from(false));
    check_text(20, " 42 ", ScalarValue::from(42_i64));
    check_text(701, "-Infinity", ScalarValue::from(f64::NEG_INFINITY));
    check_text(1700, "-12.50", ScalarValue::Decimal128(Some(-1250), 4, 2));
    check_text(1700, "1.5e3", ScalarValue::Decimal128(Some(1500), 4, 0));
    check_text(17, "\\xDEad", ScalarValue::Binary(Some(vec![0xde, 0xad])));
    check_text(17, "a\\\\\\001", ScalarValue::Binary(Some(vec![b'a', b'\\', 1])));
    check_text(1082, "2024-02-29", ScalarValue::Date32(Some(19_782)));
    let micros = 1_704_067_200_500_000;
    check_text(
        1114,
        "2024-01-01 00:00:00.5",
        ScalarValue::TimestampMicrosecond(Some(micros), None),
    );
    check_text(
        1184,
        "2024-01-01 02:00:00.5+02",
        ScalarValue::TimestampMicrosecond(Some(micros), Some("+00:00".into())),
    );
}

#[test]
fn zoneless_text_means_the_sessions_zone() {
    let parameters = merge(&[1184], &[None]);
    let values = [Some(Bytes::from_static(b"2024-07-01 12:00:00"))];
    let values =
        decode_all("", &parameters, &[0], &values, "Europe/Berlin".parse().unwrap()).unwrap();
    let expected = 1_719_828_000_000_000;
    let zone = Some("+00:00".into());
    assert_eq!(values[0], ScalarValue::TimestampMicrosecond(Some(expected), zone));
}

#[test]
fn bad_text_is_22p02() {
    for (oid, text) in [(23, "abc"), (16, "maybe"), (1700, "1.2.3"), (1082, "x"), (1007, "{1")] {
        let failure = decode_as(oid, Format::Text, text.as_bytes()).unwrap_err();
        assert_eq!(failure.report.sqlstate, "22P02", "{text}");
        assert!(failure.report.message.contains(text));
    }
}

#[test]
fn arrays_are_read_in_both_formats() {
    let text = decode_as(1009, Format::Text, br#"{a,"b \"c",NULL,"NULL"}"#).unwrap();
    let values: Vec<_> = [Some("a"), Some("b \"c"), None, Some("NULL")]
        .map(|item| ScalarValue::Utf8(item.map(str::to_string)))
        .to_vec();
    let expected = ScalarValue::List(ScalarValue::new_list_nullable(&values, &DataType::Utf8));
    assert_eq!(text, expected);
    let binary = [
        0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 23, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 4, 0, 0, 0, 7, 255,
        255, 255, 255,
    ];
    let values = [ScalarValue::Int32(Some(7)), ScalarValue::Int32(None)];
    let expected = ScalarValue::List(ScalarValue::new_list_nullable(&values, &DataType::Int32));
    assert_eq!(decode_as(1007, Format::Binary, &binary).unwrap(), expected);
}

#[test]
fn binary_numeric_is_exact() {
    // -12345678.9 as PostgreSQL sends it: groups 1234 5678 9000, weight 1, scale 1.
    let bytes = [0, 3, 0, 1, 0x40, 0, 0, 1, 4, 210, 22, 46, 35, 40];
    let value = decode_as(1700, Format::Binary, &bytes).unwrap();
    assert_eq!(value, ScalarValue::Decimal128(Some(-123_456_789), 9, 1));
}

#[test]
fn binary_of_a_wrong_length_is_22p03() {
    let failure = decode_as(23, Format::Binary, &[1, 2]).unwrap_err();
    assert_eq!(failure.report.sqlstate, "22P03");
}

#[test]
fn values_fit_the_plans_type() {
    let parameters = merge(&[23, 0], &[Some(DataType::Int64), Some(DataType::Int16)]);
    assert_eq!(parameters[0].oid(), 23);
    assert_eq!(parameters[1].oid(), 21);
    let values = [Some(Bytes::from_static(b"7")), None];
    let values = decode_all("", &parameters, &[], &values, utc()).unwrap();
    assert_eq!(values, vec![ScalarValue::Int64(Some(7)), ScalarValue::Int16(None)]);
}

#[test]
fn dates_and_timestamps_lose_what_postgres_passes_over() {
    let read = |ty: u32, text: &'static str| {
        let parameters = merge(&[ty], &[]);
        let values = [Some(Bytes::from_static(text.as_bytes()))];
        decode_all("", &parameters, &[0], &values, utc()).unwrap().remove(0).to_string()
    };
    assert_eq!(read(1082, "2016-01-01 +00"), "2016-01-01");
    assert_eq!(read(1082, "2016-01-01"), "2016-01-01");
    assert_eq!(read(1114, "2016-01-01 10:00:00+02"), read(1114, "2016-01-01 10:00:00"));
    assert_eq!(read(1114, "2016-01-01 10:00:00.5-05:30"), read(1114, "2016-01-01 10:00:00.5"));
}

#[test]
fn wrong_count_is_a_protocol_violation() {
    let failure = decode_all("s", &merge(&[23], &[]), &[], &[], utc()).unwrap_err();
    assert_eq!(failure.report.sqlstate, "08P01");
}

#[test]
fn declared_types_reach_the_plan_as_casts() {
    let statement =
        saltlake_sql::parse::parse("SELECT $1, $2", Default::default()).unwrap().remove(0);
    let statement = declare(statement, &[23, 0]).unwrap();
    assert_eq!(statement.ast.to_string(), "SELECT CAST($1 AS INTEGER), $2");
}

#[test]
fn casts_name_types_that_the_planner_does_not_know() {
    let check = |sql: &str, declared: &[u32], expected: &[u32]| {
        let statement = saltlake_sql::parse::parse(sql, Default::default()).unwrap().remove(0);
        assert_eq!(named(&statement, declared), expected, "{sql}");
    };
    check("SELECT 1 WHERE 2 = ANY($1::oid[])", &[], &[1028]);
    check("SELECT CAST($2 AS regclass), $1::int4", &[], &[0, 2205]);
    check("SELECT $1::pg_catalog.oid, $2::uuid", &[], &[26, 2950]);
    // What the client says holds, and a cast of something else says nothing of it.
    check("SELECT $1::oid, ($2 + 1)::oid", &[20], &[20]);
    check("SELECT $1::oid, $1::name", &[0], &[26]);
    check("SELECT $70000::oid, $0::oid, 'x'::oid", &[], &[]);
}
