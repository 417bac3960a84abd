"""Keys: arguments in, one canonical text out.

Two values have one text only if they are equal and of one type, so that ``1``, ``"1"`` and ``True`` never
share an entry; and two lists of values have one key only if they are one list, wherever their fields stand.
What can't be rendered alike in every process is an error.

Why lists can't merge: a rendering consists of the characters of ``_ALPHABET``, and what stands between two
fields of a template has a character that no rendering has: one outside of the alphabet, or one that this
template's values escape. Those characters, counted from the left, tell where each field begins and ends.
"""

import re
import string
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from urllib.parse import quote
from uuid import UUID

from origin_sdk._values.errors import InvalidRequest
from origin_sdk.layers.errors import InvalidFamily, UnstableKey

__all__ = ["Template", "group_name", "render"]

_PLAIN = re.compile(r"[A-Za-z_][\w.~-]*", re.ASCII).fullmatch
_LIKE_A_NUMBER = re.compile(r"[-0-9]", re.ASCII).match
_ALPHABET = frozenset(string.ascii_letters + string.digits + "-_.~%'@!(),=+")
_UNESCAPABLE = frozenset(string.ascii_letters + string.digits + "%")
"""What an escape itself is written with."""


def render(value: object, name: str = "value") -> str:
    """Return the canonical text of ``value``; ``name`` is what an error calls it."""
    kind = type(value)
    if kind is int:
        try:
            return str(value)
        except ValueError:  # more digits than Python writes in decimal
            return f"!i{value:x}"
    if kind is str:
        return _text(value)  # type: ignore[arg-type]  # mypy doesn't narrow by `type() is`
    renderer = _SIMPLE.get(kind)
    return renderer(value) if renderer else _render_other(value, name)


def _text(value: str) -> str:
    if _PLAIN(value):
        return value
    escaped = _quoted(value, "@")
    return f"'{escaped}" if not value or _LIKE_A_NUMBER(escaped) else escaped


def _quoted(value: str, safe: str = "") -> str:
    return quote(value, safe=safe, errors="surrogatepass")


_SIMPLE: Mapping[type, Callable[[object], str]] = {
    type(None): lambda _: "!none",
    bool: lambda value: "!true" if value else "!false",
    UUID: lambda value: f"!u{value}",
    bytes: lambda value: f"!x{value.hex()}",  # type: ignore[attr-defined]  # chosen by type
    timedelta: lambda value: f"!p{value.days}.{value.seconds}.{value.microseconds}",  # type: ignore[attr-defined]  # see above
}


def _render_other(value: object, name: str) -> str:  # noqa: PLR0911 - a table of types
    kind = type(value)
    match value:
        case Enum():
            shown = f".{_quoted(value.name)}" if value.name else f"({render(value.value, name)})"
            return f"!e{_name_of(kind)}{shown}"
        case float() if kind is float and value == value:  # noqa: PLR0124 - not so for NaN, which equals nothing
            return f"!f{value!r}"
        case Decimal() if kind is Decimal and not value.is_nan():
            return f"!d{_quoted(str(value))}"
        case datetime():
            return f"!t{_without_colons(value.astimezone(UTC))}" if value.tzinfo else _unstable(value, name)
        case date():
            return f"!t{value.isoformat()}"
        case time() if value.tzinfo is None:
            return f"!h{_without_colons(value)}"
        case list() | tuple() | set() | frozenset() | dict() if kind in _CONTAINERS:
            return _render_container(value, name)
    if (names := _fields_of(kind)) is not None:
        pairs = [f"{_quoted(each)}={render(getattr(value, each), name)}" for each in names]
        return f"{_name_of(kind)}({','.join(pairs)})"
    return _unstable(value, name)


def _unstable(value: object, name: str) -> str:
    raise UnstableKey(
        f"{name}: a {type(value).__name__} has no stable rendering; "
        "give the key what identifies it, such as its id"
    )


def _without_colons(value: datetime | time) -> str:
    return value.isoformat().replace(":", "-")


_CONTAINERS: Mapping[type, str] = {list: "", tuple: "", set: "!s", frozenset: "!z", dict: "!m"}
"""Those whose equality is known. A subclass may mean more: an order of its items, or many of one name."""


