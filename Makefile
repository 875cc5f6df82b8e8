# Two commands do all the set-up: `make demo` for a clip, `make test` for the tests.
PYTHON ?= $(firstword $(foreach p,python3 python3.13 python3.12 python3.11,$(shell \
	command -v $(p) >/dev/null 2>&1 && $(p) -c 'import sys; sys.exit(sys.version_info < (3, 11))' && echo $(p))))
VENV ?= .venv
BIN := $(VENV)/bin
DEMO ?= out/demo
# Two test processes of one thread each use two cores better than one process of two threads.
TEST_PROCESSES ?= 2
# Threads that wait give the processor away. tests/conftest.py puts the longest files first, so that
# both processes are busy to the end.
PYTEST = OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE $(BIN)/python -m pytest -n $(TEST_PROCESSES) --dist loadfile \
	--no-loadscope-reorder --max-worker-restart 0

.PHONY: demo install install-dev test lint test-slow test-gpu benchmark wheel clean

demo: install
	$(BIN)/python -m scripts.tiny.make_demo $(DEMO)
	$(BIN)/cnx run --reference $(DEMO)/reference.png --driving $(DEMO)/driving.mp4 \
		--output $(DEMO)/clip.mp4 --model tiny --overwrite
	@echo "The clip: $(DEMO)/clip.mp4"

install: $(VENV)/.installed
install-dev: $(VENV)/.installed-dev

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed: name it with make PYTHON=..."; exit 2; }
	@$(PYTHON) -m venv $(VENV) || { echo "The venv module is missing (Debian: apt install python3-venv)."; exit 2; }

$(VENV)/.installed: $(BIN)/python pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e .
	@touch $@

$(VENV)/.installed-dev: $(BIN)/python pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	@touch $@ $(VENV)/.installed

test: install-dev lint
	$(PYTEST)

lint: install-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

test-slow: install-dev
	OMP_NUM_THREADS=2 $(BIN)/python -m pytest -m slow --timeout 0 -o faulthandler_timeout=0

# For one card: its tests, then a table for docs/gpu.md. Under ten minutes.
test-gpu: install-dev
	$(BIN)/python -m pytest -m gpu --timeout 300
	$(BIN)/python -m scripts.rehearsal.card

benchmark: install-dev
	$(BIN)/python scripts/benchmark.py --list

wheel: install-dev
	$(BIN)/python -m build --wheel

clean:
	rm -rf build dist out *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
