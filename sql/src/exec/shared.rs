//! Runs a plan once and gives its rows to every place that reads them.
//!
//! ```text
//! HashJoinExec                          HashJoinExec
//!   AggregateExec … of year_total   →     SharedExec: year_total   the first to be asked runs the input
//!   AggregateExec … of year_total         SharedExec: year_total   reads what the first one kept
//! ```
//!
//! All nodes of one such plan hold the same [`SharedRows`]. The first stream that is polled starts a task that runs the
//! input to its end; it belongs to the rows, not to that stream, so a reader that goes away takes nothing from the
//! others, and nobody waits for a reader. Rows are kept in memory that the pool grants, and in spill files beyond it.
//! Limits: the whole input is read even when a reader needs a few rows of it; one process only.

use arrow::array::RecordBatch;
use datafusion::common::runtime::SpawnedTask;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{DataFusionError, Result, Statistics};
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use datafusion::execution::{SendableRecordBatchStream, SpillFile, TaskContext};
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr};
use datafusion::physical_plan::coop::cooperative;
use datafusion::physical_plan::execution_plan::{
    Boundedness, ChildrenPropertiesMode, EmissionType, ReplaceChildrenOptions, SchedulingType,
};
use datafusion::physical_plan::metrics::{
    BaselineMetrics, ExecutionPlanMetricsSet, MetricsSet, SpillMetrics,
};
use datafusion::physical_plan::spill::{SpillManager, get_record_batch_memory_size};
use datafusion::physical_plan::statistics::{ChildStats, StatisticsArgs};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties, Partitioning,
    PlanProperties,
};
use futures::future::{BoxFuture, Shared};
use futures::{FutureExt, Stream, StreamExt, TryStreamExt, stream};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

/// What one partition of the input gave.
struct Kept {
    /// Files come first: they hold what came first.
    files: Vec<Arc<dyn SpillFile>>,
    batches: Vec<RecordBatch>,
    /// Memory of the batches, given back with them.
    _reservation: MemoryReservation,
}

type Outcome = std::result::Result<Arc<Vec<Kept>>, Arc<DataFusionError>>;
type Running = Shared<BoxFuture<'static, Outcome>>;

/// The rows of one shared plan, computed by whoever asks first.
#[derive(Default)]
pub(crate) struct SharedRows {
    running: Mutex<Option<Running>>,
}

impl fmt::Debug for SharedRows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedRows").finish_non_exhaustive()
    }
}

impl SharedRows {
    /// Returns the rows to wait for; the first to ask starts the tasks that compute them.
    fn running(&self, start: impl FnOnce() -> Running) -> Running {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        running.get_or_insert_with(start).clone()
    }
}

/// Starts one task for each partition of a plan.
fn start(
    input: &Arc<dyn ExecutionPlan>,
    name: &str,
    spill: &SpillManager,
    context: &Arc<TaskContext>,
) -> Running {
    let part = |partition: usize| {
        let consumer = MemoryConsumer::new(format!("SharedExec[{name}]")).with_can_spill(true);
        let reservation = consumer.register(context.memory_pool());
        let (input, context, spill) = (Arc::clone(input), Arc::clone(context), spill.clone());
        SpawnedTask::spawn(async move {
            keep(input.execute(partition, context)?, &spill, reservation).await
        })
    };
    let n_parts = input.output_partitioning().partition_count();
    let parts: Vec<_> = (0..n_parts).map(part).collect();
    let all = async move {
        let mut kept = vec![];
        for part in parts {
            let part = part.join().await;
            let part = part.map_err(|error| DataFusionError::ExecutionJoin(Box::new(error)));
            kept.push(part.and_then(|part| part).map_err(Arc::new)?);
        }
        Ok(Arc::new(kept))
    };
    all.boxed().shared()
}

/// Reads a stream to its end, into memory as long as there is some.
async fn keep(
    mut stream: SendableRecordBatchStream,
    spill: &SpillManager,
    reservation: MemoryReservation,
) -> Result<Kept> {
    let mut kept = Kept { files: vec![], batches: vec![], _reservation: reservation };
    while let Some(batch) = stream.next().await {
        let batch = batch?;
        if batch.num_rows() == 0 {
            continue;
        }
        let bytes = get_record_batch_memory_size(&batch);
        kept.batches.push(batch);
        if kept._reservation.try_grow(bytes).is_err() {
            let batches = std::mem::take(&mut kept.batches);
            kept.files.extend(spill.spill_record_batch_and_finish(&batches, "a shared plan")?);
            kept._reservation.free();
        }
    }
    Ok(kept)
}

