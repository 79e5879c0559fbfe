#!/usr/bin/env python3
"""Writes golden Iceberg tables with the reference implementation, and the rows that it reads back from them.

  make_spark.py WAREHOUSE     tables at WAREHOUSE/db/NAME, rows at WAREHOUSE/expected/NAME.tsv

Needs Java 17, pyspark 3.5.9, the Iceberg 1.10 Spark runtime (in snowpark-connect-deps-iceberg) and its Jackson classes.
"""
import datetime
import decimal
import glob
import os
import sys

import snowpark_connect_deps_iceberg as runtime
from pyspark.sql import SparkSession

warehouse = os.path.abspath(sys.argv[1])
jar = glob.glob(os.path.dirname(runtime.__file__) + "/jars/iceberg-spark-runtime-3.5_2.12*.jar")[0]
jackson = os.path.join(sys.prefix, "iceberg-jackson-shaded.jar")
builder = SparkSession.builder.master("local[2]").config("spark.jars", f"{jar},{jackson}")
for key, value in {
    "spark.driver.memory": "2g",
    "spark.ui.enabled": "false",
    "spark.driver.bindAddress": "127.0.0.1",
    "spark.driver.host": "127.0.0.1",
    "spark.sql.session.timeZone": "UTC",
    "spark.sql.extensions": "org.apache.iceberg.spark.extensions.IcebergSparkSessionExtensions",
    "spark.sql.catalog.ice": "org.apache.iceberg.spark.SparkCatalog",
    "spark.sql.catalog.ice.type": "hadoop",
    "spark.sql.catalog.ice.warehouse": warehouse,
    "spark.sql.catalog.ice.cache-enabled": "false",
    "spark.sql.defaultCatalog": "ice",
    "spark.sql.shuffle.partitions": "2",
}.items():
    builder = builder.config(key, value)
spark = builder.getOrCreate()
spark.sparkContext.setLogLevel("ERROR")
MOR = (
    "'write.delete.mode'='merge-on-read','write.update.mode'='merge-on-read',"
    "'write.merge.mode'='merge-on-read','write.delete.granularity'='{granularity}'"
)


def sql(*statements):
    for statement in statements:
        spark.sql(statement)


def cell(value):
    if value is None:
        return "NULL"
    if isinstance(value, bool):
        return "t" if value else "f"
    if isinstance(value, (bytes, bytearray)):
        return "\\x" + bytes(value).hex()
    if isinstance(value, datetime.datetime):
        return value.isoformat(sep=" ")
    if isinstance(value, float):
        text = {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}.get(str(value), str(value))
        return text.removesuffix(".0")
    if isinstance(value, decimal.Decimal):
        return str(value)
    return str(value)


def expect(name, query, ours=None):
    """Notes the rows of a query, below the query as it is put to Saltlake."""
    os.makedirs(f"{warehouse}/expected", exist_ok=True)
    rows = [(ours or query).replace("ice.db.", "db.")]
    rows += ["\t".join(cell(value) for value in row) for row in spark.sql(query).collect()]
    with open(f"{warehouse}/expected/{name}.tsv", "w", encoding="utf-8") as out:
        out.write("\n".join(rows) + "\n")


def events(n, first=0, unit="days"):
    step = {"days": "0, 0, 0, cast(id AS int), 0, 0, 0", "hours": "0, 0, 0, 0, cast(id AS int), 0, 0"}[unit]
    return (
        f"SELECT cast(id AS int) id, concat('name-', lpad(cast(id % 37 AS string), 3, '0'), '-long-suffix-', id) name, "
        f"timestamp_ntz'2024-01-01 00:00:00' + make_interval({step}) ts, "
        f"cast(id * 7 AS bigint) amount, if(id % 11 = 0, NULL, cast(id % 5 AS string)) region "
        f"FROM range({first}, {first + n})"
    )


COLUMNS = "id int, name string, ts timestamp_ntz, amount bigint, region string"


def v1():
    sql(
        f"CREATE TABLE ice.db.spark_v1 ({COLUMNS}) USING iceberg "
        "PARTITIONED BY (months(ts), bucket(4, id)) TBLPROPERTIES ('format-version'='1')",
        "INSERT INTO ice.db.spark_v1 " + events(60),
        "INSERT INTO ice.db.spark_v1 " + events(60, 1000),
        "DELETE FROM ice.db.spark_v1 WHERE id % 10 = 3",
    )
    expect("spark_v1", "SELECT * FROM ice.db.spark_v1 ORDER BY id")


