# syntax=docker/dockerfile:1
#
#   docker build -t attache .
#   docker run --read-only -p 8080:8080 -v attache:/var/lib/attache \
#     -e ATTACHE_AUTH__MODE=token attache
#   docker exec <container> /attache token create --name wiki --scope read,write,delete
#
# The container listens on all its addresses, so it needs an auth.mode other than "open". It writes below /var/lib/attache and
# nowhere else, as user 65532. Logs go to stderr; ATTACHE_LOG_FORMAT=json makes them lines of JSON.

# The same Debian release as below, so that the C library is the same.
FROM rust:1-bookworm AS build
WORKDIR /src
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    cargo build --profile dist --locked --package attache-server --bin attache \
    && cp target/dist/attache /attache
# A new volume takes its owner from the folder that it covers.
RUN mkdir -p /data/attache

# C library, libgcc, root certificates, no shell.
FROM gcr.io/distroless/cc-debian12:nonroot
COPY --from=build /attache /attache
COPY --from=build --chown=65532:65532 /data/attache /var/lib/attache
WORKDIR /var/lib/attache
ENV ATTACHE_SERVER__LISTEN=0.0.0.0:8080
USER 65532:65532
EXPOSE 8080
VOLUME /var/lib/attache
# Where configuration and environment let it listen, with TLS or without. Readiness (`--ready`) is for load balancers:
# restarting attache does not help when the store is unavailable.
HEALTHCHECK --interval=15s --timeout=6s --start-period=10s --retries=3 CMD ["/attache", "health"]
ENTRYPOINT ["/attache"]
CMD ["serve"]
