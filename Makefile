# make results   set up, compute what is missing of the embedded suite, and train three of its runs once more to see that
#                they come out the same; results/embedded/report.html shows all of it
# make docs      set up, then the documentation as a site: site/index.html
# make long      set up, then the tests that take minutes each: whole workflows, killed processes, certification
# make slurm     set up, then the workflow as jobs of a real SLURM on this machine, where slurm-wlm and munge are installed
# make test      set up, then lint, types, tests but the longest, and the smoke suite; looks at the report where there is a chromium (.ci/run gets one)
# make benchmarks  set up, then measure speed and memory on this machine, and write docs/benchmarks: best with nothing else running

PYTHON ?= python3
BIN := $(CURDIR)/.venv/bin
export PATH := $(BIN):$(PATH)

# uv, where it is installed, takes a fraction of pip's time; pip leaves compiling to the first import of each module
ifneq ($(shell command -v uv),)
CREATE := uv venv --quiet --seed --clear --python "$(PYTHON)" .venv
INSTALL := VIRTUAL_ENV=$(CURDIR)/.venv uv pip install --quiet
else
CREATE := $(PYTHON) -m venv .venv
INSTALL := $(BIN)/pip install --quiet --disable-pip-version-check --no-compile
endif

.PHONY: results test setup lint tests long slurm smoke docs benchmarks

results: setup
	snakemake --cores all all
	mola report
	mola reproduce --sample 3
	@cat results/embedded/tables/summary.md
	@echo; echo "The page with all of it: results/embedded/report.html"

test: lint tests smoke

setup: .venv/.done

.venv/.done: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; v = "%d.%d" % sys.version_info[:2]; sys.exit(0 if v in ("3.11", "3.12", "3.13") else "mola needs Python 3.11, 3.12 or 3.13, found " + v + "; make PYTHON=python3.11")'
	$(CREATE)
	$(INSTALL) -r requirements.lock
	$(INSTALL) --no-deps --no-build-isolation -e .
	@touch $@

lint: setup
	ruff check .
	ruff format --check .
	snakefmt --check Snakefile workflow
	lint-imports
	mypy
	deptry mola
	deptry mola tools $$(find tests -type d) --ignore DEP004
	python tools/lint_words.py mola tests tools

tests: setup
	OMP_NUM_THREADS=1 pytest -n auto --dist worksteal -m "not long and not slurm"

long: setup
	OMP_NUM_THREADS=1 pytest -n auto --dist worksteal -m long

# one cluster for all of them, so not among the tests that several processes run
slurm: setup
	$(INSTALL) --no-build-isolation -e '.[slurm]'
	OMP_NUM_THREADS=1 pytest -rs -m slurm tests/slurm

# the site, into site/; a link that leads nowhere is an error
docs: .venv/.docs
	NO_MKDOCS_2_WARNING=1 mkdocs build --strict

.venv/.docs: .venv/.done requirements-docs.lock
	$(INSTALL) -r requirements-docs.lock
	@touch $@

# mola bench of everything that docs/benchmarks shows, then its page; NAMES="layers-resnet18 …" measures these alone
benchmarks: setup
	$(INSTALL) --no-build-isolation -e '.[compare]'
	python tools/make_benchmarks.py $(NAMES)

smoke: setup
	rm -rf results/smoke
	snakemake --cores all all --configfile config/smoke.yaml
	@cat results/smoke/tables/summary.md
