"""postgres_fdw: tables of the server as foreign tables of a real PostgreSQL, whose address is the second argument."""

import sys

import psycopg2
from common import HOST, PORT, check

LOCAL_HOST, LOCAL_PORT = sys.argv[2].rsplit(":", 1)
connection = psycopg2.connect(host=LOCAL_HOST, port=LOCAL_PORT, user="test", dbname="lake")
connection.autocommit = True
cursor = connection.cursor()
for statement in [
    "CREATE EXTENSION IF NOT EXISTS postgres_fdw",
    "DROP SERVER IF EXISTS other CASCADE",
    "DROP SCHEMA IF EXISTS foreign_tables CASCADE",
    "CREATE SCHEMA foreign_tables",
    f"CREATE SERVER other FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host '{HOST}', port '{PORT}', dbname 'lake', fetch_size '3')",
    "CREATE USER MAPPING FOR CURRENT_USER SERVER other OPTIONS (user 'test', password_required 'false')",
]:
    cursor.execute(statement)


def rows(sql):
    cursor.execute(sql)
    return cursor.fetchall()


@check
def an_imported_schema():
    cursor.execute("IMPORT FOREIGN SCHEMA public LIMIT TO (emp, dept, kinds) FROM SERVER other INTO foreign_tables")
    return rows(
        "SELECT c.relname, a.attname, format_type(a.atttypid, a.atttypmod) FROM pg_attribute a JOIN pg_class c"
        " ON c.oid = a.attrelid WHERE c.relnamespace = 'foreign_tables'::regnamespace AND attnum > 0 ORDER BY 1, attnum"
    )


@check
def all_rows_through_a_cursor():
    return rows("SELECT * FROM foreign_tables.emp ORDER BY emp_id")


@check
def every_type_and_null():
    return rows("SELECT * FROM foreign_tables.kinds ORDER BY id")


@check
def filters_that_travel():
    return rows("SELECT name FROM foreign_tables.emp WHERE hired > DATE '2016-01-01' AND salary BETWEEN 1 AND 7000 ORDER BY name")


@check
def a_join_of_two_foreign_tables():
    return rows("SELECT e.name, d.name FROM foreign_tables.emp e JOIN foreign_tables.dept d USING (dept_id) ORDER BY 1, 2")


@check
def an_aggregation_that_travels():
    return rows("SELECT dept_id, count(*), max(salary) FROM foreign_tables.emp GROUP BY dept_id ORDER BY dept_id")


@check
def parameters_of_a_nested_loop():
    cursor.execute("SET enable_hashjoin = off; SET enable_mergejoin = off")
    sql = "SELECT v.id, e.name FROM (VALUES (1), (3)) v (id) JOIN foreign_tables.emp e ON e.emp_id = v.id ORDER BY 1"
    found = rows(sql)
    cursor.execute("RESET ALL")
    return found


@check
def a_transaction_with_a_savepoint():
    cursor.execute("BEGIN")
    found = rows("SELECT count(*) FROM foreign_tables.emp")
    cursor.execute("SAVEPOINT a")
    found += rows("SELECT min(name) FROM foreign_tables.dept")
    cursor.execute("ROLLBACK TO a")
    found += rows("SELECT max(name) FROM foreign_tables.dept")
    cursor.execute("COMMIT")
    return found


@check
def statistics():
    cursor.execute("ANALYZE foreign_tables.dept")
    return rows("SELECT reltuples FROM pg_class WHERE oid = 'foreign_tables.dept'::regclass")


@check
def a_schema_that_is_not_there():
    cursor.execute("IMPORT FOREIGN SCHEMA nosuch FROM SERVER other INTO foreign_tables")
