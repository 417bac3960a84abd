"""Purges with a purge log: entries beside the marks, telling, waiting. By both clients."""

import json
import logging
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any, cast

import pytest

from origin_sdk import AsyncPurgeClient, Grade, Options, Project, PurgeClient, Settings
from origin_sdk._cloudflare.budget import RateBudget
from origin_sdk._edge.purge_log import MAX_TELLS
from origin_sdk.errors import DeadlineExceeded, InvalidRequest, InvalidSettings, OutOfScope, PartialPurgeError
from origin_sdk.testing import FakeKV, ManualClock
from origin_sdk_wire.purge_log.entries import ENTRY_SECONDS, Purged, id_of
from origin_sdk_wire.purge_log.metadata import parse_entry
from origin_sdk_wire.record import MAX_METADATA_BYTES
from origin_sdk_wire.settings import Rule
from tests.sdk.conftest import Blocking
from tests.sdk.purge_log import SECRET, URL, FakeLog, key

MakeClient = Callable[..., PurgeClient]


@pytest.fixture
def log(kv_clock: ManualClock) -> FakeLog:
    return FakeLog(kv_clock)


@pytest.fixture(params=["sync", "async"])
def new_logging_client(
    request: pytest.FixtureRequest, fake_kv: FakeKV, kv_clock: ManualClock, log: FakeLog
) -> MakeClient:
    """Makes clients of the fake API and the fake log, with a key of some scope."""

    def make(project: Project | None = None, **scope: object) -> PurgeClient:
        settings = replace(fake_kv.settings, log_url=URL, log_key=key(**scope), actor="ann")
        arguments = {
            "project": project,
            "options": Options(clock=kv_clock, budget=RateBudget()),
            "transport": fake_kv.transport,
            "edge_transport": log.transport,
        }
        if request.param == "sync":
            return PurgeClient(settings, **arguments)  # type: ignore[arg-type]  # a table of arguments
        return cast("PurgeClient", Blocking(AsyncPurgeClient(settings, **arguments)))  # type: ignore[arg-type]

    return make


@pytest.fixture
def logging_client(new_logging_client: MakeClient) -> PurgeClient:
    return new_logging_client()


def entries_in(kv: FakeKV) -> Iterator[Purged]:
    for each in kv.stored_keys("p2/"):
        entry = parse_entry(id_of(each), kv.metadata(each))
        assert isinstance(entry, Purged)
        yield entry


def written(kv: FakeKV) -> list[list[str]]:
    """Return the keys of each bulk write."""
    return [[pair["key"] for pair in json.loads(each.body)] for each in kv.requests if each.method == "PUT"]


def test_the_entry_is_written_with_the_marks_and_told(
    logging_client: PurgeClient, fake_kv: FakeKV, log: FakeLog
) -> None:
    receipt = logging_client.purge(groups=["a", "b"], urls="a.example/x", hard=True, reason="recalled")
    [together] = written(fake_kv)
    assert together == [*receipt.marks, f"p2/{round(receipt.moment.timestamp()) // 60:08d}/{receipt.id}"]
    [entry] = entries_in(fake_kv)
    names = ("url/a.example/x", "group/a", "group/b")
    moment_ms = round(receipt.moment.timestamp() * 1000)
    assert entry == Purged(receipt.id, moment_ms, names, hard=True, by="ann", why="recalled")
    assert (receipt.log, receipt.told) == ((receipt.id,), True)
    assert log.entries == {receipt.id: entry}


def test_the_entry_expires_and_the_mark_stays(logging_client: PurgeClient, fake_kv: FakeKV) -> None:
    logging_client.purge(groups="a")
    pairs = json.loads(fake_kv.requests[-1].body)
    assert pairs[-1]["expiration_ttl"] == ENTRY_SECONDS


def test_the_api_token_stays_with_the_api(logging_client: PurgeClient, log: FakeLog) -> None:
    logging_client.purge(groups="a")
    [request] = log.requests
    assert "authorization" not in request.headers
    assert SECRET not in f"{request.headers}{request.read()!r}"


