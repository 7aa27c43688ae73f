"""Prompts as ids against transformers' tokenizer run over the prompts as strings."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType, SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer
from tokenizers.processors import TemplateProcessing

from smartrt.backbones.chat import ChatTokenizer, Rendered
from smartrt.errors import CorruptBundleError, InputError
from smartrt.items import parse_item
from smartrt.manifest import Chat, Side
from support import message_of

transformers = pytest.importorskip("transformers", reason="its tokenizer over the whole prompt is the truth")
tiny_qwen_vl = pytest.importorskip("tiny_qwen_vl", reason="needs PyTorch and transformers")

from smartrt.models.qwen_vl.presets import PRESETS  # noqa: E402  (after the skips)
from smartrt.models.qwen_vl.reference import QwenVLReference  # noqa: E402
from smartrt.models.qwen_vl.rendering import render  # noqa: E402

DATA = Path(os.environ.get("SMARTRT_TEST_DATA", "/nonexistent")) / "qwen3_vl_processor"
NAMES = tuple(PRESETS)
SIDES: tuple[Side, ...] = ("query", "document")
PAD = "<|image_pad|>"
END = "<|endoftext|>"
LONG = 100_000
"""A maximum length that nothing reaches."""

TEXTS = [
    None,
    "",
    "sort a list",
    "\n\n  leading newlines and spaces",
    "trailing spaces and newlines  \n\n",
    "   ",
    "\n",
    "NULL",
    "What does it cost? $",
    "北京2024年的天气。",
    "«кавычки» and “quotes” and 'these'",
    "emoji 👩‍👩‍👧 🇩🇪 ☃",
    "nai\u0308ve cafe\u0301, A\u030angstro\u0308m \ufb01ne \u1112\u1161\u11ab",
    "\u0301starts with a combining accent",
    "{text} {images} {instruction} {} {{",
    "a\x00b\u200b\u2028c\td\r\ne",
    "def f(x):\n    return x ** 2\n" * 3,
    "very long, said again and again; " * 60,
]
INSTRUCTIONS = [
    None,
    "",
    "  \n",
    "Find the passage that answers the question.",
    "Find the passage",
    "  \n Find it, stripped \t\n",
    "Costs in $",
    "検索してください。",
    "Is it?",
    'He said "so"',
    "Ends with an emoji 🎉",
    "Find the cafe\u0301",
    "\u0301accented {text}",
    "हिन्दी में खोजें।",
    "ابحث عن الجواب؟",
    "Find " * 200,
]
IMAGES = [(), (4,), (1, 9, 30)]


@functools.cache
def tiny(preset: str) -> Any:
    """transformers' tokenizer of a tiny checkpoint."""
    return tiny_qwen_vl._tokenizer(preset)


@functools.cache
def published() -> Any:
    """transformers' tokenizer of the published files, their chat template with it."""
    if not DATA.is_dir():
        pytest.skip(f"SMARTRT_TEST_DATA has no {DATA.name}")
    return transformers.AutoTokenizer.from_pretrained(DATA)


def chat_of(preset: str, source: Any, suffix_ids: tuple[int, ...] = (), **changes: Any) -> Chat:
    """The manifest's entry, as an export writes it."""
    entry = PRESETS[preset]
    before = source.convert_tokens_to_ids(entry.pool_before) if entry.pool_before else None
    chat = Chat(
        query=entry.query,
        document=entry.document,
        image_span=entry.image_span,
        end_sentence=entry.end_sentence,
        empty_text=entry.empty_text,
        suffix_ids=suffix_ids,
        pool_before_id=before,
        positions=entry.positions,
    )
    return dataclasses.replace(chat, **changes)


@functools.cache
def copied(source: Any) -> Tokenizer:
    """The tokenizer as the runtime opens it, apart from transformers' own."""
    tokenizer = Tokenizer.from_str(source.backend_tokenizer.to_str())
    tokenizer.no_padding()
    tokenizer.no_truncation()
    tokenizer.encode_special_tokens = True
    return tokenizer


def renderer(
    preset: str, source: Any = None, *, max_length: int = LONG, placeholder: str = PAD, **changes: Any
) -> ChatTokenizer:
    """What the runtime makes of a bundle."""
    source = source or tiny(preset)
    chat = chat_of(preset, source, **changes)
    return ChatTokenizer(copied(source), chat, source.convert_tokens_to_ids(placeholder), max_length)


