# one command each: `make demo`, `make test`; both set up .venv first
PYTHON ?= python3
BIN := .venv/bin
OLDEST := .venv-oldest/bin
# the oldest supported Ultralytics still uses np.trapz, which numpy 2.4 no longer has
OLDEST_PINS := "ultralytics==8.3.70" "numpy<2.4"
# tests of one file share what they build, so a file stays in one process
WORKERS ?= 2
PARALLEL := -n $(WORKERS) --dist loadfile

.PHONY: demo test test-oldest test-slow lint clean

demo: .venv/ready
	$(BIN)/python examples/demo.py

test: .venv/ready
	$(BIN)/python -m pytest $(PARALLEL)

test-oldest: .venv-oldest/ready
	$(OLDEST)/python -m pytest $(PARALLEL) tests/yolo tests/models

test-slow: .venv/ready
	$(BIN)/python -m pytest -m slow

lint: .venv/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# uv, itself from the package index, installs in seconds what pip installs in minutes
.venv/ready: pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	$(BIN)/uv pip install --python $(BIN)/python -e ".[yolo,export,study,train,segmentation,dev]"
	touch $@

.venv-oldest/ready: pyproject.toml .venv/ready
	$(BIN)/uv venv --allow-existing --python $(PYTHON) .venv-oldest
	$(BIN)/uv pip install --python $(OLDEST)/python -e ".[yolo,export,study,train,segmentation,dev]" $(OLDEST_PINS)
	touch $@

clean:
	rm -rf .venv .venv-oldest demo build dist src/*.egg-info
