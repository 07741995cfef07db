# Each target makes its own environment: a fresh machine needs git, make and Python 3.11 or newer.
PYTHON ?= python3
VENV ?= .venv
REQUIREMENTS ?= requirements-dev.txt
EDITABLE ?= --editable
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: install demo test breakages lint lock clean

install: $(STAMP)

$(STAMP): $(REQUIREMENTS) pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --requirement $(REQUIREMENTS)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation $(EDITABLE) .
	touch $(STAMP)

# make demo              starts everything and says where to look
# make demo ARGS=--auto  clicks through by itself and exits
demo: install
	$(BIN)/phasegate demo $(ARGS)

# make test ARGS="-k gate"  runs a part
# Most flow tests wait for something, so more processes than cores.
test: install
	$(BIN)/python -m pytest --numprocesses 4 --dist worksteal $(ARGS)

# Breaks the code line by line to see the tests turn red. make breakages ARGS="lease"  tries a part
breakages: install
	$(BIN)/python -m tests.breakages $(ARGS)

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python tests/house.py

# Needs uv; the hashes cover every platform.
lock:
	uv pip compile --universal --python-version 3.11 --generate-hashes --no-header --no-emit-index-url \
		--no-annotate --no-strip-extras --quiet --extra build pyproject.toml --output-file requirements.txt
	uv pip compile --universal --python-version 3.11 --generate-hashes --no-header --no-emit-index-url \
		--no-annotate --no-strip-extras --quiet --extra build --extra dev pyproject.toml --output-file requirements-dev.txt

clean:
	rm -rf $(VENV) build *.egg-info
