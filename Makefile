# ops-system. `make help` lists the targets. Nothing here needs root but the Debian packages of `make test`.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DATA ?= data
PORT ?= 8080
TLS_PORT ?= 8443
WORKER_PORT ?= 8082
MASTER_PORT ?= 8080
IDC ?= dc1
SN ?= sn-001
COUNT ?= 1
ETCD ?=
STORE ?=
REGIONAL ?= http://127.0.0.1:8081
KERNEL ?= linux-image-cloud-amd64
PYTEST_ARGS ?=
PYTEST := $(VENV)/bin/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder # tests/conftest.py says what goes first and what together

STAMPS := $(VENV)/.stamps
CONSOLE := ops_system/master/console/index.html
FRONTEND_SOURCES := $(shell find frontend -path frontend/node_modules -prune -o -type f -print 2>/dev/null)
export PATH := $(CURDIR)/$(VENV)/node/bin:$(PATH)

.PHONY: help install run demo run-etcd run-regional run-agent stop test test-long test-wine check format lint types imports fast-tests frontend-check build initramfs audit bench api-docs clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 16

# --- install -----------------------------------------------------------------------------------------------------
$(STAMPS)/venv:
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed, this is " + sys.version.split()[0] if sys.version_info < (3, 11) else 0)'
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); echo "the venv module is missing: apt-get install python3-venv" >&2; exit 1; }
	@mkdir -p $(STAMPS) && touch $@

$(STAMPS)/runtime: requirements.lock pyproject.toml | $(STAMPS)/venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

$(STAMPS)/dev: requirements-dev.lock | $(STAMPS)/runtime
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.lock
	@touch $@

# Debian 12's Node 18 is too old for the build: then Node comes from PyPI into the virtual environment.
$(STAMPS)/node: requirements-node.lock | $(STAMPS)/runtime
	@$(BIN)/python packaging/ensure_node.py $(VENV)/node requirements-node.lock
	@touch $@

$(STAMPS)/npm: frontend/package-lock.json | $(STAMPS)/node
	@cd frontend && npm ci --no-audit --no-fund --loglevel=error
	@touch $@

$(CONSOLE): $(FRONTEND_SOURCES) | $(STAMPS)/npm
	@echo "building the console"
	@cd frontend && npm run --silent build >../$(STAMPS)/console.log 2>&1 || { cat ../$(STAMPS)/console.log; exit 1; }
	@touch $@

install: $(STAMPS)/runtime $(CONSOLE) ## .venv with the console scripts, the console built; starts nothing

# --- run -----------------------------------------------------------------------------------------------------------
run: install ## a console with one online node on this machine; Ctrl-C stops both, deployed services go on
	@exec $(BIN)/python packaging/run_local.py --data $(DATA) --port $(PORT) --tls-port $(TLS_PORT) --worker-port $(WORKER_PORT) --etcd "$(ETCD)"

demo: DATA = demo
demo: install ## what make run gives, with services, 40 simulated nodes and a data centre of simulated machines, in demo/
	@exec $(BIN)/python packaging/run_demo.py --data $(DATA) --port $(PORT) --tls-port $(TLS_PORT) --worker-port $(WORKER_PORT)

run-etcd: $(STAMPS)/runtime ## an etcd for installations on this machine; make run ETCD=http://127.0.0.1:2379 uses it
	@exec $(BIN)/python packaging/run_etcd.py --data $(DATA)

run-regional: PORT = 8081
run-regional: $(STAMPS)/runtime ## the regional client of a data centre beside make run: IDC=dc1 PORT=8081 [STORE=URL of an etcd]
	@exec $(BIN)/python packaging/run_regional.py --data $(DATA) --idc $(IDC) --port $(PORT) --master-port $(MASTER_PORT) --store "$(STORE)"

run-agent: $(STAMPS)/runtime ## play a machine that boots from the network: SN=sn-001 [COUNT=5] [REGIONAL=http://127.0.0.1:8081]
	@exec $(BIN)/ops-agent --mode simulate --regional-url $(REGIONAL) --sn $(SN) --count $(COUNT)

stop: $(STAMPS)/runtime ## end the services that `make run` left deployed
	@exec $(BIN)/python packaging/stop_local.py --data $(DATA)

# --- checks --------------------------------------------------------------------------------------------------------
format: $(STAMPS)/dev ## rewrite the layout of the Python files
	$(BIN)/ruff format ops_system tests packaging examples

lint: $(STAMPS)/dev
	$(BIN)/ruff format --check ops_system tests packaging examples
	$(BIN)/ruff check ops_system tests packaging examples

types: $(STAMPS)/dev
	$(BIN)/mypy

imports: $(STAMPS)/dev
	$(BIN)/lint-imports

frontend-check: $(STAMPS)/dev $(STAMPS)/npm
	$(BIN)/python packaging/export_api.py --check # writes docs/openapi.json, against which the console's types are held
	cd frontend && npm run --silent lint && npm run --silent typecheck && npm run --silent test

fast-tests: $(STAMPS)/dev
	$(PYTEST) -q tests/unit tests/architecture

check: lint types imports frontend-check fast-tests ## format, lint, types, imports, fast tests (under 3 minutes)

test: $(STAMPS)/dev install ## everything once; installs the Debian packages it needs when root
	$(BIN)/python packaging/test_packages.py
	@$(MAKE) -j2 --output-sync=target build lint types imports frontend-check
	$(PYTEST) -m "not long and not windows and not darwin and not wine" --durations=15 $(PYTEST_ARGS)

test-long: $(STAMPS)/dev install ## full repeat counts
	$(BIN)/python packaging/test_packages.py
	@$(MAKE) build
	$(PYTEST) -m "not windows and not darwin" --durations=15 $(PYTEST_ARGS)

test-wine: $(STAMPS)/dev install ## the Windows side under Wine: suite, worker, service, executables (installs Debian's Wine when root)
	$(BIN)/python packaging/wine.py
	$(BIN)/python -m pytest -m wine tests/wine --durations=15 $(PYTEST_ARGS)

# --- deliver -------------------------------------------------------------------------------------------------------
build: $(STAMPS)/dev $(CONSOLE) ## wheel, dist/{master,worker,pack-tool} and the bill of materials dist/sbom.cdx.json
	$(BIN)/python packaging/build.py
	$(BIN)/python packaging/sbom.py

initramfs: $(STAMPS)/dev $(CONSOLE) ## build/boot, what machines boot from a region: kernel, agent, worker, loaders (KERNEL=linux-image-amd64 for real hardware)
	$(BIN)/python packaging/build.py worker install-agent
	$(BIN)/python packaging/initramfs.py --kernel $(KERNEL)

audit: $(STAMPS)/dev $(STAMPS)/node ## known holes in the pinned dependencies: 1 a hole, 3 no database answered
	$(BIN)/python packaging/audit.py

bench: $(STAMPS)/dev install ## the numbers of docs/benchmarks.md, beside their peers
	$(BIN)/python packaging/test_packages.py bench
	$(BIN)/python tests/bench/run_all.py

api-docs: $(STAMPS)/dev $(STAMPS)/npm ## docs/openapi.json, the Postman collection and the console's types, from the routes
	$(BIN)/python packaging/export_api.py
	cd frontend && npm run --silent types

clean: ## remove what was built; keeps .venv and the data folder
	rm -rf build dist test-output ops_system/master/console
