"""docs/jetson.md: its commands exist, its way from a bundle to a hit runs on fakes, its messages are the code's."""

from __future__ import annotations

import argparse
import ast
import functools
import re
import shlex
from pathlib import Path

import pytest

import gpu_machine
from commandline import call, write_corpus
from smartrt.cli.main import COMMANDS, _parser_of

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "jetson.md").read_text(encoding="utf-8")
CONSOLES = re.findall(r"```console\n(.*?)```", PAGE, re.DOTALL)
TEXTS = ("sort a list by key", "open a file for reading", "copy a list")

SHOWN = [line for block in CONSOLES for line in block.splitlines() if line.startswith("smartrt ")]
SHOWN += re.findall(r"`(smartrt (?:export|bench) [^`]*)`", PAGE)


@pytest.mark.parametrize("line", SHOWN)
def test_every_command_on_the_page_is_one_that_smartrt_takes(line: str) -> None:
    name, *arguments = shlex.split(line, comments=True)[1:]
    assert name in COMMANDS
    parser = _parser_of(name)
    parse = parser.parse_args if _has_actions(parser) else parser.parse_intermixed_args
    parse(arguments)


def test_a_flag_that_does_not_exist_would_be_seen() -> None:
    with pytest.raises(SystemExit):
        _parser_of("build").parse_args(["x.smartrt", "--gpu-length", "8"])


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
        finished = call(capsys, *shlex.split(line, comments=True)[1:])
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
