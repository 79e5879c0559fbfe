# Builds the one binary and runs it; the role is the command.
FROM rust:1.95-bookworm AS build
WORKDIR /src
COPY . .
RUN cargo build --release --locked

FROM debian:bookworm-slim
RUN apt-get update && apt-get install -y --no-install-recommends ca-certificates && rm -rf /var/lib/apt/lists/*
COPY --from=build /src/target/release/saltlake /usr/local/bin/saltlake
RUN useradd --create-home saltlake
USER saltlake
ENTRYPOINT ["saltlake"]
CMD ["serve"]
