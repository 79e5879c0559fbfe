//! `ANALYZE [table [(columns)]]`: counts a table's rows, NULLs and distinct values, and finds its bounds, in one pass.
//!
//! Called by `command`. The pass is a query like any other: it is admitted, runs on the workers where that pays, ends with
//! its session. What it finds is kept with the lake and read by planning ([`saltlake_catalog::Analysis`]).
//! Limit: columns of nested types are passed over.

use super::command::{done, not_supported, parts};
use super::session::{Outcome, Session};
use crate::error::{Error, Result};
use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use arrow::datatypes::{DataType, Field};
use arrow::util::display::array_value_to_string;
use datafusion::catalog::TableProvider;
use datafusion::common::TableReference;
use datafusion::error::DataFusionError;
use datafusion::logical_expr::TableType;
use datafusion::sql::sqlparser::ast::{Analyze, Ident};
use saltlake_catalog::{Analysis, ColumnAnalysis, RelationKind};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

/// Characters that are kept of a bound.
const MAX_BOUND_CHARS: usize = 64;
/// Columns that one pass looks at; a table of more is read several times.
const MAX_COLUMNS: usize = 200;
/// Values that are asked of a column: those that are not NULL, distinct ones, the least, the greatest.
const N_VALUES: usize = 4;

impl Session {
    /// Analyzes a table, or all tables of the lake.
    ///
    /// # Errors
    /// When there is no such table or column, or reading it fails.
    pub(super) async fn analyze(&self, analyze: &Analyze, sql: &str) -> Result<Outcome> {
        if analyze.partitions.is_some() || analyze.cache_metadata || analyze.noscan {
            return not_supported(analyze);
        }
        let Some(name) = &analyze.table_name else {
            for relation in self.coordinator.lake.relations().await? {
                if relation.kind == RelationKind::Table {
                    let name = vec![self.coordinator.lake.catalog_name().to_string()];
                    let name = [name, vec![relation.schema, relation.name]].concat();
                    self.analyze_table(&name, &[], sql).await?;
                }
            }
            return done("ANALYZE");
        };
        let columns: Vec<String> = analyze.columns.iter().map(column_name).collect();
        self.analyze_table(&parts(name)?, &columns, sql).await?;
        done("ANALYZE")
    }

    async fn analyze_table(&self, name: &[String], columns: &[String], sql: &str) -> Result<()> {
        let table = self.table_to_analyze(name).await?;
        let lake = &self.coordinator.lake;
        let Some(seen) = lake.analyzed_table(&table).await? else {
            return not_supported(format!("ANALYZE of \"{}\"", name.join(".")));
        };
        let schema = table.schema();
        if !columns.is_empty() {
            // Planning says what is wrong with a column, and what was perhaps meant.
            let columns: Vec<_> = columns.iter().map(|column| quote(column)).collect();
            let sql = format!("SELECT {} FROM {}", columns.join(", "), quoted(name));
            self.plan_text(&sql).await?;
        }
        let is_wanted = |field: &&Field| {
            let is_named = columns.is_empty() || columns.contains(field.name());
            is_named && !field.data_type().is_nested()
        };
        let fields = schema.fields().iter().map(AsRef::as_ref);
        let wanted: Vec<&Field> = fields.filter(is_wanted).collect();
        let mut found = BTreeMap::new();
        for wanted in wanted.chunks(MAX_COLUMNS) {
            let query = query(name, wanted);
            let plan = self.plan_text(&query).await?;
            let batches = self.run_to_end(self.state(), plan, sql).await?;
            found.extend(findings(&batches, wanted, &seen.version)?);
        }
        let analysis = Analysis { table: name.join("."), columns: found };
        Ok(lake.keep_analysis(&seen.location, analysis).await?)
    }

    async fn table_to_analyze(&self, name: &[String]) -> Result<Arc<dyn TableProvider>> {
        let reference = match name {
            [table] => TableReference::bare(table.as_str()),
            [schema, table] => TableReference::partial(schema.as_str(), table.as_str()),
            [catalog, schema, table] => {
                TableReference::full(catalog.as_str(), schema.as_str(), table.as_str())
            }
            _ => return not_supported(format!("the name {}", name.join("."))),
        };
        let state = self.state();
        let schema = state.schema_for_ref(reference)?;
        let table = name.last().cloned().unwrap_or_default();
        let Some(provider) = schema.table(&table).await? else {
            // Planning says what is wrong with the name, and what was perhaps meant.
            self.plan_text(&format!("SELECT 1 FROM {}", quoted(name))).await?;
            return not_supported(format!("ANALYZE of \"{table}\""));
        };
        if provider.table_type() != TableType::Base {
            let expected = RelationKind::Table.name();
            return Err(saltlake_catalog::Error::WrongKind { name: table, expected }.into());
        }
        Ok(provider)
    }
}

