# `make demo` and `make test` set up what they need; `make install` is the set-up alone.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
.DEFAULT_GOAL := help

.PHONY: help install demo test lint serve bench

help:  ## list the targets
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/'

install: $(VENV)/installed  ## make .venv with the locked set

$(VENV)/installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed; call: make install PYTHON=/path/to/python3.11"; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch==2.13.0
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $@

demo: install  ## manual -> cited answer -> QLoRA tune -> tested before/after -> chat
	$(BIN)/emendo --workspace workspace/demo demo $(ARGS)

serve: install  ## the chat alone
	$(BIN)/emendo serve $(ARGS)

test: install  ## all tests
	$(BIN)/python -m pytest $(ARGS)

lint: install  ## ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: install  ## simulate the statistics; results are recorded in docs/eval.md (benchmarks/ has the others)
	$(BIN)/python -m benchmarks.stats_simulation $(ARGS)
