"""Structured field values (RFC 9651) as far as HTTP caching uses them.

:func:`parse_dictionary` reads targeted cache control (RFC 9213), :func:`parse_strings` reads cache groups
(RFC 9875), :func:`serialise_string` and :func:`serialise_strings` write them. A value that doesn't parse
raises :class:`ValueError`, and the caller ignores the whole field, as both RFCs ask.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass

from origin_sdk_wire.memo import remember_short

__all__ = ["BareItem", "Token", "parse_dictionary", "parse_strings", "serialise_string", "serialise_strings"]


class Token(str):
    """A token, as an item's value: it is no String, which some fields insist on."""

    __slots__ = ()


BareItem = int | float | str | bool | bytes | tuple["BareItem", ...]
"""An item's value; tokens and strings are both ``str``, an inner list is a tuple, a date an ``int``."""

_KEY = re.compile(r"[a-z*][a-z0-9_.*-]*")
_DECIMAL = re.compile(r"-?[0-9]{1,12}\.[0-9]{1,3}(?![0-9.])")
_INTEGER = re.compile(r"-?[0-9]{1,15}(?![0-9.])")
_STRING = re.compile(r'"(?:[\x20\x21\x23-\x5b\x5d-\x7e]|\\["\\])*"')
_TOKEN = re.compile(r"[A-Za-z*][!#$%&'*+.^_`|~0-9A-Za-z:/-]*")
_BYTES = re.compile(r":[A-Za-z0-9+/]*={0,2}:")
_DATE = re.compile(r"@-?[0-9]{1,15}(?![0-9.])")
_DISPLAY = re.compile(r'%"(?:[\x20\x21\x23\x24\x26-\x7e]|%[0-9a-f]{2})*"')
_ESCAPED = re.compile(r"\\(.)")
_PERCENT = re.compile(r"%([0-9a-f]{2})")
_BOOLEAN = re.compile(r"\?[01]")
_SPACES = re.compile(r"[ \t]*")


def parse_dictionary(value: str) -> dict[str, BareItem]:
    """Read a Dictionary without parameters; of a repeated key the last counts (RFC 9651 section 4.2.2)."""
    members: dict[str, BareItem] = {}
    scan = _Scanner(value)
    while scan.rest():
        key = scan.take(_KEY).group()
        item: BareItem = True
        if scan.skip("="):
            item = scan.item_or_inner_list()
        scan.parameters()
        members[key] = item
        scan.next_member()
    return members


@remember_short(64)
def parse_strings(value: str) -> tuple[str, ...]:
    """Read a List whose members are all Strings; anything else in it makes the field invalid."""
    members: list[str] = []
    scan = _Scanner(value)
    while scan.rest():
        members.append(_read_string(scan.take(_STRING).group()))
        scan.parameters()
        scan.next_member()
    return tuple(members)


@remember_short(1024)
def serialise_string(value: str) -> str:
    """Write a String; raises :class:`ValueError` for what isn't printable ASCII."""
    if not all(" " <= character <= "~" for character in value):
        raise ValueError(f"{value!r} has a character that isn't printable ASCII; percent-encode it")
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


def serialise_strings(values: tuple[str, ...] | list[str]) -> str:
    """Write a List of Strings."""
    return ", ".join(map(serialise_string, values))


@dataclass(slots=True)
class _Scanner:
    text: str
    at: int = 0

    def __post_init__(self) -> None:
        self.text = self.text.strip(" ")

    def rest(self) -> bool:
        return self.at < len(self.text)

    def skip(self, character: str) -> bool:
        if self.text.startswith(character, self.at):
            self.at += 1
            return True
        return False

    def match(self, pattern: re.Pattern[str]) -> re.Match[str] | None:
        found = pattern.match(self.text, self.at)
        if found:
            self.at = found.end()
        return found

    def take(self, pattern: re.Pattern[str]) -> re.Match[str]:
        found = self.match(pattern)
        if not found:
            raise ValueError(f"not a structured field value at character {self.at}: {self.text!r}")
        return found

    def next_member(self) -> None:
        self.match(_SPACES)
        if not self.rest():
            return
        if not self.skip(","):
            raise ValueError(f"members need a comma between them, at character {self.at}: {self.text!r}")
        self.match(_SPACES)
        if not self.rest():
            raise ValueError(f"a trailing comma: {self.text!r}")

    def parameters(self) -> None:
        while self.skip(";"):
            while self.skip(" "):
                pass
            self.take(_KEY)
            if self.skip("="):
                self.item()

    def item_or_inner_list(self) -> BareItem:
        if not self.skip("("):
            return self.item()
        members: list[BareItem] = []
        while True:
            spaced = not members
            while self.skip(" "):
                spaced = True
            if self.skip(")"):
                return tuple(members)
            if not spaced:
                raise ValueError(f"members of an inner list need a space between them: {self.text!r}")
            members.append(self.item())
            self.parameters()

    def item(self) -> BareItem:
        for pattern, read in _BARE_ITEMS:
            if found := self.match(pattern):
                return read(found.group())
        raise ValueError(f"not a structured field value at character {self.at}: {self.text!r}")


def _read_string(text: str) -> str:
    return _ESCAPED.sub(r"\1", text[1:-1])


def _read_display_string(text: str) -> str:
    octets = _PERCENT.sub(lambda found: chr(int(found[1], 16)), text[2:-1])
    return octets.encode("latin-1").decode()


_BARE_ITEMS: tuple[tuple[re.Pattern[str], Callable[[str], BareItem]], ...] = (
    (_DECIMAL, float),
    (_INTEGER, int),
    (_STRING, _read_string),
    (_TOKEN, Token),
    (_BYTES, lambda text: text[1:-1].encode()),
    (_DATE, lambda text: int(text[1:])),
    (_DISPLAY, _read_display_string),
    (_BOOLEAN, lambda text: text == "?1"),
)
