"""No write of a mark takes a later purge back: isolates, the SDK and writes that wait or fail, interleaved.

What the origin has changes, and each change is followed by a purge: a request through one of two isolates, or
the SDK. However their marks meet in KV, in the end nobody serves what was before the last change.
"""

from __future__ import annotations

import asyncio
import json
import random  # noqa: TID251 - Hypothesis seeds it
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any, TypeAlias

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from origin_sdk._cloudflare.budget import RateBudget
from origin_sdk._cloudflare.effects import Answer, Call, Failure, Pause, Reply
from origin_sdk._cloudflare.exchange import Exchange, Retries
from origin_sdk._cloudflare.kv import Namespace
from origin_sdk._cloudflare.skew import Skew
from origin_sdk._edge.purge import Operation, purge
from origin_sdk._flow import AnyStep, Flow, drive_async
from origin_sdk._values import settings as sdk_settings
from origin_sdk._values.targets import Purge
from origin_sdk_edge.policy.facts import RequestFacts
from origin_sdk_edge.ports import Incoming, StoredValue, StoreError
from origin_sdk_wire.settings import Settings
from tests.edge import virtual
from tests.edge.examples import examples
from tests.edge.fakes import START_MS, FakeBackground, FakeEdge, FakeResponse

URL = "http://api.example/page"
INTERVAL = 5.0


@dataclass(frozen=True)
class Get:
    isolate: int


@dataclass(frozen=True)
class Post:
    isolate: int


@dataclass(frozen=True)
class Sdk:
    process: int
    hard: bool


@dataclass(frozen=True)
class Wait:
    ms: int


Step: TypeAlias = Get | Post | Sdk | Wait


class Kv:
    """KV as all see it at once: the last write wins, and a key takes one a second.

    Some writes take long; some are made, and their reply is lost.
    """

    def __init__(self, faults: random.Random) -> None:
        self.values: dict[str, StoredValue] = {}
        self._next: dict[str, float] = {}
        self._faults = faults

    async def read(self, key: str) -> StoredValue | None:
        return self.values.get(key)

    async def read_stream(self, key: str) -> Any:
        raise NotImplementedError

    async def read_texts(self, keys: Sequence[str]) -> Mapping[str, str]:
        return {key: value.body for key in keys if (value := self.values.get(key))}

    async def write(self, key: str, value: Any, metadata: str | None, ttl_seconds: int) -> None:
        assert ttl_seconds >= 60
        await asyncio.sleep(self._faults.choice([0, 0, 0.01, 0.4]))
        if not self.put(key, value, json.loads(metadata) if metadata else None):
            raise StoreError("429")
        if self._faults.random() < 0.15:
            raise StoreError("the reply was lost")

    def put(self, key: str, value: Any, metadata: object) -> bool:
        now = asyncio.get_running_loop().time()
        if now < self._next.get(key, 0.0):
            return False
        self._next[key] = now + 1.0
        self.values[key] = StoredValue(metadata, value)
        return True

    async def put_in_bulk(self, body: bytes) -> Answer:
        sent_at = asyncio.get_running_loop().time()
        await asyncio.sleep(self._faults.choice([0.02, 0.3]))
        pairs = json.loads(body)
        refused = [pair["key"] for pair in pairs if not self.put(pair["key"], pair["value"], None)]
        if self._faults.random() < 0.15:
            return Failure("the reply was lost")
        now = START_MS / 1000 + asyncio.get_running_loop().time()
        date = format_datetime(datetime.fromtimestamp(int(now), UTC), usegmt=True)
        result = {"success": True, "result": {"unsuccessful_keys": refused}}
        return Reply(200, {"date": date}, json.dumps(result).encode(), sent_at, now)


@dataclass
class SdkClock:
    """The clock of a service's machine."""

    skew: float

    def now(self) -> float:
        return START_MS / 1000 + asyncio.get_running_loop().time() + self.skew

    def monotonic(self) -> float:
        return asyncio.get_running_loop().time()

    def sleep(self, seconds: float) -> None:
        raise NotImplementedError

    async def sleep_async(self, seconds: float) -> None:
        raise NotImplementedError

    def fraction(self) -> float:
        return 0.5

    def token(self) -> str:
        return "t"


