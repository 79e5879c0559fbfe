#!/usr/bin/env python3
"""Makes the metadata of an Iceberg table of many data files, without the files: for planning only.

  make_table.py FOLDER N_FILES [FILES_PER_MANIFEST]

100 columns with counts and bounds for each file; partitioned by day, 100 files a day; ids rise from file to file.
FOLDER/metadata then has version 1, and FOLDER/next.metadata.json is a version with one more commit of ten files.
Needs pyiceberg 0.12 and fastavro.
"""
import datetime
import json
import os
import struct
import sys
import uuid

import fastavro
from pyiceberg.io.pyarrow import PyArrowFileIO
from pyiceberg.manifest import (
    MANIFEST_ENTRY_SCHEMAS, DataFile, ManifestContent, ManifestFile, PartitionFieldSummary, data_file_with_partition,
    manifest_entry_schema_with_data_file, write_manifest_list,
)
from pyiceberg.partitioning import PartitionField, PartitionSpec
from pyiceberg.schema import Schema
from pyiceberg.transforms import DayTransform
from pyiceberg.types import DoubleType, LongType, NestedField, StringType, TimestampType
from pyiceberg.utils.schema_conversion import AvroSchemaConversion

folder, n_files = os.path.abspath(sys.argv[1]), int(sys.argv[2])
per_manifest = int(sys.argv[3]) if len(sys.argv) > 3 else 1000
os.makedirs(f"{folder}/metadata", exist_ok=True)
location = f"file://{folder}"
fields = [NestedField(1, "id", LongType(), required=False), NestedField(2, "ts", TimestampType(), required=False)]
for idx in range(3, 101):
    kind = (LongType(), DoubleType(), StringType(), LongType())[idx % 4]
    fields.append(NestedField(idx, f"c{idx}", kind, required=False))
schema = Schema(*fields, schema_id=0)
spec = PartitionSpec(PartitionField(2, 1000, DayTransform(), "ts_day"), spec_id=0)
io = PyArrowFileIO()
partition_type = spec.partition_type(schema)
entry_schema = manifest_entry_schema_with_data_file(2, data_file_with_partition(partition_type, 2))
avro = fastavro.parse_schema(AvroSchemaConversion().iceberg_to_avro(entry_schema, schema_name="manifest_entry"))
counts = [{"key": idx, "value": 1000} for idx in range(1, 101)]
sizes = [{"key": idx, "value": 4000} for idx in range(1, 101)]
zeros = [{"key": idx, "value": 0} for idx in range(1, 101)]
nans = [{"key": field.field_id, "value": 0} for field in fields if isinstance(field.field_type, DoubleType)]
EPOCH = datetime.date(1970, 1, 1)


def bounds(number, end):
    day = number // 100 + 18000
    out = []
    for field in fields:
        idx = field.field_id
        if idx == 1:
            value = struct.pack("<q", number * 1000 + (999 if end else 0))
        elif idx == 2:
            value = struct.pack("<q", day * 86_400_000_000 + (86_399_000_000 if end else 0))
        elif isinstance(field.field_type, LongType):
            value = struct.pack("<q", (number * idx) % 1000 + (5000 if end else 0))
        elif isinstance(field.field_type, DoubleType):
            value = struct.pack("<d", (number * idx) % 1000 / 7 + (5000 if end else 0))
        else:
            value = f"{'z' if end else 'a'}-{number:014d}".encode()
        out.append({"key": idx, "value": value})
    return out


