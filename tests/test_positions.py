"""Position ids and the tables of the vision tower against transformers' own."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smartrt.backbones.positions import (
    _linspace,
    mrope,
    patch_places,
    position_taps,
    rotary_angles,
    sequential,
)

torch = pytest.importorskip("torch", reason="transformers computes the truth in PyTorch")
qwen2 = pytest.importorskip("transformers.models.qwen2_vl.modeling_qwen2_vl", reason="the truth is transformers'")
qwen3 = pytest.importorskip("transformers.models.qwen3_vl.modeling_qwen3_vl", reason="the truth is transformers'")

TEXT, VISION_START, IMAGE, VIDEO = 5, 1, 2, 3
MERGE = 2
MODELS = [qwen3.Qwen3VLModel, qwen2.Qwen2VLModel]
THETA = 10_000.0

# Rows and columns in patches: the smallest, lines, squares, a page, the longest that the size rules let through.
GRIDS = [(2, 2), (2, 4), (4, 2), (2, 30), (30, 2), (6, 10), (14, 14), (48, 48), (50, 94), (96, 96), (100, 70)]
GRIDS += [(8, 600), (600, 2)]
DIMS = [32, 36, 40, 6]
"""Of the towers of Qwen3-VL-2B, its larger sisters, Qwen2-VL, and the tiny checkpoints of these tests."""

_step = np.float32(47) / np.float32(14)
FUSED = torch.linspace(0, 47, 15)[11].item() != np.float32(47) - _step * np.float32(3)
"""Whether this PyTorch rounds ``end - step * i`` once: on x86 it does with AVX2 and AVX512, and not without."""


def rope_index(model: Any, layout: list[int | tuple[int, int]]) -> tuple[np.ndarray, list[tuple[int, int, int]]]:
    """What `get_rope_index` gives for a layout of text lengths and images, and that layout's images for `mrope`."""
    ids: list[int] = []
    images: list[tuple[int, int, int]] = []
    for part in layout:
        if isinstance(part, int):
            ids += [TEXT] * part
            continue
        ids.append(VISION_START)
        images.append((len(ids), *part))
        ids += [IMAGE] * (part[0] * part[1])
    config = SimpleNamespace(
        vision_config=SimpleNamespace(spatial_merge_size=MERGE),
        image_token_id=IMAGE,
        video_token_id=VIDEO,
        vision_start_token_id=VISION_START,
    )
    grids = torch.tensor([[1, rows * MERGE, columns * MERGE] for _, rows, columns in images]) if images else None
    positions, _ = model.get_rope_index(SimpleNamespace(config=config), torch.tensor([ids]), grids)
    return positions[:, 0].numpy(), images


def angles(grid: tuple[int, int], model: Any, merge: int, dim: int) -> np.ndarray:
    """`rot_pos_emb` of one image, ``[patches, dim]``."""
    if model is qwen3:
        tower, rotary = qwen3.Qwen3VLVisionModel, qwen3.Qwen3VLVisionRotaryEmbedding
    else:
        tower, rotary = qwen2.Qwen2VisionTransformerPretrainedModel, qwen2.VisionRotaryEmbedding
    instance = SimpleNamespace(spatial_merge_size=merge, rotary_pos_emb=rotary(dim))
    return tower.rot_pos_emb(instance, torch.tensor([[1, *grid]])).numpy()


class Recorder:
    """Stands for the position table: remembers the indices, and makes the result the four weights."""

    weight = torch.zeros(1)

    def __call__(self, indices: Any) -> Any:
        self.indices = indices.numpy()
        return torch.eye(4)[:, None].expand(4, indices.shape[1], 4)


def interpolation(grid: tuple[int, int], merge: int, side: int, table: Any) -> np.ndarray:
    """`fast_pos_embed_interpolate` of one image, ``[patches, *]``."""
    instance = SimpleNamespace(
        num_grid_per_side=side, pos_embed=table, config=SimpleNamespace(spatial_merge_size=merge)
    )
    return qwen3.Qwen3VLVisionModel.fast_pos_embed_interpolate(instance, torch.tensor([[1, *grid]])).numpy()


