"""The commands in one application."""

import errno
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from math import isnan
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from origin_sdk._values.errors import InvalidRequest, OriginSdkError
from origin_sdk.cli.context import (
    EXIT_CODES,
    Interrupted,
    exit_code,
    interruptible,
    is_of_files,
    is_of_output,
    report_error,
    report_files,
    report_interruption,
    report_output,
    report_unexpected,
)
from origin_sdk.cli.extra import OF_EXTRA
from origin_sdk_wire import WIRE_VERSION

__all__ = ["app", "run"]

_HELP = """Purge, fill and look into the edge cache of your API.

Settings come from options, else from the environment: CLOUDFLARE_API_TOKEN (permission: Workers KV
Storage Write), CLOUDFLARE_ACCOUNT_ID, EDGE_CACHE_NAMESPACE_ID; CLOUDFLARE_API_BASE_URL for
`origin-sdk dev`; EDGE_CACHE_ACTOR and EDGE_CACHE_AUDIT_FILE for the audit.
"""
_EPILOG = "Exit codes: " + "; ".join(f"{code} {meaning}" for code, meaning in EXIT_CODES.items()) + "."
_STYLE: Mapping[str, Any] = {"pretty_exceptions_enable": False, "rich_markup_mode": "markdown"}


class _Command(TyperCommand):
    """A command. None of its numbers is nan, which lies within any bounds."""

    def invoke(self, ctx: Any) -> Any:
        for parameter in self.params:
            value = ctx.params.get(parameter.name)
            if isinstance(value, float) and isnan(value):
                raise InvalidRequest(f"{parameter.opts[0]} {value}: give a number")
        return super().invoke(ctx)


_NAMES = (
    *("init", "dev", "build", "upgrade", "purge", "publish", "warm"),
    *("inspect", "explain", "why", "check", "doctor", "audit"),
    *("dashboard", "top", "metrics", "simulate", "advise", "drain", "list", "keys", "outbox", "switch"),
)
"""The commands in the order of the help: each is what a module of its name has under that name."""


class _Loaded(Mapping[str, Any]):
    """The commands by name, each imported when it is asked for: one needs nothing of the others."""

    def __getitem__(self, name: str) -> Any:
        if name not in _NAMES:
            raise KeyError(name)
        return _load(name)

    def __iter__(self) -> Iterator[str]:
        return iter(_NAMES)

    def __len__(self) -> int:
        return len(_NAMES)


@cache
def _load(name: str) -> Any:
    """Return a command, or a group of them, as typer makes it of what its module declares."""
    module = import_module(f"origin_sdk.cli.{name}")
    declared = getattr(module, name, None) or getattr(module, f"{name}_")
    if not isinstance(declared, typer.Typer):
        function, declared = declared, typer.Typer(add_completion=False, **_STYLE)
        declared.command(name=name, cls=_Command, epilog=_EPILOG)(function)
    return typer.main.get_command(declared)


class _Commands(TyperGroup):
    """The commands; Ctrl-C ends each alike, by every version of typer."""

    def __init__(self, **given: Any) -> None:
        super().__init__(**{**given, "commands": _Loaded()})

    def invoke(self, ctx: Any) -> Any:
        with interruptible(lambda: ""):
            return super().invoke(ctx)


app = typer.Typer(
    name="origin-sdk",
    cls=_Commands,
    help=_HELP,
    epilog=_EPILOG,
    no_args_is_help=True,
    **_STYLE,
)


def _show_version(is_asked: bool) -> None:  # noqa: FBT001 - typer's way of calling back
    if not is_asked:
        return
    try:
        installed = version("origin-sdk")
    except PackageNotFoundError:  # run from a checkout that isn't installed
        installed = "(not installed)"
    typer.echo(f"origin-sdk {installed}, wire version {WIRE_VERSION}")
    raise typer.Exit


@app.callback()
def main(
    _: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit."),
    ] = False,
) -> None:
    """Take the options that stand before the command."""


def run(arguments: Sequence[str]) -> None:
    """Run a command; an error ends it with its exit code and a line that says what to do, not a traceback."""
    as_json = "--json" in arguments
    _open_streams()
    try:
        try:
            _run(arguments, as_json=as_json)
        finally:
            _flush()
    except OSError as error:
        # Only what is printed passes here.
        report_output(error)
        sys.exit(_ENDED_BY_READER if error.errno == errno.EPIPE else 4)


_ENDED_BY_READER = 1


@cache
def _command() -> Callable[..., object]:
    """Return what reads arguments; to make it takes most of a run, so that a process makes it once."""
    return typer.main.get_command(app)


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        stream.flush()


def _open_streams() -> None:
    """Open the standard streams that were closed from the start: else other files take their place."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: PTH123, SIM115 - until the end


def _run(arguments: Sequence[str], *, as_json: bool) -> None:
    """Run a command and report how it ended; raises OSError if that can't be printed."""
    try:
        _command()(args=list(arguments), prog_name="origin-sdk")
    except Interrupted as interruption:
        report_interruption(interruption, as_json=as_json)
        sys.exit(130)
    except OriginSdkError as error:
        report_error(error, as_json=as_json)
        sys.exit(exit_code(error))
    except Exception as error:  # the last net: a person gets a sentence, not a traceback
        if isinstance(error, OSError) and is_of_output(error):
            raise
        if isinstance(error, ModuleNotFoundError) and error.name in OF_EXTRA:
            raise  # only what a command needs is imported, when it is run
        if isinstance(error, OSError) and is_of_files(error):
            report_files(error, as_json=as_json)
            sys.exit(2)
        report_unexpected(error, as_json=as_json)
        sys.exit(70)
