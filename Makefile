# `make demo` and `make test` are all that a fresh machine needs (Python 3.11, make).
PYTHON ?= python3.11
BIN := .venv/bin
INSTALLED := .venv/.installed
WHEEL := build/wheel

.PHONY: demo test lint install clean

demo: install
	$(BIN)/himirec run --config configs/demo.yaml
	$(BIN)/himirec demo --run-dir runs/demo

# The tests run against the built wheel, not against the source tree.
test: install lint
	rm -rf build
	$(BIN)/pip wheel --quiet --no-deps --wheel-dir build/dist .
	$(BIN)/pip install --quiet --no-deps --target $(WHEEL) build/dist/*.whl
	HIMIREC_WHEEL=$(CURDIR)/$(WHEEL) PYTHONPATH=$(CURDIR)/$(WHEEL) $(BIN)/pytest

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

install: $(INSTALLED)

$(INSTALLED): requirements.txt setup.py pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check -r requirements.txt
	$(BIN)/pip install --quiet --no-deps --editable .
	touch $(INSTALLED)

clean:
	rm -rf build .venv runs