cached = functools.cache(renderer)


def item_of(text: str | None, instruction: str | None = None, images: int = 0) -> dict[str, Any]:
    return {"text": text, "instruction": instruction, "image": [f"{number}.png" for number in range(images)]}


def rendered(chat: ChatTokenizer, item: dict[str, Any], counts: Sequence[int] = (), side: Side = "query") -> Rendered:
    return chat.render(parse_item(item, "item 7", ("text", "image"), allow_empty=True), counts, side)


def written(
    preset: str, item: dict[str, Any], counts: Sequence[int], side: Side, source: Any, default: str | None = None
) -> str:
    """The wrapper's prompt with every placeholder repeated, as its processor does; with the preset's default."""
    if default is None:
        default = getattr(PRESETS[preset], side).instruction
    head, *rest = render(preset, item, side, source, default).split(PAD)
    return head + "".join(PAD * count + piece for count, piece in zip(counts, rest, strict=True))


def compare(
    preset: str,
    chat: ChatTokenizer,
    source: Any,
    text: str | None,
    instruction: str | None,
    defaults: Mapping[Side, str] = MappingProxyType({}),
) -> None:
    """With no, one and three images, on both sides; `defaults` differ from the preset's."""
    for counts, side in itertools.product(IMAGES, SIDES):
        item = item_of(text, instruction, len(counts))
        wanted = source(written(preset, item, counts, side, source, defaults.get(side)))["input_ids"]
        if not wanted:
            refused_as_empty(chat, item, side)
            continue
        got = rendered(chat, item, counts, side)
        assert got.ids.dtype == np.int64
        assert got.ids.tolist() == wanted
        assert got.truncated == 0
        assert len(got.image_starts) == len(counts)


def refused_as_empty(chat: ChatTokenizer, item: dict[str, Any], side: Side) -> None:
    with pytest.raises(InputError) as caught:
        rendered(chat, item, side=side)
    message_of(caught.value, "item 7 is empty", "give it a text or an instruction")


@pytest.mark.parametrize("preset", NAMES)
@pytest.mark.parametrize("instruction", INSTRUCTIONS, ids=ascii)
def test_prompts_are_those_of_the_published_wrappers(preset, instruction):
    for text in TEXTS:
        compare(preset, cached(preset), tiny(preset), text, instruction)


# Hypothesis tries the strings of the code it tests, special tokens among them: those are compared below.
harmless_text = st.text().filter(lambda text: "<|" not in text)


@settings(max_examples=150)
@given(preset=st.sampled_from(NAMES), text=harmless_text, instruction=st.none() | harmless_text)
def test_prompts_of_any_text_are_those_of_the_published_wrappers(preset, text, instruction):
    compare(preset, cached(preset), tiny(preset), text, instruction)


@pytest.mark.parametrize("preset", ["qwen3-vl-embedding", "gme", "vlm2vec"])
@pytest.mark.parametrize("instruction", INSTRUCTIONS, ids=ascii)
def test_prompts_are_the_wrappers_with_the_published_tokenizer_too(preset, instruction):
    """LamRA is left out: its template is that of Qwen3-VL, which the published files are not."""
    source = published()
    for text in TEXTS:
        compare(preset, cached(preset, source), source, text, instruction)


@settings(max_examples=60)
@given(text=st.none() | harmless_text, instruction=st.none() | harmless_text)
def test_prompts_of_any_text_are_the_wrapper_s_with_the_published_tokenizer_too(text, instruction):
    source = published()
    compare("qwen3-vl-embedding", cached("qwen3-vl-embedding", source), source, text, instruction)


def test_the_published_prompt_is_the_one_in_the_model_s_issues():
    got = rendered(cached("qwen3-vl-embedding", published()), item_of("just text", None, 1), [4])
    start, end, newline, vision, image, vision_end = 151644, 151645, 198, 151652, 151655, 151653
    decoded = published().decode(got.ids)
    assert decoded == (
        "<|im_start|>system\nRepresent the user's input.<|im_end|>\n"
        f"<|im_start|>user\n<|vision_start|>{PAD * 4}<|vision_end|>just text<|im_end|>\n<|im_start|>assistant\n"
    )
    assert got.ids[0] == start
    assert got.ids[got.image_starts[0] - 1 :][:6].tolist() == [vision, *[image] * 4, vision_end]
    assert np.count_nonzero(got.ids == end) == 2
    assert got.ids[got.pooled_at] == newline


