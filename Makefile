# The same few commands for people and for CI. `make` alone lists them.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SLIDES ?=
RUN ?= runs/demo

.PHONY: help setup demo test check format bench docs clean

help:  ## list the commands
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

setup: $(VENV)/.ready  ## make .venv with everything (TORCH=cuda for the GPU build of torch)

$(VENV)/.ready: pyproject.toml constraints.txt scripts/setup
	PYTHON="$(PYTHON)" TORCH="$(TORCH)" scripts/setup $(VENV)

demo: setup  ## the whole journey, anew, on made slides or on SLIDES=DIR; writes runs/demo/report.html
	$(BIN)/eosin demo --out-dir $(RUN) $(if $(SLIDES),--slides "$(SLIDES)") --overwrite

test: setup  ## run the tests
	scripts/test

check: setup  ## format, lint, types, house rules
	scripts/check

format: setup  ## rewrite files in the house format
	$(BIN)/ruff format . && $(BIN)/ruff check --fix .

bench: setup  ## measure; see benchmarks/README.md
	$(BIN)/python benchmarks/run_all.py $(if $(SLIDES),"$(SLIDES)")
	$(BIN)/python benchmarks/bench_step.py

docs: setup  ## build the documentation into site/
	$(BIN)/pip install -q -c constraints.txt "mkdocs-material" "mkdocstrings[python]"
	$(BIN)/mkdocs build --strict

clean:  ## remove everything that was made; other runs stay
	rm -rf $(VENV) runs/demo site dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
