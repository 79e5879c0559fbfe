"""pandas: read_sql through SQLAlchemy and through ADBC."""

import adbc_driver_postgresql.dbapi as adbc
import pandas as pd
import sqlalchemy as sa
from common import URL, check

engine = sa.create_engine(URL.replace("postgresql", "postgresql+psycopg2"))


def frame(data):
    return [(name, str(kind)) for name, kind in data.dtypes.items()], data.astype(object).where(data.notna(), None).values.tolist()


@check
def read_sql_query():
    return frame(pd.read_sql_query("SELECT emp_id, name, salary, hired, is_remote FROM emp ORDER BY emp_id", engine))


@check
def read_sql_table():
    return frame(pd.read_sql_table("dept", engine).sort_values("dept_id"))


@check
def read_in_pieces():
    pieces = pd.read_sql_query("SELECT emp_id FROM emp ORDER BY emp_id", engine, chunksize=5)
    return [len(piece) for piece in pieces]


@check
def read_with_parameters():
    query = sa.text("SELECT count(*) FROM emp WHERE dept_id = :dept")
    return frame(pd.read_sql_query(query, engine, params={"dept": 10}))


@check
def read_through_adbc():
    with adbc.connect(URL) as connection:
        return frame(pd.read_sql("SELECT emp_id, name, hired FROM emp ORDER BY emp_id", connection))
