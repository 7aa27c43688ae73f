"""The sentence on top of a study's page, and the small things it is written with: numbers and markup."""

from __future__ import annotations

import pytest

from smartrt.benchmarks.study.finding import finding
from smartrt.benchmarks.study.markup import Html, markup, tag
from smartrt.benchmarks.study.quantities import signed, significant, size, span, tick_size


def point(name, quality, p50, ratio, status="ok"):
    same = {"difference": -0.001, "significant": False}
    return {
        "name": name, "status": status, "quality": quality, "p50_ms": p50, "ratio": ratio, "noisy": False,
        "ratio_interval": None if ratio is None else [ratio * 0.95, ratio * 1.05],
        "sets": {"functions": dict(same), "classes": dict(same)},
    }  # fmt: skip


@pytest.fixture
def study():
    return {
        "at": {"threads": 1, "cell": "query 1x32"}, "reference": "PyTorch fp32", "baseline": "fp32 pooled",
        "points": [
            point("PyTorch fp32", 0.68, 24.0, 1.0), point("int8", 0.6776, 8.0, 3.0), point("pooled", 0.64, 3.4, 7.0),
            point("fp16", None, None, None, "failed"), point("int4", None, None, None, "wrong"),
        ],
    }  # fmt: skip


def test_the_finding_is_the_fastest_variant_within_the_tolerance(study):
    found = finding(study)
    assert found.subject == "int8"
    assert "keeps 99.6\N{NO-BREAK SPACE}% of the best quality, 0.6776 of 0.6800" in found.predicate
    assert (
        "at 3.00\N{MULTIPLICATION SIGN} the speed of PyTorch fp32 (95\N{NO-BREAK SPACE}% interval 2.85 to 3.15;"
        in found.predicate
    )
    assert found.remarks[-1] == "Left out: fp16 failed; int4 gives wrong outputs."


@pytest.mark.parametrize(
    ("change", "says"),
    [
        pytest.param(
            {"quality": 0.6749}, "PyTorch fp32 has the best quality, 0.6800, and nothing as good is", id="too bad"
        ),
        pytest.param({"quality": 0.69}, "int8 has the best quality, 0.6900, at 3.00", id="the best"),
        pytest.param({"quality": 0.67999}, "int8 keeps 99.9\N{NO-BREAK SPACE}%", id="never rounded up"),
        pytest.param(
            {"ratio_interval": [0.9, 9.0]}, "in a time that cannot be told from that of", id="interval holds 1"
        ),
        pytest.param({"ratio_interval": None}, "measured once, so without an interval", id="one start"),
        pytest.param(
            {"ratio": None, "ratio_interval": None}, "there is no time of PyTorch fp32", id="reference failed"
        ),
        pytest.param({"noisy": True}, "The machine was not quiet", id="noisy"),
        pytest.param({"status": "wrong"}, "PyTorch fp32 has the best quality", id="wrong"),
        pytest.param({"p50_ms": None}, "PyTorch fp32 has the best quality", id="not timed"),
    ],
)
def test_the_finding_claims_no_more_than_was_measured(study, change, says):
    study["points"][1] |= change
    found = finding(study)
    assert says in f"{found.subject} {found.predicate.strip()} {' '.join(found.remarks)}"


@pytest.mark.parametrize(
    ("difference", "says"),
    [(-0.01, "worse than fp32 pooled on functions, classes"), (0.01, "better than fp32 pooled on")],
)
def test_the_finding_tells_significant_differences(study, difference, says):
    for each in study["points"][1]["sets"].values():
        each |= {"significant": True, "difference": difference}
    assert any(f"It is significantly {says}" in remark for remark in finding(study).remarks)


def test_markup_escapes_once_and_only_text():
    assert tag("b", "<", Html("<i>"), [None, "&"]) == "<b>&lt;<i>&amp;</b>"
    assert markup(Html("<i>") + "<") == "&lt;i&gt;&lt;"
    assert (
        tag("td", class_='"', data_value=1.5, hidden=True, title=None)
        == '<td class="&quot;" data-value="1.5" hidden></td>'
    )


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (significant(0.28349), "0.283"), (significant(9.999), "10.0"), (significant(12345.6), "12,346"),
        (significant(0), "0"), (significant(None), "\N{EN DASH}"), (significant(float("nan")), "\N{EN DASH}"),
        (size(1536), "1.54 kB"), (size(999_600), "1.00 MB"), (size(12), "12 B"), (size(None), "\N{EN DASH}"),
        (tick_size(50_000), "50 kB"), (span([1.0, 1.0]), ""), (span([0.9, 10]), "0.900 to 10.0"),
        (signed(-0.01234), "\N{MINUS SIGN}0.0123"), (signed(-0.00001), "0.0000"),
    ],
)  # fmt: skip
def test_numbers_are_written_as_people_read_them(written, expected):
    assert written == expected
