# Every target does its own set-up; nothing but python3 (>= 3.11) with venv and a package index is assumed.
.PHONY: demo results test test-long test-suite test-suites lint types setup constraints clean
PYTHON ?= python3
ROOT := $(dir $(abspath $(lastword $(MAKEFILE_LIST))))
BIN := $(ROOT).venv/bin
PROJECTS := $(addprefix $(ROOT),constraints.txt pyproject.toml registry/pyproject.toml plugins/standard/pyproject.toml)
AGAIN := make $(or $(MAKECMDGOALS),demo) PYTHON=/path/to/python3.12
# pip reads the relative paths in requirements from the working directory.
HERE := cd $(ROOT) &&
THREADS := OMP_NUM_THREADS=1 MKL_NUM_THREADS=1
# Their pins are at odds with each other, so each has an environment of its own.
SUITES := $(filter-out standard minari,$(notdir $(patsubst %/pyproject.toml,%,$(wildcard $(ROOT)plugins/*/pyproject.toml))))

demo: $(ROOT).venv/installed  ## Train the README's example and plot its result.
	$(HERE) $(BIN)/amago train examples/bandit.yaml --run runs/demo-$$(date +%Y%m%d-%H%M%S)

# Each word: an example, what to change in it, and into what.
COMPARED := maze-runner:relabeler:hindsight maze-runner:relabeler:none \
  package-delivery:relabeler:hindsight package-delivery:relabeler:none \
  dark-key-to-door:agent.backbone:transformer dark-key-to-door:agent.backbone:mlp

results: $(ROOT).venv/developed  ## Runs that examples/README.md compares, three seeds each; hours. Resumes runs that were interrupted.
	$(HERE) for seed in 0 1 2; do for run in $(COMPARED); do \
	  set -- $$(echo $$run | tr : ' '); folder=runs/$$1-$$3-$$seed; again=; \
	  test -d $$folder && again=--resume; \
	  $(BIN)/amago train examples/$$1.yaml $$2=$$3 seed=$$seed --run $$folder running.threads=1 $$again || exit; \
	done; done
	$(HERE) for example in maze-runner:relabeler package-delivery:relabeler dark-key-to-door:agent.backbone; do \
	  set -- $$(echo $$example | tr : ' '); \
	  $(BIN)/python examples/curves.py runs/$$1-*-? --by $$2.use --output runs/$$1.png || exit; \
	done

test: $(ROOT).venv/developed  ## The test suite; under 6 minutes on 2 idle cores.
	$(HERE) $(THREADS) $(BIN)/python -m pytest -n 2 -m "not slow"

test-long: $(ROOT).venv/developed  ## What needs minutes: learning runs, crashes, compilation; under 30 minutes.
	$(HERE) $(BIN)/python -m pytest -m slow -v

test-suite: $(if $(filter 1,$(words $(NAME))),$(if $(filter $(NAME),$(SUITES)),$(ROOT).venvs/$(NAME)/installed))  ## One suite: make test-suite NAME=popgym.
	@test -n "$(filter $(firstword $(NAME) none),$(SUITES))" -a "$(words $(NAME))" = 1 || { echo "Say which suite, as in make test-suite NAME=popgym: $(SUITES)" >&2; exit 2; }
	$(HERE) $(THREADS) .venvs/$(NAME)/bin/python -m pytest -n 2 tests/$(NAME)

test-suites:  ## All suites, one after the other.
	@for name in $(SUITES); do $(MAKE) test-suite NAME=$$name || exit 1; done

lint: $(ROOT).venv/developed  ## Format and lint.
	$(HERE) $(BIN)/ruff format --check . && $(BIN)/ruff check .

types: $(ROOT).venv/developed  ## Static types, strict.
	$(HERE) $(BIN)/mypy

setup: $(ROOT).venv/developed  ## The environment that `make test` uses, editable.

constraints: $(ROOT).venv/developed  ## Write the installed versions to constraints.txt.
	$(HERE) { echo '# Exact versions of a known-good environment; written by `make constraints`.'; \
	  $(BIN)/python -m pip freeze --exclude-editable | sed 's/+cpu//'; } > constraints.tmp && mv constraints.tmp constraints.txt

# A half-made environment is removed, or the next call would take it for a whole one.
$(BIN)/python:
	@command -v $(PYTHON) >/dev/null || \
	  { echo "amago-core needs Python 3.11 or newer, and no '$(PYTHON)' is on the path. Install one, or say where it is: $(AGAIN)" >&2; exit 2; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || \
	  { echo "amago-core needs Python 3.11 or newer, and $(PYTHON) says '$$($(PYTHON) --version 2>&1 | head -n 1)'. Name another: $(AGAIN)" >&2; exit 2; }
	@$(PYTHON) -m venv $(ROOT).venv || { rm -rf $(ROOT).venv; \
	  echo "$(PYTHON) cannot make a virtual environment; it lacks venv or ensurepip. On Debian and Ubuntu: apt install python3-venv" >&2; exit 2; }

# Editable like the other, so that neither ever runs a copy of the sources that has gone stale.
$(ROOT).venv/installed: $(BIN)/python $(PROJECTS)
	$(HERE) $(BIN)/python -m pip install --quiet -c constraints.txt -e ./registry -e . -e ./plugins/standard
	touch $@

$(ROOT).venv/developed: $(BIN)/python $(ROOT)requirements-dev.txt $(ROOT)plugins/minari/pyproject.toml \
		$(ROOT)examples/memory-zoo/pyproject.toml $(PROJECTS)
	$(HERE) $(BIN)/python -m pip install --quiet -r requirements-dev.txt
	touch $@ $(ROOT).venv/installed

# What a suite needs for its tests alone is its extra [test]; pins of its own are plugins/NAME/constraints.txt.
$(ROOT).venvs/%/installed: $(ROOT)plugins/%/pyproject.toml $(PROJECTS) $(wildcard $(ROOT)plugins/*/constraints.txt) | $(BIN)/python
	@$(BIN)/python -m venv $(@D) || { rm -rf $(@D); exit 2; }
	$(HERE) $(@D)/bin/python -m pip install --quiet \
	  -c $(firstword $(wildcard $(ROOT)plugins/$*/constraints.txt) constraints.txt) -e ./registry -e . -e ./plugins/standard \
	  -e './plugins/$*[test]' hypothesis pytest pytest-timeout pytest-xdist
	touch $@

clean:  ## Remove the environments; trained agents in runs/ stay.
	rm -rf $(ROOT).venv $(ROOT).venvs
