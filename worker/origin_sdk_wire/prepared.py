"""What is worked out once, when a response is stored, and lies beside its head: for how long it may be used.

One line: the *binding*, then lifetime and the windows for what is stale, in milliseconds, and flags::

    5f1d0e2b9c44 570912 0 86400000 e

The binding is a digest of all that the rules and settings say of lifetimes. Who reads a record under others,
or knows other ways to work it out, takes no notice of the line: changed rules hold at once, and for what was
stored before them. What it says follows from the record, so that none has to be there.
"""

import re
from functools import lru_cache

from origin_sdk_wire.freshness import Freshness
from origin_sdk_wire.key import digest
from origin_sdk_wire.settings import Rule, Settings

__all__ = ["binding", "prepared_for", "read_prepared"]

_METHOD = 1
"""Another number for each change in how a lifetime is worked out."""
_CHARACTERS = 12
_FLAGS = {"v": "must_validate", "s": "forbids_stale", "e": "is_explicit"}
_LINE = re.compile(r"[0-9a-f]{12} (\d{1,15}) (\d{1,15}) (\d{1,15}) (-|v?s?e?)", re.ASCII)


def binding(rule: Rule, settings: Settings) -> str:
    """Return a digest of what ``rule`` and ``settings`` say of lifetimes."""
    return _digest(rule.lifetime_terms, settings.lifetime_terms)


@lru_cache(maxsize=256)
def _digest(by_rule: str, by_settings: str) -> str:
    return digest("lifetimes", _METHOD, by_rule, by_settings)[:_CHARACTERS]


def prepared_for(freshness: Freshness, rule: Rule, settings: Settings) -> str:
    """Write how long a response may be used, as :func:`.freshness.freshness_of` says by these rules."""
    flags = "".join(flag for flag, name in _FLAGS.items() if getattr(freshness, name))
    windows = freshness.stale_while_revalidate_ms, freshness.stale_if_error_ms
    return " ".join(map(str, (binding(rule, settings), freshness.lifetime_ms, *windows, flags or "-")))


def read_prepared(line: str, rule: Rule, settings: Settings) -> Freshness | None:
    """Return how long a response may be used; ``None`` if other rules have, or nobody."""
    if not line.startswith(binding(rule, settings)):
        return None
    found = _LINE.fullmatch(line)
    if found is None:
        return None
    flags = found[4]
    return Freshness(int(found[1]), int(found[2]), int(found[3]), "v" in flags, "s" in flags, "e" in flags)
