# Each target sets up what it needs and says what it does. PYTHON=… names another Python (3.11 or newer) than python3.

PYTHON ?= python3
export PYTHON
# What Python has compiled it keeps, whatever the environment says: the tests start mx10 hundreds of times.
unexport PYTHONDONTWRITEBYTECODE

VENV := .venv/bin
PYTEST := $(VENV)/python -m pytest
AT_ONCE := -n auto --dist worksteal
MAYBE_NONE = $(if $(ARGS),|| [ $$? -eq 5 ])
BENCHES := $(sort $(filter-out bench/common.py,$(wildcard bench/*.py)))

.PHONY: run test lint bench lock docs clean help

help:
	@echo 'make run    start the lab, an internet in a box, and show what to try'
	@echo 'make test   all tests; those against other servers install Debian packages'
	@echo 'make lint   style, types, the floors of the house'
	@echo 'make bench  every benchmark beside its peers'
	@echo 'make lock   write the lock files anew, with the newest versions'
	@echo 'make docs   write the generated parts of docs/ anew'
	@echo 'make clean  remove what the others made'

run:
	@tools/environment runtime
	@exec $(VENV)/mx10 lab up

# The quick ones first: who broke something should not wait for servers to start. Several at once (pytest-xdist; tests/conftest.py says how
# many): many wait for disks, timers or other servers. ARGS=-n0 runs one after the other.
# Where options were given, there may be no test of one of both kinds (5).
test:
	@tools/environment dev
	@echo 'mx10: unit tests' >&2
	@$(PYTEST) -m 'not peers' $(AT_ONCE) $(ARGS) $(MAYBE_NONE)
	@tools/system-packages || echo 'mx10: tests that need what is missing are skipped (with CI set, they fail)' >&2
	@tools/unpacked-packages || true
	@echo 'mx10: tests against other servers' >&2
	@$(PYTEST) -m peers $(AT_ONCE) $(ARGS) $(MAYBE_NONE)

lint:
	@tools/environment dev
	@failed=; for each in 'ruff check --quiet' 'ruff format --quiet --check' mypy 'lint-imports --no-logo'; do \
		echo "mx10: $$each" >&2; $(VENV)/$$each || failed="$$failed [$$each]"; \
	done; test -z "$$failed" || { echo "mx10: failed:$$failed" >&2; exit 1; }

bench:
	@tools/environment dev
	@tools/system-packages || echo 'mx10: benchmarks say which peer they miss' >&2
	@failed=; for each in $(BENCHES); do \
		echo "mx10: $$each" >&2; $(VENV)/python $$each $(ARGS) || failed="$$failed $$each"; \
	done; test -z "$$failed" || { echo "mx10: failed:$$failed" >&2; exit 1; }

lock:
	@tools/environment dev
	@tools/lock

docs:
	@tools/environment dev
	@$(VENV)/python tools/configuration_page.py

clean:
	rm -rf .venv .hypothesis .mypy_cache .pytest_cache .ruff_cache .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
