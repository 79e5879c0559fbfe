//! The ordered list of passes from a logical plan to a physical plan that one process can run.
//!
//! Called by `Session` for every query. Every pass is named, timed, and can be switched off with
//! `SET saltlake.disabled_passes`; what ran and for how long is kept in a [`PassLog`] that EXPLAIN VERBOSE prints.
//! The passes are DataFusion's analyzer, logical and physical rules, in DataFusion's order, and ours behind them
//! ([`join_order`] between logical and physical);
//! placement and the cut into stages follow in [`crate::placement`].
//! Limit: rules that a runnable plan depends on cannot be switched off (see [`REQUIRED`]).

mod aggregate_parts;
mod broadcast_joins;
mod checked_arithmetic;
mod count_duplicates;
mod distinct_groups;
mod exact_in;
mod float_filters;
mod float_with_decimal;
mod join_modes;
mod join_order;
mod merge_orders;
mod nodes;
mod not_in;
mod null_filters;
mod pregroup;
mod rounding_casts;
pub mod salt_join;
mod share_subplans;
mod whole_sums;
pub(crate) mod window_sorts;
mod yielding_joins;

use crate::settings::SaltlakeOptions;
use broadcast_joins::BroadcastJoins;
pub use broadcast_joins::Cluster;
use checked_arithmetic::CheckedArithmetic;
use count_duplicates::CountDuplicates;
use datafusion::common::Result;
use datafusion::config::ConfigOptions;
use datafusion::execution::{SessionState, SessionStateBuilder};
use datafusion::logical_expr::LogicalPlan;
use datafusion::optimizer::{Analyzer, AnalyzerRule, Optimizer, OptimizerRule};
use datafusion::physical_optimizer::{PhysicalOptimizerContext, PhysicalOptimizerRule};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_planner::{DefaultPhysicalPlanner, PhysicalPlanner};
use exact_in::ExactIn;
use float_filters::FloatFilters;
use float_with_decimal::FloatWithDecimal;
use join_modes::JoinModes;
pub use join_order::FilterCounts;
use join_order::{Gathered, JoinSize, Ordered};
use merge_orders::MergeOrders;
use not_in::NotIn;
use rounding_casts::RoundingCasts;
use share_subplans::{SharedPlanner, Sharing};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use whole_sums::WholeSums;
use yielding_joins::YieldingJoins;

/// Physical rules without which a plan is not runnable, not checked to be, or loses rows or their order.
const REQUIRED: [&str; 6] = [
    "EnforceDistribution",
    "EnforceSorting",
    "EnsureRequirements",
    "SanityCheckPlan",
    "float_filters",
    "merge_orders",
];

/// Which part of the pipeline a pass belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// Resolves types and functions of a logical plan.
    Analyze,
    /// Rewrites a logical plan.
    Logical,
    /// Turns the logical plan into a physical one.
    Physical,
    /// Places the physical plan: local or in stages.
    Place,
}

/// One pass that ran.
#[derive(Debug, Clone)]
pub struct PassEntry {
    /// Part of the pipeline.
    pub part: Part,
    /// The pass's name, as `saltlake.disabled_passes` takes it.
    pub name: String,
    /// Wall time of the pass.
    pub elapsed: Duration,
}

/// What ran, in order.
#[derive(Debug, Clone, Default)]
pub struct PassLog {
    entries: Arc<Mutex<Vec<PassEntry>>>,
    notes: Arc<Mutex<Vec<String>>>,
}

impl PassLog {
    /// Appends one pass.
    pub fn record(&self, part: Part, name: &str, elapsed: Duration) {
        let entry = PassEntry { part, name: name.to_string(), elapsed };
        self.entries.lock().unwrap_or_else(PoisonError::into_inner).push(entry);
    }

    /// Adds a line that EXPLAIN prints: what a pass decided.
    pub fn note(&self, line: String) {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner).push(line);
    }

    /// Forgets what passes decided, because the plan is made anew.
    pub fn forget_notes(&self) {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Returns what passes decided, in order.
    pub fn notes(&self) -> Vec<String> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Returns the passes so far, in the order they ran.
    pub fn entries(&self) -> Vec<PassEntry> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Returns the summed time of all passes.
    pub fn total(&self) -> Duration {
        self.entries().iter().map(|entry| entry.elapsed).sum()
    }
}

