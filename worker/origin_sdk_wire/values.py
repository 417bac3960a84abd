"""Values as people write them in ``wrangler.toml`` and after ``--var``: durations, sizes, flags, texts.

A *kind* reads what was given and writes it back for the documentation. A value that doesn't fit raises
:class:`ValueError`, whose message is the remedy. What HTTP or the cache gives a meaning is in
:mod:`origin_sdk_wire.cache_values`.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, field, fields
from enum import StrEnum
from math import inf
from types import MappingProxyType
from typing import Any, TypeVar, cast

from origin_sdk_wire.quantities import BYTES, SECONDS, quantity

__all__ = [
    "ValueKind",
    "count",
    "duration",
    "flag",
    "from_json",
    "kinds_of",
    "one_of",
    "setting",
    "share",
    "shares",
    "shown_value",
    "size",
    "table",
    "texts",
    "word",
]

_Value = TypeVar("_Value")

_PLAIN = {"": 1}
"""A number without a unit."""
_FLAGS = {
    "true": True,
    "on": True,
    "yes": True,
    "1": True,
    "false": False,
    "off": False,
    "no": False,
    "0": False,
}


@dataclass(frozen=True, slots=True)
class ValueKind:
    """How one sort of value is read and written; ``expects`` says in words what fits."""

    expects: str
    read: Callable[[object], object]
    write: Callable[[object], str] = str


def setting(default: _Value, kind: ValueKind, **options: bool) -> _Value:
    """Declare a field of a dataclass that users set: how it is read and written stands beside its default."""
    made = MISSING if isinstance(default, Mapping) else default
    factory = (lambda: default) if isinstance(default, Mapping) else MISSING
    declared: Any = field(default=made, default_factory=factory, metadata={"kind": kind}, **options)  # type: ignore[call-overload]  # one of the two
    return cast("_Value", declared)


def kinds_of(declared: type) -> Mapping[str, ValueKind]:
    """Return the kinds of the settings that a dataclass declares, in its order."""
    return MappingProxyType(
        {each.name: each.metadata["kind"] for each in fields(declared) if "kind" in each.metadata}
    )


def duration(*, whole: bool = False, least: float = 0, most: float = inf) -> ValueKind:
    """Seconds as a number, or a text such as ``"30s"``; an ``int`` if ``whole``, else a ``float``."""
    expects = "seconds, or a duration such as 500ms, 30s, 5m, 2h or 7d" + _limits(
        least, most, _write_duration
    )

    def read(value: object) -> object:
        seconds = _quantity(value, SECONDS, expects, lambda found: least <= found <= most)
        if whole and seconds != int(seconds):
            raise ValueError("give whole seconds")
        return int(seconds) if whole else seconds

    return ValueKind(expects, read, _write_duration)


def size(*, most: int) -> ValueKind:
    """Bytes as a number, or a text such as ``"25MiB"``."""
    expects = "bytes, or a size such as 512KiB or 25MiB" + _limits(0, most, _write_size)

    def fits(found: float) -> bool:
        return 0 <= found <= most and found == int(found)

    return ValueKind(expects, lambda value: int(_quantity(value, BYTES, expects, fits)), _write_size)


def share(*, below: float = 1, or_all: bool = False) -> ValueKind:
    """A number from 0 up to, but not including, ``below``; including it if it is ``or_all``."""
    limit = f"{below:g}" if or_all else f"but not including, {below:g}"
    expects = f"a number from 0 up to{' ' if or_all else ', '}{limit}, such as 0.1"

    def fits(found: float) -> bool:
        return 0 <= found < below or (or_all and found == below)

    return ValueKind(
        expects, lambda value: _quantity(value, _PLAIN, expects, fits), lambda value: f"{value:g}"
    )


def count(*, least: int = 0, most: int | None = None) -> ValueKind:
    """A whole number."""
    expects = f"a whole number from {least}" + (f" to {most}" if most else "")

    def fits(found: float) -> bool:
        return found >= least and found == int(found) and not (most and found > most)

    return ValueKind(expects, lambda value: int(_quantity(value, _PLAIN, expects, fits)))


def shares() -> ValueKind:
    """Numbers above 0, one for each of several."""
    expects = "a list of numbers from 0.001 to 1000, such as [3, 1]"

    def read(value: object) -> object:
        given = value if isinstance(value, list | tuple) else ()
        if not given:
            raise ValueError(f"give {expects}")
        return tuple(_quantity(each, _PLAIN, expects, lambda found: 0.001 <= found <= 1000) for each in given)

    return ValueKind(expects, read)


def flag() -> ValueKind:
    """A boolean, or one of the texts true, false, on, off, yes, no, 1, 0."""
    expects = "true or false"

    def read(value: object) -> object:
        found = value if isinstance(value, bool) else _FLAGS.get(str(value).strip().lower())
        if found is None:
            raise ValueError(f"write {expects}")
        return found

    return ValueKind(expects, read, lambda value: str(value).lower())


def word() -> ValueKind:
    """A short text; an empty one stands for none."""
    expects = "a string of at most 64 characters, such as 2026-11-28"

    def read(value: object) -> object:
        text = str(value) if isinstance(value, str | int) and not isinstance(value, bool) else None
        if text is None or len(text) > 64 or not text.isprintable():
            raise ValueError(f"give {expects}")
        return text

    return ValueKind(expects, read)


def texts() -> ValueKind:
    """Some texts: a list, or one text with commas between them; a frozen set."""
    expects = 'a string or a list of strings, such as ["https://api.example.com"]'

    def read(value: object) -> object:
        given = value.split(",") if isinstance(value, str) else value
        if not isinstance(given, list | tuple) or not all(isinstance(text, str) for text in given):
            raise ValueError(f"give {expects}")
        return frozenset(text.strip() for text in given if text.strip())

    return ValueKind(
        expects, read, lambda value: ", ".join(sorted(value)) if isinstance(value, frozenset) else ""
    )


def table() -> ValueKind:
    """Names and values: a table, or JSON; values are texts, numbers or booleans."""
    expects = 'a table such as { token_type = "access" }, or JSON'

    def read(value: object) -> object:
        found = from_json(value) if isinstance(value, str) else value
        if not isinstance(found, Mapping) or not all(
            isinstance(item, str | int | float) for item in found.values()
        ):
            raise ValueError(f"give {expects}; its values are strings, numbers or booleans")
        return MappingProxyType({str(name): item for name, item in found.items()})

    return ValueKind(expects, read, lambda value: json.dumps(dict(value)) if value else "")  # type: ignore[call-overload]


def one_of(choices: type[StrEnum]) -> ValueKind:
    """A member of an enumeration, by its value."""
    expects = f"one of {', '.join(choices)}"

    def read(value: object) -> object:
        try:
            return choices(str(value).strip().lower())
        except ValueError as error:
            raise ValueError(f"give {expects}") from error

    return ValueKind(expects, read)


def from_json(text: str) -> object:
    """Read a value that is given as JSON: ``None`` if it isn't."""
    try:
        return json.loads(text) if text.strip() else {}
    except (ValueError, RecursionError):
        return None


