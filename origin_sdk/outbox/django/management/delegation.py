"""Run a command of `origin-sdk` as one of `manage.py`, over the project's own outbox."""

from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from typing import Any, TextIO, cast

from django.core.management.base import BaseCommand, CommandError

__all__ = ["delegate"]


def delegate(
    command: BaseCommand,
    words: Sequence[str],
    options: Mapping[str, Any],
    flags: Sequence[str],
    values: Sequence[str],
) -> None:
    """Run ``words`` with the options that were given; raises CommandError if the exit code isn't 0."""
    try:
        from origin_sdk.cli.app import run  # noqa: PLC0415 - the extra may be missing
    except ModuleNotFoundError as error:
        if error.name not in {"httpx", "rich", "typer"}:
            raise
        raise CommandError(f"{error.name} is missing: pip install 'origin-sdk[cli,django]'") from error
    given = [flag for flag in flags if options[_key(flag)]]
    for name in values:
        if options[_key(name)] is not None:
            given += [name, str(options[_key(name)])]
    try:
        with redirect_stdout(cast("TextIO", command.stdout)):
            run([*words, "--outbox", "django", *given])
    except SystemExit as end:
        if end.code:
            raise CommandError("see above", returncode=int(end.code)) from end


def _key(option: str) -> str:
    return option.removeprefix("--").replace("-", "_")