@pytest.mark.parametrize("status", [None, 401, 403, 429, 500, 503])
def test_what_can_not_be_told_costs_no_purge(
    status: int | None,
    logging_client: PurgeClient,
    fake_kv: FakeKV,
    log: FakeLog,
    caplog: pytest.LogCaptureFixture,
) -> None:
    log.failures = [status]
    with caplog.at_level(logging.WARNING, "origin_sdk"):
        receipt = logging_client.purge(groups="a")
    assert (receipt.told, len(log.requests), len(list(entries_in(fake_kv)))) == (False, 1, 1)
    assert "couldn't be told" in caplog.text
    assert logging_client.tell(receipt).told
    assert list(log.entries.values()) == list(entries_in(fake_kv))


def test_a_later_try_has_a_later_moment_and_the_same_id(
    logging_client: PurgeClient, fake_kv: FakeKV, kv_clock: ManualClock, log: FakeLog
) -> None:
    logging_client.learn_clock()
    fake_kv.fail_next(1, status=503)
    kv_clock.advance(60 - kv_clock.now() % 60 - 2.1)  # so that the minute changes between the tries
    receipt = logging_client.purge(groups="a")
    first, second = (keys[-1] for keys in written(fake_kv))
    assert first != second
    assert id_of(first) == id_of(second) == receipt.id
    assert [entry.moment_ms for entry in log.entries.values()] == [
        round(receipt.latest_moment.timestamp() * 1000)
    ]


def test_an_entry_that_is_not_written_leaves_its_targets_to_purge(
    logging_client: PurgeClient, fake_kv: FakeKV, kv_clock: ManualClock, log: FakeLog
) -> None:
    logging_client.learn_clock()
    moment_s, token = kv_clock.now() + 2, "0000000001"
    start = int(moment_s) // 60
    ids = f"{logging_client.now():%Y%m%dT%H%M%S}-{token}"
    fake_kv.leave_unsuccessful(*(f"p2/{minute:08d}/{ids}" for minute in range(start, start + 10)), times=99)
    with pytest.raises(PartialPurgeError) as raised:
        logging_client.purge(groups=["a", "b"])
    assert raised.value.remaining.groups == ("a", "b")
    assert (raised.value.receipt.log, log.entries) == ((), {})
    assert logging_client.send(raised.value.remaining).told


def test_a_long_list_has_few_entries_and_few_tells(
    logging_client: PurgeClient, fake_kv: FakeKV, log: FakeLog
) -> None:
    urls = [f"https://api.example.com/products/{number}" for number in range(3000)]
    receipt = logging_client.purge(urls=urls)
    assert [len(keys) for keys in written(fake_kv)] == [len(receipt.marks) + len(receipt.log)]
    assert len(receipt.log) <= 3000 / 15
    assert len(log.requests) <= MAX_TELLS
    assert receipt.told
    names = [name for entry in log.entries.values() if isinstance(entry, Purged) for name in entry.names]
    assert len(names) == len(set(names)) == 3000
    assert all(len(json.dumps(fake_kv.metadata(each))) <= MAX_METADATA_BYTES for each in written(fake_kv)[0])


@pytest.mark.parametrize(
    ("scope", "targets", "outside"),
    [
        pytest.param({"groups": ["shop-*"]}, {"groups": ["shop-1", "hr"]}, "group/hr", id="a group"),
        pytest.param({"hosts": ["a.example"]}, {"hosts": "b.example"}, "host/b.example", id="a host"),
        pytest.param({"hosts": ["a.example"]}, {"everything": True}, "everything", id="everything"),
        pytest.param({"prefixes": ["a.example/x"]}, {"urls": "a.example/y"}, "url/a.example/y", id="a URL"),
        pytest.param(
            {"prefixes": ["a.example/x"]}, {"prefixes": "a.example/"}, "prefix/a.example", id="a prefix"
        ),
        pytest.param({"may": ["publish"]}, {"groups": "a"}, "may not purge", id="purging at all"),
    ],
)
def test_what_is_out_of_scope_is_refused_before_anything_is_written(
    scope: dict[str, object],
    targets: dict[str, object],
    outside: str,
    new_logging_client: MakeClient,
    fake_kv: FakeKV,
    log: FakeLog,
) -> None:
    with pytest.raises(OutOfScope, match=outside):
        new_logging_client(**scope).purge(**targets)  # type: ignore[arg-type]  # a table of arguments
    assert (fake_kv.requests, log.requests) == ([], [])


