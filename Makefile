# Needs only make and Python 3.11 or later. Everything else goes into .venv, once.

PYTHON ?= $(shell for python in python3 python3.13 python3.12 python3.11 python3.14; do \
	$$python -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$python; break; }; done)
VENV := .venv
BIN := $(VENV)/bin
ARGS ?=

.PHONY: help demo test check bench clean

help:
	@echo "make demo   a thousand sales become emails through two worker processes"
	@echo "make test   the whole test suite (ARGS='-k retry' for some of it)"
	@echo "make check  style, types, architecture"
	@echo "make bench  figures of aiotq and nine peers in one run, at most 40 minutes (ARGS=--quick for less)"

demo: $(VENV)/.demo
	@$(BIN)/python -m examples.shop $(ARGS)

test: $(VENV)/.dev
	@$(BIN)/python -m pytest -n 2 $(ARGS)

check: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/python tools/budgets.py
	$(BIN)/pyright --pythonpath $(BIN)/python

bench: $(VENV)/.bench
	@$(BIN)/python -m benchmarks run --publish $(ARGS)

clean:
	rm -rf $(VENV) benchmarks/.venvs .aiotq .coverage* .pytest_cache .ruff_cache .hypothesis .import_linter_cache

$(VENV)/.demo: pyproject.toml constraints.txt | $(BIN)/python
	@echo "Installing aiotq and the demo's mail server into $(VENV) (once) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[demo]'
	@touch $@

$(VENV)/.dev: pyproject.toml constraints.txt | $(BIN)/python
	@echo "Installing aiotq and what its tests need into $(VENV) (once) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@ $(VENV)/.demo

$(VENV)/.bench: $(VENV)/.dev
	@echo "Installing what the benchmarks draw with (once) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[bench]'
	@touch $@

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "error: no Python 3.11 or later with its venv module on PATH;" \
		"install one (Debian, Ubuntu: apt install python3 python3-venv), or say make PYTHON=/path/to/python3"; exit 2; }
	@$(PYTHON) -m venv $(VENV)
