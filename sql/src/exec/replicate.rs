//! Copies the rows of heavy keys to every salt bucket they must meet, and writes down which.
//!
//! Sits under the shuffle of the side of a salted join whose heavy rows are copied. Adds the column `__bucket`, the last
//! one: 0 where the row goes by the hash of its key, else the partition + 1. The first copy stays in its batch, whose
//! other columns are not touched; more copies follow in batches of their own, a bucket after the other.
//!
//! ```text
//! k | v          k | v | __bucket
//! 1 | a    ──>   1 | a | 0
//! 7 | b          7 | b | 1           7 is heavy, the join has three partitions
//!                7 | b | 2
//!                7 | b | 3
//! ```

use super::router::{Placed, Router};
use crate::skew::salt::{Salt, Side};
use arrow::array::{ArrayRef, RecordBatch, UInt16Array, UInt32Array};
use arrow::compute::take_record_batch;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{Result, internal_err};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr};
use datafusion::physical_plan::execution_plan::CardinalityEffect;
use datafusion::physical_plan::metrics::{
    BaselineMetrics, Count, ExecutionPlanMetricsSet, MetricBuilder, MetricsSet,
};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties, Partitioning,
    PlanProperties,
};
use futures::{StreamExt, stream};
use std::fmt;
use std::sync::Arc;

/// Name of the column that says in which partition a copy belongs.
pub const BUCKET_COLUMN: &str = "__bucket";

/// The operator.
#[derive(Debug, Clone)]
pub struct ReplicateExec {
    input: Arc<dyn ExecutionPlan>,
    /// Columns of the key, in the join's order.
    keys: Vec<usize>,
    salt: Salt,
    side: Side,
    properties: Arc<PlanProperties>,
    metrics: ExecutionPlanMetricsSet,
}

impl ReplicateExec {
    /// Places the rows of `side` as `salt` says.
    ///
    /// # Errors
    /// When a key is not a column of the input.
    pub fn try_new(
        input: Arc<dyn ExecutionPlan>,
        keys: Vec<usize>,
        salt: Salt,
        side: Side,
    ) -> Result<Self> {
        let n_columns = input.schema().fields().len();
        if keys.is_empty() || keys.iter().any(|key| *key >= n_columns) {
            return internal_err!("keys {keys:?} of {n_columns} columns");
        }
        let mut fields: Vec<_> = input.schema().fields().iter().cloned().collect();
        fields.push(Arc::new(Field::new(BUCKET_COLUMN, DataType::UInt16, false)));
        let metadata = input.schema().metadata().clone();
        let schema = Arc::new(Schema::new_with_metadata(fields, metadata));
        let n_partitions = input.output_partitioning().partition_count();
        let properties = PlanProperties::new(
            // Orders and constants of the input would hold too; nothing above needs them.
            EquivalenceProperties::new(schema),
            Partitioning::UnknownPartitioning(n_partitions),
            input.pipeline_behavior(),
            input.boundedness(),
        );
        let metrics = ExecutionPlanMetricsSet::new();
        Ok(Self { input, keys, salt, side, properties: Arc::new(properties), metrics })
    }

    /// Returns the columns of the key.
    pub fn keys(&self) -> &[usize] {
        &self.keys
    }

    /// Returns the placement.
    pub fn salt(&self) -> &Salt {
        &self.salt
    }

    /// Returns the side of the join.
    pub fn side(&self) -> Side {
        self.side
    }

    /// Returns the same operator over another number of partitions of the join.
    ///
    /// # Errors
    /// As [`ReplicateExec::try_new`].
    pub fn over(&self, n_partitions: usize) -> Result<Self> {
        let salt = self.salt.over(n_partitions);
        Self::try_new(Arc::clone(&self.input), self.keys.clone(), salt, self.side)
    }
}

impl DisplayAs for ReplicateExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter) -> fmt::Result {
        let schema = self.input.schema();
        let names: Vec<_> =
            self.keys.iter().map(|key| schema.field(*key).name().as_str()).collect();
        let (keys, n_heavy, n) = (names.join(", "), self.salt.heavy.len(), self.salt.n_partitions);
        write!(f, "ReplicateExec: key=[{keys}], heavy hitters={n_heavy}, partitions={n}")
    }
}

