# syntax=docker/dockerfile:1.7

# ONNX Runtime from its wheel: up to 1.4 times as fast as the built-in engine.
FROM python:3.13-slim-bookworm AS onnxruntime
RUN pip download --no-cache-dir --no-deps --only-binary :all: --dest /wheel onnxruntime==1.32.0 \
    && python -m zipfile -e /wheel/onnxruntime-*.whl /unpacked \
    && cp /unpacked/onnxruntime/capi/libonnxruntime.so.* /libonnxruntime.so

FROM rust:1.95-slim-bookworm AS build
# hadolint ignore=DL3008
RUN apt-get update && apt-get install -y --no-install-recommends build-essential && rm -rf /var/lib/apt/lists/*
WORKDIR /build
# The dependencies first, with empty sources: a layer that only Cargo.toml and Cargo.lock can outdate.
COPY Cargo.toml Cargo.lock ./
COPY crates/clip/Cargo.toml crates/clip/
RUN mkdir -p src benches crates/clip/src \
    && echo 'fn main() {}' > src/main.rs && cp src/main.rs benches/indexing.rs && cp src/main.rs benches/vector_store.rs \
    && touch src/lib.rs crates/clip/src/lib.rs \
    && cargo build --release --locked
COPY crates crates
COPY config config
COPY migrations migrations
COPY models models
COPY web/dist web/dist
COPY src src
# Sources may be older than the empty ones that were built above.
RUN find src crates -name '*.rs' -exec touch {} + && cargo build --release --locked

FROM debian:12.11-slim AS runtime
LABEL org.opencontainers.image.title="image-search" \
      org.opencontainers.image.description="Drop pictures in a folder, search them by words, rate the result" \
      org.opencontainers.image.licenses="Apache-2.0"
# hadolint ignore=DL3008
RUN apt-get update && apt-get install -y --no-install-recommends ca-certificates && rm -rf /var/lib/apt/lists/* \
    && useradd --uid 10001 --no-create-home --shell /usr/sbin/nologin image-search \
    && install -d -o image-search /data /models /images
COPY --from=onnxruntime /libonnxruntime.so /usr/local/lib/libonnxruntime.so
COPY --from=build /build/target/release/image-search /usr/local/bin/image-search
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
