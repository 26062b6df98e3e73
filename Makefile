# Two commands do everything: `make reproduce` (the main job) and `make test`.
# Both make .venv and install the project if needed. To use an environment that exists: make test PY=/path/to/python

PY ?= .venv/bin/python
PYTHON ?= python3
PRESET ?=
# processes that share the tests of one command; 0: this one
WORKERS ?= 2
SPREAD := -p no:nbval -n $(WORKERS) --dist worksteal
# OpenMP threads that wait spin by default; where other work shares the cores that makes torch up to ten times slower
export OMP_WAIT_POLICY ?= passive
# with it every process compiles the library anew
unexport PYTHONDONTWRITEBYTECODE
SETUP := $(if $(filter .venv/bin/python,$(PY)),.venv/.installed)

.DEFAULT_GOAL := help
.PHONY: help setup reproduce test test-browser test-slow test-slurm test-zoo test-killed test-notebooks test-shipped test-wheel docs app lab lint clean

help:  ## show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-14s %s\n", $$1, $$2}'

.venv/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "error: $$($(PYTHON) --version) is too old; expected 3.11 or later: make PYTHON=python3.11 ..."; exit 2; }
	@test -x .venv/bin/python || $(PYTHON) -m venv .venv
	@echo "installing into .venv (a few minutes the first time)"
	@.venv/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[all,dev]'
	@touch $@

setup: $(SETUP)  ## make .venv and install the project with all extras

reproduce: $(SETUP)  ## the main job: the notebook of every paper; PRESET=tour|smoke|quick|full|paper
	$(PY) -m nvlib reproduce $(if $(PRESET),--preset $(PRESET))

# notebooks run on throw-away results: nothing of a test reaches runs/
test: $(SETUP)  ## style, unit tests, pages of the app, every notebook
	$(PY) -m ruff check .
	$(PY) -m pytest $(SPREAD)
	scratch=$$(mktemp -d) && trap 'rm -rf "$$scratch"' EXIT && \
	  NVLIB_RUNS="$$scratch" $(PY) -m pytest -n $(WORKERS) --dist loadfile --nbval-lax --nbval-cell-timeout=600 \
	    -p no:cacheprovider notebooks

test-browser: $(SETUP)  ## the app in a real headless browser (needs Debian's chromium, or BROWSER_PATH)
	$(PY) -m pytest -m browser

test-slow: $(SETUP)  ## long computations: coverage of intervals, real training
	$(PY) -m pytest -m slow

test-zoo: $(SETUP)  ## other people's modules in every way: what docs/support.md says
	$(PY) -m pytest $(SPREAD) -m zoo

test-slurm: $(SETUP)  ## job arrays on a real SLURM on loopback (needs Debian's slurm-wlm)
	$(PY) -m pytest -m slurm

test-killed: $(SETUP)  ## killed leaders and workers, and a grid of 200 runs that is killed ten times
	$(PY) -m pytest $(SPREAD) -m slow tests/test_launch.py tests/test_launch_warm.py tests/test_studies_faults.py

test-shipped: $(SETUP)  ## everything that ships, on every page that shows it
	$(PY) -m pytest $(SPREAD) -m slow tests/test_app_results.py

test-notebooks: $(SETUP)  ## every notebook through papermill, its page read
	$(PY) -m pytest $(SPREAD) -m slow tests/test_project.py

test-wheel: $(SETUP)  ## the wheel, built, installed into a clean environment and used there
	$(PY) -m pytest -m wheel

lint: $(SETUP)  ## ruff, with annotations and docstrings; mypy, which checks the annotations
	$(PY) -m ruff check .
	$(PY) -m mypy

docs: $(SETUP)  ## the site, in docs/_build/html, without a network; warnings are errors
	$(PY) -m sphinx -q -W --keep-going -b html docs docs/_build/html
	@echo "open docs/_build/html/index.html"

app: $(SETUP)  ## the dashboard, on this machine only
	$(PY) -m streamlit run app/main.py

lab: $(SETUP)  ## the notebooks, in JupyterLab
	$(PY) -m jupyterlab --notebook-dir=. --LabApp.default_url=/lab/tree/notebooks/00_tour.ipynb

clean:  ## remove .venv and caches; runs/ and results/ stay
	rm -rf .venv build dist docs/_build docs/notebooks *.egg-info .pytest_cache .ruff_cache .mypy_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
