//! What a client sees of an error of the engine.
//!
//! Called by [`super::Error::report`]. Walks from the outside in: wrappers give place and context, the innermost error
//! gives code and message. The engine's variants say less than a client needs, so [`super::messages`] reads their texts.

use super::{Error, Place, Report, did_you_mean, lost_worker, messages, nearest};
use crate::sqlstate;
use datafusion::arrow::error::ArrowError;
use datafusion::common::{Column, SchemaError};
use datafusion::error::DataFusionError;
use datafusion::parquet::errors::ParquetError;
use datafusion::sql::sqlparser::parser::ParserError;
use saltlake_catalog::Error as CatalogError;
use std::io;

/// Columns that a hint lists when none of them reads like the one asked for.
const MAX_LISTED_COLUMNS: usize = 12;

/// Returns the report of an engine error and the place in the statement it points at.
pub(super) fn describe(error: &DataFusionError) -> (Report, Option<Place>) {
    let mut trail = Trail::default();
    let report = match lost_worker::is_cause_of(error) {
        true => worker_lost(error),
        false => walk(error, &mut trail),
    };
    (report, trail.place)
}

/// Returns the report of a catalog error and the place in the statement it points at.
pub(super) fn describe_catalog(error: &CatalogError) -> (Report, Option<Place>) {
    let mut trail = Trail::default();
    let report = catalog(error, &mut trail);
    (report, trail.place)
}

/// What the wrappers around an error say.
#[derive(Default)]
struct Trail {
    /// The first place that a wrapper points at.
    place: Option<Place>,
    /// The first path to a data file that a wrapper names.
    file: Option<String>,
    /// The table that was not found, as the statement names it.
    table: Option<String>,
    /// The setting that was being set.
    setting: Option<String>,
}

fn walk(error: &DataFusionError, trail: &mut Trail) -> Report {
    match error {
        DataFusionError::Diagnostic(diagnostic, inner) => {
            let place = diagnostic.span.and_then(|span| Place::known(span.start));
            trail.place = trail.place.or(place);
            trail.table =
                trail.table.take().or_else(|| messages::missing_table(&diagnostic.message));
            walk(inner, trail)
        }
        DataFusionError::Context(text, inner) => {
            trail.file = trail.file.take().or_else(|| messages::file_in(text));
            let setting = text.strip_prefix("Error setting config ").map(str::to_string);
            trail.setting = trail.setting.take().or(setting);
            walk(inner, trail)
        }
        DataFusionError::Shared(inner) => walk(inner, trail),
        DataFusionError::Collection(errors) => match errors.first() {
            Some(first) => walk(first, trail),
            None => internal("empty collection of errors"),
        },
        DataFusionError::External(inner) => external(inner.as_ref(), trail),
        DataFusionError::SQL(inner, _) => parser(inner, trail),
        DataFusionError::SchemaError(inner, _) => schema(inner),
        DataFusionError::ArrowError(inner, _) => arrow(inner, trail),
        DataFusionError::ParquetError(inner) => parquet(inner, trail),
        DataFusionError::ObjectStore(inner) => store(inner),
        DataFusionError::IoError(inner) => file_system(inner),
        DataFusionError::Plan(text) => match (&trail.table, messages::missing_table(text)) {
            (Some(name), Some(_)) => messages::relation_not_found(name),
            _ => messages::plan(text),
        },
        DataFusionError::Execution(text) => messages::execution(text),
        DataFusionError::NotImplemented(text) => messages::not_supported(text),
        DataFusionError::Configuration(text) => messages::configuration(text),
        DataFusionError::ResourcesExhausted(text) => messages::resources(text),
        DataFusionError::ExecutionJoin(inner) => internal(&inner.to_string()),
        DataFusionError::Internal(text)
        | DataFusionError::Substrait(text)
        | DataFusionError::Ffi(text) => internal(text),
    }
}

