"""`smartrt`: the table of commands, and how errors leave.

Exit codes: 0 done; 2 a user's mistake, a full disk or an interruption, in one line on standard error;
1 something that was checked is not so (`verify`, `index check`). A traceback is a bug of smartrt.
"""

from __future__ import annotations

import importlib
import os
import sys
import warnings
from typing import TYPE_CHECKING, Any

from .. import __version__
from ..errors import SmartrtError, TruncationWarning
from .options import Parser
from .terminal import note

if TYPE_CHECKING:
    from collections.abc import Sequence

COMMANDS = {
    "demo": ("smartrt.benchmarks.demo", "export MiniLM, index the Python standard library, ask it questions"),
    "export": ("smartrt.export.command", "turn a checkpoint into a bundle"),
    "inspect": ("smartrt.cli.inspect", "show what a bundle is"),
    "verify": ("smartrt.cli.verify", "check a bundle's files and outputs, or compare it with PyTorch"),
    "encode": ("smartrt.cli.encode", "write the vectors of texts to a file"),
    "index": ("smartrt.cli.index", "build, describe or check an index"),
    "search": ("smartrt.cli.search", "ask an index"),
    "explain": ("smartrt.cli.explain", "show which tokens of a document answer a query"),
    "bench": ("smartrt.benchmarks.command", "measure accuracy and cold start"),
    "doctor": ("smartrt.cli.doctor", "show what is installed and what can run"),
}
"""Name -> module with ``configure(parser)`` and ``run(args) -> int``, and the line of help."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        parser = _parser(arguments)
        args = parser.parse_args(arguments)
        if args.command is None:
            parser.print_help()
            return 0
        with warnings.catch_warnings():
            warnings.simplefilter("always", TruncationWarning)
            warnings.showwarning = _show_warning
            code: int = args.run(args)
        sys.stdout.flush()
    except SmartrtError as error:
        note(f"smartrt: {error}")
        return 2
    except KeyboardInterrupt:
        note("smartrt: interrupted")
        return 2
    except BrokenPipeError:  # the reader of our output went away: `smartrt … | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    return code


def _parser(arguments: Sequence[str]) -> Parser:
    parser = Parser(prog="smartrt", description="Late interaction from single-vector embedding models.")
    parser.add_argument("--version", action="version", version=f"smartrt {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", parser_class=Parser)
    for name, (module, summary) in COMMANDS.items():
        command = commands.add_parser(name, help=summary, description=f"{summary[0].upper()}{summary[1:]}.")
        if name in arguments[:1]:  # only the command that was asked for is imported
            implementation = importlib.import_module(module)
            implementation.configure(command)
            command.set_defaults(run=implementation.run)
    return parser


def _show_warning(message: Warning | str, *_: Any, **__: Any) -> None:
    note(f"smartrt: warning: {message}")


if __name__ == "__main__":
    sys.exit(main())
