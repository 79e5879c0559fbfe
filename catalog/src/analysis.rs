//! What ANALYZE found out about tables: kept in the lake's own folder, used for estimates only.
//!
//! ```text
//! LAKE/_saltlake/catalog/N.json        location of a table ─> name of its analysis
//! LAKE/_saltlake/statistics/NAME.json  an analysis; never changed, replaced by one of another name
//! ```
//!
//! The pointers are read with the definitions, as every statement does anyhow, and what they point to never changes: what
//! was read once is never stale. A table may have changed since it was analyzed. Numbers of distinct values are then still
//! the best guess there is, in proportion to the rows where they were many; counts and bounds hold for that version alone.

use crate::cache::Named;
use crate::definitions::Definitions;
use crate::error::{Error, Result};
use arrow::datatypes::Schema;
use datafusion::common::Statistics;
use datafusion::common::stats::Precision;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, PutPayload};
use parking_lot::RwLock;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::SystemTime;

/// Bytes that analyses may hold in memory.
const MAX_WEIGHT_BYTES: u64 = 16 << 20;
/// Distinct values, against rows, from which a column is taken to gain values as the table gains rows.
const GROWING_SHARE: f64 = 0.1;

/// A table as it can be analyzed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AnalyzedTable {
    /// Where it is; what its analysis is kept by.
    pub location: String,
    /// The version that a statement would see now.
    pub version: String,
}

/// What is known of one table.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Analysis {
    /// The table's name when it was analyzed.
    pub table: String,
    /// Columns that were analyzed, by name.
    pub columns: BTreeMap<String, ColumnAnalysis>,
}

/// What is known of one column.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ColumnAnalysis {
    /// The version of the table that was read.
    pub version: String,
    /// When, in milliseconds since 1970.
    pub analyzed_at_ms: i64,
    /// Rows of the table.
    pub n_rows: u64,
    /// Those of them that are NULL.
    pub n_nulls: u64,
    /// Distinct values, about.
    pub n_distinct: Option<u64>,
    /// The least value as text, cut.
    pub min: Option<String>,
    /// The greatest value as text, cut.
    pub max: Option<String>,
}

impl Analysis {
    /// Adds to the statistics of a scan of the table's columns what files do not tell.
    pub(crate) fn add_to(&self, statistics: &mut Statistics, schema: &Schema, version: &str) {
        for (field, column) in schema.fields().iter().zip(&mut statistics.column_statistics) {
            let Some(known) = self.columns.get(field.name()) else { continue };
            if known.version == version {
                let n_rows = usize::try_from(known.n_rows).unwrap_or(usize::MAX);
                if statistics.num_rows == Precision::Absent {
                    statistics.num_rows = Precision::Inexact(n_rows);
                }
                if column.null_count == Precision::Absent {
                    let n_nulls = usize::try_from(known.n_nulls).unwrap_or(usize::MAX);
                    column.null_count = Precision::Inexact(n_nulls);
                }
            }
            let n_rows = statistics.num_rows.get_value().copied();
            if let Some(n_distinct) = known.n_distinct_of(n_rows) {
                column.distinct_count = Precision::Inexact(n_distinct);
            }
        }
    }

    fn weight(&self) -> usize {
        let column = |(name, column): (&String, &ColumnAnalysis)| {
            let text = |text: &Option<String>| text.as_ref().map_or(0, String::len);
            let texts = name.len() + column.version.len() + text(&column.min) + text(&column.max);
            texts + size_of::<ColumnAnalysis>() + 64
        };
        self.table.len() + self.columns.iter().map(column).sum::<usize>()
    }
}

impl ColumnAnalysis {
    /// Distinct values among so many rows.
    fn n_distinct_of(&self, n_rows: Option<usize>) -> Option<usize> {
        let n_distinct = self.n_distinct? as f64;
        let share = n_distinct / (self.n_rows.max(1)) as f64;
        let scaled = match n_rows {
            Some(n_rows) if share >= GROWING_SHARE => share * n_rows as f64,
            Some(n_rows) => n_distinct.min(n_rows as f64),
            None => n_distinct,
        };
        Some(scaled.ceil() as usize)
    }
}

/// The analyses of a lake.
pub(crate) struct Analyses {
    cache: Named<String, Arc<Analysis>>,
    store: Arc<dyn ObjectStore>,
    folder: Path,
    /// What was last read of the lake's definitions, which point to analyses.
    pointers: RwLock<Arc<Definitions>>,
}

impl Analyses {
    /// Returns those that are kept in a folder.
    pub(crate) fn new(store: Arc<dyn ObjectStore>, folder: Path) -> Self {
        let weight = |name: &String, analysis: &Arc<Analysis>| name.len() + analysis.weight();
        let cache = Named::new("table_analyses", MAX_WEIGHT_BYTES, weight);
        Self { cache, store, folder, pointers: RwLock::default() }
    }

    /// Returns the cache.
    pub(crate) fn cache(&self) -> &Named<String, Arc<Analysis>> {
        &self.cache
    }

    /// Takes over where analyses are.
    pub(crate) fn follow(&self, definitions: &Arc<Definitions>) {
        if !Arc::ptr_eq(&self.pointers.read(), definitions) {
            *self.pointers.write() = Arc::clone(definitions);
        }
    }

