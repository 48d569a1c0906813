# Every habit is a verb. `make` alone lists them.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-builtin-rules

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
ARGS ?=
WHAT ?= ledger
SQL := $(shell find src -name '*.sql' 2>/dev/null)
SOAKING := $(sort $(wildcard tests/faults tests/laws) $(shell grep -rl --include='*.py' 'mark\.soak' tests 2>/dev/null))
# A test that is stuck is told so after two minutes; one that is stuck even in its clearing up ends its worker, and not the day.
HANGS := -o faulthandler_timeout=420 -o faulthandler_exit_on_timeout=true
HOUSE_TESTS := $(wildcard tests/test_tidy.py tests/test_docs.py tests/test_sql.py)

.PHONY: run test check fix bench docs soak proto lock install clean help

run: $(READY) ## start Clearhouse on its own PostgreSQL; Ctrl-C stops it
	@exec $(BIN)/clearhouse run $(ARGS)

test: $(READY) ## run every test except the soak, real servers included
	$(BIN)/pytest -n 2 --dist worksteal -m "not soak" $(HANGS) $(ARGS)

check: $(READY) ## everything CI demands of the code: form, types, floors, SQL, spelling, house rules
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/basedpyright
	$(BIN)/lint-imports
	$(BIN)/deptry src
	$(if $(SQL),$(BIN)/sqlfluff lint --disable-progress-bar $(SQL))
	$(BIN)/codespell
	$(BIN)/pytest -q $(HOUSE_TESTS)

fix: $(READY) ## put right what a machine can: format, imports, SQL, spelling
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(if $(SQL),$(BIN)/sqlfluff fix --disable-progress-bar $(SQL))
	$(BIN)/codespell --write-changes

bench: $(READY) ## measure the ledger, or WHAT=kernel|records|interbank, against references; ARGS="--seconds 30 --json"
	$(BIN)/clearhouse bench $(WHAT) $(ARGS)

docs: $(READY) ## write the reference of events; check that pages, links and examples agree with the code
	$(BIN)/python -m clearhouse.app.reference docs/reference
	$(BIN)/pytest -q tests/test_docs.py $(ARGS)

soak: $(READY) ## the fault and load tests at full count; takes a while
	$(if $(SOAKING),CLEARHOUSE_SOAK=1 $(BIN)/pytest --timeout 3600 $(ARGS) $(SOAKING),@echo 'No test is marked soak yet.')

proto: $(READY) ## make the code of src/clearhouse/v1 from the contracts in proto/
	$(BIN)/python -m grpc_tools.protoc -I proto --plugin=protoc-gen-mypy=$(BIN)/protoc-gen-mypy \
	  --plugin=protoc-gen-mypy_grpc=$(BIN)/protoc-gen-mypy_grpc --python_out=src --grpc_python_out=src --mypy_out=src \
	  --mypy_grpc_out=src $(wildcard proto/clearhouse/v1/*.proto)

lock: $(READY) ## choose newest allowed versions again and write requirements.lock
	{ echo '# Every package of the environment, pinned and hashed, for all platforms. Made by `make lock` from pyproject.toml.'; \
	  $(BIN)/uv pip compile pyproject.toml --upgrade --universal --python-version 3.11 --extra bench --group dev \
	    --generate-hashes --no-emit-index-url --no-emit-find-links --no-annotate --no-header --quiet; } > $(VENV)/lock
	mv $(VENV)/lock requirements.lock

install: $(READY) ## make the environment in .venv (every other verb does it by itself)

clean: ## remove the environment and what tools left; your data folder stays
	rm -rf $(VENV) dist build .pytest_cache .ruff_cache .hypothesis .import_linter_cache .coverage htmlcov

help: ## this list
	@awk 'BEGIN { FS = ":.*## " } /^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# The environment. pip knows the settings of this machine, so it fetches uv; uv is faster, so it fetches the rest; where uv
# cannot reach what pip reaches, pip does it. Every file is held against its hash in the lock, uv and the build tool too.
PIP := $(BIN)/python -m pip install -qq --disable-pip-version-check --no-deps

$(READY): pyproject.toml requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Clearhouse needs Python 3.11 or newer: make PYTHON=python3.11")'
	@echo "Making the environment in $(VENV) from requirements.lock …" >&2
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@awk '/^[a-z]/ { wanted = /^uv==/ } wanted' requirements.lock > $(VENV)/uv.lock
	@$(PIP) --require-hashes -r $(VENV)/uv.lock
	@$(BIN)/uv pip sync --quiet --compile-bytecode --python $(BIN)/python --require-hashes requirements.lock \
	  || { echo "uv could not; pip fetches instead …" >&2; $(PIP) --require-hashes -r requirements.lock; }
	@$(PIP) --no-build-isolation --no-index --editable .
	@$(BIN)/python -m compileall -q -j 2 src  # in many places nothing is compiled by running it
	@touch $@
