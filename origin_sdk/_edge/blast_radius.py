"""Counts what a purge would hit, before it is made."""

from dataclasses import dataclass
from typing import Any

from origin_sdk._cloudflare.effects import Progress
from origin_sdk._edge.purge import Operation
from origin_sdk._edge.stored_responses import Coverage, Listing, StoredResponse
from origin_sdk._values.targets import Purge

__all__ = ["BlastRadius", "blast_radius"]

_SHOWN_EXAMPLES = 10


@dataclass(frozen=True, slots=True)
class BlastRadius:
    """What a purge would hit.

    ``responses`` stored responses of ``body_bytes`` in all, some of them as ``examples``.

    Counted over a list of KV, which may be a minute old.
    """

    purge: Purge
    marks: int
    responses: int
    body_bytes: int
    scanned_keys: int
    requests: int
    examples: tuple[str, ...]
    idle: tuple[str, ...] = ()
    """The targets by which nothing is hit: each may be misspelled, or nothing of it is stored."""

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON types."""
        return {name: getattr(self, name) for name in self.__slots__} | {
            "purge": self.purge.as_json(),
            "examples": list(self.examples),
            "idle": list(self.idle),
        }


async def blast_radius(operation: Operation, purge: Purge) -> BlastRadius:
    """Count what ``purge`` would hit, and write nothing."""
    coverage = Coverage(purge, operation.rules)
    listing = Listing(operation.exchange, operation.namespace, coverage, operation.seals)
    responses, body_bytes = 0, 0
    examples: dict[str, None] = {}
    idle = dict.fromkeys(coverage.targets())
    while not listing.is_done:
        for stored in _responses(await listing.next_page()):
            responses += 1
            body_bytes += stored.body_bytes
            for target in coverage.covering(stored) if idle else ():
                idle.pop(target, None)
            if len(examples) < _SHOWN_EXAMPLES:
                examples[stored.url] = None
        await Progress(listing.scanned_keys)
    marks = len(purge.marks(operation.rules))
    requests = operation.exchange.requests
    scanned = listing.scanned_keys
    return BlastRadius(purge, marks, responses, body_bytes, scanned, requests, tuple(examples), tuple(idle))


def _responses(page: list[StoredResponse]) -> list[StoredResponse]:
    return [stored for stored in page if stored.index is None]
