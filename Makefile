# Two commands after a clone: `make demo` and `make test`. Both make the environment in .venv themselves.

VENV   ?= .venv
PYTHON3 ?= python3
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready
UV     := $(shell command -v uv)

PEERS  := $(VENV)/.peers

.PHONY: demo test lab lint bench guard widgets figures pictures docs gallery zoo results results-gpu where clean help

help:
	@echo "make demo   train on the embedded digits, place them with UMAP, write a report (about two minutes on two cores)"
	@echo "make test   everything that continuous integration checks"
	@echo "make lab    JupyterLab on 127.0.0.1 with the notebooks and apps"
	@echo "make lint   format, style, types, import directions, stripped notebooks"
	@echo "make bench  speed side by side with peers: a table and a record (twelve minutes; QUICK=1 two, ROWS=a,c some)"
	@echo "make guard  the same against the committed record; fails when a ratio falls below 70 % of it three times"
	@echo "make widgets  the scatter side by side with plotly's and jupyter-scatter, in Chromium (about a quarter of an hour)"
	@echo "make figures  the digits figure over five seeds"
	@echo "make pictures  the README's pictures, taken anew in Chromium (three minutes)"
	@echo "make docs   the documentation, to open from build/docs/index.html without a network (half a minute)"
	@echo "make gallery  the figures of the documentation, from runs that it trains (ten minutes; the runs are kept)"
	@echo "make results SET=digits  trains three seeds, asks every protocol, writes record and README table (also fashion-mnist, cifar10-6000)"
	@echo "make results-gpu  the same for CIFAR-10 with a ResNet-18 on one GPU; MINUTES=55 stops in time, the same call goes on"
	@echo "make zoo    how often the verdict is right: 377 small runs, an hour (Fashion-MNIST in data/images or TWIST_DATA)"
	@echo "make where  the map of notebooks/13: 63 small runs, a quarter of an hour of one processor (IMAGES=cifar10.npz)"

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

bench: $(PEERS)
	$(BIN)/python -m benchmarks.speed $(if $(ROWS),--rows $(ROWS)) $(if $(QUICK),--quick --output build/quick.json)

guard: $(PEERS)
	$(BIN)/python -m benchmarks.speed --guard $(if $(ROWS),--rows $(ROWS))

widgets: $(PEERS)
	$(BIN)/python -m benchmarks.widgets

figures: $(READY)
	$(BIN)/python benchmarks/digits_seeds.py

pictures: $(READY)
	$(BIN)/python -m benchmarks.pictures

docs: $(READY)
	$(BIN)/python -m sphinx --fail-on-warning --keep-going --quiet -b html -d build/doctrees docs build/docs
	@echo "open build/docs/index.html"

gallery: $(READY)
	$(BIN)/python -m benchmarks.gallery $(ONLY)

zoo: $(READY)
	$(BIN)/python -m benchmarks.zoo

results: $(READY)
	$(BIN)/python -m benchmarks.results $(or $(SET),digits) $(if $(ROOT),--root $(ROOT))

results-gpu: $(READY)
	$(BIN)/python -m benchmarks.results $(or $(SET),cifar10-gpu) --jobs 1 $(if $(MINUTES),--max-minutes $(MINUTES)) $(if $(ROOT),--root $(ROOT))

where: $(READY)
	$(BIN)/python -m benchmarks.where_it_learns $(IMAGES)

# uv when it is there, else uv by pip into the new environment; pip itself when uv cannot reach the package index.
$(READY): pyproject.toml constraints.txt
	@$(PYTHON3) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "twist needs Python 3.11 or newer; set PYTHON3=...")'
	test -x $(BIN)/python || $(PYTHON3) -m venv $(VENV)
	@test -n "$(UV)" || $(BIN)/python -m pip install --quiet uv || true
	uv="$(or $(UV),$(BIN)/uv)"; \
	"$$uv" pip install --quiet --python $(BIN)/python -c constraints.txt -e '.[test]' || \
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[test]'
	touch $@

# The peers that `make bench` compares with. One that cannot be installed costs its rows, not the bench.
$(PEERS): $(READY)
	uv="$(or $(UV),$(BIN)/uv)"; \
	"$$uv" pip install --quiet --python $(BIN)/python -c constraints.txt -e '.[bench]' || \
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[bench]' || \
	echo "some peers are missing: their rows will say so"
	touch $@

clean:
	rm -rf $(VENV) .pytest_cache .ruff_cache .mypy_cache .hypothesis .import_linter_cache
