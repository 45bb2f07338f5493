.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
# Some shells switch bytecode off: then each of the hundreds of processes that demo and tests start compiles
# all of the project anew, and takes three times as long to start.
export PYTHONDONTWRITEBYTECODE :=
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: help setup demo demo-compare run-example test test-storm test-fast lint fmt types imports check schema bench-speed bench-service bench-accuracy openapi lifecycle settings clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  \033[36m%-16s\033[0m %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# torch goes first and alone: resolved together with the rest, pip may prefer a build with gigabytes of CUDA.
$(STAMP): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt torch
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[core,client,service,dev]'
	touch $@

setup: $(STAMP) ## Create the virtual environment and install everything, pinned

demo: setup ## Start the service, run the main job through its API, use the student, stop
	$(BIN)/python examples/demo.py

demo-compare: setup ## Start the service with two workers, compare methods on the demo's data, show table and plots, stop
	$(BIN)/python examples/demo_compare.py

run-example: setup ## Distil an image teacher into an audio student on data the project makes
	$(BIN)/python examples/make_digits.py runs/digits
	$(BIN)/python -m fdkd_core examples/digits.yaml runs/digits runs/image-teaches-audio

test: setup ## The tests: all but those of test-storm
	$(BIN)/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder -m 'not storm and not long'

test-storm: setup ## What takes long: workers and deployments that fail at every bad moment; FDKD_FAULT_RUNS=20 for more of each
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder -m 'storm or long'

test-fast: setup ## The tests that take seconds
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder -m 'not slow and not storm and not long'

lint: setup ## ruff: rules and formatting
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

fmt: setup ## Rewrite the code in the house format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: setup ## mypy, strict; the benchmarks too
	$(BIN)/mypy

imports: setup ## Who may import whom
	$(BIN)/lint-imports

check: test lint types imports ## What CI runs

schema: setup ## Rewrite the golden JSON Schema of the spec after a wanted change of the API
	$(BIN)/python -c "import json, pathlib; from fdkd_core.spec import json_schema; pathlib.Path('tests/golden/spec.schema.json').write_text(json.dumps(json_schema(), indent=2, sort_keys=True) + '\n')"

openapi: setup ## Rewrite the golden OpenAPI document after a wanted change of the API
	$(BIN)/python -m service openapi > tests/golden/openapi.json

lifecycle: setup ## Redraw docs/job-lifecycle.md from the table of states
	$(BIN)/python -m service.jobs.lifecycle

settings: setup ## Redraw docs/settings.md from the settings
	$(BIN)/python -m service.settings_table

bench-speed: setup ## Samples per second of the training steps, side by side
	$(BIN)/python benchmarks/speed/step.py

bench-service: setup ## Requests per second and latencies of the API beside a bare endpoint
	$(BIN)/python benchmarks/service/measure.py

bench-accuracy: setup ## Tuned accuracy of every method on real data: DATA=folder with the data sets
	$(BIN)/python benchmarks/accuracy/tables.py --data $(DATA)

clean: ## Remove the environment and caches
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
