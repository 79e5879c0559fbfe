#!/usr/bin/env python3
"""Answers of the demo's queries, computed by another engine (pip install duckdb) from the same files.

src/demo/tour.rs holds these answers as its expectations. Run this after changing a query or the sample, and compare.
"""
import pathlib

import duckdb

SAMPLE = pathlib.Path(__file__).parent / "sample"
QUERIES = {
    "sizes": """
SELECT (SELECT count(*) FROM trips), (SELECT count(*) FROM zones), (SELECT count(*) FROM debian.deps)""",
    "cells": """
SELECT count(*), sum(trips), round(sum(avg_fare * trips), 2) FROM fares_by_zone_and_hour""",
    "busiest": """
SELECT zone, pickup_hour AS hour, trips, round(avg_fare, 2) AS avg_fare
FROM fares_by_zone_and_hour
ORDER BY trips DESC, zone, hour LIMIT 8""",
    "skewed join": """
SELECT b.target AS package, count(*) AS paths, count(DISTINCT a.package) AS needed_by
FROM debian.deps a JOIN debian.deps b ON a.target = b.package
WHERE a.kind = 'Depends' AND b.kind = 'Depends'
GROUP BY b.target
ORDER BY paths DESC, package LIMIT 8""",
    "heavy hitter": """
SELECT target, count(*), round(100.0 * count(*) / sum(count(*)) OVER (), 1)
FROM debian.deps WHERE kind = 'Depends' GROUP BY target ORDER BY 2 DESC LIMIT 1""",
    "window": """
SELECT borough, place, zone, trips, share
FROM (
  SELECT z.borough, z.zone, count(*) AS trips,
         rank() OVER (PARTITION BY z.borough ORDER BY count(*) DESC) AS place,
         round(100.0 * count(*) / sum(count(*)) OVER (PARTITION BY z.borough), 1) AS share
  FROM trips t JOIN zones z ON t.pickup_location_id = z.location_id
  GROUP BY z.borough, z.zone
) ranked
WHERE place <= 2 AND borough IN ('Bronx', 'Brooklyn', 'Manhattan', 'Queens')
ORDER BY borough, place, zone""",
}

lake = duckdb.connect()
lake.sql("CREATE SCHEMA debian")
lake.sql(f"CREATE VIEW trips AS FROM '{SAMPLE}/taxi/trips/*.parquet'")
lake.sql(f"CREATE VIEW zones AS FROM '{SAMPLE}/taxi/zones.parquet'")
lake.sql(f"CREATE VIEW debian.deps AS FROM '{SAMPLE}/debian/deps.parquet'")
lake.sql("""
CREATE TABLE fares_by_zone_and_hour AS
SELECT z.borough, z.zone, extract(hour FROM t.pickup_datetime) AS pickup_hour,
       count(*) AS trips, avg(t.fare_amount) AS avg_fare
FROM trips t JOIN zones z ON t.pickup_location_id = z.location_id
GROUP BY z.borough, z.zone, extract(hour FROM t.pickup_datetime)""")
for name, sql in QUERIES.items():
    print(f"-- {name}")
    for row in lake.sql(sql).fetchall():
        print(*row, sep=" | ")
