# Two commands after a clone: `make demo` and `make test`. Both make the environment in .venv themselves.

VENV   ?= .venv
PYTHON3 ?= python3
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready
UV     := $(shell command -v uv)

.PHONY: demo test lab lint bench clean help

help:
	@echo "make demo   train on the embedded digits, place them with UMAP, write a report (about two minutes on two cores)"
	@echo "make test   everything that continuous integration checks"
	@echo "make lab    JupyterLab on 127.0.0.1 with the notebooks and apps"
	@echo "make lint   format, style, types, import directions, stripped notebooks"
	@echo "make bench  the digits figure over five seeds, and the cost of recording"

demo: $(READY)
	$(BIN)/twist train digits --report

test: lint
	$(BIN)/python -m pytest --jaxtyping-packages=twist.learn,beartype.beartype

lab: $(READY)
	$(BIN)/jupyter lab --ip=127.0.0.1 --ServerApp.root_dir=.

lint: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports
	$(BIN)/mypy
	$(BIN)/nbstripout --verify notebooks/*.ipynb apps/*.ipynb

bench: $(READY)
	$(BIN)/python benchmarks/digits_seeds.py
	$(BIN)/python benchmarks/recording_cost.py

# uv when it is there, else uv by pip into the new environment; pip itself when uv cannot reach the package index.
$(READY): pyproject.toml constraints.txt
	@$(PYTHON3) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "twist needs Python 3.11 or newer; set PYTHON3=...")'
	test -x $(BIN)/python || $(PYTHON3) -m venv $(VENV)
	@test -n "$(UV)" || $(BIN)/python -m pip install --quiet uv || true
	uv="$(or $(UV),$(BIN)/uv)"; \
	"$$uv" pip install --quiet --python $(BIN)/python -c constraints.txt -e '.[test]' || \
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[test]'
	touch $@

clean:
	rm -rf $(VENV) .pytest_cache .ruff_cache .mypy_cache .hypothesis .import_linter_cache