@pytest.mark.parametrize(
    ("scope", "is_allowed"),
    [
        pytest.param({}, True, id="a key without a scope"),
        pytest.param({"may": ["purge"]}, False, id="a key that may only purge"),
        pytest.param({"may": ["publish"], "hosts": ["a.example"]}, True, id="on its host"),
        pytest.param({"may": ["publish"], "hosts": ["b.example"]}, False, id="on another host"),
        pytest.param({"prefixes": ["a.example/x"]}, True, id="below its prefix"),
        pytest.param({"groups": ["x"]}, False, id="with groups alone, which say nothing of URLs"),
    ],
)
def test_publishing_keeps_to_the_scope(
    scope: dict[str, object], is_allowed: bool, new_logging_client: MakeClient, fake_kv: FakeKV
) -> None:
    client = new_logging_client(**scope)
    arguments = {"headers": {"cache-control": "max-age=60"}, "born": client.now()}
    if is_allowed:
        client.publish("https://a.example/x/1", b"1", **arguments)  # type: ignore[arg-type]  # a table
    else:
        with pytest.raises(OutOfScope, match="shop"):
            client.publish("https://a.example/x/1", b"1", **arguments)  # type: ignore[arg-type]  # a table
        assert not fake_kv.requests


def test_entries_are_written_for_a_worker_with_a_log_by_clients_without_a_key(
    new_client: MakeClient, fake_kv: FakeKV
) -> None:
    client = new_client(project=Project(purge_log=True))
    receipt = client.purge(groups="a")
    assert (receipt.log, receipt.told) == ((receipt.id,), None)
    assert client.tell(receipt).told is None
    assert [entry.names for entry in entries_in(fake_kv)] == [("group/a",)]


def test_without_a_log_no_entry_is_written(client: PurgeClient, fake_kv: FakeKV) -> None:
    assert client.purge(groups="a").log == ()
    assert not fake_kv.stored_keys("p2/")


# Waiting


def test_waiting_ends_when_every_location_has_read_it(
    logging_client: PurgeClient, log: FakeLog, kv_clock: ManualClock
) -> None:
    receipt = logging_client.purge(groups="a")
    log.behind = [("FRA", "NRT"), ("NRT",), ()]
    told: list[tuple[int, int]] = []
    seen = logging_client.wait_until_visible(
        receipt, timeout=10, on_progress=lambda progress: told.append((progress.done, progress.total))
    )
    assert (seen.is_confirmed, seen.readers) == (True, 3)
    assert told == [(1, 3), (2, 3)]
    assert kv_clock.slept == [0.5, 0.5]


@pytest.mark.parametrize(
    ("learns", "behind", "failures", "missing"),
    [
        pytest.param(True, [("NRT",)] * 9, [], "NRT hasn't read it yet", id="a location is behind"),
        pytest.param(False, [], [], "hasn't learnt of it", id="the log doesn't know it"),
        pytest.param(True, [], [200, *[503] * 9], "answered 503: the log is away", id="it can't be asked"),
    ],
)
def test_waiting_says_what_is_missing(
    learns: bool,
    behind: list[tuple[str, ...]],
    failures: list[int | None],
    missing: str,
    logging_client: PurgeClient,
    log: FakeLog,
) -> None:
    log.learns, log.behind, log.failures = learns, [*behind], [*failures]
    receipt = logging_client.purge(groups="a")
    with pytest.raises(DeadlineExceeded, match=missing):
        logging_client.wait_until_visible(receipt, timeout=2)


def test_a_log_that_is_away_leaves_the_bound(
    logging_client: PurgeClient, log: FakeLog, kv_clock: ManualClock
) -> None:
    receipt = logging_client.purge(groups="a")
    log.failures = [None] * 999
    assert not logging_client.wait_until_visible(receipt).is_confirmed
    assert receipt.visible_by.timestamp() <= kv_clock.now() <= receipt.visible_by.timestamp() + 1


