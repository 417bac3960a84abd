"""Values as people write them in ``wrangler.toml`` and after ``--var``: durations, sizes, switches, names.

A *kind* reads what was given and writes it back for the documentation. A value that doesn't fit raises
:class:`ValueError`, whose message is the remedy.
"""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, field, fields
from enum import StrEnum
from math import inf
from types import MappingProxyType
from typing import Any, TypeVar, cast

from origin_sdk_wire.errors import InvalidTarget
from origin_sdk_wire.key import parse_target
from origin_sdk_wire.marks import group_mark
from origin_sdk_wire.quantities import BYTES, SECONDS, quantity
from origin_sdk_wire.seals import parse_store_keys
from origin_sdk_wire.signed_requests import parse_keys

__all__ = [
    "ValueKind",
    "coding_names",
    "count",
    "duration",
    "error_lifetimes",
    "field_names",
    "from_json",
    "group_names",
    "group_templates",
    "kinds_of",
    "log_keys",
    "one_of",
    "origin_url",
    "origin_urls",
    "placement",
    "read_names",
    "secret",
    "setting",
    "share",
    "shares",
    "shown_value",
    "size",
    "store_keys",
    "switch",
    "table",
    "texts",
    "token",
    "word",
]

_Value = TypeVar("_Value")

_MAX_STEPS = 8
_TEMPLATE = re.compile(r"[^{}]*\{([^{}]+)\}[^{}]*|([^{}]+)")
_CODINGS = ("br", "gzip", "zstd")
_TEMPLATES = {
    "a JSON body": 'a path such as "data.product.id", or a name with one: "product-{data.product.id}"',
    "claims": 'a claim such as "sub", or a name with one: "user-{sub}"',
}
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")

_PLACEMENT = re.compile(
    r"smart|(?:aws|azure|gcp):[a-z0-9-]{1,40}|host:[A-Za-z0-9.-]{1,253}:[0-9]{1,5}|hostname:[A-Za-z0-9.-]{1,253}"
)

