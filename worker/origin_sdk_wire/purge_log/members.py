"""The members of the purge log's texts: each is read as what it has to be, and within bounds.

All raise :class:`UnreadableEntry` for what is anything else.
"""

import json
import re
from collections.abc import Mapping, Sequence
from typing import TypeGuard

from origin_sdk_wire.errors import UnreadableEntry
from origin_sdk_wire.strict_json import shallow

__all__ = [
    "DOES_NOT_FIT",
    "ID",
    "MAX_MOMENT_MS",
    "are_texts",
    "as_table",
    "number_of",
    "read_table",
    "text_of",
]

ID = re.compile(r"[A-Za-z0-9._~-]{1,80}")
"""The id of an entry."""
MAX_MOMENT_MS = 10**15
DOES_NOT_FIT = "{} = {!r:.80}: not what an entry of the purge log has there"


def read_table(text: str | bytes) -> Mapping[str, object]:
    """Read a JSON object."""
    try:
        read = json.loads(shallow(text if isinstance(text, str) else text.decode()))
    except ValueError as error:
        raise UnreadableEntry(DOES_NOT_FIT.format("text", text)) from error
    return as_table(read)


def as_table(value: object) -> Mapping[str, object]:
    """Return a value that is a JSON object."""
    if not isinstance(value, dict):
        raise UnreadableEntry(DOES_NOT_FIT.format("entry", value))
    return value


def are_texts(value: object) -> TypeGuard[Sequence[str]]:
    """Whether a value is a list of texts. This one raises nothing."""
    return isinstance(value, list) and all(isinstance(text, str) for text in value)


def number_of(table: Mapping[str, object], name: str, most: int) -> int:
    """Return a member that is a whole number from 0 to ``most``."""
    value = table.get(name)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= most:
        raise UnreadableEntry(DOES_NOT_FIT.format(name, value))
    return value


def text_of(table: Mapping[str, object], name: str, most: int) -> str:
    """Return a member that is a text of at most so many characters; the empty one if it is left out."""
    value = table.get(name, "")
    if not isinstance(value, str) or len(value) > most:
        raise UnreadableEntry(DOES_NOT_FIT.format(name, value))
    return value
