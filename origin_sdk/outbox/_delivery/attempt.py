"""The delivery of one claim, as a flow: what to send, and what each end of it means for the entries.

Whose fault it is decides: what Cloudflare or the network refuse is tried again for ever, with growing delays;
what can't be delivered because of the entry itself is dead immediately, and waits for an operator.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from origin_sdk._cloudflare.exchange import Retries
from origin_sdk._flow import Step
from origin_sdk._values.errors import InvalidRequest, InvalidSettings, OriginSdkError, RequestRejected
from origin_sdk._values.receipt import PartialPurgeError, Receipt
from origin_sdk._values.targets import Purge
from origin_sdk.outbox._delivery.coalesced import Delivery, coalesce, needs
from origin_sdk.outbox._stores.entries import Claim, End, Entry, Republish, State

__all__ = ["BACKOFF", "Publish", "Send", "Unexpected", "deliver"]

BACKOFF = Retries(attempts=8, first_seconds=1.0, longest_seconds=300.0)
"""Delays between rounds; ``attempts`` is after how many an entry that Cloudflare rejects is dead."""

_MAX_RESULT = 500


class Unexpected(OriginSdkError):
    """Something else than this package's errors came out of a client or a renderer."""

    def __init__(self, error: Exception) -> None:
        super().__init__(f"unexpected {type(error).__name__}: {error}")
        # A disk that is full, a certificate file that isn't there: no entry's fault, and it may be put right.
        self.is_of_machine = isinstance(error, OSError | MemoryError)


@dataclass(frozen=True, slots=True)
class Send(Step[Receipt]):
    """Send a purge; its receipt is the answer, or an :class:`OriginSdkError` is raised."""

    purge: Purge


@dataclass(frozen=True, slots=True)
class Publish(Step[str]):
    """Render and publish; the answer is how it ended, or an :class:`OriginSdkError` is raised.

    ``after`` is the receipt of the purge of what was there before.
    """

    republish: Republish
    after: Receipt


@dataclass
class _Round:
    fraction: float
    backoff: Retries
    ends: dict[str, End] = field(default_factory=dict)

    def done(self, entries: Iterable[Entry], result: str) -> None:
        end = End(State.DONE, result[:_MAX_RESULT])
        for entry in entries:
            self.ends.setdefault(entry.id, end)

    def failed(self, entries: Iterable[Entry], error: OriginSdkError) -> None:
        result = f"{type(error).__name__}: {error}"[:_MAX_RESULT]
        for entry in entries:
            if _is_hopeless(error, entry.attempts, self.backoff):
                self.ends[entry.id] = End(State.DEAD, result)
            else:
                delay = self.backoff.delay(min(entry.attempts - 1, 60), self.fraction)
                self.ends[entry.id] = End(State.WAITING, result, delay)


def _is_hopeless(error: OriginSdkError, attempts: int, backoff: Retries) -> bool:
    cause = error.__cause__ if isinstance(error, PartialPurgeError) else error
    if isinstance(cause, Unexpected) and cause.is_of_machine:
        return False
    # A rejection may be the entry's fault, or an outage's odd face.
    if isinstance(cause, RequestRejected | Unexpected):
        return attempts >= backoff.attempts
    return _is_wrong(error)


def _is_wrong(error: OriginSdkError) -> bool:
    # A setting can be put right, so it isn't the entry's fault.
    return isinstance(error, InvalidRequest) and not isinstance(error, InvalidSettings)


async def deliver(claim: Claim, fraction: float = 0.0, backoff: Retries = BACKOFF) -> Mapping[str, End]:
    """Deliver a claim's entries merged, and return what became of each, by id.

    ``fraction``, from 0 up to 1, spreads the delays of drainers that fail together.
    """
    coalesced = coalesce(claim.entries)
    round_ = _Round(fraction, backoff)
    for entry, problem in coalesced.unusable:
        round_.ends[entry.id] = End(State.DEAD, problem[:_MAX_RESULT])
    receipts: dict[str, Receipt] = {}
    for delivery in coalesced.deliveries:
        receipts |= await _send(delivery, round_)
    for republish, entries in coalesced.republications:
        pending = [entry for entry in entries if round_.ends[entry.id].state is State.DONE]
        if pending:
            await _publish(republish, pending, receipts[republish.url], round_)
    return round_.ends


async def _send_halves(delivery: Delivery, round_: _Round) -> Mapping[str, Receipt]:
    receipts: dict[str, Receipt] = {}
    half = len(delivery.entries) // 2
    for entries in (delivery.entries[:half], delivery.entries[half:]):
        for part in coalesce(entry for entry, _ in entries).deliveries:
            receipts |= await _send(part, round_)
    return receipts


async def _send(delivery: Delivery, round_: _Round) -> Mapping[str, Receipt]:
    """Send a purge; return the receipt of each of its URLs."""
    entries = [entry for entry, _ in delivery.entries]
    try:
        receipt = await Send(delivery.purge)
    except PartialPurgeError as error:
        left = [entry for entry, purge in delivery.entries if needs(purge, error.remaining)]
        round_.failed(left, error)
        round_.done(entries, f"purge {error.receipt.id}")
        return dict.fromkeys(delivery.purge.urls, error.receipt)
    except OriginSdkError as error:
        if len(entries) > 1 and (_is_wrong(error) or isinstance(error, Unexpected)):
            # Refused on this side, so that it wasn't sent: one of them must not take the others along.
            return await _send_halves(delivery, round_)
        round_.failed(entries, error)
        return {}
    round_.done(entries, f"purge {receipt.id}")
    return dict.fromkeys(delivery.purge.urls, receipt)


async def _publish(republish: Republish, entries: list[Entry], after: Receipt, round_: _Round) -> None:
    try:
        result = await Publish(republish, after)
    except InvalidRequest as error:
        # The URL is purged, so nothing old is served: that the new response can't be published costs a miss.
        result = f"not published, {type(error).__name__}: {error}"
    except OriginSdkError as error:
        round_.failed(entries, error)
        return
    end = End(State.DONE, f"purge {after.id}; {result}"[:_MAX_RESULT])
    round_.ends.update(dict.fromkeys((entry.id for entry in entries), end))
