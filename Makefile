# Two commands on a fresh machine (Python 3.11, git, make):
#   make demo    set up .venv and run the quickstart: teacher, student, phone files, report; with npm the phone's app too
#   make test    set up the same way, then check style and types and run every test
# And one that needs 2 GB more:
#   make test-optional   the tests with TensorFlow, MediaPipe, MLflow, W&B and an emulated ARM, in .venv-optional
# Another Python: make demo PYTHON=python3.11

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
OPTIONAL := .venv-optional
# Tests wait for clocks and other programs for a quarter of their time, so there is one process more for each two cores.
PROCESSES := $(shell echo $$(( ($$(nproc) * 3 + 1) / 2 )))
FOLDERS := teachers students distill geo export benchmarks deploy

.PHONY: help demo test test-again test-optional lint types format clean
.DELETE_ON_ERROR:

help:
	@sed -n 's/^#   //p' Makefile

demo: $(READY)
	$(BIN)/attar quickstart
	@if command -v npm > /dev/null; then \
	  $(BIN)/attar app quickstart --output quickstart/app --name Digits --install && \
	    echo "See it: $(BIN)/attar app quickstart --output quickstart/app --name Digits --serve"; \
	else \
	  echo "The phone's app needs npm (Node.js), which is not here. With it: $(BIN)/attar app quickstart -o quickstart/app --install"; \
	fi || echo "The app was not made; the files and the report above stand."

# A test that crashes its process is begun again by the next one: without a limit, this would never end.
test: lint
	$(BIN)/pytest -n $(PROCESSES) --dist loadfile --no-loadscope-reorder --max-worker-restart 4 -m "not optional" --durations=40

# What failed the last time, one after another.
test-again: $(READY)
	$(BIN)/pytest --last-failed --last-failed-no-failures none -m "not optional"

test-optional: $(OPTIONAL)/.ready
	$(OPTIONAL)/bin/python -m pytest -n 2 --dist loadfile -m optional --durations=10

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(MAKE) --no-print-directory types
	$(BIN)/pytest --quiet tests/test_layers.py

# mypy finds modules by their place in the file system, so it is shown a tree like the installed one. The tree goes
# afterwards: tools that follow links would find every file twice.
types: $(READY)
	@rm -rf build/types && mkdir -p build/types/attar
	@ln -s $(CURDIR)/attar/* $(addprefix $(CURDIR)/,$(FOLDERS)) build/types/attar/
	@cd build/types && { $(abspath $(BIN))/mypy --config-file $(CURDIR)/pyproject.toml --cache-dir $(CURDIR)/.mypy_cache; \
	  status=$$?; rm -rf $(CURDIR)/build/types; exit $$status; }

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

# TensorFlow and torch crash in one environment as soon as coremltools meets both, so this one lies on top of .venv and
# adds what .venv must not have.
$(OPTIONAL)/.ready: $(READY)
	@echo "Setting up $(OPTIONAL): TensorFlow and others are 2 gigabytes, once."
	@rm -rf $(OPTIONAL)
	$(BIN)/python -m venv $(OPTIONAL)
	@base=$$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))') && \
	  here=$$($(OPTIONAL)/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))') && \
	  echo "import site; site.addsitedir('$$base')" > "$$here/_base.pth"
	$(OPTIONAL)/bin/python -m pip install --quiet --disable-pip-version-check -e ".[dev-optional]" -c constraints.txt
	@touch $@

clean:
	rm -rf $(VENV) $(OPTIONAL) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
