//! Rows of the standard test tables, as text in PostgreSQL's input syntax.
//!
//! Text, because it must mean the same to every engine: `lake::write` makes files of it, `slt::postgres` loads it into
//! a real PostgreSQL to check the expected answers. The larger tables are drawn from a seeded generator.

/// Type of a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ColumnType {
    /// Truth value.
    Bool,
    /// 16 bits.
    Smallint,
    /// 32 bits.
    Int,
    /// 64 bits.
    Bigint,
    /// 32-bit float.
    Real,
    /// 64-bit float.
    Double,
    /// Precision and scale.
    Decimal(u8, i8),
    /// UTF-8 text.
    Text,
    /// Day.
    Date,
    /// Microseconds, no zone.
    Timestamp,
    /// Microseconds, a point in time.
    Timestamptz,
}

/// How a table lies in the lake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// One file, or a folder of several.
    Parquet {
        /// Number of files; the rows are cut in order.
        n_files: usize,
    },
    /// A folder for each value of the last two columns.
    Hive,
    /// One file with a header.
    Csv,
    /// One file, an object a line.
    Json,
}

/// A table of the test lake.
pub struct Table {
    /// Its name.
    pub name: &'static str,
    /// Names and types of its columns.
    pub columns: Vec<(&'static str, ColumnType)>,
    /// Its rows; `None` is NULL.
    pub rows: Vec<Vec<Option<String>>>,
    /// How it lies in the lake.
    pub layout: Layout,
}

use ColumnType::{
    Bigint, Bool, Date, Decimal, Double, Int, Real, Smallint, Text, Timestamp, Timestamptz,
};

/// Returns all standard tables.
pub fn standard() -> Vec<Table> {
    vec![
        dept(),
        emp(),
        left_keys(),
        right_keys(),
        kinds(),
        readings(),
        no_rows(),
        numbers(),
        customers(),
        sales(),
        events(),
    ]
}

/// Cuts lines of values separated by `|`; an empty value is NULL.
fn rows(text: &str) -> Vec<Vec<Option<String>>> {
    let value = |text: &str| Some(text.trim().to_owned()).filter(|text| !text.is_empty());
    text.trim().lines().map(|line| line.split('|').map(value).collect()).collect()
}

fn dept() -> Table {
    let columns = vec![("dept_id", Bigint), ("name", Text), ("budget", Bigint), ("city", Text)];
    let rows = rows(
        "10|Engineering|500000|Oslo
         20|Sales|200000|Lima
         30|Support|80000|Oslo
         40|Legal|60000|Rome",
    );
    Table { name: "dept", columns, rows, layout: Layout::Csv }
}

/// A tree of managers; one employee without a department, one whose department does not exist, one without salary.
fn emp() -> Table {
    let columns = vec![
        ("emp_id", Int),
        ("name", Text),
        ("dept_id", Int),
        ("manager_id", Int),
        ("salary", Decimal(10, 2)),
        ("hired", Date),
        ("is_remote", Bool),
    ];
    let rows = rows(
        "1|Ada|10||9000.00|2015-03-01|f
         2|Bob|10|1|6500.50|2016-07-15|t
         3|Cleo|10|1|6500.50|2018-01-31|f
         4|Dan|20|1|5200.00|2017-11-11|t
         5|Eve|20|4|4100.25|2020-02-29|
         6|Finn|20|4|3900.00|2021-06-01|t
         7|Gus|30|1|3100.00|2019-09-09|f
         8|Hana|30|7|2800.75|2022-12-24|f
         9|Ivo||1|7000.00|2014-05-05|t
         10|Jana|50|9||2023-01-01|f
         11|Kim|10|2|4800.00|2020-02-28|t
         12|Lou|30|7|2800.75|2022-12-24|",
    );
    Table { name: "emp", columns, rows, layout: Layout::Parquet { n_files: 2 } }
}

fn left_keys() -> Table {
    let columns = vec![("k", Int), ("a", Text), ("v", Int)];
    let rows = rows("1|one|10\n2|two|20\n2|deux|21\n3|three|30\n|nil|40\n|none|\n5||50");
    Table { name: "left_keys", columns, rows, layout: Layout::Parquet { n_files: 3 } }
}

fn right_keys() -> Table {
    let columns = vec![("k", Int), ("b", Text), ("w", Int)];
    let rows = rows("2|zwei|15\n2|dos|25\n3|drei|30\n4|vier|40\n|null|50\n6||");
    Table { name: "right_keys", columns, rows, layout: Layout::Parquet { n_files: 2 } }
}

/// A row of small values, one of large values, one of negative ones, one of NULLs.
fn kinds() -> Table {
    let columns = vec![
        ("id", Int),
        ("flag", Bool),
        ("small", Smallint),
        ("big", Bigint),
        ("single", Real),
        ("wide", Double),
        ("price", Decimal(12, 2)),
        ("huge", Decimal(38, 10)),
        ("label", Text),
        ("day", Date),
        ("at", Timestamp),
        ("at_utc", Timestamptz),
    ];
    let rows = rows(
        "1|t|1|1|0.5|0.25|1.00|1.0000000000|a|2024-01-01|2024-01-01 00:00:00|2024-01-01 00:00:00Z
         2|f|32767|9223372036854775807|1.5|1024.125|9999999999.99|1234567890123456789012345678.0123456789|Zürich ß 東京|2024-02-29|2024-02-29 23:59:59.999999|2024-03-31 00:59:59.5Z
         3|t|-32768|-9223372036854775808|-2.5|-0.75|-0.01|-0.0000000001|it's \"quoted\", yes|1969-12-31|1969-12-31 23:59:59|2024-10-27 01:30:00Z
         4|||||||||||",
    );
    Table { name: "kinds", columns, rows, layout: Layout::Parquet { n_files: 1 } }
}

fn readings() -> Table {
    let columns = vec![("reading_id", Bigint), ("sensor", Text), ("value", Double), ("ok", Bool)];
    let rows = rows(
        "1|north|1.5|t
         2|north|2.5|t
         3|south||f
         4||8.25|t
         5|south|-4|
         6|east|0|t",
    );
    Table { name: "readings", columns, rows, layout: Layout::Json }
}

fn no_rows() -> Table {
    let columns = vec![("a", Int), ("b", Text)];
    Table { name: "no_rows", columns, rows: Vec::new(), layout: Layout::Parquet { n_files: 1 } }
}

fn numbers() -> Table {
    let columns = vec![("n", Bigint), ("m", Int), ("parity", Text)];
    let row = |n: i64| {
        let parity = if n % 2 == 0 { "even" } else { "odd" };
        vec![Some(n.to_string()), Some((n % 7).to_string()), Some(parity.to_owned())]
    };
    let rows = (1..=10_000).map(row).collect();
    Table { name: "numbers", columns, rows, layout: Layout::Parquet { n_files: 4 } }
}

fn customers() -> Table {
    let columns = vec![("customer_id", Int), ("country", Text), ("since", Date)];
    let countries = ["NO", "PE", "IT", "JP"];
    let row = |id: usize| {
        let since = format!("{}-{:02}-15", 2015 + id % 9, 1 + id % 12);
        vec![Some(id.to_string()), Some(countries[id % 4].to_owned()), Some(since)]
    };
    let rows = (1..=50).map(row).collect();
    Table { name: "customers", columns, rows, layout: Layout::Parquet { n_files: 1 } }
}

/// 3,000 rows of which customer 7 has about 40 %, one in twenty has no customer, and some customers do not exist.
fn sales() -> Table {
    let columns = vec![
        ("sale_id", Bigint),
        ("customer_id", Int),
        ("product", Text),
        ("quantity", Int),
        ("price", Decimal(10, 2)),
        ("sold_at", Timestamp),
    ];
    let mut random = Random(17);
    let products = ["tea", "salt", "rope", "lamp", "ink"];
    let mut row = |id: u64| {
        let customer_id = match random.below(100) {
            0..5 => None,
            5..45 => Some("7".to_owned()),
            _ => Some((1 + random.below(55)).to_string()),
        };
        let quantity = Some(random.below(20)).filter(|quantity| *quantity > 0);
        let price = format!("{}.{:02}", random.below(500), random.below(100));
        let (day, hour) = (1 + random.below(28), random.below(24));
        let sold_at = format!("2024-{:02}-{day:02} {hour:02}:30:00", 1 + random.below(12));
        let product = products[usize::try_from(random.below(5)).expect("less than five")];
        let quantity = quantity.map(|quantity| quantity.to_string());
        vec![
            Some(id.to_string()),
            customer_id,
            Some(product.to_owned()),
            quantity,
            Some(price),
            Some(sold_at),
        ]
    };
    let rows = (1..=3_000).map(&mut row).collect();
    Table { name: "sales", columns, rows, layout: Layout::Parquet { n_files: 5 } }
}

/// Twelve hive folders, three years by four regions, with five rows each.
fn events() -> Table {
    let columns = vec![
        ("event_id", Bigint),
        ("kind", Text),
        ("score", Double),
        ("year", Int),
        ("region", Text),
    ];
    let kinds = ["open", "click", "close"];
    let row = |id: usize| {
        let score = (!id.is_multiple_of(8)).then(|| (id as f64 / 4.0).to_string());
        vec![
            Some(id.to_string()),
            Some(kinds[id % 3].to_owned()),
            score,
            Some((2022 + id % 3).to_string()),
            Some(["eu", "us", "ap", "af"][id % 4].to_owned()),
        ]
    };
    let rows = (1..=60).map(row).collect();
    Table { name: "events", columns, rows, layout: Layout::Hive }
}

/// SplitMix64: the same numbers on every machine.
pub struct Random(pub u64);

impl Random {
    /// Returns a number in `0..limit`.
    pub fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % limit
    }
}