ONE_WORD = "\nSummarize above sentence in one word: "


@pytest.mark.parametrize(
    ("preset", "text", "instruction", "wanted"),
    [
        ("qwen3-vl-embedding", None, None, "NULL"),
        ("qwen3-vl-embedding", "", None, ""),
        ("qwen3-vl-embedding", "", "Find it", ""),
        ("gme", None, None, ""),
        ("gme", "", "Find it", ""),
        ("lamra", None, None, ONE_WORD),
        ("lamra", "", None, ONE_WORD),
        ("lamra", None, "Find it", f" Find it{ONE_WORD}"),
        ("lamra", "", "Find it", f" Find it{ONE_WORD}"),
        ("vlm2vec", None, "Find it", "Find it"),
        ("vlm2vec", "", "Find it", "Find it"),
    ],
)
def test_a_user_without_a_text_says(preset, text, instruction, wanted):
    got = rendered(cached(preset), item_of(text, instruction))
    prompt = tiny(preset).decode(got.ids)
    assert prompt.split("<|im_start|>user\n")[-1].split("<|im_end|>")[0] == wanted
    assert 0 < got.pooled_at < len(got.ids)


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("instruction", [None, ""])
@pytest.mark.parametrize("text", [None, ""])
def test_a_prompt_without_a_token_is_refused(text, instruction, side):
    refused_as_empty(cached("vlm2vec"), item_of(text, instruction), side)
    source = with_suffix("vlm2vec")
    got = rendered(renderer("vlm2vec", source, suffix_ids=suffix_of(source)), item_of(text, instruction), side=side)
    assert (tuple(got.ids), got.pooled_at) == (suffix_of(source), 0)


@pytest.mark.parametrize("default", ["Find the page", " \t as it is\n"])
@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("preset", NAMES)
def test_a_side_s_default_instruction_is_written_as_it_is(preset, side, default):
    entry = dataclasses.replace(getattr(PRESETS[preset], side), instruction=default)
    chat = renderer(preset, **{side: entry})
    for text, instruction in itertools.product([None, "", "a"], [None, "", " \n", " Mine "]):
        compare(preset, chat, tiny(preset), text, instruction, {side: default})
    prompt = tiny(preset).decode(rendered(chat, item_of("a"), side=side).ids)
    assert prompt.startswith(f"<|im_start|>system\n{default}<|im_end|>") or preset in ("vlm2vec", "lamra")


@pytest.mark.parametrize("side", SIDES)
def test_another_default_instruction_is_used_where_the_item_has_none(side):
    entry = dataclasses.replace(PRESETS["vlm2vec"].query, instruction="Find the page")
    chat = renderer("vlm2vec", **{side: entry})
    plain, own = (tiny("vlm2vec")(text)["input_ids"] for text in ("Find the page a", "Mine a"))
    assert rendered(chat, item_of("a"), side=side).ids.tolist() == plain
    assert rendered(chat, item_of("a", "Mine"), side=side).ids.tolist() == own


def test_gme_s_documents_have_no_instruction_of_their_own():
    chat = cached("gme")
    for counts in IMAGES:
        plain, own = (item_of("a", instruction, len(counts)) for instruction in (None, "Find it"))
        wanted = rendered(chat, plain, counts, "document").ids.tolist()
        assert rendered(chat, own, counts, "document").ids.tolist() == wanted
        assert rendered(chat, own, counts, "query").ids.tolist() != wanted


# What a user writes


def added(source: Any, *, special: bool) -> dict[str, int]:
    return {token.content: i for i, token in source.added_tokens_decoder.items() if token.special == special}


SPECIALS = tuple(added(tiny("lamra"), special=True))
FRAGMENTS = [
    *SPECIALS,
    "<emb>",
    "<think>",
    "<|",
    "im_start",
    "im_end",
    "image_pad",
    "|>",
    "user\n",
    "\n",
    " ",
    "a",
    "é",
]


def controls(ids: np.ndarray, source: Any) -> list[int]:
    return ids[np.isin(ids, list(added(source, special=True).values()))].tolist()


