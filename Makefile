# make demo   export MiniLM, index the Python standard library, ask it questions
# make test   the tests (minutes); make test-slow adds those that build wheels and environments
# make test-aarch64   the wheel as a real aarch64 process, under emulation; needs apt-get and a Debian mirror, no root
# make test-tensorrt   every kind of graph through TensorRT's parser and compiler; x86-64, no GPU, fetches 150 MB
# make lint   ruff and mypy
# make bench  the default suite: latency and accuracy of MiniLM against PyTorch, a quarter of an hour on four cores;
#             QUICK=1 for a first look; the page is build/study/index.html (build/quick)
#
# make gpu    all that needs an NVIDIA GPU into build/gpu.json; QUICK=1 for a first look. x86-64; in .venv-gpu, with
#             ONNX Runtime's CUDA build and its libraries (gigabytes), and whatever torch pip finds (docs/benchmarks.md)
#
# Each makes its environment itself, from constraints.txt, when it is missing or pyproject.toml changed.

PYTHON ?= python3
BIN := .venv/bin
EXTRAS := cpu,pdf,pool,export,demo,bench,dev
GPU_BIN := .venv-gpu/bin
PIP_INSTALL := pip install --quiet --disable-pip-version-check -c constraints.txt

.PHONY: demo test test-slow test-aarch64 test-tensorrt lint bench gpu clean FORCE

demo: .venv/.installed
	$(BIN)/smartrt demo

test: .venv/.installed
	$(BIN)/pytest -m "not slow"

test-slow: .venv/.installed
	$(BIN)/pytest -m slow

test-aarch64: .venv/.installed
	PYTHON=$(BIN)/python tests/gates/aarch64.sh
	SMARTRT_AARCH64=build/aarch64 $(BIN)/pytest tests/test_aarch64.py tests/test_resolution.py

test-tensorrt: .venv/.installed
	PYTHON=$(BIN)/python tests/gates/tensorrt.sh
	SMARTRT_TENSORRT=$(CURDIR)/build/tensorrt $(BIN)/pytest -m tensorrt tests/test_tensorrt_gate.py

lint: .venv/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: .venv/.installed
	$(BIN)/smartrt bench study minilm -o build/$(if $(QUICK),quick --quick,study)

gpu: .venv-gpu/.installed
	$(GPU_BIN)/smartrt bench gpu -o build/gpu.json $(if $(QUICK),--quick)

# A strict editable install links file by file, so it is made again when a file comes or goes.
.venv/.installed: .venv/bin/python .venv/.files pyproject.toml constraints.txt
	$(BIN)/$(PIP_INSTALL) --config-settings editable_mode=strict -e ".[$(EXTRAS)]"
	touch $@

# optimum-onnx brings the CPU build of ONNX Runtime. Both builds are the module onnxruntime, and the one that is
# installed last overwrites the other: so both go, and the CUDA build comes back.
.venv-gpu/.installed: .venv-gpu/bin/python .venv-gpu/.files pyproject.toml constraints.txt
	$(GPU_BIN)/$(PIP_INSTALL) --config-settings editable_mode=strict \
		-e ".[$(EXTRAS:cpu,%=gpu,%)]" "onnxruntime-gpu[cuda,cudnn]"
	$(GPU_BIN)/pip uninstall --quiet --yes onnxruntime onnxruntime-gpu
	$(GPU_BIN)/$(PIP_INSTALL) --no-deps onnxruntime-gpu
	touch $@

.venv/bin/python .venv-gpu/bin/python:
	$(PYTHON) -m venv $(@:%/bin/python=%)

.venv/.files .venv-gpu/.files: %/.files: FORCE | %/bin/python
	@find runtime export models benchmarks -type f ! -name '*.pyc' | sort > $@.new
	@cmp -s $@.new $@ && rm $@.new || mv $@.new $@

clean:
	rm -rf .venv .venv-gpu build dist *.egg-info