@dataclass
class World:
    """An origin with a page that changes, isolates in front of it, and services that change it."""

    kv: Kv
    skews_ms: Sequence[int]
    edges: list[FakeEdge] = field(default_factory=list)
    version: int = 0
    background: FakeBackground = field(default_factory=FakeBackground)
    is_undone: bool = False
    """Whether a purge failed, and said so."""

    def __post_init__(self) -> None:
        configured = Settings(origin="http://origin", mark_interval=INTERVAL, lifetime_jitter=0.0)
        for skew_ms in self.skews_ms:
            timing = virtual.VirtualTiming(skew_ms)
            self.edges.append(FakeEdge(configured, self.answer, timing=timing, store=self.kv))
        self.skews = [Skew(), Skew()]

    def answer(self, request: RequestFacts) -> FakeResponse:
        if request.method == "POST":
            self.version += 1
            return FakeResponse(204, {"cache-group-invalidation": '"all"'})
        fields = {"cache-control": "max-age=86400", "cache-groups": '"all"', "etag": f'"{self.version}"'}
        if request.fields.get("if-none-match") == fields["etag"]:
            return FakeResponse(304, fields)
        return FakeResponse(200, fields, str(self.version).encode())

    async def ask(self, isolate: int, method: str) -> bytes:
        served = await self.edges[isolate].handler.handle(Incoming(method, URL, {}), self.background)
        body: bytes = served.response.body
        return body

    def change(self, step: Sdk) -> None:
        self.version += 1
        clock = SdkClock((0.4, -0.4)[step.process])
        exchange = Exchange(clock, RateBudget(), self.skews[step.process], Retries())
        configured = sdk_settings.Settings(token="t", account_id="a", namespace_id="n")  # noqa: S106
        operation = Operation(exchange, Namespace("https://kv.example"), configured)
        flow = purge(operation, Purge.of(groups="all", hard=step.hard))
        self.background.run(self.purged(flow, clock))

    async def purged(self, flow: Flow[object], clock: SdkClock) -> None:
        async def do(step: AnyStep) -> Answer | None:
            if isinstance(step, Pause):
                await asyncio.sleep(step.seconds)
                return None
            assert isinstance(step, Call)
            assert step.body
            answer = await self.kv.put_in_bulk(step.body)
            if isinstance(answer, Reply):
                return Reply(answer.status, answer.fields, answer.body, clock.now(), clock.now())
            return answer

        try:
            await drive_async(flow, do)
        except Exception:  # noqa: BLE001 - whatever it is, the service was told
            self.is_undone = True


async def _run(
    steps: Sequence[Step], skews_ms: Sequence[int], faults: random.Random
) -> tuple[list[bytes], bytes] | None:
    """Return what the isolates serve in the end, and what the origin has; ``None`` if a purge failed."""
    world = World(Kv(faults), skews_ms)
    for step in steps:
        match step:
            case Get(isolate):
                await world.ask(isolate, "GET")
            case Post(isolate):
                await world.ask(isolate, "POST")
            case Sdk():
                world.change(step)
            case Wait(ms):
                await asyncio.sleep(ms / 1000)
    await world.background.done()
    await asyncio.sleep(INTERVAL + 1)
    if world.is_undone or any(edge.faults for edge in world.edges):
        return None
    served = [await world.ask(isolate, "GET") for isolate in range(len(world.edges))]
    await world.background.done()
    return served, str(world.version).encode()


ISOLATES = st.integers(0, 1)
STEPS = st.lists(
    st.one_of(
        st.builds(Get, ISOLATES),
        st.builds(Post, ISOLATES),
        st.builds(Sdk, st.integers(0, 1), st.booleans()),
        st.builds(Wait, st.sampled_from([1, 50, 300, 700, 1100, 2500])),
    ),
    min_size=2,
    max_size=16,
)
SKEWS = st.tuples(*[st.sampled_from([-500, 0, 500])] * 3)


@given(steps=STEPS, skews_ms=SKEWS, seed=st.integers(0, 2**32))
@settings(max_examples=examples(60), deadline=None)
def test_no_purge_is_taken_back(steps: list[Step], skews_ms: tuple[int, ...], seed: int) -> None:
    ended = virtual.run(_run(steps, skews_ms, random.Random(seed)))  # noqa: S311 - cases, not secrets
    assume(ended)
    assert ended
    served, current = ended
    assert served == [current] * len(served)


class Faultless(random.Random):
    """Chance that lets everything go well and at once."""

    def random(self) -> float:
        return 1.0

    def choice(self, seq: Any) -> Any:
        return seq[0]


@pytest.mark.parametrize(
    "later",
    [
        pytest.param([Sdk(0, hard=True)], id="hard, by the SDK"),
        pytest.param([Sdk(0, hard=False)], id="soft, by the SDK"),
        pytest.param([Post(1)], id="by a request through another isolate"),
        pytest.param([Post(0)], id="by a request through the same isolate"),
    ],
)
def test_a_mark_that_waited_does_not_take_back_a_purge_that_came_meanwhile(later: list[Step]) -> None:
    """The second mark waits for its turn; what is fetched and purged before that stays purged."""
    steps: list[Step] = [Get(0), Post(0), Wait(100), Post(0), Wait(200), Get(1), Get(0), Wait(740), *later]
    ended = virtual.run(_run([*steps, Wait(3000)], (0, 0, 0), Faultless()))
    assert ended
    served, current = ended
    assert served == [current] * len(served)
