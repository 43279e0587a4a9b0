# Two commands on a fresh machine (Python 3.11, git, make):
#   make demo    set up .venv and run the quickstart: teacher, student, phone files, report
#   make test    set up the same way, then check style and types and run every test
# Another Python: make demo PYTHON=python3.11

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: help demo test lint format clean
.DELETE_ON_ERROR:

help:
	@sed -n 's/^#   //p' Makefile

demo: $(READY)
	$(BIN)/attar quickstart

test: lint
	$(BIN)/pytest -n auto --dist loadfile

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# The stamp is newer than both files exactly when the environment holds what they ask for.
$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo "attar needs Python 3.11 or newer, and '$(PYTHON)' is not. Name one: make PYTHON=python3.11 $(MAKECMDGOALS)" >&2; \
	  exit 2; }
	@echo "Setting up $(VENV): torch and the converters are some gigabytes, once."
	@$(PYTHON) -m venv $(VENV) || { \
	  echo "'$(PYTHON) -m venv' failed. On Debian and Ubuntu: apt install python3-venv" >&2; exit 2; }
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e ".[dev]" -c constraints.txt
	@touch $@

clean:
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
