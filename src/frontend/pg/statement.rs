//! What kind of statement this is for the door: most go to the session, a few belong to the connection.
//!
//! Transactions are a matter of the connection's state here: a lake has no multi-statement writes, so `BEGIN`
//! changes what `ReadyForQuery` says and what is refused after an error, and nothing else.

use datafusion::sql::parser::Statement as Ast;
use datafusion::sql::sqlparser::ast::{DiscardObject, Statement};

/// A statement the connection answers itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Local {
    /// `BEGIN`, `START TRANSACTION`.
    Begin {
        /// Whether it was written as `START TRANSACTION`, which has its own command tag.
        start: bool,
    },
    /// `COMMIT`, `END`.
    Commit,
    /// `ROLLBACK`, `ABORT`.
    Rollback,
    /// `SAVEPOINT name`.
    Savepoint,
    /// `RELEASE SAVEPOINT name`.
    Release,
    /// `ROLLBACK TO SAVEPOINT name`.
    RollbackTo,
    /// `DEALLOCATE name` or, without a name, `DEALLOCATE ALL`.
    Deallocate(Option<String>),
    /// `DISCARD ALL` and its parts.
    Discard {
        /// Whether everything goes, prepared statements and settings included.
        all: bool,
        /// The command tag.
        tag: String,
    },
}

/// Returns the local statement, or `None` for one the session runs.
pub fn local(ast: &Ast) -> Option<Local> {
    let Ast::Statement(statement) = ast else { return None };
    Some(match statement.as_ref() {
        Statement::StartTransaction { begin, .. } => Local::Begin { start: !begin },
        Statement::Commit { .. } => Local::Commit,
        Statement::Rollback { savepoint: None, .. } => Local::Rollback,
        Statement::Rollback { savepoint: Some(_), .. } => Local::RollbackTo,
        Statement::Savepoint { .. } => Local::Savepoint,
        Statement::ReleaseSavepoint { .. } => Local::Release,
        Statement::Deallocate { name, .. } => {
            let all = name.quote_style.is_none() && name.value.eq_ignore_ascii_case("all");
            Local::Deallocate((!all).then(|| name.value.clone()))
        }
        Statement::Discard { object_type } => Local::Discard {
            all: matches!(object_type, DiscardObject::ALL),
            tag: format!("DISCARD {object_type}"),
        },
        _ => return None,
    })
}

/// Returns whether a statement may run in a transaction that has failed.
pub fn ends_failed_transaction(local: Option<&Local>) -> bool {
    matches!(local, Some(Local::Commit | Local::Rollback | Local::RollbackTo))
}

/// Returns whether a statement may change settings, so the client has to be told the new ones.
pub fn changes_settings(ast: &Ast) -> bool {
    match ast {
        Ast::Statement(statement) => {
            matches!(statement.as_ref(), Statement::Set(_) | Statement::Query(_))
        }
        Ast::Reset(_) => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(sql: &str, expected: Option<Local>) {
        let statements = saltlake_sql::parse::parse(sql, Default::default()).unwrap();
        assert_eq!(local(&statements[0].ast), expected, "{sql}");
    }

    #[test]
    fn transaction_statements_belong_to_the_connection() {
        check("BEGIN", Some(Local::Begin { start: false }));
        check(
            "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",
            Some(Local::Begin { start: false }),
        );
        check("START TRANSACTION", Some(Local::Begin { start: true }));
        check("COMMIT", Some(Local::Commit));
        check("END", Some(Local::Commit));
        check("ROLLBACK", Some(Local::Rollback));
        check("ROLLBACK TO SAVEPOINT a", Some(Local::RollbackTo));
        check("SAVEPOINT a", Some(Local::Savepoint));
        check("RELEASE SAVEPOINT a", Some(Local::Release));
        check("SELECT 1", None);
    }

    #[test]
    fn pool_resets_belong_to_the_connection() {
        check("DEALLOCATE ALL", Some(Local::Deallocate(None)));
        check("DEALLOCATE _pg3_0", Some(Local::Deallocate(Some("_pg3_0".to_string()))));
        check("DISCARD ALL", Some(Local::Discard { all: true, tag: "DISCARD ALL".to_string() }));
        check("DISCARD TEMP", Some(Local::Discard { all: false, tag: "DISCARD TEMP".to_string() }));
    }
}
