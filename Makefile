# Nightshift. `make` alone lists what there is.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

PYTHON ?=
PLATFORM ?= local
PARTITION ?= 2013-01-29
ARGS ?=
VENV := .venv/bin
# What a platform's loopback cloud needs beside the rest.
SETUP = $(if $(filter local,$(PLATFORM)),main,cloud)
# Tests that share no machine-wide state, two files at a time; then those that start a whole Airflow each.
APART := tests/unit tests/contract tests/dags
STACKS := tests/integration tests/clouds tests/chaos
CODE := plugins include dags tests benchmarks
export PYTHON

.PHONY: help setup setup-dev demo up down status test test-servers chaos lint format bench lock clean distclean

help: ## List the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | \
	  awk -F'\t' '{ printf "  make %-10s %s\n", $$1, $$2 }'
	@echo
	@echo "  PYTHON=/path/to/python3.11   the interpreter for .venv"
	@echo "  AIRFLOW_PORT, MLFLOW_PORT    ports on loopback (8080, 5000)"
	@echo "  PARTITION=2013-01-30         the night of the demo"
	@echo "  PLATFORM=sagemaker           demo and up on a loopback AWS, whose jobs really run"
	@echo "  ARGS='-k lake -x'            passed on by test and bench"

setup: ## Install into .venv, nothing else (no server, no data)
	@include/setup/setup.sh

demo: ## Run one real night end to end (PARTITION=..., PLATFORM=local or sagemaker on a loopback AWS)
	@include/setup/setup.sh $(SETUP)
	@$(VENV)/nightshift --platform '$(PLATFORM)' demo --partition '$(PARTITION)'

up: ## Start MLflow and Airflow without running a night (PLATFORM=...)
	@include/setup/setup.sh $(SETUP)
	@$(VENV)/nightshift --platform '$(PLATFORM)' up

down: ## End every process of the stack and make sure that none is left
	@if [ -x $(VENV)/nightshift ]; then $(VENV)/nightshift down; else echo 'nothing is installed, nothing runs'; fi

status: ## Say which parts of the stack run
	@if [ -x $(VENV)/nightshift ]; then $(VENV)/nightshift status; else echo 'nothing is installed'; fi

setup-dev:
	@include/setup/setup.sh dev

test-servers: setup-dev
	@tests/install_servers.sh

test: test-servers ## Install what the tests need and run them all (ARGS=...)
ifeq ($(strip $(ARGS)),)
	@failed=0; \
	$(VENV)/python -m pytest $(APART) --numprocesses 2 --dist loadfile || failed=1; \
	$(VENV)/python -m pytest $(STACKS) || failed=1; \
	PLATFORM=sagemaker $(VENV)/python -m pytest tests/chaos || failed=1; \
	exit $$failed
else
	@$(VENV)/python -m pytest $(ARGS)
endif

chaos: setup-dev ## Kill pieces of a real Airflow, one after the other, and count the jobs (PLATFORM=..., ARGS=...)
	@PLATFORM='$(PLATFORM)' $(VENV)/python -m pytest tests/chaos --chaos $(ARGS)

lint: setup-dev ## ruff, mypy and the rule which package may import which
	@$(VENV)/ruff check $(CODE)
	@$(VENV)/ruff format --check $(CODE)
	@$(VENV)/mypy plugins/nightshift include/jobs include/localcloud
	@$(VENV)/lint-imports

format: setup-dev ## Let ruff correct what it can
	@$(VENV)/ruff check --fix $(CODE)
	@$(VENV)/ruff format $(CODE)

bench: setup-dev ## Measure; writes benchmarks/results.json
	@$(VENV)/python -m benchmarks $(ARGS)

lock: setup-dev ## Write constraints.txt from what .venv holds
	@{ grep '^#' constraints.txt; $(VENV)/python -m pip freeze | grep -v -e '^-e' -e ' @ ' | \
	  sed -E 's/^(torch==[0-9.]+)\+.*/\1/'; } > constraints.new
	@mv constraints.new constraints.txt

clean: down ## End the stack and remove var/: the lake, the models, the databases, the logs
	rm -rf var .pytest_cache .mypy_cache .ruff_cache .import_linter_cache

distclean: clean ## Also remove what was installed
	rm -rf .venv tests/node_modules
