"""The ADBC Flight SQL driver against a server over the standard test lake; argument: host:port."""

import datetime
import decimal
import sys
import warnings

import adbc_driver_flightsql.dbapi as flight
import adbc_driver_manager
import pyarrow

warnings.simplefilter("ignore")  # The driver warns that there are no transactions.
connection = flight.connect("grpc://" + sys.argv[1])
cursor = connection.cursor()


def rows(sql, parameters=None):
    cursor.execute(sql, parameters)
    return cursor.fetchall()


def error(sql):
    try:
        rows(sql)
    except adbc_driver_manager.Error as failure:
        details = dict(failure.details)
        return failure, details[b"x-saltlake-sqlstate"].decode()
    raise AssertionError("must fail: " + sql)


# Types and NULLs.
kinds = rows("SELECT * FROM kinds ORDER BY id")
assert kinds[0][:4] == (1, True, 1, 1), kinds[0]
assert kinds[0][6] == decimal.Decimal("1.00"), kinds[0]
assert kinds[1][7] == decimal.Decimal("1234567890123456789012345678.0123456789"), kinds[1]
assert kinds[1][8] == "Zürich ß 東京", kinds[1]
assert kinds[1][9] == datetime.date(2024, 2, 29), kinds[1]
assert kinds[0][10] == datetime.datetime(2024, 1, 1), kinds[0]
assert kinds[0][11] == datetime.datetime(2024, 1, 1, tzinfo=datetime.timezone.utc), kinds[0]
assert kinds[3][1:] == (None,) * 11, kinds[3]
cursor.execute("SELECT * FROM nested")
nested = cursor.fetch_arrow_table()
nested.validate(full=True)
assert nested.num_rows > 0 and any(pyarrow.types.is_nested(field.type) for field in nested.schema)
cursor.execute("SELECT name FROM emp ORDER BY emp_id LIMIT 1")
assert cursor.fetch_arrow_table().schema.field(0).type == pyarrow.string()

# Parameters, also of a type that the statement does not say.
assert rows("SELECT name FROM emp WHERE emp_id = $1", (5,)) == [("Eve",)]
assert rows("SELECT name FROM emp WHERE name = $1 OR salary = $2 ORDER BY emp_id", ("Ada", decimal.Decimal("7000.00"))) == [
    ("Ada",),
    ("Ivo",),
]
assert rows("SELECT $1 AS text, $2 AS number", ("salt", 42)) == [("salt", 42)]

# Two statements on one connection at once.
other = connection.cursor()
other.execute("SELECT n FROM numbers ORDER BY n")
assert rows("SELECT count(*) FROM emp") == [(12,)]
assert [row[0] for row in other.fetchmany(3)] == [1, 2, 3]
other.close()

# Commands, and settings that last.
rows("CREATE VIEW remote AS SELECT * FROM emp WHERE is_remote")
assert rows("SELECT count(*) FROM remote") == [(5,)]
rows("SET saltlake.distribution = 'never'")
assert rows("SHOW saltlake.distribution") == [("never",)]
cursor.adbc_statement.set_sql_query("DROP VIEW remote")
assert cursor.adbc_statement.execute_update() == 0

# Errors say what is wrong, with their SQLSTATE, and the connection lives on.
failure, sqlstate = error("SELECT * FROM nowhere")
assert sqlstate == "42P01" and "nowhere" in str(failure), failure
failure, sqlstate = error("SELEC 1")
assert sqlstate == "42601" and isinstance(failure, adbc_driver_manager.ProgrammingError), failure
failure, sqlstate = error("SELECT n / (m - m) FROM numbers")
assert sqlstate == "22012" and "division by zero" in str(failure), failure

# Metadata.
objects = connection.adbc_get_objects(depth="all", table_name_filter="dept").read_all().to_pylist()
schemas = {schema["db_schema_name"]: schema for schema in objects[0]["catalog_db_schemas"]}
assert objects[0]["catalog_name"] == "lake" and "public" in schemas, objects
[table] = schemas["public"]["db_schema_tables"]
columns = [column["column_name"] for column in table["table_columns"]]
assert (table["table_type"], columns) == ("TABLE", ["dept_id", "name", "budget", "city"]), table
assert connection.adbc_get_table_schema("dept").names == columns
assert connection.adbc_get_info()["vendor_name"] == "Saltlake"
assert connection.adbc_get_table_types() == ["TABLE", "VIEW"]
assert connection.adbc_current_catalog == "lake"
assert connection.adbc_current_db_schema == "public"

# Cancel in the middle of a result.
cursor.execute("SELECT a.n FROM numbers a CROSS JOIN numbers b CROSS JOIN numbers c")
reader = cursor.fetch_record_batch()
assert reader.read_next_batch().num_rows > 0
cursor.adbc_cancel()
try:
    while True:
        reader.read_next_batch()
except StopIteration:
    raise AssertionError("the cancelled result looks whole")
except (OSError, pyarrow.ArrowException, adbc_driver_manager.Error):
    pass
cursor.close()
connection.close()

# A login, and a token that is not ours.
with flight.connect("grpc://" + sys.argv[1], db_kwargs={"username": "ada", "password": "any"}) as connection:
    with connection.cursor() as cursor:
        cursor.execute("SELECT 42")
        assert cursor.fetchone() == (42,)
key = "adbc.flight.sql.authorization_header"
try:
    with flight.connect("grpc://" + sys.argv[1], db_kwargs={key: "Bearer forged"}) as connection:
        connection.cursor().execute("SELECT 1")
    raise AssertionError("a forged token was accepted")
except adbc_driver_manager.Error as failure:
    assert failure.status_code == adbc_driver_manager.AdbcStatusCode.UNAUTHENTICATED, failure

print("all checks passed")
