"""Parameters of a query, read so that no two frameworks could read them differently.

What is *the* parameter of a name is as the WHATWG URL standard (section 5.1) has it, and with it Django,
Starlette and Flask: between ``&``, percent-decoded once, in the case that it is written in, and there once.
What another origin may take for it is hidden as it is, and nobody's: in another case (ASP.NET), behind ``;``
(Rack, and Python until 3.9), decoded twice, with ``[]``, a dot or a space in it (PHP), cut off at a NUL.
"""

import re
from collections.abc import Collection, Mapping
from functools import lru_cache

from origin_sdk_wire.key import Target, unescape
from origin_sdk_wire.memo import remember_short
from origin_sdk_wire.rules import decoded_name

__all__ = ["NOBODY", "has_undeclared", "parameters_of", "undeclared_parameters", "without_parameters"]

_ALSO_SEPARATES = re.compile(r"[;?]")
_UNSEEN = re.compile(r"[\x00-\x20\x7f-\xa0]+")
_AS_UNDERSCORE = str.maketrans(" .[", "___")

NOBODY = frozenset({None, "", '""', "[]", "{}"})
"""Values of an identity that are the same for all who have none."""


def parameters_of(target: Target, names: tuple[str, ...]) -> Mapping[str, str] | None:
    """Return the values, percent-encoded as they came, of those parameters that have one of ``names``.

    ``None`` if one of them comes twice: frameworks disagree about which counts.
    """
    found: dict[str, str] = {}
    if not names or target.query is None:
        return found
    for parameter in target.query.split("&"):
        name, _, value = parameter.partition("=")
        name = decoded_name(name)
        if name in names:
            if name in found:
                return None
            found[name] = value
    return found


def without_parameters(target: Target, names: Collection[str]) -> Target:
    """Return a target without what any origin may read as a parameter of one of ``names``."""
    if target.query is None or not names:
        return target
    folded = _folded(frozenset(names)).keys()
    kept = [each for each in target.query.split("&") if folded.isdisjoint(_readings(each))]
    return Target(target.scheme, target.host, target.path, "&".join(kept) or None)


def has_undeclared(target: Target, declared: Collection[str], hidden: frozenset[str]) -> bool:
    """Whether an origin may read a parameter of one of the ``hidden`` names that isn't a ``declared`` one."""
    return bool(hidden and target.query is not None and undeclared_parameters(target, declared, hidden))


def undeclared_parameters(
    target: Target, declared: Collection[str], hidden: frozenset[str]
) -> tuple[str, ...]:
    """Return which of the ``hidden`` names an origin may read there beside the ``declared`` ones."""
    by_reading = _folded(hidden)
    read = {
        reading
        for each in (target.query or "").split("&")
        if decoded_name(each.partition("=")[0]) not in declared
        for reading in _readings(each)
    }
    return tuple(sorted({name for reading, name in by_reading.items() if reading in read}))


@lru_cache(maxsize=16)
def _folded(names: frozenset[str]) -> Mapping[str, str]:
    """Return the names by how they are read."""
    return {_fold(name): name for name in sorted(names)}


@remember_short(256)
def _readings(parameter: str) -> frozenset[str]:
    """Return the names, folded, by which some origin may read what stands between two ``&``."""
    found: set[str] = set()
    for part in _ALSO_SEPARATES.split(parameter):
        name = part.partition("=")[0]
        for _ in range(2):  # some decode twice
            name = unescape(name.replace("+", " "))
            found |= {_fold(name), _fold(name.partition("\0")[0]), _fold(name.partition("[")[0])}
    return frozenset(found)


def _fold(name: str) -> str:
    return _UNSEEN.sub(" ", name).strip().casefold().translate(_AS_UNDERSCORE)
