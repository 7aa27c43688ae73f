"""TensorRT on a real GPU: what `fake_tensorrt` only claims. Not yet run on a GPU."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import smartrt
from smartrt.engines.cuda_tensor import CudaTensor
from smartrt.errors import DeviceError, MissingDependencyError, PlanError, PlanWarning
from smartrt.tensorrt.library import load_tensorrt
from support import message_of

pytestmark = pytest.mark.gpu

TEXTS = ["a", "a text of some words", "sort a list by a key", "", "one two three four five six seven eight nine ten"]
KINDS = {"launched": {"cuda_graphs": False}, "recorded": {"cuda_graphs": True}}
SMALL = {"max_length": 48, "token_budget": 128, "optimization_level": 1}
PRECISIONS = ("int8-static", "int4")
FAR = 2e-3
"""1 - cosine: what float16 products may add (benchmarks/gpu/requirements.py); float32 without TF32 is nearer."""


@pytest.fixture(scope="module", autouse=True)
def tensorrt() -> None:
    """Skip where TensorRT is not installed or does not load; anything else that is wrong with it is a failure."""
    try:
        load_tensorrt()
    except MissingDependencyError as error:
        pytest.skip(str(error))


@pytest.fixture(params=KINDS.values(), ids=KINDS)
def kind(request: pytest.FixtureRequest) -> dict[str, Any]:
    return dict(request.param)


@pytest.fixture(scope="module")
def plans(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Plans of all tests of this file: each is compiled once."""
    return tmp_path_factory.mktemp("plans")


@pytest.fixture
def opened(plans: Path) -> Iterator[Callable[..., smartrt.Encoder]]:
    """Opens a bundle on TensorRT, and closes it at the end."""
    encoders: list[smartrt.Encoder] = []

    def open_(path: Path, **options: Any) -> smartrt.Encoder:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", PlanWarning)
            encoders.append(smartrt.Encoder.open(path, engine="trt", **{"plans": str(plans)} | SMALL | options))
        return encoders[-1]

    yield open_
    for encoder in encoders:
        encoder.close()


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """A tiny text bundle of a precision whose other products are float16's."""
    from calibrating import loud_checkpoint, write_items
    from smartrt.export.pipeline import export
    from smartrt.export.wanted import Wanted

    @functools.cache
    def exported(precision: str) -> Path:
        directory = tmp_path_factory.mktemp(precision)
        source = loud_checkpoint("bert", directory / "checkpoint")
        items = write_items(directory / "items.jsonl") if precision == "int8-static" else None
        wanted = Wanted(precision, compute="fp16", calibrate=items)
        return export(str(source), directory / f"{precision}.smartrt", wanted=wanted).path

    return exported


def near(found: smartrt.Embeddings, expected: smartrt.Embeddings) -> None:
    np.testing.assert_array_equal(found.tokens.offsets, expected.tokens.offsets)
    for ours, theirs in ((found.pooled, expected.pooled), (found.tokens.values, expected.tokens.values)):
        lengths = np.linalg.norm(ours, axis=1) * np.linalg.norm(theirs, axis=1)
        assert (1 - (ours * theirs).sum(axis=1) / lengths).max() < FAR


def test_texts_encode_as_on_the_cpu_again_and_again(tiny_path, opened, kind):
    expected = smartrt.Encoder.open(tiny_path).encode_document(TEXTS, allow_empty=True)
    encoder = opened(tiny_path, **kind)
    for _ in range(4):  # enqueued, recorded, replayed
        near(encoder.encode_document(TEXTS, allow_empty=True), expected)


@pytest.mark.parametrize(("batch", "words"), [(1, 1), (1, 12), (3, 8), (8, 3), (40, 2)])
def test_every_shape_finds_its_profile(tiny_path, opened, kind, batch, words):
    vocabulary = ["sort", "list", "key", "file", "open", "read", "write", "copy", "path", "name"]
    texts = [" ".join(vocabulary[(row + word) % 10] for word in range(words)) for row in range(batch)]
    expected = smartrt.Encoder.open(tiny_path).encode_document(texts)
    assert len(expected.tokens.values) >= batch * words
    near(opened(tiny_path, **kind).encode_document(texts), expected)


def test_one_encoder_goes_from_shape_to_shape_and_back(tiny_path, opened, kind):
    cpu, encoder = smartrt.Encoder.open(tiny_path), opened(tiny_path, **kind)
    for texts in (TEXTS[:1], TEXTS[1:3], TEXTS[4:], TEXTS[:1], TEXTS[1:3]):
        near(encoder.encode_query(texts), cpu.encode_query(texts))


def test_images_encode_as_on_the_cpu_and_stay_on_the_gpu(page_path, opened, kind, monkeypatch):
    from smartrt.export.pictures import picture_items

    items = [*picture_items(None)["document"], "a text alone"]
    expected = smartrt.Encoder.open(page_path).encode_document(items)
    encoder = opened(page_path, **kind | {"max_length": 256, "token_budget": 512})
    decoder, fed = encoder.backbone.decoder, set()
    run = decoder.run
    monkeypatch.setattr(decoder, "run", lambda feeds: fed.add(type(feeds["visual"])) or run(feeds))
    for _ in range(3):
        near(encoder.encode_document(items), expected)
    assert CudaTensor in fed, "images went over the host"


@pytest.mark.parametrize("precision", PRECISIONS)
def test_integer_weights_with_float16_products_encode_as_on_the_cpu(packed, opened, kind, precision):
    path = packed(precision)
    manifest = smartrt.Bundle.open(path, verify=False).manifest
    assert (manifest.precision.name, manifest.precision.compute) == (precision, "fp16")
    expected = smartrt.Encoder.open(path).encode_document(TEXTS[:3])
    encoder = opened(path, **kind)
    for _ in range(3):
        near(encoder.encode_document(TEXTS[:3]), expected)


def test_a_plan_is_compiled_once_and_a_missing_one_is_an_error_where_it_may_not_be(tiny_path, opened, tmp_path):
    opened(tiny_path).close()
    with opened(tiny_path, compile=False) as encoder:
        assert len(encoder.encode_query(["sort a list"])) == 1
    with pytest.raises(PlanError) as caught:
        opened(tiny_path, compile=False, plans=str(tmp_path / "none"))
    message_of(caught.value, "smartrt build")


def test_a_gpu_that_is_not_there_is_a_device_error(tiny_path, opened):
    with pytest.raises(DeviceError):
        opened(tiny_path, device="cuda:99")
