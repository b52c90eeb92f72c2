# The few commands a person types. Each is a line or two over tools that pyproject.toml configures.
SUDO := $(shell [ "$$(id -u)" = 0 ] || echo sudo)
BIN := .venv/bin

.PHONY: help demo test check format bench clean

help:  ## Show this list
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' Makefile

demo: setup  ## Classify 600 digits on a real Slurm cluster in containers; leaves it running
	$(SUDO) $(BIN)/bridge demo

test: setup  ## Run the whole test suite, real cluster included
	$(SUDO) $(BIN)/python -m pytest -n 2 --dist loadscope --no-loadscope-reorder

check: setup  ## Format, lint, types, rooms
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: setup  ## Write the code in the one form
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: setup  ## Measure the bridge beside its peers; ONLY="part ..." measures some; writes build/bench.json
	$(SUDO) PEERS="$(PEERS)" WORKLOADS="$(WORKLOADS)" BENCH_SECONDS="$(BENCH_SECONDS)" \
	  $(BIN)/python -m tests.bench $(ONLY)

clean:  ## Remove the demo's sandbox, its images and what was built
	-$(SUDO) $(BIN)/bridge sandbox down --images
	$(SUDO) rm -rf .venv build

.PHONY: setup
setup:
	@SUDO="$(SUDO)" ./.ci/setup