def shown_value(value: object) -> str:
    """Return ``value`` for a message, cut to a length that leaves the message readable."""
    shown = repr(value)
    return shown if len(shown) <= 80 else f"{shown[:77]}..."


def _quantity(
    value: object, units: Mapping[str, float], expects: str, fits: Callable[[float], bool]
) -> float:
    """Read a number with one of the units; raises :class:`ValueError` if it isn't one that fits."""
    try:
        found = quantity(value, units)
    except ValueError as error:
        raise ValueError(f"give {expects}") from error
    if not fits(found):
        raise ValueError(f"give {expects}")
    return found


def _limits(least: float, most: float, write: Callable[[object], str]) -> str:
    lower = f", at least {write(least)}" if least else ""
    return lower + (f", at most {write(most)}" if most != inf else "")


def _write_duration(value: object) -> str:
    return _written(value, {"d": 86_400, "h": 3600, "m": 60, "s": 1}) or f"{value:g}s"


def _write_size(value: object) -> str:
    return _written(value, {"GiB": 1 << 30, "MiB": 1 << 20, "KiB": 1 << 10}) or str(value)


def _written(value: object, units: dict[str, int]) -> str:
    """Write ``value`` in the largest of ``units`` that divides it, if any does."""
    whole = (
        f"{value // by:g}{unit}"
        for unit, by in units.items()
        if isinstance(value, int | float) and value and value % by == 0
    )
    return next(whole, "")
