"""Purges that are collected and sent as one."""

from typing import Any

from origin_sdk._values.receipt import Receipt
from origin_sdk._values.targets import Purge

__all__ = ["Batch"]


class Batch:
    """Collects purges, merges what is the same, and is sent as one soft and one hard purge at most."""

    def __init__(self) -> None:
        self.purges: list[Purge] = []
        self.receipts: list[Receipt] = []
        """Filled when the batch was sent."""

    def purge(self, **targets: Any) -> None:
        """Add targets; raises :class:`InvalidRequest` immediately for invalid ones."""
        self.add(Purge.of(**targets))

    def add(self, purge: Purge) -> None:
        """Add a purge."""
        for position, known in enumerate(self.purges):
            if (known.hard, known.delete) == (purge.hard, purge.delete):
                self.purges[position] = known.merged_with(purge)
                return
        self.purges.append(purge)
