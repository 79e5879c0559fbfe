#!/usr/bin/env python3
"""Writes golden Delta tables with delta-rs, and the rows that it reads back from them.

  make_deltalake.py OUT     tables at OUT/tables/NAME, rows at OUT/expected/NAME.tsv

Needs deltalake 1.6 and pyarrow 26.
"""
import datetime
import decimal
import os
import sys

import pyarrow
from deltalake import DeltaTable, write_deltalake

out = os.path.abspath(sys.argv[1])
UTC = datetime.timezone.utc


def cell(value):
    if value is None:
        return "NULL"
    if isinstance(value, bool):
        return "t" if value else "f"
    if isinstance(value, bytes):
        return "\\x" + value.hex()
    if isinstance(value, datetime.datetime):
        text = value.replace(tzinfo=None).isoformat(sep=" ")
        return text.rstrip("0") if "." in text else text
    if isinstance(value, float):
        text = {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}.get(str(value), str(value))
        return text.removesuffix(".0")
    if isinstance(value, decimal.Decimal):
        return f"{value:f}"
    return str(value)


def expect(name, order):
    """Notes the rows of a table, below our query for them."""
    table = DeltaTable(f"{out}/tables/{name}").to_pyarrow_table()
    zoned = [pyarrow.types.is_timestamp(field.type) and field.type.tz for field in table.schema]
    columns = [f.name + ("::timestamp" if zone else "") for f, zone in zip(table.schema, zoned)]
    rows = sorted(table.to_pylist(), key=lambda row: row[order])
    lines = [f"SELECT {', '.join(columns)} FROM db.{name} ORDER BY {order}"]
    lines += ["\t".join(cell(row[field.name]) for field in table.schema) for row in rows]
    os.makedirs(f"{out}/expected", exist_ok=True)
    with open(f"{out}/expected/{name}.tsv", "w", encoding="utf-8") as file:
        file.write("\n".join(lines) + "\n")


def write(name, table, **options):
    write_deltalake(f"{out}/tables/{name}", table, **options)


def partitions():
    """A partition column of each primitive type, with NULL and with texts that a path must escape."""
    instant = datetime.datetime(2024, 2, 29, 12, 34, 56, 789012, tzinfo=UTC)
    rows = {
        "id": pyarrow.array([1, 2, 3, 4], pyarrow.int32()),
        "b": pyarrow.array([True, False, None, True], pyarrow.bool_()),
        "i8": pyarrow.array([-128, 127, None, 0], pyarrow.int8()),
        "i16": pyarrow.array([-32768, 32767, None, 0], pyarrow.int16()),
        "i32": pyarrow.array([-(2**31), 2**31 - 1, None, 0], pyarrow.int32()),
        "i64": pyarrow.array([-(2**63), 2**63 - 1, None, 0], pyarrow.int64()),
        "f64": pyarrow.array([1.5, -0.25, None, 1e20], pyarrow.float64()),
        "n": pyarrow.array([decimal.Decimal("12345.67"), decimal.Decimal("0.01"), None, decimal.Decimal("0.00")], pyarrow.decimal128(10, 2)),
        "d": pyarrow.array([datetime.date(1, 1, 1), datetime.date(9999, 12, 31), None, datetime.date(2024, 2, 29)], pyarrow.date32()),
        "ts": pyarrow.array([instant, datetime.datetime(1969, 12, 31, 23, 59, 59, 999999, tzinfo=UTC), None, instant], pyarrow.timestamp("us", "UTC")),
        "s": pyarrow.array(["a b/c%d=e:f?g#h&i+j", "ünïcödé 'x' \"y\"", None, "..", ], pyarrow.string()),
        "v": pyarrow.array(["one", "two", "three", None], pyarrow.string()),
    }
    keys = [name for name in rows if name not in ("id", "v")]
    write("py_partitions", pyarrow.table(rows), partition_by=keys)
    expect("py_partitions", "id")


def evolved():
    """Columns that came later, deletes and updates by copy, a checkpoint in between."""
    def rows(first, n, **more):
        ids = range(first, first + n)
        return pyarrow.table({"id": pyarrow.array(ids, pyarrow.int64()), "name": [f"name-{i}" for i in ids], **{k: [f(i) for i in ids] for k, f in more.items()}})

    write("py_evolved", rows(0, 50))
    write("py_evolved", rows(50, 50, score=lambda i: i / 4), mode="append", schema_mode="merge")
    DeltaTable(f"{out}/tables/py_evolved").delete("id % 10 = 3")
    table = DeltaTable(f"{out}/tables/py_evolved")
    table.update(updates={"name": "'changed'"}, predicate="id >= 90")
    table.create_checkpoint()
    write("py_evolved", rows(100, 10, score=lambda i: float(i), tags=lambda i: [str(i), None]), mode="append", schema_mode="merge")
    table = DeltaTable(f"{out}/tables/py_evolved")
    table.delete("id < 5")
    expect_flat("py_evolved")


def expect_flat(name):
    table = DeltaTable(f"{out}/tables/{name}").to_pyarrow_table()
    rows = sorted(table.to_pylist(), key=lambda row: row["id"])
    lines = [f"SELECT id, name, score, tags[1], cardinality(tags) FROM db.{name} ORDER BY id"]
    for row in rows:
        tags = row["tags"]
        values = [row["id"], row["name"], row["score"], tags and tags[0], tags and len(tags)]
        lines.append("\t".join(map(cell, values)))
    with open(f"{out}/expected/{name}.tsv", "w", encoding="utf-8") as file:
        file.write("\n".join(lines) + "\n")


def events():
    """Many files, with bounds: times to the microsecond, NaN, long texts."""
    for day in range(8):
        start = datetime.datetime(2024, 3, 1 + day, tzinfo=UTC)
        ids = [day * 40 + n for n in range(40)]
        write(
            "py_events",
            pyarrow.table(
                {
                    "id": pyarrow.array(ids, pyarrow.int32()),
                    "region": [None if i % 11 == 0 else f"r{i % 3}" for i in ids],
                    "at": pyarrow.array([start + datetime.timedelta(minutes=30 * n, microseconds=n * 25001 % 999999) for n in range(40)], pyarrow.timestamp("us", "UTC")),
                    "x": [float("nan") if i % 13 == 5 else i / 8 for i in ids],
                    "text": ["t" * 40 + f"-{i:04}" for i in ids],
                    "gone": pyarrow.array([None] * 40 if day < 4 else ids, pyarrow.int64()),
                }
            ),
            partition_by=["region"],
            mode="append",
        )
    expect("py_events", "id")


partitions()
evolved()
events()
