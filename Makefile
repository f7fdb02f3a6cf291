# `make train` and `make test` do all set-up on a fresh machine with Python 3.10 to 3.13.

PYTHON ?= $(shell .ci/pythons | head -n 1)
VENV ?= .venv
BIN = $(VENV)/bin
INSTALLED = $(VENV)/installed
TASK ?= cartpole_swingup
POLICY ?= results/policies/cartpole_swingup/policy
NOTEBOOK = notebooks/planet.ipynb
# In the order of the legend.
LATENT_MODELS = $(foreach variant,rssm ssm rnn overshooting random_collection,\
	$(sort $(wildcard results/latent_models/$(variant)-seed*.csv)))

.PHONY: help setup preflight train test test-stacks smoke test-slow test-faults doctor bench planners figures table notebook \
 docs lint format clean

help:  ## lists the commands
	@grep -E '^[a-z-]+:.*##' Makefile | sed -E 's/:.*## /\t/' | expand -t 12

setup: $(INSTALLED)  ## creates the virtual environment in .venv and installs the pinned packages

$(INSTALLED): setup.cfg pyproject.toml requirements-nodeps.txt
	@test -n "$(PYTHON)" || { echo "error: planet_tf needs Python 3.10 to 3.13 with its venv module\
	 (Debian, Ubuntu: apt-get install python3-venv); or name another: make PYTHON=/path/to/python3.13" >&2; exit 2; }
	$(PYTHON) -m venv --clear $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade "pip>=23"
	$(BIN)/python -m pip install --quiet -e ".[dev]"
	$(BIN)/python -m pip install --quiet --no-deps -r requirements-nodeps.txt
	touch $@

preflight: $(INSTALLED)
	$(BIN)/python -m planet_tf.environments.rendering

train: preflight  ## learns cartpole swingup from pixels, sized for a CPU (TASK=... for another task)
	$(BIN)/planet-tf train --gin_file=$(TASK).gin --gin_file=cpu.gin

test: preflight  ## runs the tests (the fast ones) in two processes
	$(BIN)/python -m pytest --numprocesses=2 --dist=loadfile --no-loadscope-reorder

test-stacks:  ## runs the tests on every Python from 3.10 to 3.13 on this machine
	.ci/stacks

smoke: preflight  ## trains, resumes, evaluates and exports at debug size
	.ci/smoke $(BIN)/planet-tf

test-slow: preflight  ## runs the learning tests (the toy task, three seeds, from pixels), the notebook and the wheel
	$(BIN)/python -m pytest -m slow

test-faults: preflight  ## runs the tests of kills, full disks and long runs
	$(BIN)/python -m pytest -m faults

doctor: $(INSTALLED)  ## checks this machine, and estimates how long `make train` takes
	$(BIN)/planet-tf doctor --gin_file=$(TASK).gin --gin_file=cpu.gin

bench: preflight  ## times update, decision, frame and batch against the machine's matmul rate
	$(BIN)/planet-tf bench

planners: preflight  ## measures return against milliseconds for many planners (POLICY=... for another policy)
	mkdir -p runs/planners
	$(BIN)/planet-tf planners $(POLICY) --episodes=10 --out=runs/planners/$(notdir $(patsubst %/policy,%,$(POLICY:/=))).png

figures: $(INSTALLED)  ## redraws the figures of README and docs from the CSVs in results/
	$(BIN)/planet-tf plot results/cartpole_swingup-cpu-seed*.csv --x=minutes --reference \
	 --out=results/cartpole_swingup-cpu.png \
	 --title='Cartpole swingup from pixels, one CPU core per run' \
	 --labels 'cartpole_swingup-cpu=evaluations, without noise'
	$(BIN)/planet-tf plot results/dmcontrol100k/*.csv --reference=100k --out=results/dmcontrol100k.png \
	 --title='From pixels, one CPU core per run'
	cp results/planners/cartpole_swingup.png docs/images/planners_cartpole_swingup.png
	$(BIN)/planet-tf plot $(LATENT_MODELS) --out=docs/images/latent_models.png \
	 --title='Cartpole swingup from its state: latent models'

table: $(INSTALLED)  ## prints the results in results/ next to the paper's scores
	@$(BIN)/planet-tf plot results/*.csv results/gymnasium/*.csv $(LATENT_MODELS) --table
	@echo; $(BIN)/planet-tf plot results/dmcontrol100k/*.json results/dmcontrol500k/*.json --table

notebook: preflight  ## re-executes notebooks/planet.ipynb in place, in minutes
	$(BIN)/python -c "import nbclient, nbformat; notebook = nbformat.read('$(NOTEBOOK)', 4); \
	 nbclient.NotebookClient(notebook, record_timing=False).execute(); \
	 nbformat.write(notebook, '$(NOTEBOOK)')"

docs: $(INSTALLED)  ## generates docs/configuration.md, and builds the documentation in site/
	$(BIN)/python docs/generate.py
	$(BIN)/mkdocs build --strict --quiet

lint: $(INSTALLED)  ## checks style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(INSTALLED)  ## fixes style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:  ## removes the virtual environment and caches, not the runs
	rm -rf $(VENV) .pytest_cache .ruff_cache .mypy_cache *.egg-info build site
