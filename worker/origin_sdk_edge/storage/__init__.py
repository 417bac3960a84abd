"""The tiers of storage, memory before KV: each room one trade, and what brings them together."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from origin_sdk_edge.ports import Bodies, Ciphers, Report, Store, Timing
from origin_sdk_edge.storage.bodies import StoredBodies
from origin_sdk_edge.storage.marks import Marks
from origin_sdk_edge.storage.memory import Memory
from origin_sdk_edge.storage.records import Found, Records
from origin_sdk_edge.storage.retention import Retention
from origin_sdk_edge.storage.seals import Seals
from origin_sdk_edge.storage.tiers import OnWrite, Tiers
from origin_sdk_edge.storage.variants import Variants
from origin_sdk_edge.storage.writes import Writes
from origin_sdk_wire.errors import BrokenSeal
from origin_sdk_wire.settings import Settings

if TYPE_CHECKING:
    from origin_sdk_edge.storage.key_ring import KeyRing

__all__ = ["Found", "Storage"]


class Storage:
    """What an isolate keeps and finds. A store that fails counts as empty, and is reported.

    ``memory`` is the isolate's own, ``records`` finds stored responses in it and in KV, ``variants`` knows
    which of them a request selects, ``bodies`` has what lies apart or coded, ``retention`` writes and ends
    them, and ``marks`` says which of them were purged. ``keys`` knows the API keys in KV, where there may be
    some. ``writes`` has them written in their order, and ``seals`` closes and opens what lies in KV: with
    keys, ``ciphers`` are needed. ``on_broken_seal`` is called with the kind of each that can't be opened.
    """

    def __init__(
        self,
        store: Store,
        bodies: Bodies,
        timing: Timing,
        settings: Settings,
        report: Report,
        ciphers: Ciphers | None = None,
    ) -> None:
        self.on_broken_seal: Callable[[str], None] = _nobody_counts
        self.memory = Memory(settings.memory_bytes, settings.max_body_bytes, timing.now_ms)
        self.seals = Seals(settings, bodies, ciphers)
        tiers = Tiers(store, bodies, timing, settings, self.memory, report, self.seals)
        self._tiers = tiers
        self.seals.on_broken = self._note_broken
        self.writes = writes = Writes(store, timing, self.memory)
        self.marks = Marks(tiers, writes)
        self.variants = Variants(tiers)
        self.records = Records(tiers, self.variants, self.marks)
        self.bodies = StoredBodies(tiers)
        self.retention = Retention(tiers, self.variants, self.marks, writes)
        self.keys = _key_ring(tiers)

    def audit_by(self, on_write: OnWrite) -> None:
        """Have it called with each write of a response or a mark to KV."""
        self._tiers.on_write = on_write

    def _note_broken(self, error: BrokenSeal) -> None:
        self.on_broken_seal(error.kind)
        self._tiers.note(error, "seal")


def _key_ring(tiers: Tiers) -> "KeyRing | None":
    if not tiers.settings.api_keys_in_kv:
        return None
    from origin_sdk_edge.storage.key_ring import KeyRing  # noqa: PLC0415 - only where keys are in KV

    return KeyRing(tiers)


def _nobody_counts(_: str) -> None:
    """Nobody wants to know."""
