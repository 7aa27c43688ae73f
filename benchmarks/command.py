"""`smartrt bench`: the measurements, one sub-command each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from smartrt.cli.options import Parser

from .commands import (
    accuracy,
    checkpoint,
    coldstart,
    gpu,
    latency,
    maxsim,
    precision,
    preprocess,
    sets,
    study,
    tables,
    toy,
    wins,
)

if TYPE_CHECKING:
    import argparse


class Action(Protocol):
    """A module of `commands`."""

    NAME: str
    HELP: str

    def configure(self, parser: argparse.ArgumentParser) -> None:
        """Add the arguments."""

    def run(self, args: argparse.Namespace) -> int:
        """Measure and print; returns the exit code."""


_MODULES: tuple[Action, ...] = (
    accuracy,
    checkpoint,
    coldstart,
    gpu,
    latency,
    maxsim,
    precision,
    preprocess,
    sets,
    study,
    tables,
    toy,
    wins,
)
ACTIONS = {each.NAME: each for each in _MODULES}


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the actions and their arguments."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True, parser_class=Parser)
    for name, action in ACTIONS.items():
        action.configure(actions.add_parser(name, help=action.HELP))


def run(args: argparse.Namespace) -> int:
    """Dispatch to the measurement."""
    return ACTIONS[args.action].run(args)
