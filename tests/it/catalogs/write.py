"""Writes tables into a catalog with pyiceberg: the programs of tests/it/catalogs.rs.

  write.py sql FILE WAREHOUSE ACTION        a SqlCatalog in the SQLite file FILE
  write.py rest URI WAREHOUSE ACTION        a RestCatalog; S3 as the environment says

ACTION `create` makes the namespaces and tables, `append` adds rows to db.orders, `describe` prints its metadata location,
`many` makes db.points, 300 files of 50 rows whose ids follow each other.
"""
import os
import sys

import pyarrow as pa
from pyiceberg.catalog.rest import RestCatalog
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.transforms import IdentityTransform

kind, uri, warehouse, action = sys.argv[1:]
if kind == "sql":
    # Kept under another name than the tests serve it by.
    catalog = SqlCatalog("writer", uri=f"sqlite:///{uri}", warehouse=f"file://{warehouse}")
else:
    key, secret = os.environ["AWS_ACCESS_KEY_ID"], os.environ["AWS_SECRET_ACCESS_KEY"]
    catalog = RestCatalog(
        "writer",
        uri=uri,
        warehouse=warehouse,
        credential=f"{key}:{secret}",
        **{
            "s3.endpoint": os.environ["AWS_ENDPOINT"],
            "s3.access-key-id": key,
            "s3.secret-access-key": secret,
            "s3.region": "us-east-1",
        },
    )


def orders(first, n):
    ids = range(first, first + n)
    return pa.table(
        {
            "order_id": pa.array(ids, pa.int64()),
            "dept_id": pa.array([(i % 4 + 1) * 10 for i in ids], pa.int64()),
            "note": pa.array([None if i % 5 == 0 else f"n{i}" for i in ids], pa.string()),
        }
    )


if action == "create":
    catalog.create_namespace("db")
    table = catalog.create_table("db.orders", orders(0, 1).schema)
    with table.update_spec() as spec:
        spec.add_field("dept_id", IdentityTransform())
    table.append(orders(0, 400))
    table.append(orders(400, 200))
    table.delete("order_id < 10")
    if kind == "sql":
        catalog.create_namespace("db.deep")
        catalog.create_table("db.deep.empty", orders(0, 1).schema)
elif action == "many":
    ids = range(15_000)
    points = pa.table(
        {
            "id": pa.array(ids, pa.int64()),
            "part": pa.array([i // 50 for i in ids], pa.int64()),
            "note": pa.array([f"point {i}" for i in ids], pa.string()),
        }
    )
    catalog.create_namespace_if_not_exists("db")
    table = catalog.create_table("db.points", points.schema)
    with table.update_spec() as spec:
        spec.add_field("part", IdentityTransform())
    table.append(points)
elif action == "append":
    catalog.load_table("db.orders").append(orders(1000, 10))
elif action == "describe":
    print(catalog.load_table("db.orders").metadata_location)
