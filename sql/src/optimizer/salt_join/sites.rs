//! Finds the joins of a plan and says which of them can be salted.

use super::keys_of;
use crate::skew::salt::Copies;
use arrow::datatypes::DataType;
use datafusion::common::NullEquality;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::{Partitioning, PhysicalExpr};
use datafusion::physical_plan::aggregates::AggregateExec;
use datafusion::physical_plan::coalesce_partitions::CoalescePartitionsExec;
use datafusion::physical_plan::joins::{HashJoinExec, PartitionMode};
use datafusion::physical_plan::repartition::RepartitionExec;
use datafusion::physical_plan::sorts::sort::SortExec;
use datafusion::physical_plan::sorts::sort_preserving_merge::SortPreservingMergeExec;
use datafusion::physical_plan::union::InterleaveExec;
use datafusion::physical_plan::windows::{BoundedWindowAggExec, WindowAggExec};
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties};
use std::sync::Arc;

/// Nanoseconds a row costs: to be sent, to be aggregated, to be sorted, to be looked up in another join, or to pass
/// through a filter or a projection.
const SHIP_NS: f64 = 15.0;
const AGGREGATE_NS: f64 = 8.0;
const SORT_NS: f64 = 60.0;
const LOOKUP_NS: f64 = 30.0;
const STEP_NS: f64 = 2.0;

/// A hash join of a plan.
#[derive(Debug, Clone)]
pub struct Site {
    /// The join.
    pub join: Arc<dyn ExecutionPlan>,
    /// What can be done with it.
    pub kind: SiteKind,
}

/// What can be done with a join.
#[derive(Debug, Clone)]
pub enum SiteKind {
    /// Each task has the whole build side: nothing is shuffled, so nothing is skewed.
    Broadcast,
    /// Both inputs are shuffled by the key: it can be salted.
    Shuffled(Shuffle),
    /// It cannot be salted, and why.
    Unfit(String),
}

/// A join whose inputs are both shuffled.
#[derive(Debug, Clone)]
pub struct Shuffle {
    /// Key columns of the build side.
    pub left_keys: Vec<usize>,
    /// Key columns of the probe side, in the same order.
    pub right_keys: Vec<usize>,
    /// Inputs the join's type allows to copy.
    pub copies: Copies,
    /// Whether rows with a NULL key match nothing and may go anywhere.
    pub spread_nulls: bool,
    /// Whether an operator above relies on where the join's rows are, and would need an exchange of its own.
    pub is_used_above: bool,
    /// What the operators above, up to the next exchange, do with each row it gives, in nanoseconds.
    pub above_ns: f64,
    /// Partitions of the join in this plan, before it is cut.
    pub n_partitions: usize,
}

/// What is above a node, up to the next exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Above {
    /// Nothing that relies on where rows are.
    Free,
    /// Something that an exchange would satisfy.
    Exchange,
    /// Something that an exchange would not satisfy.
    Fixed,
}

/// Returns the hash joins of a plan, parents first.
pub fn sites(plan: &Arc<dyn ExecutionPlan>) -> Vec<Site> {
    let mut found = vec![];
    visit(plan, Above::Free, 0.0, &mut found);
    found
}

fn visit(node: &Arc<dyn ExecutionPlan>, above: Above, above_ns: f64, found: &mut Vec<Site>) {
    if let Some(join) = node.downcast_ref::<HashJoinExec>() {
        found.push(Site { join: Arc::clone(node), kind: kind(join, above, above_ns) });
    }
    let wanted = node.input_distribution_requirements().into_per_child();
    let orders = node.required_input_ordering();
    let is_exchange = node.is::<RepartitionExec>()
        || node.is::<CoalescePartitionsExec>()
        || node.is::<SortPreservingMergeExec>();
    // An exchange for one input of a join is one for both, and would lose the order that the other has.
    let keeps_order = node.children().iter().any(|child| child.output_ordering().is_some());
    for (idx, child) in node.children().into_iter().enumerate() {
        let is_ordered = keeps_order || orders.get(idx).is_some_and(Option::is_some);
        let uses_place = wanted.get(idx).is_some_and(|wanted| keys_of(wanted).is_some());
        let above = if is_exchange {
            Above::Free
        } else if node.is::<InterleaveExec>() || (uses_place && is_ordered) {
            Above::Fixed
        } else if uses_place {
            Above::Exchange
        } else {
            above
        };
        visit(child, above, row_ns(node, above_ns), found);
    }
}

