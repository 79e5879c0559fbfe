"""SQLAlchemy: what its inspector reads from the catalog, on two drivers, and queries it writes."""

import sqlalchemy as sa
from common import URL, check

TABLES = ["dept", "emp", "kinds"]
engines = {driver: sa.create_engine(URL.replace("postgresql", f"postgresql+{driver}")) for driver in ("psycopg2", "psycopg")}


def on_each(function):
    """Makes a check for each driver."""
    for driver, engine in engines.items():

        def run(engine=engine):
            return function(engine)

        run.__name__ = f"{function.__name__}_{driver}"
        check(run)
    return function


def column(found):
    return found["name"], repr(found["type"]), found["nullable"], found["default"], found.get("comment")


@on_each
def version_and_schema(engine):
    with engine.connect():
        return engine.dialect.server_version_info[:1], engine.dialect.default_schema_name


@on_each
def schemas(engine):
    return sorted(set(sa.inspect(engine).get_schema_names()) & {"public", "information_schema"})


@on_each
def tables(engine):
    return [table for table in sorted(sa.inspect(engine).get_table_names()) if table in TABLES]


@on_each
def views(engine):
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(sa.text("CREATE OR REPLACE VIEW rich AS SELECT name, salary FROM emp WHERE salary > 5000"))
    inspector = sa.inspect(engine)
    return "rich" in inspector.get_view_names(), [column(found) for found in inspector.get_columns("rich")]


@on_each
def columns(engine):
    inspector = sa.inspect(engine)
    return {table: [column(found) for found in inspector.get_columns(table)] for table in TABLES}


@on_each
def keys_and_indexes(engine):
    inspector = sa.inspect(engine)
    return (
        inspector.get_pk_constraint("emp"),
        inspector.get_foreign_keys("emp"),
        inspector.get_indexes("emp"),
        inspector.get_unique_constraints("emp"),
        inspector.get_check_constraints("emp"),
        inspector.get_table_comment("emp"),
    )


@on_each
def has_table(engine):
    inspector = sa.inspect(engine)
    return inspector.has_table("emp"), inspector.has_table("nosuch"), inspector.has_table("emp", schema="public")


@on_each
def no_such_table(engine):
    return sa.inspect(engine).get_columns("nosuch")


@on_each
def reflected(engine):
    metadata = sa.MetaData()
    emp = sa.Table("emp", metadata, autoload_with=engine)
    query = sa.select(emp.c.dept_id, sa.func.count(), sa.func.sum(emp.c.salary)).group_by(emp.c.dept_id).order_by(emp.c.dept_id)
    with engine.connect() as connection:
        result = connection.execute(query)
        return list(result.keys()), [tuple(row) for row in result]


@on_each
def nested_transactions(engine):
    with engine.connect() as connection, connection.begin():
        savepoint = connection.begin_nested()
        try:
            connection.execute(sa.text("SELECT 1::bigint / 0"))
        except sa.exc.DBAPIError as error:
            failed = error.orig.__class__.__name__
            savepoint.rollback()
        return failed, connection.execute(sa.text("SELECT count(*) FROM emp")).scalar()


@on_each
def streamed(engine):
    with engine.connect().execution_options(stream_results=True, max_row_buffer=4) as connection:
        return [row[0] for row in connection.execute(sa.text("SELECT emp_id FROM emp ORDER BY emp_id"))]