/// Describes an error that the engine carries without knowing it.
fn external(error: &(dyn std::error::Error + 'static), trail: &mut Trail) -> Report {
    if let Some(inner) = error.downcast_ref::<Error>() {
        let (report, place) = inner.describe();
        trail.place = trail.place.or(place);
        return report;
    }
    if let Some(inner) = error.downcast_ref::<CatalogError>() {
        return catalog(inner, trail);
    }
    if let Some(inner) = error.downcast_ref::<DataFusionError>() {
        return walk(inner, trail);
    }
    if let Some(inner) = error.downcast_ref::<ArrowError>() {
        return arrow(inner, trail);
    }
    if let Some(inner) = error.downcast_ref::<ParquetError>() {
        return parquet(inner, trail);
    }
    if let Some(inner) = error.downcast_ref::<object_store::Error>() {
        return store(inner);
    }
    if let Some(inner) = error.downcast_ref::<io::Error>() {
        return file_system(inner);
    }
    match (error.source(), &trail.setting) {
        (Some(source), _) => external(source, trail),
        (None, Some(name)) => {
            let message = format!("invalid value for parameter \"{name}\"");
            Report::new(sqlstate::INVALID_PARAMETER_VALUE, message).with_detail(error.to_string())
        }
        (None, None) => messages::text(&error.to_string()),
    }
}

fn catalog(error: &CatalogError, trail: &mut Trail) -> Report {
    let code = match error {
        CatalogError::DataFusion(inner) => return walk(inner, trail),
        CatalogError::Store(inner) => return store(inner),
        CatalogError::SchemaNotFound { similar, .. } => {
            let report = Report::new(sqlstate::INVALID_SCHEMA_NAME, error.to_string());
            return report.with_hint(did_you_mean(similar.first()));
        }
        CatalogError::TableNotFound { schema, name, similar } => {
            let full = || match schema.as_str() {
                "public" => name.clone(),
                _ => format!("{schema}.{name}"),
            };
            let name = trail.table.clone().unwrap_or_else(full);
            let message = format!("relation \"{name}\" does not exist");
            let report = Report::new(sqlstate::UNDEFINED_TABLE, message);
            return report.with_hint(did_you_mean(similar.first()));
        }
        CatalogError::CatalogNotFound { similar, .. } => {
            let report = Report::new(sqlstate::INVALID_CATALOG_NAME, error.to_string());
            return report.with_hint(did_you_mean(similar.first()));
        }
        CatalogError::ColumnNotFound { .. } => sqlstate::UNDEFINED_COLUMN,
        CatalogError::ServiceFailed { .. } => sqlstate::IO_ERROR,
        CatalogError::ServiceRefused { .. } => sqlstate::INSUFFICIENT_PRIVILEGE,
        CatalogError::AlreadyExists { kind: "schema", .. } => sqlstate::DUPLICATE_SCHEMA,
        CatalogError::AlreadyExists { kind: "catalog", .. } => sqlstate::DUPLICATE_DATABASE,
        CatalogError::AlreadyExists { .. } => sqlstate::DUPLICATE_TABLE,
        CatalogError::NotEmpty { .. } => sqlstate::DEPENDENT_OBJECTS_STILL_EXIST,
        CatalogError::NotDroppable { .. } => sqlstate::READ_ONLY,
        CatalogError::WrongKind { .. } => sqlstate::WRONG_OBJECT_TYPE,
        CatalogError::LocationRefused { .. } => sqlstate::INSUFFICIENT_PRIVILEGE,
        CatalogError::LocationNotFound { .. } => sqlstate::IO_ERROR,
        CatalogError::SnapshotNotFound { .. } => sqlstate::UNDEFINED_OBJECT,
        CatalogError::MixedFormats { .. } | CatalogError::SchemaMismatch { .. } => {
            sqlstate::DATATYPE_MISMATCH
        }
        CatalogError::CorruptFile { .. } => sqlstate::DATA_CORRUPTED,
        CatalogError::NotSupported { .. } => sqlstate::FEATURE_NOT_SUPPORTED,
        CatalogError::InvalidDefinition { .. } => sqlstate::INVALID_OBJECT_DEFINITION,
        CatalogError::Conflict => sqlstate::SERIALIZATION_FAILURE,
    };
    Report::new(code, error.to_string())
}

fn parser(error: &ParserError, trail: &mut Trail) -> Report {
    match error {
        ParserError::TokenizerError(text) | ParserError::ParserError(text) => {
            let (report, place) = messages::syntax(text);
            trail.place = trail.place.or(place);
            report
        }
        ParserError::RecursionLimitExceeded => Report::new(
            sqlstate::STATEMENT_TOO_COMPLEX,
            "statement is too complex: it nests too deeply",
        ),
    }
}

fn schema(error: &SchemaError) -> Report {
    match error {
        SchemaError::FieldNotFound { field, valid_fields } => unknown_column(field, valid_fields),
        SchemaError::AmbiguousReference { field } => Report::new(
            sqlstate::AMBIGUOUS_COLUMN,
            format!("column reference \"{}\" is ambiguous", field.name),
        ),
        SchemaError::DuplicateQualifiedField { name, .. }
        | SchemaError::DuplicateUnqualifiedField { name } => Report::new(
            sqlstate::DUPLICATE_COLUMN,
            format!("column name \"{name}\" appears more than once"),
        ),
    }
}

/// Describes a column that is not there, or one of a table that the query does not read.
fn unknown_column(field: &Column, valid_fields: &[Column]) -> Report {
    if let Some(relation) = &field.relation {
        let known = |valid: &Column| {
            valid.relation.as_ref().is_none_or(|known| known.resolved_eq(relation))
        };
        if !valid_fields.is_empty() && !valid_fields.iter().any(known) {
            let table = relation.table();
            let tables = valid_fields.iter().filter_map(|valid| valid.relation.as_ref());
            let message = format!("missing FROM-clause entry for table \"{table}\"");
            return Report::new(sqlstate::UNDEFINED_TABLE, message)
                .with_hint(did_you_mean(nearest(table, tables.map(|known| known.table()))));
        }
    }
    let message = match &field.relation {
        Some(relation) => format!("column {}.{} does not exist", relation.table(), field.name),
        None => format!("column \"{}\" does not exist", field.name),
    };
    let mut names: Vec<_> = valid_fields.iter().map(|valid| valid.name.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    let listed = || {
        let few = (1..=MAX_LISTED_COLUMNS).contains(&names.len());
        few.then(|| format!("columns here: {}", names.join(", ")))
    };
    let hint = did_you_mean(nearest(&field.name, names.iter().copied())).or_else(listed);
    Report::new(sqlstate::UNDEFINED_COLUMN, message).with_hint(hint)
}

fn arrow(error: &ArrowError, trail: &mut Trail) -> Report {
    match error {
        ArrowError::DivideByZero => {
            Report::new(sqlstate::DIVISION_BY_ZERO, messages::DIVISION_BY_ZERO)
        }
        ArrowError::ArithmeticOverflow(text) => messages::overflow(text),
        ArrowError::CastError(text) | ArrowError::ParseError(text) => messages::cast(text),
        ArrowError::ExternalError(inner) => external(inner.as_ref(), trail),
        ArrowError::MemoryError(text) => messages::resources(text),
        ArrowError::NotYetImplemented(text) => messages::not_supported(text),
        ArrowError::ParquetError(text) => corrupt("Parquet", text, trail),
        ArrowError::CsvError(text) => messages::csv(text),
        ArrowError::JsonError(text) => corrupt("JSON", text, trail),
        ArrowError::AvroError(text) => corrupt("Avro", text, trail),
        ArrowError::IoError(_, inner) => file_system(inner),
        ArrowError::ComputeError(text) | ArrowError::InvalidArgumentError(text) => {
            messages::execution(text)
        }
        ArrowError::SchemaError(text) => {
            Report::new(sqlstate::DATATYPE_MISMATCH, messages::first_line(text))
        }
        ArrowError::DictionaryKeyOverflowError
        | ArrowError::RunEndIndexOverflowError
        | ArrowError::OffsetOverflowError(_) => {
            Report::new(sqlstate::PROGRAM_LIMIT_EXCEEDED, "a batch of the result is too large")
                .with_detail(error.to_string())
        }
        ArrowError::IpcError(text) | ArrowError::CDataInterface(text) => internal(text),
    }
}

fn parquet(error: &ParquetError, trail: &mut Trail) -> Report {
    match error {
        ParquetError::External(inner) => match inner.downcast_ref::<ParquetError>() {
            Some(inner) => parquet(inner, trail),
            None => external(inner.as_ref(), trail),
        },
        ParquetError::NYI(text) => messages::not_supported(text),
        other => corrupt("Parquet", &other.to_string(), trail),
    }
}

fn corrupt(format: &str, text: &str, trail: &Trail) -> Report {
    // The Parquet reader wraps the store's error into its own as text.
    if let Some(path) = messages::missing_object(text) {
        let message = format!("file \"{path}\" does not exist");
        return Report::new(sqlstate::IO_ERROR, message).with_detail(messages::first_line(text));
    }
    let message = match trail.file.clone().or_else(|| messages::file_in(text)) {
        Some(file) => format!("corrupt {format} file \"{file}\""),
        None => format!("corrupt {format} file"),
    };
    Report::new(sqlstate::DATA_CORRUPTED, message).with_detail(messages::first_line(text))
}

fn store(error: &object_store::Error) -> Report {
    let message = match error {
        object_store::Error::NotFound { path, .. } => format!("file \"{path}\" does not exist"),
        object_store::Error::PermissionDenied { path, .. } => {
            format!("the object store does not let us read \"{path}\"")
        }
        object_store::Error::Unauthenticated { .. } => {
            "the object store does not accept our credentials".to_string()
        }
        _ => "the object store failed".to_string(),
    };
    Report::new(sqlstate::IO_ERROR, message).with_detail(messages::first_line(&error.to_string()))
}

fn file_system(error: &io::Error) -> Report {
    if let Some(inner) = error.get_ref().and_then(|e| e.downcast_ref::<object_store::Error>()) {
        return store(inner);
    }
    let code = match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => sqlstate::DISK_FULL,
        _ => sqlstate::IO_ERROR,
    };
    Report::new(code, messages::first_line(&error.to_string()))
}

fn worker_lost(error: &DataFusionError) -> Report {
    Report::new(sqlstate::WORKER_LOST, "a worker was lost while the query ran")
        .with_detail(messages::first_line(&error.find_root().strip_backtrace()))
        .with_hint(Some("run the query again".to_string()))
}

fn internal(text: &str) -> Report {
    messages::internal(text)
}
