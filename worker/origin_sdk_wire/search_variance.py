"""How far the query of a URL matters to a response: No-Vary-Search, by a rule with ``no_vary_search``.

Under such a rule a URL is known by its path, and its query is selected by as request fields are that Vary
names: under the name ``?``, with what the response's No-Vary-Search says behind it. So the index of a URL
leads to each way in which its responses read queries, and a purge of the URL reaches all of them, whatever
query it is spelt with. https://datatracker.ietf.org/doc/draft-ietf-httpbis-no-vary-search/ has the field.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import unquote_to_bytes

from origin_sdk_wire.memo import remember_short
from origin_sdk_wire.structured import BareItem, Token, parse_dictionary, serialise_string

__all__ = ["QUERY", "SEARCH_VARIANCE", "is_of_query", "query_name", "query_value", "variance_field"]

QUERY = "?"
"""Begins the selecting names that stand for the query: no request field has such a name."""
SEARCH_VARIANCE = "edge-search-variance"
"""The field of a stored response in which the cache keeps what No-Vary-Search comes to."""

_FIELD = "no-vary-search"
_MOST_CHARACTERS = 240
"""Of what the index of a URL may hold: a field that says more is read as if it weren't there."""


@dataclass(frozen=True, slots=True)
class _Variance:
    """Which parameters matter: all but ``named``, or by ``is_except`` these alone."""

    named: tuple[bytes, ...] = ()
    is_except: bool = False
    is_ordered: bool = True


_ALL = _Variance()


def variance_field(fields: Mapping[str, str]) -> tuple[str, str]:
    """Return the field that is stored with a response of these fields."""
    return SEARCH_VARIANCE, _written(fields.get(_FIELD, ""))


def query_name(fields: Mapping[str, str]) -> str:
    """Return the selecting name of a stored response's query; empty if it is known by its whole URL."""
    return QUERY + fields[SEARCH_VARIANCE] if SEARCH_VARIANCE in fields else ""


def is_of_query(name: str) -> bool:
    """Whether a selecting name stands for the query."""
    return name.startswith(QUERY)


def query_value(name: str, query: str | None) -> str | None:
    """Return the value under which a name selects ``query``: the same for queries that are equivalent."""
    variance = _read(name[len(QUERY) :])
    if variance == _ALL:
        return query
    pairs = [_pair(parameter) for parameter in (query or "").split("&") if parameter]
    pairs = [pair for pair in pairs if (pair[0] in variance.named) == variance.is_except]
    if not variance.is_ordered:
        pairs.sort(key=lambda pair: pair[0])
    return json.dumps([[part.decode("latin-1") for part in pair] for pair in pairs])


def _pair(parameter: str) -> tuple[bytes, bytes]:
    # As forms are read. Octets that aren't UTF-8 stay apart, though a browser would take all of them for one.
    name, _, value = parameter.replace("+", " ").partition("=")
    return unquote_to_bytes(name), unquote_to_bytes(value)


@remember_short(256)
def _written(value: str) -> str:
    """Return what a field comes to, in one way of writing it; empty if all of the query matters."""
    variance = _read(value)
    if variance == _ALL:
        return ""
    listed = " ".join(serialise_string(_quoted(name)) for name in variance.named)
    members = [] if variance.is_ordered else ["key-order"]
    if variance.is_except:
        members += ["params", *([f"except=({listed})"] if listed else [])]
    elif listed:
        members.append(f"params=({listed})")
    written = ", ".join(members)
    return written if len(written) <= _MOST_CHARACTERS else ""


def _quoted(name: bytes) -> str:
    return "".join(
        chr(each) if chr(each).isascii() and chr(each).isalnum() else f"%{each:02X}" for each in name
    )


@remember_short(256)
def _read(value: str) -> _Variance:
    """Read the field; what isn't as it has to be says nothing."""
    try:
        members = parse_dictionary(value)
    except ValueError:
        return _ALL
    params, excepted, order = (members.get(name) for name in ("params", "except", "key-order"))
    is_ordered = order is not True
    if order is not None and not isinstance(order, bool):
        return _ALL
    if excepted is not None:
        names = _names(excepted)
        return (
            _ALL
            if names is None or params is not True
            else _Variance(names, is_except=True, is_ordered=is_ordered)
        )
    if params is None or isinstance(params, bool):
        return _Variance((), is_except=params is True, is_ordered=is_ordered)
    names = _names(params)
    return _ALL if names is None else _Variance(names, is_ordered=is_ordered)


def _names(item: BareItem) -> tuple[bytes, ...] | None:
    """Return the names of parameters in an inner list of strings, sorted; ``None`` for anything else."""
    if not isinstance(item, tuple):
        return None
    names: set[bytes] = set()
    for each in item:
        if not isinstance(each, str) or isinstance(each, Token):
            return None
        names.add(unquote_to_bytes(each.replace("+", " ")))
    return tuple(sorted(names))