def _render_container(value: object, name: str) -> str:
    match value:
        case dict():
            items = sorted(f"{render(key, name)}={render(each, name)}" for key, each in value.items())
        case set() | frozenset():
            items = sorted(render(each, name) for each in value)
        case _:
            items = [render(each, name) for each in value]  # type: ignore[attr-defined]  # a list or tuple
    end = ",)" if type(value) is tuple else ")"
    return f"{_CONTAINERS[type(value)]}({','.join(items)}{end}"


def _fields_of(kind: type) -> tuple[str, ...] | None:
    """Return the names of what a frozen dataclass or a named tuple consists of."""
    if is_dataclass(kind) and _is_frozen(kind):
        return tuple(each.name for each in fields(kind))
    named: tuple[str, ...] | None = getattr(kind, "_fields", None) if issubclass(kind, tuple) else None
    return named


def _name_of(kind: type) -> str:
    """Return the name of a class: others in other modules may be called the same."""
    return _quoted(f"{kind.__module__}.{kind.__qualname__}")


def _is_frozen(kind: type) -> bool:
    return bool(kind.__dataclass_params__.frozen)  # type: ignore[attr-defined]  # what is_dataclass looks for


def group_name(text: str) -> str:
    """Return a group as it is stored and told to others: what isn't printable, percent-encoded.

    Groups are made of data, which never fails a request. Raises InvalidRequest for what is no text, or none.
    """
    if not text or not issubclass(type(text), str):
        raise InvalidRequest(f"group {text!r}: a text is needed")
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else _quoted(each) for each in text)


class Template:
    """``"{tenant}:{product_id}"``: literal text, and fields to be filled."""

    __slots__ = ("_escapes", "_parts", "names", "text")

    def __init__(self, text: str) -> None:
        self.text = text
        self._parts: list[tuple[str, str]] = []
        self._escapes: dict[str, str] = {}
        if not issubclass(type(text), str) or not text.isprintable():
            raise InvalidFamily(f"key template {text!r}: a printable text is needed")
        names: list[str] = []
        for literal, field, spec, conversion in _parsed(text):
            if field is not None and (not field.isidentifier() or spec or conversion):
                raise InvalidFamily(f"key template {text!r}: {{{field}}} has to be a plain name")
            self._parts.append((literal, field or ""))
            if field:
                names.append(field)
        self.names = tuple(dict.fromkeys(names))

    def separated(self) -> "Template":
        """Return the template, so that its filled text tells its fields. Raises InvalidFamily if none can."""
        for (_, before), (literal, after) in zip(self._parts, self._parts[1:], strict=False):
            if before and after and _ALPHABET.issuperset(literal):
                escaped = next((each for each in literal if each not in _UNESCAPABLE), None)
                if escaped is None:
                    raise InvalidFamily(
                        f"key template {self.text!r}: nothing tells where {{{before}}} ends and {{{after}}} "
                        f"begins: write {{{before}}}:{{{after}}}"
                    )
                # A rendering has "%" before two hexadecimal digits only, so that no text has this by itself.
                self._escapes[escaped] = f"%x{ord(escaped):02x}"
        return self

    def renderer(
        self,
        order: Sequence[str],
        prefix: str,
        shown: Callable[[object, str], str],
        marked: Sequence[str] = (),
    ) -> Callable[..., str]:
        """Return a function of positional values, in this ``order``, that returns ``prefix`` and the text.

        Fields that are ``marked`` have an ``@`` before them.
        """
        parts = [
            (f"{literal}@" if name in marked else literal, order.index(name) if name else -1, name)
            for literal, name in self._parts
        ]
        if self._escapes:
            shown = _escaping(shown, str.maketrans(self._escapes))
        if len(parts) == 1 and parts[0][1] == 0 and len(order) == 1:
            return _one_field(prefix + parts[0][0], parts[0][2], shown)

        def rendered(*values: object) -> str:
            text = prefix
            for literal, index, name in parts:
                text += literal if index < 0 else literal + shown(values[index], name)
            return text

        return rendered


def _parsed(text: str) -> list[tuple[str, str | None, str | None, str | None]]:
    try:
        return list(string.Formatter().parse(text))
    except ValueError as error:
        raise InvalidFamily(f"key template {text!r}: {error}") from error


def _escaping(shown: Callable[[object, str], str], escapes: dict[int, str]) -> Callable[[object, str], str]:
    def escaped(value: object, name: str) -> str:
        return shown(value, name).translate(escapes)

    return escaped


def _one_field(start: str, name: str, shown: Callable[[object, str], str]) -> Callable[..., str]:
    def rendered(value: object) -> str:
        return start + shown(value, name)

    return rendered
