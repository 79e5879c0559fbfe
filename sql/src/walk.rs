//! Walks over the syntax tree that are compiled once.
//!
//! sqlparser's `visit` is generic: each type of visitor compiles the walk over all types of the tree anew, some 900
//! functions and 600 KB apiece. Here all visitors are called through one type that hides them.

use datafusion::sql::sqlparser::ast::{
    Expr, ObjectName, Query, Select, Statement, TableFactor, ValueWithSpan, Visit, VisitMut,
    Visitor, VisitorMut,
};
use std::ops::ControlFlow;

/// A part of the tree that a walk begins at.
pub trait Root {
    #[doc(hidden)]
    fn accept(&self, visitor: &mut dyn Visitor<Break = ()>) -> ControlFlow<()>;

    #[doc(hidden)]
    fn accept_mut(&mut self, visitor: &mut dyn VisitorMut<Break = ()>) -> ControlFlow<()>;
}

/// Shows a tree to a visitor; returns what it stopped with.
pub fn walk<V: Visitor>(root: &(impl Root + ?Sized), visitor: &mut V) -> ControlFlow<V::Break> {
    let mut stopping = Stopping { visitor, stopped: None };
    let _ = root.accept(&mut stopping);
    stopping.stopped.map_or(ControlFlow::Continue(()), ControlFlow::Break)
}

/// As [`walk`], for a visitor that changes the tree.
pub fn walk_mut<V: VisitorMut>(
    root: &mut (impl Root + ?Sized),
    visitor: &mut V,
) -> ControlFlow<V::Break> {
    let mut stopping = StoppingMut { visitor, stopped: None };
    let _ = root.accept_mut(&mut stopping);
    stopping.stopped.map_or(ControlFlow::Continue(()), ControlFlow::Break)
}

macro_rules! roots {
    ($($root:ty),*) => {$(
        impl Root for $root {
            fn accept(&self, visitor: &mut dyn Visitor<Break = ()>) -> ControlFlow<()> {
                Visit::visit(self, &mut Hidden(visitor))
            }

            fn accept_mut(&mut self, visitor: &mut dyn VisitorMut<Break = ()>) -> ControlFlow<()> {
                VisitMut::visit(self, &mut HiddenMut(visitor))
            }
        }
    )*};
}

roots!(Statement, Query, Expr);

/// The one type of visitor that walks are compiled for.
struct Hidden<'a>(&'a mut dyn Visitor<Break = ()>);

struct HiddenMut<'a>(&'a mut dyn VisitorMut<Break = ()>);

/// Keeps what a visitor stops with, whatever its type.
struct Stopping<'a, V: Visitor> {
    visitor: &'a mut V,
    stopped: Option<V::Break>,
}

struct StoppingMut<'a, V: VisitorMut> {
    visitor: &'a mut V,
    stopped: Option<V::Break>,
}

fn keep<B>(flow: ControlFlow<B>, stopped: &mut Option<B>) -> ControlFlow<()> {
    match flow {
        ControlFlow::Continue(()) => ControlFlow::Continue(()),
        ControlFlow::Break(value) => {
            *stopped = Some(value);
            ControlFlow::Break(())
        }
    }
}

macro_rules! pass_on {
    ($($method:ident: $node:ty),* $(,)?) => {
        impl Visitor for Hidden<'_> {
            type Break = ();
            $(fn $method(&mut self, node: &$node) -> ControlFlow<()> {
                self.0.$method(node)
            })*
        }

        impl VisitorMut for HiddenMut<'_> {
            type Break = ();
            $(fn $method(&mut self, node: &mut $node) -> ControlFlow<()> {
                self.0.$method(node)
            })*
        }

        impl<V: Visitor> Visitor for Stopping<'_, V> {
            type Break = ();
            $(fn $method(&mut self, node: &$node) -> ControlFlow<()> {
                keep(self.visitor.$method(node), &mut self.stopped)
            })*
        }

        impl<V: VisitorMut> VisitorMut for StoppingMut<'_, V> {
            type Break = ();
            $(fn $method(&mut self, node: &mut $node) -> ControlFlow<()> {
                keep(self.visitor.$method(node), &mut self.stopped)
            })*
        }
    };
}

// All that sqlparser's visitors are told of: one left out here would be heard by none.
pass_on! {
    pre_visit_query: Query,
    post_visit_query: Query,
    pre_visit_select: Select,
    post_visit_select: Select,
    pre_visit_relation: ObjectName,
    post_visit_relation: ObjectName,
    pre_visit_table_factor: TableFactor,
    post_visit_table_factor: TableFactor,
    pre_visit_expr: Expr,
    post_visit_expr: Expr,
    pre_visit_statement: Statement,
    post_visit_statement: Statement,
    pre_visit_value: ValueWithSpan,
    post_visit_value: ValueWithSpan,
}
