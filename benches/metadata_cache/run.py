#!/usr/bin/env python3
"""Times the planning of a selective query over many data files: cold, warm, and after one more commit.

  run.py SALTLAKE FOLDER     FOLDER holds tables of make_table.py; SALTLAKE is the binary

A query is `EXPLAIN SELECT c5 FROM t WHERE id = …`, timed at the client, which keeps one file of all. pyiceberg's
`plan_files()` on the same metadata stands beside it. Needs psycopg and pyiceberg 0.12.
"""
import os
import re
import shutil
import statistics
import subprocess
import sys
import time

import psycopg
from pyiceberg.table import StaticTable

binary, folder = os.path.abspath(sys.argv[1]), os.path.abspath(sys.argv[2])
tables = sorted(name for name in os.listdir(folder) if os.path.isdir(f"{folder}/{name}/metadata"))


def timed(work):
    start = time.perf_counter()
    result = work()
    return (time.perf_counter() - start) * 1000, result


def pyiceberg(name, version="metadata/v1.metadata.json"):
    table = StaticTable.from_metadata(f"{folder}/{name}/{version}")
    took, files = timed(lambda: list(table.scan(row_filter="id = 50123").plan_files()))
    assert len(files) == 1
    return took


print("| table | | cold ms | warm ms | after a commit ms | cold/warm | RSS MiB |")
print("|---|---|---|---|---|---|---|")
for name in tables:
    # A lake of its own for each table, so that the version that is committed stays out of the original.
    lake = f"/tmp/saltlake-bench-{os.getpid()}"
    shutil.rmtree(lake, ignore_errors=True)
    os.makedirs(f"{lake}/t")
    # The metadata name the table's own folder: links keep it in place.
    os.makedirs(f"{lake}/t/metadata")
    for file in os.listdir(f"{folder}/{name}/metadata"):
        os.link(f"{folder}/{name}/metadata/{file}", f"{lake}/t/metadata/{file}")
    ready = f"{lake}.json"
    server = subprocess.Popen(
        [binary, "serve", "--lake", lake, "--pg", "127.0.0.1:0", "--flight", "127.0.0.1:0", "--http", "127.0.0.1:0",
         "--ready-file", ready],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )
    try:
        while not os.path.exists(ready):
            time.sleep(0.05)
        with open(ready, encoding="utf-8") as addresses:
            port = re.search(r'"pg":\s*"127\.0\.0\.1:(\d+)"', addresses.read()).group(1)
        with psycopg.connect(f"host=127.0.0.1 port={port} user=bench dbname=lake", autocommit=True) as connection:
            connection.execute("SELECT 1")
            query = lambda id: "\n".join(
                row[0] for row in connection.execute(f"EXPLAIN SELECT c5 FROM t WHERE id = {id}").fetchall())
            cold, plan = timed(lambda: query(50123))
            assert "Scan: 1 file (" in plan, plan
            warm = statistics.median(timed(lambda: query(50123 + idx))[0] for idx in range(11))
            os.link(f"{folder}/{name}/next.metadata.json", f"{lake}/t/metadata/v2.metadata.json")
            after, plan = timed(lambda: query(50456))
            with open(f"/proc/{server.pid}/status", encoding="ascii") as status:
                rss = int(re.search(r"VmRSS:\s+(\d+)", status.read()).group(1)) >> 10
            print(f"| {name} | saltlake | {cold:.1f} | {warm:.1f} | {after:.1f} | {cold / warm:.0f} | {rss} |", flush=True)
            for row in connection.execute("SELECT name, entries, bytes, evictions FROM system.caches WHERE entries > 0"):
                print("  ", *row, file=sys.stderr)
    finally:
        server.terminate()
        server.wait()
        shutil.rmtree(lake, ignore_errors=True)
        os.remove(ready)
    cold, warm = pyiceberg(name), pyiceberg(name)
    print(f"| {name} | pyiceberg | {cold:.1f} | {warm:.1f} | {pyiceberg(name, 'next.metadata.json'):.1f} | {cold / warm:.0f} | |", flush=True)
