"""Which content codings a client accepts (RFC 9110 section 12.5.3)."""

import re
from dataclasses import dataclass

from origin_sdk_wire.directives import split_list
from origin_sdk_wire.memo import remember_short

__all__ = ["Accepted", "accepted_codings"]

# RFC 9110 section 12.4.2, but for the number of digits.
_WEIGHT = re.compile(r"[ \t]*q=(0(?:\.[0-9]*)?|1(?:\.0*)?)[ \t]*")
_ALIASES = {"x-gzip": "gzip"}
"""RFC 9110 section 8.4.1.3."""


@dataclass(frozen=True, slots=True)
class Accepted:
    """The codings that a client names, and whether it takes those that it doesn't name."""

    named: frozenset[str]
    refused: frozenset[str]
    takes_any: bool

    def takes(self, coding: str) -> bool:
        """Whether the client may be sent a coding other than ``identity``."""
        return coding in self.named or (self.takes_any and coding not in self.refused)


@remember_short(64)
def accepted_codings(value: str) -> Accepted:
    """Read Accept-Encoding.

    A coding whose weight is 0 or can't be read is refused, also where it is named again: what is sent plain
    is understood by everybody. That ``identity`` may be refused isn't looked at: where nothing else can be
    sent, it is, rather than a 406 that helps nobody (section 12.5.3 says SHOULD).
    """
    taken: set[str] = set()
    refused: set[str] = set()
    for member in split_list(value.lower()):
        name, has_weight, text = member.partition(";")
        weight = _WEIGHT.fullmatch(text) if has_weight else None
        is_taken = not has_weight or (weight is not None and float(weight[1]) > 0)
        name = name.strip()
        (taken if is_taken else refused).add(_ALIASES.get(name, name))
    return Accepted(frozenset(taken - refused), frozenset(refused), "*" in taken - refused)
