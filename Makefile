# Everything on a machine with Python 3.11+ and make:   make tournament   |   make test
#
#   PYTHON=python3.12   the interpreter that makes .venv (default: python3)
#   TORCH=cpu           the torch build: cpu, cu130, ... from the PyTorch index; default: what pip finds first,
#                       which is CUDA on Linux and CPU elsewhere (the CUDA build runs on a CPU too, it is only large)
#   INDEX=URL           the same with the full address of an index
#   ARGS="..."          passed on: make tournament ARGS="--seed 7 --data.scenarios 64"
PYTHON ?= python3
TORCH ?=
INDEX ?= $(if $(TORCH),https://download.pytorch.org/whl/$(TORCH))
ARGS ?=

BIN := .venv/bin
STAMP := .venv/.installed
# One thread per process: pytest and Ray already use one process per core.
ONE_THREAD := OMP_NUM_THREADS=1
# A file stays in one process, so that its fixtures, such as a Ray, are made once.
PYTEST := $(ONE_THREAD) $(BIN)/python -m pytest -n 2 --dist loadfile

.PHONY: setup tournament test test-slow lint bench
.DEFAULT_GOAL := tournament

setup: $(STAMP)

# The stamp is newer than what it was made from, so a second call installs nothing.
$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "$(PYTHON) is too old or missing: Python 3.11 or newer is needed, e.g. make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(if $(INDEX),$(BIN)/python -m pip install -c constraints.txt --index-url $(INDEX) torch)
	$(BIN)/python -m pip install -c constraints.txt -e ".[dev]"
	@touch $@

tournament: $(STAMP)
	$(BIN)/python scripts/tournament.py $(ARGS)

test: lint
	$(PYTEST) -m "not slow and not gpu" $(ARGS)

test-slow: $(STAMP)
	$(PYTEST) -m "slow" --timeout 3600 $(ARGS)

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(STAMP)
	$(ONE_THREAD) $(BIN)/python scripts/benchmark_env.py $(ARGS)
