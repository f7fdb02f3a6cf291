# `make train` and `make test` do all set-up on a fresh machine with Python 3.10 or 3.11.

PYTHON ?= $(shell for python in python3.11 python3.10 python3; do \
	$$python -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] < (3, 12))' \
	2>/dev/null && echo $$python && break; done)
VENV ?= .venv
BIN = $(VENV)/bin
INSTALLED = $(VENV)/installed
TASK ?= cartpole_swingup
NOTEBOOK = notebooks/planet.ipynb
# In the order of the legend.
LATENT_MODELS = $(foreach variant,rssm ssm rnn overshooting random_collection,\
	$(sort $(wildcard results/latent_models/$(variant)-seed*.csv)))

.PHONY: help setup preflight train test test-slow test-faults doctor bench figures table notebook lint \
 format clean

help:  ## lists the commands
	@grep -E '^[a-z-]+:.*##' Makefile | sed -E 's/:.*## /\t/' | expand -t 12

setup: $(INSTALLED)  ## makes the virtual environment in .venv and installs the pinned packages

$(INSTALLED): setup.cfg pyproject.toml
	@test -n "$(PYTHON)" || { echo "error: planet_tf needs Python 3.10 or 3.11; install one, or\
	 name it: make PYTHON=/path/to/python3.11 ..." >&2; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade "pip>=23"
	$(BIN)/python -m pip install --quiet -e ".[dev]"
	touch $@

preflight: $(INSTALLED)
	$(BIN)/python -m planet_tf.environments.rendering

train: preflight  ## learns cartpole swingup from pixels, sized for a CPU (TASK=... for another)
	$(BIN)/python scripts/train.py --gin_file=gin/$(TASK).gin --gin_file=gin/cpu.gin

test: preflight  ## passes the tests (the fast ones), in two processes
	$(BIN)/python -m pytest --numprocesses=2 --dist=loadfile

test-slow: preflight  ## passes the learning tests: the toy task, three seeds, from pixels
	$(BIN)/python -m pytest -m slow

test-faults: preflight  ## passes the tests of kills, full disks and long runs
	$(BIN)/python -m pytest -m faults

doctor: $(INSTALLED)  ## says if this machine is set up right, and how long `make train` would take
	$(BIN)/python scripts/doctor.py --gin_file=gin/$(TASK).gin --gin_file=gin/cpu.gin

bench: preflight  ## times update, decision, frame and batch against the machine's matmul rate
	$(BIN)/python scripts/benchmark.py

figures: $(INSTALLED)  ## draws the README's figures anew, from the CSVs in results/
	$(BIN)/python scripts/plot.py results/cartpole_swingup-cpu-seed*.csv --x=minutes --reference \
	 --out=results/cartpole_swingup-cpu.png \
	 --title='Cartpole swingup from pixels, one CPU core a run' \
	 --labels 'cartpole_swingup-cpu=evaluations, without noise'
ifneq ($(strip $(LATENT_MODELS)),)
	$(BIN)/python scripts/plot.py $(LATENT_MODELS) --out=results/latent_models.png \
	 --title='Cartpole swingup from its state: latent models'
else
	@echo "skipped: results/latent_models.png, there is no CSV in results/latent_models"
endif

table: $(INSTALLED)  ## prints how far the runs in results/ have come, beside the paper's scores
	@$(BIN)/python scripts/plot.py results/*.csv $(LATENT_MODELS) --table

notebook: preflight  ## executes notebooks/planet.ipynb in place, in minutes
	$(BIN)/python -c "import nbclient, nbformat; notebook = nbformat.read('$(NOTEBOOK)', 4); \
	 nbclient.NotebookClient(notebook, record_timing=False).execute(); \
	 nbformat.write(notebook, '$(NOTEBOOK)')"

lint: $(INSTALLED)  ## checks style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(INSTALLED)  ## mends style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:  ## removes the virtual environment and caches, not the runs
	rm -rf $(VENV) .pytest_cache .ruff_cache .mypy_cache *.egg-info
