"""The Worker's log as it grows: a line for each request, as a person reads it."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO
from urllib.parse import urlsplit

__all__ = ["LIVE_VARIABLES", "LogTail", "has_colour", "shown"]

LIVE_VARIABLES = {"LOG_SAMPLING": "1", "METRICS_URLS": "full"}
"""Variables of the Worker by which it logs each request, with its URL."""
_BEGINNING = '{"edge_cache": "request"'
_COLOURS = {
    "memory": 32,
    "kv": 32,
    "validated": 36,
    "stale": 33,
    "collapsed": 36,
    "miss": 35,
    "pass": 90,
    "own": 31,
}


def has_colour(stream: TextIO) -> bool:
    """Whether what is printed there may have colours: on a terminal, unless NO_COLOR says otherwise."""
    return stream.isatty() and not os.environ.get("NO_COLOR")


def shown(line: str, *, colour: bool) -> str | None:
    """Return a line of the Worker's log for a person; ``None`` if it isn't about a request.

    Method, path, hit or the reason that it wasn't, tier and milliseconds.
    """
    if not line.startswith(_BEGINNING):
        return None
    try:
        told: dict[str, Any] = json.loads(line)
        parts = urlsplit(told.get("url") or "")
        path = f"{parts.path}?{parts.query}" if parts.query else parts.path
        tier, status = told["tier"], told["status"]
        done = "hit" if told["reason"] == "fresh" else told["reason"]
        text = f"{told['method']:6} {_printable(path)}  {status}  {done}  {tier}  {told['ms']} ms"
    except (ValueError, KeyError, TypeError):
        return None
    number = 31 if status >= 500 else _COLOURS.get(tier, 0)
    return f"\x1b[{number}m{text}\x1b[0m" if colour else text


def _printable(text: str) -> str:
    return "".join(character if character.isprintable() else "?" for character in text)


class LogTail:
    """The lines that come to a file, whole ones alone."""

    def __init__(self, log: Path) -> None:
        self._log = log
        self._at = log.stat().st_size if log.exists() else 0
        self._rest = b""

    def lines(self) -> Iterator[str]:
        """Yield what has come since the last time."""
        if not self._log.exists():
            return
        with self._log.open("rb") as file:
            file.seek(self._at)
            new = file.read()
            self._at = file.tell()
        *whole, self._rest = (self._rest + new).split(b"\n")
        for line in whole:
            yield line.decode("utf-8", "replace").strip()
