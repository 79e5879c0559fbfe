//! Spreads the rows of heavy keys of a shuffled join over all its partitions.
//!
//! Runs after the standard passes and before a plan is cut into stages, on the joins that [`crate::skew::decide`] chose.
//!
//! ```text
//! HashJoinExec: Partitioned, on k                 HashJoinExec: Partitioned, on k
//! ├ RepartitionExec: Hash(k)            ──>       ├ ProjectionExec: without __bucket
//! │                                               │ └ RepartitionExec: Hash(saltlake_bucket(salt, __bucket, k))
//! │                                               │   └ ReplicateExec
//! └ RepartitionExec: Hash(k)                      └ RepartitionExec: Hash(saltlake_bucket(salt, k))
//! ```
//!
//! The join keeps its keys, type, filter and null equality; what it gives is no longer placed by `k`, so operators above
//! that relied on it get an exchange of their own, and an aggregation becomes one of two levels. The join loses its
//! dynamic filter, which looks for a row's partition by the hash of `k`.
//! Joins whose inputs have no exchange of their own, or whose order is used above, are left alone.
//!
//! A plan that is cut into stages runs the join in more partitions than the plan it was cut from: [`settle`] tells the
//! new operators how many there are.

mod sites;
#[cfg(test)]
mod tests;

pub use sites::{Shuffle, Site, SiteKind, sites};

use crate::exec::bucket;
use crate::exec::replicate::{BUCKET_COLUMN, ReplicateExec};
use crate::skew::salt::{Copies, Salt, Side};
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Result, ScalarValue, internal_err};
use datafusion::config::ConfigOptions;
use datafusion::logical_expr::ScalarUDF;
use datafusion::physical_expr::expressions::{Column, Literal};
use datafusion::physical_expr::{Distribution, Partitioning, PhysicalExpr, ScalarFunctionExpr};
use datafusion::physical_plan::aggregates::{AggregateExec, AggregateMode};
use datafusion::physical_plan::execution_plan::replace_children_if_necessary;
use datafusion::physical_plan::joins::HashJoinExec;
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::repartition::RepartitionExec;
use datafusion::physical_plan::{ChildSatisfactionOptions, ExecutionPlan, ExecutionPlanProperties};
use datafusion_distributed::{NetworkBoundary, NetworkShuffleExec, Stage};
use std::sync::Arc;

/// A join to salt.
#[derive(Debug, Clone)]
pub struct Choice {
    /// The join, a node of the plan that is rewritten.
    pub join: Arc<dyn ExecutionPlan>,
    /// Its keys.
    pub shuffle: Shuffle,
    /// The placement of its rows.
    pub salt: Salt,
}

/// Returns the plan with the chosen joins salted.
///
/// # Errors
/// When a salt copies rows that the join's type does not let it copy, or a node cannot be rebuilt.
pub fn salt_joins(
    plan: &Arc<dyn ExecutionPlan>,
    choices: &[Choice],
    options: &Arc<ConfigOptions>,
) -> Result<Arc<dyn ExecutionPlan>> {
    for Choice { join, salt, .. } in choices {
        let Some(join) = join.downcast_ref::<HashJoinExec>() else {
            return internal_err!("{} is not a hash join", join.name());
        };
        let allowed = Copies::allowed(*join.join_type());
        if !salt.copies.is_within(allowed) || join.null_aware {
            let join_type = join.join_type();
            return internal_err!("a {join_type} join may not copy {:?}", salt.copies);
        }
    }
    let rewrite = Rewrite { choices, options };
    Ok(rewrite.node(plan)?.unwrap_or_else(|| Arc::clone(plan)))
}

struct Rewrite<'a> {
    choices: &'a [Choice],
    options: &'a Arc<ConfigOptions>,
}

