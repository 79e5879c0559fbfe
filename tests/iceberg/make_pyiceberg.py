#!/usr/bin/env python3
"""Writes golden Iceberg tables with pyiceberg 0.12, and the rows that it reads back from them.

  make_pyiceberg.py WAREHOUSE     tables at WAREHOUSE/db/NAME, rows at WAREHOUSE/expected/NAME.tsv
"""
import datetime
import os
import shutil
import sys
import tempfile

import pyarrow as pa
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.types import StringType
from pyiceberg.transforms import BucketTransform, DayTransform, IdentityTransform

warehouse = os.path.abspath(sys.argv[1])
scratch = tempfile.mkdtemp()
catalog = SqlCatalog("local", uri=f"sqlite:///{scratch}/catalog.db", warehouse=f"file://{warehouse}")
catalog.create_namespace("db")


def rows(first, n):
    ids = range(first, first + n)
    start = datetime.datetime(2024, 3, 1)
    return pa.table(
        {
            "id": pa.array(ids, pa.int64()),
            "day": pa.array([start + datetime.timedelta(hours=6 * (i % 40)) for i in ids], pa.timestamp("us")),
            "kind": pa.array([None if i % 13 == 0 else "abc"[i % 3] for i in ids], pa.string()),
            "value": pa.array([i / 8 for i in ids], pa.float64()),
        }
    )


table = catalog.create_table(
    "db.py_events", rows(0, 1).schema, location=f"file://{warehouse}/db/py_events"
)
with table.update_spec() as spec:
    spec.add_field("day", DayTransform())
    spec.add_field("id", BucketTransform(3))
table.append(rows(0, 40))
with table.update_schema() as schema:
    schema.rename_column("value", "amount")
    schema.add_column("note", StringType())
with table.update_spec() as spec:
    spec.remove_field("day_day")
    spec.add_field("kind", IdentityTransform())
later = rows(100, 20).rename_columns(["id", "day", "kind", "amount"])
table.append(later.append_column("note", pa.array([f"n{i}" for i in range(20)], pa.string())))
table.delete("id >= 10 and id < 20")

os.makedirs(f"{warehouse}/expected", exist_ok=True)
with open(f"{warehouse}/expected/py_events.tsv", "w", encoding="utf-8") as out:
    out.write("SELECT id, day, kind, amount, note FROM db.py_events ORDER BY id\n")
    for row in table.scan().to_arrow().sort_by("id").to_pylist():
        cells = [row["id"], row["day"], row["kind"], str(row["amount"]).removesuffix(".0"), row["note"]]
        out.write("\t".join("NULL" if cell is None else str(cell) for cell in cells) + "\n")
shutil.rmtree(scratch)
