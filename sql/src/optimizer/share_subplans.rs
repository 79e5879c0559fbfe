//! Runs a common table expression once that a statement reads several times.
//!
//! ```text
//! before: HashJoin(t1.k = t2.k)            after: HashJoin(t1.k = t2.k)
//!           SubqueryAlias t: Aggregate …            SubqueryAlias t: Shared #0: Aggregate …
//!           SubqueryAlias t: Aggregate …            SubqueryAlias t: Shared #0: Aggregate …
//! ```
//!
//! The planner copies the plan of a CTE or a view to every place that names it. Runs before DataFusion's logical rules,
//! when the copies are still equal; [`Shared`] keeps filters and projections of one reader out of it. Whether sharing
//! pays is decided by the caller, who compares the work of both plans: a filter that one reader pushes into its copy may
//! save more. Plans for the workers share nothing. Limit: recursive queries are left alone.

use crate::exec::shared::{SharedExec, SharedRows};
use async_trait::async_trait;
use datafusion::catalog::Session;
use datafusion::common::tree_node::{Transformed, TreeNodeRecursion};
use datafusion::common::{DFSchemaRef, Result};
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::logical_expr::{
    Expr, Extension, LogicalPlan, SubqueryAlias, UserDefinedLogicalNode, UserDefinedLogicalNodeCore,
};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_planner::{ExtensionPlanner, PhysicalPlanner};
use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

/// The pass's name, as `saltlake.disabled_passes` takes it.
pub(super) const NAME: &str = "share_subplans";
/// Sharing must leave less than this share of the work: readers of kept rows wait for all of them.
const WORTH_IT: f64 = 0.65;

/// A plan with shared parts.
pub(super) struct Sharing {
    pub(super) plan: LogicalPlan,
    /// The names of what is shared, and how often the statement reads each.
    pub(super) readers: Vec<(String, usize)>,
}

/// Returns what EXPLAIN says when a plan that shares is to be taken, by the estimated work of both.
pub(super) fn decide(readers: &[(String, usize)], copied: f64, shared: f64) -> Option<String> {
    let names: Vec<_> =
        readers.iter().map(|(name, n)| format!("{name} (read {n} times)")).collect();
    let names = names.join(", ");
    (shared < WORTH_IT * copied)
        .then(|| format!("Shared: {names}, estimated work {copied:.1e} → {shared:.1e} rows"))
}

/// One place that reads a shared plan.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Hash)]
pub(super) struct Shared {
    /// The same in all places.
    pub(super) number: usize,
    name: String,
    pub(super) input: Arc<LogicalPlan>,
}

impl UserDefinedLogicalNodeCore for Shared {
    fn name(&self) -> &str {
        "Shared"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![&self.input]
    }

    fn schema(&self) -> &DFSchemaRef {
        self.input.schema()
    }

    fn expressions(&self) -> Vec<Expr> {
        vec![]
    }

    fn fmt_for_explain(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Shared #{}: {}", self.number, self.name)
    }

    fn with_exprs_and_inputs(&self, _: Vec<Expr>, mut inputs: Vec<LogicalPlan>) -> Result<Self> {
        let (Some(input), true) = (inputs.pop(), inputs.is_empty()) else {
            return datafusion::common::internal_err!("a shared plan has one input");
        };
        Ok(Self { input: Arc::new(input), ..self.clone() })
    }
}

