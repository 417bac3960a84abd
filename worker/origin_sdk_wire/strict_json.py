"""JSON of which no two parsers make different things: what a key or an identity is made of."""

import json
from collections.abc import Callable
from typing import Any

__all__ = ["strictly_read"]


def strictly_read(text: str, number: Callable[[str], Any] | None = None) -> Any:
    """Read JSON (RFC 8259); ``number`` makes something of the text of a number.

    Raises :class:`ValueError` also for a repeated name, of which parsers take the first or the last, and for
    NaN and Infinity; RecursionError for what is nested too deeply.
    """
    return json.loads(
        text,
        object_pairs_hook=_without_repeats,
        parse_int=number,
        parse_float=number,
        parse_constant=_refused,
    )


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a repeated name, of which parsers take the first or the last")
    return members


def _refused(constant: str) -> float:
    raise ValueError(f"{constant} isn't JSON")