def evolved():
    sql(
        "CREATE TABLE ice.db.spark_evolved (id int, price float, cost decimal(8,2), old_name string, gone string, "
        "point struct<x: int, y: int, label: string>, tags array<string>, attrs map<string, int>) USING iceberg "
        "TBLPROPERTIES ('format-version'='2')",
        "INSERT INTO ice.db.spark_evolved SELECT cast(id AS int), cast(id AS float) / 4, cast(id AS decimal(8,2)) / 2, "
        "concat('a', id), concat('gone', id), named_struct('x', cast(id AS int), 'y', cast(-id AS int), 'label', "
        "concat('p', id)), array(concat('t', id), 'u'), map('k', cast(id AS int)) FROM range(10)",
        "ALTER TABLE ice.db.spark_evolved RENAME COLUMN old_name TO new_name",
        "ALTER TABLE ice.db.spark_evolved DROP COLUMN gone",
        "ALTER TABLE ice.db.spark_evolved ADD COLUMN gone bigint",
        "ALTER TABLE ice.db.spark_evolved ALTER COLUMN id TYPE bigint",
        "ALTER TABLE ice.db.spark_evolved ALTER COLUMN price TYPE double",
        "ALTER TABLE ice.db.spark_evolved ALTER COLUMN cost TYPE decimal(12,2)",
        "ALTER TABLE ice.db.spark_evolved RENAME COLUMN point.label TO title",
        "ALTER TABLE ice.db.spark_evolved ALTER COLUMN point.x TYPE bigint",
        "ALTER TABLE ice.db.spark_evolved DROP COLUMN point.y",
        "ALTER TABLE ice.db.spark_evolved ADD COLUMN point.z int",
        "ALTER TABLE ice.db.spark_evolved ALTER COLUMN new_name FIRST",
        "ALTER TABLE ice.db.spark_evolved ADD PARTITION FIELD truncate(3, id)",
        "INSERT INTO ice.db.spark_evolved SELECT concat('b', id), id, id / 8, cast(id AS decimal(12,2)), "
        "named_struct('x', id, 'title', concat('q', id), 'z', cast(id * 2 AS int)), array(cast(id AS string)), "
        "map('k', cast(id AS int), 'l', 1), id * 100 FROM range(5000000000, 5000000006)",
        "ALTER TABLE ice.db.spark_evolved REPLACE PARTITION FIELD truncate(3, id) WITH truncate(1, new_name)",
        "INSERT INTO ice.db.spark_evolved SELECT concat('c', id), id, id / 8, cast(id AS decimal(12,2)), "
        "NULL, NULL, NULL, NULL FROM range(20, 24)",
    )
    expect(
        "spark_evolved",
        "SELECT new_name, id, price, cost, point.x, point.title, point.z, tags[0], attrs['k'], gone "
        "FROM ice.db.spark_evolved ORDER BY id",
        "SELECT new_name, id, price, cost, point['x'], point['title'], point['z'], tags[1], attrs['k'], gone "
        "FROM db.spark_evolved ORDER BY id",
    )


def position_deletes():
    for granularity in ("partition", "file"):
        name = f"spark_pos_{granularity}"
        sql(
            f"CREATE TABLE ice.db.{name} ({COLUMNS}) USING iceberg PARTITIONED BY (region) "
            f"TBLPROPERTIES ('format-version'='2',{MOR.format(granularity=granularity)})",
            f"INSERT INTO ice.db.{name} " + events(200),
            f"DELETE FROM ice.db.{name} WHERE id % 7 = 0",
            f"INSERT INTO ice.db.{name} " + events(50, 1000),
            f"UPDATE ice.db.{name} SET amount = -1 WHERE id % 13 = 1",
            f"MERGE INTO ice.db.{name} t USING (SELECT cast(id AS int) id FROM range(0, 1010, 10)) s ON t.id = s.id "
            "WHEN MATCHED AND t.id > 100 THEN DELETE WHEN MATCHED THEN UPDATE SET name = 'merged' "
            "WHEN NOT MATCHED THEN INSERT (id, name) VALUES (s.id, 'new')",
        )
        expect(name, f"SELECT * FROM ice.db.{name} ORDER BY id")


