# The two commands:   make book     builds the book and prints the page to open
#                     make test     lint, tests, every chapter at smoke, gates, headless browser
#
# Both work on a fresh clone with Python >= 3.11: the first call makes .venv and installs
# requirements.txt, later calls install nothing until that file or pyproject.toml changes.
# To choose:  make book PROFILE=cpu      make book PYTHON=python3.12      make book VENV=/tmp/env

PROFILE ?= smoke
VENV    ?= .venv
PYTHON  ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11 python; do \
             $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 && \
             { echo $$p; exit; }; done; echo none)
# Windows (Git Bash, MSYS2) has the programs of an environment in Scripts, all others in bin.
BIN     := $(VENV)/$(if $(filter Windows_NT,$(OS)),Scripts,bin)
STAMP   := $(VENV)/.installed
PEERS   := $(VENV)/.peers
PIP     := $(BIN)/python -m pip --disable-pip-version-check

.PHONY: book published test test-device test-slurm lint install clean help

book: $(STAMP)
	@$(BIN)/intriguing build --profile $(PROFILE)

published: $(STAMP)
	@$(BIN)/intriguing build

# pytest comes last, so that its closing line is the last thing seen.  Its tests are shared out among
# the cores: whoever has nothing left takes from the others.
test: $(STAMP) $(PEERS) lint
	$(BIN)/intriguing check
	$(BIN)/python -m pytest --numprocesses=logical --maxprocesses=4 --dist=worksteal

# Every chapter on a pretended GPU: the device is another one, the numbers are the same.  Minutes.
test-device: $(STAMP)
	INTRIGUING_TEST_DEVICE=1 $(BIN)/python -m pytest tests/test_rehearsal.py

# A build on a real Slurm, brought up on this machine and torn down whatever the tests say.
# Needs Debian or Ubuntu, root, and once: workflow/try-slurm.sh install
test-slurm: $(STAMP)
	$(PIP) install --quiet "snakemake-executor-plugin-slurm>=2"
	workflow/try-slurm.sh up --gpus 2
	@INTRIGUING_TEST_SLURM=1 $(BIN)/python -m pytest tests/test_slurm.py; status=$$?; \
	  workflow/try-slurm.sh down; exit $$status

lint: $(STAMP)
	$(BIN)/ruff check .

install: $(STAMP)

$(STAMP): requirements.txt pyproject.toml
	@command -v "$(PYTHON)" >/dev/null 2>&1 || { \
	  echo "No Python 3.11 or newer was found. Install one, or name it: make book PYTHON=/path/to/python3.12" >&2; \
	  exit 1; }
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "The book needs Python 3.11 or newer, and $(PYTHON) is `$(PYTHON) -V 2>&1`." >&2; \
	  echo "Name a newer one: make book PYTHON=/path/to/python3.12" >&2; exit 1; }
	@$(PIP) --version >/dev/null 2>&1 || "$(PYTHON)" -m venv --clear $(VENV) || { \
	  echo "Python could not make $(VENV). On Debian and Ubuntu: apt install python3-venv" >&2; exit 1; }
	@echo "Installing into $(VENV) (once; a few minutes, 1.5 GB or more) ..."
	@$(PIP) install --quiet -r requirements.txt
	@$(PIP) install --quiet --no-deps -e .
	@touch $@

# What tests compare with and nothing else needs.  Its own requirements would take other packages
# back to old versions (requests 2.25), so it comes without them.
$(PEERS): $(STAMP)
	@$(PIP) install --quiet --no-deps torchattacks==3.5.1
	@touch $@

# Keeps .venv, downloaded data and trained networks (_build/zoo); `rm -rf _build` removes those too.
clean:
	rm -rf _build/smoke _build/cpu _build/gpu _build/paper _build/published _build/cache .pytest_cache .ruff_cache

help:
	@sed -n '/^# The two/,/^$$/s/^# \{0,1\}//p' Makefile
