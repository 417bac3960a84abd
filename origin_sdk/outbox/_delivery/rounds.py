"""The rounds of a drainer: their pace, what each did, its log and its audit."""

import logging
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from origin_sdk._cloudflare.exchange import Retries
from origin_sdk._process.audit import AuditEvent, Auditor
from origin_sdk._process.clock import Clock
from origin_sdk._process.spans import Span
from origin_sdk._values.errors import InvalidSettings
from origin_sdk._values.receipt import Receipt
from origin_sdk.outbox._delivery.attempt import BACKOFF
from origin_sdk.outbox._delivery.renderers import CanRender
from origin_sdk.outbox._stores.entries import Claim, End, Entry, Settlement, State
from origin_sdk.outbox._stores.ports import HORIZON_SECONDS

__all__ = ["Pace", "Round", "Rounds", "noted"]

_log = logging.getLogger("origin_sdk.outbox")


@dataclass(frozen=True)
class Pace:
    """How a drainer works.

    It holds up to ``limit`` entries for ``lease_seconds``, half of which one purge may take; so long is
    delayed what a drainer held that died. It looks every ``poll_seconds``, or when woken, and forgets what
    ended ``keep_seconds`` ago.
    """

    limit: int = 10_000
    lease_seconds: float = 120.0
    poll_seconds: float = 1.0
    keep_seconds: float = 7 * 86400.0
    backoff: Retries = BACKOFF

    def __post_init__(self) -> None:
        """Check that a store can tell a lease or a delay from a moment of a clock that was set back."""
        for name, seconds in (
            ("lease_seconds", self.lease_seconds),
            ("backoff.longest_seconds", self.backoff.longest_seconds),
        ):
            if not 0 < seconds <= HORIZON_SECONDS:
                raise InvalidSettings(f"{name}={seconds:g}: give from 0 to {HORIZON_SECONDS:g} seconds")


@dataclass(frozen=True, slots=True)
class Round:
    """What one round did.

    ``lag_seconds`` is the longest time from a commit to its delivery, by the store's clock alone. When a
    transaction was committed no table says; that it was after the drainer's last look bounds it, so that the
    lag may be told too long by one ``poll_seconds``, and by the rest of the transaction where no look came
    between.
    """

    claimed: int = 0
    done: int = 0
    failed: int = 0
    dead: int = 0
    lag_seconds: float = 0.0
    untold: int = 0
    """Purges that the purge log couldn't be told of: it finds them in KV, and they are seen later."""


@dataclass
class Rounds:
    """The rounds of a drainer: when one is due, what each did, and how long its entries waited."""

    pace: Pace
    clock: Clock
    render: CanRender
    audit: Auditor | None = None
    on_round: Callable[[Round], None] | None = None
    _empty_at: float = field(default=-math.inf, init=False)
    """When it last saw nothing left, monotonic: what is tried for the first time was committed later."""
    _untold: int = field(default=0, init=False)

    @property
    def send_seconds(self) -> float:
        return self.pace.lease_seconds / 2

    def is_due(self, due_in: float | None, looked_at: float) -> bool:
        """Return whether the next entry is due, and note where none is at which monotonic moment that was."""
        if due_in is None or due_in > 0:
            self._empty_at = looked_at
            return False
        return True

    def finish(self, claim: Claim, settlement: Settlement, claimed_at: float) -> Round:
        """Count, log and audit a settled round; ``claimed_at`` is monotonic."""
        elapsed = self.clock.monotonic() - claimed_at
        counts = dict.fromkeys(State, 0)
        for entry in claim.entries:
            end = settlement.others.get(entry.id, settlement.rest)
            counts[end.state] += 1
            if end.state is State.DEAD:
                _log.error("entry %s is dead, see `origin-sdk outbox`: %s", entry.id, end.result)
            if self.audit:
                self.audit(_audited(entry, end, claim.at + elapsed))
        if counts[State.WAITING]:
            _log.warning(
                "%d entries wait for the next try: %s", counts[State.WAITING], settlement.rest.result
            )
        lag = elapsed + max(self._waited(entry, claim, claimed_at) for entry in claim.entries)
        if len(claim.entries) < self.pace.limit:
            self._empty_at = claimed_at
        untold, self._untold = self._untold, 0
        done, waiting, dead = counts[State.DONE], counts[State.WAITING], counts[State.DEAD]
        made = Round(len(claim.entries), done, waiting, dead, lag, untold)
        if self.on_round:
            self.on_round(made)
        return made

    def sent(self, receipt: Receipt) -> Receipt:
        """Count a purge that the log isn't told of."""
        self._untold += receipt.told is False
        return receipt

    def _waited(self, entry: Entry, claim: Claim, claimed_at: float) -> float:
        """Return the longest time for which an entry can have been committed when it was claimed."""
        seconds = claim.at - entry.recorded_at
        since_look = claimed_at - self._empty_at if entry.attempts == 1 else math.inf
        if seconds < 0:  # the store's clock was set back since
            return since_look if since_look < math.inf else 0.0
        return min(seconds, since_look)

    def patience(self, due_in: float | None) -> float:
        """Return how long to wait where the next entry is due in so many seconds."""
        return self.pace.poll_seconds if due_in is None else min(self.pace.poll_seconds, due_in)


def noted(traced: Span, made: Round) -> Round:
    """Say in a span what a round did."""
    for name in ("done", "failed", "dead"):
        traced.note(f"outbox.{name}", getattr(made, name))
    traced.note("outbox.lag", round(made.lag_seconds, 3))
    if made.failed or made.dead:
        traced.fail(f"{made.failed} entries wait for the next try, {made.dead} are dead")
    return made


def _audited(entry: Entry, end: End, at: float) -> AuditEvent:
    return AuditEvent(
        datetime.fromtimestamp(at, UTC),
        "deliver",
        entry.actor,
        end.state.value,
        {"entry": entry.id, "reason": entry.reason, "payload": entry.payload, "result": end.result},
    )
