"""Values that mean something to a cache: names of fields, codings and groups, origins, keys, status codes."""

import re
from collections.abc import Callable, Mapping
from types import MappingProxyType

from origin_sdk_wire.errors import InvalidTarget
from origin_sdk_wire.fields import TOKEN
from origin_sdk_wire.key import parse_target
from origin_sdk_wire.marks import group_mark
from origin_sdk_wire.seals import parse_store_keys
from origin_sdk_wire.signed_requests import parse_keys
from origin_sdk_wire.values import ValueKind, shown_value

__all__ = [
    "coding_names",
    "error_lifetimes",
    "field_names",
    "group_names",
    "group_templates",
    "log_keys",
    "origin_url",
    "origin_urls",
    "placement",
    "read_names",
    "secret",
    "store_keys",
    "token",
]

_MAX_STEPS = 8
_TEMPLATE = re.compile(r"[^{}]*\{([^{}]+)\}[^{}]*|([^{}]+)")
_CODINGS = ("br", "gzip", "zstd")
_TEMPLATES = {
    "a JSON body": 'a path such as "data.product.id", or a name with one: "product-{data.product.id}"',
    "claims": 'a claim such as "sub", or a name with one: "user-{sub}"',
}
_PLACEMENT = re.compile(
    r"smart|(?:aws|azure|gcp):[a-z0-9-]{1,40}|host:[A-Za-z0-9.-]{1,253}:[0-9]{1,5}|hostname:[A-Za-z0-9.-]{1,253}"
)


def token() -> ValueKind:
    """A word that can stand in Via and in Cache-Status without quotes."""
    return _text(
        "a word of letters, digits, - and _ that begins with a letter",
        lambda text: TOKEN.fullmatch(text) is not None and text[0].isalpha(),
    )


def placement() -> ValueKind:
    """Where a Worker runs: by itself, in a cloud's region, or near a host."""
    return _text(
        "smart, a cloud's region such as aws:eu-central-1, host:HOST:PORT or hostname:HOST",
        lambda text: _PLACEMENT.fullmatch(text) is not None,
    )


def _text(expects: str, fits: Callable[[str], bool]) -> ValueKind:
    def read(value: object) -> object:
        if not isinstance(value, str) or not fits(value):
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


def read_names(value: object) -> tuple[str, ...]:
    """Read names that HTTP allows, from a list or a text with commas between them."""
    names = value.split(",") if isinstance(value, str) else value
    if not isinstance(names, list | tuple) or not all(isinstance(name, str) for name in names):
        raise ValueError('give a list of names, such as ["X-Device", "X-Region"]')
    stripped = tuple(name.strip() for name in names if name.strip())
    for name in stripped:
        if not TOKEN.fullmatch(name):
            raise ValueError(f"{shown_value(name)} isn't a name that HTTP allows; use letters, digits and -")
    return stripped
