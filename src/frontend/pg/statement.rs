//! What kind of statement this is for the door: most go to the session, a few belong to the connection.
//!
//! Transactions are a matter of the connection's state here: a lake has no multi-statement writes, so `BEGIN`
//! changes what `ReadyForQuery` says, what is refused after an error and what becomes of settings, and nothing else.
//! Cursors and prepared statements are the connection's because the protocol's portals and statements are the same
//! things under the same names.

use datafusion::sql::parser::Statement as Ast;
use datafusion::sql::sqlparser::ast::{
    CloseCursor, ContextModifier, DataType, Declare, DiscardObject, Expr, FetchDirection, Ident,
    Query, Set, Statement, Value, ValueWithSpan,
};
use saltlake_sql::parse::is_move;

/// A statement the connection answers itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Local {
    /// `BEGIN`, `START TRANSACTION`.
    Begin {
        /// Whether it was written as `START TRANSACTION`, which has its own command tag.
        start: bool,
    },
    /// `COMMIT`, `END`.
    Commit {
        /// Whether the next transaction begins at once.
        chain: bool,
    },
    /// `ROLLBACK`, `ABORT`.
    Rollback {
        /// Whether the next transaction begins at once.
        chain: bool,
    },
    /// `SAVEPOINT name`.
    Savepoint(String),
    /// `RELEASE SAVEPOINT name`.
    Release(String),
    /// `ROLLBACK TO SAVEPOINT name`.
    RollbackTo(String),
    /// `PREPARE name (types) AS statement`.
    Prepare(Prepare),
    /// `EXECUTE name (values)`.
    Execute {
        /// The prepared statement.
        name: String,
        /// The values of its parameters.
        values: Vec<Expr>,
    },
    /// `DEALLOCATE name` or, without a name, `DEALLOCATE ALL`.
    Deallocate(Option<String>),
    /// `DECLARE name CURSOR FOR query`.
    Declare(DeclareCursor),
    /// `FETCH` and `MOVE`.
    Fetch(Fetch),
    /// `CLOSE name` or, without a name, `CLOSE ALL`.
    Close(Option<String>),
    /// `UNLISTEN`: nobody is notified here, so there is nothing to stop.
    Unlisten,
    /// `DISCARD ALL` and its parts.
    Discard {
        /// Whether everything goes, prepared statements and settings included.
        all: bool,
        /// The command tag.
        tag: String,
    },
}

/// `PREPARE name (types) AS statement`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prepare {
    /// Its name.
    pub name: String,
    /// Declared types of the first parameters.
    pub types: Vec<DataType>,
    /// What is prepared.
    pub statement: Box<Statement>,
}

/// `DECLARE name CURSOR FOR query`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeclareCursor {
    /// Its name.
    pub name: String,
    /// Whether rows leave in binary form in the simple protocol.
    pub is_binary: bool,
    /// Whether it outlives its transaction.
    pub is_held: bool,
    /// Whether it was declared to scroll.
    pub is_scrollable: bool,
    /// The query.
    pub query: Box<Query>,
}

/// `FETCH` and `MOVE`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetch {
    /// The cursor.
    pub name: String,
    /// Where to.
    pub direction: Direction,
    /// Whether the rows are passed over.
    pub is_move: bool,
}

/// Where a FETCH goes from where the cursor is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// This many rows on, at least one; `u64::MAX` for all.
    Forward(u64),
    /// This many rows back, at least one; `u64::MAX` for all.
    Backward(u64),
    /// To the row with this number, from 1; a negative one is counted from the end, 0 is in front of the first.
    Absolute(i64),
    /// To the row this many further on, or back where it is negative.
    Relative(i64),
}

