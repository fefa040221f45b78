# The README's commands. Each works on a machine that has Python 3.11 or newer (with venv) and make.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
TESTS := not vm and not team and not benchmark
VM_TESTS ?= vm and not long
VM_WORK ?= /var/tmp/ovmst-vm-test
# all, or few: those that don't take long under emulation. `make check` keeps to few.
VM_GUESTS ?= $(if $(filter check,$(MAKECMDGOALS)),few,all)
# pytest's own processes: the tests wait for databases as much as they compute.
JOBS   ?= 2

export OVMST_DATA ?= $(CURDIR)/.data

.PHONY: help install libvirt test test-sqlite test-team check lint types imports templates migrations vm-test long bench demo serve dev worker lock clean

help:
	@echo "make demo      a lab full of stored machines to try OVMST on; ARGS=\"--once\" ends with the first run"
	@echo "make serve     pages, worker and beat in one process; ARGS=\"--port 8001\""
	@echo "make test      the test suite; says what it ran without"
	@echo "make check     all that CI runs: lint, types, import contracts, templates, migrations, tests, some real guests"
	@echo "make vm-test   real Debian guests on two libvirt hosts (root; see README)"
	@echo "make long      check with all real guests, and what takes longer"
	@echo "make dev       the same as serve, started anew at every change; on the database and broker that"
	@echo "               OVMST_DATABASE_URL and OVMST_BROKER_URL name"
	@echo "make bench     list pages at 100 and 50,000 machines, sync of 10,000: queries and times"
	@echo "make libvirt   install the libvirt driver's library (an optional extra)"

$(VENV)/installed: requirements-dev.lock
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.lock
	touch $@

install: $(VENV)/installed

$(VENV)/libvirt: requirements-libvirt.lock $(VENV)/installed
	@pkg-config --exists libvirt || { echo "The libvirt extra is built against libvirt's headers: apt-get install libvirt-dev pkg-config gcc python3-dev" >&2; exit 1; }
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-libvirt.lock
	touch $@

libvirt: $(VENV)/libvirt

test: test-sqlite test-team
	@echo; echo "Real guests are not part of this: make vm-test (root, libvirt)."

test-sqlite: install
	@command -v chromium >/dev/null || command -v chromium-browser >/dev/null || { [ -z "$$CI" ] || exit 1; echo "RAN WITHOUT a browser: pages are tested by requests alone. Debian's package is chromium."; }
	env -u OVMST_DATABASE_URL -u OVMST_BROKER_URL $(BIN)/pytest tests --ignore=tests/vm -m "$(TESTS)" -n $(JOBS)

# The same suite on PostgreSQL, and Celery workers over RabbitMQ, where both are named.
test-team: install
	@if [ -n "$$OVMST_TEST_DATABASE_URL" ] && [ -n "$$OVMST_TEST_BROKER_URL" ]; then \
	  OVMST_DATABASE_URL=$$OVMST_TEST_DATABASE_URL OVMST_BROKER_URL=$$OVMST_TEST_BROKER_URL $(BIN)/pytest tests --ignore=tests/vm --ignore=tests/embedded --ignore=tests/browser/test_newcomer.py -m "$(TESTS)" -n $(JOBS) && \
	  OVMST_DATABASE_URL=$$OVMST_TEST_DATABASE_URL OVMST_BROKER_URL=$$OVMST_TEST_BROKER_URL $(BIN)/pytest tests --ignore=tests/vm -m "team and not vm" && \
	  { [ -n "$$OVMST_TEST_REDIS_URL" ] || echo "RAN WITHOUT Redis; name one to try it as the broker: OVMST_TEST_REDIS_URL=redis://host:6379/9"; }; \
	else \
	  echo; echo "RAN WITHOUT PostgreSQL and RabbitMQ: the embedded way (SQLite, broker in memory) only."; \
	  echo "Name servers to test the team way: OVMST_TEST_DATABASE_URL=postgresql://user@host/name OVMST_TEST_BROKER_URL=amqp://guest:guest@host//"; \
	fi

check: lint types imports templates migrations test vm-test

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: install
	$(BIN)/mypy ovmst_site inventory servicing tests

imports: install
	$(BIN)/lint-imports

templates: install
	$(BIN)/djlint templates --lint --quiet

migrations: install
	$(BIN)/python manage.py makemigrations --check --dry-run

# Real guests. Root, and the Debian packages in tests/vm/bench/PACKAGES.
vm-test: libvirt
	rm -rf $(VM_WORK)
	mkdir -p -m 755 $(VM_WORK)
	VM_GUESTS=$(VM_GUESTS) OVMST_DATA=$(VM_WORK)/data OVMST_POLL_SECONDS=2 OVMST_LEASE_SECONDS=30 $(BIN)/pytest tests -m "$(VM_TESTS)" $(VM_ARGS)

long: check
	$(MAKE) vm-test VM_TESTS="vm and long"

# How pages and sync grow with the inventory: a table, side by side.
bench: install
	$(BIN)/pytest tests/benchmarks -m benchmark -s

demo: install
	$(BIN)/python manage.py demo $(ARGS)

serve: install
	$(BIN)/python manage.py serve $(ARGS)

# The servers that the variables name, or the embedded way. Nothing is looked for: a server that happens to
# answer on this machine may be somebody's, and its database would be migrated.
dev: install
	@echo "database: $${OVMST_DATABASE_URL:-SQLite in $$OVMST_DATA} - broker: $${OVMST_BROKER_URL:-in memory}" | sed -E 's,(://[^:/@]*):[^@]*@,\1:...@,g'
	OVMST_DEBUG=$${OVMST_DEBUG:-yes} $(BIN)/python manage.py serve --with-worker --reload $(ARGS)

# For a larger installation: further workers; one of all has --beat.
worker: install
	$(BIN)/celery -A ovmst_site worker --pool threads --concurrency 8 --beat --loglevel INFO

lock:
	$(BIN)/uv pip compile -q --upgrade pyproject.toml --python-version 3.11 --universal --generate-hashes --no-header --no-annotate --no-emit-index-url --no-emit-find-links -o requirements.lock
	$(BIN)/uv pip compile -q pyproject.toml --extra dev --python-version 3.11 --universal --generate-hashes --no-header --no-annotate --no-emit-index-url --no-emit-find-links -c requirements.lock -o requirements-dev.lock
	$(BIN)/uv pip compile -q pyproject.toml --extra libvirt --python-version 3.11 --universal --generate-hashes --no-header --no-annotate --no-emit-index-url --no-emit-find-links -c requirements.lock -o requirements-libvirt.lock

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .import_linter_cache .hypothesis
