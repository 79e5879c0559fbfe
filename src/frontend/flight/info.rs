//! What drivers ask about the server: GetSqlInfo and GetXdbcTypeInfo.
//!
//! Built once at start. Only facts are listed that hold; a driver takes what is missing as not supported.

use crate::error::Result;
use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use arrow_flight::error::FlightError;
use arrow_flight::sql::metadata::{
    SqlInfoData, SqlInfoDataBuilder, XdbcTypeInfo, XdbcTypeInfoData, XdbcTypeInfoDataBuilder,
};
use arrow_flight::sql::{
    CommandGetSqlInfo, CommandGetXdbcTypeInfo, Nullable, Searchable, SqlInfo, SqlNullOrdering,
    SqlOuterJoinsSupportLevel, SqlSupportedCaseSensitivity, SqlSupportedGroupBy,
    SqlSupportedSubqueries, SqlSupportedTransaction, SqlSupportedUnions, SupportedSqlGrammar,
    XdbcDataType, XdbcDatetimeSubcode,
};
use datafusion::error::DataFusionError;
use tonic::Status;

/// Words this server reserves beyond those of SQL:2003, for drivers that quote identifiers.
const KEYWORDS: [&str; 12] = [
    "ANALYZE", "ANTI", "COPY", "EXPLAIN", "EXTERNAL", "ILIKE", "LIMIT", "LOCATION", "OFFSET",
    "QUALIFY", "SEMI", "STORED",
];

/// Version of the Arrow library and so of the format.
const ARROW_VERSION: &str = arrow::ARROW_VERSION;

/// The answers about the server.
pub struct ServerInfo {
    facts: SqlInfoData,
    types: XdbcTypeInfoData,
}

impl ServerInfo {
    /// Builds the answers.
    ///
    /// # Errors
    /// When arrow cannot build the batches.
    pub fn new() -> Result<Self> {
        let failed = |error: FlightError| DataFusionError::External(Box::new(error));
        let facts = facts().build().map_err(failed)?;
        let types = types().build().map_err(failed)?;
        Ok(Self { facts, types })
    }

    /// Returns the schema of [`ServerInfo::sql_info`].
    pub fn sql_info_schema(&self) -> SchemaRef {
        self.facts.schema()
    }

    /// Returns the facts a request asks for; all of them when it names none.
    ///
    /// # Errors
    /// When arrow cannot filter the batch; so for the types.
    pub fn sql_info(&self, query: CommandGetSqlInfo) -> Result<RecordBatch, Status> {
        Ok(query.into_builder(&self.facts).build()?)
    }

    /// Returns the schema of [`ServerInfo::types`].
    pub fn types_schema(&self) -> SchemaRef {
        self.types.schema()
    }

    /// Returns the SQL types a request asks for; all of them when it names none.
    pub fn types(&self, query: CommandGetXdbcTypeInfo) -> Result<RecordBatch, Status> {
        Ok(query.into_builder(&self.types).build()?)
    }
}

/// Returns a bitmask with the bits of enum values that count bits.
fn bits(values: &[i32]) -> i32 {
    values.iter().fold(0, |mask, bit| mask | (1 << bit))
}

/// Returns the facts about the server.
fn facts() -> SqlInfoDataBuilder {
    let mut facts = SqlInfoDataBuilder::new();
    facts.append(SqlInfo::FlightSqlServerName, "Saltlake");
    facts.append(SqlInfo::FlightSqlServerVersion, env!("CARGO_PKG_VERSION"));
    facts.append(SqlInfo::FlightSqlServerArrowVersion, ARROW_VERSION);
    facts.append(SqlInfo::FlightSqlServerReadOnly, false);
    facts.append(SqlInfo::FlightSqlServerSql, true);
    facts.append(SqlInfo::FlightSqlServerSubstrait, false);
    facts.append(SqlInfo::FlightSqlServerTransaction, SqlSupportedTransaction::None as i32);
    facts.append(SqlInfo::FlightSqlServerCancel, true);
    facts.append(SqlInfo::FlightSqlServerBulkIngestion, false);
    facts.append(SqlInfo::FlightSqlServerIngestTransactionsSupported, false);
    facts.append(SqlInfo::FlightSqlServerStatementTimeout, 0);
    facts.append(SqlInfo::FlightSqlServerTransactionTimeout, 0);
    append_names(&mut facts);
    append_grammar(&mut facts);
    facts
}

