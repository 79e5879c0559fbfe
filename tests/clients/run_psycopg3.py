"""psycopg 3: the extended protocol, server-side parameters, prepared statements, pipelines, COPY."""

import datetime
import decimal

import psycopg
from common import URL, check

connection = psycopg.connect(URL, autocommit=True)


def rows(sql, values=None, **options):
    with connection.cursor(**options) as cursor:
        return cursor.execute(sql, values).fetchall()


@check
def every_type_and_null_as_text():
    return rows("SELECT * FROM kinds ORDER BY id")


@check
def every_type_and_null_in_binary():
    return rows("SELECT * FROM kinds ORDER BY id", binary=True)


@check
def names_and_types_of_columns():
    with connection.cursor() as cursor:
        cursor.execute("SELECT emp_id, salary, hired, count(*), max(name) FROM emp GROUP BY 1, 2, 3 LIMIT 1")
        return [(c.name, c.type_code, c.precision, c.scale, c.internal_size) for c in cursor.description]


@check
def parameters_of_each_type():
    sql = "SELECT count(*) FROM emp WHERE emp_id > %s AND salary > %s AND hired > %s AND name < %s AND is_remote = %s"
    return rows(sql, (3, decimal.Decimal("3000.5"), datetime.date(2016, 1, 1), "Z", True))


@check
def a_list_as_parameter():
    return rows("SELECT name FROM emp WHERE dept_id = ANY(%s) ORDER BY name", ([10, 20],))


@check
def a_statement_that_is_prepared():
    found = []
    for dept in (10, 20, 30, 10, 20, 30, 10):
        found += rows("SELECT count(*) FROM emp WHERE dept_id = %s", (dept,))
    return found


@check
def a_server_cursor():
    with psycopg.connect(URL) as other, other.cursor("c") as cursor:
        cursor.execute("SELECT emp_id FROM emp WHERE emp_id < %s ORDER BY emp_id", (9,))
        return cursor.fetchmany(3), cursor.fetchone(), cursor.fetchall()


@check
def a_server_cursor_in_binary():
    with psycopg.connect(URL) as other, psycopg.ServerCursor(other, "c", withhold=True) as cursor:
        cursor.format = psycopg.pq.Format.BINARY
        cursor.execute("SELECT emp_id, name, salary FROM emp ORDER BY emp_id")
        return list(cursor)


@check
def copy_rows():
    with connection.cursor() as cursor, cursor.copy("COPY (SELECT emp_id, name, salary FROM emp ORDER BY emp_id) TO STDOUT") as copy:
        return list(copy.rows())


@check
def copy_rows_in_binary():
    with connection.cursor() as cursor, cursor.copy("COPY (SELECT emp_id, name, salary FROM emp ORDER BY emp_id) TO STDOUT (FORMAT BINARY)") as copy:
        copy.set_types(["int4", "text", "numeric"])
        return list(copy.rows())


@check
def a_pipeline():
    with psycopg.connect(URL, autocommit=True) as other, other.pipeline():
        one = other.execute("SELECT count(*) FROM emp")
        two = other.execute("SELECT %s::bigint", (7,))
        return one.fetchall(), two.fetchall()


@check
def a_savepoint():
    with psycopg.connect(URL) as other:
        found = other.execute("SELECT count(*) FROM emp").fetchall()
        try:
            with other.transaction():
                other.execute("SELECT 1::bigint / 0")
        except psycopg.Error as error:
            found.append(error.sqlstate)
        return found + other.execute("SELECT count(*) FROM dept").fetchall()


@check
def isolation_and_read_only():
    with psycopg.connect(URL) as other:
        other.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        other.read_only = True
        return other.execute("SELECT count(*) FROM emp").fetchall(), other.info.transaction_status.name


@check
def a_type_is_looked_up():
    info = psycopg.types.TypeInfo.fetch(connection, "numeric")
    return info.name, info.oid, info.array_oid


@check
def a_timeout():
    with psycopg.connect(URL, options="-c statement_timeout=300") as other:
        other.execute("SELECT sum(a * b % 7) FROM generate_series(1, 100000) x (a), generate_series(1, 1000000) y (b)")
