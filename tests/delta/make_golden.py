#!/usr/bin/env python3
"""Unpacks golden Delta tables that Spark wrote, and the rows that Spark read back from them.

  make_golden.py KERNEL OUT     tables at OUT/tables/NAME, rows at OUT/expected/NAME.tsv

KERNEL is a checkout of delta-io/delta-kernel-rs (Apache-2.0). Its kernel/tests/golden_data holds an archive for each table:
the table, and Spark's answer as Parquet; kernel/tests/data holds tables without one. Needs pyarrow 26, numpy, zstd and tar.
"""
import datetime
import decimal
import glob
import os
import shutil
import subprocess
import sys
import tempfile

import numpy
import pyarrow
import pyarrow.parquet

kernel, out = os.path.abspath(sys.argv[1]), os.path.abspath(sys.argv[2])

# Parts of nested columns: our expression, and the same part in Python.
NESTED = {
    "nested_struct['aa']": lambda row: part(row["nested_struct"], "aa"),
    "nested_struct['ac']['aca']": lambda row: part(part(row["nested_struct"], "ac"), "aca"),
    "array_of_prims[2]": lambda row: part(row["array_of_prims"], 1),
    "array_of_structs[1]['ab']": lambda row: part(part(row["array_of_structs"], 0), "ab"),
    "array_of_arrays[2][1]": lambda row: part(part(row["array_of_arrays"], 1), 0),
    "cardinality(map_of_prims)": lambda row: row["map_of_prims"] and len(row["map_of_prims"]),
}
RECORDS = {
    "as_list_of_records[3]['val']": lambda row: row["as_list_of_records"][2]["val"],
    "as_nested_struct['ac']['acb']": lambda row: row["as_nested_struct"]["ac"]["acb"],
}
MAPS = {
    "e['7']": lambda row: dict(row["e"]).get("7"),
    "cardinality(f)": lambda row: len(row["f"]),
}
# Archive, order, columns to leave out, parts of nested columns. Values of timestamp partitions are in the zone of the session
# that wrote them, which the log does not tell: they are left out.
TABLES = [
    ("basic-decimal-table", ["col1"], [], {}),
    ("basic-with-inserts-deletes-checkpoint", ["id"], [], {}),
    ("basic-with-inserts-merge", ["id"], [], {}),
    ("corrupted-last-checkpoint-kernel", ["id"], [], {}),
    ("data-reader-escaped-chars", ["_1"], [], {}),
    ("data-reader-map", ["i"], ["a", "b", "c", "d", "e", "f"], MAPS),
    ("data-reader-partition-values", ["value"], ["as_timestamp"], RECORDS),
    ("data-reader-timestamp_ntz", ["id"], [], {}),
    ("data-reader-timestamp_ntz-id-mode", ["id"], [], {}),
    ("data-reader-timestamp_ntz-name-mode", ["id"], [], {}),
    ("data-skipping-basic-stats-all-types-checkpoint", ["as_int"], [], {}),
    ("data-skipping-partition-and-data-column", ["part", "id"], [], {}),
    ("dv-partitioned-with-checkpoint", ["part", "col1"], [], {}),
    ("dv-with-columnmapping", ["part", "col1"], [], {}),
    ("kernel-timestamp-int96", ["id"], ["part"], {}),
    ("log-replay-dv-key-cases", ["id"], [], {}),
    ("log-replay-latest-metadata-protocol", ["col1", "col2"], [], {}),
    ("multi-part-checkpoint", ["id"], [], {}),
    ("only-checkpoint-files", ["id"], [], {}),
    ("parquet-all-types-legacy-format", ["IntegerType"], [], NESTED),
    ("snapshot-repartitioned", ["col1"], [], {}),
    ("table-with-columnmapping-mode-id", ["IntegerType"], [], NESTED),
    ("table-with-columnmapping-mode-name", ["IntegerType"], [], NESTED),
    ("time-travel-schema-changes-b", ["id"], [], {}),
    ("time-travel-start-start20-start40", ["id"], [], {}),
    ("v2-checkpoint-json", ["id"], [], {}),
    ("v2-checkpoint-parquet", ["id"], [], {}),
]


