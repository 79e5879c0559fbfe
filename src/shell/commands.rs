//! Backslash commands of the shell, named as in psql.
//!
//! What they show comes from `information_schema`, so they work the same with and without a server.

use super::Format;
use super::diagnostic::Failure;
use super::runner::Runner;
use clap::ValueEnum;

/// Schemas that hold no tables of the user's.
const SYSTEM_SCHEMAS: &str = "('information_schema', 'pg_catalog', 'system')";

const HELP: &str = "\
Statements end with a semicolon and may span lines.
  \\d            list tables and views
  \\d NAME       describe a table or view
  \\dt  \\dv      list tables, list views
  \\dn           list schemas
  \\i FILE       run the statements of a file
  \\x            show each column on its own line (toggles)
  \\timing       show how long statements take (toggles)
  \\format F     write results as table, csv, json or arrow
  \\conninfo     say where statements run
  \\?            this help
  \\q            leave (Ctrl-D too)
Ctrl-C cancels the running statement. Tab completes keywords, tables and columns.";

/// Whether the shell goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flow {
    /// Read on.
    Continue,
    /// Leave the shell.
    Quit,
}

/// Runs one command, given without its backslash.
///
/// # Errors
/// For an unknown command, and what the statement behind it gives.
pub async fn run(runner: &mut Runner, line: &str) -> Result<Flow, Failure> {
    let (name, argument) = match line.split_once(char::is_whitespace) {
        Some((name, argument)) => (name, argument.trim().trim_end_matches(';')),
        None => (line.trim_end_matches(';'), ""),
    };
    match (name, argument) {
        ("q" | "quit", "") => return Ok(Flow::Quit),
        ("?" | "h" | "help", _) => runner.printer.notice(HELP),
        ("d" | "d+" | "dt" | "dt+" | "dv" | "dv+", "") => runner.statement(&list_sql(name)).await?,
        ("d" | "d+", table) => describe(runner, table).await?,
        ("dn", "") => runner.statement(SCHEMAS_SQL).await?,
        ("i", "") => return Err(Failure::usage("\\i needs a file name")),
        ("i", path) => Box::pin(runner.include(path)).await?,
        ("x", _) => {
            runner.expanded = switch(argument, runner.expanded)?;
            notice_switch(runner, "Expanded display", runner.expanded);
        }
        ("timing", _) => {
            runner.timing = switch(argument, runner.timing)?;
            notice_switch(runner, "Timing", runner.timing);
        }
        ("format", _) => runner.format = parse_format(argument)?,
        ("conninfo", "") => runner.printer.notice(&runner.backend.describe()),
        _ => return Err(Failure::usage(format!("unknown command \\{line}; \\? lists them"))),
    }
    Ok(Flow::Continue)
}

const SCHEMAS_SQL: &str =
    "SELECT schema_name AS schema FROM information_schema.schemata ORDER BY 1";

fn list_sql(command: &str) -> String {
    let kind = match command.trim_end_matches('+') {
        "dt" => "AND table_type <> 'VIEW'",
        "dv" => "AND table_type = 'VIEW'",
        _ => "",
    };
    format!(
        "SELECT table_schema AS schema, table_name AS name, lower(table_type) AS type \
         FROM information_schema.tables WHERE table_schema NOT IN {SYSTEM_SCHEMAS} {kind} \
         ORDER BY 1, 2"
    )
}

/// Shows the columns of a table; a name without schema is looked up in `public` unless it stands alone elsewhere.
async fn describe(runner: &mut Runner, name: &str) -> Result<(), Failure> {
    let (schema, table) = split_name(name);
    let in_schema = match &schema {
        Some(schema) => format!("AND table_schema = {}", literal(schema)),
        None => format!("AND table_schema NOT IN {SYSTEM_SCHEMAS}"),
    };
    // The table is asked for as well, so that a name that does not exist fails as it does in any statement.
    let probe = match &schema {
        Some(schema) => format!("{}.{}", identifier(schema), identifier(&table)),
        None => identifier(&table),
    };
    let columns = format!(
        "SELECT column_name AS column, data_type AS type, is_nullable AS nullable \
         FROM information_schema.columns WHERE table_name = {} {in_schema} \
         ORDER BY table_schema, ordinal_position",
        literal(&table)
    );
    runner.backend.execute(&format!("SELECT * FROM {probe} LIMIT 0")).await?;
    runner.statement(&columns).await
}

/// Splits `schema.table`; unquoted parts fold to lower case, as in statements.
fn split_name(name: &str) -> (Option<String>, String) {
    let mut parts = vec![String::new()];
    let mut is_quoted = false;
    for c in name.chars() {
        match c {
            '"' => is_quoted = !is_quoted,
            '.' if !is_quoted => parts.push(String::new()),
            c => {
                let part = parts.last_mut().expect("the list starts with one part");
                if is_quoted { part.push(c) } else { part.extend(c.to_lowercase()) }
            }
        }
    }
    let table = parts.pop().unwrap_or_default();
    (parts.pop(), table)
}

fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

fn identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// Returns the new state of an on/off option: as the argument says, or the opposite of what it was.
fn switch(argument: &str, current: bool) -> Result<bool, Failure> {
    match argument {
        "" => Ok(!current),
        "on" => Ok(true),
        "off" => Ok(false),
        other => Err(Failure::usage(format!("expected on or off, found \"{other}\""))),
    }
}

fn notice_switch(runner: &Runner, what: &str, state: bool) {
    runner.printer.notice(&format!("{what} is {}.", if state { "on" } else { "off" }));
}

fn parse_format(argument: &str) -> Result<Format, Failure> {
    Format::from_str(argument, true).map_err(|_| {
        Failure::usage(format!("unknown format \"{argument}\": table, csv, json or arrow"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_fold_to_lower_case_unless_quoted() {
        for (text, schema, table) in [
            ("Trips", None, "trips"),
            ("nyc.Trips", Some("nyc"), "trips"),
            ("lake.nyc.trips", Some("nyc"), "trips"),
            ("\"A.b\".\"C\"", Some("A.b"), "C"),
        ] {
            assert_eq!(split_name(text), (schema.map(str::to_string), table.to_string()), "{text}");
        }
    }

    #[test]
    fn switches_toggle_or_obey() {
        assert!(switch("", false).expect("toggle"));
        assert!(!switch("off", true).expect("off"));
        assert!(switch("maybe", true).is_err());
    }
}