def assert_bits_equal(got: np.ndarray, wanted: np.ndarray) -> None:
    assert got.dtype == wanted.dtype == np.float32
    np.testing.assert_array_equal(got.view(np.uint32), wanted.view(np.uint32))


parametrize_models = pytest.mark.parametrize("model", MODELS, ids=["qwen3", "qwen2"])


@parametrize_models
@pytest.mark.parametrize(
    "layout",
    [
        [1],
        [40],
        [(1, 1)],
        [(3, 5)],
        [(3, 5), 4],
        [4, (5, 3)],
        [4, (3, 5), 7],
        [4, (1, 9), 1],
        [4, (9, 1), 1],
        [2, (35, 50), 5],
        [(2, 2), (2, 2)],
        [3, (4, 4), 1, (2, 7), 1, (7, 2), 9],
        [1, (1, 1), (1, 1), (1, 1), 1],
        [20, (8, 2), 1, (1, 8)],
    ],
    ids=str,
)
def test_positions_are_those_of_get_rope_index(model, layout):
    wanted, images = rope_index(model, layout)
    got = mrope(wanted.shape[1], images)
    assert got.dtype == np.int64
    np.testing.assert_array_equal(got, wanted)


sizes = st.integers(1, 9)


@settings(max_examples=150)
@given(layout=st.lists(st.integers(0, 12) | st.tuples(sizes, sizes), max_size=9).filter(lambda parts: parts != []))
def test_positions_of_any_layout_are_those_of_get_rope_index(layout):
    for model in MODELS:
        wanted, images = rope_index(model, [*layout, 1])
        np.testing.assert_array_equal(mrope(wanted.shape[1], images), wanted)


@given(length=st.integers(0, 50))
def test_text_alone_is_sequential(length):
    got = sequential(length)
    assert got.dtype == np.int64
    np.testing.assert_array_equal(got, np.tile(np.arange(length), (3, 1)))
    np.testing.assert_array_equal(mrope(length, []), got)


def test_positions_count_as_the_docstring_says():
    got = mrope(11, [(2, 2, 3)])
    assert got.tolist() == [
        [0, 1, 2, 2, 2, 2, 2, 2, 5, 6, 7],
        [0, 1, 2, 2, 2, 3, 3, 3, 5, 6, 7],
        [0, 1, 2, 3, 4, 2, 3, 4, 5, 6, 7],
    ]


def test_places_go_block_by_block():
    row, column = patch_places(2, 4, 2)
    assert row.tolist() == [[0, 0, 1, 1], [0, 0, 1, 1]]
    assert column.tolist() == [[0, 1, 0, 1], [2, 3, 2, 3]]


@given(merge=st.integers(1, 4), tall=st.integers(1, 12), wide=st.integers(1, 12))
def test_places_are_those_of_rot_pos_emb(merge, tall, wide):
    """With one frequency, which is 1, the angles are the places."""
    grid = tall * merge, wide * merge
    row, column = patch_places(*grid, merge)
    assert row.shape == column.shape == (tall * wide, merge * merge)
    for model in (qwen3, qwen2):
        wanted = angles(grid, model, merge, 2)
        np.testing.assert_array_equal(np.stack([row, column], axis=-1).reshape(-1, 2), wanted)