def manifest(first, n, snapshot_id, sequence_number):
    path = f"{folder}/metadata/{uuid.uuid4()}-m0.avro"
    rows = []
    for number in range(first, first + n):
        rows.append({
            "status": 1, "snapshot_id": snapshot_id, "sequence_number": None, "file_sequence_number": None,
            "data_file": {
                "content": 0, "file_path": f"{location}/data/ts_day={number // 100}/{number:08d}-{uuid.UUID(int=number)}.parquet",
                "file_format": "PARQUET", "partition": {"ts_day": EPOCH + datetime.timedelta(days=number // 100 + 18000)},
                "record_count": 1000, "file_size_in_bytes": 500_000, "column_sizes": sizes, "value_counts": counts,
                "null_value_counts": zeros, "nan_value_counts": nans, "lower_bounds": bounds(number, False),
                "upper_bounds": bounds(number, True), "key_metadata": None, "split_offsets": [4], "equality_ids": None,
                "sort_order_id": 0,
            },
        })
    meta = {
        "schema": schema.model_dump_json(), "schema-id": "0", "partition-spec": spec.fields and json.dumps(
            [json.loads(field.model_dump_json()) for field in spec.fields]),
        "partition-spec-id": "0", "format-version": "2", "content": "data",
    }
    with open(path, "wb") as out:
        fastavro.writer(out, avro, rows, codec="deflate", metadata=meta)
    day = lambda number: number // 100 + 18000
    summary = PartitionFieldSummary(False, False, struct.pack("<i", day(first)), struct.pack("<i", day(first + n - 1)))
    return ManifestFile.from_args(
        manifest_path=f"file://{path}", manifest_length=os.path.getsize(path), partition_spec_id=0,
        content=ManifestContent.DATA, sequence_number=sequence_number, min_sequence_number=sequence_number,
        added_snapshot_id=snapshot_id, added_files_count=n, existing_files_count=0, deleted_files_count=0,
        added_rows_count=n * 1000, existing_rows_count=0, deleted_rows_count=0, partitions=[summary], key_metadata=None,
        _table_format_version=2,
    )


def snapshot(snapshot_id, parent, sequence_number, manifests, total):
    path = f"{location}/metadata/snap-{snapshot_id}.avro"
    with write_manifest_list(2, io.new_output(path), snapshot_id, parent, sequence_number, "deflate") as out:
        out.add_manifests(manifests)
    return {
        "snapshot-id": snapshot_id, "sequence-number": sequence_number, "timestamp-ms": 1_700_000_000_000 + snapshot_id,
        "manifest-list": path, "schema-id": 0, "summary": {"operation": "append", "total-data-files": str(total)},
        **({"parent-snapshot-id": parent} if parent else {}),
    }


def metadata(path, snapshots):
    last = snapshots[-1]
    document = {
        "format-version": 2, "table-uuid": str(uuid.uuid4()), "location": location,
        "last-sequence-number": last["sequence-number"], "last-updated-ms": last["timestamp-ms"], "last-column-id": 100,
        "current-schema-id": 0, "schemas": [json.loads(schema.model_dump_json())], "default-spec-id": 0,
        "partition-specs": [{"spec-id": 0, "fields": [json.loads(field.model_dump_json()) for field in spec.fields]}],
        "last-partition-id": 1000, "default-sort-order-id": 0, "sort-orders": [{"order-id": 0, "fields": []}],
        "properties": {}, "current-snapshot-id": last["snapshot-id"], "snapshots": snapshots,
        "refs": {"main": {"snapshot-id": last["snapshot-id"], "type": "branch"}},
        "snapshot-log": [{"snapshot-id": s["snapshot-id"], "timestamp-ms": s["timestamp-ms"]} for s in snapshots],
        "metadata-log": [],
    }
    with open(path, "w", encoding="utf-8") as out:
        json.dump(document, out)


manifests = [manifest(first, min(per_manifest, n_files - first), 1, 1) for first in range(0, n_files, per_manifest)]
first = snapshot(1, None, 1, manifests, n_files)
metadata(f"{folder}/metadata/v1.metadata.json", [first])
second = snapshot(2, 1, 2, [manifest(n_files, 10, 2, 2), *manifests], n_files + 10)
metadata(f"{folder}/next.metadata.json", [first, second])
with open(f"{folder}/metadata/version-hint.text", "w", encoding="utf-8") as out:
    out.write("1")
print(n_files, "files in", len(manifests), "manifests,", sum(m.manifest_length for m in manifests) >> 20, "MiB")
