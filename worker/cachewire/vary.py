"""Selecting header fields (RFC 9111 section 4.1)."""

import re
from collections.abc import Mapping

from cachewire.directives import split_list
from cachewire.memo import remember_short

__all__ = ["selecting_names", "selecting_values", "varies_on_everything"]

_UNORDERED = frozenset({"accept", "accept-charset", "accept-encoding"})
_CASELESS = _UNORDERED | {"accept-language"}
_SPACES = re.compile(r"(?<![ \t])[ \t]*([;=])[ \t]*")


def varies_on_everything(fields: Mapping[str, str]) -> bool:
    """Whether Vary has the member ``*``, so that no other request matches."""
    return "*" in split_list(fields.get("vary", ""))


@remember_short(256)
def _names(vary: str) -> tuple[str, ...]:
    return tuple(sorted({name.lower() for name in split_list(vary)} - {"*"}))


def selecting_names(fields: Mapping[str, str]) -> tuple[str, ...]:
    """Return the selecting header fields that a response nominates: in lower case, sorted, each once."""
    return _names(fields.get("vary", ""))


def selecting_values(names: tuple[str, ...], request: Mapping[str, str]) -> list[tuple[str, str | None]]:
    """Return name and normalised value of a request's selecting header fields, ``None`` for absent ones."""
    return [(name, _normalised(name, request[name]) if name in request else None) for name in names]


@remember_short(1024)
def _normalised(name: str, value: str) -> str:
    members = split_list(value)
    if name in _CASELESS:
        members = [_SPACES.sub(r"\1", member.lower()) for member in members]
    if name in _UNORDERED:
        members.sort()
    return ",".join(members)
