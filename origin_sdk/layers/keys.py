"""Keys: arguments in, one canonical text out.

Two values render alike only if they are equal and of one type, so that ``1``, ``"1"`` and ``True`` never
share an entry. What can't be rendered alike in every process is an error.
"""

import re
import string
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from enum import Enum
from urllib.parse import quote
from uuid import UUID

from origin_sdk.layers.errors import InvalidFamily, UnstableKey

__all__ = ["Template", "render"]

_PLAIN = re.compile(r"[A-Za-z_][\w.~-]*", re.ASCII).fullmatch
_LIKE_A_NUMBER = re.compile(r"[-0-9']", re.ASCII).match


def render(value: object, name: str = "value") -> str:
    """Return the canonical text of ``value``; ``name`` is what an error calls it."""
    kind = type(value)
    if kind is int:
        return str(value)
    if kind is str:
        return _text(value)  # type: ignore[arg-type]  # mypy doesn't narrow by `type() is`
    renderer = _SIMPLE.get(kind)
    return renderer(value) if renderer else _render_other(value, name)


def _text(value: str) -> str:
    if _PLAIN(value):
        return value
    escaped = quote(value, safe="@")
    return f"'{escaped}" if not value or _LIKE_A_NUMBER(escaped) else escaped


_SIMPLE: Mapping[type, Callable[[object], str]] = {
    type(None): lambda _: "!none",
    bool: lambda value: "!true" if value else "!false",
    UUID: lambda value: f"!u{value}",
    bytes: lambda value: f"!x{value.hex()}",  # type: ignore[attr-defined]  # chosen by type
    Decimal: lambda value: f"!d{quote(str(value))}",
    date: lambda value: f"!t{value}",
}


def _render_other(value: object, name: str) -> str:  # noqa: PLR0911 - a table of types
    match value:
        case float() if value == value:  # noqa: PLR0124 - not so for NaN, which equals nothing
            return f"!f{value!r}"
        case datetime() if value.tzinfo:
            return f"!t{value.astimezone(UTC).isoformat()}".replace(":", "-")
        case Enum():
            return f"!e{type(value).__name__}.{value.name}"
        case tuple() | list():
            return f"({','.join(render(each, name) for each in value)})"
        case set() | frozenset():
            return f"!s({','.join(sorted(render(each, name) for each in value))})"
        case Mapping():
            pairs = sorted(f"{render(key, name)}={render(each, name)}" for key, each in value.items())
            return f"!m({','.join(pairs)})"
    if is_dataclass(value) and not isinstance(value, type) and _is_frozen(type(value)):
        pairs = [f"{each.name}={render(getattr(value, each.name), name)}" for each in fields(value)]
        return f"{type(value).__name__}({','.join(pairs)})"
    raise UnstableKey(
        f"{name}: a {type(value).__name__} has no stable rendering; "
        "give the key what identifies it, such as its id"
    )


def _is_frozen(kind: type) -> bool:
    return bool(kind.__dataclass_params__.frozen)  # type: ignore[attr-defined]  # what is_dataclass looks for


class Template:
    """``"{tenant}:{product_id}"``: literal text, and fields to be filled."""

    __slots__ = ("_parts", "names", "text")

    def __init__(self, text: str) -> None:
        self.text = text
        self._parts: list[tuple[str, str]] = []
        names: list[str] = []
        for literal, field, spec, conversion in string.Formatter().parse(text):
            if field is not None and (not field.isidentifier() or spec or conversion):
                raise InvalidFamily(f"key template {text!r}: {{{field}}} has to be a plain name")
            self._parts.append((literal, field or ""))
            if field:
                names.append(field)
        self.names = tuple(dict.fromkeys(names))

    def renderer(
        self, order: Sequence[str], prefix: str, shown: Callable[[object, str], str]
    ) -> Callable[..., str]:
        """Return a function of positional values, in this ``order``, that returns ``prefix`` and the text."""
        parts = [(literal, order.index(name) if name else -1, name) for literal, name in self._parts]
        if len(parts) == 1 and parts[0][1] == 0 and len(order) == 1:
            return _one_field(prefix + parts[0][0], parts[0][2], shown)

        def rendered(*values: object) -> str:
            text = prefix
            for literal, index, name in parts:
                text += literal if index < 0 else literal + shown(values[index], name)
            return text

        return rendered


def _one_field(start: str, name: str, shown: Callable[[object, str], str]) -> Callable[..., str]:
    def rendered(value: object) -> str:
        return start + shown(value, name)

    return rendered
