"""Selecting header fields (RFC 9111 section 4.1)."""

import re
from collections.abc import Mapping

from origin_sdk_wire.directives import split_list
from origin_sdk_wire.fields import TOKEN
from origin_sdk_wire.memo import remember_short
from origin_sdk_wire.search_variance import QUERY, is_of_query, query_value

__all__ = ["selecting_names", "selecting_values", "varies_on_everything"]

_UNORDERED = frozenset({"accept", "accept-charset", "accept-encoding"})
_CASELESS = _UNORDERED | {"accept-language"}
_ANY = {"accept": "*/*", "accept-language": "*", "accept-charset": "*"}
_WEIGHT = re.compile(r";q=(0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?)$")
_SPACES = re.compile(r"(?<![ \t])[ \t]*([;=])[ \t]*")


def varies_on_everything(fields: Mapping[str, str]) -> bool:
    """Whether Vary has the member ``*``, so that no other request matches.

    A member that can't be a name stands for that, too: what it was meant to name isn't known.
    """
    return "*" in _names(fields.get("vary", ""))


@remember_short(256)
def _names(vary: str) -> tuple[str, ...]:
    return tuple(sorted({name.lower() if TOKEN.fullmatch(name) else "*" for name in split_list(vary)}))


def selecting_names(fields: Mapping[str, str]) -> tuple[str, ...]:
    """Return the selecting header fields that a response nominates: in lower case, sorted, each once."""
    names = _names(fields.get("vary", ""))
    return tuple(name for name in names if name != "*") if "*" in names else names


def selecting_values(names: tuple[str, ...], request: Mapping[str, str]) -> list[tuple[str, str | None]]:
    """Return name and normalised value of a request's selecting header fields, ``None`` for absent ones.

    Its query, where that selects, is under :data:`.search_variance.QUERY`.

    A value that stands for any is as if absent (RFC 9110 sections 12.5.1 and 12.5.4).
    """
    return [(name, _selecting_value(name, request)) for name in names]


def _selecting_value(name: str, request: Mapping[str, str]) -> str | None:
    if is_of_query(name):
        return query_value(name, request.get(QUERY))
    value = request.get(name, _ANY.get(name))
    return None if value is None or value == _ANY.get(name) else _normalised(name, value)


@remember_short(1024)
def _normalised(name: str, value: str) -> str:
    members = split_list(value)
    if name in _CASELESS:
        weighted = [_weighted(_SPACES.sub(r"\1", member.lower())) for member in members]
        # What has a lower weight comes later anyway (RFC 9110 section 12.4.2), so its place says nothing.
        weighted.sort(key=lambda member: (-member[0], member[1] if name in _UNORDERED else ""))
        members = [text if weight == 1 else f"{text};q={weight:g}" for weight, text in weighted]
    return ",".join(members)


def _weighted(member: str) -> tuple[float, str]:
    found = _WEIGHT.search(member)
    return (float(found[1]), member[: found.start()]) if found else (1.0, member)
