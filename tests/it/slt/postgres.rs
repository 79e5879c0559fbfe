//! Checks the expected answers of the SQL files against a real PostgreSQL, so that none is merely what we print.

use super::runner::{self, Door, Expectation, Failures};
use crate::harness::{Pg, Postgres};
use crate::lake::tables::{ColumnType, Table, standard};

#[test]
fn sql_files_hold_on_postgres() {
    let Some(postgres) = Postgres::start() else { return };
    let address = postgres.address.clone();
    load(&mut Pg::connect(&address).unwrap());
    let connect = || {
        let mut connection = Pg::connect(&address).unwrap();
        connection.run("SET timezone = 'UTC'");
        Door::new("postgres", connection)
    };
    let mut failures = Failures::default();
    for folder in ["standard", "known_differences"] {
        for file in runner::files(folder) {
            runner::run_file(&file, "postgres", Expectation::Passes, &[], connect, &mut failures);
        }
    }
    failures.assert_none();
}

/// Makes the standard tables anew.
pub fn load(connection: &mut Pg) {
    connection.run("SET timezone = 'UTC'");
    for table in standard() {
        let columns: Vec<String> = table
            .columns
            .iter()
            .map(|(name, column_type)| format!("{name} {}", sql_type(*column_type)))
            .collect();
        let name = table.name;
        connection.run(&format!("DROP TABLE IF EXISTS {name} CASCADE"));
        connection.run(&format!("CREATE TABLE {name} ({})", columns.join(", ")));
        for rows in table.rows.chunks(1_000) {
            connection.run(&insert(&table, rows));
        }
        connection.run(&format!("ANALYZE {name}"));
    }
}

fn insert(table: &Table, rows: &[Vec<Option<String>>]) -> String {
    let literal = |value: &Option<String>| match value {
        Some(text) => format!("'{}'", text.replace('\'', "''")),
        None => "NULL".to_owned(),
    };
    let row = |row: &Vec<Option<String>>| {
        format!("({})", row.iter().map(literal).collect::<Vec<_>>().join(", "))
    };
    let rows: Vec<String> = rows.iter().map(row).collect();
    format!("INSERT INTO {} VALUES {}", table.name, rows.join(", "))
}

fn sql_type(column_type: ColumnType) -> String {
    match column_type {
        ColumnType::Bool => "boolean".to_owned(),
        ColumnType::Smallint => "smallint".to_owned(),
        ColumnType::Int => "integer".to_owned(),
        ColumnType::Bigint => "bigint".to_owned(),
        ColumnType::Real => "real".to_owned(),
        ColumnType::Double => "double precision".to_owned(),
        ColumnType::Decimal(precision, scale) => format!("numeric({precision}, {scale})"),
        ColumnType::Text => "text".to_owned(),
        ColumnType::Date => "date".to_owned(),
        ColumnType::Timestamp => "timestamp".to_owned(),
        ColumnType::Timestamptz => "timestamptz".to_owned(),
    }
}