/// Adds how identifiers and objects are named.
fn append_names(facts: &mut SqlInfoDataBuilder) {
    facts.append(SqlInfo::SqlDdlCatalog, false);
    facts.append(SqlInfo::SqlDdlSchema, true);
    facts.append(SqlInfo::SqlDdlTable, true);
    let folded = SqlSupportedCaseSensitivity::SqlCaseSensitivityLowercase as i32;
    let kept = SqlSupportedCaseSensitivity::SqlCaseSensitivityUnknown as i32;
    facts.append(SqlInfo::SqlIdentifierCase, folded);
    facts.append(SqlInfo::SqlIdentifierQuoteChar, "\"");
    facts.append(SqlInfo::SqlQuotedIdentifierCase, kept);
    facts.append(SqlInfo::SqlAllTablesAreSelectable, true);
    facts.append(SqlInfo::SqlKeywords, &KEYWORDS as &[&str]);
    facts.append(SqlInfo::SqlSearchStringEscape, "\\");
    facts.append(SqlInfo::SqlExtraNameCharacters, "$");
    facts.append(SqlInfo::SqlSchemaTerm, "schema");
    facts.append(SqlInfo::SqlCatalogTerm, "catalog");
    facts.append(SqlInfo::SqlCatalogAtStart, true);
}

/// Adds what statements may contain.
fn append_grammar(facts: &mut SqlInfoDataBuilder) {
    facts.append(SqlInfo::SqlNullOrdering, SqlNullOrdering::SqlNullsSortedHigh as i32);
    facts.append(SqlInfo::SqlSupportsColumnAliasing, true);
    facts.append(SqlInfo::SqlNullPlusNullIsNull, true);
    facts.append(SqlInfo::SqlSupportsTableCorrelationNames, true);
    facts.append(SqlInfo::SqlSupportsDifferentTableCorrelationNames, false);
    facts.append(SqlInfo::SqlSupportsExpressionsInOrderBy, true);
    facts.append(SqlInfo::SqlSupportsOrderByUnrelated, true);
    let group_by = [SqlSupportedGroupBy::SqlGroupByUnrelated as i32];
    facts.append(SqlInfo::SqlSupportedGroupBy, bits(&group_by));
    let grammar =
        [SupportedSqlGrammar::SqlMinimumGrammar as i32, SupportedSqlGrammar::SqlCoreGrammar as i32];
    facts.append(SqlInfo::SqlSupportedGrammar, bits(&grammar));
    let joins = [
        SqlOuterJoinsSupportLevel::SqlLimitedOuterJoins as i32,
        SqlOuterJoinsSupportLevel::SqlFullOuterJoins as i32,
    ];
    facts.append(SqlInfo::SqlOuterJoinsSupportLevel, bits(&joins));
    let subqueries = [
        SqlSupportedSubqueries::SqlSubqueriesInComparisons as i32,
        SqlSupportedSubqueries::SqlSubqueriesInExists as i32,
        SqlSupportedSubqueries::SqlSubqueriesInIns as i32,
    ];
    facts.append(SqlInfo::SqlSupportedSubqueries, bits(&subqueries));
    facts.append(SqlInfo::SqlCorrelatedSubqueriesSupported, true);
    let unions = [SqlSupportedUnions::SqlUnion as i32, SqlSupportedUnions::SqlUnionAll as i32];
    facts.append(SqlInfo::SqlSupportedUnions, bits(&unions));
    facts.append(SqlInfo::SqlSelectForUpdateSupported, false);
    facts.append(SqlInfo::SqlStoredProceduresSupported, false);
    facts.append(SqlInfo::SqlSavepointsSupported, false);
    facts.append(SqlInfo::SqlNamedParametersSupported, false);
}