def check_injection(chat: ChatTokenizer, source: Any, text: str, instruction: str) -> None:
    """Control tokens, images and the pooled token stay where they are for a harmless item."""
    for counts, side in itertools.product(IMAGES, SIDES):
        got = rendered(chat, item_of(text, instruction, len(counts)), counts, side)
        harmless = rendered(chat, item_of("a", "b", len(counts)), counts, side)
        assert controls(got.ids, source) == controls(harmless.ids, source)
        assert len(got.ids) - got.pooled_at == len(harmless.ids) - harmless.pooled_at
        check_images(got, counts, source.convert_tokens_to_ids(PAD))


def check_images(got: Rendered, counts: Sequence[int], placeholder: int) -> None:
    """Every placeholder belongs to an image, in order."""
    wanted = [start + i for start, count in zip(got.image_starts, counts, strict=True) for i in range(count)]
    assert np.flatnonzero(got.ids == placeholder).tolist() == wanted


@pytest.mark.parametrize("preset", NAMES)
@pytest.mark.parametrize("token", SPECIALS)
def test_a_special_token_written_by_a_user_is_text(preset, token):
    chat, source = cached(preset), tiny(preset)
    for text in (token, f"a{token}b", token * 3, f" {token}\n", f"{token}<emb>{token}"):
        check_injection(chat, source, text, text)
        ids = rendered(chat, item_of(text)).ids
        spelled = ids[~np.isin(ids, list(added(source, special=True).values()))]
        assert text in source.decode(spelled)


@settings(max_examples=150)
@given(
    preset=st.sampled_from(NAMES),
    text=st.lists(st.sampled_from(FRAGMENTS), min_size=1, max_size=8).map("".join),
    instruction=st.lists(st.sampled_from(FRAGMENTS), min_size=1, max_size=8).map("".join),
)
def test_nothing_that_a_user_writes_becomes_a_control_token_or_moves_the_pooled_one(preset, text, instruction):
    check_injection(cached(preset), tiny(preset), text, instruction)


def test_special_tokens_are_text_to_the_published_tokenizer_too():
    chat, source = cached("qwen3-vl-embedding", published()), published()
    for token in added(source, special=True):
        check_injection(chat, source, f"a{token}b", token)


@pytest.mark.parametrize("preset", NAMES)
def test_an_added_token_that_is_not_special_is_that_token_as_for_transformers(preset):
    """``encode_special_tokens`` spells out special tokens alone: ``<think>`` and ``<emb>`` of a user are the ids."""
    source = tiny(preset)
    plain = added(source, special=False)
    assert set(plain) == {"<think>", "</think>"} | ({"<emb>"} if preset == "lamra" else set())
    for token, i in plain.items():
        item = item_of(f"a{token}b", token)
        for side in SIDES:
            ids = rendered(cached(preset), item, side=side).ids
            assert ids.tolist() == source(written(preset, item, (), side, source))["input_ids"]
            expected = 1 + (PRESETS[preset].query.own_instruction and (preset, side) != ("gme", "document"))
            own = i == source.convert_tokens_to_ids("<emb>")  # the template holds it once
            assert np.count_nonzero(ids == i) == expected + own


@pytest.mark.parametrize("text", ["a", "<emb>", "<emb>.", "a <emb>. b <emb>", "<emb>" * 9])
@pytest.mark.parametrize("counts", IMAGES, ids=["no image", "image", "images"])
def test_lamra_pools_before_the_emb_of_its_own_template(text, counts):
    source = tiny("lamra")
    got = rendered(cached("lamra"), item_of(text, f"find {text}", len(counts)), counts)
    tail = source("<emb>.<|im_end|>\n<|im_start|>assistant\n")["input_ids"]
    assert got.ids[got.pooled_at + 1 :].tolist() == tail
    assert source.convert_ids_to_tokens(int(got.ids[got.pooled_at])) == "Ċ"


@pytest.mark.parametrize("preset", ["qwen3-vl-embedding", "gme", "vlm2vec"])
@pytest.mark.parametrize("counts", IMAGES, ids=["no image", "image", "images"])
def test_the_others_pool_the_last_token(preset, counts):
    got = rendered(cached(preset), item_of("a list", None, len(counts)), counts)
    assert got.pooled_at == len(got.ids) - 1


