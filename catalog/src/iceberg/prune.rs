//! Which manifests and which files can hold a wanted row, by what the metadata say.
//!
//! Called by [`super::plan`]. DataFusion's pruning predicate asks for bounds of columns, one array over all files of a
//! block; they come from the bounds that writers recorded and from partition values ([`super::ranges`]). Bounds are only
//! that: texts are cut, NaN is left out, rows may have been deleted since. Here they rule files out, no more. Of metadata
//! columns, a file's location and its spec are known.

use super::block::{Counts, ManifestBlock};
use super::facade::bucket_of;
use super::metadata::{ManifestGroup, Spec, Transform};
use super::ranges::{End, source_bounds};
use super::reserved::{FILE, SPEC_ID};
use super::schema::TableSchema;
use crate::error::Result;
use crate::pruning;
use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Int32Array, UInt64Array, new_null_array,
};
use arrow::compute::{cast, is_not_null, kernels::zip::zip};
use arrow::datatypes::{DataType, Int32Type, SchemaRef};
use datafusion::common::Column;
use datafusion::common::pruning::PruningStatistics;
use datafusion::execution::context::ExecutionProps;
use datafusion::logical_expr::Expr;
use datafusion::physical_optimizer::pruning::PruningPredicate;
use datafusion::scalar::ScalarValue;
use std::collections::HashSet;
use std::sync::Arc;

/// The filters of a scan, ready to be held against metadata.
pub(super) struct Pruner {
    predicate: Option<PruningPredicate>,
    schema: Arc<TableSchema>,
}

impl Pruner {
    /// Returns a pruner for filters over the table's columns. Filters it cannot judge prune nothing.
    pub(super) fn new(
        filters: &[Expr],
        schema: &Arc<TableSchema>,
        arrow: &SchemaRef,
        props: &ExecutionProps,
    ) -> Self {
        Self { predicate: pruning::predicate(filters, arrow, props), schema: Arc::clone(schema) }
    }

    /// Returns which manifests of a group may list files with wanted rows.
    pub(super) fn manifests(&self, group: &ManifestGroup, spec: &Spec) -> Result<Vec<bool>> {
        let lower: Vec<_> = group.lower.iter().map(Some).collect();
        let upper: Vec<_> = group.upper.iter().map(Some).collect();
        let facts = Facts {
            n: group.members.len(),
            spec,
            lower,
            upper,
            has_null: Some(&group.has_null),
            block: None,
            schema: &self.schema,
        };
        self.prune(&facts)
    }

    /// Returns which files of a block may hold wanted rows.
    pub(super) fn files(&self, block: &ManifestBlock, spec: &Spec) -> Result<Vec<bool>> {
        let values: Vec<_> = block.partitions.iter().map(Option::as_ref).collect();
        let facts = Facts {
            n: block.len(),
            spec,
            lower: values.clone(),
            upper: values,
            has_null: None,
            block: Some(block),
            schema: &self.schema,
        };
        self.prune(&facts)
    }

    fn prune(&self, facts: &Facts<'_>) -> Result<Vec<bool>> {
        match &self.predicate {
            Some(predicate) if facts.n > 0 => Ok(predicate.prune(facts)?),
            _ => Ok(vec![true; facts.n]),
        }
    }
}

/// What is known of several manifests, or of the files of a block.
struct Facts<'a> {
    n: usize,
    spec: &'a Spec,
    /// Partition values by field of the spec; the same as `upper` for files.
    lower: Vec<Option<&'a ArrayRef>>,
    upper: Vec<Option<&'a ArrayRef>>,
    /// For manifests, whether they have null partition values.
    has_null: Option<&'a [Vec<bool>]>,
    /// For files, what the manifest says of their columns.
    block: Option<&'a ManifestBlock>,
    schema: &'a TableSchema,
}

