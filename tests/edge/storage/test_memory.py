"""One budget for all that an isolate holds: whatever happens, the sum is right, and bodies give way."""

from __future__ import annotations

from contextlib import ExitStack

from hypothesis import given
from hypothesis import strategies as st

from origin_sdk_edge.storage.memory import Entry, Memory
from origin_sdk_wire.record import Index, Record
from origin_sdk_wire.settings import Settings
from tests.edge.fakes import START_MS, FakeEdge, FakeResponse

_KEYS = st.sampled_from("abcdef")
_STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("put"), _KEYS, st.integers(0, 60_000)),
        st.tuples(st.just("index"), _KEYS, st.just(0)),
        st.tuples(st.just("drop"), _KEYS, st.just(0)),
        st.tuples(st.just("charge"), _KEYS, st.integers(0, 9_000)),
        st.tuples(st.just("use"), _KEYS, st.integers(0, 60_000)),
        st.tuples(st.just("release"), _KEYS, st.just(0)),
        st.tuples(st.just("on its way"), _KEYS, st.integers(0, 30_000)),
        st.tuples(st.just("table"), st.text("xyz", max_size=3), st.integers(0, 9)),
    ),
    max_size=40,
)


def _entry(key: str, size: int) -> Entry:
    return Entry(key, Record(200, START_MS, START_MS, 0, (("a", "b"),)), b"", size)


class _World:
    """A memory, and what was done to it."""

    def __init__(self) -> None:
        self.memory = Memory(100_000)
        self.table = self.memory.table(0)
        self.names: set[str] = set()
        self.in_use: dict[str, tuple[Entry, ExitStack]] = {}
        self.on_their_way_bytes = 0

    def do(self, step: str, key: str, number: int) -> None:
        memory, held = self.memory, self.memory.get(key)
        match step:
            case "put":
                memory.put(key, _entry(key, number))
            case "index":
                memory.put(key, Index(()))
            case "drop":
                memory.drop(key)
            case "charge" if isinstance(held, Entry):
                memory.charge(held, number)
            case "use" if key not in self.in_use:
                stack, entry = ExitStack(), held if isinstance(held, Entry) else _entry(key, number)
                if stack.enter_context(memory.used(entry)):
                    self.in_use[key] = entry, stack
            case "release" if key in self.in_use:
                self.in_use.pop(key)[1].close()
            case "on its way" if memory.has_room_for(number):
                memory.take_on_their_way(number)
                self.on_their_way_bytes += number
            case "table":
                self.table.set(key, number)
                self.names.add(key)

    def held_bytes(self) -> int:
        unused = [entry for entry, _ in self.in_use.values() if not entry.is_held]
        items = [item for key in "abcdef" if (item := self.memory.get(key))]
        names = [name for name in self.names if self.table.get(name) is not None]
        return (
            sum(item.cost_bytes if isinstance(item, Entry) else 2048 for item in [*items, *unused])
            + self.on_their_way_bytes
            + sum(512 + len(name) for name in names)
        )


@given(steps=_STEPS)
def test_what_is_counted_is_what_is_held(steps: list[tuple[str, str, int]]) -> None:
    world = _World()
    for step in steps:
        world.do(*step)
        assert world.memory.used_bytes == world.held_bytes()
        assert world.memory.used_bytes <= world.memory.max_bytes or not len(world.memory)


async def test_an_eviction_drops_its_decisions() -> None:
    edge = FakeEdge(
        Settings(origin="http://o", memory_bytes=1_000_000),
        lambda _: FakeResponse(200, {"cache-control": "max-age=60"}, b"x" * 180_000),
    )
    urls = [f"http://api.test/{number}" for number in range(50)]
    for url in urls:
        for _ in range(4):
            edge.remember(url, {}, await edge.full("GET", url, {}))
        assert edge.repeated(url, {})

    known = [url for url in urls if edge.fast_path.knows(url)]

    assert urls[-1] in known
    assert len(known) < 6
    assert edge.storage.memory.used_bytes <= 1_000_000


async def test_many_urls_of_one_response_are_counted_and_bounded() -> None:
    edge = FakeEdge(
        Settings(origin="http://o"), lambda _: FakeResponse(200, {"cache-control": "max-age=60"}, b"x")
    )
    for number in range(200):
        url = f"http://api.test/a?utm_source={number}#{number}"
        served = [await edge.full("GET", "http://api.test/a", {}) for _ in range(3)]
        edge.remember(url, {}, served[-1])

    known = [n for n in range(200) if edge.fast_path.knows(f"http://api.test/a?utm_source={n}#{n}")]

    assert known == list(range(168, 200))
    assert edge.storage.memory.used_bytes > 32 * 4096
