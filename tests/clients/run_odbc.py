"""psqlODBC, Debian's odbc-postgresql, through pyodbc: catalog functions, parameters, cursors, types."""

import datetime
import decimal

import pyodbc
from common import HOST, PORT, check

CONNECTION = f"Driver=PostgreSQL Unicode;Server={HOST};Port={PORT};Database=lake;UID=test;PWD=none;"


def query(sql, *values, extra=""):
    connection = pyodbc.connect(CONNECTION + extra, autocommit=True)
    try:
        cursor = connection.cursor().execute(sql, *values)
        return [(column[0], column[1].__name__) for column in cursor.description], [list(row) for row in cursor.fetchall()]
    finally:
        connection.close()


def catalog(ask, keep):
    connection = pyodbc.connect(CONNECTION, autocommit=True)
    try:
        rows = ask(connection.cursor()).fetchall()
        return sorted(([getattr(row, name) for name in keep] for row in rows), key=str)
    finally:
        connection.close()


@check
def every_type_and_null():
    return query("SELECT * FROM emp ORDER BY emp_id")


@check
def parameters():
    sql = "SELECT name FROM emp WHERE emp_id > ? AND salary > ? AND hired > ? AND name < ? ORDER BY name"
    return query(sql, 3, decimal.Decimal("3000.5"), datetime.date(2016, 1, 1), "Z")


@check
def a_cursor_of_the_server():
    return query("SELECT emp_id FROM emp ORDER BY emp_id", extra="UseDeclareFetch=1;Fetch=2;")


@check
def tables():
    ask = lambda cursor: cursor.tables(schema="public", tableType="TABLE")
    return [row for row in catalog(ask, ["table_name", "table_type"]) if row[0] in ("emp", "dept", "kinds")]


@check
def columns():
    keep = ["column_name", "ordinal_position", "type_name", "data_type", "column_size", "decimal_digits"]
    return catalog(lambda cursor: cursor.columns(table="emp", schema="public"), keep)


@check
def keys():
    return catalog(lambda cursor: cursor.primaryKeys("emp", schema="public"), ["column_name"])


@check
def a_column_s_types():
    return query("SELECT 1::int, 2::bigint, 1.5::numeric(5,2), 1.5::float8, 'x'::text, TRUE, DATE '2024-02-29'")


@check
def a_failure():
    try:
        return query("SELECT nosuch FROM emp")
    except pyodbc.Error as error:
        return error.args[0]


@check
def a_transaction():
    connection = pyodbc.connect(CONNECTION, autocommit=False)
    found = [connection.cursor().execute("SELECT count(*) FROM emp").fetchval()]
    try:
        connection.cursor().execute("SELECT 1::bigint / 0").fetchval()
    except pyodbc.Error as error:
        found.append(error.args[0])
    connection.rollback()
    found.append(connection.cursor().execute("SELECT count(*) FROM dept").fetchval())
    connection.close()
    return found
