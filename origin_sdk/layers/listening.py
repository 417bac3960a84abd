"""The thread that hears of other processes, renews locks, and finds out when Redis is back.

Callers never pay for any of it: while Redis is away they leave it out, and this thread asks.
"""

import logging
from threading import Event, Thread
from typing import Any

from origin_sdk.layers.asking import ERRORS, RedisCaller
from origin_sdk.layers.link import Link
from origin_sdk.layers.scripts import RENEW, SINCE, Command

__all__ = ["Listener"]

_log = logging.getLogger("origin_sdk.layers")
_TICK_SECONDS = 0.1
_CHECK_SECONDS = 1.0
_RETRY_SECONDS = (0.1, 0.2, 0.5, 1.0)
_MOST_NAMES = 10_000
_NAMES_AT_ONCE = 500
"""So many take Redis about a millisecond."""
_SUBSCRIBE_TICKS = 10


class Listener:
    """One for each cache object; started by its first use of Redis."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._caller = RedisCaller(link)
        self._stopped = Event()
        self._thread: Thread | None = None
        self.is_synced = Event()

    def start(self) -> None:
        """Start the thread, once."""
        if self._thread is None:
            self._thread = Thread(target=self._run, name="origin_sdk.layers", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """End the thread and wait for it."""
        self._stopped.set()
        self._link.wake.set()
        if self._thread is not None:
            self._thread.join()
            self._caller.close()

    def _run(self) -> None:
        failures = 0
        while not self._stopped.is_set():
            try:
                self._link.wake.clear()
                subscription = self._subscribed()
                try:
                    self._heal()
                    failures = 0
                    self._listen(subscription)
                finally:
                    subscription.close()
            except ERRORS as error:
                self._link.trip(error)
            self.is_synced.clear()
            if not self._stopped.is_set():
                self._stopped.wait(_RETRY_SECONDS[min(failures, len(_RETRY_SECONDS) - 1)])
                failures += 1

    def _subscribed(self) -> Any:
        subscription = self._caller.client().pubsub()
        try:
            self._subscribe(subscription)
        except BaseException:
            subscription.close()
            raise
        return subscription

    def _subscribe(self, subscription: Any) -> None:
        subscription.subscribe(self._link.layout.changes, self._link.layout.loads)
        missing = 2
        for _ in range(_SUBSCRIBE_TICKS):
            message = subscription.get_message(timeout=_TICK_SECONDS)
            if message and message["type"] == "subscribe":
                missing -= 1
            if not missing:
                return
        raise TimeoutError("no answer to SUBSCRIBE")

    def _heal(self) -> None:
        """Pay what is owed, catch up, and only then let callers use Redis."""
        self._pay()
        for command in self._link.repetitions(_NAMES_AT_ONCE):
            if lost := self._caller.demand(command):
                self._link.stats.counts["invalidation-repeated", ""] += int(lost)
        for shard in range(self._link.layout.shards):
            self._catch_up(shard)
        self._measure_time()
        self._link.restore()
        self.is_synced.set()

    def _pay(self) -> None:
        link, shards = self._link, range(self._link.layout.shards)
        if link.owes_all:
            link.owes_all = False  # before: more may be owed meanwhile
            try:
                for shard in shards:
                    self._caller.demand(link.drop(shard))
            except BaseException:
                link.owes_all = True
                raise
        while names := link.some_owed(_NAMES_AT_ONCE):
            replies = [self._caller.demand(link.invalidation(shard, names)) for shard in shards]
            link.pay(names, max(float(reply[0]) for reply in replies))

    def _catch_up(self, shard: int) -> None:
        link = self._link
        since = f"{link.generations[shard]:.0f}"
        command = Command(SINCE, link.layout.keys(shard, "mtg", ""), (since, _MOST_NAMES))
        link.catch_up(shard, self._caller.demand(command))

    def _measure_time(self) -> None:
        reply = self._caller.client().execute_command("TIME")
        if isinstance(reply, dict):  # a cluster's client asks a node of its choice
            reply = next(iter(reply.values()))
        self._link.set_redis_time(int(reply[0]) * 1e6 + int(reply[1]))

    def _listen(self, subscription: Any) -> None:
        link = self._link
        check_at = link.clock.monotonic() + _CHECK_SECONDS
        while link.is_up and not self._stopped.is_set():
            message = subscription.get_message(timeout=_TICK_SECONDS)
            if message:
                self._take(message)
            now = link.clock.monotonic()
            self._renew(now)
            if now >= check_at or link.is_doubted:
                link.is_doubted = False
                self._measure_time()
                subscription.ping()
                check_at = now + _CHECK_SECONDS
            if link.owed:
                self._pay()

    def _take(self, message: Any) -> None:
        if message["type"] != "message":
            return
        text = message["data"].decode()
        if message["channel"].decode() == self._link.layout.loads:
            self._link.loaded(text)
        elif (shard := self._link.hear(text)) is not None:
            self._catch_up(shard)

    def _renew(self, now: float) -> None:
        due = {name: lock for name, lock in list(self._link.locks.items()) if now >= lock.renew_at}
        if not due:
            return
        for lock in due.values():
            lock.renew_at = now + lock.seconds / 3
        commands = [
            Command(RENEW, (lock.key,), (lock.fence, round(lock.seconds * 1000))) for lock in due.values()
        ]
        for name, is_held in zip(due, self._caller.ask_many(commands), strict=True):
            if is_held == 0:
                self._link.locks.pop(name, None)
