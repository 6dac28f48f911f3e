# Everything here sets itself up: a .venv with the exact versions of requirements.lock.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.PHONY: help demo test check docs lock clean

# The first Python that is new enough; `make demo PYTHON=/path/to/python3.12` chooses one.
NEW_ENOUGH := import sys; sys.exit(sys.version_info < (3, 11))
PYTHON ?= $(shell for each in python3 python3.13 python3.12 python3.11; do \
	if $$each -c "$(NEW_ENOUGH)" 2>/dev/null; then echo $$each; break; fi; done)
BIN := .venv/bin
INSTALLED := .venv/.installed

help:  ## list what can be made
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /make \1\t/'

$(INSTALLED): requirements.lock pyproject.toml
	@if [ -z "$(PYTHON)" ] || ! $(PYTHON) -c "$(NEW_ENOUGH)" 2>/dev/null; then \
		echo "thinktwice needs Python 3.11 or newer$(if $(PYTHON),; $(PYTHON) is older or missing). Install one, or name it: make PYTHON=/path/to/python3" >&2; exit 1; fi
	@[ -x $(BIN)/python ] && $(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear .venv || { \
		echo "no virtual environment could be made; on Debian or Ubuntu: apt install python3-venv" >&2; exit 1; }
	@echo "installing requirements.lock into .venv (once)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --requirement requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

demo: $(INSTALLED)  ## train the arms of the first result, score them, write the page
	@$(BIN)/thinktwice run recipes/backtrack.yaml

check: $(INSTALLED)  ## style, types, and the direction of imports
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

test: export OMP_NUM_THREADS := 1
test: export HF_HUB_OFFLINE := 1
test: check  ## check, then every test; one thread a process, because two cores are shared by two processes
	$(BIN)/python -m pytest -n logical --maxprocesses 8

docs: export NO_MKDOCS_2_WARNING := 1
docs: $(INSTALLED)  ## build the documentation into site/; a broken link, command or file name is an error
	@$(BIN)/mkdocs build --strict --clean
	@echo "documentation: site/index.html"

lock: export PIP_DISABLE_PIP_VERSION_CHECK := 1
lock:  ## write requirements.lock anew from pyproject.toml, in an environment of its own
	@place=$$(mktemp -d) && trap 'rm -rf "$$place"' EXIT && $(PYTHON) -m venv "$$place" \
	&& "$$place/bin/python" -m pip install --quiet --upgrade 'setuptools>=75' \
	&& "$$place/bin/python" -m pip install --quiet 'torch==2.13.0' '.[train,eval,http,ui,docs,dev]' \
	&& "$$place/bin/python" -m pip freeze --all --exclude pip --exclude wheel --exclude thinktwice \
		| sed -E 's/ @ .*//; s/\+[a-z0-9.]+$$//' | grep -viE '^(nvidia|triton|cuda)' > requirements.lock.new \
	&& mv requirements.lock.new requirements.lock && echo "requirements.lock: $$(wc -l < requirements.lock) packages"

clean:  ## back to a fresh clone; runs/ is yours and stays
	rm -rf .venv build dist site src/*.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -not -path './.git/*' -prune -exec rm -rf {} +
