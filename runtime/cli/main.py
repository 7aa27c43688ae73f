"""`smartrt`: the table of commands, and how errors leave.

Exit codes: 0 done; 2 a user's mistake, a full disk or an interruption, in one line on standard error;
1 something that was checked is not so (`verify`, `index check`). A traceback is a bug of smartrt.
"""

from __future__ import annotations

import importlib
import signal
import sys
import threading
import warnings
from typing import TYPE_CHECKING, Any, NoReturn

from .. import __version__
from ..errors import (
    DeviceWarning,
    GraphCaptureWarning,
    PlacementWarning,
    PlanWarning,
    SmartrtError,
    TruncationWarning,
)
from .options import Parser
from .terminal import discard_output, escape_unprintable, flush, note

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

COMMANDS = {
    "demo": ("smartrt.benchmarks.demo", "export MiniLM, index the Python standard library, ask it questions"),
    "export": ("smartrt.export.command", "turn a checkpoint into a bundle"),
    "inspect": ("smartrt.cli.inspect", "show what a bundle is"),
    "verify": ("smartrt.cli.verify", "check a bundle's files and outputs, or compare it with PyTorch"),
    "encode": ("smartrt.cli.encode", "write the vectors of texts and images to a file"),
    "index": ("smartrt.cli.index", "build, change, describe or check an index"),
    "search": ("smartrt.cli.search", "ask an index"),
    "explain": ("smartrt.cli.explain", "show which tokens of a document answer a query"),
    "bench": ("smartrt.benchmarks.command", "measure accuracy, scoring, cold start and preprocessing"),
    "build": ("smartrt.cli.plans", "compile a bundle for this machine's GPU with TensorRT"),
    "doctor": ("smartrt.cli.doctor", "show what is installed and what can run"),
}
"""Name -> module with ``configure(parser)`` and ``run(args) -> int``, and the line of help."""

_SHOWN = (TruncationWarning, PlanWarning, GraphCaptureWarning, PlacementWarning, DeviceWarning)
"""Warnings of which each is shown, and not the first of a kind alone."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    # A killed export or build leaves nothing behind either: SIGTERM goes the way of Ctrl-C.
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, _interrupt)
    try:
        code = _run(list(sys.argv[1:] if argv is None else argv))
        flush()
    except SmartrtError as error:
        note(f"smartrt: {' '.join(str(error).split())}")
        discard_output()
        return 2
    except KeyboardInterrupt:
        note("smartrt: interrupted")
        return 2
    except BrokenPipeError:  # the reader of our output went away: `smartrt … | head`
        discard_output()
        return 0
    return code


def _interrupt(_: int, __: object) -> NoReturn:
    raise KeyboardInterrupt


def _run(arguments: list[str]) -> int:
    escape_unprintable()
    try:
        if not arguments or arguments[0] not in COMMANDS:
            overview = _overview()
            overview.parse_args(arguments)
            overview.print_help()
            return 0
        args = _parse(_parser_of(arguments[0]), arguments[1:])
    except SystemExit as stop:  # argparse after --help, --version or a mistake
        return int(stop.code or 0)
    with warnings.catch_warnings():
        for kind in _SHOWN:
            warnings.simplefilter("always", kind)
        warnings.showwarning = _show_warning
        code: int = args.run(args)
    return code


def _overview() -> Parser:
    """The parser of `smartrt` itself: help, version, and the error for a command that does not exist."""
    parser = Parser(prog="smartrt", description="Late interaction from single-vector embedding models.")
    parser.add_argument("--version", action="version", version=f"smartrt {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    for name, (_, summary) in COMMANDS.items():
        commands.add_parser(name, help=summary)
    return parser


def _parser_of(name: str) -> Parser:
    """The parser of one command; only that command's module is imported."""
    module, summary = COMMANDS[name]
    implementation = importlib.import_module(module)
    parser = Parser(prog=f"smartrt {name}", description=f"{summary[0].upper()}{summary[1:]}.")
    implementation.configure(parser)
    parser.set_defaults(run=implementation.run)
    return parser


def _parse(parser: Parser, arguments: Sequence[str]) -> argparse.Namespace:
    try:
        return parser.parse_intermixed_args(arguments)  # flags may stand between texts
    except TypeError:  # not possible with sub-commands, and not needed there
        return parser.parse_args(arguments)


def _show_warning(message: Warning | str, *_: Any, **__: Any) -> None:
    note(f"smartrt: warning: {message}")


if __name__ == "__main__":
    sys.exit(main())
