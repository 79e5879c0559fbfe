"""Ibis: expressions that it turns into SQL, with columns it reads from the catalog."""

import ibis
from common import HOST, PORT, check

connection = ibis.postgres.connect(host=HOST, port=int(PORT), user="test", database="lake")


def rows(expression):
    frame = connection.to_pyarrow(expression)
    return [str(field) for field in frame.schema], [list(row.values()) for row in frame.to_pylist()]


@check
def tables():
    return [name for name in connection.list_tables() if name in ("emp", "dept", "kinds")]


@check
def the_schema_of_a_table():
    return [f"{name} {kind}" for name, kind in connection.table("emp").schema().items()]


@check
def all_rows():
    return rows(connection.table("emp").order_by("emp_id"))


@check
def a_filter_and_a_projection():
    emp = connection.table("emp")
    picked = emp.filter((emp.salary > 3000) & emp.name.startswith("A"))
    return rows(picked.select("name", raised=emp.salary * 2).order_by("name"))


@check
def groups():
    emp = connection.table("emp")
    return rows(emp.group_by("dept_id").agg(n=emp.count(), top=emp.salary.max()).order_by("dept_id"))


@check
def a_join():
    emp, dept = connection.table("emp"), connection.table("dept")
    joined = emp.join(dept, emp.dept_id == dept.dept_id)
    return rows(joined.select(emp.name, department=dept.name).order_by("name"))


@check
def a_window():
    emp = connection.table("emp")
    rank = ibis.rank().over(group_by=emp.dept_id, order_by=emp.salary)
    return rows(emp.select("name", rank=rank).order_by("name"))


@check
def a_case_and_text():
    emp = connection.table("emp")
    kind = ibis.cases((emp.salary > 5000, "high"), else_="low")
    return rows(emp.select(upper=emp.name.upper(), kind=kind, year=emp.hired.year()).order_by("upper"))
