//! Functions clients call on `pg_catalog`, and the ones that name the session.
//!
//! Each is a row at a time over plain values: catalog results are small and clarity is worth more than speed here.

use super::named::Named;
use super::snapshot::{Latest, quote};
use super::typed_null::TypedNull;
use crate::coordinator::{Scope, Session};
use crate::error::Error;
use crate::frontend::pg::startup::server_version;
use crate::frontend::pg::types;
use arrow::array::ArrayRef;
use arrow::datatypes::DataType;
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use datafusion::scalar::ScalarValue;
use parking_lot::Mutex;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::{Arc, OnceLock, Weak};

/// What functions know of their connection.
pub struct Context {
    /// Who is logged in.
    pub user: String,
    /// The lake's name.
    pub database: String,
    /// The relations as listed last.
    pub latest: Arc<Latest>,
    /// The session, once it is open.
    pub session: OnceLock<Weak<Session>>,
    /// What the connection has prepared and declared, as told last.
    pub named: Mutex<Named>,
}

impl Context {
    /// Returns the session while it is open.
    pub fn session(&self) -> Option<Arc<Session>> {
        self.session.get()?.upgrade()
    }

    /// Returns the schemas a name without one is looked for in.
    pub fn search_path(&self) -> Vec<String> {
        let usual = || vec!["public".to_string()];
        self.session().map_or_else(usual, |session| session.search_path())
    }
}

type Body = Box<dyn Fn(&Context, &[ScalarValue]) -> Result<ScalarValue> + Send + Sync>;

/// One function.
struct Function {
    name: &'static str,
    signature: Signature,
    returns: DataType,
    body: Body,
    context: Arc<Context>,
}

impl fmt::Debug for Function {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Function").field(&self.name).finish()
    }
}

impl PartialEq for Function {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name && Arc::ptr_eq(&self.context, &other.context)
    }
}

impl Eq for Function {}

impl Hash for Function {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

impl ScalarUDFImpl for Function {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arguments: &[DataType]) -> Result<DataType> {
        Ok(self.returns.clone())
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        if args.args.iter().all(|arg| matches!(arg, ColumnarValue::Scalar(_))) {
            let values: Vec<ScalarValue> = args
                .args
                .into_iter()
                .filter_map(|arg| match arg {
                    ColumnarValue::Scalar(value) => Some(value),
                    ColumnarValue::Array(_) => None,
                })
                .collect();
            let value = (self.body)(&self.context, &values)?;
            return Ok(ColumnarValue::Scalar(value.cast_to(&self.returns)?));
        }
        let arrays = ColumnarValue::values_to_arrays(&args.args)?;
        let results =
            (0..args.number_rows).map(|row| self.call(&arrays, row)).collect::<Result<Vec<_>>>()?;
        let array: ArrayRef = match results.is_empty() {
            true => arrow::array::new_empty_array(&self.returns),
            false => ScalarValue::iter_to_array(results)?,
        };
        Ok(ColumnarValue::Array(array))
    }
}

impl Function {
    fn call(&self, arrays: &[ArrayRef], row: usize) -> Result<ScalarValue> {
        let values = arrays
            .iter()
            .map(|array| ScalarValue::try_from_array(array, row))
            .collect::<Result<Vec<_>>>()?;
        (self.body)(&self.context, &values)?.cast_to(&self.returns)
    }
}

/// Returns every function for one connection.
pub fn all(context: &Arc<Context>) -> Vec<Arc<ScalarUDF>> {
    let typed_null = Arc::new(ScalarUDF::from(TypedNull::default()));
    let list = Builder { context: Arc::clone(context), functions: vec![typed_null] };
    list.session().names().types().definitions().visibility().sizes().functions
}

struct Builder {
    context: Arc<Context>,
    functions: Vec<Arc<ScalarUDF>>,
}

impl Builder {
    fn add(
        self,
        name: &'static str,
        n_arguments: std::ops::RangeInclusive<usize>,
        returns: DataType,
        body: impl Fn(&Context, &[ScalarValue]) -> Result<ScalarValue> + Send + Sync + 'static,
    ) -> Self {
        self.add_as(Volatility::Stable, name, n_arguments, returns, body)
    }

    /// Adds a function that does something: it runs once a row, when the statement runs.
    fn add_act(
        self,
        name: &'static str,
        n_arguments: std::ops::RangeInclusive<usize>,
        returns: DataType,
        body: impl Fn(&Context, &[ScalarValue]) -> Result<ScalarValue> + Send + Sync + 'static,
    ) -> Self {
        self.add_as(Volatility::Volatile, name, n_arguments, returns, body)
    }

