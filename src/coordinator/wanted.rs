//! What the filters of a scan ask for, where they say that a column is one of some literals.
//!
//! Used by tables that are made when they are scanned (`information_schema`, `pg_catalog`), so that asking for one relation
//! reads one relation. What is not understood only costs rows that are filtered later.

use datafusion::logical_expr::expr::InList;
use datafusion::logical_expr::{BinaryExpr, Expr, Operator};
use datafusion::scalar::ScalarValue;

/// Columns and the values they may have.
#[derive(Debug, Default, Clone)]
pub struct Wanted(Vec<(String, Vec<ScalarValue>)>);

impl Wanted {
    /// Reads filters, all of which hold.
    pub fn of(filters: &[Expr]) -> Self {
        Self(filters.iter().filter_map(values).collect())
    }

    /// Returns whether the filters say anything of a column.
    pub fn names(&self, column: &str) -> bool {
        self.0.iter().any(|(name, _)| name == column)
    }

    /// Returns whether a column may have this text.
    pub fn allows_text(&self, column: &str, text: &str) -> bool {
        // A literal of another type is left to the filter.
        self.allows(column, |value| match value.try_as_str() {
            Some(value) => value == Some(text),
            None => true,
        })
    }

    /// Returns whether a column of type bigint may have this value.
    pub fn allows_int(&self, column: &str, int: i64) -> bool {
        self.allows(column, |value| match value {
            ScalarValue::Int64(value) => *value == Some(int),
            _ => true,
        })
    }

    fn allows(&self, column: &str, is_value: impl Fn(&ScalarValue) -> bool) -> bool {
        self.0
            .iter()
            .filter(|(name, _)| name == column)
            .all(|(_, values)| values.iter().any(&is_value))
    }
}

/// Reads `column = literal`, `column IN (literals)`, and an OR of these on one column.
fn values(filter: &Expr) -> Option<(String, Vec<ScalarValue>)> {
    match filter {
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::Eq, right }) => {
            let (column, value) = match (left.as_ref(), right.as_ref()) {
                (Expr::Column(column), Expr::Literal(value, _))
                | (Expr::Literal(value, _), Expr::Column(column)) => (column, value),
                _ => return None,
            };
            Some((column.name.clone(), vec![value.clone()]))
        }
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::Or, right }) => {
            let ((name, mut all), (other, more)) = (values(left)?, values(right)?);
            all.extend(more);
            (name == other).then_some((name, all))
        }
        Expr::InList(InList { expr, list, negated: false }) => {
            let Expr::Column(column) = expr.as_ref() else { return None };
            let literal = |expr: &Expr| match expr {
                Expr::Literal(value, _) => Some(value.clone()),
                _ => None,
            };
            let all = list.iter().map(literal).collect::<Option<_>>()?;
            Some((column.name.clone(), all))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use datafusion::logical_expr::{col, lit};

    #[test]
    fn filters_on_one_column_are_read_and_others_allow_all() {
        let is = |name: &str| col("name").eq(lit(name));
        let wanted = Wanted::of(&[
            is("a").or(is("b")).or(is("c")),
            col("name").in_list(vec![lit("b"), lit("c"), lit("d")], false),
            lit(7_i64).eq(col("oid")),
            col("kind").in_list(vec![lit("v")], true),
            is("a").or(col("kind").eq(lit("r"))),
        ]);
        for (name, expected) in [("a", false), ("b", true), ("c", true), ("d", false)] {
            assert_eq!(wanted.allows_text("name", name), expected, "{name}");
        }
        assert!(wanted.allows_int("oid", 7) && !wanted.allows_int("oid", 8));
        assert!(wanted.names("oid") && !wanted.names("kind"));
        assert!(wanted.allows_text("kind", "v"));
    }

    #[test]
    fn nothing_equals_null_and_other_types_allow_all() {
        let wanted = Wanted::of(&[col("name").eq(lit(ScalarValue::Utf8(None)))]);
        assert!(!wanted.allows_text("name", "a"));
        let wanted = Wanted::of(&[col("oid").eq(lit(7_i32))]);
        assert!(wanted.allows_int("oid", 8));
    }
}
