"""Images on the TensorRT engine: what the vision graph leaves on the GPU, the decoder reads there."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

import gpu_machine
import smartrt
from folders import picture
from smartrt.engines.cuda_tensor import CudaTensor
from smartrt.errors import EngineError, PlanWarning

ITEMS = [
    {"image": picture(1, 120, 90), "text": "a page"},
    {"image": picture(2, 64, 200)},
    {"text": "no picture at all"},
]


@pytest.fixture(params=["discrete", "integrated"])
def machine(request, monkeypatch, tmp_path, page_path):
    return gpu_machine.install(
        monkeypatch, tmp_path / "shim", page_path, integrated=request.param == "integrated", memory=1 << 32
    )


def opened(path, plans, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PlanWarning)
        encoder = smartrt.Encoder.open(path, engine="trt", plans=str(plans), max_length=256, **options)
        encoder.encode_document(ITEMS[0])  # the vision graph is opened with the first image
        return encoder


def test_images_encode_to_what_onnx_runtime_makes_of_them(machine, page_path, tmp_path):
    expected = smartrt.Encoder.open(page_path).encode_document(ITEMS)
    with opened(page_path, tmp_path / "plans") as encoder:
        for _ in range(3):
            found = encoder.encode_document(ITEMS)
            np.testing.assert_allclose(found.pooled, expected.pooled, atol=1e-5)
            np.testing.assert_allclose(found.tokens.values, expected.tokens.values, atol=1e-5)
    assert machine.gpu.live == {}


@pytest.mark.usefixtures("machine")
def test_all_plans_are_compiled_before_the_first_is_loaded(page_path, tmp_path):
    with pytest.warns(PlanWarning) as caught:
        smartrt.Encoder.open(page_path, engine="trt", plans=str(tmp_path / "plans"), max_length=256).close()
    assert {str(warning.message).split()[5] for warning in caught} == {"vision", "decoder"}


@pytest.mark.usefixtures("machine")
def test_the_rows_of_images_stay_on_the_gpu(page_path, tmp_path):
    with opened(page_path, tmp_path / "plans") as encoder:
        backbone = encoder.backbone
        (prepared,) = backbone.prepare([_parsed(encoder, ITEMS[0])], "document", "bundle")
        seen = backbone.vision.see(prepared.images)
        assert {type(tensor) for tensor in seen.feeds.values()} == {CudaTensor}
        alone = smartrt.Encoder.open(page_path).backbone.vision.see(prepared.images)
        for name, tensor in seen.feeds.items():
            rows = prepared.images[0].blocks
            np.testing.assert_allclose(tensor.numpy()[..., :rows, :], alone.feeds[name][..., :rows, :], atol=1e-5)


def test_a_tensor_fits_only_where_its_rows_do(machine):  # noqa: ARG001
    from smartrt.cuda import Cuda

    with Cuda.open(0) as cuda:
        stream, source, target = cuda.stream(), cuda.buffer(96), cuda.buffer(160)
        source.host[:] = np.arange(96)
        target.host[:] = 0
        source.upload(96, stream)
        target.upload(160, stream)
        tensor = CudaTensor(cuda, source.address, np.dtype(np.float32), (2, 3, 4))
        tensor.copy_into(target.address, (2, 5, 4), stream)
        target.download(160, stream)
        stream.synchronize()
        rows = target.host.reshape(2, 5, 16)
        np.testing.assert_array_equal(rows[:, :3], np.arange(96).reshape(2, 3, 16))
        assert not rows[:, 3:].any()
        for shape in ((2, 2, 4), (3, 3, 4), (2, 3, 5)):
            with pytest.raises(EngineError, match="does not fit"):
                tensor.copy_into(target.address, shape, stream)
        assert tensor.reshape((-1, 4)).shape == (6, 4)
        with pytest.raises(EngineError, match="cannot become"):
            tensor.reshape((5, -1))


def _parsed(encoder, item):
    from smartrt.items import parse_item

    return parse_item(item, "item", encoder.bundle.manifest.modalities, allow_empty=False)