    /// Returns what is known of the table at a location. A plan needs no estimates: what cannot be read is not known.
    pub(crate) async fn of(&self, location: &str) -> Option<Arc<Analysis>> {
        let name = self.pointers.read().analyses.get(location).cloned()?;
        match self.read(&name).await {
            Ok(analysis) => Some(analysis),
            Err(error) => {
                tracing::debug!(%error, location, "no statistics");
                None
            }
        }
    }

    /// Reads an analysis by its name.
    ///
    /// # Errors
    /// When it is gone or is none.
    pub(crate) async fn read(&self, name: &str) -> Result<Arc<Analysis>> {
        let load = async {
            let path = self.path(name);
            let document = self.store.get(&path).await?.bytes().await?;
            let analysis = serde_json::from_slice(&document).map_err(|error| {
                Error::CorruptFile { path: path.to_string(), message: error.to_string() }
            })?;
            Ok(Arc::new(analysis))
        };
        self.cache.get(name.to_owned(), load).await
    }

    /// Writes an analysis and returns its name.
    ///
    /// # Errors
    /// When the store fails.
    pub(crate) async fn write(&self, location: &str, analysis: &Analysis) -> Result<String> {
        let now = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
        let mut hasher = DefaultHasher::new();
        (location, now, std::process::id()).hash(&mut hasher);
        let name = format!("{:020}-{:016x}", now.as_micros(), hasher.finish());
        let text = serde_json::to_vec_pretty(analysis).map_err(|error| Error::CorruptFile {
            path: name.clone(),
            message: error.to_string(),
        })?;
        self.store.put(&self.path(&name), PutPayload::from(text)).await?;
        Ok(name)
    }

    /// Removes an analysis that nothing points to any more. What cannot be removed stays, and harms nobody.
    pub(crate) async fn remove(&self, name: &str) {
        if let Err(error) = self.store.delete(&self.path(name)).await {
            tracing::debug!(%error, name, "old statistics not removed");
        }
    }

    fn path(&self, name: &str) -> Path {
        self.folder.clone().join(format!("{name}.json"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::datatypes::{DataType, Field};

    fn column(version: &str, n_rows: u64, n_distinct: u64) -> ColumnAnalysis {
        ColumnAnalysis {
            version: version.to_owned(),
            analyzed_at_ms: 0,
            n_rows,
            n_nulls: 5,
            n_distinct: Some(n_distinct),
            min: None,
            max: None,
        }
    }

    fn added(analysis: &Analysis, n_rows: Precision<usize>, version: &str) -> Statistics {
        let names = ["key", "colour", "other"];
        let fields: Vec<_> =
            names.iter().map(|name| Field::new(*name, DataType::Int64, true)).collect();
        let schema = Schema::new(fields);
        let mut statistics = Statistics { num_rows: n_rows, ..Statistics::new_unknown(&schema) };
        analysis.add_to(&mut statistics, &schema, version);
        statistics
    }

    #[test]
    fn distinct_values_follow_the_rows_and_counts_the_version() {
        let columns = [("key", 1000), ("colour", 7)]
            .map(|(name, n_distinct)| (name.to_owned(), column("1", 1000, n_distinct)));
        let analysis = Analysis { table: "t".to_owned(), columns: columns.into() };
        let same = added(&analysis, Precision::Absent, "1");
        assert_eq!(same.num_rows, Precision::Inexact(1000));
        assert_eq!(same.column_statistics[0].null_count, Precision::Inexact(5));
        let distinct = |statistics: &Statistics, idx: usize| {
            statistics.column_statistics[idx].distinct_count.get_value().copied()
        };
        assert_eq!(
            (distinct(&same, 0), distinct(&same, 1), distinct(&same, 2)),
            (Some(1000), Some(7), None)
        );
        let grown = added(&analysis, Precision::Exact(3000), "2");
        assert_eq!((distinct(&grown, 0), distinct(&grown, 1)), (Some(3000), Some(7)));
        assert_eq!(grown.column_statistics[0].null_count, Precision::Absent);
        assert_eq!(grown.num_rows, Precision::Exact(3000));
        let few = added(&analysis, Precision::Exact(3), "1");
        assert_eq!((distinct(&few, 0), distinct(&few, 1)), (Some(3), Some(3)));
    }

    #[tokio::test]
    async fn an_analysis_that_cannot_be_read_is_none() {
        let memory = Arc::new(object_store::memory::InMemory::new());
        let analyses = Analyses::new(Arc::clone(&memory) as _, Path::from("s"));
        let analysis = Analysis { table: "t".to_owned(), ..Analysis::default() };
        let name = analyses.write("file:///t/", &analysis).await.unwrap();
        let mut definitions = Definitions::default();
        definitions.analyses.insert("file:///t/".to_owned(), name.clone());
        definitions.analyses.insert("file:///u/".to_owned(), "gone".to_owned());
        memory.put(&Path::from("s/bad.json"), "{".into()).await.unwrap();
        definitions.analyses.insert("file:///v/".to_owned(), "bad".to_owned());
        analyses.follow(&Arc::new(definitions));
        assert_eq!(analyses.of("file:///t/").await.as_deref(), Some(&analysis));
        for location in ["file:///u/", "file:///v/", "file:///w/"] {
            assert_eq!(analyses.of(location).await, None);
        }
    }
}