/// Returns the SQL types.
fn types() -> XdbcTypeInfoDataBuilder {
    let mut types = XdbcTypeInfoDataBuilder::new();
    types.append(plain("BOOLEAN", XdbcDataType::XdbcBit, 1));
    for (name, data_type, n_bits) in [
        ("SMALLINT", XdbcDataType::XdbcSmallint, 16),
        ("INTEGER", XdbcDataType::XdbcInteger, 32),
        ("BIGINT", XdbcDataType::XdbcBigint, 64),
    ] {
        types.append(number(name, data_type, n_bits, 2));
    }
    types.append(number("REAL", XdbcDataType::XdbcReal, 24, 2));
    types.append(number("DOUBLE PRECISION", XdbcDataType::XdbcDouble, 53, 2));
    types.append(XdbcTypeInfo {
        create_params: Some(vec!["precision".into(), "scale".into()]),
        minimum_scale: Some(0),
        maximum_scale: Some(76),
        ..number("NUMERIC", XdbcDataType::XdbcNumeric, 76, 10)
    });
    types.append(XdbcTypeInfo {
        case_sensitive: true,
        ..quoted("VARCHAR", XdbcDataType::XdbcVarchar, "'")
    });
    types.append(quoted("BYTEA", XdbcDataType::XdbcVarbinary, "X'"));
    types.append(quoted("INTERVAL", XdbcDataType::XdbcInterval, "INTERVAL '"));
    // The protocol gives a date and a year the same number, 1, and the library names it after the year.
    let date = XdbcDatetimeSubcode::XdbcSubcodeYear;
    for (name, data_type, code, prefix, size) in [
        ("DATE", XdbcDataType::XdbcDate, date, "DATE '", 10),
        ("TIME", XdbcDataType::XdbcTime, XdbcDatetimeSubcode::XdbcSubcodeTime, "TIME '", 18),
        (
            "TIMESTAMP",
            XdbcDataType::XdbcTimestamp,
            XdbcDatetimeSubcode::XdbcSubcodeTimestamp,
            "TIMESTAMP '",
            29,
        ),
    ] {
        types.append(XdbcTypeInfo {
            column_size: Some(size),
            sql_data_type: XdbcDataType::XdbcDatetime,
            datetime_subcode: Some(code),
            ..quoted(name, data_type, prefix)
        });
    }
    types
}

/// Returns a type without further properties.
fn plain(name: &str, data_type: XdbcDataType, size: i32) -> XdbcTypeInfo {
    XdbcTypeInfo {
        type_name: name.into(),
        data_type,
        column_size: Some(size),
        nullable: Nullable::NullabilityNullable,
        searchable: Searchable::Full,
        sql_data_type: data_type,
        local_type_name: Some(name.into()),
        ..XdbcTypeInfo::default()
    }
}

/// Returns a type of numbers with `size` digits to the base `radix`.
fn number(name: &str, data_type: XdbcDataType, size: i32, radix: i32) -> XdbcTypeInfo {
    XdbcTypeInfo {
        unsigned_attribute: Some(false),
        auto_increment: Some(false),
        num_prec_radix: Some(radix),
        ..plain(name, data_type, size)
    }
}

/// Returns a type whose literals stand between `prefix` and a quote.
fn quoted(name: &str, data_type: XdbcDataType, prefix: &str) -> XdbcTypeInfo {
    XdbcTypeInfo {
        column_size: None,
        literal_prefix: Some(prefix.into()),
        literal_suffix: Some("'".into()),
        ..plain(name, data_type, 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::AsArray;
    use arrow::datatypes::UInt32Type;

    #[test]
    fn facts_are_given_by_name_or_all() {
        let info = ServerInfo::new().unwrap();
        let wanted = vec![SqlInfo::FlightSqlServerTransaction as u32, 504];
        let some = info.sql_info(CommandGetSqlInfo { info: wanted.clone() }).unwrap();
        assert_eq!(some.column(0).as_primitive::<UInt32Type>().values(), &wanted);
        let all = info.sql_info(CommandGetSqlInfo { info: vec![] }).unwrap();
        assert!(all.num_rows() > 30);
        assert_eq!(all.schema(), info.sql_info_schema());
    }

    #[test]
    fn types_are_given_by_number_or_all() {
        let info = ServerInfo::new().unwrap();
        let one = info.types(CommandGetXdbcTypeInfo { data_type: Some(91) }).unwrap();
        assert_eq!(one.column(0).as_string::<i32>().value(0), "DATE");
        assert_eq!(one.num_rows(), 1);
        assert_eq!(info.types(CommandGetXdbcTypeInfo { data_type: None }).unwrap().num_rows(), 13);
    }
}
