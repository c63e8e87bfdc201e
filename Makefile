# make demo   install, train "white hair", edit 16 held-out avatars, say where the pictures are
# make test   install, check style and types, run the tests
# Both need nothing but Python 3.11 or newer with pip; everything goes into .venv beside this file.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

.PHONY: demo test lint wheel clean

demo: .venv/.installed
	$(BIN)/sdd demo

test: lint
	$(BIN)/python -m pytest

lint: .venv/.installed-dev
	$(BIN)/ruff check src tests recipes benchmarks
	$(BIN)/mypy

wheel: .venv/.installed-dev
	$(BIN)/python -m build --wheel

.venv/.installed: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(PIP) -e .
	@touch $@

.venv/.installed-dev: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(PIP) -e '.[dev]'
	@touch .venv/.installed $@

clean:
	rm -rf .venv dist build .mypy_cache .ruff_cache .pytest_cache
