"""The command line as a whole: its commands, their help, their flags and environment variables."""

from __future__ import annotations

import argparse
import importlib
import json
from pathlib import Path

import pytest

import smartrt
from commandline import FAKE, build_index, call, finish, start, write_corpus
from smartrt.cli import main as program
from support import run_python

CLI = Path(__file__).parent.parent / "runtime" / "cli"
SHARED = {"__init__", "engine_flags", "main", "options", "price", "terminal"}
ACTIONS = {"build", "recall"}  # of `smartrt index`, too long for its file


def parsers():
    """Every command and sub-command with its parser."""
    for name in program.COMMANDS:
        command = program._parser_of(name)
        yield (name,), command
        for action in command._actions:
            if isinstance(action, argparse._SubParsersAction):
                yield from (((name, inner), parser) for inner, parser in action.choices.items())


PARSERS = dict(parsers())
ARGUMENTS = [
    (path, action)
    for path, parser in PARSERS.items()
    for action in parser._actions
    if not isinstance(action, argparse._SubParsersAction)
]
FLAGS = [(path, action) for path, action in ARGUMENTS if action.option_strings and action.dest != "help"]


def named(value):
    return " ".join(value) if isinstance(value, tuple) else value.dest


def test_every_command_module_is_in_the_table_and_every_entry_of_the_table_is_a_module():
    on_disk = {f"smartrt.cli.{path.stem}" for path in CLI.glob("*.py") if path.stem not in SHARED | ACTIONS}
    listed = {module for module, _ in program.COMMANDS.values()}
    assert {module for module in listed if module.startswith("smartrt.cli.")} == on_disk


@pytest.mark.parametrize("name", sorted(ACTIONS))
def test_an_action_with_a_file_of_its_own_has_configure_and_run_and_is_an_action_of_index(name):
    implementation = importlib.import_module(f"smartrt.cli.{name}")
    assert callable(implementation.configure)
    assert callable(implementation.run)
    assert ("index", name) in PARSERS


@pytest.mark.parametrize("name", program.COMMANDS)
def test_every_command_has_configure_and_run_and_a_summary(name):
    module, summary = program.COMMANDS[name]
    implementation = importlib.import_module(module)
    assert callable(implementation.configure)
    assert callable(implementation.run)
    assert summary


@pytest.mark.parametrize("path", PARSERS, ids=named)
def test_every_command_prints_its_help(capsys, path):
    finished = call(capsys, *path, "--help")
    assert (finished.code, finished.err) == (0, "")
    assert finished.out.startswith(f"usage: smartrt {' '.join(path)}")


@pytest.mark.parametrize(("path", "action"), ARGUMENTS, ids=named)
def test_every_argument_says_what_it_is(path, action):
    assert action.help, path
    assert action.help.strip(), path


@pytest.mark.parametrize(("path", "action"), FLAGS, ids=named)
def test_every_flag_is_an_environment_variable_too(monkeypatch, path, action):
    plain = "cuda:7" if "device" in action.dest else "7"
    text = action.choices[-1] if action.choices else "true" if action.nargs == 0 else plain
    value = True if action.nargs == 0 else (action.type or str)(text)
    monkeypatch.setenv("SMARTRT_" + action.option_strings[0].lstrip("-").replace("-", "_").upper(), text)
    (again,) = [other for other in dict(parsers())[path]._actions if other.dest == action.dest]
    assert again.default in ([value] if action.nargs in ("+", "*") else value, value)
    assert not again.required


def test_without_a_command_the_help_lists_all_commands(capsys):
    finished = call(capsys)
    assert finished.code == 0
    assert all(f"    {name} " in finished.out for name in program.COMMANDS)


def test_the_version_is_printed(capsys):
    finished = call(capsys, "--version")
    assert (finished.code, finished.out) == (0, f"smartrt {smartrt.__version__}\n")


def test_the_module_is_the_same_program():
    finished = finish(start("--version"))
    assert (finished.code, finished.out, finished.err) == (0, f"smartrt {smartrt.__version__}\n", "")


def test_the_command_line_starts_without_frameworks_and_without_engines():
    script = "import sys, json, smartrt.cli.main; print(json.dumps(sorted(sys.modules)))"
    loaded = set(json.loads(run_python(script).stdout))
    assert not loaded & {"torch", "transformers", "optimum", "onnx", "onnxruntime", "bm25s", "matplotlib", "PIL"}
    assert not {module for module in loaded if module.startswith(("smartrt.export", "smartrt.benchmarks"))}


@pytest.fixture(scope="module")
def searching(tiny_path, tmp_path_factory):
    """Arguments of a search in an index of three documents."""
    directory = tmp_path_factory.mktemp("index")
    corpus = write_corpus(directory / "corpus.jsonl", ["sort a list", "open a file", "copy a list"])
    return "search", tiny_path, build_index(directory / "docs.index", tiny_path, corpus)


def test_environment_variables_act_as_flags(capsys, monkeypatch, searching):
    for name, value in {"ENGINE": "fake", "K": "2", "LATE": "0", "JSON": "yes"}.items():
        monkeypatch.setenv(f"SMARTRT_{name}", value)
    by_variables = call(capsys, *searching, "a list")
    monkeypatch.undo()
    by_flags = call(capsys, *searching, "a list", *FAKE, "-k", "2", "--late", "0", "--json")
    assert by_variables == by_flags
    (answer,) = by_flags.json
    assert len(answer["hits"]) == 2
    assert answer["hits"][0]["score"] == answer["hits"][0]["pooled"]


def test_flags_beat_environment_variables(capsys, monkeypatch, searching):
    for name, value in {"ENGINE": "ort", "K": "3", "LATE": "0", "JSON": "true"}.items():
        monkeypatch.setenv(f"SMARTRT_{name}", value)
    chosen = ("--engine", "fake", "-k", "1", "--late", "2", "--no-json")
    given = call(capsys, *searching, "a list", *chosen)
    monkeypatch.undo()
    assert given == call(capsys, *searching, "a list", *chosen)
    assert len(given.out.splitlines()) == 2


@pytest.mark.parametrize(("word", "value"), [("1", True), ("TRUE", True), ("Yes", True), ("0", False), ("no", False)])
def test_a_switch_takes_words_from_its_variable(capsys, monkeypatch, word, value):
    monkeypatch.setenv("SMARTRT_JSON", word)
    assert call(capsys, "doctor").out.startswith("{") is value


def test_a_required_flag_may_come_from_its_variable(capsys, monkeypatch, tmp_path, tiny_path):
    monkeypatch.setenv("SMARTRT_OUTPUT", str(tmp_path / "v.npz"))
    assert call(capsys, "encode", tiny_path, "a list", *FAKE).code == 0
    assert (tmp_path / "v.npz").is_file()
