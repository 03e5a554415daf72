# make study: install and run the whole study on the simulated cohort.
# make test:  install with the test tools and run the tests.
# make test-slurm: the same for a cluster, on a Slurm of this machine (installs Debian's, as root).

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
LOCK := envs/requirements.lock
PIP := $(BIN)/python -m pip --disable-pip-version-check
# cached by Snakemake and matplotlib; inside the checkout, so that nothing is written elsewhere
export XDG_CACHE_HOME := $(CURDIR)/.snakemake/cache

.PHONY: study test test-slurm reliability validators lint install install-test clean

study: install
	@$(BIN)/snakemake --profile profiles/local all
	@$(BIN)/genmorph where

test: install-test
	@$(BIN)/python -m pytest tests -n 2 --dist loadgroup --no-loadscope-reorder $(PYTEST)

test-slurm: install-test
	@$(BIN)/python -m pytest tests/slurm -m slurm --durations=0 $(PYTEST)

# kills survived, tamperings found, false alarms, fuzz crashes: docs/reliability.md (QUICK=1: few)
reliability: install-test
	@$(BIN)/python tests/reliability/run.py $(if $(QUICK),--quick)

# the validators of RO-Crates that tests of `genmorph crate` use, apart: their pins are others
validators: $(VENV)-validators/.installed
$(VENV)-validators/.installed: envs/validators.txt
	@test -x $(VENV)-validators/bin/python || $(PYTHON) -m venv $(VENV)-validators
	@$(VENV)-validators/bin/python -m pip --disable-pip-version-check install --quiet -r $<
	@touch $@

lint: install-test
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/snakefmt --check Snakefile rules
	@$(BIN)/lint-imports
	@$(BIN)/snakemake --lint

install: $(VENV)/.installed
install-test: $(VENV)/.installed-test

# The stamp is written last: an install cut short is done again.
define install_pinned
	@$(PYTHON) -c 'import sys; assert (3, 11) <= sys.version_info[:2] <= (3, 12), \
	  "GenMorph needs Python 3.11 or 3.12: make PYTHON=python3.11 ..."'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing the pinned packages into $(VENV) (a few minutes the first time)"
	@PIP_CONSTRAINT=$(LOCK) $(PIP) install --quiet --editable '$(1)'
endef

$(VENV)/.installed: pyproject.toml $(LOCK)
	$(call install_pinned,.)
	@touch $@

# all that the study needs, too
$(VENV)/.installed-test: pyproject.toml $(LOCK)
	$(call install_pinned,.[test])
	@touch $(VENV)/.installed $@

clean:
	rm -rf $(VENV) .snakemake results/[!R]*
