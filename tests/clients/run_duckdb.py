"""DuckDB: ATTACH over its PostgreSQL extension, which reads the catalog at once and tables by COPY."""

import duckdb
import duckdb_extensions
from common import HOST, PORT, check

connection = duckdb.connect()
duckdb_extensions.import_extension("postgres_scanner", con=connection)
connection.execute("LOAD postgres_scanner")
connection.execute(f"ATTACH 'host={HOST} port={PORT} user=test dbname=lake' AS pg (TYPE postgres, READ_ONLY)")


@check
def tables():
    found = connection.execute("SELECT table_name FROM duckdb_tables() WHERE database_name = 'pg' AND schema_name = 'public'").fetchall()
    return sorted(name for (name,) in found if name in ("dept", "emp", "kinds"))


@check
def columns():
    return connection.execute("DESCRIBE pg.public.emp").fetchall()


@check
def a_whole_table():
    return connection.execute("SELECT * FROM pg.public.emp ORDER BY emp_id").fetchall()


@check
def every_type_and_null():
    return connection.execute("SELECT * FROM pg.public.kinds ORDER BY id").fetchall()


@check
def a_join_and_a_filter():
    sql = "SELECT d.name, count(*) FROM pg.emp e JOIN pg.dept d ON d.dept_id = e.dept_id WHERE e.salary > 4000 GROUP BY 1 ORDER BY 1"
    return connection.execute(sql).fetchall()


@check
def a_query_sent_as_it_is():
    return connection.execute("SELECT * FROM postgres_query('pg', 'SELECT name FROM dept ORDER BY name')").fetchall()
