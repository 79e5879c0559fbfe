//! The SQLSTATE codes the server sends, and who has to act on each.
//!
//! Used by [`crate::error`]; names follow PostgreSQL's `errcodes`. Never 08xxx or 57P0x for a lost worker: connection
//! pools drop the client's healthy connection on those.

use crate::error::Class;

/// `commit conflict`: run it again.
pub const SERIALIZATION_FAILURE: &str = "40001";
/// A scalar subquery gave several rows.
pub const CARDINALITY_VIOLATION: &str = "21000";
/// A value does not fit the operation; nothing more precise is known.
pub const DATA_EXCEPTION: &str = "22000";
/// A number does not fit its type.
pub const NUMERIC_VALUE_OUT_OF_RANGE: &str = "22003";
/// A text is no date or time.
pub const INVALID_DATETIME_FORMAT: &str = "22007";
/// There is no such date or time, or it does not fit.
pub const DATETIME_FIELD_OVERFLOW: &str = "22008";
/// Division by zero.
pub const DIVISION_BY_ZERO: &str = "22012";
/// A pattern is no regular expression.
pub const INVALID_REGULAR_EXPRESSION: &str = "2201B";
/// A setting or an argument has a bad value.
pub const INVALID_PARAMETER_VALUE: &str = "22023";
/// LIMIT or OFFSET is negative.
pub const INVALID_ROW_COUNT: &str = "2201W";
/// A text is no value of the type asked for.
pub const INVALID_TEXT_REPRESENTATION: &str = "22P02";
/// NULL in a column that is declared NOT NULL.
pub const NOT_NULL_VIOLATION: &str = "23502";
/// A change was asked of data we do not change.
pub const READ_ONLY: &str = "25006";
/// A schema that still holds something.
pub const DEPENDENT_OBJECTS_STILL_EXIST: &str = "2BP01";
/// Unknown catalog.
pub const INVALID_CATALOG_NAME: &str = "3D000";
/// Unknown schema.
pub const INVALID_SCHEMA_NAME: &str = "3F000";
/// The statement is wrong; nothing more precise is known.
pub const SYNTAX_OR_RULE_VIOLATION: &str = "42000";
/// Not allowed.
pub const INSUFFICIENT_PRIVILEGE: &str = "42501";
/// The text is not SQL.
pub const SYNTAX_ERROR: &str = "42601";
/// A column was named twice.
pub const DUPLICATE_COLUMN: &str = "42701";
/// Several columns have that name.
pub const AMBIGUOUS_COLUMN: &str = "42702";
/// Unknown column.
pub const UNDEFINED_COLUMN: &str = "42703";
/// Unknown setting.
pub const UNDEFINED_OBJECT: &str = "42704";
/// A column is neither grouped nor aggregated.
pub const GROUPING_ERROR: &str = "42803";
/// Types do not fit.
pub const DATATYPE_MISMATCH: &str = "42804";
/// It is a table, not a view, or the reverse.
pub const WRONG_OBJECT_TYPE: &str = "42809";
/// Unknown function, or unknown for these argument types.
pub const UNDEFINED_FUNCTION: &str = "42883";
/// Unknown table or view.
pub const UNDEFINED_TABLE: &str = "42P01";
/// ORDER BY or GROUP BY names a position that is not there.
pub const INVALID_COLUMN_REFERENCE: &str = "42P10";
/// Unknown parameter such as `$3`.
pub const UNDEFINED_PARAMETER: &str = "42P02";
/// The catalog exists already.
pub const DUPLICATE_DATABASE: &str = "42P04";
/// The schema exists already.
pub const DUPLICATE_SCHEMA: &str = "42P06";
/// The table or view exists already.
pub const DUPLICATE_TABLE: &str = "42P07";
/// A definition that cannot be accepted.
pub const INVALID_OBJECT_DEFINITION: &str = "42P17";
/// The type of a parameter cannot be told.
pub const INDETERMINATE_DATATYPE: &str = "42P18";
/// A window function where none can be.
pub const WINDOWING_ERROR: &str = "42P20";
/// The server does not offer it.
pub const FEATURE_NOT_SUPPORTED: &str = "0A000";
/// No workers.
pub const NO_WORKERS: &str = "53000";
/// The spill disk is full.
pub const DISK_FULL: &str = "53100";
/// Memory is used up.
pub const OUT_OF_MEMORY: &str = "53200";
/// Too many sessions.
pub const TOO_MANY_CONNECTIONS: &str = "53300";
/// Too many queries wait.
pub const QUEUE_FULL: &str = "53400";
/// Too much of something.
pub const PROGRAM_LIMIT_EXCEEDED: &str = "54000";
/// The statement is too large or too deep.
pub const STATEMENT_TOO_COMPLEX: &str = "54001";
/// Cancelled by the user, the client's leaving or a timeout.
pub const QUERY_CANCELED: &str = "57014";
/// A worker was lost.
pub const WORKER_LOST: &str = "58000";
/// A file or an object store failed.
pub const IO_ERROR: &str = "58030";
/// The configuration cannot be used.
pub const CONFIG_FILE_ERROR: &str = "F0000";
/// Our bug.
pub const INTERNAL_ERROR: &str = "XX000";
/// A file is corrupt.
pub const DATA_CORRUPTED: &str = "XX001";

/// Returns who has to act on a code.
pub fn class(sqlstate: &str) -> Class {
    match sqlstate {
        NO_WORKERS | DATA_CORRUPTED => Class::External,
        _ => match sqlstate.get(..2) {
            Some("53" | "54") => Class::Resource,
            Some("58") => Class::External,
            Some("XX") | None => Class::Internal,
            Some(_) => Class::User,
        },
    }
}
