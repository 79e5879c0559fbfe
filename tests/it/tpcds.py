"""Makes TPC-DS with DuckDB: tables as Parquet, the 99 queries, and DuckDB's answers. usage: tpcds.py OUT_FOLDER SCALE"""

import pathlib
import sys

import duckdb
from duckdb_extensions import import_extension

out, scale = pathlib.Path(sys.argv[1]), sys.argv[2]
import_extension("tpcds")
db = duckdb.connect()
db.execute("load tpcds")
# PostgreSQL's order of NULLs, which decides what a LIMIT cuts off.
db.execute("set default_null_order = 'nulls_last_on_asc_first_on_desc'")
db.execute(f"call dsdgen(sf={scale})")
(out / "queries").mkdir(parents=True)
(out / "answers").mkdir()
for (table,) in db.execute("select table_name from information_schema.tables").fetchall():
    (n_rows,) = db.execute(f"select count(*) from {table}").fetchone()
    # Several files for the larger tables, so that several tasks have something to scan.
    n_files = 4 if n_rows > 5000 else 1
    (out / "lake" / table).mkdir(parents=True)
    for part in range(n_files):
        rows = f"select * from {table} where rowid % {n_files} = {part}"
        db.execute(f"copy ({rows}) to '{out}/lake/{table}/part-{part}.parquet' (format parquet)")


def text(value):
    if value is None:
        return "NULL"
    if isinstance(value, float):
        return repr(value)
    return str(value)


for number, query in db.execute("select query_nr, query from tpcds_queries()").fetchall():
    (out / "queries" / f"q{number:02}.sql").write_text(query)
    rows = db.execute(query).fetchall()
    lines = ["\t".join(text(value) for value in row) for row in rows]
    (out / "answers" / f"q{number:02}.tsv").write_text("".join(line + "\n" for line in lines))
