"""What the code that builds a response has said about it, and what was read meanwhile."""

from dataclasses import dataclass, field, replace

from origin_sdk._process.reads import Reads
from origin_sdk._responses.observed import Observed
from origin_sdk._values.errors import InvalidRequest
from origin_sdk_wire.bounds import KV_PROPAGATION_SECONDS
from origin_sdk_wire.errors import WireError
from origin_sdk_wire.fields import CDN_CACHE_CONTROL
from origin_sdk_wire.marks import group_mark
from origin_sdk_wire.structured import serialise_strings

__all__ = ["NEGATIVE", "Draft", "Lifetimes", "checked_group"]

NEGATIVE = frozenset({404, 410})
"""Statuses that have a lifetime of their own."""


@dataclass(frozen=True, slots=True)
class Lifetimes:
    edge: int
    browser: int
    stale_while_revalidate: int | None
    stale_if_error: int | None
    negative: int
    for_everyone: bool
    read_groups: bool
    vary: tuple[str, ...] = ()
    must_revalidate: bool = False

    def fields(self, status: int) -> dict[str, str]:
        edge = self.negative if status in NEGATIVE else self.edge
        # RFC 9111 section 3.5: without it no answer to Authorization is stored, nor given to it.
        targeted = ["public"] if self.for_everyone else []
        targeted.append(f"max-age={edge}")
        if self.stale_while_revalidate is not None:
            targeted.append(f"stale-while-revalidate={self.stale_while_revalidate}")
        if self.stale_if_error is not None:
            targeted.append(f"stale-if-error={self.stale_if_error}")
        if self.must_revalidate:
            targeted.append("must-revalidate")
        # RFC 9213 section 2.2: at the edge the targeted field stands alone. No purge reaches browsers.
        return {
            "cache-control": f"public, max-age={min(self.browser, edge)}",
            CDN_CACHE_CONTROL: ", ".join(targeted),
        }

    def ended(self) -> "Lifetimes":
        """Return what is never fresh, but stale for as long as it was to be."""
        return replace(self, edge=0, negative=0, browser=0)

    def unpurged(self) -> "Lifetimes":
        """Return what may be had without purges: no longer than a purge may take to be seen everywhere."""
        return replace(
            self,
            edge=min(self.edge, KV_PROPAGATION_SECONDS),
            negative=min(self.negative, KV_PROPAGATION_SECONDS),
            stale_while_revalidate=None,
            stale_if_error=None,
            must_revalidate=True,
        )


@dataclass(slots=True)
class Draft:
    """What the code that builds a response has said about it so far."""

    lifetimes: Lifetimes | None = None
    groups: dict[str, None] = field(default_factory=dict)
    invalidated: dict[str, None] = field(default_factory=dict)
    owner: str = ""
    """Why the response belongs to one user, if it does."""
    reads: Reads = field(default_factory=Reads)
    """What layered caches have answered."""
    observed: Observed = field(default_factory=lambda: Observed(()))
    """What was read of the request."""
    is_strict: bool = True
    """Whether what can't be said is an error, or is told of and left out."""
    left_out: list[str] = field(default_factory=list)
    """Why groups were left out."""

    @property
    def is_empty(self) -> bool:
        """Whether nothing was said, and nothing read, that could change a field of the response."""
        is_said = self.lifetimes or self.groups or self.invalidated or self.owner or self.left_out
        return not (is_said or self.observed.has_readings)


def checked_group(group: object) -> str:
    """Return a group that can be sent; raises InvalidRequest for another."""
    if not isinstance(group, str):
        raise InvalidRequest(f"group {group!r}: pass strings, such as add_groups(*names) for a list of them")
    try:
        group_mark(group)
        serialise_strings((group,))
    except (WireError, ValueError) as error:
        raise InvalidRequest(str(error)) from error
    return group
