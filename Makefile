# make demo   export MiniLM, index the Python standard library, ask it questions
# make test   the tests (minutes); make test-slow adds those that build wheels and environments
# make lint   ruff and mypy
# make bench  cold start against PyTorch; with DATA=DIR retrieval accuracy on DIR as well
#
# Each makes .venv itself, from constraints.txt, when it is missing or pyproject.toml changed.

PYTHON ?= python3
BIN := .venv/bin
EXTRAS := cpu,pdf,pool,export,demo,bench,dev
BUNDLE := build/minilm.smartrt

.PHONY: demo test test-slow lint bench clean FORCE

demo: .venv/.installed
	$(BIN)/smartrt demo

test: .venv/.installed
	$(BIN)/pytest -m "not slow"

test-slow: .venv/.installed
	$(BIN)/pytest -m slow

lint: .venv/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: .venv/.installed $(BUNDLE)
	$(BIN)/smartrt bench coldstart $(BUNDLE) --source minilm
ifdef DATA
	$(BIN)/smartrt bench accuracy $(BUNDLE) --data $(DATA)
endif

$(BUNDLE): .venv/.installed
	$(BIN)/smartrt export minilm -o $(BUNDLE)

# A strict editable install links file by file, so it is made again when a file comes or goes.
.venv/.installed: .venv/bin/python .venv/.files pyproject.toml constraints.txt
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt \
		--config-settings editable_mode=strict -e ".[$(EXTRAS)]"
	touch $@

.venv/bin/python:
	$(PYTHON) -m venv .venv

.venv/.files: FORCE | .venv/bin/python
	@find runtime export models benchmarks -name '*.py' -o -name '*.json' | sort > $@.new
	@cmp -s $@.new $@ && rm $@.new || mv $@.new $@

clean:
	rm -rf .venv build dist *.egg-info
