"""What a statement that Django executes writes, and on whose behalf."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from types import FrameType
from typing import Any

__all__ = ["Condition", "Initiator", "condition_of", "initiator_of", "set_columns"]


class Initiator(Enum):
    """Who has a statement executed."""

    SIGNALLED = auto()
    """Django itself, which sends signals for it."""
    RELATION = auto()
    """A related manager: rows of the other side, without signals."""
    OTHER = auto()


# The innermost of these functions decides; what a receiver of a signal executes is its own.
_ORIGINS = {
    ("django.db.models.base", "_save_table"): Initiator.SIGNALLED,
    ("django.db.models.deletion", "delete"): Initiator.SIGNALLED,
    ("django.db.models.fields.related_descriptors", "_add_items"): Initiator.SIGNALLED,
    ("django.db.models.fields.related_descriptors", "_remove_items"): Initiator.SIGNALLED,
    ("django.dispatch.dispatcher", "send"): Initiator.OTHER,
    ("django.dispatch.dispatcher", "send_robust"): Initiator.OTHER,
}
_MANAGERS = {"django.db.models.fields.related_descriptors", "django.contrib.contenttypes.fields"}
_MANAGERS_VERBS = {"add", "remove", "clear", "_clear", "set"}
_MOST_FRAMES = 80


def initiator_of(frame: FrameType | None, *, is_association: bool) -> Initiator:
    """Return on whose behalf the statement runs that is executed in ``frame``."""
    for _ in range(_MOST_FRAMES):
        if frame is None:
            break
        where = frame.f_globals.get("__name__", ""), frame.f_code.co_name
        if where in _ORIGINS and not (is_association and _sends_nothing(frame)):
            return _ORIGINS[where]
        if where[0] in _MANAGERS and where[1] in _MANAGERS_VERBS:
            return Initiator.SIGNALLED if is_association else Initiator.RELATION
        frame = frame.f_back
    return Initiator.OTHER


def _sends_nothing(frame: FrameType) -> bool:
    """Whether Django saves or deletes rows of an association's own model, for which it sends no signals."""
    local = frame.f_locals
    origin = getattr(local.get("self"), "origin", None)  # of a collector: whose `delete` was called
    model = local.get("cls") or getattr(origin, "model", None) or type(origin)
    return bool(getattr(getattr(model, "_meta", None), "auto_created", False))


@dataclass(frozen=True, slots=True)
class Condition:
    """Which rows an UPDATE or DELETE hits: SQL behind its WHERE, and that part's parameters."""

    sql: str
    parameters: tuple[Any, ...]


_TOKEN = re.compile(
    r"""'[^']*+'?|"[^"]*+"?|`[^`]*+`?|%s|%%|\(|\)|\b(?:WHERE|RETURNING|ORDER|LIMIT|FROM|USING)\b""",
    re.IGNORECASE,
)
_SIMPLE = re.compile(
    r"^\s*(?:UPDATE\s+(?P<updated>\S+)\s+SET\s|DELETE\s+FROM\s+(?P<deleted>\S+)(?:\s|$))", re.IGNORECASE
)
_COLUMN = re.compile(r"""(?:^|,)\s*["`]?(\w+)["`]?\s*=""")


@dataclass(frozen=True, slots=True)
class _Keyword:
    """A keyword outside of parentheses, where it stands, and how many placeholders come before it."""

    name: str
    start: int
    end: int
    placeholders: int


def _keywords(sql: str, start: int) -> Iterator[_Keyword]:
    depth, placeholders = 0, 0
    for token in _TOKEN.finditer(sql, start):
        text = token[0].upper()
        if text in {"(", ")"}:
            depth += 1 if text == "(" else -1
        elif text == "%S":
            placeholders += 1
        elif depth == 0 and text.isalpha():
            yield _Keyword(text, token.start(), token.end(), placeholders)
    yield _Keyword("", len(sql), len(sql), placeholders)


def condition_of(sql: str, parameters: Sequence[Any]) -> Condition | None:
    """Return the condition of a statement on one table; ``None`` if it isn't of that form."""
    found = _SIMPLE.match(sql)
    if not found or not isinstance(parameters, list | tuple):
        return None
    where: _Keyword | None = None
    for keyword in _keywords(sql, found.end() - 1):
        if keyword.name in {"FROM", "USING"}:
            return None  # other tables decide, too
        if keyword.name == "WHERE":
            where = where or keyword
            continue
        if keyword.placeholders > len(parameters):
            return None
        if where is None:
            return Condition("1 = 1", ())
        condition = sql[where.end : keyword.start].strip()
        return Condition(condition, tuple(parameters[where.placeholders : keyword.placeholders]))
    return None


def set_columns(sql: str) -> frozenset[str] | None:
    """Return the columns that an UPDATE sets, in lower case; ``None`` where that can't be told."""
    found = _SIMPLE.match(sql)
    if not found or not found["updated"]:
        return None
    end = next(_keywords(sql, found.end())).start
    return frozenset(name.lower() for name in _assigned(sql[found.end() : end]))


def _assigned(sql: str) -> Iterator[str]:
    depth, start = 0, 0
    for position, character in enumerate(f"{sql},"):
        depth += (character == "(") - (character == ")")
        if character == "," and depth == 0:
            if name := _COLUMN.match(sql[start:position].lstrip()):
                yield name[1]
            start = position + 1
