"""README: its code runs, its links lead somewhere, its tables are the committed results."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

import smartrt
from smartrt.benchmarks.tables.pages import STUDY, STUDY_PAGE, TABLES, outdated, put, update
from smartrt.cli.main import COMMANDS
from smartrt.errors import InputError
from smartrt.export.pipeline import export
from support import message_of

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


def test_every_table_is_the_committed_result() -> None:
    assert outdated(ROOT) == []


def test_every_table_on_a_page_is_one_of_those_that_are_compared() -> None:
    for page in PAGES:
        names = re.findall(r"<!-- table: (.*?) -->", page.read_text(encoding="utf-8"))
        assert sorted(names) == sorted(name for where, name in TABLES if ROOT / where == page), page.name


@pytest.mark.parametrize("name", sorted({result for result, _ in TABLES.values()}))
def test_a_changed_result_changes_its_tables(name: str, tmp_path: Path) -> None:
    for page in {STUDY_PAGE, *(where for where, _ in TABLES)}:
        (tmp_path / page).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / page, tmp_path / page)
    shutil.copytree(RESULTS, tmp_path / "benchmarks" / "results")
    path = tmp_path / "benchmarks" / "results" / f"{name}.json"
    path.write_text(json.dumps(_changed(json.loads(path.read_text(encoding="utf-8")))), encoding="utf-8")
    touched = {tmp_path / page for (page, _), (result, _) in TABLES.items() if result == name}
    touched |= {tmp_path / STUDY_PAGE} if name == STUDY else set()
    assert set(outdated(tmp_path)) == touched
    assert set(update(tmp_path)) == touched
    assert outdated(tmp_path) == []


def _changed(value: Any) -> Any:
    """Every figure another one; names and counts as they were."""
    if isinstance(value, dict):
        return {key: _changed(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_changed(each) for each in value]
    return 3 * value + 1 if isinstance(value, float) else value


def test_a_page_without_a_place_for_its_table_is_an_error() -> None:
    with pytest.raises(InputError) as caught:
        put("no table here", "study", ["| a |"], "README.md")
    message_of(caught.value, "README.md", "0 places", "<!-- table: study -->")