/// One place that reads a shared plan.
#[derive(Debug)]
pub(crate) struct SharedExec {
    name: String,
    input: Arc<dyn ExecutionPlan>,
    rows: Arc<SharedRows>,
    properties: Arc<PlanProperties>,
    metrics: ExecutionPlanMetricsSet,
}

impl SharedExec {
    /// Returns a reader of `rows`, which are those of `input`.
    pub(crate) fn new(name: String, input: Arc<dyn ExecutionPlan>, rows: Arc<SharedRows>) -> Self {
        // Another reader's input may have run, whose partitions are not surely cut alike.
        let n_partitions = input.output_partitioning().partition_count();
        let properties = PlanProperties::new(
            EquivalenceProperties::new(input.schema()),
            Partitioning::UnknownPartitioning(n_partitions),
            EmissionType::Final,
            Boundedness::Bounded,
        )
        .with_scheduling_type(SchedulingType::Cooperative);
        let metrics = ExecutionPlanMetricsSet::new();
        Self { name, input, rows, properties: Arc::new(properties), metrics }
    }
}

impl DisplayAs for SharedExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SharedExec: {}", self.name)
    }
}

impl ExecutionPlan for SharedExec {
    fn name(&self) -> &'static str {
        "SharedExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn benefits_from_input_partitioning(&self) -> Vec<bool> {
        vec![false]
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn replace_children(
        self: Arc<Self>,
        mut children: Vec<Arc<dyn ExecutionPlan>>,
        _: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let (Some(input), true) = (children.pop(), children.is_empty()) else {
            return datafusion::common::internal_err!("SharedExec has one input");
        };
        Ok(Arc::new(Self::new(self.name.clone(), input, Arc::clone(&self.rows))))
    }

    fn with_new_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let options = ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute);
        self.replace_children(children, options)
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        let schema = self.schema();
        let metrics = SpillMetrics::new(&self.metrics, partition);
        let spill = SpillManager::new(context.runtime_env(), metrics, Arc::clone(&schema));
        let n_partitions = self.properties.partitioning.partition_count();
        let (input, rows, name) =
            (Arc::clone(&self.input), Arc::clone(&self.rows), self.name.clone());
        let read = async move {
            let running = rows.running(|| start(&input, &name, &spill, &context));
            let kept = running.await.map_err(DataFusionError::Shared)?;
            Ok::<_, DataFusionError>(read(kept, partition, n_partitions, spill))
        };
        let batches = stream::once(read).try_flatten();
        let output = BaselineMetrics::new(&self.metrics, partition);
        let batches = batches.inspect_ok(move |batch| output.record_output(batch.num_rows()));
        Ok(Box::pin(cooperative(RecordBatchStreamAdapter::new(schema, batches.boxed()))))
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }

    fn child_stats_requests(&self, _: Option<usize>) -> Vec<ChildStats> {
        vec![ChildStats::At(None)]
    }

    fn statistics_from_inputs(
        &self,
        inputs: &[Arc<Statistics>],
        args: &StatisticsArgs,
    ) -> Result<Arc<Statistics>> {
        match (args.partition(), inputs) {
            (None, [whole]) => Ok(Arc::clone(whole)),
            _ => Ok(Arc::new(Statistics::new_unknown(&self.schema()))),
        }
    }
}

/// Streams every `n_partitions`-th part of what was kept.
fn read(
    kept: Arc<Vec<Kept>>,
    partition: usize,
    n_partitions: usize,
    spill: SpillManager,
) -> impl Stream<Item = Result<RecordBatch>> {
    let n_parts = kept.len();
    let parts = (partition..n_parts).step_by(n_partitions.max(1));
    stream::iter(parts)
        .map(move |part| {
            let files: Vec<_> = kept[part].files.iter().map(Arc::clone).collect();
            let spill = spill.clone();
            let files = stream::iter(files)
                .map(move |file| spill.read_spill_as_stream(file, None))
                .try_flatten();
            let batches: Vec<_> = kept[part].batches.iter().cloned().map(Ok).collect();
            files.chain(stream::iter(batches))
        })
        .flatten()
}
