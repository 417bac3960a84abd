"""Options that describe a request, and what is read of them."""

import os
import re
from pathlib import Path
from typing import Annotated

import typer

from origin_sdk._values.errors import InvalidRequest

__all__ = ["Content", "Method", "RequestHeaders", "content_of", "fields_of"]

_METHOD = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110 section 9.1


def _checked_method(given: str) -> str:
    if not _METHOD.fullmatch(given):
        raise InvalidRequest(f"--method {given!r} isn't a method: give one such as GET")
    return given


Method = Annotated[
    str, typer.Option("--method", "-X", help="The request's method.", callback=_checked_method)
]
Content = Annotated[
    str | None,
    typer.Option("--content", help="The request's content, for a rule with key_body; @FILE reads it."),
]
RequestHeaders = Annotated[
    list[str] | None,
    typer.Option(
        "--request-header",
        help="A request field, 'Name: value': what Vary names, or the content's type. Repeatable.",
    ),
]


def content_of(given: str | None) -> bytes:
    """Return the bytes that ``--content`` stands for."""
    if given is None or not given.startswith("@"):
        return os.fsencode(given or "")  # the bytes that the shell passed, also where they aren't text
    try:
        return Path(given[1:]).read_bytes()
    except OSError as error:
        raise InvalidRequest(
            f"--content {given}: can't be read: {error.strerror or error}; a content that begins with @ has "
            "to be in a file"
        ) from error


def fields_of(lines: list[str] | None) -> dict[str, str]:
    """Return the fields that are given as lines."""
    fields: dict[str, str] = {}
    for line in lines or ():
        name, colon, value = line.partition(":")
        if not colon or not name.strip():
            raise InvalidRequest(f"{line!r} isn't a field: write 'Name: value'")
        fields[name.strip()] = value.strip()
    return fields
