# make demo: install into .venv and run the whole job on the example vault, then the same vault on a
#   better base for four minutes at most (DEMO_BASE=pebble, or Ctrl-C then: without).
# make test: install what tests need and run every check and test. make coverage: the Python tests
#   once more, and what share of each file they run. make house: the counts of docs/architecture.md.
# make soak: the long trials of faults. make dist: what a release carries.
PYTHON ?= $(shell for p in python3 python3.11 python3.12 python3.13 python3.14 python; do \
	"$$p" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$p; break; }; done)
DEMO_BASE ?= smollm2
SHELL_PATH := $(PATH)
ifeq ($(OS),Windows_NT)
BIN := .venv/Scripts
PY := $(BIN)/python.exe
export PATH := $(subst /,\,$(CURDIR)/$(BIN));$(PATH)
else
BIN := .venv/bin
PY := $(BIN)/python
export PATH := $(CURDIR)/$(BIN):$(PATH)
endif

.PHONY: demo test soak check pytest coverage house plugin plugin-browser dist clean
# It tells whether the shell that asked for it finds vaultgpt.
demo: export PATH := $(SHELL_PATH)
demo: .venv/.installed
	$(BIN)/vaultgpt demo --then $(DEMO_BASE)

test: check plugin plugin-browser pytest

soak: .venv/.tested
	$(PY) -m tests.soak $(SOAK)

check: .venv/.tested
	$(PY) -m ruff check .
	$(PY) -m ruff format --check -q .
	$(PY) -m mypy

pytest: .venv/.tested
	$(PY) -m pytest -n 2 --dist loadfile --no-loadscope-reorder

coverage: .venv/.tested
	$(PY) -m coverage erase
	$(PY) -m coverage run -m pytest -n 2 --dist loadfile --no-loadscope-reorder
	$(PY) -m coverage combine -q
	$(PY) -m coverage report

house: $(PY)
	$(PY) scripts/house

plugin: obsidian-plugin/node_modules/.installed
	cd obsidian-plugin && npm run typecheck && npm run lint && npm test

plugin-browser: .venv/.installed obsidian-plugin/node_modules/.installed
	cd obsidian-plugin && npm run test:browser

# The wheel, the source archive and the plugin's three files, as a release carries them.
dist: .venv/.tested obsidian-plugin/node_modules/.installed
	rm -rf dist
	cd obsidian-plugin && npm run build
	$(PY) -m pip install -q --disable-pip-version-check 'build>=1.2'
	$(PY) -m build
	cp vaultgpt/plugin_build/main.js vaultgpt/plugin_build/manifest.json vaultgpt/plugin_build/styles.css dist/

obsidian-plugin/node_modules/.installed: $(PY) obsidian-plugin/package.json obsidian-plugin/package-lock.json
	bash scripts/test-tools
	cd obsidian-plugin && npm ci --no-audit --no-fund
	@touch $@

$(PY):
	@test -n "$(PYTHON)" || { echo "vaultgpt needs Python 3.11 or newer; none was found." >&2; exit 1; }
	@$(PYTHON) -m venv .venv || { rm -rf .venv; \
		echo "Python's venv module is missing (on Debian: apt-get install python3-venv)." >&2; exit 1; }

.venv/.installed: $(PY) pyproject.toml constraints.txt
	$(PY) -m pip install -q --disable-pip-version-check -c constraints.txt -e '.[gguf]'
	@touch $@

.venv/.tested: .venv/.installed
	$(PY) -m pip install -q --disable-pip-version-check -c constraints.txt -e '.[test]'
	@touch $@

clean:
	rm -rf .venv build dist *.egg-info obsidian-plugin/node_modules
