# make quickstart | test | test-arm | wheels | check | bench. Each makes its own environment in .venv, once.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
TEST_FLAGS ?=

.PHONY: help quickstart test test-arm test-gpu wheels check bench format clean
.DEFAULT_GOAL := help

help:
	@echo 'make quickstart   install edgert into .venv, convert and run the model that ships with it'
	@echo 'make test         the whole test suite'
	@echo 'make test-arm     everything on emulated ARM processors: kernels, models, a language model, the compiler'
	@echo 'make test-gpu     everything on OpenCL devices: every kernel, races, models'
	@echo 'make wheels       dist/: a wheel for each kind of phone and board, and the source archive'
	@echo 'make check        format, lint, types and a tiny test: before every commit'
	@echo 'make bench        latency side by side with other runtimes'

# Says what is missing in words: a bare Debian python3 has the venv module but not ensurepip.
$(BIN)/python:
	@command -v $(PYTHON) >/dev/null || { \
	  echo 'error: $(PYTHON) not found; install Python 3.11 or newer (Debian: apt install python3 python3-venv)'; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "error: Python 3.11 or newer is needed, found $$($(PYTHON) -V); say which with: make PYTHON=/path/to/python3.11"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	  echo 'error: this Python can not make virtual environments; on Debian and Ubuntu: apt install python3-venv'; exit 1; }
	$(PYTHON) -m venv $(VENV)

# One stamp per set of extras: an install is repeated only when the package list changes.
$(VENV)/.%.stamp: pyproject.toml setup.py | $(BIN)/python
	$(PIP) --editable '.[$(subst -,$(comma),$*)]'
	@touch $@
comma := ,

quickstart: $(VENV)/.jit-convert-image.stamp
	@$(BIN)/edgert quickstart

test: $(VENV)/.test.stamp
	$(BIN)/python -m pytest $(TEST_FLAGS)

# Tests that take minutes too: the limit of one is an hour.
LONG := -m 'long or not long' -o faulthandler_timeout=3600

test-arm: $(VENV)/.test.stamp
	$(BIN)/python -m pytest tests/arm $(LONG) $(TEST_FLAGS)

# The machine's own driver (PoCL where it has none), then Intel's runtime for processors. tests/opencl.py provides them.
test-gpu: DRIVERS ?= machine intel
test-gpu: $(VENV)/.test.stamp
	@failed=; for driver in $(DRIVERS); do \
	  EDGERT_TEST_DRIVER=$$driver $(BIN)/python -m pytest tests/gpu $(LONG) $(TEST_FLAGS) || \
	  failed="$$failed $$driver"; \
	done; [ -z "$$failed" ] || { echo "error: tests failed on:$$failed"; exit 1; }

# setup.py takes from build/device what fits each kind. Wheels of the same sources and date are the same bytes.
# Fewer: make wheels KINDS='aarch64 android'
wheels: $(VENV)/.aot-convert-image.stamp
	$(BIN)/edgert compile $(addprefix --target ,$(sort $(KINDS:android=aarch64))) -o build/device/lib
	$(BIN)/edgert quickstart --keep build/device/models
	rm -f dist/edgert-*
	@for kind in $(KINDS); do \
	  echo "wheel for $$kind ..."; \
	  SOURCE_DATE_EPOCH=$(DATE) EDGERT_WHEEL=$$kind $(BIN)/python -m pip wheel --quiet --no-deps --wheel-dir dist . || exit 1; \
	done
	$(PIP) build
	@SOURCE_DATE_EPOCH=$(DATE) $(BIN)/python -m build --sdist --outdir dist . >/dev/null
	@ls -l dist
KINDS ?= x86_64 aarch64 armv7l android
DATE = $(shell git log -1 --format=%ct 2>/dev/null || echo 1000000000)

check: $(VENV)/.dev.stamp
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -q tests/test_tiny.py tests/test_architecture.py -m 'not slow'

format: $(VENV)/.dev.stamp
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(VENV)/.bench.stamp
	$(BIN)/python -m bench

clean:
	rm -rf build *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
