# Everything one can do here. Needs Python 3.11 or newer, make and git; `make test` and `make demo` set themselves up.

PYTHON ?= python3
SIDE_BY_SIDE ?= auto
BIN := .venv/bin
READY := .venv/.ready
LOCK := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header \
	--no-emit-find-links --no-emit-package torch $(LOCK_FLAGS)

# A process that may not write bytecode starts two to five times slower, and so would everything that it starts.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help venv test test-deep lint format demo docs lock migration \
	bench-serving bench-platform bench-branches bench-kernel bench-registry bench-queue bench-jobs bench-scale bench-wake bench-mirrors bench-databases bench-spot bench-checkpoint clean

help: ## Show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

venv: $(READY) ## Make .venv with the locked packages and Bough itself, editable

$(READY): requirements-dev.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("Bough needs Python 3.11 or newer, and $(PYTHON) is " + sys.version.split()[0] + "; try: make venv PYTHON=python3.12")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --only-binary :all: -r requirements-dev.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

test: $(READY) ## Run all tests; `make test ARGS="tests/kernel -k lease"` runs some, `SIDE_BY_SIDE=0` in one process
	$(BIN)/python -m pytest -n $(SIDE_BY_SIDE) --dist loadfile --no-loadscope-reorder $(ARGS)

test-deep: ## Run all tests with as many examples and kills as gate a change (tests/depth.py)
	BOUGH_DEEP=1 $(MAKE) test

lint: $(READY) ## Check style, layout and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(READY) ## Lay out the code and mend what can be mended
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

demo: $(READY) ## Deploy two real models, put them under load, break things, show what happened
	$(BIN)/python demo/run.py $(ARGS)

docs: $(READY) ## Write what is made from code: command line, OpenAPI, JSON Schema, schema.sql of the migrations
	$(BIN)/python -m bough.entrypoints.reference --write
	$(BIN)/python tools/migration.py --schema

lock: $(READY) ## Choose versions anew: requirements.lock, requirements-dev.lock; LOCK_FLAGS=--upgrade takes newer ones
	$(LOCK) pyproject.toml --output-file requirements.lock
	$(LOCK) pyproject.toml requirements-build.in --extra dev --extra otlp --output-file requirements-dev.lock

migration: $(READY) ## Write the next migration: make migration NAME=add-budgets
	$(BIN)/python tools/migration.py $(NAME)

bench-serving: $(READY) ## Measure the gateway beside other model servers (bench/serving); needs wrk
	$(BIN)/python bench/serving/run.py $(ARGS)

bench-platform: $(READY) ## Measure what a person waits for: up, init to first answer, deploys, recovery
	$(BIN)/python bench/platform/run.py --install $(ARGS)

bench-branches: $(READY) ## Measure branches beside cp, reflink, pyiceberg, lance, deltalake, DVC (bench/branches)
	$(BIN)/python -m bench.branches.branch $(ARGS)
	$(BIN)/python -m bench.branches.wake
	$(BIN)/python -m bench.branches.files --dvc
	$(BIN)/python -m bench.branches.tables

bench-kernel: $(READY) ## Measure reconciles per second
	$(BIN)/python bench/kernel/reconcile.py $(ARGS)

bench-registry: $(READY) ## Measure tracking beside an MLflow server, the ledger, signed models (bench/registry)
	$(BIN)/python -m bench.registry.tracking $(ARGS)
	$(BIN)/python bench/registry/ledger.py
	$(BIN)/python bench/registry/signing.py
	$(BIN)/python -m bench.registry.versions
	$(BIN)/python -m bench.registry.lineage

bench-scale: $(READY) ## Simulate our scaling rule beside KPA, HPA, Ray Serve, target tracking and a clairvoyant bound
	$(BIN)/python -m bench.scale.run $(ARGS)

bench-mirrors: $(READY) ## Measure what a mirror costs callers, and a replay of 1,000 requests
	$(BIN)/python bench/mirrors/run.py $(ARGS)

bench-jobs: $(READY) ## Measure short jobs per second, and what a job does to the services beside it (bench/jobs)
	$(BIN)/python -m bench.jobs.queue $(ARGS)
	$(BIN)/python -m bench.jobs.order
	$(BIN)/python -m bench.jobs.beside

bench-wake: $(READY) ## Measure how soon a replica is there: warm pool, zygote, bursts, random silences
	$(BIN)/python -m bench.scale.wake $(ARGS)

bench-queue: $(READY) ## Measure queues beside huey, dramatiq on Redis, procrastinate on Postgres (bench/queues); needs wrk
	$(BIN)/python -m bench.queues.run $(ARGS)

bench-databases: $(READY) ## Measure branches of databases beside copies, reads and writes beside plain files (bench/databases)
	$(BIN)/python -m bench.databases.sqlite $(ARGS)
	$(BIN)/python -m bench.databases.postgres $(ARGS)
	$(BIN)/python -m bench.databases.redis

bench-spot: $(READY) ## Measure the planner beside other policies and the optimum (bench/spot); ARGS="--traces FILE"
	$(BIN)/python -m bench.spot.run --zones 1 $(ARGS)
	$(BIN)/python -m bench.spot.run --zones 6 $(ARGS)
	$(BIN)/python -m bench.spot.run --zones 3 $(ARGS)

bench-checkpoint: $(READY) ## Measure checkpoints beside torch.save and PyTorch's asynchronous ones (bench/checkpoints); needs torch; LOOP="--seconds 25 --seeds 40"
	$(BIN)/python -m bench.checkpoints.size --folder . $(ARGS)
	$(BIN)/python -m bench.checkpoints.loop --folder . $(LOOP)

clean: ## Remove what can be made again
	rm -rf .venv dist build .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
