# Every target sets itself up in .venv; nothing but Python (3.11 or later) and make is needed.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
JUDGES := tests/judges/node_modules/.package-lock.json
CONFIG ?= /etc/lesion-node/lesion-node.toml
# Many tests wait for sockets and processes; each process takes whole files.
TEST_PROCESSES ?= 2

.PHONY: help setup demo run test check format bench wheel lock model clean
.DEFAULT_GOAL := help

help: ## List the targets
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

$(STAMP): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or later is needed, found " + sys.version if sys.version_info < (3, 11) else 0)'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "Installing the locked packages into $(VENV) (the first time takes some minutes) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

setup: $(STAMP) ## Create .venv and install the locked packages

demo: $(STAMP) ## Send a phantom chest CT through a real node to a small PACS, all on this machine
	@$(BIN)/lesion-node demo

run: $(STAMP) ## Run the node with CONFIG=/path/to/lesion-node.toml
	@$(BIN)/lesion-node run --config $(CONFIG)

# The judge in JavaScript is there where npm and a connection are; elsewhere its tests say so and skip.
$(JUDGES): tests/judges/package-lock.json
	@-npm ci --prefix tests/judges --ignore-scripts --no-audit --no-fund --silent && touch $@

test: $(STAMP) $(if $(shell command -v npm),$(JUDGES)) ## Run the test suite
	@$(BIN)/python -m pytest -n $(TEST_PROCESSES) --dist loadfile

check: $(STAMP) ## Format, lint, types and import rules, exactly as CI runs them
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

format: $(STAMP) ## Rewrite the sources in the house format
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

bench: $(STAMP) ## Measure turnaround and memory; results go to benchmarks/results
	@$(BIN)/python -m benchmarks.turnaround

wheel: $(STAMP) ## Build the wheel into dist/
	@$(BIN)/python -m pip wheel --quiet --no-deps --no-build-isolation --wheel-dir dist .

lock: $(STAMP) ## Renew requirements.lock (needs uv)
	@uv pip compile pyproject.toml --group build --group test --group lint --universal --generate-hashes \
		--python-version 3.11 --custom-compile-command "make lock" --output-file requirements.lock

model: $(STAMP) ## Rebuild models/densitometry/model.onnx from its script
	@$(BIN)/python models/training/build_densitometry.py

clean: ## Remove everything that make produced
	@rm -rf $(VENV) dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache demo-output tests/judges/node_modules
