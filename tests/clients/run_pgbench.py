"""pgbench: a SELECT of its own in each of its protocols, from several connections."""

import glob
import re
import shutil
import subprocess
import tempfile

from common import HOST, PORT, check

# Debian keeps it beside the server's programs as well.
PGBENCH = shutil.which("pgbench") or max(glob.glob("/usr/lib/postgresql/*/bin/pgbench"), default="pgbench")

SCRIPT = """\\set id random(1, 7)
SELECT name, salary, hired FROM emp WHERE emp_id = :id;
SELECT d.name, count(*) FROM emp e JOIN dept d ON d.dept_id = e.dept_id WHERE emp_id <= :id GROUP BY d.name;
"""


def bench(mode, script):
    with tempfile.NamedTemporaryFile("w", suffix=".sql") as file:
        file.write(script)
        file.flush()
        options = ["--no-vacuum", "--protocol", mode, "--client", "4", "--transactions", "25", "--file", file.name]
        address = ["--host", HOST, "--port", PORT, "--username", "test", "lake"]
        done = subprocess.run([PGBENCH, *options, *address], capture_output=True, text=True, timeout=120)
    found = re.findall(r"(?:actually processed|failed transactions): (\S+)", done.stdout)
    return found, re.findall(r"ERROR: .*", done.stderr)[:1]


@check
def simple():
    return bench("simple", SCRIPT)


@check
def extended():
    return bench("extended", SCRIPT)


@check
def prepared():
    return bench("prepared", SCRIPT)


@check
def pipelined():
    return bench("extended", "\\startpipeline\n" + SCRIPT.split("\n", 1)[1].replace(":id", "3") + "\\endpipeline\n")


@check
def a_transaction():
    return bench("prepared", "BEGIN;\n" + SCRIPT.split("\n", 1)[1].replace(":id", "3") + "COMMIT;\n")


@check
def a_failure():
    return bench("simple", "SELECT nosuch FROM emp;\n")