@pytest.mark.parametrize("dim", [*DIMS, 2, 8, 64, 80, 128])
@pytest.mark.parametrize("model", [qwen3, qwen2], ids=["qwen3", "qwen2"])
def test_angles_are_those_of_rot_pos_emb_bit_for_bit(model, dim):
    for grid in GRIDS:
        got = rotary_angles(*grid, MERGE, dim, THETA)
        assert got.shape == (grid[0] * grid[1] // MERGE**2, MERGE**2, dim)
        assert_bits_equal(got.reshape(-1, dim), angles(grid, model, MERGE, dim))


def taps_in_order(grid: tuple[int, int], merge: int, recorded: np.ndarray) -> np.ndarray:
    """Indices that the model used, ``[4, patches]`` row by row, as ``[blocks, merge * merge, 4]``."""
    rows, columns = grid
    blocks = recorded.reshape(4, rows // merge, merge, columns // merge, merge)
    return blocks.transpose(1, 3, 2, 4, 0).reshape(-1, merge * merge, 4)


def check_taps(grid: tuple[int, int], merge: int, side: int) -> tuple[np.ndarray, np.ndarray]:
    """Compare with the model, which is made to use the same `linspace`."""
    table = Recorder()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch, "linspace", lambda _, end, count: torch.from_numpy(_linspace(end, int(count))))
        wanted = interpolation(grid, merge, side, table)
    indices, weights = position_taps(*grid, merge, side)
    assert indices.dtype == np.int64
    np.testing.assert_array_equal(indices, taps_in_order(grid, merge, table.indices))
    assert_bits_equal(weights.reshape(-1, 4), wanted)
    return indices, weights


@pytest.mark.parametrize("side", [48, 7])
@pytest.mark.parametrize("grid", GRIDS, ids=str)
def test_taps_are_those_of_fast_pos_embed_interpolate(grid, side):
    """Bit for bit, given the same `linspace`; that is compared below."""
    check_taps(grid, MERGE, side)


@given(merge=st.integers(1, 4), tall=st.integers(1, 12), wide=st.integers(1, 12), side=st.integers(1, 50))
def test_taps_of_any_grid_lie_in_the_table_and_their_weights_make_one(merge, tall, wide, side):
    indices, weights = check_taps((tall * merge, wide * merge), merge, side)
    assert indices.min() >= 0
    assert indices.max() < side * side
    assert weights.min() >= 0
    np.testing.assert_allclose(weights.sum(axis=-1), 1, rtol=0, atol=1e-6)


@pytest.mark.parametrize("side", [48, 7])
@pytest.mark.parametrize("grid", GRIDS, ids=str)
def test_taps_choose_the_rows_that_the_model_chooses(grid, side):
    table = Recorder()
    weights = interpolation(grid, MERGE, side, table)
    got_indices, got_weights = position_taps(*grid, MERGE, side)
    np.testing.assert_array_equal(got_indices, taps_in_order(grid, MERGE, table.indices))
    np.testing.assert_allclose(got_weights.reshape(-1, 4), weights, rtol=0, atol=2 * np.spacing(np.float32(side - 1)))


@pytest.mark.parametrize("grid", [(2, 2), (6, 10), (48, 48), (50, 94), (100, 70)], ids=str)
def test_interpolated_embeddings_are_the_model_s(grid):
    table = torch.nn.Embedding(48 * 48, 5, _weight=torch.randn(48 * 48, 5, generator=torch.Generator().manual_seed(1)))
    indices, weights = position_taps(*grid, MERGE, 48)
    corners = table.weight.detach().numpy()[indices] * weights[..., None]
    with torch.inference_mode():
        wanted = interpolation(grid, MERGE, 48, table)
    np.testing.assert_allclose(corners.sum(axis=-2).reshape(-1, 5), wanted, rtol=0, atol=6e-5)


def test_a_table_of_the_grid_s_own_size_is_read_as_it_is():
    indices, weights = position_taps(48, 48, MERGE, 48)
    row, column = patch_places(48, 48, MERGE)
    np.testing.assert_array_equal(indices[..., 0], row * 48 + column)
    np.testing.assert_array_equal(weights, np.broadcast_to(np.float32([1, 0, 0, 0]), weights.shape))


@pytest.mark.skipif(not FUSED, reason="this PyTorch rounds `end - step * i` twice, as it does without AVX2")
@pytest.mark.parametrize("side", [48, 7])
def test_places_on_the_table_are_those_of_torch_linspace_bit_for_bit(side):
    for count in range(1, 2561):
        assert_bits_equal(_linspace(side - 1, count), torch.linspace(0, side - 1, count).numpy())


@pytest.mark.parametrize("side", [48, 7])
def test_places_on_the_table_lie_between_the_rows_that_torch_linspace_names(side):
    for count in range(1, 2561):
        got, wanted = _linspace(side - 1, count), torch.linspace(0, side - 1, count).numpy()
        assert got.dtype == np.float32
        assert (got.astype(np.int64) == wanted.astype(np.int64)).all()
        assert np.abs(got - wanted).max() <= np.spacing(np.float32(side - 1))