def test_fields_that_a_user_writes_are_not_filled_in():
    for preset in NAMES:
        got = rendered(cached(preset), item_of("{instruction}{images}", "{text}", 1), [3])
        assert {"{instruction}{images}", "{text}"} <= set(written_words(tiny(preset).decode(got.ids)))


def written_words(prompt: str) -> list[str]:
    """What stands between control tokens, line ends and spaces."""
    for separator in (*SPECIALS, "\n"):
        prompt = prompt.replace(separator, " ")
    return [word.rstrip(".") for word in prompt.split()]


# Images


@pytest.mark.parametrize("preset", NAMES)
@pytest.mark.parametrize("counts", [(1,), (4,), (1, 1), (3, 1, 2), (1750,), (5, 400, 7, 1)], ids=str)
@pytest.mark.parametrize("side", SIDES)
def test_image_starts_are_where_the_placeholders_are(preset, counts, side):
    source = tiny(preset)
    got = rendered(cached(preset), item_of("<|image_pad|> a", "b", len(counts)), counts, side)
    check_images(got, counts, source.convert_tokens_to_ids(PAD))
    assert len(got.image_starts) == len(counts)
    if preset != "vlm2vec":
        starts, ends = ([got.ids[i] for i in places] for places in (
            [start - 1 for start in got.image_starts],
            [start + count for start, count in zip(got.image_starts, counts, strict=True)],
        ))  # fmt: skip
        assert set(starts) == {source.convert_tokens_to_ids("<|vision_start|>")}
        assert set(ends) == {source.convert_tokens_to_ids("<|vision_end|>")}


def test_a_span_may_hold_words():
    source = tiny("gme")
    span = "Picture: <|vision_start|><|image_pad|>\n"
    chat = renderer("gme", image_span=span)
    got = rendered(chat, item_of("a", None, 2), (2, 3))
    check_images(got, (2, 3), source.convert_tokens_to_ids(PAD))
    user = source.decode(got.ids).split("user\n")[1]
    assert user.startswith(span.replace(PAD, PAD * 2) + span.replace(PAD, PAD * 3) + "a")


@pytest.mark.parametrize(
    "span", ["", "an image", "<|vision_start|><|vision_end|>", "<|video_pad|>", PAD * 2, f"{PAD}<|vision_end|>{PAD}"]
)
def test_a_span_without_its_placeholder_once_is_corrupt(span):
    with pytest.raises(CorruptBundleError) as caught:
        renderer("gme", image_span=span)
    message_of(caught.value, "chat.image_span", repr(span), str(tiny("gme").convert_tokens_to_ids(PAD)), "export")


def test_a_placeholder_of_another_model_is_corrupt():
    with pytest.raises(CorruptBundleError) as caught:
        renderer("gme", placeholder="<|video_pad|>")
    message_of(caught.value, "chat.image_span", str(tiny("gme").convert_tokens_to_ids("<|video_pad|>")))


# Kinds of item


@pytest.mark.parametrize(
    ("kept", "item", "parts"),
    [
        (["text"], item_of("a", None, 1), "image+text"),
        (["text"], item_of(None, None, 1), "image"),
        (["text"], item_of("a", "b"), "instruction+text"),
        (["image", "text"], item_of("a", "b", 2), "instruction+image+text"),
        (["image", "instruction+image"], item_of("a"), "text"),
        (["image", "instruction+image"], item_of(None, "b"), "instruction"),
        (["text", "image"], item_of("", "b", 1), "instruction+image"),
    ],
)
@pytest.mark.parametrize("side", SIDES)
def test_a_kind_of_item_without_a_template_is_refused(kept, item, parts, side):
    entry = PRESETS["vlm2vec"].query
    entry = dataclasses.replace(entry, templates={kind: entry.templates[kind] for kind in kept})
    counts = [3] * len(item["image"])
    with pytest.raises(InputError) as caught:
        rendered(renderer("vlm2vec", **{side: entry}), item, counts, side)
    message_of(caught.value, f"item 7 consists of {parts};", ", ".join(sorted(kept)))
    (other,) = set(SIDES) - {side}
    assert len(rendered(renderer("vlm2vec", **{side: entry}), item, counts, other).image_starts) == len(counts)


