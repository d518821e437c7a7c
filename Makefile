# The entry to everything. `make` alone lists the targets.
# Variables of `make pretrain`: DATA (path or glob), MODEL (tiny, small), MINUTES (of training), RETRAIN=1,
# ARGS (more KEY=VALUE).
# Variable of `make setup` and `make images`: TORCH (auto, cpu, cuda or the URL of an index): the build of torch.
# Variables of `make images`: BASE (an image with Python 3.11 and pip), IMAGES (train triton: only those).

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
TRITON_READY := .venv-triton/.ready

# As it was written, whatever quotes and dollars it holds: the shell gets it as a variable, not as text of a command.
override export DATA := $(value DATA)

.DEFAULT_GOAL := help
.PHONY: help reference setup pretrain test check lint types layers unit integration mlflow triton kernels images cluster-test kind-test gpu-test gpu-benchmark lock golden benchmark clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 14

# uv installs in 40 s what takes pip 100 s. pip does it where its settings name an index, which uv does not read, or uv fails.
PINNED := --quiet --constraint requirements/lock.txt --editable '.[all,dev]'

setup: $(READY) ## make .venv with everything pinned

$(READY): pyproject.toml requirements/lock.txt scripts/install_torch.py
	$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "error: Python 3.11 or newer is needed; set PYTHON=…")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python scripts/install_torch.py $$(sed -n 's/^torch==//p' requirements/lock.txt)
	$(BIN)/python -m pip install --quiet $$(grep '^uv==' requirements/lock.txt)
	! $(BIN)/python -m pip config list | grep -q '[.]index-url=' && $(BIN)/uv pip install --compile-bytecode --python $(BIN)/python $(PINNED) \
	  || $(BIN)/python -m pip install $(PINNED)
	touch $@

$(TRITON_READY): scripts/make_triton.py requirements/triton.txt
	$(PYTHON) scripts/make_triton.py
	touch $@

pretrain: $(READY) ## run the whole path on this machine: text to a served model
	$(strip $(BIN)/gristmill run pretrain $(if $(DATA),"data.path=$$DATA") $(if $(MODEL),model=$(MODEL)) \
	  $(if $(MINUTES),training.length.minutes=$(MINUTES) training.length.steps=null) $(if $(RETRAIN),--retrain) $(ARGS))

# Tests run on all cores; those that measure run alone, afterwards.
PYTEST := $(BIN)/python -m pytest
PARALLEL := -n auto --dist worksteal -m "not alone"

test: unit integration ## run all tests

check: lint types layers unit ## what to run before a commit

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(READY)
	$(BIN)/mypy

layers: $(READY)
	$(BIN)/lint-imports

unit: $(READY)
	$(PYTEST) $(PARALLEL) --durations 15 tests/unit tests/gpu

integration: $(READY) $(TRITON_READY)
	$(PYTEST) $(PARALLEL) --dist loadfile --no-loadscope-reorder --timeout 600 --durations 15 tests/integration

cluster-test: $(READY) $(TRITON_READY) ## run the tests that need a cluster: that of KUBECONFIG, or one made and taken down
	scripts/ci/cluster_test

kind-test: $(READY) $(TRITON_READY) ## the same on a kind cluster, where kind and image registries are at hand
	scripts/ci/kind_test

gpu-test: $(READY) ## run the tests that need GPUs; without one they are skipped, and say so
	$(PYTEST) -m gpu --timeout 600 --durations 15 tests/gpu

mlflow: $(READY) ## MLflow's UI on the runs' database
	$(BIN)/mlflow ui --backend-store-uri sqlite:///runs/mlflow.db --default-artifact-root runs/mlartifacts

KERNELS := triton==3.9.0 liger-kernel==0.8.5

kernels: $(READY) ## install the compiler of GPU kernels (1 GB), with which they are tested here, and Liger's kernels
	$(BIN)/python -c 'import triton, liger_kernel' 2>/dev/null || $(BIN)/uv pip install --quiet --python $(BIN)/python $(KERNELS) \
	  || $(BIN)/python -m pip install --quiet $(KERNELS)

triton: $(TRITON_READY) ## install a real Triton server in an environment of its own

images: $(READY) ## build the images with docker (BASE=… to build from another base)
	BASE='$(BASE)' $(BIN)/python scripts/make_images.py $(IMAGES)

lock: $(READY) ## pin what is installed now
	$(BIN)/python -m pip freeze --all --exclude-editable | grep -v '^pip==' | sed 's/+cpu//' | sort -f > requirements/lock.txt
	$(BIN)/python scripts/lock_images.py

golden: $(READY) ## rewrite the golden files after a wanted change
	$(BIN)/python -m pytest tests/unit --update-goldens

reference: $(READY) ## rewrite what follows from a source: pages, components, schemas of the charts
	$(BIN)/python scripts/make_reference.py

benchmark: $(READY) ## training throughput against a plain PyTorch loop
	$(BIN)/python benchmarks/training_throughput.py

gpu-benchmark: $(READY) ## training throughput of 1.3B and 7B on the GPUs of this machine
	$(BIN)/python benchmarks/gpu_throughput.py

clean: ## remove environments, caches and build outputs; runs and store stay
	rm -rf $(VENV) .venv-triton .mypy_cache .ruff_cache .pytest_cache .hypothesis build dist *.egg-info
