# make demo: the whole pipeline on the embedded data set. make test: the fast tests. make docs: the documentation site.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test test-all lint docs clean

demo: .venv/installed
	$(BIN)/detnas run shapes-quick

test: .venv/installed
	$(BIN)/python -m pytest -q -m "not slow"

test-all: .venv/installed
	$(BIN)/python -m pytest -q

lint: .venv/installed docs
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# A link or an anchor that leads nowhere is an error (with --quiet none is). The theme's banner is left out.
docs: .venv/installed
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

# Built again when what is to be installed changes; a build that was cut leaves no mark and is begun again.
.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable ".[dev]"
	touch $@

clean:
	rm -rf .venv build site *.egg-info