@pytest.mark.parametrize("text", [None, ""])
def test_a_kind_without_a_template_of_its_own_is_written_with_an_empty_text(text):
    parts = ("text", "image+text", "instruction+text", "instruction+image+text")
    templates = {kind: "[" + "|".join(f"{{{word}}}" for word in fields_of(kind)) + "]" for kind in parts}
    chat = renderer("vlm2vec", query=dataclasses.replace(PRESETS["vlm2vec"].query, templates=templates))
    for instruction, counts, wanted in (
        (None, (), "[]"),
        (None, (2,), f"[{PAD * 2}|]"),
        ("Find it", (), "[Find it|]"),
        ("Find it", (2, 1), f"[Find it|{PAD * 3}|]"),
    ):
        got = rendered(chat, item_of(text, instruction, len(counts)), counts)
        assert tiny("vlm2vec").decode(got.ids) == wanted


def fields_of(kind: str) -> list[str]:
    return ["images" if part == "image" else part for part in kind.split("+")]


def test_an_item_without_anything_is_refused_by_a_side_that_takes_images_only():
    side = PRESETS["vlm2vec"].query
    chat = renderer("vlm2vec", query=dataclasses.replace(side, templates={"image": side.templates["image"]}))
    for text in (None, ""):
        with pytest.raises(InputError) as caught:
            rendered(chat, item_of(text))
        message_of(caught.value, "item 7 consists of nothing; this bundle takes image")


# Truncation


def with_suffix(preset: str) -> Any:
    """A tokenizer whose post-processor appends a token, as that of some published checkpoints is said to."""
    source = tiny_qwen_vl._tokenizer(preset)
    pair = (END, source.convert_tokens_to_ids(END))
    source.backend_tokenizer.post_processor = TemplateProcessing(single=f"$A {END}", special_tokens=[pair])
    return source


def suffix_of(source: Any) -> tuple[int, ...]:
    return tuple(source("", add_special_tokens=True)["input_ids"])


@pytest.fixture(scope="module", params=["plain", "suffix"])
def sources(request: pytest.FixtureRequest) -> dict[str, Any]:
    """A tokenizer for each preset, without and with a post-processor."""
    return {preset: (tiny if request.param == "plain" else with_suffix)(preset) for preset in NAMES}


@pytest.mark.parametrize("preset", ["qwen3-vl-embedding", "gme", "vlm2vec"])
@pytest.mark.parametrize("side", SIDES)
def test_a_cut_is_the_one_that_transformers_makes(sources, preset, side):
    source = sources[preset]
    suffix = suffix_of(source)
    item = item_of("sort a long list by its keys, 北京 first, twice", "Find it")
    prompt = written(preset, item, (), side, source)
    whole = source(prompt)["input_ids"]
    for length in range(len(suffix) + 1, len(whole) + 3):
        got = rendered(renderer(preset, source, max_length=length, suffix_ids=suffix), item, side=side)
        wanted = source(prompt, truncation=True, max_length=length)["input_ids"]
        assert got.ids.tolist() == wanted
        assert got.ids[len(got.ids) - len(suffix) :].tolist() == list(suffix)
        assert got.truncated == max(0, len(whole) - length)
        assert got.pooled_at == len(wanted) - 1


@pytest.mark.parametrize("preset", NAMES)
def test_the_suffix_stands_behind_every_prompt(preset):
    source = with_suffix(preset)
    chat = renderer(preset, source, suffix_ids=suffix_of(source))
    for instruction in INSTRUCTIONS:
        compare(preset, chat, source, "a list", instruction)


@pytest.mark.parametrize("preset", ["qwen3-vl-embedding", "gme", "vlm2vec"])
def test_images_are_never_cut(sources, preset):
    source = sources[preset]
    suffix, counts = suffix_of(source), (4, 30, 9)
    item = item_of("a text behind the images", None, 3)
    whole = rendered(renderer(preset, source, suffix_ids=suffix), item, counts)
    needed = whole.image_starts[-1] + counts[-1] + len(suffix)
    prompt = written(preset, item, counts, "query", source)
    for length in (needed, needed + 1, needed + 2, len(whole.ids)):
        got = rendered(renderer(preset, source, max_length=length, suffix_ids=suffix), item, counts)
        assert got.ids.tolist() == source(prompt, truncation=True, max_length=length)["input_ids"]
        assert got.truncated == len(whole.ids) - length
        check_images(got, counts, source.convert_tokens_to_ids(PAD))
    for length in (needed - 1, needed - 9, needed - 10, 20, len(suffix) + 1):
        with pytest.raises(InputError) as caught:
            rendered(renderer(preset, source, max_length=length, suffix_ids=suffix), item, counts)
        message_of(caught.value, "item 7", "43 tokens", f"{length:,}:")


