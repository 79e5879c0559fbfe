//! Values as PostgreSQL writes them, checked against what PostgreSQL 15 prints for the same values.

use super::*;
use arrow::array::types::{Int8Type, Int32Type};
use arrow::array::*;
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Field, IntervalMonthDayNano, i256};
use std::sync::Arc;

fn encode(array: ArrayRef, format: Format, zone: &str) -> Vec<Option<Vec<u8>>> {
    let field = Field::new("c", array.data_type().clone(), true);
    let style = Style { format, time_zone: zone.parse().unwrap() };
    let cells = Cells::compile(&array, &field, style).unwrap();
    (0..array.len())
        .map(|row| {
            let mut out = BytesMut::new();
            cells.put(row, &mut out).unwrap();
            let length = i32::from_be_bytes(out[..4].try_into().unwrap());
            let value = out[4..].to_vec();
            if length < 0 {
                assert!(value.is_empty());
                return None;
            }
            assert_eq!(length as usize, value.len());
            Some(value)
        })
        .collect()
}

fn check_text(array: impl Array + 'static, expected: &[Option<&str>]) {
    check_text_in("UTC", array, expected);
}

fn check_text_in(zone: &str, array: impl Array + 'static, expected: &[Option<&str>]) {
    let found: Vec<_> = encode(Arc::new(array), Format::Text, zone)
        .into_iter()
        .map(|value| value.map(|value| String::from_utf8(value).unwrap()))
        .collect();
    let expected: Vec<_> = expected.iter().map(|value| value.map(str::to_string)).collect();
    assert_eq!(found, expected);
}

fn check_binary(array: impl Array + 'static, expected: &[Option<&[u8]>]) {
    let found = encode(Arc::new(array), Format::Binary, "UTC");
    let expected: Vec<_> = expected.iter().map(|value| value.map(<[u8]>::to_vec)).collect();
    assert_eq!(found, expected);
}

#[test]
fn integers_and_booleans() {
    check_text(
        BooleanArray::from(vec![Some(true), Some(false), None]),
        &[Some("t"), Some("f"), None],
    );
    check_binary(BooleanArray::from(vec![true]), &[Some(&[1])]);
    check_text(Int64Array::from(vec![i64::MIN]), &[Some("-9223372036854775808")]);
    check_binary(UInt8Array::from(vec![255]), &[Some(&[0, 255])]);
    check_binary(UInt16Array::from(vec![65535]), &[Some(&[0, 0, 255, 255])]);
    check_binary(UInt32Array::from(vec![u32::MAX]), &[Some(&[0, 0, 0, 0, 255, 255, 255, 255])]);
    check_text(UInt64Array::from(vec![u64::MAX]), &[Some("18446744073709551615")]);
}

#[test]
fn floats_print_shortest_with_postgres_exponents() {
    check_text(
        Float64Array::from(vec![
            0.1,
            -0.0,
            1e15,
            123_456_789_012_345.0,
            1e-5,
            0.0001,
            f64::NAN,
            f64::INFINITY,
            1.5e300,
            -1234.5,
            0.3,
        ]),
        &[
            Some("0.1"),
            Some("-0"),
            Some("1e+15"),
            Some("123456789012345"),
            Some("1e-05"),
            Some("0.0001"),
            Some("NaN"),
            Some("Infinity"),
            Some("1.5e+300"),
            Some("-1234.5"),
            Some("0.3"),
        ],
    );
    check_text(
        Float32Array::from(vec![1_234_567.0, 123_456.0, 0.1, f32::NEG_INFINITY]),
        &[Some("1.234567e+06"), Some("123456"), Some("0.1"), Some("-Infinity")],
    );
}

