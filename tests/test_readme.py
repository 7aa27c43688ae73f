"""README: its code runs, its links lead somewhere, its tables are the committed results."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

import smartrt
from smartrt.cli.main import COMMANDS
from smartrt.export.pipeline import export

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]
RESULTS = ROOT / "benchmarks" / "results"


@pytest.fixture(scope="module")
def minilm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """MiniLM with its real weights, exported."""
    return export("minilm", tmp_path_factory.mktemp("minilm") / "minilm.smartrt").path


def test_the_python_example_runs(minilm: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    (example,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert len(example.strip().splitlines()) <= 12
    (tmp_path / "minilm.smartrt").symlink_to(minilm)
    monkeypatch.chdir(tmp_path)
    exec(example, {})  # noqa: S102  (our own README)
    printed = capsys.readouterr().out
    assert printed.index("id='sorted'") < printed.index("id='canberra'")


def test_minilm_agrees_with_pytorch(minilm: Path) -> None:
    verified = smartrt.Bundle.open(minilm).manifest.verified
    assert verified.max_abs < 1e-5
    assert verified.ranking_agreement == 1


def test_every_smartrt_command_shown_exists() -> None:
    shown = set(re.findall(r"smartrt (\w+) ", "\n".join(re.findall(r"```console\n(.*?)```", README, re.DOTALL))))
    assert {"export", "index", "search"} <= shown <= set(COMMANDS)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_between_files_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)#]+)", page.read_text(encoding="utf-8"))
    for link in links:
        assert link.startswith("https://") or (page.parent / link).exists(), link


def test_the_accuracy_table_is_the_committed_result() -> None:
    results = json.loads((RESULTS / "accuracy_minilm.json").read_text(encoding="utf-8"))["results"]
    rows = []
    for result in results:
        systems = result["systems"]
        scores = " | ".join(f"{systems[name]['ndcg@10']:.4f}" for name in ("pooled", "late", "hybrid", "bm25"))
        low, high = systems["hybrid"]["interval"]
        gain = f"{systems['hybrid']['difference']:+.3f} [{low:+.3f}, {high:+.3f}]"
        rows.append(f"| {result['set']} | {scores} | {gain} |")
    assert _table("accuracy")[2:] == rows


@pytest.mark.parametrize("page", ["README.md", "docs/performance.md"])
def test_the_coldstart_table_is_the_committed_result(page: str) -> None:
    result = json.loads((RESULTS / "coldstart_minilm.json").read_text(encoding="utf-8"))["result"]
    rows = [
        f"| {name} | {values['wall_s']:.2f} s | {values['cpu_s']:.2f} s | {values['peak_rss_mb']:.0f} MiB |"
        for name, values in result["contenders"].items()
    ]
    ratio = result["pytorch_over_smartrt"]
    rows.append(f"| ratio | {ratio['wall_s']:.1f} | {ratio['cpu_s']:.1f} | {ratio['peak_rss_mb']:.1f} |")
    assert _table("coldstart", (ROOT / page).read_text(encoding="utf-8"))[2:] == rows


@pytest.mark.parametrize("page", ["README.md", "docs/performance.md"])
def test_the_preprocess_table_is_the_committed_result(page: str) -> None:
    result = json.loads((RESULTS / "preprocess.json").read_text(encoding="utf-8"))["result"]
    rows = []
    for name, values in result["contenders"].items():
        single, pages = f"{values['page_ms']:.0f} ms", f"{values['pages_ms'] / 1000:.1f} s"
        rows.append(f"| {name} | {single} | {pages} | {values['pages_peak_mb']:.0f} MiB |")
    assert _table("preprocess", (ROOT / page).read_text(encoding="utf-8"))[2:] == rows


def stored_rows() -> list[str]:
    """What storage and compression cost: bytes of a Cranfield document, and nDCG@10 against float32."""
    results = {r["set"]: r["stored"] for r in json.loads((RESULTS / "accuracy_minilm.json").read_text())["results"]}
    rows = ["| | bytes a document | " + " | ".join(results) + " |", "|---|---|" + "---|" * len(results)]
    for name, values in results["cranfield"].items():
        changes = [f"{stored[name]['difference']:+.4f}" for stored in results.values()]
        rows.append(f"| {name} | {values['bytes_per_document']:,} | {' | '.join(changes)} |")
    return rows


def maxsim_rows() -> list[str]:
    """One thread: smartrt's time, its share of sgemm, and how much longer others take."""
    rows = ["| | smartrt int16 | of sgemm | as SMART | as ColPali | maxsim-cpu | exact top 10 in int8, 8 bits first |"]
    rows.append("|---|---|---|---|---|---|---|")
    for result in _maxsim_results(1):
        made = result["contenders"]
        ours = made["smartrt int16"]
        peer = made.get("maxsim-cpu")
        crashed = "crashes" if result["crashed"] else "wrong scores" if result["wrong"] else "-"
        others = [f"{made[name]['cpu_ratio']:.1f}x" for name in ("torch, as SMART", "torch, as ColPali")]
        others.append(f"{peer['cpu_ratio']:.1f}x" if peer else crashed)
        search = f"{made['search int8, 8 bits first']['cpu_ms']:.1f} ms"
        times = f"{ours['cpu_ms']:.1f} ms | {ours['share_of_sgemm']:.0%}"
        rows.append(f"| {result['label']} | {times} | {' | '.join(others)} | {search} |")
    return rows