impl Rewrite<'_> {
    /// Returns the changed node; `None` when nothing below it changes.
    fn node(&self, node: &Arc<dyn ExecutionPlan>) -> Result<Option<Arc<dyn ExecutionPlan>>> {
        let changed = node
            .children()
            .into_iter()
            .map(|child| self.node(child))
            .collect::<Result<Vec<_>>>()?;
        let choice = self.choices.iter().find(|choice| Arc::ptr_eq(&choice.join, node));
        if choice.is_none() && changed.iter().all(Option::is_none) {
            return Ok(None);
        }
        let is_changed: Vec<_> = changed.iter().map(Option::is_some).collect();
        let children: Vec<_> = changed
            .into_iter()
            .zip(node.children())
            .map(|(changed, child)| changed.unwrap_or_else(|| Arc::clone(child)))
            .collect();
        match choice {
            Some(choice) => self.salted(node, children, choice),
            None => keep_placement(node, children, &is_changed),
        }
        .map(Some)
    }

    fn salted(
        &self,
        node: &Arc<dyn ExecutionPlan>,
        children: Vec<Arc<dyn ExecutionPlan>>,
        choice: &Choice,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let Some(join) = node.downcast_ref::<HashJoinExec>() else {
            return internal_err!("{} is not a hash join", node.name());
        };
        let sides =
            [(Side::Left, &choice.shuffle.left_keys), (Side::Right, &choice.shuffle.right_keys)];
        let placed = children
            .iter()
            .zip(sides)
            .map(|(child, (side, keys))| self.placed(child, side, keys, &choice.salt))
            .collect::<Result<Vec<_>>>()?;
        // Without its dynamic filter: that one finds a row's partition by the hash of its key.
        join.builder().reset_state().recompute_properties().with_new_children(placed)?.build_exec()
    }

    /// Replaces the exchange of one side.
    fn placed(
        &self,
        exchange: &Arc<dyn ExecutionPlan>,
        side: Side,
        keys: &[usize],
        salt: &Salt,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let Some(exchange) = exchange.downcast_ref::<RepartitionExec>() else {
            return internal_err!("the input of a salted join is {}", exchange.name());
        };
        let n = exchange.partitioning().partition_count();
        let input = Arc::clone(exchange.input());
        if !salt.copies_rows_of(side) {
            let hash = self.bucket_of(&input, side, keys, salt)?;
            let exchange = RepartitionExec::try_new(input, Partitioning::Hash(vec![hash], n))?;
            return Ok(Arc::new(exchange));
        }
        let columns: Vec<(Arc<dyn PhysicalExpr>, String)> = input
            .schema()
            .fields()
            .iter()
            .enumerate()
            .map(|(idx, field)| {
                (Arc::new(Column::new(field.name(), idx)) as _, field.name().clone())
            })
            .collect();
        let input = ReplicateExec::try_new(input, keys.to_vec(), salt.clone(), side)?;
        let input: Arc<dyn ExecutionPlan> = Arc::new(input);
        let hash = self.bucket_of(&input, side, keys, salt)?;
        let exchange = RepartitionExec::try_new(input, Partitioning::Hash(vec![hash], n))?;
        Ok(Arc::new(ProjectionExec::try_new(columns, Arc::new(exchange))?))
    }

    /// The expression under the hash of one side's exchange.
    fn bucket_of(
        &self,
        input: &Arc<dyn ExecutionPlan>,
        side: Side,
        keys: &[usize],
        salt: &Salt,
    ) -> Result<Arc<dyn PhysicalExpr>> {
        let schema = input.schema();
        let column = |idx: usize| -> Arc<dyn PhysicalExpr> {
            Arc::new(Column::new(schema.field(idx).name(), idx))
        };
        let mut args: Vec<Arc<dyn PhysicalExpr>> = vec![salt_literal(salt, side)];
        if salt.copies_rows_of(side) {
            let last = schema.fields().len() - 1;
            if schema.field(last).name() != BUCKET_COLUMN {
                return internal_err!("the last column is {}", schema.field(last).name());
            }
            args.push(column(last));
        }
        args.extend(keys.iter().map(|key| column(*key)));
        let function = Arc::new(ScalarUDF::from(bucket::Bucket::default()));
        let call = ScalarFunctionExpr::try_new(function, args, &schema, Arc::clone(self.options))?;
        Ok(Arc::new(call))
    }
}

fn salt_literal(salt: &Salt, side: Side) -> Arc<dyn PhysicalExpr> {
    Arc::new(Literal::new(ScalarValue::Binary(Some(salt.encode(side)))))
}

