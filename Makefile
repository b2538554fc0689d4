# make demo: the whole pipeline on the embedded data set. make test: the fast tests, make test-all: all tests.
# make coverage: the fast tests, and which lines of detnas they run. make docs: the documentation site.
PYTHON ?= python3
# Processes that run tests, each with one thread: a number, or `logical` for one a core, at most eight.
WORKERS ?= logical
BIN := .venv/bin
PYTEST := $(BIN)/python -m pytest -q -n $(WORKERS) --maxprocesses 8 --dist loadfile
# Other kernels than the processor's best: they round differently, and what a short training learns is different.
OTHER_KERNELS := ATEN_CPU_CAPABILITY=default ONEDNN_MAX_CPU_ISA=SSE41

.PHONY: demo test test-all test-kernels coverage lint docs clean

demo: .venv/installed
	$(BIN)/detnas run shapes-quick

test: .venv/installed
	$(PYTEST) -m "not slow"

test-all: .venv/installed
	$(PYTEST)

test-kernels: .venv/installed
	$(OTHER_KERNELS) $(PYTEST) -m learns

coverage: .venv/installed
	$(PYTEST) -m "not slow" --cov --cov-report term-missing:skip-covered

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
	rm -rf .venv build site .coverage *.egg-info
