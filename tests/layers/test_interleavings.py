"""No value is served whose load began before an invalidation that is over, however two processes mix."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from threading import Event
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from origin_sdk.layers import Family, Key, LayeredCache, Policy, RedisOptions
from origin_sdk.layers.rules import retrieval, writes
from origin_sdk.layers.rules.batches import get_many_or_load
from origin_sdk.layers.rules.steps import AskMany, Flow, Follow, FollowAll, Wait
from tests.layers.servers import RedisServer
from tests.layers.test_breakdowns import eventually

FAMILY = Family("number", "{id}", int, groups=("numbers",), policy=Policy(jitter=0))
KEY, OTHER = FAMILY.key(id=1), FAMILY.key(id=2)
_prefixes = count()


class World:
    """A source whose number rises with each write, and two processes with a cache each."""

    def __init__(self, url: str | None) -> None:
        options = RedisOptions(url=url, prefix=f"mix-{next(_prefixes)}", timeout=5.0) if url else None
        self.caches = [LayeredCache(options) for _ in range(2 if url else 1)]
        for cache in self.caches:
            assert url is None or cache.wait_until_synced(30)
        self.written = 0
        self.invalidated = 0
        self.invalidated_by_group = 0

    def load(self, _: object) -> int:
        return self.written

    def everyone_heard(self) -> None:
        """Let the messages arrive that are under way: how long that takes is not the question here."""
        generations = [cache.link.generations for cache in self.caches if cache.link]
        if generations:
            client = self.caches[0]._redis.client()  # type: ignore[union-attr]  # there is Redis
            last = float(client.get(self.caches[0].link.layout.generations[0]))  # type: ignore[union-attr]  # as above
            eventually(lambda: all(known[0] >= last for known in generations))

    def close(self) -> None:
        for cache in self.caches:
            cache.close()


@dataclass
class Running:
    """A verb under way in one of the processes, stopped between two steps."""

    cache: LayeredCache
    flow: Flow[Any]
    ended: Callable[[Any], None]
    answer: Any = None
    blocked: Event | None = None
    later: Any = None
    """What is answered once it isn't blocked any more."""

    def advance(self) -> bool:
        """Do the next step; say whether that was the last."""
        if self.blocked is not None:
            if not self.blocked.is_set():
                return False
            self.answer, self.blocked = self.later, None
        try:
            step = self.flow.send(self.answer)
        except StopIteration as end:
            self.ended(end.value)
            return True
        match step:
            case Follow(key):
                flight, self.blocked = self.cache.flights.join(key, Event)
                self.answer, self.later = (flight, True, True), (flight, False, True)
            case FollowAll(flights):
                self.blocked, self.later = Event(), True
                self.cache.flights.when_all(flights, self.blocked.set)
            case Wait(_, commands):
                self.answer = self.cache._do(AskMany(commands))  # its time is over at once: it asks again
            case _:
                self.answer = self.cache._do(step)
        return False


def read(world: World, cache: LayeredCache) -> Running:
    least = world.invalidated

    def check(value: int) -> None:
        assert value >= least, f"{value} was loaded before the invalidation of {least}"

    return Running(cache, retrieval.get_or_load(cache, KEY, world.load), check)


def read_many(world: World, cache: LayeredCache, *, is_reversed: bool) -> Running:
    least = {KEY: world.invalidated, OTHER: world.invalidated_by_group}

    def check(values: dict[Key[int], int]) -> None:
        assert values.keys() == least.keys()
        for key, value in values.items():
            assert value >= least[key], f"{key}: {value} was loaded before the invalidation of {least[key]}"

    keys = [OTHER, KEY] if is_reversed else [KEY, OTHER]
    flow = get_many_or_load(cache, keys, lambda some: dict.fromkeys(some, world.written))
    return Running(cache, flow, check)


