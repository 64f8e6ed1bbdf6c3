# syntax=docker/dockerfile:1.7

# Where the program comes from: `build` builds it here; `released` takes it from dist/linux/ARCHITECTURE, where the release
# workflow unpacks its archives, so that the image holds the very files of the release.
ARG PROGRAM=build

# ONNX Runtime from its wheel: up to 1.4 times as fast as the built-in engine.
FROM python:3.13-slim-bookworm AS onnxruntime
COPY deploy/onnxruntime.txt /
RUN pip download --no-cache-dir --no-deps --only-binary :all: --require-hashes --requirement /onnxruntime.txt --dest /wheel \
    && python -m zipfile -e /wheel/onnxruntime-*.whl /unpacked \
    && cp /unpacked/onnxruntime/capi/libonnxruntime.so.* /libonnxruntime.so

FROM rust:1.95-slim-bookworm AS build
# hadolint ignore=DL3008
RUN apt-get update && apt-get install -y --no-install-recommends build-essential && rm -rf /var/lib/apt/lists/*
WORKDIR /build
# The dependencies first, with empty sources: a layer that only Cargo.toml and Cargo.lock can outdate.
COPY Cargo.toml Cargo.lock ./
COPY crates/clip/Cargo.toml crates/clip/
COPY crates/qdrant-double/Cargo.toml crates/qdrant-double/
COPY crates/test-postgres/Cargo.toml crates/test-postgres/
COPY crates/lean crates/lean
RUN mkdir -p src benches crates/clip/src crates/qdrant-double/src crates/test-postgres/src \
    && for file in src/main.rs benches/indexing.rs benches/vector_store.rs benches/library.rs; do echo 'fn main() {}' > $file; done \
    && touch src/lib.rs crates/clip/src/lib.rs crates/qdrant-double/src/lib.rs crates/test-postgres/src/lib.rs \
    && cargo build --release --locked
COPY crates crates
COPY config config
COPY migrations migrations
COPY models models
COPY web/dist web/dist
COPY src src
COPY build.rs ./
ARG IMAGE_SEARCH_COMMIT
# Sources may be older than the empty ones that were built above.
RUN find src crates -name '*.rs' -exec touch {} + && cargo build --release --locked \
    && mkdir /program && cp target/release/image-search /program/
COPY --from=onnxruntime /libonnxruntime.so /program/

FROM scratch AS released
ARG TARGETARCH
COPY dist/linux/${TARGETARCH}/image-search dist/linux/${TARGETARCH}/libonnxruntime.so /program/

# hadolint ignore=DL3006
FROM ${PROGRAM} AS program

FROM debian:12.11-slim AS runtime
LABEL org.opencontainers.image.title="image-search" \
      org.opencontainers.image.description="Drop pictures in a folder, search them by words, rate the result" \
      org.opencontainers.image.licenses="Apache-2.0"
# hadolint ignore=DL3008
RUN apt-get update && apt-get install -y --no-install-recommends ca-certificates && rm -rf /var/lib/apt/lists/* \
    && useradd --uid 10001 --no-create-home --shell /usr/sbin/nologin image-search \
    && install -d -o image-search /data /models /images
COPY --from=program /program/libonnxruntime.so /usr/local/lib/libonnxruntime.so
COPY --from=program /program/image-search /usr/local/bin/image-search
ENV ORT_DYLIB_PATH=/usr/local/lib/libonnxruntime.so \
    IMAGE_SEARCH_IMAGES=/images \
    IMAGE_SEARCH_DATA_DIR=/data \
    IMAGE_SEARCH_MODELS__CACHE_DIR=/models \
    IMAGE_SEARCH_SERVER__HOST=0.0.0.0
USER 10001
VOLUME ["/data", "/models"]
EXPOSE 3000
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s --retries=3 CMD ["image-search", "health"]
ENTRYPOINT ["image-search"]
CMD ["serve"]