/// Rebuilds a node over changed children; those that no longer are where it needs them get an exchange.
fn keep_placement(
    node: &Arc<dyn ExecutionPlan>,
    mut children: Vec<Arc<dyn ExecutionPlan>>,
    is_changed: &[bool],
) -> Result<Arc<dyn ExecutionPlan>> {
    let requirements = node.input_distribution_requirements();
    let wanted: Vec<_> = requirements.per_child_distributions().cloned().collect();
    let mut is_misplaced = false;
    for (idx, child) in children.iter().enumerate().filter(|(idx, _)| is_changed[*idx]) {
        if keys_of(&wanted[idx]).is_some() {
            let options = ChildSatisfactionOptions::new().with_allow_subset(true);
            let found = requirements.child_satisfaction(idx, child.as_ref(), options)?;
            is_misplaced |= !found.is_satisfied();
        }
    }
    if !is_misplaced {
        return replace_children_if_necessary(Arc::clone(node), children);
    }
    if let Some(two_levels) = two_levels(node, &children)? {
        return Ok(two_levels);
    }
    // All inputs that are placed by key: one by a part of the key and one by the whole key would not meet.
    for (child, wanted) in children.iter_mut().zip(&wanted) {
        if let Some(keys) = keys_of(wanted) {
            *child = placed_by(Arc::clone(child), keys)?;
        }
    }
    replace_children_if_necessary(Arc::clone(node), children)
}

/// The keys a node wants its input placed by.
#[expect(deprecated, reason = "operators of other crates may still ask by the old name")]
fn keys_of(wanted: &Distribution) -> Option<&[Arc<dyn PhysicalExpr>]> {
    match wanted {
        Distribution::HashPartitioned(keys) | Distribution::KeyPartitioned(keys) => Some(keys),
        _ => None,
    }
}

fn placed_by(
    input: Arc<dyn ExecutionPlan>,
    keys: &[Arc<dyn PhysicalExpr>],
) -> Result<Arc<dyn ExecutionPlan>> {
    let n = input.output_partitioning().partition_count();
    if let Partitioning::Hash(found, _) = input.output_partitioning()
        && found.as_slice() == keys
    {
        return Ok(input);
    }
    if input.output_ordering().is_some() {
        return internal_err!("an exchange would lose an order that is used above a salted join");
    }
    let partitioning = Partitioning::Hash(keys.to_vec(), n);
    Ok(Arc::new(RepartitionExec::try_new(input, partitioning)?))
}

/// Splits an aggregation that found its groups whole in each partition, so that a heavy group is reduced before it
/// travels. `None` for other nodes.
fn two_levels(
    node: &Arc<dyn ExecutionPlan>,
    children: &[Arc<dyn ExecutionPlan>],
) -> Result<Option<Arc<dyn ExecutionPlan>>> {
    let (Some(single), [input]) = (node.downcast_ref::<AggregateExec>(), children) else {
        return Ok(None);
    };
    if *single.mode() != AggregateMode::SinglePartitioned {
        return Ok(None);
    }
    let level = |mode, group_by, input: Arc<dyn ExecutionPlan>| {
        let (aggregates, filters) = (single.aggr_expr().to_vec(), single.filter_expr().to_vec());
        AggregateExec::try_new(mode, group_by, aggregates, filters, input, single.input_schema())
    };
    let partial = level(AggregateMode::Partial, single.group_expr().clone(), Arc::clone(input))?;
    let partial: Arc<dyn ExecutionPlan> = Arc::new(partial);
    let group_by = single.group_expr().as_final();
    let whole = level(AggregateMode::FinalPartitioned, group_by.clone(), Arc::clone(&partial))?;
    let requirements = whole.input_distribution_requirements();
    let Some(keys) = requirements.child_distribution(0).and_then(keys_of) else {
        return Ok(None);
    };
    let whole = level(AggregateMode::FinalPartitioned, group_by, placed_by(partial, keys)?)?
        .with_limit_options(single.limit_options());
    Ok((whole.schema() == node.schema()).then(|| Arc::new(whole) as _))
}

