"""pg8000: a driver in Python alone, text format, unnamed statements."""

import datetime
import decimal

import pg8000.dbapi
import pg8000.native
from common import HOST, PORT, check

native = pg8000.native.Connection("test", host=HOST, port=int(PORT), database="lake")
dbapi = pg8000.dbapi.connect("test", host=HOST, port=int(PORT), database="lake")
dbapi.autocommit = True


@check
def every_type_and_null():
    return native.run("SELECT * FROM kinds ORDER BY id")


@check
def names_and_types_of_columns():
    native.run("SELECT emp_id, salary, hired, count(*), max(name) FROM emp GROUP BY 1, 2, 3 LIMIT 1")
    return [(column["name"], column["type_oid"], column["type_size"], column["type_modifier"]) for column in native.columns]


@check
def parameters_of_each_type():
    sql = "SELECT count(*) FROM emp WHERE emp_id > :id AND salary > :salary AND hired > :hired AND name < :name AND is_remote = :remote"
    return native.run(sql, id=3, salary=decimal.Decimal("3000.5"), hired=datetime.date(2016, 1, 1), name="Z", remote=True)


@check
def a_prepared_statement():
    statement = native.prepare("SELECT name FROM emp WHERE dept_id = :dept ORDER BY name")
    found = statement.run(dept=10), statement.run(dept=20)
    statement.close()
    return found


@check
def dbapi_cursor():
    cursor = dbapi.cursor()
    cursor.execute("SELECT name, salary FROM emp WHERE dept_id = %s ORDER BY name", (10,))
    return cursor.description, cursor.fetchmany(2), cursor.fetchall(), cursor.rowcount


@check
def copy_to_a_file():
    import io

    out = io.BytesIO()
    native.run("COPY (SELECT * FROM dept ORDER BY dept_id) TO STDOUT WITH (FORMAT csv)", stream=out)
    return out.getvalue()


@check
def a_failed_transaction():
    native.run("START TRANSACTION")
    try:
        native.run("SELECT 1::bigint / 0")
    except pg8000.native.DatabaseError as error:
        first = error.args[0]["C"]
    try:
        native.run("SELECT 1")
    except pg8000.native.DatabaseError as error:
        second = error.args[0]["C"]
    native.run("ROLLBACK")
    return first, second


@check
def an_unknown_column():
    return native.run("SELECT nosuch FROM emp")
