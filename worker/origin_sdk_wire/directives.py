"""Cache directives: Cache-Control (RFC 9111 section 5.2) and targeted fields (RFC 9213)."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from origin_sdk_wire.fields import CDN_CACHE_CONTROL, CLOUDFLARE_CDN_CACHE_CONTROL, SURROGATE_CONTROL, TOKEN
from origin_sdk_wire.memo import remember_short
from origin_sdk_wire.structured import BareItem, parse_dictionary

__all__ = [
    "Directives",
    "delta_seconds",
    "parse_cache_control",
    "request_directives",
    "response_directives",
    "split_list",
    "withdrawn_by_invalid",
]

MAX_DELTA_SECONDS = 2**31
"""What an overflowing number of seconds becomes (RFC 9111 section 1.2.2)."""

_DIRECTIVE = re.compile(
    rf"""(?P<name>{TOKEN.pattern})
        (?: =(?: "(?P<quoted>(?:[^"\\]|\\.)*)" | (?P<token>{TOKEN.pattern}) ) )?
        [ \t]*(?=,|$)""",
    re.VERBOSE | re.DOTALL,
)
_FIELD_NAME = re.compile(r"[!#$%&'*+.^_`|~A-Za-z-][!#$%&'*+.^_`|~0-9A-Za-z-]*")
_QUOTED_OR_COMMA = re.compile(r'"(?:[^"\\]|\\.)*+("?)|,', re.DOTALL)
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)
_STALE_EXTENSION = re.compile(r"^(max-age=[0-9]+)\+[0-9]+$", re.IGNORECASE)
_INVALID = "\x00"
_TARGETED = (CLOUDFLARE_CDN_CACHE_CONTROL, CDN_CACHE_CONTROL)
_BARE = frozenset({"public", "must-understand", "immutable"})
"""Directives that permit something and take no argument."""
_SECONDS = frozenset({"max-age", "s-maxage", "stale-while-revalidate", "stale-if-error"})
"""Directives of a response that permit something for some seconds."""
_QUALIFIED = frozenset({"no-cache", "private"})
_WITHDRAWING = _QUALIFIED | {"no-store", "must-revalidate", "proxy-revalidate"}
_SWITCHES = frozenset({"true", "false", "yes", "no", "on", "off"})
"""Arguments of someone who took a directive for a switch, and no names of fields."""


@dataclass(frozen=True, slots=True)
class Directives:
    """Directives by name in lower case, with their arguments.

    Of a repeated one the first counts (RFC 9111 section 4.2.1). What permits something is believed only where
    each of its occurrences is well-formed; what withdraws it counts wherever it stands.
    """

    arguments: Mapping[str, str | None]
    is_targeted: bool = False

    def __contains__(self, name: str) -> bool:
        return name in self.arguments

    def __bool__(self) -> bool:
        return bool(self.arguments)

    def unqualified(self, name: str) -> bool:
        """Whether ``name`` is there without a list of field names, so that it covers the whole response."""
        return name in self.arguments and not self.field_names(name)

    def permits(self, name: str) -> bool:
        """Whether a directive that permits something is there, and well-formed."""
        argument = self.arguments.get(name, _INVALID)
        return argument is None if name in _BARE else delta_seconds(argument) is not None

    def field_names(self, name: str) -> frozenset[str]:
        """Return the field names that qualify ``no-cache`` or ``private``, in lower case.

        None if one of them can't be a name: the directive then covers the whole response.
        """
        listed = self.arguments.get(name)
        if not listed:
            return frozenset()
        names = frozenset(member.lower() for member in split_list(listed))
        return names if all(map(_FIELD_NAME.fullmatch, names)) and not names & _SWITCHES else frozenset()

    def lifetime(self, name: str) -> int | None:
        """Return the seconds of a freshness directive, 0 for unreadable ones, ``None`` if it isn't there."""
        if name not in self.arguments:
            return None
        # RFC 9111 section 4.2.1: invalid freshness information is to be taken as stale.
        return delta_seconds(self.arguments[name]) or 0

    def window(self, name: str) -> int | None:
        """Return the seconds of a directive that extends reuse, ``None`` for absent or unreadable ones."""
        return delta_seconds(self.arguments.get(name))


_NONE = Directives({})


def delta_seconds(argument: str | None) -> int | None:
    """Read a number of seconds; ``None`` if it is none. What overflows is long (RFC 9111 section 1.2.2)."""
    if argument is None or not (argument.isascii() and argument.isdigit()):
        return None
    digits = argument.lstrip("0")
    return min(int(digits or 0), MAX_DELTA_SECONDS) if len(digits) < 20 else MAX_DELTA_SECONDS


def split_list(value: str) -> list[str]:
    """Return the members of a comma-separated list, stripped; quoted commas don't separate."""
    members = _members(value) if '"' in value else value.split(",")
    return [stripped for member in members if (stripped := member.strip(" \t"))]


def _members(value: str) -> Iterator[str]:
    begin = 0
    for found in _QUOTED_OR_COMMA.finditer(value):
        if found[0] == ",":
            yield value[begin : found.start()]
            begin = found.end()
        elif not found[1]:
            # Never closed, and so an ordinary character; nor can a later one be, since all are escaped.
            first, *others = value[found.start() :].split(",")
            yield value[begin : found.start()] + first
            yield from others
            return
    yield value[begin:]


