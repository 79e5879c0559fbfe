"""asyncpg: everything in binary, named statements and portals, types looked up in the catalog."""

import asyncio
import datetime
import decimal
import io

import asyncpg
from common import HOST, PORT, check


def connected(function):
    """Turns a coroutine over a connection into a check."""

    def run():
        async def inner():
            connection = await asyncpg.connect(host=HOST, port=int(PORT), user="test", database="lake")
            try:
                return await function(connection)
            finally:
                await connection.close()

        return asyncio.run(inner())

    run.__name__ = function.__name__
    return check(run)


def plain(records):
    return [dict(record) for record in records]


@connected
async def every_type_and_null(connection):
    return plain(await connection.fetch("SELECT * FROM kinds ORDER BY id"))


@connected
async def parameters_of_each_type(connection):
    sql = "SELECT count(*) FROM emp WHERE emp_id > $1 AND salary > $2 AND hired > $3 AND name < $4 AND is_remote = $5"
    return await connection.fetchval(sql, 3, decimal.Decimal("3000.5"), datetime.date(2016, 1, 1), "Z", True)


@connected
async def a_list_as_parameter(connection):
    return plain(await connection.fetch("SELECT name FROM emp WHERE dept_id = ANY($1::int[]) ORDER BY name", [10, 20]))


@connected
async def a_prepared_statement(connection):
    statement = await connection.prepare("SELECT name, salary FROM emp WHERE dept_id = $1 ORDER BY name")
    types = [parameter.name for parameter in statement.get_parameters()]
    names = [(column.name, column.type.name) for column in statement.get_attributes()]
    return types, names, plain(await statement.fetch(10))


@connected
async def a_cursor(connection):
    async with connection.transaction():
        cursor = await connection.cursor("SELECT emp_id FROM emp ORDER BY emp_id")
        first = await cursor.fetch(4)
        await cursor.forward(3)
        return plain(first), plain(await cursor.fetch(2)), dict(await cursor.fetchrow())


@connected
async def rows_one_by_one(connection):
    async with connection.transaction():
        return [row["emp_id"] async for row in connection.cursor("SELECT emp_id FROM emp ORDER BY emp_id", prefetch=5)]


@connected
async def copy_from_a_query(connection):
    out = io.BytesIO()
    tag = await connection.copy_from_query("SELECT * FROM emp ORDER BY emp_id", output=out, format="csv", header=True)
    return tag, out.getvalue()


@connected
async def copy_a_table_in_binary(connection):
    out = io.BytesIO()
    tag = await connection.copy_from_table("dept", output=out, columns=["dept_id", "name"], format="binary")
    return tag, len(out.getvalue()), out.getvalue()[:19]


@connected
async def nested_transactions(connection):
    async with connection.transaction():
        found = [await connection.fetchval("SELECT count(*) FROM emp")]
        try:
            async with connection.transaction():
                await connection.execute("SELECT 1::bigint / 0")
        except asyncpg.PostgresError as error:
            found.append(error.sqlstate)
        found.append(await connection.fetchval("SELECT count(*) FROM dept"))
        return found


@connected
async def a_reset(connection):
    await connection.execute("SET application_name = 'x'")
    await connection.reset()
    return await connection.fetchval("SELECT current_setting('application_name')")


@connected
async def several_statements(connection):
    return await connection.execute("SELECT 1; SELECT count(*) FROM emp")


@connected
async def arrays(connection):
    return await connection.fetchval("SELECT array_agg(name ORDER BY name) FROM dept")


@connected
async def a_timeout(connection):
    await connection.fetch("SELECT sum(a * b % 7) FROM generate_series(1, 100000) x (a), generate_series(1, 1000000) y (b)", timeout=0.5)