#[test]
fn decimals_are_exact() {
    let decimals = |values: Vec<i128>, scale| {
        Decimal128Array::from(values).with_precision_and_scale(38, scale).unwrap()
    };
    check_text(
        decimals(vec![1, -12345, 0, i128::pow(10, 37)], 4),
        &[
            Some("0.0001"),
            Some("-1.2345"),
            Some("0.0000"),
            Some("1000000000000000000000000000000000.0000"),
        ],
    );
    check_text(decimals(vec![12, 0], -3), &[Some("12000"), Some("0")]);
    // PostgreSQL's numeric_send of 12345678.9, 0.00, 0.0001 and 10000.
    check_binary(
        decimals(vec![123_456_789], 1),
        &[Some(&[0, 3, 0, 1, 0, 0, 0, 1, 4, 210, 22, 46, 35, 40])],
    );
    check_binary(decimals(vec![0], 2), &[Some(&[0, 0, 0, 0, 0, 0, 0, 2])]);
    check_binary(decimals(vec![1], 4), &[Some(&[0, 1, 255, 255, 0, 0, 0, 4, 0, 1])]);
    check_binary(decimals(vec![-10_000], 0), &[Some(&[0, 1, 0, 1, 64, 0, 0, 0, 0, 1])]);
    let wide = Decimal256Array::from(vec![i256::from_string(&"9".repeat(70)).unwrap()])
        .with_precision_and_scale(76, 10)
        .unwrap();
    check_text(wide, &[Some(&format!("{}.{}", "9".repeat(60), "9".repeat(10)))]);
}

#[test]
fn text_and_bytes() {
    check_text(
        StringViewArray::from(vec![Some("ünïcode"), Some(""), None]),
        &[Some("ünïcode"), Some(""), None],
    );
    check_text(BinaryArray::from(vec![&[0_u8, 255][..]]), &[Some("\\x00ff")]);
    check_binary(BinaryArray::from(vec![&[0_u8, 255][..]]), &[Some(&[0, 255])]);
}

#[test]
fn dates_and_times() {
    check_text(
        Date32Array::from(vec![0, 19_782, -719_528, 2_932_896]),
        &[Some("1970-01-01"), Some("2024-02-29"), Some("0001-01-01 BC"), Some("9999-12-31")],
    );
    check_binary(Date32Array::from(vec![10_958]), &[Some(&[0, 0, 0, 1])]);
    check_text(Time64NanosecondArray::from(vec![3_661_500_000_000]), &[Some("01:01:01.5")]);
    check_text(
        TimestampNanosecondArray::from(vec![Some(1_704_103_200_000_000_000), Some(-1), None]),
        &[Some("2024-01-01 10:00:00"), Some("1969-12-31 23:59:59.999999"), None],
    );
    check_text(TimestampSecondArray::from(vec![253_402_300_799]), &[Some("9999-12-31 23:59:59")]);
    check_binary(
        TimestampMillisecondArray::from(vec![946_684_800_001]),
        &[Some(&[0, 0, 0, 0, 0, 0, 3, 232])],
    );
}

#[test]
fn instants_print_in_the_sessions_zone() {
    let instants =
        || TimestampMicrosecondArray::from(vec![1_719_828_000_250_000]).with_timezone("UTC");
    check_text_in("Europe/Berlin", instants(), &[Some("2024-07-01 12:00:00.25+02")]);
    check_text_in("Asia/Kolkata", instants(), &[Some("2024-07-01 15:30:00.25+05:30")]);
    check_text_in("America/New_York", instants(), &[Some("2024-07-01 06:00:00.25-04")]);
}

#[test]
fn timestamp_beyond_microseconds_is_out_of_range() {
    let array: ArrayRef = Arc::new(TimestampSecondArray::from(vec![i64::MAX]));
    let field = Field::new("c", array.data_type().clone(), true);
    let style = Style { format: Format::Text, time_zone: "UTC".parse().unwrap() };
    let cells = Cells::compile(&array, &field, style).unwrap();
    assert!(cells.put(0, &mut BytesMut::new()).is_err());
}

#[test]
fn intervals_keep_postgres_signs_and_nulls() {
    let interval =
        |months, days, nanoseconds| Some(IntervalMonthDayNano { months, days, nanoseconds });
    check_text(
        IntervalMonthDayNanoArray::from(vec![
            interval(14, 3, 14_706_700_000_000),
            interval(0, 0, 0),
            interval(-14, 3, -1_000_000_000),
            interval(0, -1, 3_600_000_000_000),
            interval(1, 1, 0),
            None,
        ]),
        &[
            Some("1 year 2 mons 3 days 04:05:06.7"),
            Some("00:00:00"),
            Some("-1 years -2 mons +3 days -00:00:01"),
            Some("-1 days +01:00:00"),
            Some("1 mon 1 day"),
            None,
        ],
    );
    check_text(DurationSecondArray::from(vec![93_784]), &[Some("26:03:04")]);
}

