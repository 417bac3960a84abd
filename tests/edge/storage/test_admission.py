"""How much of what clients cause is written to KV: variants of a URL, bytes a minute, bodies used once."""

from __future__ import annotations

from dataclasses import replace

import pytest

from origin_sdk_edge.policy.decision import Lookup
from origin_sdk_edge.policy.facts import Content, RequestFacts
from origin_sdk_edge.policy.lookup import on_request
from origin_sdk_edge.storage.admission import Admission
from origin_sdk_edge.storage.memory import Memory
from origin_sdk_edge.storage.variants import variant
from origin_sdk_wire.choices import DataClass, Profile, StoreOn
from origin_sdk_wire.key import parse_target
from origin_sdk_wire.rules import KeyBody
from origin_sdk_wire.settings import Rule, Settings
from tests.edge.fakes import START_MS

SETTINGS = Settings(variants_per_url=4, stored_bytes_per_minute=1000, second_use_bytes=0)
MINUTE_MS = 60_000


def _lookup(path: str = "/a", rule: Rule | None = None) -> Lookup:
    settings = replace(SETTINGS, rules=(rule,)) if rule else SETTINGS
    request = RequestFacts("GET", parse_target(f"https://api.example{path}"), {"x-key": "k"})
    lookup = on_request(request, settings, START_MS)
    assert isinstance(lookup, Lookup)
    return lookup


def _admitted(admission: Admission, lookup: Lookup, names: range, now_ms: int = START_MS) -> list[int]:
    return [n for n in names if admission.admits(lookup, f"{lookup.key}#{n}", 0, now_ms)]


def test_variants_of_a_url_are_bounded_and_those_known_are_written_again() -> None:
    admission, lookup = Admission(SETTINGS, Memory(1 << 20)), _lookup()

    assert _admitted(admission, lookup, range(100)) == [0, 1, 2, 3]
    assert _admitted(admission, lookup, range(100)) == [0, 1, 2, 3]
    assert _admitted(admission, _lookup("/b"), range(100)) == [0, 1, 2, 3]
    assert admission.admits(lookup, lookup.key, 0, START_MS)  # no variant
    assert _admitted(admission, lookup, range(10, 20), START_MS + MINUTE_MS) == [10]
    assert _admitted(admission, lookup, range(20, 90), START_MS + 60 * MINUTE_MS) == [20, 21, 22, 23]


@pytest.mark.parametrize(
    ("rule", "most"),
    [
        pytest.param(Rule("own", fields=("x-key",), data_class=DataClass.PRIVATE), 100, id="users"),
        pytest.param(Rule("keyed", fields=("x-key",)), 4, id="what clients choose"),
    ],
)
def test_users_are_no_variants(rule: Rule, most: int) -> None:
    assert len(_admitted(Admission(SETTINGS, Memory(1 << 20)), _lookup(rule=rule), range(100))) == most


def test_contents_are_no_variants_but_each_has_its_own() -> None:
    settings = replace(SETTINGS, rules=(Rule("search", body=KeyBody.RAW),))
    admission = Admission(SETTINGS, Memory(1 << 20))
    request = RequestFacts("QUERY", parse_target("https://api.example/a"), {"content-length": "1"})

    def lookup(number: int) -> Lookup:
        content = Content(b"", (("content", str(number)),))
        found = on_request(replace(request, content=content), settings, START_MS)
        assert isinstance(found, Lookup)
        return found

    assert all(admission.admits(each, variant(each, ()), 0, START_MS) for each in map(lookup, range(100)))
    assert _admitted(admission, lookup(7), range(100)) == [0, 1, 2, 3]


def test_bytes_are_bounded_by_the_minute() -> None:
    admission, lookup = Admission(SETTINGS, Memory(1 << 20)), _lookup()

    def admits(size: int, seconds: int) -> bool:
        return admission.admits(lookup, lookup.key, size, START_MS + seconds * 1000)

    assert [admits(400, 0) for _ in range(3)] == [True, True, False]
    assert admits(200, 0)
    assert [admits(400, 30) for _ in range(2)] == [True, False]
    assert not admits(1001, 3600)
    assert admits(1000, 3600)


def test_a_large_body_is_written_at_its_second_use() -> None:
    admission, lookup = Admission(replace(SETTINGS, second_use_bytes=500), Memory(1 << 20)), _lookup()

    assert [admission.admits(lookup, lookup.key, 500, START_MS) for _ in range(3)] == [False, True, True]
    assert admission.admits(lookup, lookup.key, 499, START_MS) is False  # the minute's bytes are used up
    assert admission.admits(lookup, f"{lookup.key}#1", 0, START_MS)


def test_a_rule_may_keep_what_is_asked_for_once_out_of_kv() -> None:
    rule = Rule("search", store_on=StoreOn.SECOND_MISS)
    admission, lookup = Admission(SETTINGS, Memory(1 << 20)), _lookup(rule=rule)

    assert [admission.admits(lookup, lookup.key, 10, START_MS) for _ in range(3)] == [False, True, True]
    assert admission.admits(_lookup(), f"{lookup.key}/other", 10, START_MS)


def test_zero_means_no_bound() -> None:
    free = replace(SETTINGS, profile=Profile.RFC9111, variants_per_url=0, stored_bytes_per_minute=0)
    admission, lookup = Admission(free, Memory(1 << 20)), _lookup()

    assert len(_admitted(admission, lookup, range(500))) == 500
    assert all(admission.admits(lookup, lookup.key, 10**9, START_MS) for _ in range(10))