    fn add_as(
        mut self,
        volatility: Volatility,
        name: &'static str,
        n_arguments: std::ops::RangeInclusive<usize>,
        returns: DataType,
        body: impl Fn(&Context, &[ScalarValue]) -> Result<ScalarValue> + Send + Sync + 'static,
    ) -> Self {
        let counts = n_arguments.map(|n| match n {
            0 => datafusion::logical_expr::TypeSignature::Nullary,
            n => datafusion::logical_expr::TypeSignature::Any(n),
        });
        let signature = Signature::one_of(counts.collect(), volatility);
        let context = Arc::clone(&self.context);
        let function = Function { name, signature, returns, body: Box::new(body), context };
        self.functions.push(Arc::new(ScalarUDF::from(function)));
        self
    }

    /// Functions without an answer here: nothing they describe exists in a lake.
    fn add_null(self, names: &[&'static str]) -> Self {
        names.iter().fold(self, |list, name| {
            list.add(name, 1..=4, DataType::Utf8, |_, _| Ok(ScalarValue::Utf8(None)))
        })
    }

    fn session(self) -> Self {
        let user = |context: &Context, _: &[ScalarValue]| Ok(text(&context.user));
        let database = |context: &Context, _: &[ScalarValue]| Ok(text(&context.database));
        self.add("current_user", 0..=0, DataType::Utf8, user)
            .add("session_user", 0..=0, DataType::Utf8, user)
            .add("user", 0..=0, DataType::Utf8, user)
            .add("current_role", 0..=0, DataType::Utf8, user)
            .add("current_database", 0..=0, DataType::Utf8, database)
            .add("current_catalog", 0..=0, DataType::Utf8, database)
            .add("current_schema", 0..=0, DataType::Utf8, |context, _| {
                let path = context.latest.get().schemas_of_path(false);
                Ok(ScalarValue::Utf8(path.into_iter().next()))
            })
            .add("current_schemas", 1..=1, list_of_text(), |context, arguments| {
                let implicit = arguments.first() == Some(&ScalarValue::Boolean(Some(true)));
                let path = context.latest.get().schemas_of_path(implicit);
                Ok(texts(&path.iter().map(String::as_str).collect::<Vec<_>>()))
            })
            .add("version", 0..=0, DataType::Utf8, |_, _| {
                Ok(text(&format!("PostgreSQL {}", server_version())))
            })
            .add("pg_backend_pid", 0..=0, DataType::Int32, |context, _| {
                Ok(ScalarValue::Int32(context.session().map(|session| session.pid())))
            })
            .add_act("pg_cancel_backend", 1..=1, DataType::Boolean, |context, arguments| {
                act_on_backend(context, arguments, Session::cancel_other)
            })
            .add_act("pg_terminate_backend", 1..=2, DataType::Boolean, |context, arguments| {
                act_on_backend(context, arguments, Session::terminate_other)
            })
            .add_act("set_config", 3..=3, DataType::Utf8, set_config)
            .add("current_setting", 1..=2, DataType::Utf8, current_setting)
            // Nobody can take an advisory lock here, so all of them are free.
            .add("pg_advisory_unlock_all", 0..=0, DataType::Utf8, |_, _| Ok(text("")))
            .add("pg_is_in_recovery", 0..=0, DataType::Boolean, |_, _| Ok(false.into()))
            .add("pg_my_temp_schema", 0..=0, DataType::Int64, |_, _| Ok(0_i64.into()))
            .add("pg_is_other_temp_schema", 1..=1, DataType::Boolean, |_, _| Ok(false.into()))
            .add("inet_server_addr", 0..=0, DataType::Utf8, |_, _| Ok(ScalarValue::Utf8(None)))
            .add("inet_server_port", 0..=0, DataType::Int32, |_, _| Ok(ScalarValue::Int32(None)))
    }

    fn names(self) -> Self {
        self.add("pg_get_userbyid", 1..=1, DataType::Utf8, |context, _| Ok(text(&context.user)))
            .add("regclass_name", 1..=1, DataType::Utf8, |context, arguments| {
                let Some(oid) = oid(arguments) else { return Ok(ScalarValue::Utf8(None)) };
                let name = context.latest.get().relation_name(oid);
                Ok(text(&name.unwrap_or_else(|| oid.to_string())))
            })
            .add("regclass_oid", 1..=1, DataType::Int64, |context, arguments| {
                let Some(name) = string(arguments, 0) else { return Ok(ScalarValue::Int64(None)) };
                match context.latest.get().relation_oid(name) {
                    Some(oid) => Ok(oid.into()),
                    None => Err(DataFusionError::Plan(format!("table '{name}' not found"))),
                }
            })
            .add("to_regclass", 1..=1, DataType::Utf8, |context, arguments| {
                let latest = context.latest.get();
                let oid = string(arguments, 0).and_then(|name| latest.relation_oid(name));
                Ok(ScalarValue::Utf8(oid.and_then(|oid| latest.relation_name(oid))))
            })
            .add("regnamespace_name", 1..=1, DataType::Utf8, |context, arguments| {
                let latest = context.latest.get();
                let name = oid(arguments).and_then(|oid| latest.schemas.get(&oid).cloned());
                Ok(ScalarValue::Utf8(name.map(|name| quote(&name))))
            })
            .add("regnamespace_oid", 1..=1, DataType::Int64, |_, arguments| {
                Ok(ScalarValue::Int64(string(arguments, 0).map(super::oid::schema)))
            })
            .add("quote_ident", 1..=1, DataType::Utf8, |_, arguments| {
                Ok(ScalarValue::Utf8(string(arguments, 0).map(quote)))
            })
            .add("quote_literal", 1..=1, DataType::Utf8, |_, arguments| {
                Ok(ScalarValue::Utf8(printed(arguments)?.map(|text| quote_literal(&text))))
            })
            .add("quote_nullable", 1..=1, DataType::Utf8, |_, arguments| {
                let quoted = printed(arguments)?.map(|text| quote_literal(&text));
                Ok(text(&quoted.unwrap_or_else(|| "NULL".to_string())))
            })
            .add("pg_encoding_to_char", 1..=1, DataType::Utf8, |_, arguments| {
                Ok(text(if integer(arguments, 0) == Some(6) { "UTF8" } else { "" }))
            })
            .add("pg_char_to_encoding", 1..=1, DataType::Int32, |_, arguments| {
                let name = string(arguments, 0).unwrap_or_default().to_ascii_uppercase();
                let is_utf8 = matches!(name.as_str(), "UTF8" | "UTF-8" | "UNICODE");
                Ok(ScalarValue::Int32(Some(if is_utf8 { 6 } else { -1 })))
            })
            .add("empty_text_array", 0..=0, list_of_text(), |_, _| Ok(texts(&[])))
    }

    fn types(self) -> Self {
        self.add("format_type", 2..=2, DataType::Utf8, |_, arguments| {
            let Some(oid) = oid(arguments) else { return Ok(ScalarValue::Utf8(None)) };
            Ok(text(&format_type(oid, integer(arguments, 1))))
        })
        .add("regtype_oid", 1..=1, DataType::Int64, |_, arguments| {
            Ok(ScalarValue::Int64(string(arguments, 0).and_then(type_oid)))
        })
        .add("to_regtype", 1..=1, DataType::Int64, |_, arguments| {
            Ok(ScalarValue::Int64(string(arguments, 0).and_then(type_oid)))
        })
    }

    fn definitions(self) -> Self {
        self.add_null(&[
            "pg_get_expr",
            "pg_get_indexdef",
            "pg_get_constraintdef",
            "pg_get_ruledef",
            "pg_get_triggerdef",
            "pg_get_functiondef",
            "pg_get_function_result",
            "pg_get_function_arguments",
            "pg_get_function_identity_arguments",
            "pg_get_statisticsobjdef_columns",
            "pg_get_partkeydef",
            "pg_get_serial_sequence",
            "shobj_description",
        ])
        .add("pg_get_viewdef", 1..=2, DataType::Utf8, |context, arguments| {
            let latest = context.latest.get();
            let object = oid(arguments).and_then(|oid| latest.relations.get(&oid));
            let definition = object.and_then(|object| object.definition.as_ref());
            // psql prints a definition as it comes, and PostgreSQL's start with a blank and end with a semicolon.
            Ok(ScalarValue::Utf8(definition.map(|definition| format!(" {definition};"))))
        })
        .add("obj_description", 1..=2, DataType::Utf8, |context, arguments| {
            let latest = context.latest.get();
            let comment = match (oid(arguments), string(arguments, 1)) {
                (Some(oid), None | Some("pg_class")) => {
                    latest.relations.get(&oid).and_then(|object| object.comment.clone())
                }
                (Some(oid), Some("pg_namespace")) => latest.schema_comment(oid),
                _ => None,
            };
            Ok(ScalarValue::Utf8(comment))
        })
        .add("col_description", 2..=2, DataType::Utf8, |context, arguments| {
            let (relation, number) = (oid(arguments), integer(arguments, 1));
            let comment = |relation| context.latest.column_comment(relation, number?);
            Ok(ScalarValue::Utf8(relation.and_then(comment)))
        })
    }

    fn visibility(self) -> Self {
        let always = [
            "pg_type_is_visible",
            "pg_function_is_visible",
            "pg_operator_is_visible",
            "pg_collation_is_visible",
            "has_table_privilege",
            "has_any_column_privilege",
            "has_column_privilege",
            "has_schema_privilege",
            "has_database_privilege",
            "has_function_privilege",
        ];
        let list = always.iter().fold(self, |list, name| {
            list.add(name, 1..=4, DataType::Boolean, |_, _| Ok(true.into()))
        });
        list.add("pg_table_is_visible", 1..=1, DataType::Boolean, |context, arguments| {
            let visible = oid(arguments).and_then(|oid| context.latest.get().is_visible(oid));
            Ok(ScalarValue::Boolean(visible))
        })
        .add("pg_relation_is_publishable", 1..=1, DataType::Boolean, |_, _| Ok(false.into()))
    }

    fn sizes(self) -> Self {
        let unknown = |_: &Context, _: &[ScalarValue]| Ok(ScalarValue::Int64(None));
        self.add("pg_table_size", 1..=1, DataType::Int64, unknown)
            .add("pg_relation_size", 1..=2, DataType::Int64, unknown)
            .add("pg_total_relation_size", 1..=1, DataType::Int64, unknown)
            .add("pg_database_size", 1..=1, DataType::Int64, unknown)
            .add("pg_tablespace_location", 1..=1, DataType::Utf8, |_, _| Ok(text("")))
            .add("pg_size_pretty", 1..=1, DataType::Utf8, |_, arguments| {
                Ok(ScalarValue::Utf8(integer(arguments, 0).map(size_pretty)))
            })
    }
}

fn text(value: &str) -> ScalarValue {
    ScalarValue::from(value)
}

fn list_of_text() -> DataType {
    DataType::new_list(DataType::Utf8, true)
}

fn texts(values: &[&str]) -> ScalarValue {
    let values: Vec<_> = values.iter().map(|value| text(value)).collect();
    ScalarValue::List(ScalarValue::new_list_nullable(&values, &DataType::Utf8))
}

fn string(arguments: &[ScalarValue], idx: usize) -> Option<&str> {
    arguments.get(idx)?.try_as_str().flatten()
}

fn integer(arguments: &[ScalarValue], idx: usize) -> Option<i64> {
    match arguments.get(idx)?.cast_to(&DataType::Int64) {
        Ok(ScalarValue::Int64(value)) => value,
        _ => None,
    }
}

/// The first argument as an OID; clients also write OIDs as text.
fn oid(arguments: &[ScalarValue]) -> Option<i64> {
    integer(arguments, 0)
}

/// The first argument as text, whatever its type.
fn printed(arguments: &[ScalarValue]) -> Result<Option<String>> {
    match arguments.first().map(|value| value.cast_to(&DataType::Utf8)).transpose()? {
        Some(ScalarValue::Utf8(text)) => Ok(text),
        _ => Ok(None),
    }
}

/// Puts quotes around a text, and the sign of an escaped string before it where it holds backslashes.
fn quote_literal(text: &str) -> String {
    let quoted = text.replace('\'', "''");
    match text.contains('\\') {
        true => format!("E'{}'", quoted.replace('\\', "\\\\")),
        false => format!("'{quoted}'"),
    }
}

fn act_on_backend(
    context: &Context,
    arguments: &[ScalarValue],
    act: fn(&Session, i32) -> bool,
) -> Result<ScalarValue> {
    let pid = integer(arguments, 0).and_then(|pid| i32::try_from(pid).ok());
    let (Some(pid), Some(session)) = (pid, context.session()) else {
        return Ok(ScalarValue::Boolean(None));
    };
    Ok(act(&session, pid).into())
}

fn set_config(context: &Context, arguments: &[ScalarValue]) -> Result<ScalarValue> {
    let Some(name) = string(arguments, 0) else {
        let message = "SET requires parameter name".to_string();
        return Err(DataFusionError::Plan(message));
    };
    let value = string(arguments, 1).unwrap_or_default();
    let scope = match arguments.get(2) {
        Some(ScalarValue::Boolean(Some(true))) => Scope::Transaction,
        _ => Scope::Session,
    };
    let Some(session) = context.session() else { return Ok(ScalarValue::Utf8(None)) };
    session.set_setting(name, value, scope)?;
    Ok(ScalarValue::Utf8(session.setting(name)))
}

fn current_setting(context: &Context, arguments: &[ScalarValue]) -> Result<ScalarValue> {
    let Some(name) = string(arguments, 0) else { return Ok(ScalarValue::Utf8(None)) };
    let value = match name.to_ascii_lowercase().as_str() {
        "server_version" => Some(server_version()),
        "server_version_num" => Some("150000".to_string()),
        _ => context.session().and_then(|session| session.setting(name)),
    };
    let missing_ok = arguments.get(1) == Some(&ScalarValue::Boolean(Some(true)));
    match value {
        None if !missing_ok => {
            Err(Error::UnknownSetting { name: name.to_string(), similar: vec![] }.into())
        }
        value => Ok(ScalarValue::Utf8(value)),
    }
}

/// Returns `numeric(10,2)` for OID 1700 with that modifier; `???` for an unknown OID, as PostgreSQL does.
fn format_type(oid: i64, typmod: Option<i64>) -> String {
    let found = u32::try_from(oid).ok().and_then(types::by_oid);
    let Some(ty) = found else { return if oid == 0 { "-" } else { "???" }.to_string() };
    let name = ty.base.sql_name;
    let modifier = match (ty.base.name, typmod) {
        ("numeric", Some(typmod)) if typmod >= 4 => {
            let packed = typmod - 4;
            // The scale is an 11-bit signed number.
            let scale = ((packed & 0x7ff) ^ 1024) - 1024;
            format!("({},{scale})", (packed >> 16) & 0xffff)
        }
        ("varchar" | "bpchar", Some(typmod)) if typmod >= 4 => format!("({})", typmod - 4),
        _ => String::new(),
    };
    format!("{name}{modifier}{}", if ty.is_array { "[]" } else { "" })
}

fn type_oid(name: &str) -> Option<i64> {
    let name = name.trim().trim_start_matches("pg_catalog.");
    let (element, is_array) = match name.strip_suffix("[]") {
        Some(element) => (element, true),
        None => (name.strip_prefix('_').unwrap_or(name), name.starts_with('_')),
    };
    let alias = match element.to_ascii_lowercase().as_str() {
        "int" => "int4".to_string(),
        "timestamp without time zone" => "timestamp".to_string(),
        "decimal" => "numeric".to_string(),
        other => other.to_string(),
    };
    let ty = types::by_name(&alias)?;
    Some(i64::from(if is_array { ty.array_oid } else { ty.oid }))
}

/// Returns `24 kB`: PostgreSQL goes to the next unit from 10240 on and rounds half up.
fn size_pretty(bytes: i64) -> String {
    const UNITS: [&str; 6] = ["bytes", "kB", "MB", "GB", "TB", "PB"];
    let mut size = i128::from(bytes);
    for (idx, unit) in UNITS.iter().enumerate() {
        if size.abs() < 10_240 || idx + 1 == UNITS.len() {
            return format!("{size} {unit}");
        }
        size = (size + size.signum() * 512) / 1024;
    }
    size.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_print_as_sql_names() {
        assert_eq!(format_type(1700, Some(((10 << 16) | 2) + 4)), "numeric(10,2)");
        assert_eq!(format_type(1700, Some(((10 << 16) | 0x7fe) + 4)), "numeric(10,-2)");
        assert_eq!(format_type(1700, Some(-1)), "numeric");
        assert_eq!(format_type(1009, None), "text[]");
        assert_eq!(format_type(1114, Some(-1)), "timestamp without time zone");
        assert_eq!(format_type(99_999, None), "???");
    }

    #[test]
    fn type_names_are_read() {
        assert_eq!(type_oid("pg_catalog.int4"), Some(23));
        assert_eq!(type_oid("bigint[]"), Some(1016));
        assert_eq!(type_oid("_text"), Some(1009));
        assert_eq!(type_oid("hstore"), None);
    }

    #[test]
    fn sizes_change_their_unit_where_postgres_does() {
        assert_eq!(size_pretty(10_239), "10239 bytes");
        assert_eq!(size_pretty(10_240), "10 kB");
        assert_eq!(size_pretty(123_456_789), "118 MB");
    }
}
