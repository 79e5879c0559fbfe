//! Rewriting, statement by statement; that psql's statements then give psql's answers is tested in `catalog::tests`.

use super::*;

fn check(sql: &str, expected: &str) {
    let mut statements = saltlake_sql::parse::parse(sql, Default::default()).unwrap();
    rewrite(&mut statements[0].ast);
    assert_eq!(statements[0].ast.to_string(), expected);
}

#[test]
fn spelling_of_psql_is_made_plain() {
    check(
        "SELECT oid FROM pg_class c WHERE c.relname OPERATOR(pg_catalog.~) '^(t)$' COLLATE pg_catalog.default",
        "SELECT oid FROM pg_catalog.pg_class c WHERE c.relname ~ '^(t)$'",
    );
    check("SELECT pg_catalog.format_type(1, 2)", "SELECT format_type(1, 2)");
    check(
        "SELECT 1 FROM pg_class WHERE oid = '16386'",
        "SELECT 1 FROM pg_catalog.pg_class WHERE oid = 16386",
    );
    check(
        "SELECT c.oid::pg_catalog.regclass, 'pg_class'::regclass FROM pg_class c",
        "SELECT regclass_name(c.oid), regclass_oid('pg_class') FROM pg_catalog.pg_class c",
    );
    check("SELECT 'x'::pg_catalog.text", "SELECT 'x'::TEXT");
}

#[test]
fn other_statements_stay_as_they_are() {
    for sql in [
        "SELECT a FROM t WHERE b ~ 'x' AND c = '1' AND d = (SELECT e FROM u WHERE u.f = t.f)",
        "SELECT count(*) FROM nyc.pg_class",
        "INSERT INTO t VALUES (1)",
    ] {
        check(sql, sql);
    }
}

#[test]
fn subqueries_over_empty_tables_have_known_answers() {
    check(
        "SELECT (SELECT d.adbin FROM pg_attrdef d WHERE d.adnum = a.attnum) FROM pg_attribute a",
        "SELECT CAST(NULL AS TEXT) FROM pg_catalog.pg_attribute a",
    );
    check(
        "SELECT 1 FROM pg_class c WHERE EXISTS (SELECT 1 FROM pg_index i WHERE i.indrelid = c.oid)",
        "SELECT 1 FROM pg_catalog.pg_class c WHERE false",
    );
    check(
        "SELECT array(SELECT rolname FROM pg_policy) FROM pg_class",
        "SELECT empty_text_array() FROM pg_catalog.pg_class",
    );
}

#[test]
fn types_that_are_not_here_are_not_asked_for() {
    check(
        "SELECT CASE WHEN t.typtype = 'c' THEN (SELECT array_agg(a.atttypid ORDER BY a.attnum) FROM pg_attribute a) \
         ELSE NULL END FROM pg_type t",
        "SELECT typed_null('oid[]') FROM pg_catalog.pg_type t",
    );
    check(
        "SELECT CASE WHEN t.typtype = 'd' THEN (WITH RECURSIVE b (oid) AS (SELECT t.typbasetype FROM pg_type u) \
         SELECT oid FROM b LIMIT 1) END FROM pg_type t",
        "SELECT typed_null('oid') FROM pg_catalog.pg_type t",
    );
    let known = "SELECT CASE WHEN t.typtype = 'b' THEN 1 END FROM pg_catalog.pg_type t";
    check(known, known);
}

#[test]
fn groups_over_empty_tables_are_none() {
    check(
        "SELECT c.conname, ARRAY_AGG(a.attname) AS columns FROM pg_constraint c JOIN pg_attribute a ON true \
         GROUP BY c.conname HAVING count(*) > 1",
        "SELECT typed_null('name') AS \"conname\", typed_null('name[]') AS \"columns\" WHERE false",
    );
    let total = "SELECT count(*) FROM pg_catalog.pg_constraint GROUP BY ROLLUP (conname)";
    check(total, total);
}

#[test]
fn selects_over_empty_tables_keep_their_columns() {
    check(
        "SELECT pol.polname, polroles = '{0}' FROM pg_catalog.pg_policy pol ORDER BY 1",
        "SELECT typed_null('name') AS \"polname\", CAST(NULL AS TEXT) AS \"?column?\" WHERE false",
    );
    check(
        "SELECT c.oid FROM pg_class c JOIN pg_index i ON i.indrelid = c.oid",
        "SELECT typed_null('oid') AS \"oid\" WHERE false",
    );
    // A left join with nothing keeps its left side, and an aggregate has a row.
    check(
        "SELECT c.oid FROM pg_class c LEFT JOIN pg_index i ON i.indrelid = c.oid",
        "SELECT c.oid FROM pg_catalog.pg_class c LEFT JOIN pg_catalog.pg_index i ON i.indrelid = c.oid",
    );
    check("SELECT count(*) FROM pg_index", "SELECT count(*) FROM pg_catalog.pg_index");
}

#[test]
fn correlated_subqueries_become_aggregates() {
    check(
        "SELECT (SELECT n.nspname FROM pg_namespace n WHERE n.oid = c.relnamespace) FROM pg_class c",
        "SELECT (SELECT max(n.nspname) FROM pg_catalog.pg_namespace n WHERE n.oid = c.relnamespace) \
         FROM pg_catalog.pg_class c",
    );
}

#[test]
fn words_without_parentheses_are_functions() {
    check("SELECT current_schema", "SELECT current_schema()");
    check("SELECT session_user, \"current_schema\"", "SELECT session_user(), \"current_schema\"");
}