/// Returns whether a plan holds a [`Shared`] node.
///
/// # Errors
/// When a plan cannot be walked.
pub(super) fn is_sharing(plan: &LogicalPlan) -> Result<bool> {
    let mut found = false;
    plan.apply_with_subqueries(|node| {
        found |= matches!(node, LogicalPlan::Extension(extension)
            if extension.node.as_any().is::<Shared>());
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(found)
}

/// Returns the plan with its repeated parts shared; `None` when nothing worth it is repeated.
///
/// # Errors
/// When a plan cannot be walked.
pub(super) fn share(plan: &LogicalPlan) -> Result<Option<Sharing>> {
    let mut found = Found::default();
    let mut is_recursive = false;
    plan.apply_with_subqueries(|node| {
        is_recursive |= matches!(node, LogicalPlan::RecursiveQuery(_));
        Ok(TreeNodeRecursion::Continue)
    })?;
    if is_recursive {
        return Ok(None);
    }
    found.count(plan)?;
    if found.aliases.iter().all(|(_, n)| *n < 2) {
        return Ok(None);
    }
    // From the top down: below a node that was put in, plans are as they were when they were counted.
    let shared = plan.clone().transform_down_with_subqueries(|node| match node {
        LogicalPlan::SubqueryAlias(alias) => found.shared(alias),
        node => Ok(Transformed::no(node)),
    })?;
    let readers = found.aliases.iter().filter(|(_, n)| *n > 1);
    let readers = readers.map(|(alias, n)| (alias.alias.to_string(), *n)).collect();
    Ok(shared.transformed.then_some(Sharing { plan: shared.data, readers }))
}

/// Gives all readers of one shared plan the same rows. One for each physical plan.
#[derive(Debug, Default)]
pub(super) struct SharedPlanner {
    rows: Mutex<HashMap<usize, Arc<SharedRows>>>,
}

#[async_trait]
impl ExtensionPlanner for SharedPlanner {
    async fn plan_extension(
        &self,
        _: &dyn PhysicalPlanner,
        node: &dyn UserDefinedLogicalNode,
        _: &[&LogicalPlan],
        inputs: &[Arc<dyn ExecutionPlan>],
        _: &dyn Session,
        _: &PhysicalPlanningContext,
    ) -> Result<Option<Arc<dyn ExecutionPlan>>> {
        let (Some(shared), [input]) = (node.as_any().downcast_ref::<Shared>(), inputs) else {
            return Ok(None);
        };
        let mut rows = self.rows.lock().unwrap_or_else(PoisonError::into_inner);
        let rows = Arc::clone(rows.entry(shared.number).or_default());
        Ok(Some(Arc::new(SharedExec::new(shared.name.clone(), Arc::clone(input), rows))))
    }
}

/// The aliased plans of a statement, and how often each of them is read.
#[derive(Default)]
struct Found {
    aliases: Vec<(SubqueryAlias, usize)>,
}

impl Found {
    /// Counts aliases from the top down. Below one that was met before, nothing is read once more.
    fn count(&mut self, plan: &LogicalPlan) -> Result<()> {
        plan.apply_with_subqueries(|node| {
            let LogicalPlan::SubqueryAlias(alias) = node else {
                return Ok(TreeNodeRecursion::Continue);
            };
            if !is_worth_sharing(&alias.input)? {
                return Ok(TreeNodeRecursion::Continue);
            }
            match self.number(alias)? {
                Some(number) => {
                    self.aliases[number].1 += 1;
                    Ok(TreeNodeRecursion::Jump)
                }
                None => {
                    self.aliases.push((alias.clone(), 1));
                    Ok(TreeNodeRecursion::Continue)
                }
            }
        })?;
        Ok(())
    }

    fn number(&self, alias: &SubqueryAlias) -> Result<Option<usize>> {
        for (number, (known, _)) in self.aliases.iter().enumerate() {
            if known == alias && sources(&known.input)? == sources(&alias.input)? {
                return Ok(Some(number));
            }
        }
        Ok(None)
    }
}

impl Found {
    /// Puts [`Shared`] below an alias that is read several times.
    fn shared(&self, alias: SubqueryAlias) -> Result<Transformed<LogicalPlan>> {
        let number = self.number(&alias)?.filter(|number| self.aliases[*number].1 > 1);
        let Some(number) = number else {
            return Ok(Transformed::no(LogicalPlan::SubqueryAlias(alias)));
        };
        let name = alias.alias.to_string();
        let node = Arc::new(Shared { number, name, input: alias.input });
        let input = Arc::new(LogicalPlan::Extension(Extension { node }));
        let alias = SubqueryAlias::try_new(input, alias.alias)?;
        Ok(Transformed::yes(LogicalPlan::SubqueryAlias(alias)))
    }
}

/// Whether a plan does work, and does it without its surroundings.
fn is_worth_sharing(plan: &LogicalPlan) -> Result<bool> {
    let (mut works, mut is_closed) = (false, true);
    plan.apply_with_subqueries(|node| {
        works |= matches!(
            node,
            LogicalPlan::Aggregate(_)
                | LogicalPlan::Join(_)
                | LogicalPlan::Distinct(_)
                | LogicalPlan::Window(_)
        );
        is_closed &= node.all_out_ref_exprs().is_empty();
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(works && is_closed)
}

/// The tables a plan reads: plans are compared by the names of tables alone.
fn sources(plan: &LogicalPlan) -> Result<Vec<*const ()>> {
    let mut sources = vec![];
    plan.apply_with_subqueries(|node| {
        if let LogicalPlan::TableScan(scan) = node {
            sources.push(Arc::as_ptr(&scan.source).cast::<()>());
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(sources)
}

#[cfg(test)]
mod tests {
    use super::super::{PassLog, logical};
    use super::*;
    use arrow::util::display::array_value_to_string;
    use datafusion::common::tree_node::TreeNode;
    use datafusion::execution::SessionState;
    use datafusion::execution::memory_pool::GreedyMemoryPool;
    use datafusion::execution::runtime_env::RuntimeEnvBuilder;
    use datafusion::physical_plan::collect;
    use datafusion::physical_planner::DefaultPhysicalPlanner;
    use datafusion::prelude::{SessionConfig, SessionContext};

    const NUMBERS: &str = "select value as k, value % 7 as g from generate_series(1, 500)";

    async fn rows(state: &SessionState, plan: Arc<dyn ExecutionPlan>) -> Vec<String> {
        let mut rows = vec![];
        for batch in collect(plan, state.task_ctx()).await.unwrap() {
            for row in 0..batch.num_rows() {
                let values = batch.columns().iter();
                let values = values.map(|column| array_value_to_string(column, row).unwrap());
                rows.push(values.collect::<Vec<_>>().join("|"));
            }
        }
        rows.sort();
        rows
    }

    async fn physical(state: &SessionState, plan: LogicalPlan) -> Arc<dyn ExecutionPlan> {
        let plan = logical(state, plan, &PassLog::default()).unwrap();
        let planners = vec![Arc::new(SharedPlanner::default()) as _];
        let planner = DefaultPhysicalPlanner::with_extension_planners(planners);
        planner.create_physical_plan(&plan, state).await.unwrap()
    }

    fn readers(plan: &Arc<dyn ExecutionPlan>) -> Vec<Arc<dyn ExecutionPlan>> {
        let mut readers = vec![];
        plan.apply(|node| {
            if node.is::<SharedExec>() {
                readers.push(Arc::clone(node));
            }
            Ok(TreeNodeRecursion::Continue)
        })
        .unwrap();
        readers
    }

    /// Runs a query with its subplans copied and shared; returns the readers of the shared ones.
    async fn check(context: &SessionContext, sql: &str) -> Vec<Arc<dyn ExecutionPlan>> {
        let state = context.state();
        let plan = state.create_logical_plan(sql).await.unwrap();
        let options = state.config_options();
        let plan = state.analyzer().execute_and_check(plan, options, |_, _| {}).unwrap();
        let expected = rows(&state, physical(&state, plan.clone()).await).await;
        assert!(!expected.is_empty(), "{sql}");
        let shared = share(&plan).unwrap().expect(sql);
        let shared = physical(&state, shared.plan).await;
        assert_eq!(rows(&state, Arc::clone(&shared)).await, expected, "{sql}");
        readers(&shared)
    }

    #[tokio::test]
    async fn shared_plans_give_the_rows_of_copied_ones() {
        let context =
            SessionContext::new_with_config(SessionConfig::new().with_target_partitions(3));
        let cte =
            format!("with n as ({NUMBERS}), s as (select g, count(*) as c from n group by g)");
        let queries = [
            ("select a.g, b.c from s a join s b on a.g = b.g where a.g < 3", 2),
            ("select g from s where c > 71 union all select g + 10 from s where g = 2", 2),
            ("select g from s where c > (select avg(c) from s)", 2),
            ("select g from s where g in (select g from s where c > 71) and c > 70", 2),
            ("select a.g from s a where c >= (select max(c) from s b where b.g = a.g)", 2),
            ("select a.g from s a limit 2", 0),
            ("select 1 from (select g from s limit 1) a join s on a.g = s.g", 2),
        ];
        for (query, n_readers) in queries {
            let sql = format!("{cte} {query}");
            if n_readers == 0 {
                let plan = context.state().create_logical_plan(&sql).await.unwrap();
                assert!(share(&plan).unwrap().is_none(), "{sql}");
                continue;
            }
            assert_eq!(check(&context, &sql).await.len(), n_readers, "{sql}");
        }
    }

    #[test]
    fn a_plan_is_shared_when_that_saves_a_third_of_the_work() {
        let readers = [("t".to_string(), 3)];
        assert_eq!(decide(&readers, 100.0, 70.0), None);
        assert!(decide(&readers, 100.0, 40.0).unwrap().contains("t (read 3 times)"));
    }

    #[tokio::test]
    async fn nested_ctes_are_shared_inside_of_shared_ones() {
        let context = SessionContext::new();
        let sql = format!(
            "with n as (select distinct k, g from ({NUMBERS})), \
             p as (select x.g, y.k from n x join n y on x.k = y.k), \
             q as (select g, count(*) as c from p group by g) \
             select a.g, b.c, (select count(*) from n) from q a join q b on a.g = b.g"
        );
        // q twice, in each of them n twice, and n once more.
        assert_eq!(check(&context, &sql).await.len(), 7);
    }

    #[tokio::test]
    async fn rows_beyond_the_memory_go_to_disk() {
        let pool = Arc::new(GreedyMemoryPool::new(2 << 20));
        let runtime = RuntimeEnvBuilder::new().with_memory_pool(pool).build_arc().unwrap();
        let config = SessionConfig::new().with_target_partitions(2);
        let context = SessionContext::new_with_config_rt(config, runtime);
        let sql = "with wide as (select a.value as k, b.value as v from generate_series(1, 4000) a \
                   join generate_series(1, 100) b on b.value <> a.value) \
                   select sum(k), count(*), 1 from wide \
                   union all select min(k), count(v), 2 from wide where v > 10";
        let readers = check(&context, sql).await;
        let spills = |reader: &Arc<dyn ExecutionPlan>| reader.metrics()?.spill_count();
        assert!(readers.iter().filter_map(spills).sum::<usize>() > 0);
    }
}