impl Direction {
    fn of(direction: &FetchDirection) -> Self {
        match direction {
            FetchDirection::Next => Self::Forward(1),
            FetchDirection::Count { limit } => Self::forward(number(limit)),
            FetchDirection::Forward { limit } => Self::forward(limit.as_ref().map_or(1, number)),
            FetchDirection::All | FetchDirection::ForwardAll => Self::Forward(u64::MAX),
            FetchDirection::Backward { limit } => Self::forward(-limit.as_ref().map_or(1, number)),
            FetchDirection::BackwardAll => Self::Backward(u64::MAX),
            FetchDirection::Prior => Self::Backward(1),
            FetchDirection::First => Self::Absolute(1),
            FetchDirection::Last => Self::Absolute(-1),
            FetchDirection::Absolute { limit } => Self::Absolute(number(limit)),
            FetchDirection::Relative { limit } => Self::Relative(number(limit)),
        }
    }

    fn forward(n_rows: i64) -> Self {
        match n_rows {
            0 => Self::Relative(0),
            n_rows if n_rows > 0 => Self::Forward(n_rows.unsigned_abs()),
            n_rows => Self::Backward(n_rows.unsigned_abs()),
        }
    }
}

/// The parser only lets whole numbers of 32 bits through.
fn number(value: &ValueWithSpan) -> i64 {
    match &value.value {
        Value::Number(digits, _) => digits.parse().unwrap_or(i64::MAX),
        _ => i64::MAX,
    }
}

/// Returns the local statement, or `None` for one the session runs.
pub fn local(ast: &Ast) -> Option<Local> {
    let Ast::Statement(statement) = ast else { return None };
    Some(match statement.as_ref() {
        Statement::StartTransaction { begin, .. } => Local::Begin { start: !begin },
        Statement::Commit { chain, .. } => Local::Commit { chain: *chain },
        Statement::Rollback { savepoint: None, chain } => Local::Rollback { chain: *chain },
        Statement::Rollback { savepoint: Some(name), .. } => Local::RollbackTo(name_of(name)),
        Statement::Savepoint { name } => Local::Savepoint(name_of(name)),
        Statement::ReleaseSavepoint { name } => Local::Release(name_of(name)),
        Statement::Prepare { name, data_types, statement } => Local::Prepare(Prepare {
            name: name_of(name),
            types: data_types.clone(),
            statement: statement.clone(),
        }),
        Statement::Execute { name: Some(name), parameters, immediate: false, .. } => {
            let name = name.0.last().and_then(|part| part.as_ident()).map(name_of)?;
            Local::Execute { name, values: parameters.clone() }
        }
        Statement::Deallocate { name, .. } => {
            let all = name.quote_style.is_none() && name.value.eq_ignore_ascii_case("all");
            Local::Deallocate((!all).then(|| name_of(name)))
        }
        Statement::Declare { stmts } => match stmts.as_slice() {
            [declare] => Local::Declare(cursor(declare)?),
            _ => return None,
        },
        Statement::Fetch { name, direction, into, .. } => Local::Fetch(Fetch {
            name: name_of(name),
            direction: Direction::of(direction),
            is_move: is_move(into.as_ref()),
        }),
        Statement::Close { cursor } => Local::Close(match cursor {
            CloseCursor::All => None,
            CloseCursor::Specific { name } => Some(name_of(name)),
        }),
        Statement::UNLISTEN { .. } => Local::Unlisten,
        Statement::Discard { object_type } => Local::Discard {
            all: matches!(object_type, DiscardObject::ALL),
            tag: format!("DISCARD {object_type}"),
        },
        _ => return None,
    })
}

fn cursor(declare: &Declare) -> Option<DeclareCursor> {
    Some(DeclareCursor {
        name: name_of(declare.names.first()?),
        is_binary: declare.binary == Some(true),
        is_held: declare.hold == Some(true),
        is_scrollable: declare.scroll == Some(true),
        query: declare.for_query.clone()?,
    })
}

/// Returns a name as PostgreSQL keeps it: in lower case unless it was quoted.
fn name_of(ident: &Ident) -> String {
    match ident.quote_style {
        Some(_) => ident.value.clone(),
        None => ident.value.to_lowercase(),
    }
}

