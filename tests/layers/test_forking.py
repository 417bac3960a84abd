"""A cache that was used before a fork, as gunicorn's preload does, is a cache of its own after it."""

import gc
import os
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from threading import Lock, RLock, Timer
from typing import Any

import pytest

from origin_sdk.layers import Family, LayeredCache, Policy, RedisOptions
from origin_sdk.layers.telemetry import PrometheusCollector
from tests.layers.servers import PATIENT_SECONDS, RedisServer
from tests.layers.test_breakdowns import eventually
from tests.layers.test_contract import Source

FAMILY = Family("number", "{id}", int, groups=("group-{id}",))
STALE = Family("stale", "{id}", str, policy=Policy(lifetime=0.05, stale=60, jitter=0))
LOCKS = (type(Lock()), type(RLock()))
pytestmark = pytest.mark.filterwarnings("ignore:This process.*is multi-threaded:DeprecationWarning")


@pytest.fixture
def cache(redis_server: RedisServer, prefix: str) -> Iterator[LayeredCache]:
    with LayeredCache(RedisOptions(url=redis_server.url, prefix=prefix, timeout=PATIENT_SECONDS)) as made:
        assert made.wait_until_synced(30)
        made.get_or_load(FAMILY.key(id="before"), Source(1))
        made.memory.clear()
        assert made.get(FAMILY.key(id="before")) == 1  # over a connection that is kept for reads
        made.get_or_load(STALE.key(id=1), Source("old"))
        time.sleep(0.1)  # its lifetime
        made.get_or_load(STALE.key(id=1), Source("older"))  # in a thread of the pool, which the child hasn't
        yield made


class Child:
    """What a function says in a forked process: "done", or how it failed."""

    def __init__(self, function: Callable[[], object]) -> None:
        self._read, write = os.pipe()
        self._process = os.fork()
        if not self._process:
            said = "done"
            try:
                function()
            except BaseException:  # noqa: BLE001 - the parent raises it
                said = traceback.format_exc()
            os.write(write, said.encode()[-60_000:])
            os._exit(0)
        os.close(write)

    def said(self) -> str:
        said = os.read(self._read, 65_536).decode()
        os.close(self._read)
        os.waitpid(self._process, 0)
        return said


def read_and_write(cache: LayeredCache, name: str) -> None:
    for number in range(300):
        key = FAMILY.key(id=f"{name}-{number % 7}")
        cache.set(key, number)
        cache.memory.clear()
        assert cache.get(key) == number


def test_both_go_on_without_each_others_answers(cache: LayeredCache) -> None:
    child = Child(lambda: read_and_write(cache, "child"))
    read_and_write(cache, "parent")
    assert child.said() == "done"


def test_the_child_refreshes_in_the_background(cache: LayeredCache) -> None:
    def refresh() -> None:
        time.sleep(0.1)  # a lifetime
        assert cache.get_or_load(STALE.key(id=1), Source("new")) != "new"
        eventually(lambda: cache.get_or_load(STALE.key(id=1), Source("newer")) != "older")

    assert Child(refresh).said() == "done"


def test_each_hears_of_the_other(cache: LayeredCache) -> None:
    key, back = FAMILY.key(id=17), FAMILY.key(id="back")
    cache.set(key, 1)

    def hear() -> None:
        assert cache.wait_until_synced(30)
        assert cache.get(key) == 1
        cache.set(back, 1)
        eventually(lambda: cache.get(key) is None)

    child = Child(hear)
    eventually(lambda: cache.get(back) == 1)
    cache.invalidate(groups=["group-17"])
    assert child.said() == "done"


def test_the_child_may_close_what_the_parent_goes_on_using(cache: LayeredCache) -> None:
    def close() -> None:
        assert cache.get(FAMILY.key(id="before")) == 1
        cache.close()

    assert Child(close).said() == "done"
    read_and_write(cache, "parent")


def locks_in(owners: Iterable[object]) -> list[Any]:
    """Return the locks that these hold as attributes."""
    held = [each for owner in owners for each in list(getattr(owner, "__dict__", {}).values())]
    return list({id(each): each for each in held if isinstance(each, LOCKS)}.values())


def test_what_was_locked_at_the_fork_is_free_in_the_child(cache: LayeredCache) -> None:
    collector = PrometheusCollector(cache)
    modules = [module for name, module in sys.modules.items() if name.startswith("origin_sdk.layers")]
    objects = [
        each for each in gc.get_objects() if str(type(each).__module__).startswith("origin_sdk.layers")
    ]
    of_modules, of_objects = locks_in(modules), locks_in(objects)
    assert of_modules
    assert len(of_objects) > 8
    held = [each for each in of_objects if each.acquire(blocking=False)]
    for each in of_modules:  # a fork waits for these
        each.acquire()
        Timer(0.1, each.release).start()

    def use() -> None:
        read_and_write(cache, "child")
        outer, inner = FAMILY.key(id="outer"), FAMILY.key(id="inner")
        assert cache.get_or_load(outer, lambda _: cache.get_or_load(inner, Source(1))) == 1
        list(collector.collect())

    child = Child(use)
    for each in held:
        each.release()
    assert child.said() == "done"