def part(value, key):
    if value is None:
        return None
    return value[key]


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
    if isinstance(value, (float, numpy.float32)):
        text = {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}.get(str(value), str(value))
        return text.removesuffix(".0")
    if isinstance(value, decimal.Decimal):
        return f"{value:f}"
    return str(value)


def quoted(name):
    return f'"{name}"'


def answer(name, folder, order, left_out, nested):
    """Our query and Spark's rows."""
    files = sorted(glob.glob(f"{folder}/expected/**/*.parquet", recursive=True))
    table = pyarrow.concat_tables(pyarrow.parquet.read_table(file) for file in files)
    columns = [
        field
        for field in table.schema
        if field.name not in left_out and not pyarrow.types.is_nested(field.type)
    ]
    shown, values = [], []
    for field in columns:
        zoned = pyarrow.types.is_timestamp(field.type) and field.type.tz
        shown.append(quoted(field.name) + ("::timestamp" if zoned else ""))
        single = pyarrow.types.is_float32(field.type)
        values.append(lambda row, n=field.name, s=single: numpy.float32(row[n]) if s and row[n] is not None else row[n])
    for expression, value in nested.items():
        shown.append(expression)
        values.append(value)
    rows = table.to_pylist()
    rows.sort(key=lambda row: [(row[key] is None, row[key] if row[key] is not None else 0) for key in order])
    by = ", ".join(quoted(key) for key in order)
    lines = [f"SELECT {', '.join(shown)} FROM db.{name} ORDER BY {by}"]
    lines += ["\t".join(cell(value(row)) for value in values) for row in rows]
    return "\n".join(lines) + "\n"


def copied(name):
    """Copies a table that comes without Spark's answer."""
    hidden = shutil.ignore_patterns(".*.crc", "*.crc", "._*")
    target = f"{out}/tables/{name.replace('-', '_')}"
    shutil.copytree(f"{kernel}/kernel/tests/data/{name}", target, ignore=hidden, dirs_exist_ok=True)
    return target


def noted(name, query, rows):
    with open(f"{out}/expected/{name}.tsv", "w", encoding="utf-8") as file:
        file.write("\n".join([query] + ["\t".join(map(cell, row)) for row in rows]) + "\n")


def widened():
    """Columns whose types became wider; the rows are those of both files, cast to the newest types."""
    folder = copied("type-widening")
    files = [pyarrow.parquet.read_table(file) for file in glob.glob(f"{folder}/*.parquet")]
    files.sort(key=lambda table: table.schema.field("byte_long").type.bit_width)
    newest = files[-1].schema
    rows = [row for table in files for row in table.cast(newest).to_pylist()]
    names = ", ".join(quoted(field.name) for field in newest)
    query = f"SELECT {names} FROM db.type_widening ORDER BY byte_long"
    noted("type_widening", query, [row.values() for row in rows])


def one_vector():
    """Ten rows of which a deletion vector deletes the first and the last."""
    copied("table-with-dv-small")
    query = "SELECT value FROM db.table_with_dv_small ORDER BY value"
    noted("table_with_dv_small", query, [[value] for value in range(1, 9)])


def main():
    os.makedirs(f"{out}/expected", exist_ok=True)
    for archive, order, left_out, nested in TABLES:
        name = archive.replace("-", "_").lower()
        with tempfile.TemporaryDirectory() as scratch:
            file = f"{kernel}/kernel/tests/golden_data/{archive}.tar.zst"
            subprocess.run(f"zstd -dqc '{file}' | tar -x -C '{scratch}'", shell=True, check=True)
            folder = f"{scratch}/{archive}"
            hidden = shutil.ignore_patterns(".*.crc", "*.crc", "._*")
            shutil.copytree(f"{folder}/delta", f"{out}/tables/{name}", ignore=hidden, dirs_exist_ok=True)
            with open(f"{out}/expected/{name}.tsv", "w", encoding="utf-8") as rows:
                rows.write(answer(name, folder, order, left_out, nested))
    widened()
    one_vector()


main()