impl ExecutionPlan for ReplicateExec {
    fn name(&self) -> &str {
        "ReplicateExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn with_new_children(
        self: Arc<Self>,
        mut children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let (Some(input), true) = (children.pop(), children.is_empty()) else {
            return internal_err!("ReplicateExec has one input");
        };
        let copy = Self::try_new(input, self.keys.clone(), self.salt.clone(), self.side)?;
        Ok(Arc::new(copy))
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        if self.salt.n_partitions >= usize::from(u16::MAX) {
            return internal_err!("{} partitions do not fit a bucket", self.salt.n_partitions);
        }
        let work = Replicate {
            router: Arc::new(Router::new(self.salt.clone(), self.side)?),
            keys: self.keys.clone(),
            schema: self.schema(),
            batch_size: context.session_config().batch_size(),
            baseline: BaselineMetrics::new(&self.metrics, partition),
            replicated_rows: MetricBuilder::new(&self.metrics)
                .counter("replicated_rows", partition),
        };
        let mut turn = partition as u64;
        let input = self.input.execute(partition, context)?;
        let batches = input.flat_map(move |batch| {
            stream::iter(match batch.and_then(|batch| work.replicate(batch, &mut turn)) {
                Ok((first, more)) => chain(Some(Ok(first)), more),
                Err(error) => chain(Some(Err(error)), None),
            })
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), batches)))
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }

    fn cardinality_effect(&self) -> CardinalityEffect {
        CardinalityEffect::GreaterEqual
    }
}

/// The first batch with those that follow it.
fn chain(
    first: Option<Result<RecordBatch>>,
    more: Option<MoreCopies>,
) -> impl Iterator<Item = Result<RecordBatch>> {
    first.into_iter().chain(more.into_iter().flatten())
}

/// What one partition needs.
struct Replicate {
    router: Arc<Router>,
    keys: Vec<usize>,
    schema: SchemaRef,
    batch_size: usize,
    baseline: BaselineMetrics,
    replicated_rows: Count,
}

impl Replicate {
    /// Returns the batch with its rows' buckets, and the copies that do not fit in it.
    fn replicate(
        &self,
        batch: RecordBatch,
        turn: &mut u64,
    ) -> Result<(RecordBatch, Option<MoreCopies>)> {
        let _timer = self.baseline.elapsed_compute().timer();
        let keys: Vec<ArrayRef> =
            self.keys.iter().map(|key| Arc::clone(batch.column(*key))).collect();
        let placed = self.router.place(&keys, &mut vec![], turn)?;
        let mut buckets = vec![0; batch.num_rows()];
        for placed in &placed {
            buckets[placed.row as usize] = self.router.partition(*placed, 0) as u16 + 1;
        }
        let first = with_buckets(&batch, buckets, &self.schema)?;
        self.baseline.record_output(first.num_rows());
        let placed: Vec<_> =
            placed.into_iter().filter(|placed| self.router.copies(placed.key) > 1).collect();
        let more = (!placed.is_empty()).then(|| MoreCopies {
            router: Arc::clone(&self.router),
            batch,
            schema: Arc::clone(&self.schema),
            placed,
            next: (1, 0),
            batch_size: self.batch_size.max(1),
            baseline: self.baseline.clone(),
            replicated_rows: self.replicated_rows.clone(),
        });
        Ok((first, more))
    }
}

/// The second and later copies of a batch's heavy rows, made when they are asked for.
struct MoreCopies {
    router: Arc<Router>,
    batch: RecordBatch,
    schema: SchemaRef,
    placed: Vec<Placed>,
    /// Copy and index of the row that comes next.
    next: (usize, usize),
    batch_size: usize,
    baseline: BaselineMetrics,
    replicated_rows: Count,
}

impl Iterator for MoreCopies {
    type Item = Result<RecordBatch>;

    fn next(&mut self) -> Option<Self::Item> {
        let _timer = self.baseline.elapsed_compute().timer();
        let most = self.placed.iter().map(|placed| self.router.copies(placed.key)).max()?;
        let (mut rows, mut buckets) = (vec![], vec![]);
        let (mut copy, mut idx) = self.next;
        while copy < most && rows.len() < self.batch_size {
            let placed = self.placed[idx];
            if copy < self.router.copies(placed.key) {
                rows.push(placed.row);
                buckets.push(self.router.partition(placed, copy) as u16 + 1);
            }
            idx += 1;
            if idx == self.placed.len() {
                (copy, idx) = (copy + 1, 0);
            }
        }
        self.next = (copy, idx);
        if rows.is_empty() {
            return None;
        }
        self.baseline.record_output(rows.len());
        self.replicated_rows.add(rows.len());
        let copies = take_record_batch(&self.batch, &UInt32Array::from(rows));
        Some(copies.map_err(Into::into).and_then(|rows| with_buckets(&rows, buckets, &self.schema)))
    }
}

fn with_buckets(batch: &RecordBatch, buckets: Vec<u16>, schema: &SchemaRef) -> Result<RecordBatch> {
    let mut columns = batch.columns().to_vec();
    columns.push(Arc::new(UInt16Array::from(buckets)));
    Ok(RecordBatch::try_new(Arc::clone(schema), columns)?)
}
