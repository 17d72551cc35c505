# Every target works from a bare clone: Python 3.11+, make, and a network that reaches the package registries.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
export UV_NO_CONFIG := 1

.PHONY: run test check bench chaos pythons dist docs fmt lock install assets screenshots docs-reference clean
.DEFAULT_GOAL := help

help:
	@echo "make run     start Postgres, NATS, the console, a living demo and the example service"
	@echo "make test    every test, on real servers"
	@echo "make check   lint, types, import rules, words"
	@echo "make bench   the figures of docs/benchmarks.md"
	@echo "make chaos   the long failure tests"
	@echo "make pythons  the SDK's and the unit tests on every Python of this machine"
	@echo "make docs    the guides as a site, in docs/dist"
	@echo "make dist    wheels and source distributions, tested in empty environments"
	@echo "make fmt     format code, wrap prose"
	@echo "make assets  build what the browser loads (no Node needed)"
	@echo "make docs-reference  write the pages that come from the code: settings, resources, decisions"
	@echo "make screenshots  every page of the console, into screenshots/"
	@echo "make lock    resolve the pins in requirements/ again"

$(BIN)/uv:
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/bootstrap.txt

$(STAMP): $(BIN)/uv requirements/dev.txt pyproject.toml sdk/pyproject.toml
	@# Compiled once, here: where Python may not write bytecode, every process would compile all of it again.
	$(BIN)/uv pip sync --quiet --compile-bytecode --python $(BIN)/python --require-hashes requirements/bootstrap.txt requirements/dev.txt
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --editable sdk --editable .
	@touch $(STAMP)

install: $(STAMP)

UI_SOURCES := $(shell find ui/static -type f 2>/dev/null) ui/build.py ui/package-lock.json
ui/dist/manifest.json: $(UI_SOURCES) | $(STAMP)
	$(BIN)/python ui/build.py

DOCS_SOURCES := $(shell find docs ui/static/css -name dist -prune -o -type f -print 2>/dev/null) README.md CHANGELOG.md CONTRIBUTING.md sdk/README.md
docs/dist/index.html: $(DOCS_SOURCES) | $(STAMP)
	$(BIN)/python -m docs.site

assets: install ui/dist/manifest.json docs/dist/index.html

docs: install docs/dist/index.html

dist: install
	rm -rf dist
	$(BIN)/uv build --quiet --out-dir dist .
	$(BIN)/uv build --quiet --out-dir dist sdk
	DIST=$(CURDIR)/dist $(BIN)/python -m pytest tests/e2e/test_wheels.py -q

run: assets
	@$(BIN)/python sdk/examples/support_copilot.py --data-dir .brownout --wait 120 & trap "kill $$! 2>/dev/null" EXIT; \
	$(BIN)/brownout up --demo --data-dir .brownout

test: assets
	$(BIN)/python -m pytest -n 2 --dist loadgroup $(ARGS)

check: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/pyright
	$(BIN)/lint-imports
	$(BIN)/djlint --quiet --lint ui/templates
	$(BIN)/python -m docs.prose
	.ci/audit || [ $$? -eq 75 ]  # nothing was audited: it says so

BENCH := .venv-bench
$(BENCH)/.installed: $(STAMP) requirements/bench.txt
	$(BIN)/uv venv --quiet --clear --python $(BIN)/python $(BENCH)
	$(BIN)/uv pip sync --quiet --python $(BENCH)/bin/python --require-hashes requirements/bench.txt
	$(BIN)/uv pip install --quiet --python $(BENCH)/bin/python --no-deps --editable sdk
	@touch $@

bench: install $(BENCH)/.installed
	$(BIN)/python -m tests.bench $(ARGS)

chaos: install
	$(BIN)/python -m pytest -m chaos --chaos=long $(ARGS)

pythons: install
	$(BIN)/python -m tests.pythons $(ARGS)

screenshots: assets
	$(BIN)/python -m tests.e2e.screenshots $(ARGS)

docs-reference: install
	$(BIN)/python -m docs.reference

fmt: install
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/python -m docs.prose --wrap

COMPILE := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --no-emit-package brownout --custom-compile-command "make lock"
lock: $(BIN)/uv
	$(COMPILE) requirements/bootstrap.in -o requirements/bootstrap.txt
	$(COMPILE) pyproject.toml -o requirements/run.txt
	$(COMPILE) pyproject.toml sdk/pyproject.toml --group dev --group test -c requirements/run.txt -o requirements/dev.txt
	$(COMPILE) requirements/bench.in sdk/pyproject.toml -c requirements/run.txt -o requirements/bench.txt

clean:
	rm -rf $(VENV) $(BENCH) .venv-pythons .brownout ui/dist ui/node_modules docs/dist dist
