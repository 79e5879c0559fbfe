// pgjdbc: DatabaseMetaData, prepared statements (binary after five runs), fetch size, batches of types; checks as in common.py.

import java.math.BigDecimal;
import java.sql.*;
import java.util.*;

public class RunJdbc {
    interface Check {
        Object run() throws Exception;
    }

    static void check(String name, Check body) {
        try {
            System.out.println(name + "\t" + shown(body.run()));
        } catch (SQLException error) {
            System.out.println(name + "\tERROR " + error.getSQLState());
        } catch (Exception error) {
            System.out.println(name + "\tERROR " + error);
        }
    }

    static String shown(Object value) {
        if (value instanceof List<?> list) {
            List<String> parts = new ArrayList<>();
            for (Object item : list) parts.add(shown(item));
            return parts.toString();
        }
        return value == null ? "null" : value.getClass().getSimpleName() + " " + value;
    }

    static List<Object> rows(ResultSet result, String... columns) throws SQLException {
        List<Object> rows = new ArrayList<>();
        int count = result.getMetaData().getColumnCount();
        while (result.next()) {
            List<Object> row = new ArrayList<>();
            if (columns.length == 0) {
                for (int idx = 1; idx <= count; idx++) row.add(result.getObject(idx));
            }
            for (String column : columns) row.add(result.getObject(column));
            rows.add(row);
        }
        return rows;
    }

    public static void main(String[] args) throws Exception {
        TimeZone.setDefault(TimeZone.getTimeZone("UTC"));
        String url = "jdbc:postgresql://" + args[0] + "/lake";
        Connection connection = DriverManager.getConnection(url, "test", "");
        DatabaseMetaData meta = connection.getMetaData();

        check("product", () -> List.of(meta.getDatabaseProductName(), meta.getDatabaseMajorVersion()));
        check("schemas", () -> rows(meta.getSchemas(null, "public"), "TABLE_SCHEM"));
        check("catalogs", () -> rows(meta.getCatalogs()).contains(List.of("lake")));
        check("tables", () -> rows(meta.getTables(null, "public", "emp", null), "TABLE_SCHEM", "TABLE_NAME", "TABLE_TYPE"));
        check("tables_of_a_type", () -> rows(meta.getTables("lake", null, "%", new String[] {"TABLE"}), "TABLE_NAME").contains(List.of("emp")));
        check("no_tables", () -> rows(meta.getTables(null, null, "nosuch", null)));
        check("columns", () -> rows(meta.getColumns(null, "public", "emp", "%"),
            "COLUMN_NAME", "DATA_TYPE", "TYPE_NAME", "COLUMN_SIZE", "DECIMAL_DIGITS", "NULLABLE", "ORDINAL_POSITION", "IS_NULLABLE", "COLUMN_DEF", "REMARKS"));
        check("one_column", () -> rows(meta.getColumns(null, null, "emp", "sal%"), "COLUMN_NAME", "TYPE_NAME"));
        check("primary_keys", () -> rows(meta.getPrimaryKeys(null, "public", "emp")));
        check("imported_keys", () -> rows(meta.getImportedKeys(null, "public", "emp")));
        check("exported_keys", () -> rows(meta.getExportedKeys(null, "public", "emp")));
        check("indexes", () -> rows(meta.getIndexInfo(null, "public", "emp", false, true)));
        check("table_types", () -> rows(meta.getTableTypes()).contains(List.of("TABLE")));
        check("types", () -> rows(meta.getTypeInfo(), "TYPE_NAME").containsAll(List.of(List.of("int4"), List.of("text"), List.of("numeric"))));
        check("procedures", () -> rows(meta.getProcedures(null, "public", "%")));
        check("best_row", () -> rows(meta.getBestRowIdentifier(null, "public", "emp", 0, true)));

        check("every_type_and_null", () -> rows(connection.createStatement().executeQuery("SELECT * FROM kinds ORDER BY id")));
        check("every_type_in_binary", () -> {
            List<Object> last = null;
            PreparedStatement statement = connection.prepareStatement("SELECT * FROM kinds ORDER BY id");
            for (int run = 0; run < 7; run++) last = rows(statement.executeQuery());
            return last;
        });
        check("result_metadata", () -> {
            ResultSetMetaData found = connection.prepareStatement("SELECT emp_id, salary, name, count(*) FROM emp GROUP BY 1, 2, 3").getMetaData();
            List<Object> columns = new ArrayList<>();
            for (int idx = 1; idx <= found.getColumnCount(); idx++) {
                columns.add(List.of(found.getColumnLabel(idx), found.getColumnTypeName(idx), found.getPrecision(idx), found.getScale(idx)));
            }
            return columns;
        });
        check("parameters", () -> {
            PreparedStatement statement = connection.prepareStatement("SELECT name FROM emp WHERE emp_id > ? AND salary > ? AND hired > ? AND name < ? AND is_remote = ? ORDER BY name");
            statement.setInt(1, 3);
            statement.setBigDecimal(2, new BigDecimal("3000.5"));
            statement.setDate(3, java.sql.Date.valueOf("2016-01-01"));
            statement.setString(4, "Z");
            statement.setBoolean(5, true);
            return rows(statement.executeQuery());
        });
        check("parameter_metadata", () -> {
            ParameterMetaData found = connection.prepareStatement("SELECT name FROM emp WHERE dept_id = ? AND name > ?").getParameterMetaData();
            return List.of(found.getParameterTypeName(1), found.getParameterTypeName(2));
        });
        check("fetched_in_pieces", () -> {
            connection.setAutoCommit(false);
            Statement statement = connection.createStatement();
            statement.setFetchSize(5);
            List<Object> found = rows(statement.executeQuery("SELECT emp_id FROM emp ORDER BY emp_id"));
            connection.commit();
            connection.setAutoCommit(true);
            return found;
        });
        check("savepoints", () -> {
            connection.setAutoCommit(false);
            Savepoint savepoint = connection.setSavepoint();
            String failed = "";
            try {
                connection.createStatement().executeQuery("SELECT nosuch FROM emp");
            } catch (SQLException error) {
                failed = error.getSQLState();
            }
            connection.rollback(savepoint);
            List<Object> found = rows(connection.createStatement().executeQuery("SELECT count(*) FROM emp"));
            connection.commit();
            connection.setAutoCommit(true);
            return List.of(failed, found);
        });
        check("read_only", () -> {
            connection.setReadOnly(true);
            connection.setTransactionIsolation(Connection.TRANSACTION_REPEATABLE_READ);
            List<Object> found = rows(connection.createStatement().executeQuery("SELECT count(*) FROM dept"));
            connection.setReadOnly(false);
            return found;
        });
        check("copy", () -> {
            java.io.StringWriter out = new java.io.StringWriter();
            connection.unwrap(org.postgresql.PGConnection.class).getCopyAPI().copyOut("COPY (SELECT dept_id, name FROM dept ORDER BY 1) TO STDOUT", out);
            return out.toString().replace("\n", "\\n").replace("\t", "\\t");
        });
        check("schema", () -> connection.getSchema());
        check("a_timeout", () -> {
            Statement statement = connection.createStatement();
            statement.setQueryTimeout(1);
            return rows(statement.executeQuery("SELECT sum(a * b % 7) FROM generate_series(1, 100000) x (a), generate_series(1, 1000000) y (b)"));
        });
        check("an_error", () -> rows(connection.createStatement().executeQuery("SELECT nosuch FROM emp")));
        connection.close();
    }
}