/// Returns the rules that settle types and meaning, in order: DataFusion's, and ours, all but one behind them.
pub fn analyzer_rules() -> Vec<Arc<dyn AnalyzerRule + Send + Sync>> {
    let mut rules = Analyzer::new().rules;
    let types = rules.iter().position(|rule| rule.name() == "type_coercion");
    rules.insert(types.unwrap_or_default(), Arc::new(FloatWithDecimal));
    rules.push(Arc::new(ExactIn));
    rules.push(Arc::new(CountDuplicates));
    rules.push(Arc::new(CheckedArithmetic));
    rules.push(Arc::new(RoundingCasts));
    rules
}

/// Returns the rules that rewrite logical plans, in order: DataFusion's, with ours between them.
pub fn logical_rules() -> Vec<Arc<dyn OptimizerRule + Send + Sync>> {
    let mut rules = Optimizer::new().rules;
    let decorrelated =
        rules.iter().position(|rule| rule.name() == "decorrelate_predicate_subquery");
    // In front of the rules that push its filters down.
    rules.insert(decorrelated.map_or(0, |position| position + 1), Arc::new(NotIn));
    if let Some(rule) = rules.iter_mut().find(|rule| rule.name() == whole_sums::RULE) {
        *rule = Arc::new(WholeSums { inner: Arc::clone(rule) });
    }
    rules
}

/// A logical plan ready to become a physical one.
#[derive(Debug, Clone)]
pub struct Optimized {
    plan: LogicalPlan,
    /// What its joins read, parents first; `None` when nobody estimated it.
    join_sizes: Option<Arc<[JoinSize]>>,
    /// What is known of its tables.
    known: Arc<Gathered>,
}

impl Optimized {
    /// Returns whether parts of it are run once for several readers, which only one process can do.
    ///
    /// # Errors
    /// When the plan cannot be walked.
    pub fn is_sharing(&self) -> Result<bool> {
        share_subplans::is_sharing(&self.plan)
    }
}

/// Runs analyzer and logical passes, orders joins, and decides what is run once for several readers.
///
/// # Errors
/// When a pass fails, naming the pass.
pub async fn optimize_logical(
    state: &SessionState,
    plan: LogicalPlan,
    target: Target,
    log: &PassLog,
) -> Result<Optimized> {
    let mut clock = Instant::now();
    let mut lap = |name: &str| {
        log.record(Part::Analyze, name, clock.elapsed());
        clock = Instant::now();
    };
    let options = state.config_options();
    let plan = state.analyzer().execute_and_check(plan, options, |_, rule| lap(rule.name()))?;
    if !orders_joins(options) {
        let plan = logical(state, plan, log)?;
        return Ok(Optimized { plan, join_sizes: None, known: Arc::default() });
    }
    let is_shared = target == Target::Here && !is_disabled(options, share_subplans::NAME);
    let start = Instant::now();
    let shared = if is_shared { share_subplans::share(&plan)? } else { None };
    log.record(Part::Logical, share_subplans::NAME, start.elapsed());
    let mut known = Gathered::default();
    let mut best = Box::pin(ordered(state, plan, &mut known, log)).await?;
    if let Some(shared) = shared {
        let notes = PassLog::default();
        let Sharing { plan, readers } = shared;
        let shared = Box::pin(ordered(state, plan, &mut known, &notes)).await?;
        log.record(Part::Logical, "with shared subplans", notes.total());
        if let Some(note) = share_subplans::decide(&readers, best.work, shared.work) {
            log.note(note);
            best = shared;
        }
    }
    best.notes.into_iter().for_each(|note| log.note(note));
    let (join_sizes, known) = (Some(best.sizes.into()), Arc::new(known));
    Ok(Optimized { plan: best.plan, join_sizes, known })
}

/// Runs DataFusion's logical passes.
fn logical(state: &SessionState, plan: LogicalPlan, log: &PassLog) -> Result<LogicalPlan> {
    let mut clock = Instant::now();
    let mut lap = |name: &str| {
        log.record(Part::Logical, name, clock.elapsed());
        clock = Instant::now();
    };
    let options = state.config_options();
    let is_enabled =
        |rule: &&Arc<dyn OptimizerRule + Send + Sync>| !is_disabled(options, rule.name());
    let rules = state.optimizer().rules.iter().filter(is_enabled).cloned().collect();
    let mut plan =
        Optimizer::with_rules(rules).optimize(plan, state, |_, rule| lap(rule.name()))?;
    if !is_disabled(options, pregroup::NAME) {
        plan = pregroup::rewrite(plan)?;
        lap(pregroup::NAME);
    }
    Ok(plan)
}

/// Runs DataFusion's logical passes, and orders joins by what is `known` of the statement's tables.
async fn ordered(
    state: &SessionState,
    plan: LogicalPlan,
    known: &mut Gathered,
    log: &PassLog,
) -> Result<Ordered> {
    let plan = logical(state, plan, log)?;
    let ordered = join_order::run(state, plan, known, log).await;
    ordered.map_err(|error| error.context(join_order::NAME))
}

