"""Pages on GPUs: their commands exist, jetson.md's way from a bundle to a hit runs on fakes, its messages are ours."""

from __future__ import annotations

import argparse
import ast
import dataclasses
import functools
import re
import shlex
from pathlib import Path
from typing import Any

import pytest

import gpu_machine
from commandline import call, write_corpus
from smartrt.benchmarks.latency.ways import Way
from smartrt.cli.main import COMMANDS, _parser_of
from smartrt.engines.trt import TrtOptions

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "jetson.md").read_text(encoding="utf-8")
CONSOLES = re.findall(r"```console\n(.*?)```", PAGE, re.DOTALL)
TEXTS = ("sort a list by key", "open a file for reading", "copy a list")


def _shown(path: str, inline: str = "$^") -> list[Any]:
    """The commands in a page's console blocks, and those in its sentences that match `inline`."""
    page = (ROOT / path).read_text(encoding="utf-8")
    blocks = "".join(re.findall(r"```console\n(.*?)```", page, re.DOTALL))
    lines = re.findall(r"^(?:\S+/bin/)?(smartrt .*)$", blocks, re.MULTILINE) + re.findall(inline, page)
    return [pytest.param(line, id=f"{path}: {line}") for line in lines]


JETSON = _shown("docs/jetson.md", r"`(smartrt (?:export|bench) [^`]*)`")
ENGINES = _shown("docs/engines.md", r"`(smartrt bench gpu [^`]*)`")


@pytest.mark.parametrize("line", [*JETSON, *ENGINES, *_shown("README.md")])
def test_every_command_on_the_pages_is_one_that_smartrt_takes(line: str) -> None:
    _parse(line)


@pytest.mark.parametrize("wrong", [
    "smartrt build x.smartrt --gpu-length 8",
    "smartrt bench latency x.smartrt --gpu-max-length 1024",
    "smartrt search docs.index 'a question' --engine trt",
    "smartrt bench checkpoint 2b -o random-2b",
    "smartrt bench latency x.smartrt --runs trt@cuda,gpu_max_length=1024",
])  # fmt: skip
def test_a_command_that_smartrt_does_not_take_would_be_seen(wrong: str) -> None:
    with pytest.raises((SystemExit, AssertionError)):
        _parse(wrong)


def test_the_commands_of_every_page_were_found() -> None:
    assert len(JETSON) > 10
    assert len(ENGINES) > 6


def _parse(line: str) -> None:
    """Parse a command; a search must have a bundle, an index and a query, a way to run options that there are."""
    name, *arguments = shlex.split(line.partition(" > ")[0], comments=True)[1:]
    assert name in COMMANDS
    parser = _parser_of(name)
    args = (parser.parse_args if _has_actions(parser) else parser.parse_intermixed_args)(arguments)
    if name == "search":
        assert args.query
        assert args.bundle.endswith(".smartrt")
    known = {field.name for field in dataclasses.fields(TrtOptions)} | {"token_budget"}
    for way in getattr(args, "runs", None) or ():
        assert set(Way.parse(way).options) <= known


def test_flags_in_sentences_and_tables_exist_too() -> None:
    quoted = " ".join(re.findall(r"`([^`\n]+)`", PAGE))
    words = set(re.findall(r"(?<!\S)--[a-z][a-z0-9-]*", quoted))
    foreign = {"--system-site-packages", "--runtime", "--interval"}  # of Python, containers and tegrastats
    known = set().union(*map(_flags, map(_parser_of, ("export", "build", "index", "search", "bench"))))
    assert words - foreign <= known
    assert {"--gpu-max-length", "--token-budget", "--workspace-mb", "--no-compile"} <= words


def test_every_environment_variable_on_the_page_is_a_flag() -> None:
    known = _flags(_parser_of("search")) | _flags(_parser_of("build"))
    names = set(re.findall(r"SMARTRT_[A-Z_]+", PAGE))
    assert {"--" + name.removeprefix("SMARTRT_").lower().replace("_", "-") for name in names} <= known


def test_the_small_model_goes_from_bundle_to_hits_as_shown(monkeypatch, tmp_path, tiny_copy, capsys) -> None:
    gpu_machine.install(monkeypatch, tmp_path / "shim", tiny_copy)
    tiny_copy.rename(tmp_path / "minilm.smartrt")
    write_corpus(tmp_path / "corpus.jsonl", TEXTS)
    monkeypatch.chdir(tmp_path)
    (block,) = [block for block in CONSOLES if "-o docs.index" in block]
    for line in block.splitlines():
        program, *arguments = shlex.split(line, comments=True)
        if program == "export":
            monkeypatch.setenv(*arguments[0].split("="))
            continue
        finished = call(capsys, *arguments)
        assert finished.code == 0, finished
    (example,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    capsys.readouterr()
    exec(example, {})  # noqa: S102  (our own page)
    found = re.findall(r"id='(d\d)'", capsys.readouterr().out)
    assert sorted(found) == ["d0", "d1", "d2"]
    assert found == re.findall(r"  (d\d)  ", finished.out)


MESSAGES = re.findall(r"^\| `([^`]+)`", PAGE.partition("## What smartrt says")[2].partition("\n## ")[0], re.MULTILINE)


def test_the_table_of_messages_was_found() -> None:
    assert len(MESSAGES) > 15


@pytest.mark.parametrize("message", MESSAGES)
def test_every_message_on_the_page_is_in_the_code(message: str) -> None:
    assert _is_said(message)


def test_a_message_that_nobody_says_is_seen() -> None:
    assert not _is_said("the moon is in the way of GPU …")


def _is_said(message: str) -> bool:
    """Whether some text of the runtime has the parts of `message`, in order; ``…`` stands for a value."""
    pattern = re.compile(".*".join(map(re.escape, message.split("…"))), re.DOTALL)
    return any(pattern.search(text) for text in _texts())


@functools.cache
def _texts() -> set[str]:
    """Every string in the runtime, values in it as ``…``."""
    nodes = (node for path in (ROOT / "runtime").rglob("*.py") for node in ast.walk(_tree(path)))
    return {text for node in nodes if (text := _text(node))}


def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def _text(node: ast.AST) -> str:
    if isinstance(node, ast.JoinedStr):
        return "".join(_text(part) or "…" for part in node.values)
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""


def _has_actions(parser: argparse.ArgumentParser) -> bool:
    return any(isinstance(action, argparse._SubParsersAction) for action in parser._actions)


def _flags(parser: argparse.ArgumentParser) -> set[str]:
    """Flags of a command and of its actions."""
    found = set(parser._option_string_actions)
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            found = found.union(*map(_flags, action.choices.values()))
    return found
