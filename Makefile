# make demo, make test: everything from a fresh clone. Needs Python >= 3.11, g++, make and perl; the rest comes from PyPI.
PYTHON := $(shell for p in python3.11 python3.12 python3.13 python3 python; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
VENV := .venv
STAMP := $(VENV)/.installed
JOBS ?= 2

.PHONY: demo test test-slow lint lock clean
.DELETE_ON_ERROR:

demo: $(STAMP)
	$(VENV)/bin/hwgen demo

test: lint
	$(VENV)/bin/python -m pytest -n $(JOBS) -m "not slow"

test-slow: $(STAMP)
	$(VENV)/bin/python -m pytest -n $(JOBS) -m slow

lint: $(STAMP)
	$(VENV)/bin/ruff check
	$(VENV)/bin/ruff format --check
	$(VENV)/bin/mypy

$(STAMP): pyproject.toml requirements-test.lock
	@test -n "$(PYTHON)" || { echo "missing: Python 3.11 or newer; install with: apt-get install python3" >&2; exit 1; }
	@for tool in g++ perl; do command -v $$tool >/dev/null || \
		{ echo "missing: $$tool; install with: apt-get install $$tool" >&2; exit 1; }; done
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
		{ echo "missing: Python's venv module; install with: apt-get install python3-venv" >&2; exit 1; }
	test -x $(VENV)/bin/python || $(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check -r requirements-test.lock
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	@touch $@

# Newer versions within the bounds of pyproject.toml; then run the tests.
lock:
	rm -rf build/lock && $(PYTHON) -m venv build/lock
	build/lock/bin/python -m pip install --quiet ".[test]"
	{ echo "# Exact versions of the tests; made by \`make lock\`."; \
	  build/lock/bin/python -m pip freeze --exclude hwgen; } > requirements-test.lock

clean:
	rm -rf $(VENV) build rtl_out sim_build *.egg-info .pytest_cache .mypy_cache .ruff_cache
