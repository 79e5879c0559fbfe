//! Values for `$1`, `$2`, … from a Bind message.
//!
//! A parameter's type is what the client declared in Parse, else what the plan needs, else text. Values are decoded
//! as the declared type and then cast to the plan's, so `int4` for a `bigint` column is no error.

use super::failure::{Failure, Severity};
use super::types::{self, ColumnType};
use crate::error::Result;
use arrow::array::timezone::Tz;
use arrow::datatypes::{DataType, TimeUnit};
use bytes::Bytes;
use datafusion::scalar::ScalarValue;
use datafusion::sql::parser::Statement as Ast;
use datafusion::sql::sqlparser::ast::{Expr, Value, Visitor, VisitorMut};
use saltlake_sql::parse::Statement;
use saltlake_sql::walk::{walk, walk_mut};
use std::ops::ControlFlow;

mod binary;
mod text;

/// What is known of one parameter.
#[derive(Debug, Clone)]
pub struct Parameter {
    /// What the client sends.
    wire: ColumnType,
    /// What the plan computes with, when it says.
    plan: Option<DataType>,
}

impl Parameter {
    /// Returns the name of its type as `regtype` prints it.
    pub fn type_name(&self) -> String {
        format!("{}{}", self.wire.base.sql_name, if self.wire.is_array { "[]" } else { "" })
    }

    /// Returns the OID a parameter description carries.
    pub fn oid(&self) -> u32 {
        self.wire.oid()
    }
}

/// Merges the types a client declared (0 and `unknown` mean none) with those the plan needs.
pub fn merge(declared: &[u32], planned: &[Option<DataType>]) -> Vec<Parameter> {
    (0..declared.len().max(planned.len()))
        .map(|idx| {
            let plan = planned.get(idx).cloned().flatten();
            let inferred = || plan.as_ref().map(types::of_data_type);
            let wire = declared_type(declared, idx).or_else(inferred);
            let text = || types::of_data_type(&DataType::Utf8);
            Parameter { wire: wire.unwrap_or_else(text), plan }
        })
        .collect()
}

/// Types that PostgreSQL names and the planner has no own type for.
const ONLY_NAMED: [&str; 8] =
    ["json", "jsonb", "name", "oid", "regclass", "regproc", "regtype", "uuid"];

/// Adds the types that casts give to parameters a client did not declare, as in `$1::oid[]`.
///
/// Needed where the plan's type is another one: told `bigint[]` for it, asyncpg asks what that is, with a parameter of
/// the same kind, without end.
pub fn named(statement: &Statement, declared: &[u32]) -> Vec<u32> {
    let mut named = Named(declared.to_vec());
    if let Ast::Statement(ast) = &statement.ast {
        let _ = walk(ast.as_ref(), &mut named);
    }
    named.0
}

struct Named(Vec<u32>);

impl Visitor for Named {
    type Break = ();

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
        if let Expr::Cast { expr, data_type, .. } = expr
            && let Some(number) = placeholder(expr)
            && let Some(named) = types::by_sql_name(&data_type.to_string())
            && ONLY_NAMED.contains(&named.base.name)
        {
            if self.0.len() < number {
                self.0.resize(number, 0);
            }
            let declared = &mut self.0[number - 1];
            *declared = if *declared == 0 { named.oid() } else { *declared };
        }
        ControlFlow::Continue(())
    }
}

/// The number of a placeholder, from 1.
fn placeholder(expr: &Expr) -> Option<usize> {
    let Expr::Value(value) = expr else { return None };
    let Value::Placeholder(name) = &value.value else { return None };
    let number = name.strip_prefix('$')?.parse().ok()?;
    // As many as a Bind message has room for.
    (1..=usize::from(u16::MAX)).contains(&number).then_some(number)
}

fn declared_type(declared: &[u32], idx: usize) -> Option<ColumnType> {
    let oid = *declared.get(idx)?;
    types::by_oid(oid).filter(|ty| ty.base != &types::UNKNOWN)
}

/// Tells the planner the types a client declared, by a cast round each placeholder that has one.
///
/// Without it `SELECT $1` has no type although the client named one.
pub fn declare(mut statement: Statement, declared: &[u32]) -> Result<Statement> {
    if declared.iter().all(|oid| *oid == 0) {
        return Ok(statement);
    }
    if let Ast::Statement(ast) = &mut statement.ast {
        let _ = walk_mut(ast.as_mut(), &mut Declare { declared });
    }
    Ok(statement)
}

/// Returns how many parameters a statement has: the number of the last one.
pub fn count(statement: &Statement) -> usize {
    let mut count = Count(0);
    if let Ast::Statement(ast) = &statement.ast {
        let _ = walk(ast.as_ref(), &mut count);
    }
    count.0
}

