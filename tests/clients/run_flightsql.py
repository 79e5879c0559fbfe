"""ADBC over Flight SQL beside ADBC over PostgreSQL: the same statements, the same values.

The address says which door it is: a PostgreSQL's is asked through ADBC's driver for PostgreSQL.
"""

import decimal
import sys

sys.argv[1], DOOR = sys.argv[1].split("#")
from common import HOST, PORT, URL, check  # noqa: E402: it reads the address

if DOOR == "flight":
    import adbc_driver_flightsql.dbapi as adbc

    connection = adbc.connect(f"grpc://{HOST}:{PORT}", autocommit=True)
else:
    import adbc_driver_postgresql.dbapi as adbc

    connection = adbc.connect(URL, autocommit=True)


def plain(value):
    """PostgreSQL's driver gives numerics as text."""
    return str(value) if isinstance(value, decimal.Decimal) else value


def rows(sql, *values):
    with connection.cursor() as cursor:
        cursor.execute(sql, values or None)
        return [[plain(value) for value in row] for row in cursor.fetchall()]


@check
def every_type_and_null():
    return rows("SELECT id, flag, small, big, single, wide, price, label, day, at FROM kinds ORDER BY id")


@check
def parameters():
    return rows("SELECT name, salary FROM emp WHERE emp_id > $1 AND name < $2 ORDER BY emp_id", 3, "J")


@check
def a_statement_that_runs_twice():
    with connection.cursor() as cursor:
        cursor.adbc_prepare("SELECT name FROM dept WHERE dept_id = $1")
        found = []
        for number in (10, 20):
            cursor.execute("SELECT name FROM dept WHERE dept_id = $1", (number,))
            found.append(cursor.fetchall())
        return found


@check
def batches():
    with connection.cursor() as cursor:
        cursor.execute("SELECT n, parity FROM numbers ORDER BY n")
        reader = cursor.fetch_record_batch()
        n_rows, total = 0, 0
        for batch in reader:
            n_rows += batch.num_rows
            total += sum(batch.column(0).to_pylist())
        return n_rows, total


@check
def an_aggregate_over_a_join():
    return rows("SELECT d.name, count(*), max(e.hired) FROM emp e JOIN dept d USING (dept_id) GROUP BY d.name ORDER BY d.name")


@check
def the_columns_of_a_table():
    return connection.adbc_get_table_schema("emp").names


@check
def a_view_and_its_end():
    with connection.cursor() as cursor:
        cursor.execute("CREATE VIEW cheap AS SELECT name FROM dept WHERE budget < 100000")
        cursor.execute("SELECT name FROM cheap ORDER BY name")
        found = cursor.fetchall()
        cursor.execute("DROP VIEW cheap")
        return found


@check
def settings_hold():
    with connection.cursor() as cursor:
        cursor.execute("SET timezone = 'Asia/Tokyo'")
        cursor.execute("SELECT to_char(at_utc, 'YYYY-MM-DD HH24:MI TZ') FROM kinds ORDER BY id")
        found = cursor.fetchall()
        cursor.execute("RESET timezone")
        return found


connection.close()
