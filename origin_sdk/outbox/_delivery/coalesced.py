"""Many entries, few purges: what is claimed together is sent together, each target once.

Order doesn't matter: a mark's moment is taken when it is written, which is after every change that led to it.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

from origin_sdk._values.errors import InvalidRequest
from origin_sdk._values.targets import NAMES, Purge
from origin_sdk.outbox._stores.entries import Entry, Intent, Republish, payload_of, read_payload

__all__ = ["Coalesced", "Delivery", "coalesce", "needs"]

_MAX_REASON = 200


@dataclass(frozen=True, slots=True)
class Delivery:
    """One purge that does what several entries ask for."""

    purge: Purge
    entries: tuple[tuple[Entry, Purge], ...]


@dataclass(frozen=True, slots=True)
class Coalesced:
    """What to do for a claim: purges first, then republications; nothing for what can't be read."""

    deliveries: tuple[Delivery, ...]
    republications: tuple[tuple[Republish, tuple[Entry, ...]], ...]
    unusable: tuple[tuple[Entry, str], ...]


@dataclass
class _Lane:
    hard: bool
    delete: bool
    everything: bool = False
    targets: dict[str, dict[str, None]] = field(default_factory=lambda: {name: {} for name in NAMES})
    reasons: dict[str, None] = field(default_factory=dict)
    entries: list[tuple[Entry, Purge]] = field(default_factory=list)

    def add(self, entry: Entry, purge: Purge) -> None:
        self.entries.append((entry, purge))
        self.everything = self.everything or purge.everything
        for name in NAMES:
            self.targets[name].update(dict.fromkeys(getattr(purge, name)))
        if reason := purge.reason or entry.reason:
            self.reasons[reason] = None

    def delivery(self) -> Delivery:
        purge = Purge(
            **{name: tuple(targets) for name, targets in self.targets.items()},
            everything=self.everything,
            hard=self.hard,
            delete=self.delete,
            reason="; ".join(self.reasons)[:_MAX_REASON],
        )
        return Delivery(purge, tuple(self.entries))


def coalesce(entries: Iterable[Entry]) -> Coalesced:
    """Merge entries: one purge a lane (soft, hard, deleting), each target once; one publication a URL."""
    read: dict[str, Intent | str] = {}
    lanes: dict[tuple[bool, bool], _Lane] = {}
    republications: dict[str, tuple[Republish, list[Entry]]] = {}
    unusable: list[tuple[Entry, str]] = []
    for entry in entries:
        if entry.payload not in read:
            read[entry.payload] = _read(entry.payload)
        intent = read[entry.payload]
        if isinstance(intent, str):
            unusable.append((entry, intent))
            continue
        if isinstance(intent, Republish):
            republications.setdefault(payload_of(intent), (intent, []))[1].append(entry)
            # What is stored now must go, whether or not the new response can be rendered.
            purge = Purge(urls=(intent.url,))
        else:
            purge = intent
        lane = lanes.setdefault((purge.hard, purge.delete), _Lane(purge.hard, purge.delete))
        lane.add(entry, purge)
    return Coalesced(
        tuple(lane.delivery() for lane in lanes.values()),
        tuple((republish, tuple(of)) for republish, of in republications.values()),
        tuple(unusable),
    )


def _read(payload: str) -> Intent | str:
    try:
        return read_payload(payload)
    except InvalidRequest as error:
        return str(error)


def needs(purge: Purge, remaining: Purge) -> bool:
    """Return whether any target of ``purge`` is among those that ``remaining`` says aren't purged."""
    if remaining.everything:
        return True
    return any(not set(getattr(purge, name)).isdisjoint(getattr(remaining, name)) for name in NAMES)
