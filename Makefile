# `make` prints the targets. Everything runs in .venv, which each target sets up when it is missing.

PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin/python
NAME ?= quickstart
BY ?= optimizer

.DEFAULT_GOAL := help
.PHONY: help setup data study smoke fit compare plan report ask examples reference test test-distributed test-distributed-ci test-crash reliability lint format bench golden dashboard notebooks clean

help:  ## print this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 22

# pip, not a resolver of its own: a torch that pip's configuration offers is taken as it is.
$(VENV)/.installed: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "Python 3.11 or newer is needed, but $(PYTHON) is older: run make PYTHON=python3.11"; exit 1; }
	@test -x $(RUN) || $(PYTHON) -m venv $(VENV)
	@echo "Installing into $(VENV), mostly torch: some minutes, once."
	@$(RUN) -m pip install --quiet --editable '.[dev]' 2> $(VENV)/install.log \
		|| { cat $(VENV)/install.log; exit 1; }
	@touch $@

setup: $(VENV)/.installed  ## make .venv and install everything

data: setup  ## fetch MNIST into data/ (every study does so by itself)
	@$(RUN) -c 'from mnist_scaling.training.data import sources; print(sources.ensure("mnist", "data"))'

study: setup  ## tune, fit and report a small real study: multirun/quickstart/report.html
	@$(RUN) -m mnist_scaling.train -m experiment=quickstart
	@$(RUN) -m mnist_scaling.fit name=quickstart
	@$(RUN) -m mnist_scaling.report name=quickstart

smoke: setup  ## the same pipeline in seconds; its numbers mean nothing
	@$(RUN) -m mnist_scaling.train -m experiment=smoke
	@$(RUN) -m mnist_scaling.fit name=smoke
	@$(RUN) -m mnist_scaling.report name=smoke

fit: setup  ## fit a study again: make fit NAME=width_x_data
	@$(RUN) -m mnist_scaling.fit name=$(NAME)

compare: setup  ## compare the values of an axis of a study: make compare NAME=optimizers BY=optimizer
	@$(RUN) -m mnist_scaling.compare by=$(BY) name=$(NAME)

plan: setup  ## what to run next in a study: make plan NAME=width_x_data
	@$(RUN) -m mnist_scaling.plan name=$(NAME)

report: setup  ## write a study's report again: make report NAME=width_x_data
	@$(RUN) -m mnist_scaling.report name=$(NAME)

ask: setup  ## list the questions, or answer one: make ask QUESTION=dropout SCALE=quick
	@$(RUN) -m mnist_scaling.ask $(if $(QUESTION),question=$(QUESTION)) $(if $(SCALE),scale=$(SCALE))

CELLS := -m hydra/sweeper=cells

examples: setup  ## tune, fit and report three programs that are not ours: examples/, docs/own_problem.md
	@$(RUN) examples/plain_function.py
	@$(RUN) examples/digits/train.py $(CELLS) name=digits units=4,8,16,32 n=100,200,400,800 \
		'lr=tag(nuisance,log,interval(1e-3,1e-1))' 'alpha=tag(nuisance,log,interval(1e-5,1))' hydra.sweeper.n_trials=6
	@$(RUN) examples/char_lm/train.py $(CELLS) name=char_lm model.width=8,16,32 data.tokens=32768,65536,131072 \
		'optim.lr=tag(nuisance,log,interval(1e-3,5e-2))' hydra.sweeper.n_trials=5 hydra.sweeper.n_repeats=2
	@for name in plain_function digits char_lm; do \
		$(RUN) -m mnist_scaling.fit name=$$name && $(RUN) -m mnist_scaling.report name=$$name || exit 1; done

reference: setup  ## run the studies of multirun/reference/ that are not kept there, hours: make reference QUESTION=dropout
	@$(RUN) benchmarks/reference.py run $(QUESTION)

