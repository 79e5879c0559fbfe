//! PostgreSQL's names for the types of a result's columns, where Arrow has no word of its own: `oid`, `name`, `json`.
//!
//! Tables and functions name such a type in the metadata of their fields ([`KEY`]). The engine keeps that metadata on
//! columns, but loses it in aggregates, `CASE` and set operations, and keeps it through casts, where it no longer
//! holds. So the names are followed through the plan anew, from the session, before a result is announced. A list has
//! the name of its elements.
//!
//! ```text
//! SELECT array_agg(oid), CASE WHEN … THEN relkind ELSE 'x' END, oid::text FROM pg_class
//!        oid             char                                   none
//! ```
//! Limit: a text that is cast to text is taken for a value of any type, as one that is not cast is.

use arrow::datatypes::{DataType, Field};
use datafusion::common::{Column, DFSchema, JoinType};
use datafusion::logical_expr::utils::grouping_set_to_exprlist;
use datafusion::logical_expr::{
    Aggregate, Distinct, Expr, ExprSchemable, Join, LogicalPlan, WindowFunctionDefinition,
};
use datafusion::scalar::ScalarValue;

/// Field metadata that names a type.
pub const KEY: &str = "saltlake.pg_type";

/// The type that numbers beside its values become.
const OID: &str = "oid";

/// Functions of values of one type, which is that of the result or of its elements.
const OF_ALL: [&str; 4] = ["coalesce", "greatest", "least", "make_array"];

/// Functions whose first argument has the type of the result, or of its elements.
const OF_FIRST: [&str; 5] =
    ["array_append", "array_concat", "array_element", "array_slice", "nullif"];

/// Aggregates and window functions that give a value they read, or all of them.
const OF_VALUES: [&str; 8] =
    ["array_agg", "first_value", "lag", "last_value", "lead", "max", "min", "nth_value"];

/// What is known of a type.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Type {
    /// Its name.
    Named(String),
    /// It is an integer.
    Integer,
    /// It takes the type of what it meets: NULL, or a text that was written out.
    Open,
    /// Arrow's type says all.
    Plain,
}

/// Returns the name of each column's type, `None` where Arrow's type says all.
pub fn type_names(plan: &LogicalPlan) -> Vec<Option<String>> {
    let name = |ty| match ty {
        Type::Named(name) => Some(name),
        _ => None,
    };
    of_plan(plan).into_iter().map(name).collect()
}

fn of_plan(plan: &LogicalPlan) -> Vec<Type> {
    match plan {
        LogicalPlan::Projection(projection) => Input::of(&projection.input).each(&projection.expr),
        LogicalPlan::Aggregate(aggregate) => of_aggregate(aggregate),
        LogicalPlan::Window(window) => {
            let input = Input::of(&window.input);
            let computed = input.each(&window.window_expr);
            input.types.into_iter().chain(computed).collect()
        }
        LogicalPlan::Distinct(Distinct::On(distinct)) => {
            Input::of(&distinct.input).each(&distinct.select_expr)
        }
        LogicalPlan::Join(join) => of_join(join),
        LogicalPlan::Union(union) => {
            let inputs: Vec<_> = union.inputs.iter().map(|input| of_plan(input)).collect();
            let column = |idx| common(inputs.iter().map(|types| at(types, idx)));
            (0..union.schema.fields().len()).map(column).collect()
        }
        // What the other term gives is cast to it.
        LogicalPlan::RecursiveQuery(query) => of_plan(&query.static_term),
        LogicalPlan::Subquery(query) => of_plan(&query.subquery),
        LogicalPlan::Unnest(unnest) => {
            let types = of_plan(&unnest.input);
            unnest.dependency_indices.iter().map(|idx| at(&types, *idx)).collect()
        }
        LogicalPlan::Filter(filter) => of_plan(&filter.input),
        LogicalPlan::Sort(sort) => of_plan(&sort.input),
        LogicalPlan::Limit(limit) => of_plan(&limit.input),
        LogicalPlan::Repartition(repartition) => of_plan(&repartition.input),
        LogicalPlan::SubqueryAlias(alias) => of_plan(&alias.input),
        LogicalPlan::Distinct(Distinct::All(input)) => of_plan(input),
        other => other.schema().fields().iter().map(|field| of_field(field)).collect(),
    }
}

fn at(types: &[Type], idx: usize) -> Type {
    types.get(idx).cloned().unwrap_or(Type::Plain)
}

