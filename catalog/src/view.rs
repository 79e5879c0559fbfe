//! Views: planned anew whenever a statement names them, by whoever plans SQL.
//!
//! The catalog keeps the text and asks a [`ViewPlanner`] for the plan, so that it never reads SQL itself. The plan is
//! wrapped in an alias of three parts, which no statement can write: by these a new view's plan shows which views it
//! rests on, and a view that would rest on itself is refused.

use crate::error::{Error, Result};
use datafusion::common::TableReference;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::datasource::ViewTable;
use datafusion::error::DataFusionError;
use datafusion::logical_expr::{LogicalPlan, LogicalPlanBuilder};
use futures::future::BoxFuture;
use std::future::Future;
use std::sync::Arc;

/// Views that may rest on each other in a chain.
const MAX_DEPTH: usize = 32;

tokio::task_local! {
    static DEPTH: usize;
}

/// Plans the queries of views. Implemented by who owns the SQL planner.
pub trait ViewPlanner: Send + Sync {
    /// Returns the logical plan of a view's query.
    fn plan_view<'a>(&'a self, sql: &'a str)
    -> BoxFuture<'a, Result<LogicalPlan, DataFusionError>>;
}

/// A view as named in the catalog.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ViewName<'a> {
    pub(crate) catalog: &'a str,
    pub(crate) schema: &'a str,
    pub(crate) name: &'a str,
}

impl ViewName<'_> {
    fn reference(&self) -> TableReference {
        TableReference::full(self.catalog, self.schema, self.name)
    }
}

/// Returns the provider of a view.
///
/// # Errors
/// When the view cannot be planned, for instance because a table it reads is gone.
pub(crate) async fn plan(
    planner: &dyn ViewPlanner,
    view: &ViewName<'_>,
    sql: &str,
) -> Result<Arc<ViewTable>> {
    let depth = DEPTH.try_with(|depth| *depth).unwrap_or(0) + 1;
    if depth > MAX_DEPTH {
        return Err(refused(view, format!("more than {MAX_DEPTH} views rest on each other")));
    }
    let planned: Result<LogicalPlan, DataFusionError> =
        in_depth(depth, planner.plan_view(sql)).await;
    let plan = LogicalPlanBuilder::from(planned?).alias(view.reference())?.build()?;
    Ok(Arc::new(ViewTable::new(plan, Some(sql.to_owned()))))
}

/// Checks that a view can be planned and does not rest on itself.
pub(crate) async fn check(planner: &dyn ViewPlanner, view: &ViewName<'_>, sql: &str) -> Result<()> {
    let plan = planner.plan_view(sql).await?;
    let reference = view.reference();
    let mut rests_on_itself = false;
    plan.apply_with_subqueries(|node| {
        if let LogicalPlan::SubqueryAlias(alias) = node {
            rests_on_itself |= alias.alias == reference;
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    if rests_on_itself {
        return Err(refused(view, "the view rests on itself".to_owned()));
    }
    Ok(())
}

async fn in_depth<T>(depth: usize, planning: impl Future<Output = T>) -> T {
    // Boxed, because the future of a view holds the future of the view it rests on.
    DEPTH.scope(depth, Box::pin(planning)).await
}

fn refused(view: &ViewName<'_>, message: String) -> Error {
    Error::InvalidDefinition { name: view.name.to_owned(), message }
}
