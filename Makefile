# Needs only make and Python 3.11 or later. Everything else goes into .venv, once.

PYTHON ?= $(shell for python in python3 python3.13 python3.12 python3.11 python3.14; do \
	$$python -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$python; break; }; done)
VENV := .venv
BIN := $(VENV)/bin
ARGS ?=
MINUTES ?= 5
SEED ?=
TIMES ?= 20

.PHONY: help demo test test-servers check chaos faults bench lock clean

help:
	@echo "make demo   a thousand sales become emails through two worker processes"
	@echo "make test   the whole test suite (ARGS='-k retry' for some of it)"
	@echo "make test-servers   contract, inspection, model, process and fault suites on Redis 6.2, the redis-server on PATH, the newest Valkey"
	@echo "make check  style, types, architecture"
	@echo "make lock   constraints.lock anew: the newest of what development needs, with hashes"
	@echo "make chaos  workers, connections and the server broken at random for MINUTES=5; SEED=7 repeats a run"
	@echo "make faults TIMES=20   the tests of docs/reliability.md so often, each time in another order, until one fails"
	@echo "make bench  figures of aiotq and nine peers in one run, at most 40 minutes (ARGS=--quick for less)"

demo: $(VENV)/.demo
	@$(BIN)/python -m examples.shop $(ARGS)

test: $(VENV)/.dev
	@$(BIN)/python -m pytest -n 4 $(ARGS)

test-servers: $(VENV)/.dev
	@$(BIN)/python tools/servers.py -n 2 $(ARGS)

check: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/python tools/budgets.py
	$(BIN)/python tools/acl.py --check
	$(BIN)/pyright --pythonpath $(BIN)/python

chaos: $(VENV)/.dev
	@$(BIN)/python -m tests.faults.chaos --minutes $(MINUTES) $(if $(SEED),--seed $(SEED)) $(ARGS)

faults: $(VENV)/.dev
	@$(BIN)/python tools/again.py --times $(TIMES) -n 2 $(ARGS)

bench: $(VENV)/.bench
	@$(BIN)/python -m benchmarks run --publish $(ARGS)

# For every platform, and every Python from 3.11 on. The extra "dev" of pyproject.toml has to be in it: a test says so.
lock: | $(BIN)/python
	@$(PYTHON) -m venv $(VENV)/lock
	@$(VENV)/lock/bin/python -m pip install --quiet --disable-pip-version-check uv
	@$(VENV)/lock/bin/uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes --no-header \
		--no-annotate --constraints constraints.txt --extra dev pyproject.toml --output-file constraints.lock

clean:
	rm -rf $(VENV) benchmarks/.venvs .aiotq .coverage* .pytest_cache .ruff_cache .hypothesis .import_linter_cache

$(VENV)/.demo: pyproject.toml constraints.txt | $(BIN)/python
	@echo "Installing aiotq and the demo's mail server into $(VENV) (once) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[demo]'
	@touch $@

# What is installed is what was locked, byte for byte. aiotq itself is built with what the lock has, and fetches nothing.
$(VENV)/.dev: pyproject.toml constraints.lock | $(BIN)/python
	@echo "Installing aiotq and what its tests need into $(VENV) (once) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r constraints.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@ $(VENV)/.demo

$(VENV)/.bench: $(VENV)/.dev
	@echo "Installing what the benchmarks draw with (once) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[bench]'
	@touch $@

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "error: no Python 3.11 or later with its venv module on PATH;" \
		"install one (Debian, Ubuntu: apt install python3 python3-venv), or say make PYTHON=/path/to/python3"; exit 2; }
	@$(PYTHON) -m venv $(VENV)
