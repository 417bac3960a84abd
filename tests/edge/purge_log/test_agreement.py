"""The log and the marks never disagree towards serving what was purged."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from origin_sdk_edge.purge_log.ledger import Limits
from origin_sdk_wire.choices import PurgeMode
from origin_sdk_wire.key import parse_target
from origin_sdk_wire.marks import (
    EVERYTHING,
    covering_marks,
    group_mark,
    host_group_mark,
    host_groups_mark,
    host_mark,
    prefix_index_mark,
    prefix_mark,
    url_mark,
)
from origin_sdk_wire.record import Record
from tests.edge.purge_log.world import World

_BOUND_MS = 5000
"""For how long an answer of the log is relied on, and a mark that was read."""
_URLS = ("http://a.example/x/y", f"http://a.example/x/{'long' * 60}", "http://b.example/")
_PURGES = (
    (EVERYTHING,),
    (host_mark("a.example"),),
    (group_mark("g"),),
    (group_mark("h"), group_mark("g")),
    (host_group_mark("a.example", "g"), host_groups_mark("a.example")),
    (prefix_mark(parse_target("http://a.example/x")), prefix_index_mark("a.example")),
    *((url_mark(parse_target(url)),) for url in _URLS),
)
_GROUPS = ((), ("g",), ("g", "h"))
_STEPS = st.one_of(
    st.tuples(st.just("pass"), st.sampled_from([1, 300, 1000, 2500, 6000, 70_000, 700_000])),
    st.tuples(st.just("purge"), st.sampled_from(_PURGES), st.booleans(), st.booleans()),
    st.tuples(st.just("store"), st.sampled_from(_URLS), st.sampled_from(_GROUPS)),
    st.tuples(st.just("look")),
    st.tuples(st.just("away"), st.booleans()),
    st.tuples(st.just("lose")),
    st.tuples(st.just("evict")),
    st.tuples(st.just("restart")),
)


class _Services:
    """What was purged and what is stored, beside what the isolate knows of it."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.stored: list[tuple[str, Record]] = []
        self.purges: list[tuple[int, str, bool]] = []

    def do(self, step: tuple[object, ...]) -> None:
        world = self.world
        match step:
            case ("pass", int(milliseconds)):
                world.timing.ms += milliseconds
            case ("purge", tuple(names), bool(hard), bool(is_told)):
                world.purge(*names, hard=hard, is_told=is_told and not world.is_away)
                self.purges += [(world.timing.ms, name, hard) for name in names]
                world.timing.ms += 1
            case ("store", str(url), tuple(groups)):
                self.stored.append((url, Record(200, world.timing.ms, world.timing.ms, 0, (), groups)))
            case ("away", bool(is_away)):
                world.is_away = is_away
            case (str(name),):
                getattr(self if name == "look" else world, name)()

    def look(self) -> None:
        for url, record in self.stored:
            names = covering_marks(parse_target(url), record.groups)
            covering = [
                (moment_ms, hard)
                for moment_ms, name, hard in self.purges
                if name in names and record.birth_ms <= moment_ms
            ]
            due = [hard for moment_ms, hard in covering if moment_ms < self.world.timing.ms - _BOUND_MS]
            found = self.world.look(url, record)
            assert found.is_unknown or bool(found.soft_ms) >= bool(due)
            assert found.is_unknown or bool(found.hard_ms) >= any(due)
            assert covering or not found.soft_ms  # what wasn't purged isn't taken for that


@settings(max_examples=100, deadline=None)
@given(
    st.lists(_STEPS, max_size=40),
    st.sampled_from(PurgeMode),
    st.sampled_from([2, 5, 1000]),
    st.sampled_from([1, 3]),
)
def test_what_was_purged_is_not_served_beyond_the_bound(
    steps: list[tuple[object, ...]], mode: PurgeMode, entries: int, shards: int
) -> None:
    limits = Limits(window_ms=600_000, reader_ms=6000, entries=entries)
    services = _Services(World(mode, limits, shards))
    for step in steps:
        services.do(step)
    services.world.timing.ms += _BOUND_MS + 1001
    services.look()