/// Tells the operators of salted joins how many partitions the join has, once the plan is cut.
///
/// # Errors
/// When the sides of a join disagree, or a node cannot be rebuilt.
pub fn settle(plan: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
    let settled = plan.transform_up(|node| {
        if let Some(exchange) = node.downcast_ref::<RepartitionExec>() {
            let n = exchange.partitioning().partition_count();
            let settled = over(exchange, n, n)?;
            return Ok(settled.map_or_else(|| Transformed::no(node), Transformed::yes));
        }
        if let Some(shuffle) = node.downcast_ref::<NetworkShuffleExec>() {
            let settled = settled_shuffle(shuffle)?;
            return Ok(settled.map_or_else(|| Transformed::no(node), Transformed::yes));
        }
        if let Some(join) = node.downcast_ref::<HashJoinExec>() {
            let (left, right) = (salt_below(join.left()), salt_below(join.right()));
            if left.map(|(salt, _)| salt) != right.map(|(salt, _)| salt) {
                return internal_err!("the sides of a salted join disagree");
            }
        }
        Ok(Transformed::no(node))
    })?;
    Ok(settled.data)
}

/// Rebuilds the consumer's end of an exchange whose producer's end is settled already: the consumer sends the
/// expressions under the hash along when it asks for its partitions.
fn settled_shuffle(shuffle: &NetworkShuffleExec) -> Result<Option<Arc<dyn ExecutionPlan>>> {
    let Stage::Local(stage) = shuffle.input_stage() else { return Ok(None) };
    let Some(head) = stage.plan.downcast_ref::<RepartitionExec>() else { return Ok(None) };
    let n = head.partitioning().partition_count();
    let n_own = shuffle.properties().output_partitioning().partition_count();
    let Some(own) = over(head, n, n_own)? else { return Ok(None) };
    let ready = NetworkShuffleExec::try_new(own, stage.tasks)?;
    let ready: Arc<dyn ExecutionPlan> = ready.with_input_stage(Stage::Local(stage.clone()))?;
    Ok(Some(ready))
}

/// Returns a salted exchange of `n_own` partitions for a join of `n`; `None` for other exchanges.
fn over(
    exchange: &RepartitionExec,
    n: usize,
    n_own: usize,
) -> Result<Option<Arc<dyn ExecutionPlan>>> {
    let Some((salt, side, call)) = salt_of(exchange) else { return Ok(None) };
    let mut args: Vec<_> = call.children().into_iter().cloned().collect();
    args[0] = salt_literal(&salt.over(n), side);
    let call = Arc::clone(call).with_new_children(args)?;
    let input = match exchange.input().downcast_ref::<ReplicateExec>() {
        Some(replicate) => Arc::new(replicate.over(n)?) as Arc<dyn ExecutionPlan>,
        None => Arc::clone(exchange.input()),
    };
    let settled = RepartitionExec::try_new(input, Partitioning::Hash(vec![call], n_own))?;
    Ok(Some(Arc::new(settled)))
}

/// Returns the salt in an exchange, if it has one.
fn salt_of(exchange: &RepartitionExec) -> Option<(Salt, Side, &Arc<dyn PhysicalExpr>)> {
    let Partitioning::Hash(exprs, _) = exchange.partitioning() else { return None };
    let [expr] = exprs.as_slice() else { return None };
    let call = expr.downcast_ref::<ScalarFunctionExpr>()?;
    let salt = call.args().first()?.downcast_ref::<Literal>()?;
    match salt.value() {
        ScalarValue::Binary(Some(salt)) if call.fun().name() == bucket::NAME => {
            let (salt, side) = Salt::decode(salt).ok()?;
            Some((salt, side, expr))
        }
        _ => None,
    }
}

/// Returns the salt an input of a join is placed by.
pub fn salt_below(input: &Arc<dyn ExecutionPlan>) -> Option<(Salt, Side)> {
    if let Some(exchange) = input.downcast_ref::<RepartitionExec>() {
        return salt_of(exchange).map(|(salt, side, _)| (salt, side));
    }
    match input.downcast_ref::<NetworkShuffleExec>() {
        Some(shuffle) => shuffle.input_stage().local_plan().and_then(salt_below),
        None => salt_below(input.downcast_ref::<ProjectionExec>()?.input()),
    }
}
