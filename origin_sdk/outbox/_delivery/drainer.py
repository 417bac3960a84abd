"""Drainers: claim, deliver, settle, repeat. One for threads, one for asyncio; several may run together."""

import asyncio
import logging
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from threading import Event, Thread
from typing import Self

from origin_sdk._edge.async_client import AsyncPurgeClient
from origin_sdk._edge.client import PurgeClient
from origin_sdk._edge.options import PublishArguments
from origin_sdk._flow import AnyStep, drive, drive_async
from origin_sdk._process.audit import Auditor
from origin_sdk._process.clock import Clock, SystemClock
from origin_sdk._process.forks import renew_after_fork
from origin_sdk._process.spans import span
from origin_sdk._values.errors import OriginSdkError
from origin_sdk._values.receipt import Receipt
from origin_sdk.outbox._delivery.attempt import Publish, Send, Unexpected, deliver
from origin_sdk.outbox._delivery.layers import AsyncLayer, Layer, insisting, tell, tell_async
from origin_sdk.outbox._delivery.renderers import CanRender, Renderers, Rendition
from origin_sdk.outbox._delivery.rounds import Pace, Round, Rounds, noted
from origin_sdk.outbox._stores.entries import Claim, Settlement
from origin_sdk.outbox._stores.ports import AsyncOutbox, Outbox

__all__ = ["AsyncDrainer", "Drainer"]

_log = logging.getLogger("origin_sdk.outbox")
_PRUNE_SECONDS = 3600.0


@contextmanager
def _unexpected_named() -> Iterator[None]:
    """Raise :class:`Unexpected` for what isn't this package's: one entry must not hold up the others."""
    try:
        yield
    except OriginSdkError:
        raise
    except Exception as error:
        _log.exception("a delivery failed unexpectedly")
        raise Unexpected(error) from error


def _publication(rendition: Rendition, born: datetime, after: Receipt) -> PublishArguments:
    return {
        "status": rendition.status,
        "headers": rendition.headers,
        "groups": rendition.groups,
        "born": born,
        "after": after,
    }


