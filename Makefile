# Each target makes the environment it needs in .venv, with the first Python >= 3.11
# that it finds (or PYTHON=...), and reuses it afterwards.

VENV ?= .venv
BIN := $(VENV)/bin
FIND := for p in "$(PYTHON)" python3 python3.13 python3.12 python3.11 python; do \
  [ -n "$$p" ] && "$$p" -c 'import sys, venv; sys.exit(sys.version_info < (3, 11))' \
    >/dev/null 2>&1 && echo "$$p" && break; done

.PHONY: help demo test lint notebooks clean

help:
	@echo "make demo       value ten contributors of handwritten digits (about a minute)"
	@echo "make test       the test suite and the doctests"
	@echo "make lint       style, format, import rules, types"
	@echo "make clean      remove the environment and the results"

demo: $(VENV)/.demo
	$(BIN)/python -m jaxval.experiments quickstart

test: $(VENV)/.test
	$(BIN)/python -m pytest -q

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/pyrefly check --python-interpreter-path $(BIN)/python

$(VENV)/bin/python:
	@python="$$($(FIND))"; \
	if [ -z "$$python" ]; then \
	  echo "jaxval needs Python 3.11 or newer; none was found. Name one: make PYTHON=/path/to/python" >&2; \
	  exit 2; fi; \
	echo "making $(VENV) with $$($$python --version)"; "$$python" -m venv $(VENV)

$(VENV)/.demo: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e ".[plot]"
	@touch $@

$(VENV)/.test: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e ".[test,neural-tangents]"
	@touch $@ $(VENV)/.demo

$(VENV)/.dev: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e ".[dev]"
	@touch $@ $(VENV)/.test $(VENV)/.demo

clean:
	rm -rf $(VENV) results
