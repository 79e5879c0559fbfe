//! Hands rows over in pieces that are soon dealt with, and yields between them.
//!
//! Sits under the side of a nested loop join whose rows are compared with all of the other side. The join deals with a
//! batch of that side without a pause: 8192 rows against a million are minutes in which a thread can neither be cancelled
//! nor serve another query. How long a batch takes shows only when the next one is asked for, so the pieces start small
//! and follow what the last one took.
//!
//! ```text
//! NestedLoopJoinExec            NestedLoopJoinExec
//!   left              ──>         left
//!   right                         PacedExec
//!                                   right
//! ```

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{Result, Statistics, internal_err};
use datafusion::execution::{RecordBatchStream, SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::execution_plan::{CardinalityEffect, SchedulingType};
use datafusion::physical_plan::statistics::{ChildStats, StatisticsArgs};
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties};
use futures::Stream;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

/// A piece that takes longer is followed by a smaller one.
const LONG: Duration = Duration::from_millis(20);

/// A piece that takes less is followed by a larger one.
const SHORT: Duration = Duration::from_millis(5);

/// Rows of the first piece.
const FIRST_ROWS: usize = 64;

/// The operator.
#[derive(Debug, Clone)]
pub struct PacedExec {
    input: Arc<dyn ExecutionPlan>,
    properties: Arc<PlanProperties>,
}

impl PacedExec {
    /// Paces `input`.
    pub fn new(input: Arc<dyn ExecutionPlan>) -> Self {
        let properties = PlanProperties::clone(input.properties())
            .with_scheduling_type(SchedulingType::Cooperative);
        Self { input, properties: Arc::new(properties) }
    }
}

impl DisplayAs for PacedExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("PacedExec")
    }
}

impl ExecutionPlan for PacedExec {
    fn name(&self) -> &str {
        "PacedExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        vec![true]
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
            return internal_err!("PacedExec has one input");
        };
        Ok(Arc::new(Self::new(input)))
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        let input = self.input.execute(partition, context)?;
        Ok(Box::pin(Paced::new(input)))
    }

    fn child_stats_requests(&self, partition: Option<usize>) -> Vec<ChildStats> {
        vec![ChildStats::At(partition)]
    }

    fn statistics_from_inputs(
        &self,
        inputs: &[Arc<Statistics>],
        _: &StatisticsArgs,
    ) -> Result<Arc<Statistics>> {
        match inputs {
            [input] => Ok(Arc::clone(input)),
            _ => internal_err!("PacedExec has one input"),
        }
    }

    fn cardinality_effect(&self) -> CardinalityEffect {
        CardinalityEffect::Equal
    }
}

/// One partition.
struct Paced {
    input: SendableRecordBatchStream,
    /// What is left of a batch.
    rest: Option<RecordBatch>,
    /// Rows of the next piece.
    n_rows: usize,
    /// When the last piece was handed over, while its reader deals with it, and whether it was as large as it could be.
    given: Option<(Instant, bool)>,
    /// Since when the thread has not been given back; `None` when it was just now.
    busy_since: Option<Instant>,
}

impl Paced {
    fn new(input: SendableRecordBatchStream) -> Self {
        Self { input, rest: None, n_rows: FIRST_ROWS, given: None, busy_since: None }
    }

    /// Chooses the size of the next piece.
    fn follow(&mut self, took: Duration, was_full: bool) {
        if took > LONG {
            self.n_rows = (self.n_rows / 2).max(1);
        } else if took < SHORT && was_full {
            self.n_rows = self.n_rows.saturating_mul(2);
        }
    }

    /// Cuts a piece off the front of a batch and keeps the rest.
    fn piece(&mut self, batch: RecordBatch) -> RecordBatch {
        let n_rows = batch.num_rows();
        let is_full = n_rows >= self.n_rows;
        self.given = Some((Instant::now(), is_full));
        if n_rows <= self.n_rows {
            return batch;
        }
        self.rest = Some(batch.slice(self.n_rows, n_rows - self.n_rows));
        batch.slice(0, self.n_rows)
    }
}

impl Stream for Paced {
    type Item = Result<RecordBatch>;

    fn poll_next(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<RecordBatch>>> {
        let now = Instant::now();
        if let Some((given, was_full)) = self.given.take() {
            self.follow(now.duration_since(given), was_full);
        }
        let busy_since = *self.busy_since.get_or_insert(now);
        if now.duration_since(busy_since) > LONG {
            self.busy_since = None;
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        let batch = match self.rest.take() {
            Some(rest) => Some(Ok(rest)),
            None => match self.input.as_mut().poll_next(context) {
                Poll::Ready(batch) => batch,
                Poll::Pending => {
                    self.busy_since = None;
                    return Poll::Pending;
                }
            },
        };
        Poll::Ready(batch.map(|batch| batch.map(|batch| self.piece(batch))))
    }
}

impl RecordBatchStream for Paced {
    fn schema(&self) -> SchemaRef {
        self.input.schema()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::Int64Array;
    use arrow::array::cast::AsArray;
    use arrow::datatypes::{DataType, Field, Int64Type, Schema};
    use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
    use futures::{FutureExt, StreamExt, stream};

    fn paced(n_batches: i64, n_rows: i64) -> Paced {
        let schema = Arc::new(Schema::new(vec![Field::new("n", DataType::Int64, false)]));
        let batches: Vec<_> = (0..n_batches)
            .map(|idx| {
                let values = Int64Array::from_iter_values(idx * n_rows..(idx + 1) * n_rows);
                Ok(RecordBatch::try_new(Arc::clone(&schema), vec![Arc::new(values)])?)
            })
            .collect();
        Paced::new(Box::pin(RecordBatchStreamAdapter::new(schema, stream::iter(batches))))
    }

    #[tokio::test]
    async fn every_row_comes_once_and_in_order() {
        let pieces: Vec<RecordBatch> = paced(5, 1000).map(|piece| piece.unwrap()).collect().await;
        let values = pieces
            .iter()
            .flat_map(|piece| piece.column(0).as_primitive::<Int64Type>().values().to_vec());
        assert!(values.eq(0..5000));
        assert_eq!(pieces[0].num_rows(), FIRST_ROWS);
        assert!(pieces.len() < 30, "a fast reader gets large pieces: {}", pieces.len());
    }

    #[test]
    fn a_slow_reader_gets_smaller_pieces_and_gives_its_thread_back() {
        let mut paced = paced(1, 1000);
        let mut sizes = vec![];
        let mut n_yields = 0;
        while sizes.len() < 4 {
            match paced.next().now_or_never() {
                Some(piece) => {
                    sizes.push(piece.unwrap().unwrap().num_rows());
                    std::thread::sleep(LONG + SHORT);
                }
                None => n_yields += 1,
            }
        }
        assert_eq!(sizes, [64, 32, 16, 8]);
        assert_eq!(n_yields, 3, "one after each piece");
    }

    #[test]
    fn one_row_is_the_least() {
        let mut paced = paced(1, 3);
        paced.n_rows = 1;
        paced.follow(LONG * 2, true);
        assert_eq!(paced.n_rows, 1);
    }
}
