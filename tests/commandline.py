"""Running the command line in tests, in this process or in one of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from smartrt import Encoder, Index
from smartrt.cli.main import main
from smartrt.index.build import fill
from smartrt.jsonl import Record, read_records

TEXTS = ("sort a list by key", "open a file for reading", "copy a list")
FAKE = ("--engine", "fake")

INTERRUPTIBLE = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # whoever started the tests may ignore it
from smartrt.cli.main import main
sys.exit(main(sys.argv[1:]))
"""


@dataclass(frozen=True)
class Finished:
    """Exit code and what was printed."""

    code: int | str | None
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


def call(capsys: pytest.CaptureFixture[str], *arguments: object) -> Finished:
    """Run `smartrt` with these arguments in this process."""
    capsys.readouterr()
    try:
        code: int | str | None = main([str(argument) for argument in arguments])
    except SystemExit as stop:  # argparse leaves so
        code = stop.code
    captured = capsys.readouterr()
    return Finished(code, captured.out, captured.err)


def start(*arguments: object, script: str | None = None, **options: Any) -> subprocess.Popen[bytes]:
    """Start `smartrt` in a process of its own, with pipes, warnings being errors."""
    program = ["-c", script] if script else ["-m", "smartrt"]
    foreign = (
        "SMARTRT_",
        "PYTHONIOENCODING",
        "PYTHONUNBUFFERED",
        "PYTHONUTF8",
    )  # what whoever started the tests has set
    environment = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
    pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(
        [sys.executable, "-W", "error", *program, *map(str, arguments)],
        env=environment | {"PYTHONDONTWRITEBYTECODE": "1"} | options.pop("env", {}),
        **pipes | options,
    )


def finish(process: subprocess.Popen[bytes], text: bytes | None = None) -> Finished:
    """Wait for a process of `start` and read what it printed."""
    with process:
        out, err = process.communicate(text, timeout=60)
    return Finished(process.returncode, (out or b"").decode(), (err or b"").decode())


def refused(finished: Finished, *mentions: object) -> str:
    """The one line on standard error of a command that was refused; it must hold every one of `mentions`."""
    assert (finished.code, finished.out) == (2, ""), finished
    return one_line(finished.err, *mentions)


def one_line(text: str, *mentions: object) -> str:
    assert "Traceback" not in text
    assert len(text.splitlines()) == 1, f"not one line: {text!r}"
    assert text.endswith("\n")
    for mention in mentions:
        assert str(mention) in text
    return text.rstrip("\n")


def write_corpus(path: Path, texts: Iterable[str]) -> Path:
    """Documents d0, d1, … as JSON Lines."""
    lines = [json.dumps({"id": f"d{i}", "text": text}, ensure_ascii=False) for i, text in enumerate(texts)]
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


def records(texts: Iterable[str]) -> list[Record]:
    """The same documents as records."""
    return [Record(f"d{i}", text, {}) for i, text in enumerate(texts)]


def build_index(path: Path, bundle: Path, corpus: Path) -> Path:
    """An index of `corpus`, filled by the fake engine."""
    with Encoder.open(bundle, engine="fake") as encoder:
        fill(Index.create(path, encoder), encoder, read_records(corpus))
    return path


def tree(directory: Path) -> dict[str, bytes | None]:
    """Everything below a directory with its content, but for the lock file, which says nothing."""
    return {
        str(path.relative_to(directory)): path.read_bytes() if path.is_file() else None
        for path in sorted(directory.rglob("*"))
        if path.name != "writer.lock"
    }
