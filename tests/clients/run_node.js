// node: pg (simple, extended, named statements, cursors) and postgres (pipelined, prepared), checks as in common.py.

const { Client, types } = require("pg");
const Cursor = require("pg-cursor");
const postgres = require("postgres");

const [host, port] = process.argv[2].split(/:(?=\d+$)/);
const options = { host, port: Number(port), user: "test", database: "lake" };

function shown(value) {
  if (Buffer.isBuffer(value)) return `buffer ${value.toString("hex")}`;
  return JSON.stringify(value, (_, item) => (typeof item === "bigint" ? `${item}n` : item));
}

async function check(name, body) {
  try {
    console.log(`${name}\t${shown(await body())}`);
  } catch (error) {
    console.log(`${name}\tERROR ${error.code || error.message.split("\n")[0]}`);
  }
}

async function pgChecks() {
  const client = new Client(options);
  await client.connect();
  await check("pg_every_type_and_null", async () => (await client.query("SELECT * FROM kinds ORDER BY id")).rows);
  await check("pg_columns", async () => {
    const result = await client.query("SELECT emp_id, salary, hired, count(*) FROM emp GROUP BY 1, 2, 3 LIMIT 1");
    return [result.command, result.rowCount, result.fields.map((f) => [f.name, f.dataTypeID, f.dataTypeSize, f.dataTypeModifier])];
  });
  await check("pg_parameters", async () =>
    (await client.query("SELECT name FROM emp WHERE dept_id = $1 AND hired > $2 ORDER BY name", [10, new Date("2016-01-01")])).rows);
  await check("pg_a_list", async () =>
    (await client.query("SELECT name FROM emp WHERE dept_id = ANY($1) ORDER BY name", [[10, 20]])).rows);
  await check("pg_a_named_statement", async () => {
    const found = [];
    for (const dept of [10, 20, 30]) {
      const query = { name: "by_dept", text: "SELECT count(*)::int AS n FROM emp WHERE dept_id = $1", values: [dept] };
      found.push((await client.query(query)).rows[0].n);
    }
    return found;
  });
  await check("pg_rows_as_arrays", async () =>
    (await client.query({ text: "SELECT dept_id, dept_id FROM dept ORDER BY 1", rowMode: "array" })).rows);
  await check("pg_several_statements", async () =>
    (await client.query("SELECT count(*) AS n FROM emp; SHOW application_name; SELECT 2::bigint AS two")).map((r) => [r.command, r.rows]));
  await check("pg_a_cursor", async () => {
    const cursor = client.query(new Cursor("SELECT emp_id FROM emp WHERE emp_id < $1 ORDER BY emp_id", [9]));
    const found = [await cursor.read(3), await cursor.read(3), await cursor.read(100), await cursor.read(1)];
    await cursor.close();
    return found;
  });
  await check("pg_a_failed_transaction", async () => {
    await client.query("BEGIN");
    const codes = [];
    for (const sql of ["SELECT nosuch FROM emp", "SELECT 1"]) {
      await client.query(sql).catch((error) => codes.push(error.code));
    }
    codes.push((await client.query("COMMIT")).command);
    return codes;
  });
  await check("pg_an_error", async () => client.query("SELECT * FROM nosuch"));
  await client.end();
}

async function postgresChecks() {
  const sql = postgres({ ...options, username: "test", max: 1, onnotice: () => {} });
  await check("postgres_rows", async () => await sql`SELECT emp_id, name, salary, hired, is_remote FROM emp ORDER BY emp_id`);
  await check("postgres_parameters", async () => await sql`SELECT name FROM emp WHERE dept_id = ${10} AND name > ${"B"} ORDER BY name`);
  await check("postgres_a_list", async () => await sql`SELECT name FROM emp WHERE dept_id IN ${sql([10, 20])} ORDER BY name`);
  await check("postgres_a_cursor", async () => {
    const found = [];
    await sql`SELECT emp_id FROM emp ORDER BY emp_id`.cursor(5, (rows) => found.push(rows.map((row) => row.emp_id)));
    return found;
  });
  await check("postgres_a_transaction", async () =>
    await sql.begin(async (inner) => {
      const [{ n }] = await inner`SELECT count(*)::int AS n FROM emp`;
      const failed = await inner.savepoint((deeper) => deeper`SELECT nosuch FROM emp`).catch((error) => error.code);
      return [n, failed, (await inner`SELECT count(*)::int AS n FROM dept`)[0].n];
    }));
  await check("postgres_copy", async () => {
    const chunks = [];
    const stream = await sql`COPY (SELECT dept_id, name FROM dept ORDER BY dept_id) TO STDOUT WITH (FORMAT csv)`.readable();
    for await (const chunk of stream) chunks.push(chunk.toString());
    return chunks.join("");
  });
  await check("postgres_columns", async () => {
    const statement = await sql`SELECT emp_id, salary FROM emp WHERE dept_id = ${10}`.describe();
    return [statement.types, statement.columns.map((column) => [column.name, column.type])];
  });
  await sql.end();
}

void types;
pgChecks().then(postgresChecks).catch((error) => {
  console.error(error);
  process.exit(1);
});
