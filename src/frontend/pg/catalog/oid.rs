//! OIDs for the lake's schemas and relations.
//!
//! An OID is a hash of the object's name, so it is the same on every coordinator and after every restart, and costs no
//! state. PostgreSQL keeps the numbers below 16384 for itself; objects it fixes (`public`, `pg_catalog`) keep theirs.
//! Limit: two relations can share an OID, at ten thousand relations with a chance of about one percent.

/// First OID that PostgreSQL leaves to users.
const FIRST_USER_OID: u32 = 16_384;
/// `pg_catalog` in `pg_namespace`.
pub const PG_CATALOG: i64 = 11;
/// `public` in `pg_namespace`.
pub const PUBLIC: i64 = 2200;
/// The role that owns everything: PostgreSQL's bootstrap superuser.
pub const OWNER: i64 = 10;
/// The access method of tables.
pub const ACCESS_METHOD: i64 = 2;
/// `pg_default` in `pg_tablespace`.
pub const TABLESPACE: i64 = 1663;
/// The default collation, which every text column names.
pub const COLLATION: i64 = 100;

/// Returns the OID of a schema.
pub fn schema(name: &str) -> i64 {
    match name {
        "pg_catalog" => PG_CATALOG,
        "public" => PUBLIC,
        other => hash(&["schema", other]),
    }
}

/// Returns the OID of a table or view of the lake.
pub fn relation(schema: &str, name: &str) -> i64 {
    hash(&["relation", schema, name])
}

/// Returns the OID of a database.
pub fn database(name: &str) -> i64 {
    hash(&["database", name])
}

/// FNV-1a over the parts, each closed by a zero byte so that `a.bc` and `ab.c` differ.
fn hash(parts: &[&str]) -> i64 {
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    for part in parts {
        for byte in part.bytes().chain([0]) {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
    let span = u64::from(u32::MAX - FIRST_USER_OID);
    (u64::from(FIRST_USER_OID) + (hash ^ (hash >> 32)) % span).cast_signed()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn oids_are_stable_and_tell_names_apart() {
        assert_eq!(relation("public", "trips"), relation("public", "trips"));
        assert_ne!(relation("public", "trips"), relation("nyc", "trips"));
        assert_ne!(relation("a", "bc"), relation("ab", "c"));
        assert!(relation("public", "trips") >= i64::from(FIRST_USER_OID));
        assert!(relation("public", "trips") <= i64::from(u32::MAX));
        assert_eq!(schema("public"), 2200);
    }

    #[test]
    fn the_hash_never_changes() {
        // Clients may have stored it: a change of this number is a break.
        assert_eq!(relation("public", "trips"), GOLDEN_TRIPS);
    }

    const GOLDEN_TRIPS: i64 = 1_962_162_413;
}
