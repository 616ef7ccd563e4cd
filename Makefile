# Two commands for a fresh machine: `make demo` and `make test`. Both make .venv and install everything.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
PROTOS := $(wildcard proto/replicator/v1/*.proto)

.PHONY: demo test check fix proto simulate drill bench compare clean
TIMES ?= 5
PEER ?= etcd
WORKERS ?= 4
SEEDS ?= 0:10000

demo: $(STAMP)
	$(BIN)/replicator demo

# Half of a test's time is waiting for timers, disks and processes, so there are more workers than cores.
test: export PYTHONDONTWRITEBYTECODE =  # the nodes that tests start read compiled files
test: $(STAMP)  ## all but what `drill` runs: make test WORKERS=0 for one process
	$(BIN)/pytest -m "not slow" -n $(WORKERS) --dist worksteal

check: $(STAMP)  ## reads only: format, lint, types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

fix: $(STAMP)  ## rewrites: format and lint
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

simulate: $(STAMP)  ## the shipped engine in virtual time, under faults: make simulate SEEDS=0:200
	$(BIN)/python -m chaos simulate --seeds $(SEEDS) --nodes 3,5 --profile lan,wan --lanes 1,2

drill: $(STAMP)  ## what takes minutes; every scenario on real processes and in the simulation: make drill TIMES=5
	for time in $$(seq $(TIMES)); do \
	  AGREE_SEED=$${AGREE_SEED:-$$(date +%s)} AGREE_LIVES=$${AGREE_LIVES:-5} $(BIN)/pytest tests/integration/test_scenarios_agree.py \
	    tests/integration/test_auto_timers.py tests/integration/test_demo.py || exit 1; \
	done
	$(BIN)/pytest tests/integration/test_compare_figures.py

bench: $(STAMP)  ## the figures of docs/benchmarks.md, beside etcd where it is installed
	$(BIN)/python -m benchmarks

compare: $(STAMP)  ## the goals of docs/performance.md, beside etcd; fills its table: make compare PEER=etcd
	$(BIN)/python -m benchmarks compare --peer $(PEER) --json compare-$(PEER).json --write-docs

proto: $(STAMP)  ## regenerates replicator/v1
	$(BIN)/python -m grpc_tools.protoc -I proto --plugin=$(BIN)/protoc-gen-mypy --plugin=$(BIN)/protoc-gen-mypy_grpc \
	  --python_out=. --grpc_python_out=. --mypy_out=. --mypy_grpc_out=. $(PROTOS)

$(STAMP): requirements.lock pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	touch $@

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .hypothesis
