"""Flags: each is an environment variable too, ``--token-budget`` being ``SMARTRT_TOKEN_BUDGET``."""

from __future__ import annotations

import argparse
import os
import sys
from typing import TYPE_CHECKING, Any, NoReturn, cast

from ..bundle import Bundle
from ..encoder import TOKEN_BUDGET, Encoder
from ..engines import ENGINES
from ..errors import OptionError
from ..images.limits import ImageLimits
from .engine_flags import given_options

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_BOOLEANS = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}


class Parser(argparse.ArgumentParser):
    """argparse, with errors of one line."""

    def error(self, message: str) -> NoReturn:
        """Print one line and exit with 2."""
        sys.stderr.write(f"{self.prog}: {message}; see {self.prog} --help\n")
        raise SystemExit(2)


def option(
    parser: argparse.ArgumentParser,
    flag: str,
    *aliases: str,
    help: str,  # noqa: A002  (argparse's own word)
    type: Callable[[str], Any] = str,  # noqa: A002
    default: Any = None,
    choices: Sequence[str] | None = None,
    required: bool = False,
    metavar: str | None = None,
    nargs: str | None = None,
) -> None:
    """Add a flag with a value. Its environment variable replaces the default and is checked like the flag.

    With ``nargs="+"`` the variable holds several values as PATH does.
    """
    variable = _variable(flag)
    if (text := os.environ.get(variable)) is not None:
        words = text.split(os.pathsep) if nargs else [text]
        values = [_convert(variable, word, type, choices) for word in words]
        default, required = values if nargs else values[0], False
    described = help if default is None else f"{help} (default: {default})"
    parser.add_argument(
        flag, *aliases, help=described.replace("%", "%%"), type=type, default=default,
        choices=choices, required=required, metavar=metavar, nargs=nargs,
    )  # fmt: skip


def switch(parser: argparse.ArgumentParser, flag: str, *, help: str, default: bool | None = False) -> None:  # noqa: A002
    """Add ``--flag`` and ``--no-flag``. The environment variable takes 1, true, yes, 0, false or no."""
    variable = _variable(flag)
    if (text := os.environ.get(variable)) is not None:
        default = _convert(variable, text, _boolean, None)
    parser.add_argument(flag, help=help, default=default, action=argparse.BooleanOptionalAction)


def _boolean(text: str) -> bool:
    return _BOOLEANS[text.lower()]


_boolean.__name__ = ", ".join(_BOOLEANS)


def json_switch(parser: argparse.ArgumentParser) -> None:
    """Add ``--json``."""
    switch(parser, "--json", help="print JSON for programs instead of text for people")


def positive(text: str) -> int:
    """A whole number from 1 up."""
    number = int(text)
    if number < 1:
        raise ValueError(text)
    return number


positive.__name__ = "whole number from 1 up"  # argparse names the type in its message


def encoder_options(parser: argparse.ArgumentParser) -> None:
    """Add what `Encoder.open` takes."""
    option(
        parser,
        "--engine",
        help="what runs the graphs: ONNX Runtime, TensorRT (fake is arithmetic for tests, no model)",
        default="ort",
        choices=ENGINES,
    )
    option(parser, "--device", help="cpu, cuda or cuda:N (default: cpu, with --engine trt cuda)")
    option(parser, "--threads", help="threads of ONNX Runtime (default: all cores)", type=int)
    option(parser, "--token-budget", help="padded tokens per engine call", type=int, default=TOKEN_BUDGET)
    switch(
        parser, "--check-hashes", default=True,
        help="compare every file of the bundle with its hash first; a bundle of 8 GB takes seconds to read",
    )  # fmt: skip
    option(
        parser, "--max-image-pixels", help="refuse images with more", type=positive, default=ImageLimits.max_pixels
    )  # fmt: skip
    gpu_options(parser)


def gpu_options(parser: argparse.ArgumentParser) -> None:
    """Add, in a group of their own, engine options for NVIDIA GPUs. What is not given is left to the engine."""
    group = cast("argparse.ArgumentParser", parser.add_argument_group("on an NVIDIA GPU"))
    compile_options(group)
    switch(group, "--compile", help="compile a plan that is missing instead of stopping (TensorRT)", default=None)
    switch(group, "--cuda-graphs", help="record the launches of each shape and replay them as one", default=None)
    switch(
        group, "--mixed", default=None,
        help="let operators that the GPU has no kernel for run on the CPU instead of stopping (ONNX Runtime)",
    )  # fmt: skip
    option(group, "--gpu-memory-mb", help="the most memory that a graph may take (ONNX Runtime)", type=positive)


def compile_options(parser: argparse.ArgumentParser) -> None:
    """Add what decides a TensorRT plan."""
    option(
        parser,
        "--gpu-max-length",
        help="tokens of the longest item (default: 2048)",
        type=positive,
    )
    option(parser, "--workspace-mb", help="memory that one kernel may use for itself (TensorRT)", type=positive)
    option(parser, "--optimization-level", help="0 compiles fast, 5 searches longest (TensorRT)", type=int)
    switch(parser, "--tf32", help="let float32 products be rounded to TF32", default=None)
    option(parser, "--plans", metavar="DIR", help="directory of the plans (TensorRT; default: beside the bundle)")


def open_bundle(args: argparse.Namespace) -> Bundle:
    """Open the bundle at ``args.bundle`` with the options of `encoder_options`."""
    return Bundle.open(args.bundle, verify=args.check_hashes)


def open_encoder(args: argparse.Namespace, bundle: Bundle | None = None) -> Encoder:
    """Load `bundle`, or the one at ``args.bundle``, with the options of `encoder_options`."""
    opened = bundle or open_bundle(args)
    limits = ImageLimits(max_pixels=args.max_image_pixels)
    return Encoder.from_bundle(
        opened, engine=args.engine, device=args.device, token_budget=args.token_budget, image_limits=limits,
        **given_options(args),
    )  # fmt: skip


def _variable(flag: str) -> str:
    return "SMARTRT_" + flag.lstrip("-").replace("-", "_").upper()


def _convert(variable: str, text: str, kind: Callable[[str], Any], choices: Sequence[str] | None) -> Any:
    try:
        value = kind(text)
    except (ValueError, KeyError):
        raise OptionError(f"environment variable {variable}={text!r} must be: {kind.__name__}") from None
    if choices is not None and value not in choices:
        raise OptionError(f"environment variable {variable}={text!r}; there are: {', '.join(choices)}")
    return value