def write(world: World, cache: LayeredCache, verb: str) -> Running:
    world.written += 1
    written = world.written
    flow: Flow[Any]
    if verb == "invalidate":
        flow = writes.invalidate(cache, ["numbers"], [])
    elif verb == "delete":
        flow = writes.delete(cache, KEY)
    else:
        flow = writes.set_value(cache, KEY, written, None, ())

    def done(_: object) -> None:
        world.everyone_heard()
        world.invalidated = max(world.invalidated, written)
        if verb == "invalidate":
            world.invalidated_by_group = max(world.invalidated_by_group, written)

    return Running(cache, flow, done)


def forget(world: World, cache: LayeredCache) -> None:
    """Evict the key, so that Redis is asked."""
    del world
    cache.memory.clear()


def finish(running: list[Running]) -> None:
    """Advance all in turn until none is left."""
    while running:
        is_stuck = all(each.blocked and not each.blocked.is_set() for each in running)
        assert not is_stuck, "they wait for each other"
        running[:] = [each for each in running if not each.advance()]


@pytest.fixture(params=["memory", "redis"])
def url(request: pytest.FixtureRequest) -> str | None:
    return request.getfixturevalue("redis_server").url if request.param == "redis" else None


ACTIONS = st.lists(
    st.tuples(
        st.sampled_from(
            ["read", "many", "many", *["step"] * 4, "finish", "invalidate", "delete", "forget"],
        ),
        st.integers(0, 7),
    ),
    min_size=5,
    max_size=60,
)


@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(actions=ACTIONS)
@example(actions=[("read", 0), ("finish", 0), ("invalidate", 0), ("finish", 0), ("forget", 0), ("read", 0)])
@example(actions=[("read", 0), ("finish", 0), ("invalidate", 1), ("finish", 0), ("forget", 0), ("read", 0)])
@example(
    actions=[("many", 0), *[("step", 0)] * 4, ("many", 3), ("invalidate", 0), ("many", 0), ("finish", 0)]
)
@example(actions=[("many", 0), ("many", 3), ("read", 0), *[("step", each) for each in range(8)] * 3])
@example(
    actions=[
        ("read", 0),
        ("step", 0),
        ("step", 0),
        ("step", 0),
        ("invalidate", 1),
        ("finish", 0),
        ("read", 1),
    ]
)
def test_nothing_older_than_an_invalidation_is_served(
    url: str | None, actions: list[tuple[str, int]]
) -> None:
    world = World(url)
    running: list[Running] = []
    try:
        for action, number in actions:
            cache = world.caches[number % len(world.caches)]
            if action == "read":
                running.append(read(world, cache))
            elif action == "many":
                running.append(read_many(world, cache, is_reversed=number % 3 == 0))
            elif action == "finish":
                finish(running)
            elif action == "forget":
                forget(world, cache)
            elif action != "step":
                running.append(write(world, cache, action))
            elif running and running[number % len(running)].advance():
                del running[number % len(running)]
        finish(running)
        finish([read(world, world.caches[-1]), read_many(world, world.caches[0], is_reversed=False)])
    finally:
        world.close()


def test_of_two_writers_the_later_one_is_served_by_both(redis_server: RedisServer) -> None:
    world = World(redis_server.url)
    try:
        for number, cache in enumerate(world.caches * 5):
            cache.set(KEY, number)
        world.everyone_heard()
        assert [cache.get(KEY) for cache in world.caches] == [9, 9]
    finally:
        world.close()


@pytest.mark.parametrize("verb", ["invalidate", "delete"])
def test_what_is_heard_while_redis_is_asked_outdates_a_plain_read(
    redis_server: RedisServer, verb: str
) -> None:
    world = World(redis_server.url)
    try:
        writer, reader = world.caches
        writer.get_or_load(KEY, world.load)
        reading = retrieval.get(reader, KEY, None)
        step = reading.send(None)
        finish([write(world, writer, verb)])
        answers: list[object] = []
        finish([Running(reader, reading, answers.append, reader._do(step))])
        assert answers == [None]
    finally:
        world.close()
