# `make help` lists what can be made. Everything runs in .venv, which is set up once with the versions of constraints.txt.
SHELL := /bin/bash
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
DEMO_TO ?= runs/demo
WORKERS ?= 2
COVERAGE_BAR ?= 90
BENCHMARKS ?= lrp_step maps loader inference ingest report report_page audit
BENCH_OPTIONS ?=
FUZZ ?= 100000
FUZZ_SEED ?= 0
# one thread per test worker: two workers with all the threads each are slower than one
PYTEST := OMP_NUM_THREADS=1 $(BIN)/pytest -n $(WORKERS) --dist worksteal

.PHONY: help demo test lint test-slow fuzz bench docs clean
.DEFAULT_GOAL := help

help:  ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## +/\1\t/' | expand -t 12

$(STAMP): pyproject.toml setup.py constraints.txt CHANGELOG.md
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "medtea needs Python 3.11 or newer; name one with make PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

demo: $(STAMP)  ## set up, then the whole way on three phantom hospitals (about 5 minutes on 2 cores)
	$(BIN)/medtea demo --to $(DEMO_TO)

lint: $(STAMP)  ## ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

test: lint  ## set up, lint, the ordinary tests and their coverage
	$(PYTEST) -m "not slow" --cov --cov-report=term --cov-fail-under=$(COVERAGE_BAR)

test-slow: $(STAMP)  ## the tests that take long or start a server
	$(PYTEST) -m slow

fuzz: $(STAMP)  ## FUZZ spoilt files (100,000, half an hour on 2 cores) through the readers; FUZZ_SEED for others
	FUZZ=$(FUZZ) FUZZ_SEED=$(FUZZ_SEED) OMP_NUM_THREADS=1 $(BIN)/pytest -q tests/ingest/test_fuzz.py

bench: $(STAMP)  ## every benchmark, one after the other (most of an hour on 2 cores), into runs/benchmarks
	@set -e; for name in $(BENCHMARKS); do echo "== $$name"; $(BIN)/python benchmarks/$$name.py $(BENCH_OPTIONS); done

docs: $(STAMP)  ## check that the documents are true: links lead somewhere, commands and listings are the program's own
	$(BIN)/pytest -q tests/test_docs.py $(wildcard tests/test_readme.py)

clean:  ## remove what was built and cached, and .venv; runs/ stays
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .coverage .coverage.* htmlcov
	find medtea pipelines configs tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true
