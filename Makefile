# All that is needed: python3 (>= 3.11) with venv, git, make. Everything else comes into .venv, pinned by hash.

PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --no-input --quiet
# The migrating command sets time limits and runs a file in one transaction, where no index can be concurrent; interval
# numbers fit an int4 (docs/decisions.md).
SQUAWK := --pg-version 15.0 --assume-in-transaction \
	--exclude require-lock-timeout,require-statement-timeout,require-concurrent-index-creation,prefer-bigint-over-int,prefer-bigint-over-smallint
UPLOT := 1.6.32
SCRIPTS := .ci/run $(wildcard packaging/*/*.sh tests/system/*.sh) packaging/deb/postinst packaging/deb/prerm packaging/deb/postrm

.DEFAULT_GOAL := help
.PHONY: help demo try docs tables pictures uplot test test-alerts test-monitoring test-browser test-system fuzz deb sbom audit lint format check bench bench-large profile lock clean prove prove-long simulate soak coverage mutants second-opinion

help: ## what can be made
	@awk -F ':.*## ' '/^[a-z.-]+:.*## / { printf "  make %-15s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.venv/.installed: pyproject.toml requirements.lock
	@echo "installing into .venv"
	@$(PYTHON) -m venv .venv
	@$(PIP) install --require-hashes -r requirements.lock
	@$(PIP) install --no-deps --no-build-isolation -e .
	@touch $@

try: .venv/.installed ## a daemon to look at, with its page and something going wrong all the time, until Ctrl-C
	@$(BIN)/marketd try

demo: .venv/.installed ## a rehearsal exchange, a private PostgreSQL and marketd between them
	@$(BIN)/marketd demo

SPREAD := --numprocesses=4 --dist=worksteal
test: .venv/.installed ## unit and integration tests, on a private PostgreSQL, four at a time
	@$(BIN)/python -m pytest $(SPREAD) $(ARGS)

# Below 95 % of all lines and branches it fails, and wherever one is left out of what decides which candles are owed.
WHOLE := marketd/planner.py,marketd/ranges.py,marketd/timeframe.py,marketd/page.py,marketd/store/leases.py
coverage: .venv/.installed ## what of marketd the tests run, lines and branches: unit tests alone, then with the integration tests
	@mkdir -p build/coverage && $(BIN)/coverage erase
	@$(BIN)/coverage run -m pytest $(SPREAD) tests/unit $(ARGS)
	@$(BIN)/coverage combine --quiet && $(BIN)/coverage report >build/coverage/unit.txt
	@$(BIN)/coverage run -m pytest $(SPREAD) tests/integration $(ARGS)
	@$(BIN)/coverage combine --quiet --append && $(BIN)/coverage html --quiet --directory build/coverage/html
	@echo "unit tests alone:" && tail -1 build/coverage/unit.txt && $(BIN)/coverage report --fail-under 95
	@$(BIN)/coverage report --include $(WHOLE) --fail-under 100

# Hours for all of it: ARGS="ranges page" these modules only, ARGS="ledger --sample 60 --seed 2" some mistakes of one.
mutants: .venv/.installed ## mistakes in the pure modules, one at a time, that their unit tests have to find
	@$(BIN)/python -m tests.mutants $(ARGS)

# A hundred seconds, unless DAYS says how long: the worlds of one seed, WORLD a single one of them as a report names it.
simulate: .venv/.installed ## the whole engine in virtual time, and everything that can go wrong: SEED= DAYS= SERIES= WORLD= EXCHANGE= JOBS= JSON=
	@$(BIN)/python -m tests.simulation $(if $(SEED),--seed $(SEED)) $(if $(WORLD),--world $(WORLD)) $(if $(EXCHANGE),--exchange $(EXCHANGE)) \
		$(if $(DAYS),--days $(DAYS),--days 1000 --seconds 100 --life 5) $(if $(SERIES),--series $(SERIES)) \
		$(if $(JOBS),--jobs $(JOBS)) $(if $(JSON),--json $(JSON))

test-alerts: .venv/.installed ## the rules for Prometheus, and the page of metrics it scrapes
	@command -v promtool >/dev/null || { echo "make test-alerts needs promtool, in Debian's package prometheus" >&2; exit 1; }
	promtool check config packaging/prometheus/prometheus.yml
	promtool check config --syntax-only packaging/container/prometheus.yml
	promtool check rules packaging/prometheus/marketd-alerts.yml
	promtool test rules packaging/prometheus/marketd-alerts.test.yml
	@mkdir -p build
	@$(BIN)/python packaging/prometheus/render_metrics.py >build/metrics.txt
	promtool check metrics <build/metrics.txt

test-monitoring: .venv/.installed ## the alerts in a real Prometheus that scrapes real daemons, in less than three minutes
	@command -v prometheus >/dev/null || { echo "make test-monitoring needs Debian's package prometheus" >&2; exit 1; }
	@$(BIN)/python -m pytest tests/monitoring $(ARGS)

test-browser: .venv/.installed ## the pages in Chromium (Debian's package): what is read there, and pictures in build/pictures
	@command -v chromium >/dev/null || { echo "make test-browser needs Debian's package chromium" >&2; exit 1; }
	@$(BIN)/python -m pytest tests/browser $(ARGS)

test-system: .venv/.installed ## the package and its units on a booted Debian (as root; docs/operations.md says what it takes)
	@$(BIN)/python -m tests.system.machine
	@packaging/deb/build.sh 1 2
	@$(BIN)/python -m pytest tests/system $(ARGS)

prove: .venv/.installed ## marketd struck at some of its turns and calls, others each time, in two and a half minutes
	@$(BIN)/python -m tests.prove --points 12 --seconds 125 $(ARGS)

prove-long: .venv/.installed ## the same at every turn and every call, which takes hours; then mistakes that must be found
	@$(BIN)/python -m tests.prove $(ARGS)
	@$(BIN)/python -m tests.prove.teeth

soak: .venv/.installed ## a daemon at ten times the ordinary rate for MINUTES (60), and a trouble a minute: does it take more and more?
	@$(BIN)/python -m tests.soak --minutes $(or $(MINUTES),60) $(ARGS)

fuzz: .venv/.installed ## a million spoilt replies for each exchange's reader, in some minutes (ARGS="--inputs N --seed S")
	@$(BIN)/python -m tests.fuzz $(ARGS)

# ccxt wants an older uvloop than marketd does, so it gets an environment of its own; the tests read what it said.
CCXT := 4.5.90
build/ccxt/.installed-$(CCXT):
	@echo "installing into build/ccxt"
	@rm -rf build/ccxt && $(PYTHON) -m venv build/ccxt
	@build/ccxt/bin/python -m pip --disable-pip-version-check --no-input --quiet install ccxt==$(CCXT)
	@touch $@

second-opinion: build/ccxt/.installed-$(CCXT) ## what ccxt reads in the recorded replies, kept for the tests in tests/conformance/opinions
	@build/ccxt/bin/python -m tests.conformance.ccxt

deb: .venv/.installed ## a package for this Debian, in build/deb
	@packaging/deb/build.sh

sbom: .venv/.installed ## what marketd is made of, as CycloneDX, in build/sbom.json
	@mkdir -p build
	@$(BIN)/python packaging/deb/runtime_lock.py >build/runtime.lock
	@PYTHONWARNINGS=ignore $(BIN)/cyclonedx-py requirements --output-reproducible --pyproject pyproject.toml -o build/sbom.json build/runtime.lock
	@echo build/sbom.json

audit: .venv/.installed ## known weaknesses of all that is pinned (asks PyPI's advisory database)
	@$(BIN)/python packaging/audit.py

lint: .venv/.installed ## format, lint, types, floors, spelling, migrations
	$(BIN)/ruff format --check --quiet .
	$(BIN)/ruff check --quiet .
	$(BIN)/mypy --no-error-summary
	$(BIN)/lint-imports
	$(BIN)/codespell
	$(BIN)/squawk $(SQUAWK) sql/migrations/*.sql
ifeq ($(shell uname -s),Linux)
	$(BIN)/shellcheck $(SCRIPTS)
	$(BIN)/hadolint packaging/container/Containerfile
endif
	$(BIN)/check-jsonschema --builtin-schema vendor.compose-spec packaging/container/compose.yaml

format: .venv/.installed ## rewrite the code in the house format
	@$(BIN)/ruff format --quiet .
	@$(BIN)/ruff check --quiet --fix .

check: lint test ## what has to pass before a commit

bench: .venv/.installed ## measure what candles cost beside plain COPY, the port, how late many jobs start, a shared budget, verify, and the parts alone
	@$(BIN)/python -m bench $(ARGS)
	@$(BIN)/python -m bench.port
	@$(BIN)/python -m bench.page
	@$(BIN)/python -m bench.gaps
	@$(BIN)/python -m bench.cycle
	@$(BIN)/python -m bench.jobs
	@$(BIN)/python -m bench.turns
	@$(BIN)/python -m bench.verify
	@$(BIN)/python -m bench.partition
	@$(BIN)/python -m bench.floor

profile: .venv/.installed ## where the time of a backfill goes, by statement and by function
	@$(BIN)/python -m bench.profile $(ARGS)

bench-large: .venv/.installed ## the same beside ten and fifty million candles, and with 100 000 jobs
	@$(BIN)/python -m bench.port --large
	@$(BIN)/python -m bench.page --series 5000
	@$(BIN)/python -m bench.gaps --large
	@$(BIN)/python -m bench.jobs --large
	@$(BIN)/python -m bench.verify --large

docs: .venv/.installed ## the manual, in build/docs
	@mkdir -p build && $(BIN)/zensical build --strict >build/docs.log 2>&1 || { cat build/docs.log; exit 1; }
	@echo "build/docs/index.html"

tables: .venv/.installed ## docs/tables.md anew, of the comments in the schema
	@$(BIN)/python packaging/tables.py

pictures: .venv/.installed ## docs/pictures anew, of what make test-browser sees
	@$(BIN)/python -m pytest tests/browser -k "desktop-light or terminal"
	@cp build/pictures/terminal-status.svg build/pictures/terminal-top.svg docs/pictures/
	@cp build/pictures/the_page-desktop-light-holes.png docs/pictures/status-page.png
	@cp build/pictures/a_series_and_its_gap-desktop-light.png docs/pictures/series.png

uplot: ## fetch the charts' library from npm anew, and hold it against its checksums
	@rm -rf build/uplot && mkdir -p build/uplot && cd build/uplot && npm pack --silent uplot@$(UPLOT) >/dev/null && tar -xzf uplot-$(UPLOT).tgz
	@cp build/uplot/package/dist/uPlot.iife.min.js build/uplot/package/dist/uPlot.min.css marketd/web/static/
	@cp build/uplot/package/LICENSE marketd/web/static/uPlot.LICENSE
	@cd marketd/web/static && sha256sum --check uPlot.sha256

lock: ## pin the newest versions that fit pyproject.toml (uv comes into a scratch environment)
	@rm -rf build/lock && $(PYTHON) -m venv build/lock
	@build/lock/bin/python -m pip --disable-pip-version-check --quiet install uv
	@build/lock/bin/uv pip compile pyproject.toml --quiet --universal --python-version 3.11 --generate-hashes \
		--extra embedded --group test --group lint --group build --upgrade --no-annotate --no-header \
		--no-emit-index-url --no-emit-find-links --no-sources --output-file requirements.lock
	@rm -rf build/lock

clean: ## forget everything that can be made again
	@rm -rf .venv build dist .demo .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .coverage .coverage.*
