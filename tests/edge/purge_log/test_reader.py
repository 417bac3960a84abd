"""What an isolate knows by the log, when it asks, and what it falls back upon."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import count

import pytest

from origin_sdk_edge.policy.decision import VALID
from origin_sdk_edge.purge_log.ledger import BACKLOG, Limits
from origin_sdk_wire.choices import PurgeMode
from origin_sdk_wire.key import parse_target
from origin_sdk_wire.marks import EVERYTHING, group_mark, host_group_mark, host_mark, prefix_mark, url_mark
from origin_sdk_wire.purge_log.entries import MAX_NAME_BYTES, Purged, Switch, SwitchKind
from origin_sdk_wire.purge_log.messages import parse_visibility
from origin_sdk_wire.purge_log.shards import shard_of
from origin_sdk_wire.record import Record
from tests.edge.fakes import START_MS
from tests.edge.purge_log.world import LIMITS, World, run

URL = "http://a.example/x/y"
LONG = f"{URL}{'z' * 300}"
LONG_HOST = ".".join(["label" * 8] * 6)


def _begun(mode: PurgeMode = PurgeMode.FAST, limits: Limits = LIMITS) -> World:
    """A world whose log has begun, and in which a while has gone by since."""
    world = World(mode, limits)
    world.look(URL, _born(START_MS))
    world.timing.ms += 60_000
    return world


def _born(moment_ms: int, *groups: str) -> Record:
    return Record(200, moment_ms, moment_ms, 0, (), groups)


def test_a_response_that_the_log_vouches_for_costs_no_mark() -> None:
    world = _begun()
    record = _born(world.timing.ms, "g", "h")
    world.store.read_keys.clear()
    for _ in range(100):
        world.timing.ms += 300
        assert world.look(URL, record) == VALID
    assert world.store.read_keys == []
    assert len(world.asked) <= 2 + 30


def test_an_older_one_is_judged_by_its_marks() -> None:
    world = _begun()
    record = _born(START_MS - 1000, "g")
    world.purge(group_mark("g"))
    world.lose()
    world.store.read_keys.clear()
    assert world.look(URL, record).soft_ms
    assert world.store.read_keys


@pytest.mark.parametrize(
    ("name", "url"),
    [
        pytest.param(EVERYTHING, URL, id="everything"),
        pytest.param(host_mark("a.example"), URL, id="a host"),
        pytest.param(url_mark(parse_target(URL)), URL, id="a URL"),
        pytest.param(url_mark(parse_target(f"{URL}?{'q' * 300}")), f"{URL}?{'q' * 300}", id="a long URL"),
        pytest.param(prefix_mark(parse_target("http://a.example/x")), URL, id="a prefix"),
        pytest.param(
            prefix_mark(parse_target(f"{URL}{'z' * 300}")), f"{URL}{'z' * 300}/a", id="a long prefix"
        ),
        pytest.param(
            prefix_mark(parse_target(f"http://{LONG_HOST}/x")), f"http://{LONG_HOST}/x/y", id="a long host's"
        ),
        pytest.param(group_mark("g"), URL, id="a group"),
        pytest.param(group_mark("#~"), URL, id="a group that looks cut"),
        pytest.param(host_group_mark("a.example", "g"), URL, id="a group of a host"),
    ],
)
@pytest.mark.parametrize("hard", [False, True], ids=["soft", "hard"])
@pytest.mark.parametrize("age_ms", [-120_000, 0], ids=["older than the log", "younger"])
def test_a_purge_is_honoured_once_it_was_told(name: str, url: str, age_ms: int, *, hard: bool) -> None:
    world = _begun()
    record = _born(world.timing.ms + age_ms, "g", "#~")
    assert world.look(url, record) == VALID
    world.timing.ms += 1000
    world.purge(name, hard=hard)
    world.look(url, record)  # asks behind this
    found = world.look(url, record)
    assert (bool(found.soft_ms), bool(found.hard_ms)) == (True, hard)
    later = _born(world.timing.ms + 1, "g", "#~")
    assert world.look(url, later) == VALID


def test_one_that_was_idle_hears_of_a_purge_of_an_older_response_before_kv_shows_it() -> None:
    world = _begun()
    record = _born(START_MS - 1000, "g")
    assert world.look(URL, record) == VALID
    world.timing.ms += 6000
    world.ledger.tell([Purged("told", world.timing.ms, (group_mark("g"),))], world.timing.ms)
    world.timing.ms += 6000
    assert world.look(URL, record).soft_ms


def test_what_another_host_purges_costs_nothing() -> None:
    world = _begun()
    record = _born(world.timing.ms, "g")
    world.purge(host_mark("b.example"), prefix_mark(parse_target("http://b.example/x")), group_mark("other"))
    world.timing.ms += 1000
    world.store.read_keys.clear()
    world.look(URL, record)
    assert world.look(URL, record) == VALID
    assert world.store.read_keys == []


@pytest.mark.parametrize(
    ("mode", "idle_ms", "asks_first"),
    [
        pytest.param(PurgeMode.FAST, 4900, False, id="fast serves under the old bound"),
        pytest.param(PurgeMode.FAST, 5100, True, id="and asks beyond it"),
        pytest.param(PurgeMode.STRICT, 1900, False, id="strict serves for two seconds"),
        pytest.param(PurgeMode.STRICT, 2100, True, id="and asks before it serves"),
    ],
)
def test_one_that_was_idle(mode: PurgeMode, idle_ms: int, *, asks_first: bool) -> None:
    world = _begun(mode)
    record = _born(world.timing.ms, "g")
    world.look(URL, record)
    world.timing.ms += 3000  # so that KV is listed again
    world.look(URL, record)
    world.timing.ms += 1
    world.purge(group_mark("g"))
    world.timing.ms += idle_ms
    assert bool(world.look(URL, record).soft_ms) is asks_first


def test_marks_hold_while_the_log_is_away_and_nobody_waits_for_it_each_time() -> None:
    world = _begun()
    record = _born(world.timing.ms, "g")
    world.look(URL, record)
    world.is_away = True
    world.timing.ms += 10_000
    assert world.look(URL, record) == VALID
    assert world.storage.marks.is_without_log()
    world.purge(group_mark("g"))
    world.timing.ms += 5001
    assert world.look(URL, record).soft_ms
    assert set(world.faults) == {"log"}
    world.is_away = False
    world.timing.ms += 5001
    world.look(URL, record)
    assert not world.storage.marks.is_without_log()


def test_another_history_is_read_from_its_beginning() -> None:
    world = _begun()
    record = _born(world.timing.ms, "g")
    world.purge(group_mark("other"), group_mark("another"))
    world.look(URL, record)
    world.lose()
    world.purge(group_mark("g"))
    world.timing.ms += 6000
    assert world.look(URL, record).soft_ms
    assert not world.storage.marks.table.log.vouches(record.birth_ms, 0)


def test_nothing_of_another_history_is_left_out_though_its_numbers_are_those_of_the_last() -> None:
    world = _begun(limits=Limits(window_ms=600_000, reader_ms=6000))
    world.ledger.tell([Purged(f"{n}", world.timing.ms, ("group/other",)) for n in range(70)], world.timing.ms)
    record = _born(world.timing.ms, "g")
    world.look(URL, record)
    world.lose()
    told = [Purged("told", world.timing.ms, (group_mark("g"),))]
    told += [Purged(f"n{n}", world.timing.ms, ("group/other",)) for n in range(80)]
    world.ledger.tell(told, world.timing.ms)
    world.timing.ms += 6000
    assert world.look(URL, record).soft_ms


def test_who_begins_late_relies_on_what_it_was_told_of() -> None:
    world = _begun(limits=Limits(window_ms=600_000, reader_ms=6000))
    many = [Purged(f"{number}", world.timing.ms + number, ("group/g",)) for number in range(BACKLOG + 5)]
    world.ledger.tell(many, world.timing.ms)
    world.restart()
    world.timing.ms += 10_000
    world.look(URL, _born(world.timing.ms))
    assert world.storage.marks.table.log.since_ms == many[4].moment_ms + 1


def test_switches_are_known_with_what_is_purged() -> None:
    world = _begun()
    switch = Switch("s", world.timing.ms, SwitchKind.BYPASS, world.timing.ms + 60_000)
    generation = world.storage.marks.table.generation
    world.ledger.tell([switch], world.timing.ms)
    world.look(URL, _born(world.timing.ms))
    assert world.switches.on(SwitchKind.BYPASS, "any", world.timing.ms) == switch
    assert world.storage.marks.table.generation > generation


def _paused(world: World) -> Switch:
    pause = Switch("pause", world.timing.ms, SwitchKind.PAUSE, world.timing.ms + 60_000)
    world.ledger.tell([pause], world.timing.ms)
    return pause


@pytest.mark.parametrize("age_ms", [-120_000, 0], ids=["older than the log", "younger"])
def test_purges_that_are_paused_count_once_that_is_over(age_ms: int) -> None:
    world = _begun()
    record = _born(world.timing.ms + age_ms, "g")
    world.look(URL, record)
    world.timing.ms += 2000
    pause = _paused(world)
    world.look(URL, record)
    world.timing.ms += 1000
    world.purge(group_mark("g"))
    while world.timing.ms < pause.until_ms - 5000:
        world.timing.ms += 5000
        assert world.look(URL, record) == VALID
    world.timing.ms = pause.until_ms + 1000
    world.look(URL, record)
    assert world.look(URL, record).soft_ms == pause.moment_ms + 1000


def test_a_pause_that_goes_on_for_longer_lets_nothing_through_between() -> None:
    world = _begun()
    record = _born(world.timing.ms, "g")
    world.timing.ms += 1000
    _paused(world)
    world.timing.ms += 1000
    world.purge(group_mark("g"))
    world.timing.ms += 1000
    longer = Switch("longer", world.timing.ms, SwitchKind.PAUSE, world.timing.ms + 120_000)
    world.ledger.tell([longer], world.timing.ms)
    for _ in range(20):
        world.timing.ms += 5000
        assert world.look(URL, record) == VALID
    taken_back = Switch("end", world.timing.ms, SwitchKind.PAUSE, world.timing.ms)
    world.ledger.tell([taken_back], world.timing.ms)
    world.timing.ms += 5000
    world.look(URL, record)
    assert world.look(URL, record).soft_ms


def test_what_was_purged_before_stays_so_while_purges_are_paused() -> None:
    world = _begun()
    record = _born(world.timing.ms, "g")
    world.timing.ms += 1
    world.purge(group_mark("g"))
    world.timing.ms += 2000
    _paused(world)
    world.restart()
    world.timing.ms += 1000
    world.purge(group_mark("g"))
    for _ in range(10):
        world.timing.ms += 3000
        assert world.look(URL, record).soft_ms


def test_a_mark_that_was_first_read_while_purges_are_paused_counts() -> None:
    world = _begun()
    record = _born(START_MS - 1000, "g")
    _paused(world)
    world.timing.ms += 1000
    world.purge(group_mark("g"))  # it may have taken the place of an earlier one
    assert world.look(URL, record).soft_ms


def test_names_of_the_log_are_short_enough_to_be_known_by() -> None:
    assert len(prefix_mark(parse_target(f"http://{LONG_HOST}/x")).encode()) > MAX_NAME_BYTES


# Shards


def _hosts_of_shards(shards: int) -> list[str]:
    """Return a host for each shard."""
    hosts: dict[int, str] = {}
    numbers = count()
    while len(hosts) < shards:
        host = f"h{next(numbers)}.example"
        hosts.setdefault(shard_of(host, shards), host)
    return [hosts[number] for number in range(shards)]


@pytest.mark.parametrize(
    ("name", "covered"),
    [
        pytest.param(lambda host: url_mark(parse_target(f"http://{host}/x")), [True, False], id="a URL"),
        pytest.param(
            lambda host: url_mark(parse_target(f"http://{host}:8080/x")), [False, False], id="another port"
        ),
        pytest.param(lambda host: prefix_mark(parse_target(f"http://{host}/")), [True, False], id="a prefix"),
        pytest.param(host_mark, [True, False], id="a host"),
        pytest.param(lambda host: host_group_mark(host, "g"), [True, False], id="a group of a host"),
        pytest.param(lambda _: group_mark("g"), [True, True], id="a group"),
        pytest.param(lambda _: EVERYTHING, [True, True], id="everything"),
    ],
)
@pytest.mark.parametrize("is_told", [True, False])
def test_a_purge_reaches_the_shards_that_it_is_about(
    name: Callable[[str], str], covered: list[bool], is_told: bool
) -> None:
    world = World(limits=Limits(window_ms=600_000, reader_ms=6000), shards=2)
    urls = [f"http://{host}/x" for host in _hosts_of_shards(2)]
    for url in urls * 2:
        world.look(url, _born(world.timing.ms))
        world.timing.ms += 3000
    records = [_born(world.timing.ms, "g") for _ in urls]
    world.timing.ms += 1
    (entry,) = world.purge(name(parse_target(urls[0]).host), is_told=is_told)
    world.timing.ms += 3000
    world.store.read_keys.clear()
    for url, record in zip(urls * 2, records * 2, strict=True):
        world.look(url, record)
    assert [
        bool(world.look(url, record).soft_ms) for url, record in zip(urls, records, strict=True)
    ] == covered
    # Known where it belongs, and asked of nobody else.
    known = [not ledger.visibility([entry.id], world.timing.ms).unknown for ledger in world.ledgers]
    assert known[0]
    assert not parse_visibility(run(world.visible(json.dumps({"ids": [entry.id]})))).unknown


def test_what_a_shard_says_that_was_not_read_yet_is_not_relied_on() -> None:
    world = World(limits=Limits(window_ms=600_000, reader_ms=6000), shards=2)
    first, second = (f"http://{host}/x" for host in _hosts_of_shards(2))
    for _ in range(3):
        world.look(first, _born(world.timing.ms))
        world.timing.ms += 3000
    record, marks = _born(world.timing.ms), world.storage.marks
    world.timing.ms += 1
    world.purge(url_mark(parse_target(second)))
    assert marks.table.log.vouches(record.birth_ms, world.timing.ms - 5000)
    assert marks.follow
    marks.follow(parse_target(second).host)
    assert not marks.table.log.vouches(record.birth_ms, 0)
    world.look(second, record)
    world.timing.ms += 1
    assert world.look(second, record).soft_ms
    assert world.look(first, record) == VALID
    assert marks.table.log.vouches(world.timing.ms, world.timing.ms - 5000)