def test_without_a_log_the_bound_is_waited_for(client: PurgeClient, kv_clock: ManualClock) -> None:
    receipt = client.purge(groups="a")
    with pytest.raises(DeadlineExceeded, match="no purge log"):
        client.wait_until_visible(receipt, timeout=10)
    assert not kv_clock.slept
    assert not client.wait_until_visible(receipt).is_confirmed
    assert kv_clock.now() == pytest.approx(receipt.visible_by.timestamp(), abs=0.01)


# Switches


def test_a_switch_is_written_told_listed_audited_and_taken_back(
    logging_client: PurgeClient, fake_kv: FakeKV, kv_clock: ManualClock, log: FakeLog
) -> None:
    until = logging_client.now() + timedelta(minutes=30)
    made = logging_client.switch("stale", rule="menu", until=until, seconds=600, reason="incident 7")
    [stored] = fake_kv.stored_keys("p2/")
    assert parse_entry(id_of(stored), fake_kv.metadata(stored)) == log.entries[made.id]
    assert (made.kind, made.rule, made.until, made.seconds) == ("stale", "menu", until, 600)
    assert (made.by, made.why, made.told) == ("ann", "incident 7", True)
    assert logging_client.switches() == (replace(made, told=None),)
    kv_clock.advance(5)
    assert logging_client.switch("stale", rule="menu").until > made.since
    assert logging_client.switches() == ()


def test_a_switch_ends_by_itself(logging_client: PurgeClient, kv_clock: ManualClock) -> None:
    logging_client.switch("bypass", until=logging_client.now() + timedelta(minutes=5))
    kv_clock.advance(301)
    assert logging_client.switches() == ()


@pytest.mark.parametrize(
    ("kind", "arguments", "problem"),
    [
        pytest.param("off", {}, "give one of bypass, pause, stale", id="no such switch"),
        pytest.param("bypass", {"until": -1}, "within the next 24 hours", id="over already"),
        pytest.param("bypass", {"until": 90_000}, "within the next 24 hours", id="for too long"),
        pytest.param("stale", {"until": 60}, "needs the seconds", id="no window"),
        pytest.param("bypass", {"until": 60, "seconds": 5}, "no other switch", id="a window"),
        pytest.param("pause", {"until": 60, "rule": "menu"}, "for all purges", id="a pause of a rule"),
        pytest.param(
            "bypass", {"until": 60, "rule": "men"}, "no rule of that name; it has menu", id="no rule"
        ),
    ],
)
def test_a_switch_that_can_not_be_meant_is_refused(
    kind: str,
    arguments: dict[str, Any],
    problem: str,
    new_logging_client: MakeClient,
    fake_kv: FakeKV,
    log: FakeLog,
) -> None:
    client = new_logging_client(Project(rules=(Rule(name="menu"),)))
    if "until" in arguments:
        arguments = {**arguments, "until": client.now() + timedelta(seconds=arguments["until"])}
    with pytest.raises(InvalidRequest, match=problem):
        client.switch(kind, **arguments)
    assert (fake_kv.stored_keys(), log.requests) == ([], [])


@pytest.mark.parametrize("scope", [{"may": ["purge"]}, {"hosts": ["a.example"]}])
def test_a_key_that_is_not_for_switches_sets_none(
    scope: dict[str, object], new_logging_client: MakeClient, fake_kv: FakeKV
) -> None:
    client = new_logging_client(**scope)
    with pytest.raises(OutOfScope, match="the key shop may set no switches"):
        client.switch("bypass", until=client.now() + timedelta(minutes=5))
    assert not fake_kv.stored_keys()


def test_without_a_log_there_are_no_switches(client: PurgeClient) -> None:
    for ask in (client.switches, lambda: client.switch("bypass")):
        with pytest.raises(InvalidRequest, match="EDGE_CACHE_LOG_URL"):
            ask()


# The doctor


@pytest.mark.parametrize(
    ("project", "failures", "verdict", "said"),
    [
        pytest.param(Project(), [], Grade.GOOD, "locations that read it lately: FRA, NRT", id="it is well"),
        pytest.param(
            Project(namespace_id="namespace"), [], Grade.WARNING, "binds no PURGE_LOG", id="it isn't bound"
        ),
        pytest.param(Project(), [503] * 9, Grade.BAD, "503: the log is away", id="it can't be asked"),
    ],
)
def test_the_doctor_asks_the_log(
    project: Project,
    failures: list[int | None],
    verdict: Grade,
    said: str,
    new_logging_client: MakeClient,
    log: FakeLog,
) -> None:
    log.failures = [*failures]
    [found] = [each for each in new_logging_client(project).check() if each.check == "purge log"]
    assert found.verdict is verdict
    assert said in found.message


