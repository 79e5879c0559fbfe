//! INTERSECT ALL and EXCEPT ALL count duplicates.
//!
//! An analyzer rule. DataFusion 55 plans both as a semi or anti join, which keeps every duplicate of the left side or
//! none. Numbering equal rows on both sides makes each occurrence find its own partner.
//!
//! ```text
//! LeftSemi: v = v                        Projection: v
//!   l                            →         LeftSemi: v = v, n = n
//!   r                                        l, row_number() OVER (PARTITION BY v) AS n
//!                                            r, row_number() OVER (PARTITION BY v) AS n
//! ```
//!
//! Only set operations plan such a join in which NULL equals NULL at this point, and without ALL its left side is
//! distinct, where counting would change nothing.

use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::Transformed;
use datafusion::common::{Column, JoinType, NullEquality, Result};
use datafusion::functions_window::expr_fn::row_number;
use datafusion::logical_expr::{
    Distinct, Expr, ExprFunctionExt, Join, LogicalPlan, LogicalPlanBuilder,
};
use datafusion::optimizer::AnalyzerRule;
use std::sync::Arc;

/// Names of the numbers of equal rows, on the left and on the right.
const NUMBERS: [&str; 2] = ["__left_occurrence", "__right_occurrence"];

/// The rule.
#[derive(Debug)]
pub struct CountDuplicates;

impl AnalyzerRule for CountDuplicates {
    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> Result<LogicalPlan> {
        let counted = plan.transform_up_with_subqueries(|node| match node {
            LogicalPlan::Join(join) if is_all(&join) => Ok(Transformed::yes(counted(join)?)),
            node => Ok(Transformed::no(node)),
        });
        Ok(counted?.data)
    }

    fn name(&self) -> &str {
        "count_duplicates"
    }
}

/// Returns whether a join is an INTERSECT ALL or EXCEPT ALL that was not seen before.
fn is_all(join: &Join) -> bool {
    let is_set_operation = matches!(join.join_type, JoinType::LeftSemi | JoinType::LeftAnti)
        && join.null_equality == NullEquality::NullEqualsNull
        && join.filter.is_none();
    let is_counted = join.left.schema().has_column_with_unqualified_name(NUMBERS[0]);
    is_set_operation && !is_counted && !is_distinct(&join.left)
}

/// Returns whether equal rows were removed, perhaps below columns that were renamed or cast since.
fn is_distinct(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::Distinct(Distinct::All(_)) => true,
        LogicalPlan::SubqueryAlias(alias) => is_distinct(&alias.input),
        _ => false,
    }
}

fn counted(join: Join) -> Result<LogicalPlan> {
    let columns = join.left.schema().columns();
    let (left_keys, right_keys): (Vec<_>, Vec<_>) = join.on.iter().cloned().unzip();
    let left = numbered(join.left, left_keys, NUMBERS[0])?;
    let right = numbered(join.right, right_keys, NUMBERS[1])?;
    let column = |name| Expr::Column(Column::from_name(name));
    let mut on = join.on;
    on.push((column(NUMBERS[0]), column(NUMBERS[1])));
    let join = Join::try_new(
        Arc::new(left),
        Arc::new(right),
        on,
        None,
        join.join_type,
        join.join_constraint,
        join.null_equality,
        false,
    )?;
    LogicalPlanBuilder::from(LogicalPlan::Join(join))
        .project(columns.into_iter().map(Expr::Column))?
        .build()
}

/// Adds a column that numbers the rows with equal keys.
fn numbered(plan: Arc<LogicalPlan>, keys: Vec<Expr>, name: &str) -> Result<LogicalPlan> {
    let columns = plan.schema().columns().into_iter().map(Expr::Column);
    let number = row_number().partition_by(keys).build()?;
    let numbered = Expr::Column(Column::from_name(number.schema_name().to_string())).alias(name);
    let columns: Vec<_> = columns.chain([numbered]).collect();
    LogicalPlanBuilder::from(plan).window([number])?.project(columns)?.build()
}
