"""The entries of the purge log, and the keys under which KV has them."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias

from origin_sdk_wire.errors import UnreadableEntry
from origin_sdk_wire.key import fit
from origin_sdk_wire.marks import PURGE_LOG_PREFIX, Lane
from origin_sdk_wire.purge_log.members import DOES_NOT_FIT, ID

__all__ = [
    "ENTRY_SECONDS",
    "MAX_NAME_BYTES",
    "MAX_STALE_SECONDS",
    "MAX_SWITCH_SECONDS",
    "MAX_WINDOW_SECONDS",
    "LogEntry",
    "Purged",
    "Switch",
    "SwitchKind",
    "entry_key",
    "id_of",
    "listing_prefixes",
    "logged_name",
    "minute_end_ms",
]

MAX_WINDOW_SECONDS = 86_400
"""The longest history that a log answers from."""
ENTRY_SECONDS = MAX_WINDOW_SECONDS + 7200
"""For how long KV keeps an entry: longer than any log may look back for it."""
MAX_SWITCH_SECONDS = MAX_WINDOW_SECONDS
"""A switch is over a day after it was set at the latest, and is then no longer in the log."""
MAX_STALE_SECONDS = 365 * 86_400
"""The widest windows that a switch raises to, as those of a rule."""
MAX_NAME_BYTES = 192
"""A longer name is cut as a long key is. So one fits into an entry, however JSON escapes it."""
_MINUTE_MS = 60_000
_DECADE = 10
"""Minutes whose keys are listed by one prefix."""
_KEY = re.compile(rf"{PURGE_LOG_PREFIX}([0-9]{{8}})/({ID.pattern})")


class SwitchKind(StrEnum):
    """What a switch does while it lasts."""

    BYPASS = "bypass"
    """What the rule matches, or everything, is neither stored nor answered from the cache."""
    PAUSE = "pause"
    """Purges since the switch take effect when it ends: an origin in trouble isn't asked for all at once.

    It is for everything.
    """
    STALE = "stale"
    """Stale responses may be served for ``seconds``, as by both windows of a rule, if these aren't longer."""


@dataclass(frozen=True, slots=True)
class Purged:
    """What a purge covered: responses whose birth isn't after ``moment_ms``, under any of ``names``.

    ``names`` are names of marks as :func:`logged_name` writes them.
    """

    id: str
    moment_ms: int
    names: tuple[str, ...]
    hard: bool = False
    by: str = ""
    why: str = ""

    @property
    def lane(self) -> Lane:
        """How it acts on what is older."""
        return Lane.HARD if self.hard else Lane.SOFT


@dataclass(frozen=True, slots=True)
class Switch:
    """What is done differently from ``moment_ms`` on, and before ``until_ms``.

    ``rule`` names a rule; empty, it holds for everything. ``seconds`` belongs to :attr:`SwitchKind.STALE`. Of
    the same kind and rule the latest counts: one that is over when it begins takes the one before it back.
    """

    id: str
    moment_ms: int
    kind: SwitchKind
    until_ms: int
    rule: str = ""
    seconds: int = 0
    by: str = ""
    why: str = ""

    @property
    def place(self) -> tuple[SwitchKind, str]:
        """What it takes the place of: another of the same."""
        return self.kind, self.rule

    def is_on(self, now_ms: int) -> bool:
        """Whether it lasts still."""
        return now_ms < self.until_ms


LogEntry: TypeAlias = Purged | Switch
"""What a log holds."""


def entry_key(entry: LogEntry) -> str:
    """Return the KV key of an entry."""
    return f"{PURGE_LOG_PREFIX}{entry.moment_ms // _MINUTE_MS:08d}/{entry.id}"


def id_of(key: str) -> str:
    """Return the id of the entry under a key; raises :class:`UnreadableEntry` for a key of another kind."""
    found = _KEY.fullmatch(key)
    if not found:
        raise UnreadableEntry(DOES_NOT_FIT.format("key", key))
    return found[2]


def minute_end_ms(key: str) -> int:
    """Return when the minute is over in which an entry's moment lies; 0 for a key of another kind."""
    found = _KEY.fullmatch(key)
    return (int(found[1]) + 1) * _MINUTE_MS if found else 0


def listing_prefixes(since_ms: int, until_ms: int) -> Iterator[str]:
    """Name the prefixes whose lists hold all entries of these moments, the newest first.

    Ten minutes have one. A list of them may hold some entries that are older or younger.
    """
    first, last = (moment_ms // _MINUTE_MS // _DECADE for moment_ms in (since_ms, until_ms))
    for decade in range(last, first - 1, -1):
        yield f"{PURGE_LOG_PREFIX}{decade:07d}"


def logged_name(name: str) -> str:
    """Return a mark's name as entries have it: cut to 192 bytes, with a digest, if it is longer."""
    return fit(name, MAX_NAME_BYTES)