impl Facts<'_> {
    /// Fields of the spec that are made from a column, with their positions.
    fn fields_of(
        &self,
        id: i32,
    ) -> impl Iterator<Item = (usize, &super::metadata::PartitionField)> {
        self.spec.fields.iter().enumerate().filter(move |(_, field)| field.source_id == id)
    }

    /// Values of the metadata columns that all rows of a file share, and that its manifest tells.
    fn shared(&self, id: i32) -> Option<ArrayRef> {
        match id {
            FILE => Some(Arc::new(self.block?.paths.clone())),
            SPEC_ID => Some(Arc::new(Int32Array::from(vec![self.spec.id; self.n]))),
            _ => None,
        }
    }

    fn bounds(&self, column: &Column, end: End) -> Option<ArrayRef> {
        let column = self.schema.column_named(&column.name)?;
        let data_type = column.primitive()?.arrow();
        if let Some(values) = self.shared(column.id) {
            return widened(&values, &data_type);
        }
        let recorded = self.block.and_then(|block| block.columns.get(&column.id));
        let recorded = recorded.and_then(|stats| match end {
            End::Lower => stats.lower.as_ref(),
            End::Upper => stats.upper.as_ref(),
        });
        let mut best = recorded.and_then(|bounds| widened(bounds, &data_type));
        for (idx, field) in self.fields_of(column.id) {
            if best.as_ref().is_some_and(|best| best.null_count() == 0) {
                break;
            }
            let values = match end {
                End::Lower => self.lower.get(idx),
                End::Upper => self.upper.get(idx),
            };
            let derived = values.copied().flatten().filter(|values| values.len() == self.n);
            let derived = derived.and_then(|values| source_bounds(field, values, end));
            let Some(derived) = derived.and_then(|derived| widened(&derived, &data_type)) else {
                continue;
            };
            best = Some(match best {
                None => derived,
                Some(best) => zip(&is_not_null(&best).ok()?, &best, &derived).ok()?,
            });
        }
        best
    }

    /// Null counts as partition values tell them: all rows of a null partition are null, and none of another one.
    fn partition_nulls(&self, id: i32) -> Option<UInt64Array> {
        let is_told = |transform| !matches!(transform, Transform::Void | Transform::Unknown);
        let (idx, _) = self.fields_of(id).find(|(_, field)| is_told(field.transform))?;
        if let Some(has_null) = self.has_null {
            let may_be_null = has_null.get(idx)?;
            return Some(may_be_null.iter().map(|may| (!may).then_some(0)).collect());
        }
        let (values, block) = (self.lower.get(idx).copied().flatten()?, self.block?);
        let count = |row: usize| if values.is_null(row) { block.n_rows[row] } else { 0 };
        Some((0..self.n).map(|row| Some(count(row))).collect())
    }
}

/// Returns bounds in the type the column has now.
fn widened(bounds: &ArrayRef, data_type: &DataType) -> Option<ArrayRef> {
    if bounds.data_type() == data_type {
        return Some(Arc::clone(bounds));
    }
    cast(bounds, data_type).ok()
}

impl PruningStatistics for Facts<'_> {
    fn min_values(&self, column: &Column) -> Option<ArrayRef> {
        self.bounds(column, End::Lower)
    }

    fn max_values(&self, column: &Column) -> Option<ArrayRef> {
        self.bounds(column, End::Upper)
    }

    fn num_containers(&self) -> usize {
        self.n
    }

    fn null_counts(&self, column: &Column) -> Option<ArrayRef> {
        let id = self.schema.column_named(&column.name)?.id;
        if matches!(id, FILE | SPEC_ID) {
            return Some(Arc::new(UInt64Array::from(vec![0; self.n])));
        }
        let recorded =
            self.block.and_then(|block| block.columns.get(&id)).map(|stats| &stats.nulls);
        match recorded {
            Some(Counts::Zero) => Some(Arc::new(UInt64Array::from(vec![0; self.n]))),
            Some(Counts::Values(values)) => Some(Arc::new(values.clone())),
            Some(Counts::Unknown) | None => match self.partition_nulls(id) {
                Some(counts) => Some(Arc::new(counts)),
                None => Some(new_null_array(&DataType::UInt64, self.n)),
            },
        }
    }

    fn row_counts(&self) -> Option<ArrayRef> {
        let rows = self.block.map(|block| UInt64Array::from(block.n_rows.clone()));
        rows.map(|rows| Arc::new(rows) as ArrayRef)
    }

    /// Says that a file's bucket is none of those that the wanted values fall into.
    fn contained(&self, column: &Column, values: &HashSet<ScalarValue>) -> Option<BooleanArray> {
        let id = self.schema.column_named(&column.name)?.id;
        let (idx, n_buckets, source) =
            self.fields_of(id).find_map(|(idx, field)| match (field.transform, field.source) {
                (Transform::Bucket(n), Some(source)) => Some((idx, n, source)),
                _ => None,
            })?;
        let wanted: Option<HashSet<i32>> =
            values.iter().map(|value| bucket_of(n_buckets, source, value)).collect();
        let wanted = wanted?;
        let (lower, upper) = (self.lower.get(idx).copied()??, self.upper.get(idx).copied()??);
        let (lower, upper) =
            (lower.as_primitive_opt::<Int32Type>()?, upper.as_primitive_opt::<Int32Type>()?);
        let told = |row: usize| {
            let is_one =
                lower.is_valid(row) && upper.is_valid(row) && lower.value(row) == upper.value(row);
            (is_one && !wanted.contains(&lower.value(row))).then_some(false)
        };
        Some((0..self.n).map(told).collect())
    }
}
