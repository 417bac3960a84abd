"""Parts are written, wholes loaded and invalidated: however two processes mix, nothing goes back.

The oracle is a source of two fields, of which each is written by one at a time, first to the source, then
through; an invalidation is of whatever the source has by then. A read that begins after a write or an
invalidation is over has to see that version of the field, or a later one.
"""

from collections.abc import Callable, Sequence
from itertools import count
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from origin_sdk.layers import Encryption, Family, LayeredCache, Policy, RedisOptions, Wrapping
from origin_sdk.layers.rules import writes as verbs
from origin_sdk.layers.rules.steps import Flow
from origin_sdk.layers.structures.verbs import FieldFlows
from tests.layers.test_breakdowns import eventually
from tests.layers.test_interleavings import Running, finish

FAMILY = Family("pair", "{id}", dict[str, int], groups=("pairs",), policy=Policy(jitter=0), kept_as="hash")
KEY = FAMILY.key(id=1)
FIELDS = ("a", "b")
_prefixes = count()


class World:
    """A source of two fields, and two processes with a cache each."""

    def __init__(self, url: str | None, wrapping: Wrapping) -> None:
        options = RedisOptions(url=url, prefix=f"pair-{next(_prefixes)}", timeout=5.0) if url else None
        self.caches = [LayeredCache(options, wrapping=wrapping) for _ in range(2 if url else 1)]
        for cache in self.caches:
            assert url is None or cache.wait_until_synced(30)
        self.source = dict.fromkeys(FIELDS, 0)
        self.least = dict.fromkeys(FIELDS, 0)
        self.writing: set[str] = set()

    def load(self, _: object) -> dict[str, int]:
        return dict(self.source)

    def everyone_heard(self) -> None:
        links = [cache.link for cache in self.caches if cache.link]
        if links:
            client: Any = self.caches[0]._redis.client()  # type: ignore[union-attr]  # there is Redis
            last = float(client.get(links[0].layout.generations[0]) or 0)
            eventually(lambda: all(link.generations[0] >= last for link in links))

    def close(self) -> None:
        for cache in self.caches:
            cache.close()

    def read(self, cache: LayeredCache, fields: Sequence[str] | None) -> Running:
        least = dict(self.least)

        def check(found: dict[str, int]) -> None:
            for field, value in found.items():
                assert value >= least[field], f"{field} is {value}, but was {least[field]} before this read"

        parts: FieldFlows[str, int] = FieldFlows(cache, KEY, self.load)
        return Running(cache, parts.get_many(fields) if fields else parts.all(), check)

    def write(self, cache: LayeredCache, field: str) -> Running | None:
        """Write a field through, unless it is being written: who writes one is one after the other."""
        if field in self.writing:
            return None
        self.writing.add(field)
        self.source[field] += 1
        written = self.source[field]

        def done(_: object) -> None:
            self.everyone_heard()
            self.writing.discard(field)
            self.least[field] = max(self.least[field], written)

        parts: FieldFlows[str, int] = FieldFlows(cache, KEY, None)
        return Running(cache, parts.set_many({field: written}), done)

    def end(self, cache: LayeredCache, verb: str) -> Running:
        """Change the source, and invalidate."""
        for field in FIELDS:
            if field not in self.writing:
                self.source[field] += 1
        changed = {field: self.source[field] for field in FIELDS if field not in self.writing}
        flow: Flow[Any] = (
            verbs.delete(cache, KEY) if verb == "delete" else verbs.invalidate(cache, ["pairs"], [])
        )

        def done(_: object) -> None:
            self.everyone_heard()
            for field, version in changed.items():
                self.least[field] = max(self.least[field], version)

        return Running(cache, flow, done)


@pytest.fixture(params=["memory", "redis", "sealed"])
def new_world(request: pytest.FixtureRequest) -> Callable[[], World]:
    url = None if request.param == "memory" else request.getfixturevalue("redis_server").url
    wrapping = Wrapping(seal=Encryption({"k": b"k" * 32})) if request.param == "sealed" else Wrapping()
    return lambda: World(url, wrapping)


ACTIONS = st.lists(
    st.tuples(
        st.sampled_from(
            [
                "part",
                "part",
                "whole",
                *["step"] * 5,
                "finish",
                "write",
                "write",
                "invalidate",
                "delete",
                "forget",
            ]
        ),
        st.integers(0, 7),
    ),
    min_size=5,
    max_size=60,
)


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(actions=ACTIONS)
@example(actions=[("whole", 0), ("finish", 0), ("write", 0), ("finish", 0), ("forget", 0), ("part", 0)])
@example(actions=[("part", 0), *[("step", 0)] * 4, ("write", 1), ("finish", 0), ("forget", 0), ("part", 0)])
@example(
    actions=[
        *[("whole", 0), ("finish", 0), ("write", 0), ("step", 0), ("invalidate", 1), ("step", 1)],
        *[("step", 1), ("step", 1), ("finish", 0), ("forget", 0), ("forget", 1), ("part", 1)],
    ]
)
@example(actions=[("whole", 0), ("finish", 0), ("invalidate", 0), ("write", 1), ("finish", 0), ("part", 1)])
def test_no_part_goes_back_behind_a_write_or_an_invalidation(
    new_world: Callable[[], World], actions: list[tuple[str, int]]
) -> None:
    here = new_world()
    running: list[Running] = []
    try:
        for action, number in actions:
            cache = here.caches[number % len(here.caches)]
            if action == "part":
                running.append(here.read(cache, FIELDS if number % 3 == 0 else [FIELDS[number % 2]]))
            elif action == "whole":
                running.append(here.read(cache, None))
            elif action == "write":
                written = here.write(cache, FIELDS[number % 2])
                running += [written] if written else []
            elif action in {"invalidate", "delete"}:
                running.append(here.end(cache, action))
            elif action == "finish":
                finish(running)
            elif action == "forget":
                cache.memory.clear()
            elif running and running[number % len(running)].advance():
                del running[number % len(running)]
        finish(running)
        finish([here.read(cache, fields) for cache in here.caches for fields in (FIELDS, None)])
    finally:
        here.close()