def vectors():
    sql(
        f"CREATE TABLE ice.db.spark_v3 ({COLUMNS}) USING iceberg PARTITIONED BY (days(ts)) "
        f"TBLPROPERTIES ('format-version'='3',{MOR.format(granularity='file')})",
        "INSERT INTO ice.db.spark_v3 " + events(150, unit="hours"),
        "DELETE FROM ice.db.spark_v3 WHERE id % 4 = 1",
        "DELETE FROM ice.db.spark_v3 WHERE id BETWEEN 24 AND 47",
        "UPDATE ice.db.spark_v3 SET name = upper(name) WHERE id % 6 = 0",
    )
    expect("spark_v3", "SELECT * FROM ice.db.spark_v3 ORDER BY id")
    # A table with position deletes that became version 3: later deletes are vectors that contain the earlier ones.
    sql(
        "CREATE TABLE ice.db.spark_upgraded (id int, v string) USING iceberg "
        f"TBLPROPERTIES ('format-version'='2',{MOR.format(granularity='file')})",
        "INSERT INTO ice.db.spark_upgraded SELECT /*+ COALESCE(1) */ cast(id AS int), concat('v', id) FROM range(100)",
        "DELETE FROM ice.db.spark_upgraded WHERE id < 10",
        "ALTER TABLE ice.db.spark_upgraded SET TBLPROPERTIES ('format-version'='3')",
        "INSERT INTO ice.db.spark_upgraded SELECT /*+ COALESCE(1) */ cast(id AS int), concat('v', id) FROM range(100, 150)",
        "DELETE FROM ice.db.spark_upgraded WHERE id % 20 = 15",
    )
    expect("spark_upgraded", "SELECT * FROM ice.db.spark_upgraded ORDER BY id")


def types():
    sql(
        "CREATE TABLE ice.db.spark_types (b boolean, i int, l bigint, f float, d double, n decimal(38,10), da date, "
        "ts timestamp_ntz, tz timestamp, s string, bin binary, li array<struct<a: int, b: array<string>>>, "
        "m map<string, struct<v: double>>) USING iceberg TBLPROPERTIES ('format-version'='2')",
        "INSERT INTO ice.db.spark_types VALUES (true, -2147483648, 9223372036854775807, cast('NaN' AS float), "
        "cast('-Infinity' AS double), 1234567890123456789012345678.0123456789, date'0001-01-01', "
        "timestamp_ntz'1969-12-31 23:59:59.999999', timestamp'2024-02-29 12:34:56.789012Z', 'ünïcödé', X'00ff', "
        "array(named_struct('a', 1, 'b', array('x', NULL))), map('k', named_struct('v', 1.5D)))",
        "INSERT INTO ice.db.spark_types VALUES (false, 1, 2, 1.5, cast('NaN' AS double), -1, date'9999-12-31', "
        "timestamp_ntz'2038-01-19 03:14:08', timestamp'1970-01-01 00:00:00Z', '', X'', array(), map())",
        "INSERT INTO ice.db.spark_types SELECT NULL, 7, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL",
    )
    expect(
        "spark_types",
        "SELECT b, i, l, f, d, n, da, ts, cast(tz AS timestamp_ntz), s, bin, li[0].a, li[0].b[0], m['k'].v "
        "FROM ice.db.spark_types ORDER BY i",
        "SELECT b, i, l, f, d, n, da, ts, tz::timestamp, s, bin, li[1]['a'], li[1]['b'][1], m['k']['v'] "
        "FROM db.spark_types ORDER BY i",
    )


def imported():
    """Parquet files without field ids, whose partition column is in the folder names only: read by name mapping."""
    folder = f"{warehouse}/raw_imported"
    spark.sql(
        "SELECT cast(id AS int) id, concat('n', id) name, cast(id % 3 AS int) part FROM range(30)"
    ).coalesce(1).write.partitionBy("part").parquet(folder)
    sql(
        "CREATE TABLE ice.db.spark_imported (id int, name string, part int) USING iceberg PARTITIONED BY (part) "
        "TBLPROPERTIES ('format-version'='2')"
    )
    target = f"{warehouse}/db/spark_imported/data"
    os.makedirs(os.path.dirname(target), exist_ok=True)
    os.rename(folder, target)
    sql(
        f"CALL ice.system.add_files(table => 'db.spark_imported', source_table => '`parquet`.`{target}`')",
        "ALTER TABLE ice.db.spark_imported RENAME COLUMN name TO title",
        "INSERT INTO ice.db.spark_imported VALUES (100, 'added', 1), (101, NULL, NULL)",
    )
    expect("spark_imported", "SELECT * FROM ice.db.spark_imported ORDER BY id")