/// Returns whether a statement may run in a transaction that has failed.
pub fn ends_failed_transaction(local: Option<&Local>) -> bool {
    matches!(local, Some(Local::Commit { .. } | Local::Rollback { .. } | Local::RollbackTo(_)))
}

/// Returns the command tag of a statement that gives rows; `None` for a query, whose tag counts them.
pub fn command_with_rows(ast: &Ast) -> Option<&'static str> {
    match ast {
        Ast::Explain(_) => Some("EXPLAIN"),
        Ast::Statement(statement) => match statement.as_ref() {
            Statement::ShowVariable { .. } => Some("SHOW"),
            _ => None,
        },
        _ => None,
    }
}

/// Returns whether a statement is `SET LOCAL`, which does nothing outside of a transaction.
pub fn is_set_local(ast: &Ast) -> bool {
    let Ast::Statement(statement) = ast else { return false };
    match statement.as_ref() {
        Statement::Set(Set::SingleAssignment { scope, .. }) => {
            *scope == Some(ContextModifier::Local)
        }
        Statement::Set(Set::SetTimeZone { local, .. }) => *local,
        _ => false,
    }
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
        check("COMMIT", Some(Local::Commit { chain: false }));
        check("END", Some(Local::Commit { chain: false }));
        check("ROLLBACK AND CHAIN", Some(Local::Rollback { chain: true }));
        check("ROLLBACK TO SAVEPOINT A", Some(Local::RollbackTo("a".to_string())));
        check("SAVEPOINT \"A\"", Some(Local::Savepoint("A".to_string())));
        check("RELEASE SAVEPOINT a", Some(Local::Release("a".to_string())));
        check("SELECT 1", None);
    }

    #[test]
    fn pool_resets_belong_to_the_connection() {
        check("DEALLOCATE ALL", Some(Local::Deallocate(None)));
        check("DEALLOCATE _pg3_0", Some(Local::Deallocate(Some("_pg3_0".to_string()))));
        check("DISCARD ALL", Some(Local::Discard { all: true, tag: "DISCARD ALL".to_string() }));
        check("UNLISTEN *", Some(Local::Unlisten));
        check("UNLISTEN a", Some(Local::Unlisten));
        check("DISCARD TEMP", Some(Local::Discard { all: false, tag: "DISCARD TEMP".to_string() }));
    }

    #[test]
    fn directions_of_fetch_are_told_apart() {
        for (sql, expected) in [
            ("FETCH c", Direction::Forward(1)),
            ("FETCH 0 FROM c", Direction::Relative(0)),
            ("FETCH 7 FROM c", Direction::Forward(7)),
            ("FETCH -7 FROM c", Direction::Backward(7)),
            ("FETCH BACKWARD -7 FROM c", Direction::Forward(7)),
            ("FETCH ALL FROM c", Direction::Forward(u64::MAX)),
            ("FETCH FIRST FROM c", Direction::Absolute(1)),
            ("FETCH ABSOLUTE 0 FROM c", Direction::Absolute(0)),
            ("FETCH ABSOLUTE -2 FROM c", Direction::Absolute(-2)),
            ("FETCH RELATIVE 0 FROM c", Direction::Relative(0)),
            ("FETCH RELATIVE -3 FROM c", Direction::Relative(-3)),
            ("FETCH PRIOR FROM c", Direction::Backward(1)),
            ("FETCH BACKWARD ALL FROM c", Direction::Backward(u64::MAX)),
            ("FETCH RELATIVE 3 FROM c", Direction::Relative(3)),
            ("FETCH LAST FROM c", Direction::Absolute(-1)),
        ] {
            let fetch = Fetch { name: "c".to_string(), direction: expected, is_move: false };
            check(sql, Some(Local::Fetch(fetch)));
        }
    }
}