_SWITCHES = {
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
        seconds = _quantity(value, SECONDS, expects)
        if not least <= seconds <= most:
            raise ValueError(f"give {expects}")
        if whole and seconds != int(seconds):
            raise ValueError("give whole seconds")
        return int(seconds) if whole else seconds

    return ValueKind(expects, read, _write_duration)


def size(*, most: int) -> ValueKind:
    """Bytes as a number, or a text such as ``"25MiB"``."""
    expects = "bytes, or a size such as 512KiB or 25MiB" + _limits(0, most, _write_size)

    def read(value: object) -> object:
        found = _quantity(value, BYTES, expects)
        if not 0 <= found <= most or found != int(found):
            raise ValueError(f"give {expects}")
        return int(found)

    return ValueKind(expects, read, _write_size)


def share(*, below: float = 1, or_all: bool = False) -> ValueKind:
    """A number from 0 up to, but not including, ``below``; including it if it is ``or_all``."""
    limit = f"{below:g}" if or_all else f"but not including, {below:g}"
    expects = f"a number from 0 up to{' ' if or_all else ', '}{limit}, such as 0.1"

    def read(value: object) -> object:
        found = _quantity(value, {"": 1}, expects)
        if not 0 <= found < below and not (or_all and found == below):
            raise ValueError(f"give {expects}")
        return found

    return ValueKind(expects, read, lambda value: f"{value:g}")


def count(*, least: int = 0, most: int | None = None) -> ValueKind:
    """A whole number."""
    expects = f"a whole number from {least}" + (f" to {most}" if most else "")

    def read(value: object) -> object:
        found = _quantity(value, {"": 1}, expects)
        if found < least or found != int(found) or (most and found > most):
            raise ValueError(f"give {expects}")
        return int(found)

    return ValueKind(expects, read)


def shares() -> ValueKind:
    """Numbers above 0, one for each of several."""
    expects = "a list of numbers from 0.001 to 1000, such as [3, 1]"

    def read(value: object) -> object:
        given = value if isinstance(value, list | tuple) else ()
        found = tuple(_quantity(each, {"": 1}, expects) for each in given)
        if not found or not all(0.001 <= each <= 1000 for each in found):
            raise ValueError(f"give {expects}")
        return found

    return ValueKind(expects, read)


def switch() -> ValueKind:
    """A boolean, or one of the texts true, false, on, off, yes, no, 1, 0."""
    expects = "true or false"

    def read(value: object) -> object:
        found = value if isinstance(value, bool) else _SWITCHES.get(str(value).strip().lower())
        if found is None:
            raise ValueError(f"write {expects}")
        return found

    return ValueKind(expects, read, lambda value: str(value).lower())


def token() -> ValueKind:
    """A word that can stand in Via and in Cache-Status without quotes."""
    expects = "a word of letters, digits, - and _ that begins with a letter"

    def read(value: object) -> object:
        if not (isinstance(value, str) and _TOKEN.fullmatch(value) and value[0].isalpha()):
            raise ValueError(f"give {expects}")
        return value

    return ValueKind(expects, read)


def word() -> ValueKind:
    """A short text; an empty one stands for none."""
    expects = "a string of at most 64 characters, such as 2026-11-28"

    def read(value: object) -> object:
        text = str(value) if isinstance(value, str | int) and not isinstance(value, bool) else None
        if text is None or len(text) > 64 or not text.isprintable():
            raise ValueError(f"give {expects}")
        return text

    return ValueKind(expects, read)


def placement() -> ValueKind:
    """Where a Worker runs: by itself, in a cloud's region, or near a host."""
    expects = "smart, a cloud's region such as aws:eu-central-1, host:HOST:PORT or hostname:HOST"

    def read(value: object) -> object:
        if not isinstance(value, str) or not _PLACEMENT.fullmatch(value):
            raise ValueError(f"give {expects}")
        return value

    return ValueKind(expects, read)


def field_names() -> ValueKind:
    """Header field names: a list, or a text with commas between them; a frozen set in lower case."""
    return ValueKind(
        "a list of header field names, or a comma-separated string",
        lambda value: frozenset(name.lower() for name in read_names(value)),
        lambda value: ", ".join(sorted(value)) if isinstance(value, frozenset) else str(value),
    )


def coding_names() -> ValueKind:
    """Content codings: a list, or a text with commas between them; an empty one stands for none."""
    expects = f"some of {', '.join(_CODINGS)}, or an empty list for none"

    def read(value: object) -> object:
        given = [each.strip() for each in value.split(",")] if isinstance(value, str) else value
        if not isinstance(given, list | tuple) or not all(isinstance(each, str) for each in given):
            raise ValueError(f"give {expects}")
        names = tuple(each.lower() for each in given if each)
        if not set(names) <= set(_CODINGS) or len(set(names)) < len(names):
            raise ValueError(f"give {expects}, each once")
        return names

    return ValueKind(expects, read, lambda value: ", ".join(value) if isinstance(value, tuple) else "")


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


def origin_url() -> ValueKind:
    """The URL of an origin, without a slash at its end; an empty text stays empty."""
    expects = "scheme and host, optionally a port and a path, such as https://api.example.com"

    def read(value: object) -> object:
        if not isinstance(value, str):
            raise ValueError(f"give {expects}")  # noqa: TRY004 - one type of error for all kinds
        if not value.strip():
            return ""
        if "?" in value or "#" in value:
            raise ValueError("an origin has no query and no fragment; end it before the ? or #")
        try:
            return str(parse_target(value)).rstrip("/")
        except InvalidTarget as error:
            raise ValueError(f"isn't the URL of an origin; give {expects}") from error

    return ValueKind(expects, read)


def origin_urls() -> ValueKind:
    """The URL of an origin, or a list of such: the first is asked first."""
    one = origin_url()

    def read(value: object) -> object:
        given = [value] if isinstance(value, str) else value
        urls = [one.read(each) for each in given] if isinstance(given, list | tuple) else []
        if not urls or not all(urls):
            raise ValueError(f"give {one.expects}, or a list of such")
        if len(set(urls)) < len(urls):
            raise ValueError("an origin is listed twice; remove one")
        return tuple(urls)

    return ValueKind("URLs of origins", read)


def one_of(choices: type[StrEnum]) -> ValueKind:
    """A member of an enumeration, by its value."""
    expects = f"one of {', '.join(choices)}"

    def read(value: object) -> object:
        try:
            return choices(str(value).strip().lower())
        except ValueError as error:
            raise ValueError(f"give {expects}") from error

    return ValueKind(expects, read)


def secret() -> ValueKind:
    """A secret of HS256; an empty text stands for none."""
    expects = "a secret of at least 32 bytes"

    def read(value: object) -> object:
        # RFC 7518 section 3.2: a key of at least the size of the hash.
        if not isinstance(value, str) or 0 < len(value.encode()) < 32:
            raise ValueError(f"give {expects}; openssl rand -base64 32 makes one")
        return value

    return ValueKind(expects, read)


def group_names() -> ValueKind:
    """A name of a group, or a list of such."""

    def read(value: object) -> object:
        groups = [value] if isinstance(value, str) else value
        if not isinstance(groups, list | tuple) or not all(isinstance(group, str) for group in groups):
            raise ValueError('give a list of groups, such as ["products"]')
        for group in groups:
            group_mark(group)
        return tuple(groups)

    return ValueKind("a list of groups", read)


def group_templates(source: str = "a JSON body") -> ValueKind:
    """A path in what JSON says, or a name with one in braces, or a list of such."""
    expects = _TEMPLATES[source]

    def read(value: object) -> object:
        templates = [value] if isinstance(value, str) else value
        if not isinstance(templates, list | tuple):
            raise ValueError(f"give {expects}")  # noqa: TRY004 - one type of error for all kinds
        for template in templates:
            found = _TEMPLATE.fullmatch(template) if isinstance(template, str) else None
            steps = (found[1] or found[2]).split(".") if found else []
            if not all(steps) or not 0 < len(steps) <= _MAX_STEPS:
                raise ValueError(f"give {expects}; a path has 1 to {_MAX_STEPS} names with dots between them")
        return tuple(templates)

    return ValueKind(f"paths in {source}", read)


def log_keys() -> ValueKind:
    """The keys of the purge log: a table by their ids, or JSON."""
    return ValueKind("a table of keys, or JSON", parse_keys, lambda _: "")


def store_keys() -> ValueKind:
    """The keys of the store, each with its id."""
    return ValueKind("comma-separated keys, each ID:BASE64", parse_store_keys, lambda _: "")


def error_lifetimes(lifetime: ValueKind) -> ValueKind:
    """A table of status codes of errors, and a ``lifetime`` for each."""

    def read(value: object) -> object:
        if not isinstance(value, Mapping):
            raise ValueError('give a table of status codes and durations, such as { 404 = "1m", 410 = "1h" }')  # noqa: TRY004 - one type of error for all kinds
        return MappingProxyType({_error_code(code): lifetime.read(each) for code, each in value.items()})

    return ValueKind("a table of status codes and durations", read)


def _error_code(code: object) -> int:
    if not (str(code).isdecimal() and 400 <= int(str(code)) <= 599):
        raise ValueError(f"{shown_value(code)} isn't the status code of an error; give one from 400 to 599")
    return int(str(code))


def from_json(text: str) -> object:
    """Read a value that is given as JSON: ``None`` if it isn't."""
    try:
        return json.loads(text) if text.strip() else {}
    except (ValueError, RecursionError):
        return None


def read_names(value: object) -> tuple[str, ...]:
    """Read names that HTTP allows, from a list or a text with commas between them."""
    names = value.split(",") if isinstance(value, str) else value
    if not isinstance(names, list | tuple) or not all(isinstance(name, str) for name in names):
        raise ValueError('give a list of names, such as ["X-Device", "X-Region"]')
    stripped = tuple(name.strip() for name in names if name.strip())
    for name in stripped:
        if not _TOKEN.fullmatch(name):
            raise ValueError(f"{shown_value(name)} isn't a name that HTTP allows; use letters, digits and -")
    return stripped


def shown_value(value: object) -> str:
    """Return ``value`` for a message, cut to a length that leaves the message readable."""
    shown = repr(value)
    return shown if len(shown) <= 80 else f"{shown[:77]}..."


def _quantity(value: object, units: Mapping[str, float], expects: str) -> float:
    try:
        return quantity(value, units)
    except ValueError as error:
        raise ValueError(f"give {expects}") from error


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