fn of_field(field: &Field) -> Type {
    match field.metadata().get(KEY) {
        Some(name) => Type::Named(name.clone()),
        None => of_data_type(field.data_type()),
    }
}

fn of_data_type(data_type: &DataType) -> Type {
    match data_type {
        DataType::Null => Type::Open,
        data_type if data_type.is_integer() => Type::Integer,
        _ => Type::Plain,
    }
}

fn of_join(join: &Join) -> Vec<Type> {
    let (left, right) = (of_plan(&join.left), of_plan(&join.right));
    match join.join_type {
        JoinType::LeftSemi | JoinType::LeftAnti => left,
        JoinType::RightSemi | JoinType::RightAnti => right,
        JoinType::LeftMark => left.into_iter().chain([Type::Plain]).collect(),
        JoinType::RightMark => right.into_iter().chain([Type::Plain]).collect(),
        _ => left.into_iter().chain(right).collect(),
    }
}

fn of_aggregate(aggregate: &Aggregate) -> Vec<Type> {
    let input = Input::of(&aggregate.input);
    let n_columns = aggregate.schema.fields().len();
    let mut types = match grouping_set_to_exprlist(&aggregate.group_expr) {
        Ok(groups) => groups.iter().map(|expr| input.expr(expr)).collect(),
        Err(_) => vec![],
    };
    // Grouping sets have a column more, which says which set it is.
    types.resize(n_columns.saturating_sub(aggregate.aggr_expr.len()), Type::Plain);
    types.extend(input.each(&aggregate.aggr_expr));
    types
}

/// Returns the type PostgreSQL gives to what may be a value of any of `types`.
fn common(types: impl Iterator<Item = Type>) -> Type {
    types.fold(Type::Open, |one, other| match (one, other) {
        (Type::Open, ty) | (ty, Type::Open) => ty,
        (one, other) if one == other => one,
        (Type::Named(name), Type::Integer) | (Type::Integer, Type::Named(name)) if name == OID => {
            Type::Named(name)
        }
        _ => Type::Plain,
    })
}

/// What expressions read.
struct Input<'a> {
    schema: &'a DFSchema,
    types: Vec<Type>,
    /// Looking up columns costs more than it is worth where none can be of interest.
    has_names: bool,
}

impl<'a> Input<'a> {
    fn of(plan: &'a LogicalPlan) -> Self {
        let types = of_plan(plan);
        let has_names = types.iter().any(|ty| matches!(ty, Type::Named(_)));
        Self { schema: plan.schema(), types, has_names }
    }

    fn each(&self, exprs: &[Expr]) -> Vec<Type> {
        exprs.iter().map(|expr| self.expr(expr)).collect()
    }

    fn expr(&self, expr: &Expr) -> Type {
        match expr {
            Expr::Alias(alias) => self.expr(&alias.expr),
            Expr::Column(column) => self.column(column),
            Expr::OuterReferenceColumn(field, _) => of_field(field),
            Expr::Literal(value, metadata) => {
                let name = metadata.as_ref().and_then(|metadata| metadata.inner().get(KEY));
                name.map_or_else(|| literal(value), |name| Type::Named(name.clone()))
            }
            Expr::Placeholder(parameter) => {
                parameter.field.as_ref().map_or(Type::Open, |field| of_field(field))
            }
            Expr::Cast(cast) => match self.expr(&cast.expr) {
                Type::Open => Type::Open,
                _ => of_field(&cast.field),
            },
            Expr::Case(case) => {
                let results = case.when_then_expr.iter().map(|(_, then)| then.as_ref());
                common(results.chain(case.else_expr.as_deref()).map(|result| self.expr(result)))
            }
            Expr::ScalarSubquery(query) => at(&of_plan(&query.subquery), 0),
            Expr::Unnest(unnest) => self.expr(&unnest.expr),
            Expr::AggregateFunction(call) => self.value(call.func.name(), &call.params.args),
            Expr::WindowFunction(call) => {
                let name = match &call.fun {
                    WindowFunctionDefinition::AggregateUDF(function) => function.name(),
                    WindowFunctionDefinition::WindowUDF(function) => function.name(),
                };
                self.value(name, &call.params.args)
            }
            Expr::ScalarFunction(call) => match call.name() {
                name if OF_ALL.contains(&name) => {
                    common(call.args.iter().map(|arg| self.expr(arg)))
                }
                name if OF_FIRST.contains(&name) => {
                    call.args.first().map_or(Type::Plain, |first| self.expr(first))
                }
                _ => expr.to_field(self.schema).map_or(Type::Plain, |(_, field)| of_field(&field)),
            },
            _ => Type::Plain,
        }
    }

