//! Random queries over random tables: an ordered plan gives the rows of the plan as written, whatever the order.

use super::gather::Gathered;
use super::graph::JoinGraph;
use super::region::{self, JoinTree, Region};
use super::set::RelationSet;
use super::{Ordered, PassLog, build, enumerate, run};
use arrow::array::{ArrayRef, Int64Array, RecordBatch};
use arrow::util::display::array_value_to_string;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::datasource::MemTable;
use datafusion::execution::SessionState;
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::collect;
use datafusion::prelude::{SessionConfig, SessionContext};
use std::fmt::Write;
use std::sync::Arc;

const N_TABLES: u64 = 6;

/// A small generator of numbers that look random, the same in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 16) % n.max(1)
    }

    fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    fn column(&mut self) -> char {
        ['a', 'b', 'c'][self.below(3) as usize]
    }
}

fn context(random: &mut Random) -> SessionContext {
    let mut config = SessionConfig::new().with_target_partitions(2);
    config.options_mut().optimizer.join_reordering = false;
    let context = SessionContext::new_with_config(config);
    for table in 0..N_TABLES {
        let n_rows = 2 + random.below(14);
        let columns = ["a", "b", "c"].map(|name| {
            let values: Int64Array =
                (0..n_rows).map(|_| (!random.one_in(8)).then(|| random.below(4) as i64)).collect();
            (name, Arc::new(values) as ArrayRef, true)
        });
        let batch = RecordBatch::try_from_iter_with_nullable(columns).unwrap();
        let data = MemTable::try_new(batch.schema(), vec![vec![batch]]).unwrap();
        context.register_table(format!("t{table}"), Arc::new(data)).unwrap();
    }
    context
}

/// A predicate between a relation and one before it.
fn predicate(random: &mut Random, here: u64) -> String {
    let there = random.below(here);
    let (x, y) = (random.column(), random.column());
    match random.below(8) {
        0 => format!("x{here}.{x} + 1 = x{there}.{y}"),
        1 => format!("x{here}.{x} = x{there}.{y} and x{here}.{} = x{there}.{y}", random.column()),
        2 => format!("x{here}.{x} = x{there}.{y} and x{here}.b = x{there}.b"),
        3 => {
            let third = random.below(here);
            format!("x{here}.{x} = x{there}.{y} and x{here}.a + x{third}.b > x{there}.c")
        }
        _ => format!("x{here}.{x} = x{there}.{y}"),
    }
}

fn table(random: &mut Random, here: u64) -> String {
    let n = random.below(N_TABLES);
    match random.below(6) {
        0 => format!("(select b as a, a as b, c from t{n} where c < 4) x{here}"),
        1 => {
            let m = random.below(N_TABLES);
            format!("(select l.a, r.b, l.c from t{n} l join t{m} r on l.a = r.a) x{here}")
        }
        2 => format!("(select a, b, max(c) as c from t{n} group by a, b) x{here}"),
        _ => format!("t{n} x{here}"),
    }
}

fn query(random: &mut Random) -> String {
    let n = 2 + random.below(4);
    let mut from = table(random, 0);
    let mut conditions = vec!["true".to_string()];
    for here in 1..n {
        let table = table(random, here);
        let predicate = if random.one_in(12) { "true".into() } else { predicate(random, here) };
        match random.below(6) {
            0 => write!(from, " left join {table} on {predicate}").unwrap(),
            1 => {
                write!(from, " cross join {table}").unwrap();
                conditions.push(predicate);
            }
            _ => write!(from, " join {table} on {predicate}").unwrap(),
        }
    }
    for _ in 0..random.below(3) {
        let here = random.below(n);
        let (x, y, inner) = (random.column(), random.column(), random.below(N_TABLES));
        conditions.push(match random.below(7) {
            5 => format!("x{here}.{x} is null"),
            6 => {
                let other = random.below(n);
                format!("coalesce(x{here}.{x}, 1) = coalesce(x{other}.{y}, 2)")
            }
            0 => format!("x{here}.{x} < {}", random.below(5)),
            1 => format!("x{here}.{x} in (select {y} from t{inner} where b > 0)"),
            2 => format!("exists (select 1 from t{inner} i where i.{y} = x{here}.{x})"),
            3 => {
                let other = random.below(n);
                format!(
                    "not exists (select 1 from t{inner} i \
                     where i.{y} = x{here}.{x} and i.b > x{other}.c)"
                )
            }
            _ => format!("x{here}.{x} = {}", random.below(5)),
        });
    }
    let columns: Vec<_> = (0..n).map(|i| format!("x{i}.a as a{i}, x{i}.c as c{i}")).collect();
    let distinct = if random.one_in(5) { "distinct" } else { "" };
    format!(
        "select {distinct} {} from {from} where {}",
        columns.join(", "),
        conditions.join(" and ")
    )
}

async fn rows(state: &SessionState, plan: &LogicalPlan) -> Vec<String> {
    let physical = state.query_planner().create_physical_plan(plan, state).await.unwrap();
    let mut rows = vec![];
    for batch in collect(physical, state.task_ctx()).await.unwrap() {
        for row in 0..batch.num_rows() {
            let values = batch.columns().iter().map(|c| array_value_to_string(c, row).unwrap());
            rows.push(values.collect::<Vec<_>>().join("|"));
        }
    }
    rows.sort();
    rows
}

