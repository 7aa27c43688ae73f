# make demo   export MiniLM, index the Python standard library, ask it questions
# make test   the tests (minutes); make test-slow adds those that build wheels and environments
# make lint   ruff and mypy
# make bench  the default suite: latency and accuracy of MiniLM against PyTorch, a quarter of an hour on four cores;
#             QUICK=1 for a first look; the page is build/study/index.html (build/quick)
#
# Each makes .venv itself, from constraints.txt, when it is missing or pyproject.toml changed.

PYTHON ?= python3
BIN := .venv/bin
EXTRAS := cpu,pdf,pool,export,demo,bench,dev

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

bench: .venv/.installed
	$(BIN)/smartrt bench study minilm -o build/$(if $(QUICK),quick --quick,study)

# A strict editable install links file by file, so it is made again when a file comes or goes.
.venv/.installed: .venv/bin/python .venv/.files pyproject.toml constraints.txt
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt \
		--config-settings editable_mode=strict -e ".[$(EXTRAS)]"
	touch $@

.venv/bin/python:
	$(PYTHON) -m venv .venv

.venv/.files: FORCE | .venv/bin/python
	@find runtime export models benchmarks -type f ! -name '*.pyc' | sort > $@.new
	@cmp -s $@.new $@ && rm $@.new || mv $@.new $@

clean:
	rm -rf .venv build dist *.egg-info
