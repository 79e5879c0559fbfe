//! The eight TPC-H tables at scale factor 0.01, as its data generator makes them: 60,175 line items.

use super::Lake;
use arrow::array::RecordBatch;
use arrow::csv::ReaderBuilder;
use arrow::datatypes::{DataType, Field, Schema};
use std::fmt::{Display, Write};
use std::sync::Arc;
use tpchgen::generators::{
    CustomerGenerator, LineItemGenerator, NationGenerator, OrderGenerator, PartGenerator,
    PartSuppGenerator, RegionGenerator, SupplierGenerator,
};

const SCALE_FACTOR: f64 = 0.01;

/// Files of the two large tables, so that several tasks have something to scan.
const N_FILES: usize = 4;

const MONEY: DataType = DataType::Decimal128(15, 2);

impl Lake {
    /// Makes a lake of the TPC-H tables.
    pub fn tpch() -> Self {
        use DataType::{Date32, Int32, Int64, Utf8};
        let lake = Self::empty();
        let sf = SCALE_FACTOR;
        lake.write_rows("region", &[Int64, Utf8, Utf8], RegionGenerator::new(sf, 1, 1).iter());
        lake.write_rows(
            "nation",
            &[Int64, Utf8, Int64, Utf8],
            NationGenerator::new(sf, 1, 1).iter(),
        );
        let part = [Int64, Utf8, Utf8, Utf8, Utf8, Int32, Utf8, MONEY, Utf8];
        lake.write_rows("part", &part, PartGenerator::new(sf, 1, 1).iter());
        let supplier = [Int64, Utf8, Utf8, Int64, Utf8, MONEY, Utf8];
        lake.write_rows("supplier", &supplier, SupplierGenerator::new(sf, 1, 1).iter());
        let partsupp = [Int64, Int64, Int32, MONEY, Utf8];
        lake.write_rows("partsupp", &partsupp, PartSuppGenerator::new(sf, 1, 1).iter());
        let customer = [Int64, Utf8, Utf8, Int64, Utf8, MONEY, Utf8, Utf8];
        lake.write_rows("customer", &customer, CustomerGenerator::new(sf, 1, 1).iter());
        let orders = [Int64, Int64, Utf8, MONEY, Date32, Utf8, Utf8, Int32, Utf8];
        lake.write_rows("orders", &orders, OrderGenerator::new(sf, 1, 1).iter());
        let lineitem = [
            Int64, Int64, Int64, Int32, MONEY, MONEY, MONEY, MONEY, Utf8, Utf8, Date32, Date32,
            Date32, Utf8, Utf8, Utf8,
        ];
        lake.write_rows("lineitem", &lineitem, LineItemGenerator::new(sf, 1, 1).iter());
        lake
    }

    /// Writes one table: small ones to a file, large ones to several.
    fn write_rows<R: Display>(
        &self,
        table: &str,
        types: &[DataType],
        rows: impl Iterator<Item = R>,
    ) {
        let batch = parse(types, column_names(table), rows);
        if batch.num_rows() < 10_000 {
            self.write_parquet(&format!("{table}.parquet"), &[batch]);
            return;
        }
        let n_rows = batch.num_rows().div_ceil(N_FILES);
        for idx in 0..N_FILES {
            let offset = idx * n_rows;
            let part = batch.slice(offset, n_rows.min(batch.num_rows() - offset));
            self.write_parquet(&format!("{table}/{idx}.parquet"), &[part]);
        }
    }
}

/// Turns the generator's lines, values each followed by `|`, into one batch.
fn parse<R: Display>(
    types: &[DataType],
    names: &str,
    rows: impl Iterator<Item = R>,
) -> RecordBatch {
    let mut text = String::new();
    for row in rows {
        let line = row.to_string();
        writeln!(text, "{}", line.trim_end().trim_end_matches('|')).unwrap();
    }
    let names = names.split_whitespace();
    let fields: Vec<Field> = names
        .zip(types)
        .map(|(name, data_type)| Field::new(name, data_type.clone(), false))
        .collect();
    assert_eq!(fields.len(), types.len());
    let schema = Arc::new(Schema::new(fields));
    let mut reader = ReaderBuilder::new(Arc::clone(&schema))
        .with_delimiter(b'|')
        .with_batch_size(100_000)
        .build(text.as_bytes())
        .unwrap();
    let batch = reader.next().unwrap().unwrap();
    assert!(reader.next().is_none(), "one batch holds the largest table");
    batch
}

fn column_names(table: &str) -> &'static str {
    match table {
        "region" => "r_regionkey r_name r_comment",
        "nation" => "n_nationkey n_name n_regionkey n_comment",
        "part" => {
            "p_partkey p_name p_mfgr p_brand p_type p_size p_container p_retailprice p_comment"
        }
        "supplier" => "s_suppkey s_name s_address s_nationkey s_phone s_acctbal s_comment",
        "partsupp" => "ps_partkey ps_suppkey ps_availqty ps_supplycost ps_comment",
        "customer" => {
            "c_custkey c_name c_address c_nationkey c_phone c_acctbal c_mktsegment c_comment"
        }
        "orders" => {
            "o_orderkey o_custkey o_orderstatus o_totalprice o_orderdate o_orderpriority o_clerk \
             o_shippriority o_comment"
        }
        "lineitem" => {
            "l_orderkey l_partkey l_suppkey l_linenumber l_quantity l_extendedprice l_discount l_tax \
             l_returnflag l_linestatus l_shipdate l_commitdate l_receiptdate l_shipinstruct l_shipmode \
             l_comment"
        }
        other => panic!("no TPC-H table: {other}"),
    }
}