fn column_name(ident: &Ident) -> String {
    match ident.quote_style {
        Some(_) => ident.value.clone(),
        None => ident.value.to_lowercase(),
    }
}

fn quote(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

fn quoted(name: &[String]) -> String {
    name.iter().map(|part| quote(part)).collect::<Vec<_>>().join(".")
}

/// The query that looks at all columns at once.
fn query(table: &[String], columns: &[&Field]) -> String {
    let mut values = vec!["count(*)".to_string()];
    for field in columns {
        let column = quote(field.name());
        // Floats are hashed as the texts they print as: equal ones print alike.
        let hashed = match field.data_type() {
            data_type if data_type.is_floating() => format!("CAST({column} AS text)"),
            _ => column.clone(),
        };
        values.push(format!("count({column})"));
        values.push(format!("approx_distinct({hashed})"));
        values.extend(match has_bounds(field.data_type()) {
            true => [format!("min({column})"), format!("max({column})")],
            false => ["NULL".to_string(), "NULL".to_string()],
        });
    }
    let values = values.iter().enumerate().map(|(idx, value)| format!("{value} AS v{idx}"));
    format!("SELECT {} FROM {}", values.collect::<Vec<_>>().join(", "), quoted(table))
}

fn has_bounds(data_type: &DataType) -> bool {
    let is_text = matches!(data_type, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View);
    is_text || data_type.is_numeric() || data_type.is_temporal()
}

/// Reads the row of the query.
fn findings(
    batches: &[RecordBatch],
    columns: &[&Field],
    version: &str,
) -> Result<BTreeMap<String, ColumnAnalysis>> {
    let Some(first) = batches.first() else {
        return Err(Error::Internal { message: "ANALYZE gave no row".to_string() });
    };
    let row = concat_batches(&first.schema(), batches).map_err(DataFusionError::from)?;
    let text = |idx: usize| -> Result<Option<String>> {
        let column = row.column(idx);
        if column.is_null(0) {
            return Ok(None);
        }
        let text = array_value_to_string(column, 0).map_err(DataFusionError::from)?;
        Ok(Some(text.chars().take(MAX_BOUND_CHARS).collect()))
    };
    let number = |idx: usize| -> Result<u64> {
        Ok(text(idx)?.and_then(|text| text.parse().ok()).unwrap_or_default())
    };
    let n_rows = number(0)?;
    let analyzed_at = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let column = |(idx, field): (usize, &&Field)| {
        let at = 1 + idx * N_VALUES;
        let found = ColumnAnalysis {
            version: version.to_string(),
            analyzed_at_ms: i64::try_from(analyzed_at.as_millis()).unwrap_or(i64::MAX),
            n_rows,
            n_nulls: n_rows.saturating_sub(number(at)?),
            n_distinct: Some(number(at + 1)?),
            min: text(at + 2)?,
            max: text(at + 3)?,
        };
        Ok((field.name().clone(), found))
    };
    columns.iter().enumerate().map(column).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_query_asks_for_all_columns() {
        let fields = [
            Field::new("a\"b", DataType::Int64, true),
            Field::new("x", DataType::Float64, true),
            Field::new("raw", DataType::Binary, true),
        ];
        let fields: Vec<&Field> = fields.iter().collect();
        let expected = "SELECT count(*) AS v0, \
            count(\"a\"\"b\") AS v1, approx_distinct(\"a\"\"b\") AS v2, min(\"a\"\"b\") AS v3, max(\"a\"\"b\") AS v4, \
            count(\"x\") AS v5, approx_distinct(CAST(\"x\" AS text)) AS v6, min(\"x\") AS v7, max(\"x\") AS v8, \
            count(\"raw\") AS v9, approx_distinct(\"raw\") AS v10, NULL AS v11, NULL AS v12 \
            FROM \"s\".\"T\"";
        assert_eq!(query(&["s".to_string(), "T".to_string()], &fields), expected);
    }
}
