# Short names for the commands of .ci/run; nobody needs just.

# Everything CI checks.
check:
    .ci/run

# Unit, SQL and system tests.
test *ARGS:
    cargo nextest run --workspace --locked {{ARGS}}

# SQL files only, on one process and on a cluster.
slt:
    cargo nextest run --locked --test it slt::

# Checks the answers of the SQL files against a PostgreSQL: just oracle 127.0.0.1:5432
oracle ADDRESS:
    SALTLAKE_TEST_POSTGRES={{ADDRESS}} cargo nextest run --locked --test it --run-ignored only slt::

# Rewrites docs/config.md.
config-reference:
    cargo run --locked -- config reference > docs/config.md

# TPC-H beside DuckDB and DataFusion; `just bench --check` compares rows only.
bench *ARGS:
    cargo build --release --locked
    benches/e2e/run {{ARGS}}

# Starts the servers of docker-compose.yml.
up:
    docker compose up --build
