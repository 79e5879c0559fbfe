"""polars: read_database_uri through connectorx and through ADBC, both over COPY in binary."""

import polars as pl
from common import URL, check


def frame(data):
    return [(name, str(kind)) for name, kind in data.schema.items()], data.rows()


@check
def connectorx():
    query = "SELECT emp_id, name, salary, hired, is_remote FROM emp ORDER BY emp_id"
    return frame(pl.read_database_uri(query, URL, engine="connectorx"))


@check
def connectorx_in_partitions():
    query = "SELECT emp_id, name FROM emp"
    data = pl.read_database_uri(query, URL, engine="connectorx", partition_on="emp_id", partition_num=3)
    return frame(data.sort("emp_id"))


@check
def adbc():
    query = "SELECT emp_id, name, hired, is_remote FROM emp ORDER BY emp_id"
    return frame(pl.read_database_uri(query, URL, engine="adbc"))
