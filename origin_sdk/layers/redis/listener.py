"""The thread that hears of other processes, renews locks, pays debts, and finds out when Redis is back.

Callers never pay for any of it: while Redis is away they leave it out, and this thread asks. What they can't
tell, whether Redis is away or one call alone had no answer, it finds out for them.
"""

import logging
from collections.abc import Mapping
from threading import Event, Thread
from typing import Any

from redis.exceptions import ResponseError

from origin_sdk.layers.redis.client import RedisClient
from origin_sdk.layers.redis.commands import Command
from origin_sdk.layers.redis.failures import ERRORS, is_full
from origin_sdk.layers.redis.history import Inquiry
from origin_sdk.layers.redis.link import RENEWALS, Link
from origin_sdk.layers.redis.ports import Subscription
from origin_sdk.layers.redis.replies import FAILED
from origin_sdk.layers.redis.scripts import RENEW

__all__ = ["Listener"]

_log = logging.getLogger("origin_sdk.layers")
_TICK_SECONDS = 0.1
_CHECK_SECONDS = 1.0
_RECHECK_SECONDS = 0.3
"""As long as some shards are away."""
_PING_SECONDS = 0.5
_PONG_SECONDS = 1.0
"""A subscription that says nothing for so long after a ping is dead, whatever its socket says."""
_RETRY_SECONDS = (0.0, 0.1, 0.2, 0.5, 1.0)
_DEAF_TRIES = 2
"""So often to try to subscribe before what is in memory isn't trusted any more, where Redis answers."""
_SUBSCRIBE_TICKS = 10
_CATCH_UPS = 3


