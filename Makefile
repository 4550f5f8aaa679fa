# Two commands: `make demo` lets you hear the codec, `make test` checks everything. Both set up .venv the first time.

PYTHON ?= $(firstword $(foreach name,python3.11 python3.12 python3.13 python3,$(shell command -v $(name))))
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

.PHONY: demo test fuzz lint format clean

demo: $(INSTALLED)
	$(BIN)/python examples/demo.py

test: lint
	$(BIN)/pytest

fuzz: $(INSTALLED)
	$(BIN)/python -m tests.fuzz.run --minutes 10

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(INSTALLED)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# Remade when the dependencies change, and then only what changed is installed.
$(INSTALLED): pyproject.toml constraints.txt
	@echo "Setting up $(VENV), which takes some minutes the first time"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install -qq --constraint constraints.txt --editable ".[train,evaluate,lm,scale,export,app,dev]"
	@# Its weights are what is wanted; what it would pull in does not build everywhere.
	@$(BIN)/python -m pip install -qq --constraint constraints.txt --no-deps Resemblyzer
	@touch $@

clean:
	rm -rf $(VENV) out build dist
