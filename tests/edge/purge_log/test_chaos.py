"""Purges by the SDK's own flows while KV, the object, isolates and the way between them fail at random.

Time is virtual: nothing waits. Each purge is sent as a drainer does, again until it is done. For more than
the test has time for::

    python -c 'from tests.edge.purge_log.test_chaos import Chaos; print(Chaos(7).run(10_000))'
"""

from __future__ import annotations

import heapq
import json
import random  # noqa: TID251 - chance is what this is about
from collections import Counter, defaultdict, deque
from dataclasses import dataclass, replace
from itertools import count
from urllib.parse import urlsplit

import pytest

from origin_sdk import Purge
from origin_sdk._cloudflare.budget import RateBudget
from origin_sdk._cloudflare.effects import Answer, Call, EdgeCall, Failure, Pause, Reply
from origin_sdk._cloudflare.exchange import Exchange, Retries
from origin_sdk._cloudflare.kv import Namespace
from origin_sdk._cloudflare.skew import Skew
from origin_sdk._edge.purge import Operation, SharedMark, purge, tell_again
from origin_sdk._edge.purge_log import LogClient
from origin_sdk._flow import AnyStep, drive
from origin_sdk._values import settings as sdk_settings
from origin_sdk._values.errors import OriginSdkError
from origin_sdk._values.receipt import PartialPurgeError, Receipt
from origin_sdk.testing import ManualClock
from origin_sdk_edge.ports import StoredValue
from origin_sdk_edge.purge_log.ledger import Limits
from origin_sdk_edge.purge_log.reader import honoured_ms
from origin_sdk_edge.purge_log.route import Route
from origin_sdk_wire.bounds import KV_PROPAGATION_SECONDS
from origin_sdk_wire.key import parse_target
from origin_sdk_wire.marks import covering_marks
from origin_sdk_wire.record import Record
from origin_sdk_wire.settings import Settings
from origin_sdk_wire.signed_requests import LogKey
from tests.edge.purge_log.world import World

_KEY = LogKey("shop", "s" * 32)
_HOSTS = ("a.example", "b.example")
_GROUPS = ("g", "h", "i", "j")
_URLS = tuple(f"http://{host}/{part}/{number}" for host in _HOSTS for part in "xy" for number in range(3))
_KV_MS = KV_PROPAGATION_SECONDS * 1000
_PURGES = (
    *(Purge.of(urls=url) for url in _URLS),
    *(Purge.of(groups=group) for group in _GROUPS),
    *(Purge.of(prefixes=f"http://{host}/{part}") for host in _HOSTS for part in "xy"),
    Purge.of(hosts=_HOSTS[0]),
    Purge.of(everything=True),
    Purge.of(groups=_GROUPS, urls=_URLS),
)


class _Clock(ManualClock):
    """The world's time, as the SDK reads it; chance is seeded."""

    def __init__(self, world: ChaoticWorld, chance: random.Random) -> None:
        super().__init__()
        self._world, self._chance = world, chance

    def now(self) -> float:
        return self._world.timing.ms / 1000

    def monotonic(self) -> float:
        return self.now()

    def fraction(self) -> float:
        return self._chance.random()

    def token(self) -> str:
        return f"{self._chance.getrandbits(40):010x}"


class ChaoticWorld(World):
    """A world whose KV shows a write, to readers and in lists, up to a minute later."""

    def __init__(self, chance: random.Random, shards: int) -> None:
        self._chance = chance
        self._pending: list[tuple[int, int, str, StoredValue]] = []
        self._shown: dict[str, int] = {}
        self._numbers = count()
        super().__init__(limits=Limits(window_ms=600_000, reader_ms=6000, entries=2000), shards=shards)

    def write(self, key: str, value: StoredValue) -> None:
        visible_ms = self.timing.ms + self._chance.choice((0, 500, 5000, _KV_MS))
        heapq.heappush(self._pending, (visible_ms, next(self._numbers), key, value))

    def show(self) -> None:
        """Show what was written long enough ago; of one key the last write wins."""
        while self._pending and self._pending[0][0] <= self.timing.ms:
            _, number, key, value = heapq.heappop(self._pending)
            if number > self._shown.get(key, -1):
                self._shown[key] = number
                self.store.values[key] = value

    async def ask(self, log: str, since: int, *, is_news: bool, shard: int = 0) -> str:
        self.show()
        return await super().ask(log, since, is_news=is_news, shard=shard)


