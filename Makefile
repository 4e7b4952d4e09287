# Every target does its own set-up; nothing but python3 (>= 3.11) with venv and a package index is assumed.
.PHONY: demo test test-long lint types setup constraints clean
SHELL := bash
PYTHON ?= python3
ROOT := $(dir $(abspath $(lastword $(MAKEFILE_LIST))))
BIN := $(ROOT).venv/bin
# pip reads the relative paths in requirements from the working directory.
HERE := cd $(ROOT) &&
THREADS := OMP_NUM_THREADS=1 MKL_NUM_THREADS=1

demo: $(ROOT).venv/installed  ## Train the README's example and draw what came of it.
	$(HERE) $(BIN)/python examples/demo.py

test: $(ROOT).venv/developed  ## The test suite; under 10 minutes on 2 cores.
	$(HERE) $(THREADS) $(BIN)/python -m pytest -n 2 -m "not slow"

test-long: $(ROOT).venv/developed  ## What needs minutes: learning runs, crashes; under 40 minutes.
	$(HERE) $(BIN)/python -m pytest -m slow -v

lint: $(ROOT).venv/developed  ## Format and lint.
	$(HERE) $(BIN)/ruff format --check . && $(BIN)/ruff check .

types: $(ROOT).venv/developed  ## Static types, strict.
	$(HERE) $(BIN)/mypy

setup: $(ROOT).venv/developed  ## The environment that `make test` uses, editable.

constraints: $(ROOT).venv/developed  ## Write the installed versions to constraints.txt.
	$(HERE) { echo '# Exact versions of a known-good environment; written by `make constraints`.'; \
	  $(BIN)/python -m pip freeze --exclude-editable | sed 's/+cpu//'; } > constraints.tmp && mv constraints.tmp constraints.txt

$(ROOT).venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "amago-core needs Python 3.11 or newer; $(PYTHON) is older. Try: make $(MAKECMDGOALS) PYTHON=python3.12" >&2; exit 2; }
	$(PYTHON) -m venv $(ROOT).venv

$(ROOT).venv/installed: $(BIN)/python requirements.txt constraints.txt pyproject.toml registry/pyproject.toml plugins/standard/pyproject.toml
	$(HERE) $(BIN)/python -m pip install --quiet -r requirements.txt
	touch $@

$(ROOT).venv/developed: $(BIN)/python requirements-dev.txt constraints.txt pyproject.toml registry/pyproject.toml plugins/standard/pyproject.toml
	$(HERE) $(BIN)/python -m pip install --quiet -r requirements-dev.txt
	touch $@ $(ROOT).venv/installed

clean:
	rm -rf $(ROOT).venv $(ROOT)runs