def scorer_rows(threads: int) -> list[str]:
    """Every contender of every case: time, share of sgemm and ratio."""
    results = _maxsim_results(threads)
    names = list(results[0]["contenders"])
    rows = ["| | " + " | ".join(result["case"] for result in results) + " |", "|---|" + "---|" * len(results)]
    for name in names:
        cells = []
        for result in results:
            values = result["contenders"].get(name)
            key = "cpu" if threads == 1 else "wall"
            cells.append("-" if values is None else f"{values[f'{key}_ms']:.1f} ms, {values[f'{key}_ratio']:.2f}x")
        rows.append(f"| {name} | {' | '.join(cells)} |")
    return rows


def precision_rows(name: str) -> list[str]:
    """Per bundle its size, its time and ratio at each shape, and what the hybrid loses on each set."""
    result = json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))
    sizes = {bundle["name"]: f"{bundle['bytes'] / 1e6:,.1f} MB" for bundle in result["bundles"]}
    sets = [entry["name"] for entry in next(iter(result["losses"].values()), [])]
    rows = ["| | size | " + " | ".join([*result["speeds"], *sets]) + " |"]
    rows.append("|---|---|" + "---|" * (len(result["speeds"]) + len(sets)))
    for contender in next(iter(result["speeds"].values())):
        times = [values[contender] for values in result["speeds"].values()]
        cells = [f"{time['cpu_ms']:.1f} ms, {time['ratio']:.2f}x" for time in times]
        lost = [entry["losses"]["hybrid"] for entry in result["losses"].get(contender, [])]
        cells += [f"{loss['difference']:+.4f} [{loss['low']:+.4f}, {loss['high']:+.4f}]" for loss in lost]
        cells += [""] * (len(sets) - len(lost))
        rows.append(f"| {contender} | {sizes.get(contender, '')} | {' | '.join(cells)} |")
    return rows


def large_rows() -> list[str]:
    """Per export of a large checkpoint its time, its memory and its size."""
    rows = ["| checkpoint | precision | time | peak memory | bundle |", "|---|---|---|---|---|"]
    for entry in json.loads((RESULTS / "large_exports.json").read_text(encoding="utf-8"))["exports"]:
        minutes = f"{entry['wall_s'] / 60:.0f} min"
        memory = f"{entry['peak_rss_kb'] / 1024:,.0f} MiB"
        size = f"{entry['bytes'] / 1e9:.2f} GB"
        rows.append(f"| {entry['checkpoint']} | {entry['precision']} | {minutes} | {memory} | {size} |")
    return rows


PRECISION_TABLES = {
    ("README.md", "precision"): "precision_minilm",
    ("docs/precision.md", "precision"): "precision_minilm",
    ("docs/precision.md", "precision decoder"): "precision_decoder",
}


@pytest.mark.parametrize(("page", "name"), PRECISION_TABLES)
def test_the_precision_tables_are_the_committed_results(page: str, name: str) -> None:
    found = _table(name, (ROOT / page).read_text(encoding="utf-8"))
    assert found == precision_rows(PRECISION_TABLES[page, name])


def test_the_table_of_large_exports_is_the_committed_result() -> None:
    assert _table("large", (ROOT / "docs/precision.md").read_text(encoding="utf-8")) == large_rows()


def _maxsim_results(threads: int) -> list[dict[str, Any]]:
    results = json.loads((RESULTS / "maxsim.json").read_text(encoding="utf-8"))["results"]
    return [result for result in results if result["threads"] == threads]


def test_the_storage_table_is_the_committed_result() -> None:
    assert _table("stored") == stored_rows()


def test_the_scorer_table_is_the_committed_result() -> None:
    assert _table("maxsim") == maxsim_rows()


@pytest.mark.parametrize("threads", [1, 4])
def test_the_scorer_tables_in_full_are_the_committed_result(threads: int) -> None:
    page = (ROOT / "docs" / "performance.md").read_text(encoding="utf-8")
    assert _table(f"maxsim, {threads}", page) == scorer_rows(threads)


def _table(name: str, page: str = README) -> list[str]:
    (block,) = re.findall(rf"<!-- table: {name} -->\n(.*?)\n<!-- end -->", page, re.DOTALL)
    return block.splitlines()
