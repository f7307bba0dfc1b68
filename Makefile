# Every target makes .venv by itself, so each of them works as the first command after a clone.
# Another interpreter:  make PYTHON=python3.12 test        Some tests only:  make test ARGS="tests/test_layer.py"

PYTHON ?= python3
ARGS ?=
VENV := .venv
BIN := $(VENV)/bin
# -qq keeps pip to its errors.
INSTALL := $(BIN)/python -m pip install -qq --disable-pip-version-check -c constraints.txt
PACKAGES := vsml rl meta proofs experiments benchmarks

.DELETE_ON_ERROR:
.PHONY: help demo test slow lint format check wheel-test clean

help:  ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1|\2/p' $(MAKEFILE_LIST) | awk -F'|' '{ printf "%-20s %s\n", $$1, $$2 }'

demo: $(VENV)/.core  ## see a learned learning algorithm at work
	@$(BIN)/symla demo $(ARGS)

# Compiled programs are kept between runs: a second run spends far less time in the compiler.
test slow: export JAX_COMPILATION_CACHE_DIR := $(CURDIR)/.cache/jax
test slow: export JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS := 0
# So is bytecode, whatever the shell says: each worker would read all sources anew.
test slow: export PYTHONDONTWRITEBYTECODE :=

# A file stays in one process, because its tests share what they compile.
PYTEST := $(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadfile

test: $(VENV)/.test  ## run the tests, without the slow ones
	@$(PYTEST) $(ARGS)

# Status 5 is pytest's "nothing collected".
slow: $(VENV)/.test  ## run the slow tests only
	@$(PYTEST) --dist worksteal -m slow $(ARGS) || { status=$$?; [ $$status -eq 5 ] || exit $$status; }

lint: $(VENV)/.dev  ## check formatting, style and types
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@PYRIGHT_PYTHON_IGNORE_WARNINGS=1 $(BIN)/pyright

format: $(VENV)/.dev  ## format the code and mend what can be mended by machine
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

check: lint  ## everything that continuous integration runs, and all slow tests
	@$(MAKE) --no-print-directory slow
	@$(MAKE) --no-print-directory test

wheel-test: $(VENV)/.core  ## build the wheel and try it outside the checkout, without extras
	@echo "Building the wheel and installing it into a fresh environment ..."
	@rm -rf dist
	@$(BIN)/python -m pip wheel -qq --disable-pip-version-check --no-deps --wheel-dir dist .
	@set -e; there=$$(mktemp -d); trap 'rm -rf "$$there"' EXIT; \
	$(BIN)/python -m venv "$$there/venv"; \
	"$$there/venv/bin/python" -m pip install -qq --disable-pip-version-check -c constraints.txt dist/*.whl; \
	shipped=$$(ls pretrained | grep -E '\.(symla|md)$$' | sort | tr '\n' ' '); \
	cd "$$there"; unset PYTHONPATH; export XDG_CACHE_HOME="$$there/cache"; \
	venv/bin/symla --help >/dev/null; \
	venv/bin/symla demo --generations 2 --json >demo.json; \
	venv/bin/python -c "import json; assert json.load(open('demo.json'))"; \
	venv/bin/python -c "import vsml, rl, meta, proofs, experiments, benchmarks"; \
	venv/bin/python -c "import sys; from importlib.resources import files; there = sorted(f.name for f in files('pretrained').iterdir() if f.name.endswith(('.symla', '.md'))); sys.exit(there != sorted(sys.argv[1:]) and f'pretrained: the wheel holds {there}')" $$shipped; \
	echo "The wheel works on its own."

clean:  ## remove everything these targets made
	rm -rf $(VENV) .cache .hypothesis .pytest_cache .ruff_cache build dist
	find $(PACKAGES) pretrained tests -name __pycache__ -type d -prune -exec rm -rf {} +

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null || { \
	echo "symla needs Python 3.11, 3.12 or 3.13, and $(PYTHON) is" \
	"$$($(PYTHON) -c 'import platform; print(platform.python_version())' 2>/dev/null || echo 'not a working Python')." \
	"Name another one, for example: make PYTHON=python3.12 test" >&2; exit 1; }
	@echo "Making the virtual environment $(VENV) ..."
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); \
	echo "Could not make $(VENV): on Debian and Ubuntu, install the package python3-venv first." >&2; exit 1; }

# One stamp for each set of packages; a larger set settles the smaller ones too.
$(VENV)/.core: pyproject.toml constraints.txt | $(BIN)/python
	@echo "Installing symla into $(VENV) (about a gigabyte the first time) ..."
	@$(INSTALL) -e .
	@touch $@

$(VENV)/.test: pyproject.toml constraints.txt | $(BIN)/python
	@echo "Installing symla and its test tools into $(VENV) (about a gigabyte the first time) ..."
	@$(INSTALL) -e '.[test]'
	@touch $(VENV)/.core $@

$(VENV)/.dev: pyproject.toml constraints.txt | $(BIN)/python
	@echo "Installing symla, its test tools and the linters into $(VENV) (about a gigabyte the first time) ..."
	@$(INSTALL) -e '.[test,dev]'
	@touch $(VENV)/.core $(VENV)/.test $@
