"""Fused graphs in every precision: products round as before, and attention in float16 keeps what is around it wide."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest

import dialects
import tiny_checkpoints
from calibrating import loud_checkpoint, write_items
from precision_graphs import Graph, rows, to_precision
from smartrt.export import text_family
from smartrt.export.calibration import Calibration, load_items
from smartrt.export.dialect.fuse import fuse
from smartrt.export.external import DataFile
from smartrt.export.precision.convert import convert
from smartrt.export.precision.proof import check_proof, prove
from smartrt.export.precision.scheme import PRECISIONS
from smartrt.models.checkpoint import Checkpoint

HEADS, DIM = 4, 16
HALF, FLOAT = onnx.TensorProto.FLOAT16, onnx.TensorProto.FLOAT