def equality_deletes():
    """Equality deletes by the Java library itself: Spark has no statement that writes them."""
    jvm = spark.sparkContext._jvm
    gateway = spark.sparkContext._gateway
    ice = jvm.org.apache.iceberg
    sql(
        "CREATE TABLE ice.db.java_equality (id int, k string, n int) USING iceberg PARTITIONED BY (truncate(1, k)) "
        "TBLPROPERTIES ('format-version'='2')",
        "INSERT INTO ice.db.java_equality SELECT cast(id AS int), if(id % 9 = 0, NULL, concat(substr('abc', id % 3 + 1, 1), "
        "id)), cast(id % 4 AS int) FROM range(40)",
    )

    def delete(columns, rows, partition, spec_id):
        table = jvm.org.apache.iceberg.hadoop.HadoopTables(spark._jsc.hadoopConfiguration()).load(
            f"{warehouse}/db/java_equality"
        )
        schema = table.schema().select(gateway.new_array(jvm.String, 0) if not columns else to_list(columns))
        ids = gateway.new_array(jvm.int, len(columns))
        for idx, column in enumerate(columns):
            ids[idx] = table.schema().findField(column).fieldId()
        spec = table.specs().get(spec_id)
        factory = ice.data.GenericAppenderFactory(table.schema(), spec, ids, schema, None)
        out = table.io().newOutputFile(f"{table.location()}/data/eq-{len(rows)}-{'-'.join(columns)}.parquet")
        encrypted = ice.encryption.EncryptedFiles.encryptedOutput(out, jvm.org.apache.iceberg.encryption.EncryptionKeyMetadata.EMPTY)
        key = None
        if spec_id == 0:
            key = ice.data.GenericRecord.create(spec.partitionType())
            key.set(0, partition)
        writer = factory.newEqDeleteWriter(encrypted, ice.FileFormat.PARQUET, key)
        for row in rows:
            record = ice.data.GenericRecord.create(schema)
            for idx, value in enumerate(row):
                record.set(idx, value)
            writer.write(record)
        writer.close()
        table.newRowDelta().addDeletes(writer.toDeleteFile()).commit()

    def to_list(values):
        items = jvm.java.util.ArrayList()
        for value in values:
            items.add(value)
        return items

    # NULL keys, in one partition; a key that is in another partition too must stay there.
    delete(["k"], [(None,)], None, 0)
    delete(["k", "n"], [("a3", 3), ("a6", 0), ("b1", 1)], "a", 0)
    # Rows that come later are not touched by earlier deletes.
    sql("INSERT INTO ice.db.java_equality VALUES (100, 'a3', 3), (101, NULL, 1)")
    expect("java_equality", "SELECT * FROM ice.db.java_equality ORDER BY id")
    # Without partitions a delete reaches every file.
    sql(
        "ALTER TABLE ice.db.java_equality DROP PARTITION FIELD truncate(1, k)",
        "INSERT INTO ice.db.java_equality VALUES (200, 'z', 2), (201, 'z', 3)",
    )
    table_specs = jvm.org.apache.iceberg.hadoop.HadoopTables(spark._jsc.hadoopConfiguration()).load(
        f"{warehouse}/db/java_equality"
    )
    delete(["n"], [(2,)], None, table_specs.spec().specId())
    sql("ALTER TABLE ice.db.java_equality RENAME COLUMN n TO m")
    expect("java_equality", "SELECT * FROM ice.db.java_equality ORDER BY id")


if __name__ == "__main__":
    for make in (v1, evolved, position_deletes, vectors, types, imported, equality_deletes):
        if len(sys.argv) > 2 and make.__name__ not in sys.argv[2:]:
            continue
        make()
        print(make.__name__, "written", flush=True)
    spark.stop()