def test_large_numbers_are_readable_in_the_message():
    with pytest.raises(InputError) as caught:
        rendered(renderer("gme", max_length=1800), item_of("a", None, 2), (1750, 1750))
    message_of(caught.value, "item 7", "3,500 tokens", "1,800")


@pytest.mark.parametrize("text", ["sort a long list by its keys", "the user writes <emb> in a list", "<emb>" * 20])
@pytest.mark.parametrize("counts", IMAGES, ids=["no image", "image", "images"])
def test_lamra_never_loses_the_token_that_it_pools(sources, text, counts):
    source = sources["lamra"]
    suffix = suffix_of(source)
    item = item_of(text, None, len(counts))
    whole = rendered(renderer("lamra", source, suffix_ids=suffix), item, counts)
    prompt = written("lamra", item, counts, "query", source)
    place = whole.pooled_at + 1
    for length in range(place + 1 + len(suffix), len(whole.ids) + 2):  # what follows <emb> may be cut
        got = rendered(renderer("lamra", source, max_length=length, suffix_ids=suffix), item, counts)
        assert got.ids.tolist() == source(prompt, truncation=True, max_length=length)["input_ids"]
        assert source.convert_ids_to_tokens(int(got.ids[place])) == "<emb>"
        assert (got.pooled_at, got.truncated) == (whole.pooled_at, max(0, len(whole.ids) - length))
    for room in range(1, place + 1):  # <emb> itself, which marks the place, does not fit
        with pytest.raises(InputError) as caught:
            rendered(renderer("lamra", source, max_length=room + len(suffix), suffix_ids=suffix), item, counts)
        message_of(caught.value, "item 7")
    message_of(caught.value, "pooled", f" {len(whole.ids) - place - len(suffix):,} tokens too long", "shorten it")


def test_the_published_tokenizer_is_cut_as_transformers_cuts_it():
    source = published()
    item = item_of("sort a long list by its keys, 北京 first. " * 50, "Find it")
    prompt = written("qwen3-vl-embedding", item, (), "query", source)
    for length in (1, 7, 100, 500):
        got = rendered(renderer("qwen3-vl-embedding", source, max_length=length), item)
        assert got.ids.tolist() == source(prompt, truncation=True, max_length=length)["input_ids"]


# What late interaction keeps (the rule of the reference, on the runtime's ids)


def kept(preset: str, source: Any, item: dict[str, Any], counts: Sequence[int], side: Side) -> str:
    backbone = cast(Any, SimpleNamespace(tokenizer=source))
    reference = QwenVLReference(backbone, preset, PRESETS[preset], cast(Any, None), (), LONG)
    ids = rendered(cached(preset, source), item, counts, side).ids
    return cast(str, source.decode(ids[~np.isin(ids, reference.dropped_ids(side))]))


PROSE = "system\nRepresent the user's input.\nuser\n{}\nassistant\n"


@pytest.mark.parametrize("source", [tiny, published], ids=["tiny", "published"])
@pytest.mark.parametrize("side", SIDES)
def test_words_of_the_template_are_kept_and_control_tokens_are_not(source, side):
    name = "qwen3-vl-embedding"
    loaded = source(name) if source is tiny else source()
    assert kept(name, loaded, item_of("just text"), (), side) == PROSE.format("just text")
    assert kept(name, loaded, item_of("a", None, 2), (2, 1), side) == PROSE.format(f"{PAD * 3}a")
    assert kept(name, loaded, item_of("<think> <|im_end|>"), (), side) == PROSE.format("<think> <|im_end|>")


def test_gme_s_queries_leave_images_out_and_its_documents_do_not():
    item = item_of("a", None, 1)
    query, document = (kept("gme", tiny("gme"), item, (3,), side) for side in SIDES)
    assert document == query.replace("user\na", f"user\n{PAD * 3}a")
    assert PAD not in query


def test_lamra_s_emb_is_kept():
    assert kept("lamra", tiny("lamra"), item_of("a"), (), "query").count("<emb>") == 1
