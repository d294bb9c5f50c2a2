# make book    execute every notebook at the quick scale and render the book into _build/html
# make test    lint, types, unit tests, and every notebook at the smoke scale
# make bench   side-by-side timings
# make full CHAPTER=<chapter> [RUN=<run>] [SCALE=full]   the chapter's full-scale runs (see full_scale.md)
# make lab     JupyterLab in the book's environment
# make clean   remove what was built; the environment, finished results and checkpoints stay
#
# Every path is relative and programs are called as modules, so that a folder with a space in its name works.

PYTHON ?= python3
PY := .venv/bin/python
RUN_GRAPH := $(PY) -m snakemake
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: book test bench full lab clean

book: .venv/installed
	$(RUN_GRAPH)
	@$(PY) -m tenpapers.ledger report --scale quick; held=$$?; echo "Open the book: _build/html/index.html"; exit $$held

test: .venv/installed
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	cd lib && ../$(PY) -m mypy
	$(PY) -m pytest -n auto --dist loadgroup

bench: .venv/installed
	for file in benchmarks/bench_*.py; do $(PY) "$$file" || exit 1; done

full: .venv/installed
	$(RUN_GRAPH) full --config chapter="$(CHAPTER)" run="$(RUN)" scale="$(or $(SCALE),full)"

lab: .venv/installed
	$(PY) -m jupyter lab

clean:
	rm -rf _build/html _build/book _build/failed _build/keys _build/done _build/logs _build/.doctrees .snakemake
	rm -rf .mypy_cache .pytest_cache .ruff_cache .hypothesis

.venv/installed: requirements.txt requirements.lock lib/pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit("The book needs Python 3.11 or newer; set PYTHON=... to one.") if sys.version_info < (3, 11) else None'
	test -x $(PY) || $(PYTHON) -m venv .venv
	$(PY) -m pip install -qq -r requirements.txt -c requirements.lock -e ./lib
	touch $@