class Listener:
    """One for each cache object; started by its first use of Redis."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._caller = RedisClient(link)
        self._stopped = Event()
        self._thread: Thread | None = None
        self._check_at = self._ping_at = 0.0
        self._pinged_at: float | None = None
        self._subscriptions = 0
        """How often it was tried to subscribe, which tells by which node of a cluster to try next."""
        self.is_synced = Event()

    def start(self) -> None:
        """Start the thread, once."""
        if self._thread is None:
            self._thread = Thread(target=self._run, name="origin_sdk.layers", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """End the thread, and wait for it; tell Redis what it is owed, or the log."""
        self._stopped.set()
        if self._thread is not None:
            self._thread.join()
            self._settle()
            self._caller.close()

    def _settle(self) -> None:
        for shard in self._link.debts.shards():
            try:
                self._pay(shard)
            except ERRORS as error:
                names = sorted(self._link.owed.get(shard, ()))
                _log.error(
                    "closed without having told Redis of %d invalidations (%s): other processes answer with "
                    "older values for as long as these live: %s: %s",
                    *(len(names), ", ".join(names[:10]), type(error).__name__, error),
                )
        self._give_back()

    def _run(self) -> None:
        failures = 0
        while not self._stopped.is_set():
            try:
                subscription = self._subscribed()
                try:
                    self._heal()
                    failures = 0
                    self._listen(subscription)
                finally:
                    subscription.close()
            except ERRORS as error:
                self._deaf(error, failures)
            except Exception as error:  # noqa: BLE001 - without this thread nobody is told of anything
                _log.error("what Redis says isn't understood", exc_info=error)
                self._deaf(error, failures)
            if not self._stopped.is_set():
                self._stopped.wait(_RETRY_SECONDS[min(failures, len(_RETRY_SECONDS) - 1)])
                failures += 1

    def _deaf(self, error: Exception, failures: int) -> None:
        """Go on without messages: who waits asks again, and Redis itself is asked whether a value holds."""
        link = self._link
        link.hears = False
        link.epoch += 1
        self.is_synced.clear()
        link.explain(error)
        link.waiters.tell_all()
        try:
            self._check()
        except Exception as failure:  # noqa: BLE001 - as this thread must go on
            link.trip(failure)
        if failures >= _DEAF_TRIES and any(link.up):
            link.moments.distrust_all()
        self._keep_locks(link.clock.monotonic())

    def _subscribed(self) -> Subscription:
        subscription = self._caller.subscription(self._subscriptions)
        self._subscriptions += 1
        try:
            self._subscribe(subscription)
        except BaseException:
            subscription.close()
            raise
        return subscription

    def _subscribe(self, subscription: Subscription) -> None:
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
        """Pay what is owed, catch up, and only then let callers use Redis and trust what they hear."""
        link = self._link
        self._check()
        if not any(link.up):
            raise TimeoutError("no shard of Redis answers")
        link.hears = True
        link.waiters.tell_all()
        now = link.clock.monotonic()
        self._ping_at, self._check_at, self._pinged_at = now, now + _CHECK_SECONDS, None
        if link.can_hear:
            self.is_synced.set()

    # What is asked of each shard

    def _check(self) -> None:
        """Find out which shards answer, and let callers use those that know all that they have to know."""
        link = self._link
        link.doubted.clear()
        self._caller.find_primary()
        inquiries = [link.history.since(shard) for shard in range(link.layout.shards)]
        replies = self._caller.demand_each([inquiry.command for inquiry in inquiries])
        lost: dict[int, Exception] = {}
        for inquiry, reply in zip(inquiries, replies, strict=True):
            try:
                if isinstance(reply, Exception):
                    raise reply
                self._mend(inquiry, reply)
            except ERRORS as error:
                lost[inquiry.shard] = error
        if lost:
            link.trip(next(iter(lost.values())), lost)
            self._caller.find_nodes()

    def _mend(self, inquiry: Inquiry, reply: list[bytes]) -> None:
        """Bring a shard and this process to know the same; then it may be used."""
        link, shard = self._link, inquiry.shard
        for _ in range(_CATCH_UPS):
            if self._caught_up(inquiry, reply):
                break
            inquiry = link.history.since(shard)
            reply = self._caller.demand(inquiry.command)
        self._pay(shard)
        while not link.restore(shard):
            self._pay(shard)

    def _caught_up(self, inquiry: Inquiry, reply: list[bytes]) -> bool:
        link = self._link
        if link.history.has_parted(inquiry, reply):
            inquiry = link.history.since(inquiry.shard, shows_all=True)
            reply = self._caller.demand(inquiry.command)
        lost = link.history.catch_up(inquiry, reply)
        if not lost:
            return True
        _log.warning("Redis has lost invalidations that this process knows of: it is told again")
        for command in lost:
            repeated = self._caller.demand(command)
            link.stats.counts["invalidation-repeated", ""] += int(repeated)
        link.history.agree(inquiry, reply)
        return False

    def _pay(self, shard: int) -> None:
        link = self._link
        while shard in link.debts.shards():
            payment = link.debts.due(shard)
            is_all = payment.is_all
            try:
                reply = self._caller.demand(link.command_of(payment))
            except ResponseError as error:
                if not is_full(error):
                    raise
                is_all = True
                reply = self._caller.demand(link.commands.drop(shard))
            link.paid(payment, float(reply if is_all else reply[0]), is_all=is_all)

    # What is heard

    def _listen(self, subscription: Subscription) -> None:
        link = self._link
        epoch = link.epoch
        while not self._stopped.is_set():
            if epoch != link.epoch:
                raise ConnectionError("a connection broke: the primary may be another one")
            message = subscription.get_message(timeout=_TICK_SECONDS)
            now = link.clock.monotonic()
            if message:
                self._pinged_at = None
                self._take(message)
            elif self._pinged_at is not None and now > self._pinged_at + _PONG_SECONDS:
                raise TimeoutError("the subscription is silent")
            if self._pinged_at is None and now >= self._ping_at:
                subscription.ping()
                self._pinged_at, self._ping_at = now, now + _PING_SECONDS
            self._keep_locks(now)
            if now >= self._check_at or link.doubted:
                self._check()
                self._check_at = now + (_CHECK_SECONDS if link.is_up else _RECHECK_SECONDS)
                if not any(link.up):
                    raise TimeoutError("no shard of Redis answers")
                if link.can_hear:
                    self.is_synced.set()

    def _take(self, message: Mapping[str, Any]) -> None:
        if message["type"] != "message":
            return
        text = message["data"].decode()
        if message["channel"].decode() == self._link.layout.loads:
            self._link.waiters.tell(text)
        elif (shard := self._link.history.hear(text)) is not None:
            inquiry = self._link.history.since(shard)
            self._mend(inquiry, self._caller.demand(inquiry.command))

    # What is held

    def _keep_locks(self, now: float) -> None:
        """Renew the locks of loads under way, and give those back that nobody holds any more."""
        link = self._link
        due = [lock for lock in list(link.locks.values()) if now >= lock.renew_at]
        for lock in due:
            lock.renew_at = now + lock.seconds / RENEWALS
        if due:
            renewals: list[Command[int]] = [
                Command(RENEW, (lock.key,), (lock.token, round(lock.seconds * 1000))) for lock in due
            ]
            self._caller.ask_many(renewals)
        if link.returns:
            self._give_back()

    def _give_back(self) -> None:
        releases = self._link.releases(list(self._link.returns.values()))
        if not releases:
            return
        replies = self._caller.ask_many([command for command, _ in releases])
        for (_, locks), reply in zip(releases, replies, strict=True):
            for lock in locks if reply is not FAILED else ():
                self._link.returns.pop(lock.token, None)