/// What a row costs in this node and in those above it that see about as many rows.
fn row_ns(node: &Arc<dyn ExecutionPlan>, above_ns: f64) -> f64 {
    if node.is::<RepartitionExec>() {
        SHIP_NS
    } else if node.is::<AggregateExec>() {
        AGGREGATE_NS
    } else if node.is::<WindowAggExec>()
        || node.is::<BoundedWindowAggExec>()
        || node.is::<SortExec>()
    {
        SORT_NS + above_ns
    } else if node.children().len() > 1 {
        LOOKUP_NS + above_ns
    } else {
        STEP_NS + above_ns
    }
}

fn kind(join: &HashJoinExec, above: Above, above_ns: f64) -> SiteKind {
    let unfit = |reason: &str| SiteKind::Unfit(reason.to_string());
    match join.partition_mode() {
        PartitionMode::CollectLeft => return SiteKind::Broadcast,
        PartitionMode::Partitioned => {}
        PartitionMode::Auto => return unfit("not planned yet"),
    }
    if join.null_aware {
        return unfit("NOT IN looks at all rows together");
    }
    if above == Above::Fixed || join.properties().output_ordering().is_some() {
        return unfit("the order of its rows is used above");
    }
    let (Some(left), Some(right)) = (n_shuffled(join.left()), n_shuffled(join.right())) else {
        return unfit("an input is placed by an operator below");
    };
    if left < 2 || left != right {
        return unfit("one partition");
    }
    let (mut left_keys, mut right_keys) = (vec![], vec![]);
    for (left, right) in join.on() {
        let (Some(l), Some(r)) = (column(left), column(right)) else {
            return unfit("a key is an expression");
        };
        let data_type = join.left().schema().field(l).data_type().clone();
        // A text and its view have different hashes.
        if data_type != *join.right().schema().field(r).data_type() {
            return unfit("its keys are of different types");
        }
        if !is_key(&data_type) {
            return SiteKind::Unfit(format!("keys of type {data_type} are not salted"));
        }
        left_keys.push(l);
        right_keys.push(r);
    }
    SiteKind::Shuffled(Shuffle {
        left_keys,
        right_keys,
        copies: Copies::allowed(*join.join_type()),
        spread_nulls: join.null_equality() == NullEquality::NullEqualsNothing,
        is_used_above: above == Above::Exchange,
        above_ns,
        n_partitions: left,
    })
}

/// Partitions of an exchange by hash that keeps no order.
fn n_shuffled(input: &Arc<dyn ExecutionPlan>) -> Option<usize> {
    let exchange = input.downcast_ref::<RepartitionExec>()?;
    let is_hash = matches!(exchange.partitioning(), Partitioning::Hash(_, _));
    (is_hash && !exchange.preserve_order()).then(|| exchange.partitioning().partition_count())
}

fn column(expr: &Arc<dyn PhysicalExpr>) -> Option<usize> {
    expr.downcast_ref::<Column>().map(Column::index)
}

/// Types whose equal values have equal hashes: not floats, whose zeros differ, and not nested ones, which hold them.
fn is_key(data_type: &DataType) -> bool {
    match data_type {
        DataType::Dictionary(_, values) => is_key(values),
        DataType::Boolean
        | DataType::Utf8
        | DataType::LargeUtf8
        | DataType::Utf8View
        | DataType::Binary
        | DataType::LargeBinary
        | DataType::BinaryView
        | DataType::FixedSizeBinary(_)
        | DataType::Date32
        | DataType::Date64
        | DataType::Time32(_)
        | DataType::Time64(_)
        | DataType::Timestamp(_, _)
        | DataType::Duration(_)
        | DataType::Decimal32(_, _)
        | DataType::Decimal64(_, _)
        | DataType::Decimal128(_, _)
        | DataType::Decimal256(_, _) => true,
        other => other.is_integer(),
    }
}