/// Replaces the topmost region by its joins in a random order.
fn shuffled(plan: LogicalPlan, known: &Gathered, random: &mut Random) -> LogicalPlan {
    plan.transform_down(|node| {
        if !region::reaches_join(&node) {
            return Ok(Transformed::no(node));
        }
        let Some(region) = Region::collect(&node)? else { return Ok(Transformed::no(node)) };
        let graph = JoinGraph::of(&region, known);
        let tree = random_tree(&graph, random);
        let built = build::build(&region, &graph, &tree, &node)?;
        Ok(Transformed::new(built, true, datafusion::common::tree_node::TreeNodeRecursion::Stop))
    })
    .unwrap()
    .data
}

fn random_tree(graph: &JoinGraph, random: &mut Random) -> JoinTree {
    let mut parts: Vec<_> = graph.all().iter().map(JoinTree::Leaf).collect();
    while parts.len() > 1 {
        let mut pairs = vec![];
        for left in 0..parts.len() {
            for right in 0..parts.len() {
                let (l, r) = (parts[left].relations(), parts[right].relations());
                if left != right && !graph.is_dependent(l) && graph.may_join(l, r) {
                    pairs.push((left, right));
                }
            }
        }
        let (left, right) = pairs[random.below(pairs.len() as u64) as usize];
        let tree = JoinTree::Join(Box::new(parts[left].clone()), Box::new(parts[right].clone()));
        parts.remove(left.max(right));
        parts.remove(left.min(right));
        parts.push(tree);
    }
    parts.remove(0)
}

async fn known(state: &SessionState, plan: &LogicalPlan) -> Gathered {
    let mut known = Gathered::default();
    known.learn(state, plan).await.unwrap();
    known
}

async fn ordered(state: &SessionState, plan: &LogicalPlan, log: &PassLog) -> Ordered {
    run(state, plan.clone(), &mut Gathered::default(), log).await.unwrap()
}

#[tokio::test]
async fn any_order_gives_the_same_rows() {
    let mut random = Random(0x5EED_5A17);
    let mut n_not_empty = 0;
    let mut n_moved = 0;
    for case in 0..400 {
        let context = context(&mut random);
        let sql = query(&mut random);
        let state = context.state();
        let plan = state.create_logical_plan(&sql).await.unwrap();
        let plan = state.optimize(&plan).unwrap();
        let expected = rows(&state, &plan).await;
        n_not_empty += usize::from(!expected.is_empty());

        let log = PassLog::default();
        let reordered = ordered(&state, &plan, &log).await.plan;
        assert_eq!(reordered.schema().columns(), plan.schema().columns(), "case {case}: {sql}");
        assert_eq!(rows(&state, &reordered).await, expected, "case {case}: {sql}\n{reordered}");

        let known = known(&state, &plan).await;
        let other = shuffled(plan.clone(), &known, &mut random);
        n_moved += usize::from(other != plan);
        assert_eq!(rows(&state, &other).await, expected, "case {case}: {sql}\n{other}");
    }
    // The test says nothing when all answers are empty or nothing moves.
    assert!(n_not_empty > 100, "only {n_not_empty} answers have rows");
    assert!(n_moved > 200, "only {n_moved} plans changed");
}

#[tokio::test]
async fn a_large_middle_is_avoided() {
    let context = SessionContext::new();
    let setup = [
        "create table facts as select value % 100 as d, value % 1000 as k from generate_series(1, 4000)",
        "create table more as select value % 1000 as k, value % 10 as w from generate_series(1, 8000)",
        "create table days as select value as d, value % 50 as week from generate_series(0, 99)",
    ];
    for sql in setup {
        context.sql(sql).await.unwrap().collect().await.unwrap();
    }
    let sql = "select count(*) from facts join more on facts.k = more.k \
               join days on facts.d = days.d where days.week = 7";
    let state = context.state();
    let plan = state.optimize(&state.create_logical_plan(sql).await.unwrap()).unwrap();
    let log = PassLog::default();
    let Ordered { plan: reordered, notes, .. } = ordered(&state, &plan, &log).await;
    assert_eq!(rows(&state, &reordered).await, rows(&state, &plan).await);
    assert_eq!(notes.len(), 1, "{notes:?}\n{reordered}");
    let joined_first = ["(days ⋈ facts)", "(facts ⋈ days)"];
    assert!(joined_first.iter().any(|pair| notes[0].contains(pair)), "{notes:?}");
}

#[tokio::test]
async fn a_bad_order_is_found_out() {
    // The tree that is asked for is the one that is built: a wrong set of predicates would change the rows.
    let mut random = Random(7);
    let context = context(&mut random);
    let sql = "select x0.a from t0 x0 join t1 x1 on x0.a = x1.a join t2 x2 on x1.a = x2.b";
    let state = context.state();
    let plan = state.optimize(&state.create_logical_plan(sql).await.unwrap()).unwrap();
    let known = known(&state, &plan).await;
    let mut found = None;
    plan.apply(|node| {
        if found.is_none() && matches!(node, LogicalPlan::Join(_)) {
            found = Region::collect(node)?;
        }
        Ok(datafusion::common::tree_node::TreeNodeRecursion::Continue)
    })
    .unwrap();
    let region = found.unwrap();
    let graph = JoinGraph::of(&region, &known);
    let (first, last) = (RelationSet::one(0), RelationSet::one(2));
    assert!(graph.may_join(first, last), "equality reaches from x0 to x2");
    assert_eq!(graph.classes.len(), 1);
    assert!(enumerate::best(&graph).is_some());
}