@dataclass(eq=False)
class Drainer:
    """Delivers what an outbox holds, in the calling thread or in one of its own.

    ::

        with Drainer(outbox, client):      # a daemon thread, until the block ends
            serve()

    ``wake`` makes it poll now; otherwise it polls every ``pace.poll_seconds``. ``layers`` are caches in
    which the groups that are purged are invalidated first.
    """

    outbox: Outbox
    client: PurgeClient
    pace: Pace = field(default_factory=Pace)
    render: CanRender = field(default_factory=Renderers)
    clock: Clock = field(default_factory=SystemClock)
    audit: Auditor | None = None
    on_round: Callable[[Round], None] | None = None
    layers: Sequence[Layer] = ()
    _awake: Event = field(default_factory=Event, init=False, repr=False)
    _stopping: Event = field(default_factory=Event, init=False, repr=False)
    _thread: Thread | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        """Gather what both drainers share."""
        self._rounds = Rounds(self.pace, self.clock, self.render, self.audit, self.on_round)
        renew_after_fork(self)

    def renew(self) -> None:
        """Start over in a forked process, stopped: the thread isn't there, and may have held a lock."""
        self._awake, self._stopping, self._thread = Event(), Event(), None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Drain in a daemon thread."""
        self._stopping.clear()
        self._thread = Thread(target=self.run, name="origin-sdk-drainer", daemon=True)
        self._thread.start()

    def stop(self, seconds: float = 30.0) -> None:
        """End the thread after its round; what is left stays in the outbox."""
        self._stopping.set()
        self._awake.set()
        if self._thread:
            self._thread.join(seconds)
            self._thread = None

    def wake(self) -> None:
        """Poll now: there is something new."""
        self._awake.set()

    def run(self) -> None:
        """Drain until :meth:`stop` is called; a failing store is tried again, never raised."""
        failures, prune_at = 0, -math.inf
        while not self._stopping.is_set():
            self._awake.clear()
            try:
                now = self.clock.monotonic()
                if now >= prune_at:
                    while self.outbox.prune(self.pace.keep_seconds):
                        pass  # a part at a time
                    prune_at = now + _PRUNE_SECONDS
                self.drain()
                patience, failures = self._rounds.patience(self.outbox.due_in()), 0
            except Exception:  # noqa: BLE001 - a drainer outlives whatever its store raises
                _log.exception("the outbox can't be drained; it will be retried")
                patience, failures = (
                    self.pace.backoff.delay(min(failures, 60), self.clock.fraction()),
                    failures + 1,
                )
            if not self._stopping.is_set():
                self._awake.wait(patience)

    def drain(self) -> tuple[Round, ...]:
        """Deliver everything that is due now, and return the rounds that it took."""
        rounds: list[Round] = []
        while not self._stopping.is_set():
            now = self.clock.monotonic()
            if not self._rounds.is_due(self.outbox.due_in(), now):
                break
            if not (made := self.drain_once()).claimed:
                break
            rounds.append(made)
        return tuple(rounds)

    def drain_once(self) -> Round:
        """Deliver one claim."""
        now = self.clock.monotonic()
        claim = self.outbox.claim(self.pace.limit, self.pace.lease_seconds)
        if not claim.entries:
            return Round()
        with span("outbox drain", outbox_entries=len(claim.entries)) as traced:
            settlement = self._deliver(claim)
            self.outbox.settle(claim, settlement)
            return noted(traced, self._rounds.finish(claim, settlement, now))

    def _deliver(self, claim: Claim) -> Settlement:
        flow = deliver(claim, self.clock.fraction(), self.pace.backoff)
        return Settlement.of(drive(flow, self._attempt))

    def _attempt(self, step: AnyStep) -> Receipt | str:
        with _unexpected_named():
            return self._do(step)

    def _do(self, step: AnyStep) -> Receipt | str:
        match step:
            case Send(purge):
                with insisting(is_told=tell(self.layers, purge)):
                    # Another drainer's mark must not be taken back because this machine's clock is slow.
                    self.client.learn_clock()
                    receipt = self.client.send(purge, timeout=self._rounds.send_seconds)
                    # Once more: a Worker that is deployed just now answers a moment later.
                    return self._rounds.sent(self.client.tell(receipt) if receipt.told is False else receipt)
            case Publish(republish, after):
                born = self.client.now()
                rendition = self.render(republish)
                arguments = _publication(rendition, born, after)
                seconds = self._rounds.send_seconds
                published = self.client.publish(republish.url, rendition.body, timeout=seconds, **arguments)
                return f"published {published.key}"
        raise TypeError(f"{step!r} is no step of a delivery")


@dataclass
class AsyncDrainer:
    """:class:`Drainer` as a task: ``async with AsyncDrainer(outbox, client): ...``.

    A store that isn't asynchronous goes in as ``InThreads(outbox)``. Renderers run in threads.
    """

    outbox: AsyncOutbox
    client: AsyncPurgeClient
    pace: Pace = field(default_factory=Pace)
    render: CanRender = field(default_factory=Renderers)
    clock: Clock = field(default_factory=SystemClock)
    audit: Auditor | None = None
    on_round: Callable[[Round], None] | None = None
    layers: Sequence[AsyncLayer] = ()
    _awake: asyncio.Event = field(default_factory=asyncio.Event, init=False, repr=False)
    _task: asyncio.Task[None] | None = field(default=None, init=False, repr=False)
    _is_stopping: bool = field(default=False, init=False, repr=False)

    def __post_init__(self) -> None:
        """Gather what both drainers share."""
        self._rounds = Rounds(self.pace, self.clock, self.render, self.audit, self.on_round)

    async def __aenter__(self) -> Self:
        self._is_stopping = False
        self._task = asyncio.create_task(self.run(), name="origin-sdk-drainer")
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def stop(self) -> None:
        """End the task after its round; what is left stays in the outbox."""
        self._is_stopping = True
        self._awake.set()
        if self._task:
            await self._task
            self._task = None

    def wake(self) -> None:
        """Poll now: there is something new. Call it in the event loop's thread."""
        self._awake.set()

    async def run(self) -> None:
        """Drain until :meth:`stop` is called; a failing store is tried again, never raised."""
        self._awake = asyncio.Event()  # belongs to the event loop that first waits for it
        failures, prune_at = 0, -math.inf
        while not self._is_stopping:
            self._awake.clear()
            try:
                now = self.clock.monotonic()
                if now >= prune_at:
                    while await self.outbox.prune(self.pace.keep_seconds):
                        pass  # a part at a time
                    prune_at = now + _PRUNE_SECONDS
                await self.drain()
                patience, failures = self._rounds.patience(await self.outbox.due_in()), 0
            except Exception:  # noqa: BLE001 - a drainer outlives whatever its store raises
                _log.exception("the outbox can't be drained; it will be retried")
                patience, failures = (
                    self.pace.backoff.delay(min(failures, 60), self.clock.fraction()),
                    failures + 1,
                )
            if not self._is_stopping:
                await self._wait(patience)

    async def _wait(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._awake.wait()
        except TimeoutError:
            pass

    async def drain(self) -> tuple[Round, ...]:
        """Deliver everything that is due now, and return the rounds that it took."""
        rounds: list[Round] = []
        while not self._is_stopping:
            now = self.clock.monotonic()
            if not self._rounds.is_due(await self.outbox.due_in(), now):
                break
            if not (made := await self.drain_once()).claimed:
                break
            rounds.append(made)
        return tuple(rounds)

    async def drain_once(self) -> Round:
        """Deliver one claim."""
        now = self.clock.monotonic()
        claim = await self.outbox.claim(self.pace.limit, self.pace.lease_seconds)
        if not claim.entries:
            return Round()
        with span("outbox drain", outbox_entries=len(claim.entries)) as traced:
            settlement = await self._deliver(claim)
            await self.outbox.settle(claim, settlement)
            return noted(traced, self._rounds.finish(claim, settlement, now))

    async def _deliver(self, claim: Claim) -> Settlement:
        flow = deliver(claim, self.clock.fraction(), self.pace.backoff)
        return Settlement.of(await drive_async(flow, self._attempt))

    async def _attempt(self, step: AnyStep) -> Receipt | str:
        with _unexpected_named():
            return await self._do(step)

    async def _do(self, step: AnyStep) -> Receipt | str:
        match step:
            case Send(purge):
                with insisting(is_told=await tell_async(self.layers, purge)):
                    await self.client.learn_clock()  # see Drainer
                    receipt = await self.client.send(purge, timeout=self._rounds.send_seconds)
                    return self._rounds.sent(
                        await self.client.tell(receipt) if receipt.told is False else receipt
                    )
            case Publish(republish, after):
                born = self.client.now()
                rendition = await asyncio.to_thread(self.render, republish)
                arguments = _publication(rendition, born, after)
                seconds = self._rounds.send_seconds
                published = await self.client.publish(
                    republish.url, rendition.body, timeout=seconds, **arguments
                )
                return f"published {published.key}"
        raise TypeError(f"{step!r} is no step of a delivery")
