"""psycopg2: the simple protocol, parameters put into the text, named cursors, COPY."""

import io

import psycopg2
import psycopg2.extras
from common import URL, check

connection = psycopg2.connect(URL)
connection.set_session(autocommit=True)


def rows(sql, *values):
    with connection.cursor() as cursor:
        cursor.execute(sql, values)
        return cursor.fetchall()


@check
def every_type_and_null():
    return rows("SELECT * FROM kinds ORDER BY id")


@check
def names_and_types_of_columns():
    with connection.cursor() as cursor:
        cursor.execute("SELECT emp_id, salary, hired, count(*), 'x' || name FROM emp GROUP BY 1, 2, 3, name LIMIT 1")
        return [(c.name, c.type_code, c.precision, c.scale) for c in cursor.description]


@check
def parameters():
    return rows("SELECT name FROM emp WHERE hired > %s AND salary = ANY(%s) ORDER BY name", "2016-01-01", [5200, 4800])


@check
def dictionaries():
    with connection.cursor(cursor_factory=psycopg2.extras.RealDictCursor) as cursor:
        cursor.execute("SELECT dept_id, count(*) FROM emp GROUP BY dept_id ORDER BY dept_id")
        return [dict(row) for row in cursor]


@check
def a_named_cursor():
    with psycopg2.connect(URL) as other, other.cursor("c", withhold=False) as cursor:
        cursor.itersize = 5
        cursor.execute("SELECT emp_id FROM emp ORDER BY emp_id")
        return [row[0] for row in cursor]


@check
def a_named_cursor_that_is_held():
    with psycopg2.connect(URL) as other:
        cursor = other.cursor("h", withhold=True)
        cursor.execute("SELECT emp_id FROM emp ORDER BY emp_id")
        first = cursor.fetchmany(3)
        other.commit()
        return first + cursor.fetchmany(3)


@check
def copy_to_a_file():
    out = io.StringIO()
    with connection.cursor() as cursor:
        cursor.copy_expert("COPY (SELECT * FROM emp ORDER BY emp_id) TO STDOUT WITH CSV HEADER", out)
    return out.getvalue()


@check
def a_failed_transaction():
    with psycopg2.connect(URL) as other, other.cursor() as cursor:
        try:
            cursor.execute("SELECT 1::bigint / 0")
        except psycopg2.Error as error:
            first = error.pgcode
        try:
            cursor.execute("SELECT 1")
        except psycopg2.Error as error:
            second = error.pgcode
        other.rollback()
        cursor.execute("SELECT count(*) FROM emp")
        return first, second, cursor.fetchall()


@check
def an_unknown_table():
    return rows("SELECT * FROM nosuch")


@check
def a_session():
    with psycopg2.connect(URL, application_name="checks") as other, other.cursor() as cursor:
        cursor.execute("SET TIME ZONE 'Asia/Tokyo'")
        cursor.execute("SELECT TIMESTAMPTZ '2024-01-01 00:00:00+00', current_setting('application_name')")
        return cursor.fetchall(), other.get_parameter_status("TimeZone")


@check
def cancelled():
    import threading

    with psycopg2.connect(URL) as other, other.cursor() as cursor:
        threading.Timer(0.5, other.cancel).start()
        cursor.execute("SELECT sum(a * b % 7) FROM generate_series(1, 100000) x (a), generate_series(1, 1000000) y (b)")
