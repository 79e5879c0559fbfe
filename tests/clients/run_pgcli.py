"""pgcli: what it asks for its completions, and statements as it runs them."""

from common import HOST, PORT, check
from pgcli.pgexecute import PGExecute
from pgspecial.main import PGSpecial

executor = PGExecute("lake", "test", "", HOST, PORT, None)
OURS = ("emp", "dept", "kinds")


def of_public(rows):
    return sorted((tuple(row) for row in rows if row[0] == "public" and row[1] in OURS), key=str)


def run(statement):
    found = []
    for title, rows, headers, status, *_ in executor.run(statement, pgspecial=PGSpecial()):
        found.append([title, [tuple(row) for row in rows or []], headers, status])
    return found


@check
def the_search_path():
    return executor.search_path()


@check
def schemas():
    return [name for name in executor.schemata() if name in ("public", "pg_catalog", "information_schema")]


@check
def tables():
    return of_public(executor.tables())


@check
def views():
    return of_public(executor.views())


@check
def columns_of_tables():
    return of_public(executor.table_columns())


@check
def foreign_keys():
    return [key for key in executor.foreignkeys() if key.parentschema == "public"]


@check
def functions():
    # Extensions of other tests may have put theirs into the schema.
    names = [function.func_name for function in executor.functions() if function.schema_name == "public"]
    return [name for name in names if "fdw" not in name]


@check
def types():
    return [row for row in executor.datatypes() if row[0] == "public" and row[1] in OURS]


@check
def databases():
    return [name for name in executor.databases() if name == "lake"]


@check
def a_query():
    return run("SELECT emp_id, name, salary FROM emp ORDER BY emp_id LIMIT 3")


@check
def two_statements():
    return run("SELECT 1 AS a; SELECT name FROM dept ORDER BY name")


@check
def a_command_of_psql():
    return run("\\d emp")