struct Count(usize);

impl Visitor for Count {
    type Break = ();

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
        self.0 = self.0.max(placeholder(expr).unwrap_or_default());
        ControlFlow::Continue(())
    }
}

struct Declare<'a> {
    declared: &'a [u32],
}

impl VisitorMut for Declare<'_> {
    type Break = ();

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        let number = placeholder(expr);
        let declared = number.and_then(|number| declared_type(self.declared, number - 1));
        if let Some(data_type) = declared.and_then(|declared| sql_type(&declared)) {
            *expr = Expr::Cast {
                kind: datafusion::sql::sqlparser::ast::CastKind::Cast,
                expr: Box::new(expr.clone()),
                data_type,
                array: false,
                format: None,
            };
        }
        ControlFlow::Continue(())
    }
}

/// Types whose SQL name DataFusion plans; a numeric has no fixed scale and text is what DataFusion assumes anyway.
fn sql_type(column: &ColumnType) -> Option<datafusion::sql::sqlparser::ast::DataType> {
    use datafusion::sql::sqlparser::ast::{
        ArrayElemTypeDef, DataType as Sql, ExactNumberInfo, TimezoneInfo,
    };
    if column.is_array {
        let element = sql_type(&ColumnType { is_array: false, ..*column })?;
        let element = ArrayElemTypeDef::SquareBracket(Box::new(element), None);
        return Some(Sql::Array(element));
    }
    Some(match column.base.name {
        "bool" => Sql::Boolean,
        "int2" => Sql::SmallInt(None),
        "int4" => Sql::Integer(None),
        "int8" | "oid" => Sql::BigInt(None),
        "float4" => Sql::Real,
        "float8" => Sql::Double(ExactNumberInfo::None),
        "date" => Sql::Date,
        "timestamp" => Sql::Timestamp(None, TimezoneInfo::None),
        "text" | "varchar" => Sql::Text,
        _ => return None,
    })
}

/// Decodes the values of a Bind message.
///
/// # Errors
/// When their number or formats do not fit (08P01), or a value is not of its type (22P02, 22P03).
pub fn decode_all(
    statement: &str,
    parameters: &[Parameter],
    codes: &[i16],
    values: &[Option<Bytes>],
    time_zone: Tz,
) -> Result<Vec<ScalarValue>, Failure> {
    if values.len() != parameters.len() {
        let message = format!(
            "bind message supplies {} parameters, but prepared statement \"{statement}\" requires {}",
            values.len(),
            parameters.len()
        );
        return Err(Failure::new(Severity::Error, "08P01", message));
    }
    let formats = super::rows::column_formats(codes, values.len())?;
    parameters
        .iter()
        .zip(values)
        .zip(formats)
        .map(|((parameter, value), format)| {
            let Some(value) = value else { return null(parameter) };
            let decoded = match format {
                super::encode::Format::Text => text::decode(&parameter.wire, value, time_zone)?,
                super::encode::Format::Binary => binary::decode(&parameter.wire, value)?,
            };
            fit(decoded, parameter)
        })
        .collect()
}

fn null(parameter: &Parameter) -> Result<ScalarValue, Failure> {
    let data_type = parameter.plan.clone().or_else(|| types::to_arrow(&parameter.wire));
    ScalarValue::try_from(data_type.unwrap_or(DataType::Utf8))
        .map_err(|error| Failure::from(crate::Error::from(error)))
}

/// Casts a value to the type the plan computes with.
///
/// # Errors
/// When it is not of that type (22P02).
pub fn fit(value: ScalarValue, parameter: &Parameter) -> Result<ScalarValue, Failure> {
    let Some(plan) = &parameter.plan else { return Ok(value) };
    if value.data_type() == *plan {
        return Ok(value);
    }
    let shown = value.to_string();
    value.cast_to(plan).map_err(|_| bad_text(types::of_data_type(plan).base.sql_name, &shown))
}

/// PostgreSQL's words for text that is not of its type.
fn bad_text(type_name: &str, value: &str) -> Failure {
    let message = format!("invalid input syntax for type {type_name}: \"{value}\"");
    Failure::new(Severity::Error, "22P02", message)
}

/// PostgreSQL's words for bytes that are not of their type.
fn bad_binary(type_name: &str) -> Failure {
    let message = format!("incorrect binary data format for type {type_name}");
    Failure::new(Severity::Error, "22P03", message)
}

fn timestamp_type(zoned: bool) -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, zoned.then(|| "+00:00".into()))
}

#[cfg(test)]
mod tests;