/// Whether the order of joins and their sides are ours to choose.
fn orders_joins(options: &ConfigOptions) -> bool {
    options.optimizer.join_reordering
        // The merge join behind this option sorts by its sides, and does not follow when they are swapped.
        && !options.optimizer.enable_piecewise_merge_join
        && !is_disabled(options, join_order::NAME)
}

/// Where a physical plan is going to run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// In this process, whole.
    Here,
    /// Cut into stages, on workers.
    Stages(Cluster),
}

/// Turns an optimized logical plan into a physical plan that one process can run.
///
/// # Errors
/// When DataFusion cannot plan a node, or a pass fails.
pub async fn plan_physical(
    state: &SessionState,
    optimized: &Optimized,
    target: Target,
    log: &PassLog,
) -> Result<Arc<dyn ExecutionPlan>> {
    let Optimized { plan, join_sizes, known } = optimized;
    let options = state.config_options();
    let mut plan = plan.clone();
    // Two steps balance tasks and cost more work in all, which one process would only pay.
    if let Target::Stages(cluster) = target
        && !is_disabled(options, distinct_groups::NAME)
    {
        let start = Instant::now();
        plan = distinct_groups::rewrite(plan, cluster.n_tasks)?;
        log.record(Part::Logical, distinct_groups::NAME, start.elapsed());
    }
    // An exchange would send all rows with a NULL key to one task.
    if target == Target::Here && join_sizes.is_some() && !is_disabled(options, null_filters::NAME) {
        let start = Instant::now();
        plan = null_filters::rewrite(plan, known)?;
        log.record(Part::Logical, null_filters::NAME, start.elapsed());
    }
    let mut rules: Vec<Arc<dyn PhysicalOptimizerRule + Send + Sync>> = vec![];
    if let Some(sizes) = join_sizes.clone() {
        rules.push(match target {
            Target::Here => Arc::new(JoinModes { sizes }),
            Target::Stages(cluster) => {
                Arc::new(BroadcastJoins { sizes, cluster, log: log.clone() })
            }
        });
    }
    rules.extend(state.physical_optimizers().iter().cloned());
    rules.push(Arc::new(MergeOrders));
    rules.push(Arc::new(FloatFilters));
    rules.push(Arc::new(YieldingJoins { paces_hash_joins: target == Target::Here }));
    let rules = rules
        .into_iter()
        .filter(|rule| REQUIRED.contains(&rule.name()) || !is_disabled(options, rule.name()))
        .map(|rule| Arc::new(Timed { rule, log: log.clone() }) as _)
        .collect();
    let mut timed = SessionStateBuilder::new_from_existing(state.clone())
        .with_physical_optimizer_rules(rules)
        .build();
    if join_sizes.is_some() {
        // Sides are chosen already, from estimates that reach through joins.
        timed.config_mut().options_mut().optimizer.join_reordering = false;
    }
    let before = log.total();
    let start = Instant::now();
    let planner =
        DefaultPhysicalPlanner::with_extension_planners(vec![Arc::new(SharedPlanner::default())]);
    let physical = planner.create_physical_plan(&plan, &timed).await?;
    let rules_took = log.total().saturating_sub(before);
    log.record(Part::Physical, "create_physical_plan", start.elapsed().saturating_sub(rules_took));
    Ok(physical)
}

/// Returns whether `saltlake.disabled_passes` names a pass.
pub fn is_disabled(options: &ConfigOptions, pass: &str) -> bool {
    let names = options.extensions.get::<SaltlakeOptions>().map(|o| o.disabled_passes.as_str());
    names.unwrap_or_default().split(',').any(|name| name.trim() == pass)
}

/// A physical rule that writes its time into the log.
#[derive(Debug)]
struct Timed {
    rule: Arc<dyn PhysicalOptimizerRule + Send + Sync>,
    log: PassLog,
}

impl PhysicalOptimizerRule for Timed {
    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        config: &ConfigOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let start = Instant::now();
        let plan = self.rule.optimize(plan, config);
        self.log.record(Part::Physical, self.rule.name(), start.elapsed());
        plan
    }

    fn optimize_with_context(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        context: &dyn PhysicalOptimizerContext,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let start = Instant::now();
        let plan = self.rule.optimize_with_context(plan, context);
        self.log.record(Part::Physical, self.rule.name(), start.elapsed());
        plan
    }

    fn name(&self) -> &str {
        self.rule.name()
    }

    fn schema_check(&self) -> bool {
        self.rule.schema_check()
    }
}