def test_the_doctor_shows_switches(logging_client: PurgeClient) -> None:
    until = logging_client.now() + timedelta(minutes=5)
    logging_client.switch("bypass", until=until, reason="prices look wrong")
    [found] = [each for each in logging_client.check() if each.check == "switch"]
    assert (
        found.message
        == f"bypass of everything until {until:%Y-%m-%d %H:%M:%S} UTC, by ann: prices look wrong"
    )


def test_the_doctor_tells_a_client_that_tells_nobody(new_client: MakeClient) -> None:
    client = new_client(project=Project(purge_log=True))
    [found] = [each for each in client.check() if each.check == "purge log"]
    assert "isn't told of purges" in found.message


@pytest.mark.parametrize(
    ("later", "named"),
    [
        pytest.param(timedelta(minutes=5), ["bob (2)"], id="within the log"),
        pytest.param(timedelta(seconds=30), [], id="lists may not show it all yet"),
        pytest.param(timedelta(hours=2), [], id="before the log"),
    ],
)
def test_the_doctor_names_who_purges_and_knows_of_no_log(
    later: timedelta,
    named: list[str],
    new_logging_client: MakeClient,
    fake_kv: FakeKV,
    kv_clock: ManualClock,
) -> None:
    new_logging_client().purge(groups=["a", "b"], urls="https://a.example/x")
    settings = replace(fake_kv.settings, actor="bob")
    options = Options(clock=kv_clock, budget=RateBudget())
    with PurgeClient(settings, options=options, transport=fake_kv.transport) as ignorant:
        ignorant.purge(groups="c")
        ignorant.purge(groups=["d", "e"])
    kv_clock.sleep(later.total_seconds())
    found = [each for each in new_logging_client().check() if "in no entry" in each.message]
    assert [name for each in found for name in ("bob (2)", "ann") if name in each.message] == named
    assert {each.verdict for each in found} <= {Grade.BAD}


# Settings


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        pytest.param({"log_url": URL}, "needs both", id="no key"),
        pytest.param({"log_key": key()}, "needs both", id="no URL"),
        pytest.param({"log_url": f"{URL}/x", "log_key": key()}, "scheme and host", id="a path"),
        pytest.param({"log_url": "api.example.com", "log_key": key()}, "scheme and host", id="no scheme"),
        pytest.param({"log_url": "http://a.example", "log_key": key()}, "unencrypted", id="in the clear"),
        pytest.param({"log_url": URL, "log_key": "secret"}, "EDGE_CACHE_LOG_KEY", id="no table"),
        pytest.param({"log_url": URL, "log_key": "{}"}, "0 keys", id="no key in it"),
        pytest.param(
            {"log_url": URL, "log_key": json.dumps({"a": {"secret": SECRET}, "b": {"secret": SECRET}})},
            "2 keys",
            id="more than one",
        ),
        pytest.param({"log_url": URL, "log_key": '{"a": {"secret": "x"}}'}, "32 bytes", id="a short secret"),
    ],
)
def test_settings_that_can_not_work_are_refused(settings: dict[str, str], problem: str) -> None:
    with pytest.raises(InvalidSettings, match=problem) as raised:
        Settings(namespace_id="n", base_url="http://localhost", **settings)  # type: ignore[arg-type]  # a table
    assert SECRET not in str(raised.value)


def test_the_environment_names_the_log_and_nothing_shows_its_key() -> None:
    environment = {
        "EDGE_CACHE_NAMESPACE_ID": "n",
        "CLOUDFLARE_API_BASE_URL": "http://localhost",
        "EDGE_CACHE_LOG_URL": URL,
        "EDGE_CACHE_LOG_KEY": key(),
    }
    settings = Settings.from_environment(environment)
    assert settings.parsed_log_key is not None
    assert settings.parsed_log_key.id == "shop"
    assert SECRET not in repr(settings)
