import pytest

from origin_sdk import AsyncPurgeClient, PurgeClient
from origin_sdk._edge.inspection import Outcome
from origin_sdk._values.project import Project
from origin_sdk.testing import FakeKV, ManualClock
from origin_sdk_wire.choices import DataClass
from origin_sdk_wire.settings import Rule
from tests.sdk.records import store

URL = "https://a.example/p/x"
SWR = (("cache-control", "max-age=600, stale-while-revalidate=60"),)
NO_CACHE = (("cache-control", "no-cache"), ("etag", '"1"'))


@pytest.fixture
def _without_jitter(purge_client: PurgeClient, async_purge_client: AsyncPurgeClient) -> None:
    purge_client.project = async_purge_client.project = Project(lifetime_jitter=0)


@pytest.mark.usefixtures("_without_jitter")
@pytest.mark.parametrize(
    ("age", "fields", "outcome", "fresh_for"),
    [
        pytest.param(0, SWR, Outcome.FRESH, 600, id="fresh"),
        pytest.param(599, SWR, Outcome.FRESH, 1, id="fresh for a second"),
        pytest.param(630, SWR, Outcome.STALE_WHILE_REVALIDATE, -30, id="in its window"),
        pytest.param(700, SWR, Outcome.VALIDATED, -100, id="past it"),
        pytest.param(600 + 90_000, SWR, Outcome.EXPIRED, -90_000, id="past stale-if-error too"),
        pytest.param(0, NO_CACHE, Outcome.VALIDATED, 0, id="never without validation"),
    ],
)
def test_what_the_next_request_meets(
    client: PurgeClient,
    fake_kv: FakeKV,
    age: float,
    fields: tuple[tuple[str, str], ...],
    outcome: Outcome,
    fresh_for: int,
) -> None:
    store(fake_kv, URL, fields=fields, age_seconds=age)
    [stored] = client.inspect(URL).stored
    assert (stored.outcome, stored.fresh_for, stored.age) == (outcome, fresh_for, age)


def test_a_lifetime_is_shown_with_the_jitter_that_the_worker_gives_it(
    client: PurgeClient, fake_kv: FakeKV
) -> None:
    store(fake_kv, URL, fields=SWR)
    [stored] = client.inspect(URL).stored
    assert stored.fresh_for is not None
    assert 570 <= stored.fresh_for < 600


TARGETS: dict[str, dict[str, object]] = {
    "everything": {"everything": True},
    "host/a.example": {"hosts": "a.example"},
    "url/a.example/p/x": {"urls": URL},
    "group/g": {"groups": "g"},
    "prefix/a.example/p": {"prefixes": "a.example/p"},
}


@pytest.mark.parametrize("name", TARGETS)
def test_the_marks_over_a_response(
    client: PurgeClient, fake_kv: FakeKV, kv_clock: ManualClock, name: str
) -> None:
    store(fake_kv, URL, groups=("g",))
    kv_clock.advance(10)
    receipt = client.purge(**TARGETS[name], hard=True)  # type: ignore[arg-type]  # a table of arguments
    [stored] = client.inspect(URL).stored
    assert [(mark.name, mark.purge_id, mark.applies) for mark in stored.marks] == [(name, receipt.id, True)]
    assert stored.outcome is Outcome.PURGED
    kv_clock.advance(10)
    store(fake_kv, URL, groups=("g",))
    [younger] = client.inspect(URL).stored
    assert [mark.applies for mark in younger.marks] == [False]
    assert younger.outcome is Outcome.FRESH


def test_a_soft_purge_makes_it_stale_from_its_moment(
    client: PurgeClient, fake_kv: FakeKV, kv_clock: ManualClock
) -> None:
    store(fake_kv, URL, fields=SWR)
    kv_clock.advance(10)
    client.purge(urls=URL)
    kv_clock.advance(30)
    [stored] = client.inspect(URL).stored
    assert stored.outcome is Outcome.STALE_WHILE_REVALIDATE
    assert -30 <= stored.fresh_for <= -27
    kv_clock.advance(60)
    assert client.inspect(URL).stored[0].outcome is Outcome.VALIDATED