#[test]
fn arrays_quote_what_needs_quotes() {
    let mut builder = ListBuilder::new(StringBuilder::new());
    builder.append_value([Some("a"), Some("b c"), None, Some(""), Some("null"), Some("q\"\\")]);
    builder.append_value(Vec::<Option<&str>>::new());
    builder.append_null();
    check_text(builder.finish(), &[Some(r#"{a,"b c",NULL,"","null","q\"\\"}"#), Some("{}"), None]);
    let ints =
        || ListArray::from_iter_primitive::<Int32Type, _, _>(vec![Some(vec![Some(7), None])]);
    check_text(ints(), &[Some("{7,NULL}")]);
    check_binary(
        ints(),
        &[Some(&[
            0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 23, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 4, 0, 0, 0, 7,
            255, 255, 255, 255,
        ])],
    );
}

#[test]
fn structs_maps_and_nested_lists_are_json() {
    let text: ArrayRef = Arc::new(StringArray::from(vec![Some("a\"\n"), None]));
    let number: ArrayRef = Arc::new(Float64Array::from(vec![1.5, f64::NAN]));
    let flag: ArrayRef = Arc::new(BooleanArray::from(vec![true, false]));
    let object = StructArray::from(vec![
        (Arc::new(Field::new("t", DataType::Utf8, true)), text),
        (Arc::new(Field::new("n", DataType::Float64, true)), number),
        (Arc::new(Field::new("b", DataType::Boolean, true)), flag),
    ]);
    check_text(
        object,
        &[Some(r#"{"t":"a\"\n","n":1.5,"b":true}"#), Some(r#"{"t":null,"n":"NaN","b":false}"#)],
    );
    let mut map = MapBuilder::new(None, StringBuilder::new(), Int32Builder::new());
    map.keys().append_value("k");
    map.values().append_value(1);
    map.append(true).unwrap();
    check_text(map.finish(), &[Some(r#"{"k":1}"#)]);
    let inner: ArrayRef = Arc::new(ListArray::from_iter_primitive::<Int32Type, _, _>(vec![
        Some(vec![Some(1), None]),
        Some(vec![]),
    ]));
    let field = Arc::new(Field::new_list_field(inner.data_type().clone(), true));
    let outer = ListArray::new(field, OffsetBuffer::from_lengths([2]), inner, None);
    check_text(outer, &[Some("[[1,null],[]]")]);
}

#[test]
fn dictionaries_send_their_values() {
    let keys = Int8Array::from(vec![Some(1), None, Some(0), Some(2)]);
    let values = Arc::new(StringArray::from(vec![Some("zero"), Some("one"), None]));
    let dictionary = DictionaryArray::<Int8Type>::new(keys, values);
    check_text(dictionary, &[Some("one"), None, Some("zero"), None]);
}

#[test]
fn a_row_is_one_data_row_message() {
    let schema = Schema::new(vec![Field::new("a", DataType::Int32, true)]);
    let column: ArrayRef = Arc::new(Int32Array::from(vec![Some(5), None]));
    let batch = RecordBatch::try_new(Arc::new(schema.clone()), vec![column]).unwrap();
    let style = Style { format: Format::Text, time_zone: "UTC".parse().unwrap() };
    let mut encoder = BatchEncoder::new(&batch, &schema, &[style]).unwrap();
    let mut out = BytesMut::new();
    assert_eq!(encoder.put_rows(&mut Shape::Message, &mut out, 1, 1 << 20).unwrap(), 1);
    assert!(!encoder.is_done());
    assert_eq!(out[..], [b'D', 0, 0, 0, 11, 0, 1, 0, 0, 0, 1, b'5']);
    assert_eq!(encoder.put_rows(&mut Shape::Message, &mut out, 9, 1 << 20).unwrap(), 1);
    assert!(encoder.is_done());
}
