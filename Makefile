# Each target makes the environment it needs in .venv, with the first Python >= 3.11
# that it finds (or PYTHON=...), and reuses it afterwards. CONSTRAINTS=constraints/oldest.txt
# installs the oldest supported versions instead of the newest that resolve.

VENV ?= .venv
CONSTRAINTS ?=
# Workers of the tests: one per core as far as the memory goes, or a number.
WORKERS ?= auto
BIN := $(VENV)/bin
PIP = $(BIN)/python -m pip install --quiet --disable-pip-version-check \
  $(if $(CONSTRAINTS),--constraint $(CONSTRAINTS))
# Files stay whole, since their tests share compiled programs.
PYTEST = $(BIN)/python -m pytest -q -n $(WORKERS) --dist loadfile
FIND := for p in "$(PYTHON)" python3 python3.13 python3.12 python3.11 python; do \
  [ -n "$$p" ] && "$$p" -c 'import sys, venv; sys.exit(sys.version_info < (3, 11))' \
    >/dev/null 2>&1 && echo "$$p" && break; done

# Something of every room, in under two minutes on two cores.
QUICK := tests/test_house.py tests/test_house_keys.py tests/test_package.py \
  tests/coalitions tests/execution tests/linalg tests/reporting tests/runner \
  tests/datasets/test_splits.py tests/datasets/test_sources.py tests/datasets/tabular \
  tests/models/test_functions.py tests/kernels/test_pairwise.py tests/kernels/test_mmd.py \
  tests/kernels/test_spectra.py tests/games/test_analytic.py tests/games/test_volume.py \
  tests/semivalues/test_weights.py tests/semivalues/test_exact.py \
  tests/semivalues/test_orders.py tests/semivalues/test_stopping.py \
  tests/games/test_kernel_regression.py tests/games/test_knn.py \
  tests/training/test_convolution.py tests/ecoval/test_allocation.py \
  tests/evaluation jaxval/linear_models.py

.PHONY: help demo test test-quick test-all lint rooms clean

help:
	@echo "make demo       value ten contributors of handwritten digits (about a minute)"
	@echo "make test       the test suite and the doctests"
	@echo "make test-quick something of every room, in under two minutes"
	@echo "make test-all   everything, on every Python here and on the oldest supported versions"
	@echo "make lint       style, format, import rules, types, the drawing of the rooms"
	@echo "make rooms      draw the rooms again (docs/design/rooms.md)"
	@echo "make clean      remove the environments and the results"

demo: $(VENV)/.demo
	$(BIN)/python -m jaxval.experiments quickstart

test: $(VENV)/.test
	$(PYTEST)

test-quick: $(VENV)/.test
	$(PYTEST) $(QUICK)

# Both ends of the supported versions whole, the slow tests included.
test-all:
	@set -e; tools/pythons | while read -r minor python; do \
	  echo "Python $$minor, newest versions"; \
	  $(MAKE) --no-print-directory test-whole VENV=.venv-$$minor PYTHON=$$python </dev/null; done
	@echo "Python 3.11, oldest versions"
	@$(MAKE) --no-print-directory test-whole VENV=.venv-oldest \
	  PYTHON="$$(tools/pythons | awk '$$1 == "3.11" { print $$2 }')" \
	  CONSTRAINTS=constraints/oldest.txt

test-whole: $(VENV)/.test
	$(PYTEST) -m ""

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/python tools/rooms.py --check
	$(BIN)/pyrefly check --python-interpreter-path $(BIN)/python

rooms: $(VENV)/bin/python
	$(BIN)/python tools/rooms.py

$(VENV)/bin/python:
	@python="$$($(FIND))"; \
	if [ -z "$$python" ]; then \
	  echo "jaxval needs Python 3.11 or newer; none was found. Name one: make PYTHON=/path/to/python" >&2; \
	  exit 2; fi; \
	echo "making $(VENV) with $$($$python --version)"; "$$python" -m venv $(VENV)

$(VENV)/.demo: pyproject.toml | $(VENV)/bin/python
	$(PIP) -e ".[plot]"
	@touch $@

$(VENV)/.test: pyproject.toml $(CONSTRAINTS) | $(VENV)/bin/python
	$(PIP) -e ".[test,neural-tangents]"
	@touch $@ $(VENV)/.demo

$(VENV)/.dev: pyproject.toml | $(VENV)/bin/python
	$(PIP) -e ".[dev]"
	@touch $@ $(VENV)/.test $(VENV)/.demo

clean:
	rm -rf $(VENV) .venv-* results
