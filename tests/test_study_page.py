"""The page of a study: complete, sound HTML, loads nothing, escapes everything, and says no more than was measured."""

from __future__ import annotations

import copy
import html.parser
import re

import pytest

from smartrt.benchmarks.study.page import render

HOSTILE = "<script>alert(1)</script>\"'&\x00"
SETS = ("functions", "classes")
#            status, quality, p50, ratio, bytes
VARIANTS = {
    "PyTorch fp32": ("ok", 0.68, 24.0, 1.0, 388_000),
    "int8": ("ok", 0.6776, 8.0, 3.0, 51_000),
    "pooled": ("ok", 0.64, 3.4, 7.0, 1536),
    "fp16": ("failed", None, None, None, 51_000),
    "int4": ("wrong", None, None, None, 26_000),
}


def point(name, status, quality, p50, ratio, stored):
    row = {
        "ndcg": 0.5,
        "difference": -0.01,
        "interval": [-0.02, -0.004],
        "p_holm": 0.003,
        "significant": name == "pooled",
    }
    return {
        "name": name, "status": status, "quality": quality,
        "message": None if status == "ok" else f"{name} does not work",
        "sets": dict.fromkeys(SETS, row), "p50_ms": p50, "ratio": ratio,
        "ratio_interval": None if ratio is None else [ratio * 0.95, ratio * 1.05], "bytes_per_document": stored,
        "bundle_bytes": 24_000_000, "joules": None, "cold_s": 0.4, "peak_rss_mb": 250.0, "noisy": False,
        "fronts": ["time", "bytes"] if quality else [],
    }  # fmt: skip


def row(name, status, _quality, p50, ratio, _stored):
    if status != "ok":
        return {"contender": name, "status": status, "message": f"{name} does not work", "outputs": None}
    limits = [ratio * 0.95, ratio * 1.05]
    return {
        "contender": name, "status": "ok", "message": None, "outputs": None, "calls": 30,
        "p50_ms": p50, "p90_ms": p50 * 1.1,
        "p95_ms": p50 * 1.2, "p99_ms": None, "cpu_ms": p50, "items_per_s": 1000 / p50, "joules": "not measured",
        "stages": {"encoder": {"p50_ms": p50 / 2, "cpu_ms": p50 / 2}},
        "samples_ms": [p50 * 0.987654321, p50, p50 * 1.2],
        "ratio": ratio, "ratio_interval": limits, "cpu_ratio": ratio, "cpu_ratio_interval": limits,
    }  # fmt: skip


def cold(name, status, *_):
    if status == "failed":
        return {"contender": name, "failed": f"{name} does not work"}
    return {
        "contender": name, "failed": None, "wall_s": 0.4, "cpu_s": 0.3, "peak_rss_mb": 100.0, "end_peak_rss_mb": 250.0,
        "end_device_mb": None, "ratio": 1.0, "ratio_interval": [1.0, 1.0],
    }  # fmt: skip


def group(threads, *, noisy):
    cells = [
        {"cell": label, "side": "query", "batch": 1, "rows": [row(name, *values) for name, values in VARIANTS.items()]}
        for label in ("query 1x32", "query 8x32")
    ]
    return {
        "threads": threads, "starts": 5, "load": [[1.0, 1.0, 1.0]],
        "probes": {"gflop_per_s": {"median": 1.0, "moved": 0.02}},
        "noisy": noisy, "cold": [cold(name, *values) for name, values in VARIANTS.items()], "cells": cells,
    }  # fmt: skip


def system(name, difference):
    return {
        "name": name, "encoder": name, "system": "hybrid", "stored": None, "bytes_per_document": 1536, "ndcg@10": 0.5,
        "recall@10": 0.6, "mrr@10": 0.4, "difference": difference, "interval": [difference - 0.01, difference + 0.01],
        "p": 0.5, "p_holm": 1.0, "significant": False,
    }  # fmt: skip


def accuracy(name):
    return {
        "set": name, "sha256": "0", "documents": 1000, "queries": 500, "queries_without_relevant_document": 0,
        "bm25": "k1 1.5", "truncated_documents": {"fp32": 157, "PyTorch": None}, "left_out": {},
        "systems": [system("fp32 pooled", 0.0), system("fp32 hybrid", 0.02), system("bm25", -0.1)],
    }  # fmt: skip