# Bytecode is kept even where the environment forbids it: every worker, and every process that a test starts, compiles
# and rewrites the same modules otherwise.
test: setup  ## run the tests, real runs on real MNIST among them
	@PYTHONDONTWRITEBYTECODE= OMP_NUM_THREADS=1 $(RUN) -m pytest -n auto --dist loadfile --no-loadscope-reorder -m "not distributed" --durations=20

test-fast: setup  ## the tests while editing, about a minute: every file that is not marked slow
	@PYTHONDONTWRITEBYTECODE= OMP_NUM_THREADS=1 $(RUN) -m pytest -n auto --dist loadfile --no-loadscope-reorder -m "not distributed and not slow"

test-distributed: setup  ## the same study on real Ray, Dask, Slurm and PostgreSQL, started here, and their faults
	@$(RUN) -m pip install --quiet --editable '.[dask,ray,slurm,postgres]'
	@tests/distributed/packages.sh
	@OMP_NUM_THREADS=1 $(RUN) -m pytest -m distributed tests/distributed

test-distributed-ci: setup  ## a few minutes of test-distributed: Ray, Dask and PostgreSQL; what is missing is skipped
	@$(RUN) -m pip install --quiet --editable '.[dask,ray,postgres]' \
		|| echo "pip could not install the engines: the tests that need them are skipped."
	@tests/distributed/packages.sh postgresql
	@OMP_NUM_THREADS=1 $(RUN) -m pytest -m distributed -k "in_ci or undisturbed" tests/distributed

test-crash: setup  ## kill a sweep 400 times in every mode: ten minutes; make test-crash SEED=1 repeats one
	@OMP_NUM_THREADS=1 $(RUN) -m tests.tuning.crash_simulator $(if $(SEED),--seed $(SEED))

reliability: setup  ## the table of docs/scaling_out.md: faults, how often they were tried, what was lost
	@OMP_NUM_THREADS=1 $(RUN) benchmarks/reliability.py --write docs/scaling_out.md $(if $(SEED),--seed $(SEED))

lint: setup  ## ruff and mypy
	@$(RUN) -m ruff check .
	@$(RUN) -m ruff format --check .
	@$(RUN) -m mypy

format: setup  ## put the code into ruff's format
	@$(RUN) -m ruff check --fix .
	@$(RUN) -m ruff format .

bench: setup  ## time what is claimed to be fast; ratios within one run
	@mkdir -p multirun
	@$(RUN) benchmarks/training.py --json multirun/bench_training.json
	@$(RUN) benchmarks/whole_study.py --quick --json multirun/bench_whole_study.json
	@$(RUN) benchmarks/fitting.py --quick --json multirun/bench_fitting.json

golden: setup  ## record what the commands give: make golden OUT=DIR [CASES=a,b]; with AGAINST=DIR, compare the two
	@test -n "$(OUT)" || { echo "A recording must have a folder: make golden OUT=DIR" >&2; exit 1; }
	@$(RUN) benchmarks/golden.py $(OUT) $(if $(CASES),--cases $(CASES)) $(if $(AGAINST),--against $(AGAINST))

notebooks: setup  ## run the notebooks again and keep what they print and draw
	@OMP_NUM_THREADS=1 $(RUN) notebooks/render.py

dashboard:  ## look at a study's trials in a browser: make dashboard NAME=quickstart [PORT=8081]
	@test -f multirun/$(NAME)/optuna.journal || { echo "A study must have its journal to be shown, but there is no" \
		"multirun/$(NAME)/optuna.journal: check NAME, or run the study first; tables that come with the repository have none." \
		"(For a study in a database, give its URL to optuna-dashboard.)" \
		>&2; exit 1; }
	@$(MAKE) --no-print-directory setup
	@$(RUN) benchmarks/dashboard.py multirun/$(NAME) $(if $(PORT),--port $(PORT))

clean:  ## remove .venv and caches; data/ and multirun/ stay
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
