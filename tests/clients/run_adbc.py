"""The ADBC driver for PostgreSQL: COPY in binary, types and objects from the catalog."""

import adbc_driver_postgresql.dbapi as adbc
from common import URL, check

connection = adbc.connect(URL, autocommit=True)


def table(sql, *values):
    with connection.cursor() as cursor:
        cursor.execute(sql, values or None)
        found = cursor.fetch_arrow_table()
        return [(field.name, str(field.type)) for field in found.schema], found.to_pylist()


@check
def every_type_and_null():
    return table("SELECT * FROM kinds ORDER BY id")


@check
def parameters():
    return table("SELECT name FROM emp WHERE emp_id = $1", 3)


@check
def the_schema_of_a_table():
    return [(field.name, str(field.type)) for field in connection.adbc_get_table_schema("emp")]


@check
def objects():
    found = connection.adbc_get_objects(depth="columns", db_schema_filter="public", table_name_filter="emp").read_all().to_pylist()
    return [
        (catalog["catalog_name"], schema["db_schema_name"], entry["table_name"], entry["table_type"],
         # The driver asks for them without an order.
         sorted(((c["column_name"], c["ordinal_position"]) for c in entry["table_columns"]), key=lambda c: c[1]))
        for catalog in found if catalog["catalog_db_schemas"]
        for schema in catalog["catalog_db_schemas"] if schema["db_schema_tables"]
        for entry in schema["db_schema_tables"]
    ]


@check
def kinds_of_tables():
    return [kind for kind in connection.adbc_get_table_types() if kind in ("table", "view")]


@check
def an_error():
    return table("SELECT nosuch FROM emp")