@dataclass(frozen=True, slots=True)
class _Done:
    """A purge that was confirmed."""

    moment_ms: int
    done_ms: int
    hard: bool
    is_told: bool


class Chaos:
    """What happens, by a seed."""

    def __init__(self, seed: int, shards: int = 1) -> None:
        self._chance = random.Random(seed)  # noqa: S311 - it guards nothing
        self.world = ChaoticWorld(self._chance, shards)
        self._clock = _Clock(self.world, self._chance)
        keys = Settings(purge_log_keys={_KEY.id: _KEY})
        self._route = Route(self.world, keys, lambda: self.world.timing.ms, lambda *_: None)
        self._shared, self._skew = SharedMark(), Skew()
        self._stored = {url: self._record() for url in _URLS}
        self._done: dict[str, list[_Done]] = defaultdict(list)
        self._quiet_since_ms = self.world.timing.ms
        self._fates: deque[str] = deque()
        """How the next requests to KV's API end."""
        self.counts: Counter[str] = Counter()

    def run(self, purges: int) -> Counter[str]:
        """Purge so often; return what was counted: ``lost`` must not be in it."""
        while self.counts["purges"] < purges:
            self._step()
        self.world.is_away = False
        for _ in range(200):
            self._pass(1000)
            self._look()
        return self.counts

    def _step(self) -> None:
        match self._chance.choices(("purge", "pass", "look", "break"), (30, 30, 36, 4))[0]:
            case "purge":
                self._purge(self._chance.choice(_PURGES))
            case "pass":
                self._pass(self._chance.choice((50, 300, 1000, 2500, 9000)))
            case "look":
                self._look()
            case _:
                self._break()

    def _pass(self, milliseconds: int) -> None:
        self.world.timing.ms += milliseconds
        self.world.show()

    def _break(self) -> None:
        fault = self._chance.choice(("lose", "evict", "restart", "away", "back", "back", "outage", "partly"))
        self.counts[fault] += 1
        match fault:
            case "away" | "back":
                self.world.is_away = fault == "away"
            case "outage" | "partly":
                self._fates += [fault] * self._chance.randrange(3, 9)
            case _:
                getattr(self.world, fault)()
        self._quiet_since_ms = self.world.timing.ms

    # Purging, as a drainer does

    def _purge(self, wanted: Purge) -> None:
        hard = self._chance.random() < 0.5
        left = replace(wanted, hard=hard)
        receipt: Receipt | None = None
        while receipt is None:
            try:
                receipt = drive(purge(self._operation(), left), self._do)
            except PartialPurgeError as error:
                left = error.remaining
                self.counts["partial"] += 1
            except OriginSdkError:
                self.counts["failed"] += 1
        if receipt.told is False:
            receipt = drive(tell_again(self._operation(), receipt), self._do)
        self._confirm(replace(wanted, hard=hard), receipt)

    def _confirm(self, wanted: Purge, receipt: Receipt) -> None:
        # Parts that were confirmed by an earlier try have a moment at or before this one's.
        moment_ms = round(receipt.moment.timestamp() * 1000)
        is_told = bool(receipt.told) and receipt.purge == wanted
        made = _Done(moment_ms if receipt.purge == wanted else 0, self.world.timing.ms, wanted.hard, is_told)
        for name in wanted.names():
            self._done[name] = [*self._done[name][-30:], made]
        self.counts["purges"] += 1
        self.counts["told" if receipt.told else "untold"] += 1

    def _operation(self) -> Operation:
        configured = sdk_settings.Settings(namespace_id="n", base_url="http://localhost")
        exchange = Exchange(self._clock, RateBudget.unlimited(), self._skew, Retries(attempts=3), 60.0)
        log = LogClient("https://a.example", _KEY)
        return Operation(exchange, Namespace("http://localhost/n"), configured, (), self._shared, log)

    def _do(self, step: AnyStep) -> Answer | None:
        match step:
            case Pause(seconds):
                self._pass(round(seconds * 1000))
            case EdgeCall():
                return self._told(step)
            case Call():
                return self._written(step)
        return None

    def _told(self, call: EdgeCall) -> Answer:
        self._pass(self._chance.choice((20, 200, 2000)))
        fate = self._chance.random()
        if fate < 0.15:
            return Failure("lost on the way there")
        path = urlsplit(call.url).path
        answer = drive(self._route.answer(path, dict(call.fields), call.body or b""), self._do)
        if fate < 0.25:
            return Failure("lost on the way back")
        return self._reply(answer.code, answer.text)

    def _written(self, call: Call) -> Answer:
        self._pass(self._chance.choice((20, 200, 1500)))
        usual = self._chance.choices(("well", "there", "back", "outage"), (85, 5, 5, 5))[0]
        fate = self._fates.popleft() if self._fates else usual
        if fate == "there":
            return Failure("lost on the way there")
        if fate == "outage":
            return self._reply(self._chance.choice((429, 503)), "")
        pairs = json.loads(call.body) if call.method == "PUT" and call.body else []
        refused = [pair["key"] for pair in pairs if fate == "partly" and self._chance.random() < 0.5]
        for pair in pairs:
            if pair["key"] not in refused:
                self.world.write(pair["key"], StoredValue(pair.get("metadata"), pair["value"]))
        if fate == "back":
            return Failure("lost on the way back")
        result = {"successful_key_count": len(pairs) - len(refused), "unsuccessful_keys": refused}
        return self._reply(200, json.dumps({"success": True, "result": result}))

    def _reply(self, status: int, text: str) -> Reply:
        return Reply(status, {}, text.encode(), self._clock.now(), self._clock.now())

    # Reading, as an isolate does

    def _record(self) -> Record:
        groups = tuple(self._chance.sample(_GROUPS, self._chance.randrange(3)))
        now_ms = self.world.timing.ms
        return Record(200, now_ms, now_ms, 0, (), groups)

    def _look(self) -> None:
        """Look at a few responses, as requests do; what is purged is stored anew."""
        self.world.show()
        bound_ms = honoured_ms(self.world.settings)
        now_ms = self.world.timing.ms
        for url in self._chance.sample(_URLS, 3):
            record = self._stored[url]
            found = self.world.look(url, record)
            self.counts["looks"] += 1
            for done in self._covering(url, record):
                is_seen = found.is_unknown or bool(found.hard_ms if done.hard else found.soft_ms)
                is_late = done.done_ms + _KV_MS + bound_ms < now_ms
                is_slow = done.is_told and self._quiet_since_ms < done.moment_ms < now_ms - 2 * bound_ms
                assert is_seen or not is_late, f"{url} of {record} at {now_ms}, after {done}"
                self.counts["told and late"] += bool(is_slow and not is_seen)
            if found.soft_ms or found.hard_ms:
                self._stored[url] = self._record()

    def _covering(self, url: str, record: Record) -> list[_Done]:
        names = covering_marks(parse_target(url), record.groups)
        return [done for name in names for done in self._done[name] if record.birth_ms <= done.moment_ms]


@pytest.mark.parametrize(("seed", "shards"), [(8, 1), (9, 1), (10, 3)])
def test_no_purge_is_lost_or_late_whatever_fails(seed: int, shards: int) -> None:
    counts = Chaos(seed, shards).run(300)
    assert counts["told and late"] == 0
    assert {"told", "untold", "failed", "partial", "away", "lose", "evict", "restart"} <= counts.keys()