@pytest.fixture
def study():
    machine = {
        "cpu": "A processor", "cores": 4, "system": "Linux x86_64", "python": "3.11", "smartrt": "0.1.0",
        "load": [1.0, 1.0, 1.0],
        "blas_kernels": None, "libraries": {"numpy": "2.0"},
        "state": {"board": "not measured", "cpu_mhz": {"min": 1200.0}},
    }  # fmt: skip
    grid = {"reference": "PyTorch fp32", "starts": 5, "rounds": 3, "visit": 0.15, "together": True}
    latency = {
        "machine": machine, "grid": grid, "interval": "t * s", "groups": [group(1, noisy=False), group(4, noisy=False)],
        "corpus": {"documents": 600, "tokens": 9686, "dim": 384, "encoded_by": "fp32"},
        "sensors": {"domains": [], "total": [], "absent": {"RAPL": "there is no powercap"}},
    }  # fmt: skip
    found = {
        "machine": machine, "encoders": [], "baseline": "fp32 pooled", "comparisons": 4, "statistics": "a bootstrap",
        "results": [accuracy(name) for name in SETS],
    }  # fmt: skip
    return {
        "title": "A study", "command": "smartrt bench study a.toml", "config": {"title": "A study"}, "sets": list(SETS),
        "quality": "mean nDCG@10", "at": {"threads": 1, "cell": "query 1x32"}, "reference": "PyTorch fp32",
        "baseline": "fp32 pooled", "points": [point(name, *values) for name, values in VARIANTS.items()],
        "latency": latency, "accuracy": found,
    }  # fmt: skip


class Page(html.parser.HTMLParser):
    """Elements with their attributes and the text within each; an element that is not closed is an error."""

    def __init__(self, text):
        super().__init__()
        self.open, self.elements = [], []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs), []))
        assert len(dict(attrs)) == len(attrs), f"an attribute twice in {tag}"
        if tag not in {"meta", "br"}:
            self.open.append(self.elements[-1])

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs), []))

    def handle_endtag(self, tag):
        assert self.open.pop()[0] == tag

    def handle_data(self, data):
        for _, _, texts in self.open:
            texts.append(data)

    def all(self, name, **wanted):
        return [
            ("".join(texts), attributes)
            for tag, attributes, texts in self.elements
            if tag == name and all(value in (attributes.get(key) or "").split() for key, value in wanted.items())
        ]


def texts(found):
    return [text for text, _ in found]


