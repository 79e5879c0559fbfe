//! Casts to PostgreSQL's catalog types.
//!
//! A literal cast to `regclass` becomes an OID, because it is compared with one; anything else becomes the name, because
//! it is shown. `regtype` and `regnamespace` alike; `regproc` columns are names already.

use super::{PG_CATALOG, call, null, parts, string_literal};
use datafusion::sql::sqlparser::ast::{
    ArrayElemTypeDef, DataType, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments,
    ObjectName, Value,
};

/// Returns whether a type only makes sense in statements over the catalog.
pub(super) fn is_catalog_type(data_type: &DataType) -> bool {
    match data_type {
        DataType::Regclass => true,
        DataType::Custom(name, _) => {
            let is_qualified = parts(name).is_some_and(|parts| parts[0] == PG_CATALOG);
            is_qualified || last(name).is_some_and(|name| name.starts_with("reg") || name == "oid")
        }
        DataType::Array(element) => element_of(element).is_some_and(is_catalog_type),
        _ => false,
    }
}

fn element_of(element: &ArrayElemTypeDef) -> Option<&DataType> {
    match element {
        ArrayElemTypeDef::SquareBracket(element, _)
        | ArrayElemTypeDef::AngleBracket(element)
        | ArrayElemTypeDef::Parenthesis(element) => Some(element),
        ArrayElemTypeDef::None => None,
    }
}

fn last(name: &ObjectName) -> Option<String> {
    parts(name).and_then(|parts| parts.last().map(|name| name.to_ascii_lowercase()))
}

/// Rewrites a cast whose type DataFusion does not know.
pub(super) fn rewrite(expr: &mut Expr) {
    let Expr::Cast { expr: inner, data_type, .. } = expr else { return };
    let name = match data_type {
        DataType::Regclass => "regclass".to_string(),
        DataType::Custom(name, _) => last(name).unwrap_or_default(),
        DataType::Text => "text".to_string(),
        DataType::Array(element) => return array(element),
        _ => return,
    };
    let is_constant = string_literal(inner).is_some() || is_placeholder(inner);
    let value = std::mem::replace(inner.as_mut(), null());
    *expr = match (name.as_str(), is_constant) {
        ("regclass", true) => call("regclass_oid", vec![value]),
        ("regclass", false) => call("regclass_name", vec![value]),
        ("regtype", true) => call("regtype_oid", vec![value]),
        ("regtype", false) => call("format_type", vec![value, null()]),
        ("regnamespace", true) => call("regnamespace_oid", vec![value]),
        ("regnamespace", false) => call("regnamespace_name", vec![value]),
        ("regrole", _) => call("pg_get_userbyid", vec![value]),
        ("regproc" | "regprocedure" | "regoper" | "regoperator", _) => value,
        ("oid", _) => inverse(value, "regclass_name", plain("oid")),
        ("text", _) => inverse(value, "regclass_oid", Some(DataType::Text)),
        (other, _) => match plain(other) {
            Some(data_type) => cast(value, data_type),
            None => cast(value, data_type.clone()),
        },
    };
}

/// `c.oid::regclass::oid` and `'t'::regclass::text` come out where they went in.
fn inverse(value: Expr, function: &str, data_type: Option<DataType>) -> Expr {
    match value {
        Expr::Function(call) if last(&call.name).as_deref() == Some(function) => {
            only_argument(&call).unwrap_or_else(null)
        }
        value => match data_type {
            Some(data_type) => cast(value, data_type),
            None => value,
        },
    }
}

fn only_argument(call: &Function) -> Option<Expr> {
    let FunctionArguments::List(list) = &call.args else { return None };
    match list.args.as_slice() {
        [FunctionArg::Unnamed(FunctionArgExpr::Expr(expr))] => Some(expr.clone()),
        _ => None,
    }
}

fn cast(expr: Expr, data_type: DataType) -> Expr {
    let kind = datafusion::sql::sqlparser::ast::CastKind::DoubleColon;
    Expr::Cast { kind, expr: Box::new(expr), data_type, array: false, format: None }
}

fn is_placeholder(expr: &Expr) -> bool {
    matches!(expr, Expr::Value(value) if matches!(value.value, Value::Placeholder(_)))
}

/// Returns the SQL type that holds a catalog type's values here.
fn plain(name: &str) -> Option<DataType> {
    Some(match name {
        "text" | "name" | "char" | "bpchar" | "varchar" | "cstring" | "unknown" => DataType::Text,
        "oid" | "int8" | "xid8" => DataType::BigInt(None),
        "int4" | "xid" => DataType::Integer(None),
        "int2" => DataType::SmallInt(None),
        "bool" => DataType::Boolean,
        "float4" => DataType::Real,
        "float8" => DataType::DoublePrecision,
        "date" => DataType::Date,
        _ => return None,
    })
}

fn array(element: &mut ArrayElemTypeDef) {
    if let ArrayElemTypeDef::SquareBracket(element, _) = element
        && let DataType::Custom(name, _) = element.as_ref()
        && let Some(data_type) = last(name).as_deref().and_then(plain)
    {
        **element = data_type;
    }
}