    fn column(&self, column: &Column) -> Type {
        let found = self.has_names.then(|| self.schema.maybe_index_of_column(column)).flatten();
        found.map_or(Type::Plain, |idx| at(&self.types, idx))
    }

    fn value(&self, function: &str, args: &[Expr]) -> Type {
        match args.first() {
            Some(value) if OF_VALUES.contains(&function) => self.expr(value),
            _ => Type::Plain,
        }
    }
}

fn literal(value: &ScalarValue) -> Type {
    match value {
        ScalarValue::Utf8(_) | ScalarValue::Utf8View(_) | ScalarValue::LargeUtf8(_) => Type::Open,
        value if value.is_null() => Type::Open,
        value => of_data_type(&value.data_type()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::datatypes::Schema;
    use datafusion::datasource::empty::EmptyTable;
    use datafusion::prelude::SessionContext;
    use std::sync::Arc;

    /// A table of three columns, two of which have names for their types.
    fn context() -> SessionContext {
        let field = |name: &str, data_type, ty: Option<&str>| {
            let named = ty.map(|ty| (KEY.to_string(), ty.to_string()));
            Field::new(name, data_type, true).with_metadata(named.into_iter().collect())
        };
        let schema = Arc::new(Schema::new(vec![
            field("oid", DataType::Int64, Some("oid")),
            field("kind", DataType::Utf8, Some("char")),
            field("n", DataType::Int32, None),
        ]));
        let context = SessionContext::new();
        context.register_table("t", Arc::new(EmptyTable::new(schema))).unwrap();
        context
    }

    #[tokio::test]
    async fn names_follow_values_and_stay_behind_at_casts() {
        let context = context();
        for (sql, expected) in [
            ("SELECT oid, kind, n FROM t", "oid char -"),
            ("SELECT n, oid AS o FROM (SELECT * FROM t) s WHERE n > 1 ORDER BY n LIMIT 1", "- oid"),
            ("SELECT array_agg(oid), max(kind), min(n), count(oid) FROM t", "oid char - -"),
            ("SELECT kind, array_agg(oid) FROM t GROUP BY kind", "char oid"),
            ("SELECT kind, n, sum(n) FROM t GROUP BY ROLLUP (kind, n)", "char - -"),
            ("SELECT oid::text, oid + 1, n::bigint, NULL, 'x' FROM t", "- - - - -"),
            ("SELECT CASE n WHEN 1 THEN kind WHEN 2 THEN 'x' END FROM t", "char"),
            (
                "SELECT CASE WHEN n = 1 THEN NULL ELSE oid END, CASE WHEN n = 1 THEN 0 ELSE oid END FROM t",
                "oid oid",
            ),
            ("SELECT CASE WHEN n = 1 THEN kind ELSE oid::text END FROM t", "-"),
            ("SELECT coalesce(oid, n), nullif(kind, 'r'), greatest(n, 1) FROM t", "oid char -"),
            (
                "SELECT (SELECT max(oid) FROM t), a.kind FROM t a JOIN t b ON a.oid = b.n",
                "oid char",
            ),
            ("WITH c AS (SELECT oid AS x FROM t) SELECT x FROM c UNION SELECT n FROM t", "oid"),
            ("SELECT kind FROM t UNION ALL SELECT NULL", "char"),
            ("SELECT kind FROM t UNION ALL SELECT n::text FROM t", "-"),
            ("SELECT DISTINCT ON (n) n, kind FROM t", "- char"),
            ("SELECT lag(kind) OVER (ORDER BY n), row_number() OVER () FROM t", "char -"),
            (
                "WITH RECURSIVE r AS (SELECT oid, 0 AS depth FROM t UNION ALL SELECT oid + 1, depth + 1 FROM r) \
                 SELECT * FROM r",
                "oid -",
            ),
            ("SELECT unnest(a) FROM (SELECT array_agg(oid) AS a FROM t) s", "oid"),
            ("SELECT oid FROM t WHERE EXISTS (SELECT 1 FROM t u WHERE u.oid = t.oid)", "oid"),
        ] {
            let plan = context.state().create_logical_plan(sql).await.unwrap();
            let state = context.state();
            let plan = state.analyzer().execute_and_check(plan, state.config_options(), |_, _| {});
            let names = type_names(&plan.unwrap());
            let shown: Vec<_> = names.iter().map(|name| name.as_deref().unwrap_or("-")).collect();
            assert_eq!(shown.join(" "), expected, "{sql}");
        }
    }
}