def test_the_page_is_one_sound_document(study):
    page = Page(render(study))
    for name in ("html", "head", "body", "h1", "main", "style", "script"):
        assert len(page.all(name)) == 1, name
    assert texts(page.all("h2")) == [
        "Trade-offs", "Variants", "Latency", "Accuracy", "Machine", "How it was measured",
        "Configuration and machine as JSON",
    ]  # fmt: skip
    ids = [attributes["id"] for _, attributes, _ in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert {link["href"][1:] for _, link in page.all("a")} <= set(ids)


def test_the_page_asks_nobody_for_anything(study):
    text = render(study)
    assert not re.search(r"https?:|//\w|url\(|@import|\bsrc(set)?=|fetch\(|XMLHttpRequest", text)
    page = Page(text)
    assert not {"link", "img", "iframe", "object", "embed", "base", "form", "audio", "video", "use", "image"} & {
        name for name, _, _ in page.elements
    }
    assert all(link["href"].startswith("#") for _, link in page.all("a"))
    (policy,) = (meta["content"] for _, meta in page.all("meta") if "http-equiv" in meta)
    assert policy.startswith("default-src 'none'")


@pytest.mark.parametrize(
    "keys",
    [
        "title", "command", "reference", "baseline", "quality", "points/3/name", "points/0/name", "points/3/message",
        "sets/0", "latency/machine/cpu", "latency/interval", "latency/groups/0/cells/0/cell",
        "latency/groups/0/cells/0/rows/1/contender", "latency/groups/0/cells/0/rows/3/message",
        "latency/groups/0/cold/3/failed", "latency/sensors/absent/RAPL", "accuracy/results/0/set",
        "accuracy/results/0/systems/1/name", "accuracy/statistics", "config/title",
    ],
)  # fmt: skip
def test_all_text_is_escaped(study, keys):
    clean = Page(render(study))
    *path, last = (int(key) if key.isdigit() else key for key in keys.split("/"))
    inner = study
    for key in path:
        inner = inner[key]
    inner[last] = HOSTILE
    text = render(study)
    page = Page(text)
    assert len(page.all("script")) == 1
    assert [name for name, _, _ in page.elements if name == "g"] == [
        name for name, _, _ in clean.elements if name == "g"
    ]
    assert "alert(1)" in text
    assert "<script>alert" not in text
    assert "\x00" not in text


def test_every_variant_set_cell_and_system_is_named(study):
    page = Page(render(study))
    rows, heads = texts(page.all("th", scope="row")), texts(page.all("th", scope="col"))
    for name in VARIANTS:
        assert rows.count(name) == 1 + 2 * (1 + 2)  # variants, and per group its cold starts and two cells
    assert set(SETS) <= set(heads)
    assert set(SETS) | {"1 thread", "4 threads"} <= set(texts(page.all("h3")))
    assert texts(page.all("h4")) == ["Cold start", "query 1x32", "query 8x32"] * 2
    assert rows.count("bm25") == 2
    assert "smartrt bench study a.toml" in texts(page.all("pre"))


def test_failed_and_wrong_rows_show_their_message_and_no_number(study):
    page = Page(render(study))
    messages = [" ".join(text.split()) for text in texts(page.all("td", **{"class": "message"}))]
    assert messages.count("failed fp16 does not work") == 7
    assert messages.count("wrong int4 does not work") == 5
    for text in texts(page.all("tr", **{"class": "absent"})):
        assert text.endswith("does not work")


@pytest.mark.parametrize("noisy", [(), (0,), (1,), (0, 1)], ids=str)
def test_the_noisy_badge_stands_where_it_was_noisy_and_nowhere_else(study, noisy):
    for index in noisy:
        study["latency"]["groups"][index]["noisy"] = True
    study["points"][1]["noisy"] = 0 in noisy
    page = Page(render(study))
    badges = page.all("span", **{"class": "noisy"})
    assert len(badges) == 3 * len(noisy) + (0 in noisy)
    assert ("4 threads noisy" in texts(page.all("h3"))) is (1 in noisy)
    assert len(page.all("g", **{"class": "noisy"})) == 2 * (0 in noisy)  # the time chart, wide and narrow


def test_what_tables_are_sorted_by_is_a_number(study):
    page = Page(render(study))
    values = [cell["data-value"] for _, cell in page.all("td") if "data-value" in cell]
    assert len(values) > 100
    assert all(-1 <= float(value) < 1e9 for value in values)
    assert "24000000" in "".join(f"{float(value):.0f}" for value in values)
    assert {head.get("data-sort") for _, head in page.all("th", scope="col")} == {"number", "text", None}


def test_charts_name_every_point_in_a_tooltip_and_draw_no_unsound_one(study):
    page = Page(render(study))
    charts = [attributes["aria-label"] for _, attributes in page.all("svg", **{"class": "chart"})]
    assert len(charts) == 4  # time and bytes, wide and narrow
    for about in charts:
        assert all(name in about for name in ("PyTorch fp32", "int8", "pooled"))
        assert "fp16" not in about
    assert (
        "int8: 8.00 ms, quality 0.6776, 3.00\N{MULTIPLICATION SIGN} the speed of PyTorch fp32, on the front"
        in texts(page.all("title"))
    )


def test_energy_is_shown_where_it_was_measured_and_said_to_be_missing_where_not(study):
    assert "not measured" in texts(Page(render(study)).all("td"))
    study["latency"]["sensors"] |= {"domains": ["CPU", "DRAM"], "total": ["CPU", "DRAM"]}
    study["latency"]["groups"][0]["cells"][0]["rows"][0]["joules"] = {"CPU": 0.5, "DRAM": 0.25}
    study["points"][0]["joules"] = 0.75
    page = Page(render(study))
    assert texts(page.all("td")).count("0.750") == 2
    assert len(page.all("svg", **{"class": "chart"})) == 6


def test_samples_stay_out_and_the_page_stays_small(study):
    study["latency"]["groups"][0]["cells"][0]["rows"][0]["samples_ms"] *= 3000
    study["latency"]["groups"] *= 4
    text = render(study)
    assert "23.7037" not in text
    assert len(text.encode()) < 200_000


def test_the_same_study_gives_the_same_page_and_is_left_as_it_was(study):
    before = copy.deepcopy(study)
    assert render(study) == render(study)
    assert study == before


def test_a_study_in_which_everything_failed_still_has_a_page(study):
    for each in study["points"]:
        each |= {"status": "failed", "message": "no", "quality": None, "p50_ms": None}
    for part in study["latency"]["groups"]:
        part["cold"] = [{"contender": each["contender"], "failed": "no"} for each in part["cold"]]
        for cell in part["cells"]:
            cell["rows"] = [
                {"contender": each["contender"], "status": "failed", "message": "no"} for each in cell["rows"]
            ]
    page = Page(render(study))
    assert "nothing can be concluded" in "".join(texts(page.all("p", **{"class": "finding"})))
    assert not page.all("svg", **{"class": "chart"})