def _unclosed_quote(value: str) -> int:
    """Return where a quoted string begins that never ends, or the length of ``value``."""
    strings = (found for found in _QUOTED_OR_COMMA.finditer(value) if found[0] != "," and not found[1])
    return next((found.start() for found in strings), len(value))


@remember_short(512)
def parse_cache_control(value: str) -> Directives:
    """Read a Cache-Control value leniently: what isn't a directive is kept by name, its argument invalid.

    From a quoted string that never ends to the end of the value, nothing is a directive.
    """
    arguments: dict[str, str | None] = {}
    end = _unclosed_quote(value)
    sound = len(value) if end == len(value) else value.rfind(",", 0, end) + 1
    for member in split_list(value[:sound]):
        name, argument = _directive(member)
        _add(arguments, name, argument)
        if argument == _INVALID:
            _add_withdrawals(arguments, member)
    for member in value[sound:].split(","):
        if found := TOKEN.search(member):
            _add(arguments, found.group().lower(), _INVALID)
    _add_withdrawals(arguments, value[sound:])
    return Directives(arguments)


def _add(arguments: dict[str, str | None], name: str, argument: str | None) -> None:
    if (name in _BARE and argument is not None) or (name in _SECONDS and delta_seconds(argument) is None):
        argument = _INVALID
    if name not in arguments:
        arguments[name] = argument
    elif name in _QUALIFIED:
        known = arguments[name]
        # section 4.2.1: of conflicting directives the most restrictive
        arguments[name] = None if known is None or argument is None else f"{known}, {argument}"
    elif argument == _INVALID:
        arguments[name] = _INVALID


def _add_withdrawals(arguments: dict[str, str | None], malformed: str) -> None:
    """Let what withdraws a permission count, also in what can't be read."""
    for name in _withdrawals(malformed):
        arguments[name] = None


def _withdrawals(malformed: str) -> frozenset[str]:
    return _WITHDRAWING & {found.group().lower() for found in TOKEN.finditer(malformed)}


def _directive(member: str) -> tuple[str, str | None]:
    found = _DIRECTIVE.fullmatch(member)
    if not found:
        name = TOKEN.match(member)
        return (name.group().lower() if name else member.lower()), _INVALID
    quoted = found["quoted"]
    return found["name"].lower(), found["token"] if quoted is None else _ESCAPED.sub(r"\1", quoted)


@remember_short(512)
def _parse_targeted(value: str) -> Directives | None:
    """Read a targeted field; ``None`` if it is empty or no Dictionary (RFC 9213 section 2.1)."""
    try:
        members = parse_dictionary(value)
    except ValueError:
        return None
    if not members:
        return None
    arguments = {name: _argument(item) for name, item in members.items() if item is not False}
    return Directives(arguments, is_targeted=True)


def _argument(item: BareItem) -> str | None:
    if item is True:
        return None
    if isinstance(item, str):
        # RFC 9213 section 2.1: a String that looks like a number isn't one.
        return item if not item.isdigit() else _INVALID
    return str(item) if isinstance(item, int) else _INVALID


@remember_short(512)
def _parse_surrogate(value: str) -> Directives:
    """Read Surrogate-Control: like Cache-Control, but for targets and ``max-age=fresh+stale`` (Edge/1.0)."""
    own = [_STALE_EXTENSION.sub(r"\1", member) for member in split_list(value) if ";" not in member]
    return Directives(parse_cache_control(", ".join(own)).arguments, is_targeted=True)


def response_directives(fields: Mapping[str, str]) -> Directives:
    """Return the directives that govern a response: those of a valid targeted field alone (RFC 9213).

    In the order that Cloudflare documents: Cloudflare-CDN-Cache-Control, CDN-Cache-Control,
    Surrogate-Control, Cache-Control. An invalid field is ignored; see :func:`withdrawn_by_invalid`.
    """
    for name in _TARGETED:
        if (targeted := fields.get(name)) and (directives := _parse_targeted(targeted)) is not None:
            return directives
    value = fields.get("cache-control")
    if (surrogate := fields.get(SURROGATE_CONTROL)) is None:
        return parse_cache_control(value) if value else _NONE
    directives = _parse_surrogate(surrogate)
    if "max-age" in directives:
        return directives
    # It may be about something else, such as content="ESI/1.0", and not mean to lift a prohibition.
    withdrawn = dict.fromkeys(_withdrawals(value or ""))
    return Directives({**directives.arguments, **withdrawn}, directives.is_targeted)


def withdrawn_by_invalid(fields: Mapping[str, str]) -> frozenset[str]:
    """Return the directives in invalid targeted fields that withdraw a permission.

    RFC 9213 section 2.1 ignores such fields whole; who wrote them meant no less than that.
    """
    invalid = [value for name in _TARGETED if (value := fields.get(name)) and _parse_targeted(value) is None]
    return frozenset().union(*map(_withdrawals, invalid)) if invalid else frozenset()


def request_directives(fields: Mapping[str, str]) -> Directives:
    """Return the directives of a request; Pragma counts where there is no Cache-Control."""
    value = fields.get("cache-control")
    if value is not None:
        return parse_cache_control(value)
    # RFC 9111 section 5.4: only no-cache had a meaning, and only in requests.
    pragma = fields.get("pragma")
    return parse_cache_control("no-cache") if pragma and "no-cache" in parse_cache_control(pragma) else _NONE
