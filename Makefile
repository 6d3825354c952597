# make demo: install into .venv and run the whole job on the example vault.
# make test: install what tests need and run every check and test.
PYTHON ?= $(shell for p in python3 python3.11 python3.12 python3.13 python3.14; do \
	"$$p" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$p; break; }; done)
BIN := .venv/bin
export PATH := $(CURDIR)/.venv/bin:$(PATH)

.PHONY: demo test check plugin plugin-browser clean
demo: .venv/.installed
	$(BIN)/vaultgpt demo

test: .venv/.tested check plugin plugin-browser
	$(BIN)/python -m pytest -n 2 --dist loadfile

check: .venv/.tested
	$(BIN)/ruff check .
	$(BIN)/mypy

plugin: obsidian-plugin/node_modules/.installed
	cd obsidian-plugin && npm run typecheck && npm run lint && npm test

plugin-browser: .venv/.installed obsidian-plugin/node_modules/.installed
	cd obsidian-plugin && npm run test:browser

obsidian-plugin/node_modules/.installed: .venv/bin/python obsidian-plugin/package.json obsidian-plugin/package-lock.json
	scripts/test-tools
	cd obsidian-plugin && npm ci --no-audit --no-fund
	@touch $@

.venv/bin/python:
	@test -n "$(PYTHON)" || { echo "vaultgpt needs Python 3.11 or newer; none was found." >&2; exit 1; }
	$(PYTHON) -m venv .venv || { rm -rf .venv; \
		echo "Python's venv module is missing (on Debian: apt-get install python3-venv)." >&2; exit 1; }

.venv/.installed: .venv/bin/python pyproject.toml constraints.txt
	$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt -e .
	@touch $@

.venv/.tested: .venv/.installed
	$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt -e '.[test]'
	@touch $@

clean:
	rm -rf .venv build dist *.egg-info obsidian-plugin/node_modules
