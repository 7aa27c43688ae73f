"""Graphs that are committed: the oldest engine on a Jetson reads them."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest

ROOT = Path(__file__).parent.parent

IR_VERSION, OPSET = 10, 21
"""Of the portable dialect. onnxruntime 1.23.2, the last for Python 3.10, reads up to 11 and 23 (measured on aarch64:
it refuses IR version 12 and opset 24); TensorRT 10.3's parser came before opset 23."""

GRAPHS = sorted([*ROOT.glob("runtime/**/*.onnx"), *ROOT.glob("tests/data/*.smartrt/*.onnx")])


@pytest.mark.parametrize("path", GRAPHS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_a_committed_graph_is_old_enough_for_the_oldest_onnxruntime(path):
    model = onnx.load(path, load_external_data=False)
    assert model.ir_version <= IR_VERSION
    assert {entry.domain: entry.version for entry in model.opset_import}[""] <= OPSET