def test_variants_are_shown_each_and_neighbours_are_not(client: PurgeClient, fake_kv: FakeKV) -> None:
    store(fake_kv, URL, varies=(("accept-language", "de"),))
    store(fake_kv, URL, varies=(("accept-language", "fr"),))
    store(fake_kv, "http://a.example/p/x")
    store(fake_kv, URL + "y")
    inspection = client.inspect(URL)
    assert len(inspection.stored) == 3
    assert {stored.url for stored in inspection.stored} == {URL, "http://a.example/p/x"}
    assert inspection.varies_by == ("accept-language",)


def test_a_head_in_front_of_the_body_is_read(client: PurgeClient, fake_kv: FakeKV) -> None:
    store(fake_kv, URL, fields=(("cache-control", "max-age=600"), ("x-long", "x" * 2000)))
    [stored] = client.inspect(URL).stored
    assert stored.outcome is Outcome.FRESH


@pytest.mark.parametrize(
    "head",
    [
        pytest.param("9 200", id="a later version"),
        pytest.param(f"1 200 {10**30} 1 0 0 - -", id="born beyond all time"),
        pytest.param("1 200 1 1 0 0 - -\n> a", id="a group that no response can have"),
    ],
)
def test_what_cannot_be_read_is_a_miss(client: PurgeClient, fake_kv: FakeKV, head: str) -> None:
    fake_kv.put("r1/https/a.example/p/x", b"", {"h": head})
    [stored] = client.inspect(URL).stored
    assert stored.outcome is Outcome.UNREADABLE


def test_moments_after_the_last_of_dates_are_shown_as_that(client: PurgeClient, fake_kv: FakeKV) -> None:
    fake_kv.put("r1/https/a.example/p/x", b"", {"h": f"1 200 {10**15 - 1} 1 0 0 - -"})
    fake_kv.put("m2/h/host/a.example", "9" * 16 + " x")
    [stored] = client.inspect(URL).stored
    assert (stored.born and stored.born.year, stored.marks[0].moment.year) == (9999, 9999)


def test_nothing_is_stored(client: PurgeClient) -> None:
    inspection = client.inspect(URL)
    assert (inspection.stored, inspection.url) == ((), URL)


def test_it_can_be_written_as_json(client: PurgeClient, fake_kv: FakeKV) -> None:
    store(fake_kv, URL, groups=("g",))
    client.purge(groups="g")
    [stored] = client.inspect(URL).as_json()["stored"]
    assert stored["marks"][0]["name"] == "group/g"
    assert stored["groups"] == ["g"]


def test_a_mark_that_cannot_be_read_purges_all_that_is_older(
    client: PurgeClient, fake_kv: FakeKV, kv_clock: ManualClock
) -> None:
    store(fake_kv, URL)
    kv_clock.advance(10)
    fake_kv.put("m2/h/host/a.example", "nonsense")
    [stored] = client.inspect(URL).stored
    assert stored.outcome is Outcome.PURGED
    assert [mark.purge_id for mark in stored.marks] == ["unreadable"]


def test_the_rule_is_that_of_the_strictest_reading_as_the_worker_takes_it(
    purge_client: PurgeClient, fake_kv: FakeKV
) -> None:
    url = "https://a.example/P/x"
    store(fake_kv, url, fields=(("etag", '"1"'),))
    wide = Rule("all", paths=("/**",), lifetime=3600)
    mine = Rule("mine", paths=("/p/*",), lifetime=60, data_class=DataClass.PRIVATE, fields=("x-user",))
    lifetimes = []
    for rules in [(wide,), (mine, wide)]:
        purge_client.project = Project(lifetime_jitter=0, rules=rules)
        [stored] = purge_client.inspect(url).stored
        lifetimes.append(stored.fresh_for)
    assert lifetimes == [3600, 60]
