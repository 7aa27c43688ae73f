"""What every engine shares: the types of options, names of devices, and what comes back from a device."""

from __future__ import annotations

import dataclasses
from typing import get_args, get_type_hints

import numpy as np
import pytest

from smartrt import Bundle
from smartrt.engines import TensorSpec, open_engine
from smartrt.engines.base import build_options, reshaped, run_resident
from smartrt.engines.devices import parse_device
from smartrt.engines.fake import FakeOptions
from smartrt.engines.ort import OrtOptions
from smartrt.errors import EngineError, OptionError
from smartrt.tensorrt.options import TrtOptions
from support import message_of

# Options.

KINDS = [OrtOptions, TrtOptions, FakeOptions]
BAD = [
    (OrtOptions, "cuda_graphs", "off", "True or False"),
    (OrtOptions, "mixed", 1, "True or False"),
    (OrtOptions, "spin", None, "True or False"),
    (OrtOptions, "threads", True, "a whole number"),
    (OrtOptions, "threads", "2", "a whole number"),
    (OrtOptions, "gpu_memory_mb", 1.5, "a whole number or None"),
    (TrtOptions, "compile", "no", "True or False"),
    (TrtOptions, "workspace_mb", True, "a whole number or None"),
    (TrtOptions, "plans", 3, "a text or None"),
    (FakeOptions, "delay", "1", "a number"),
    (FakeOptions, "delay", True, "a number"),
]


@pytest.mark.parametrize(("kind", "name", "value", "takes"), BAD, ids=lambda each: str(getattr(each, "__name__", each)))
def test_an_option_of_another_type_is_refused_with_its_value_and_what_it_takes(kind, name, value, takes):
    with pytest.raises(OptionError) as caught:
        build_options(kind, {name: value})
    message_of(caught.value, f"{name} takes {takes}", repr(value))


def test_a_word_is_no_switch(tiny_path):
    with pytest.raises(OptionError) as caught:
        open_engine(Bundle.open(tiny_path), "encoder", device="cuda", cuda_graphs="off")
    message_of(caught.value, "cuda_graphs", "'off'", "True or False")


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_every_option_takes_its_own_default_and_has_a_type_that_is_checked(kind):
    defaults = {field.name: field.default for field in dataclasses.fields(kind)}
    assert build_options(kind, defaults) == kind()
    types = {part for hint in get_type_hints(kind).values() for part in (get_args(hint) or (hint,))}
    assert types <= {bool, int, float, str, type(None)}


def test_a_whole_number_is_a_number():
    assert build_options(FakeOptions, {"delay": 1}) == FakeOptions(delay=1)


# Devices.


@pytest.mark.parametrize(
    ("name", "number"), [("cpu", None), ("cuda", 0), ("cuda:0", 0), ("cuda:7", 7), ("cuda:9999", 9999)]
)
def test_a_device_is_the_cpu_or_a_number(name, number):
    assert parse_device(name) == number


@pytest.mark.parametrize(
    "name", ["", "gpu", "CUDA", "cuda:", "cuda:-1", "cuda:12345", "cpu:0", "cuda:٣", "cuda\n", "auto", 0, None]
)
def test_other_names_are_refused_with_those_there_are(name):
    with pytest.raises(OptionError) as caught:
        parse_device(name)
    message_of(caught.value, repr(name), "cpu, cuda, cuda:N")


# Shapes.


@pytest.mark.parametrize(
    ("shape", "wanted", "filled"),
    [((2, 3, 4), (-1, 4), (6, 4)), ((6,), (2, 3), (2, 3)), ((0, 4), (-1, 4), (0, 4)), ((), (1,), (1,))],
)
def test_one_axis_may_be_left_open(shape, wanted, filled):
    assert reshaped(shape, wanted) == filled


@pytest.mark.parametrize(("shape", "wanted"), [((2, 3), (7,)), ((2, 3), (-1, 4)), ((2, 3), (-1, -1))])
def test_a_shape_of_another_size_is_refused(shape, wanted):
    with pytest.raises(EngineError) as caught:
        reshaped(shape, wanted)
    message_of(caught.value, str(shape), str(wanted))


# What stays on a device.


class Leaves:
    """An engine that leaves on its device what it is told, whatever it declares."""

    inputs = (TensorSpec("x", "int64", ("batch",)),)
    outputs = (TensorSpec("y", "float32", ("batch", 2)), TensorSpec("z", "int64", ("row",)))

    def __init__(self, **outputs):
        self._outputs = {"y": np.zeros((3, 2), np.float32), "z": np.zeros(9, np.int64)} | outputs

    def run_resident(self, _):
        return self._outputs


FED = {"x": np.zeros(3, np.int64)}


@pytest.mark.parametrize("rows", [3, 4, 64])
def test_named_axes_may_be_longer_than_fed(rows):
    found = run_resident(Leaves(y=np.zeros((rows, 2), np.float32)), FED)
    assert found["y"].shape == (rows, 2)


@pytest.mark.parametrize(
    "outputs",
    [
        {"y": np.zeros((3, 2))},
        {"y": np.zeros(3, np.float32)},
        {"y": np.zeros((2, 2), np.float32)},
        {"y": np.zeros((3, 4), np.float32)},
        {"more": np.zeros(3, np.float32)},
    ],
    ids=["dtype", "rank", "shorter than fed", "fixed axis", "name"],
)
def test_what_is_left_on_a_device_is_as_declared(outputs):
    with pytest.raises(EngineError) as caught:
        run_resident(Leaves(**outputs), FED)
    message_of(caught.value, "y")
