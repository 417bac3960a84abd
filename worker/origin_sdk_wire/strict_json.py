"""JSON from outside: not so deep that reading it ends the isolate, and for keys without a second reading."""

import json
import re
from collections.abc import Callable
from typing import Any

__all__ = ["DEEPEST", "shallow", "strictly_read"]

DEEPEST = 128
"""How deep arrays and objects may lie in one another.

Pyodide has less of a stack than CPython's own check knows of: a text of five thousand brackets doesn't raise
RecursionError there, but breaks the interpreter, and with it all requests of its isolate.
"""

_STRING = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+"', re.DOTALL)
_OTHERS = re.compile(r"[^\[\]{}]+")


def shallow(text: str) -> str:
    """Return JSON; raises :class:`ValueError` if it is nested deeper than :data:`DEEPEST`."""
    if text.count("[") + text.count("{") <= DEEPEST:
        return text
    brackets = _OTHERS.sub("", _STRING.sub("", text))
    for _ in range(DEEPEST):
        left = brackets.replace("[]", "").replace("{}", "")
        if len(left) == len(brackets):
            break
        brackets = left
    if brackets:
        raise ValueError(f"nested deeper than {DEEPEST}, or its brackets don't match")
    return text


def strictly_read(text: str, number: Callable[[str], Any] | None = None) -> Any:
    """Read JSON (RFC 8259); ``number`` makes something of the text of a number.

    Raises :class:`ValueError` also for a repeated name, of which parsers take the first or the last, for one
    in two cases, which are the same to some (Go's encoding/json, .NET), and for NaN and Infinity.
    """
    return json.loads(
        shallow(text),
        object_pairs_hook=_without_repeats,
        parse_int=number,
        parse_float=number,
        parse_constant=_refused,
    )


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len({name.casefold() for name in members}) != len(pairs):
        raise ValueError("a repeated name, of which parsers take the first or the last")
    return members


def _refused(constant: str) -> float:
    raise ValueError(f"{constant} isn't JSON")
