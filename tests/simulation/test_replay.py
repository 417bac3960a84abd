"""A replay decides as the Worker does, within the memory that it is given."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest

from origin_sdk.simulation.accesslog import AccessLog
from origin_sdk.simulation.assumptions import Assumptions, parse_response_fields
from origin_sdk.simulation.counts import RuleCounts, Timeline
from origin_sdk.simulation.curves import MemoryCurve
from origin_sdk.simulation.page import page_of
from origin_sdk.simulation.replay import Replay, read_purges
from origin_sdk.simulation.report import Report
from origin_sdk.simulation.sample import KeySample
from origin_sdk.simulation.what_if import NOW, varied

Line = Mapping[str, Any]
_VARIABLES: Mapping[str, Any] = {"LIFETIME_JITTER": 0}


def line(at: float, url: str = "/a", method: str = "GET", status: int = 200, **values: Any) -> Line:
    fields = values.pop("fields", {"cache-control": "max-age=60"})
    return {"ts": 1_795_000_000 + at, "method": method, "url": url, "status": status, "size": 100,
            "duration_ms": 10, "resp_headers": fields, **values}  # fmt: skip


def replayed(
    lines: Iterable[Line],
    tmp_path: Path,
    variables: Mapping[str, Any] = _VARIABLES,
    assumptions: Assumptions | None = None,
    **more: Any,
) -> Replay:
    path = tmp_path / "log.json"
    path.write_text("\n".join(map(json.dumps, lines)))
    what_if = more.pop("what_if", ())
    replay = Replay(AccessLog(str(path)), varied(variables, what_if), assumptions or Assumptions(), **more)
    replay.run()
    return replay


def counts(replay: Replay, name: str = NOW) -> RuleCounts:
    return replay.edges[name].ledger.overall


def test_hits_end_with_the_lifetime(tmp_path: Path) -> None:
    found = counts(replayed([line(0), line(1), line(59), line(61), line(62)], tmp_path))
    assert found.by_reason == {("miss", "absent"): 1, ("memory", "fresh"): 3, ("miss", "stale"): 1}
    assert found.origin_requests == 2


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        pytest.param({"cache-control": "no-store"}, "no-store", id="no-store"),
        pytest.param({"cache-control": "private, max-age=60"}, "private", id="private"),
        pytest.param({"cache-control": "max-age=60", "vary": "*"}, "vary-any", id="Vary: *"),
        pytest.param({"cache-control": "max-age=60", "set-cookie": "a=b"}, "set-cookie", id="Set-Cookie"),
        pytest.param({}, "no-freshness", id="no lifetime"),
    ],
)
def test_tells_why_nothing_is_stored(fields: Mapping[str, str], reason: str, tmp_path: Path) -> None:
    found = counts(replayed([line(0, fields=fields), line(1, fields=fields)], tmp_path))
    assert found.by_reason == {("miss", reason): 2}


def test_keeps_variants_apart(tmp_path: Path) -> None:
    fields = {"cache-control": "max-age=60", "vary": "accept-language"}
    lines = [
        line(at, fields=fields, request={"headers": {"Accept-Language": [language]}})
        for at, language in enumerate(["de", "de", "en", "en", "de"])
    ]
    assert counts(replayed(lines, tmp_path)).by_tier == {"miss": 2, "memory": 3}


def test_a_write_makes_its_url_stale(tmp_path: Path) -> None:
    lines = [line(0), line(1), line(2, method="POST", status=204), line(10), line(11)]
    assert counts(replayed(lines, tmp_path)).by_reason == {
        ("miss", "absent"): 1,
        ("memory", "fresh"): 2,
        ("pass", "method"): 1,
        ("miss", "purged-soft"): 1,
    }


@pytest.mark.parametrize(
    ("purge", "reason"),
    [
        pytest.param({"groups": ["products"], "hard": True}, "purged-hard", id="a group, hard"),
        pytest.param({"groups": ["products"]}, "purged-soft", id="a group, soft"),
        pytest.param({"prefixes": ["https://localhost/a"]}, "purged-soft", id="a prefix"),
        pytest.param({"hosts": ["localhost"]}, "purged-soft", id="a host"),
        pytest.param({"everything": True}, "purged-soft", id="everything"),
        pytest.param({"prefixes": ["https://localhost/b"]}, "", id="another prefix"),
        pytest.param({"groups": ["others"]}, "", id="another group"),
    ],
)
def test_purges_of_an_audit_file_are_honoured(purge: Mapping[str, Any], reason: str, tmp_path: Path) -> None:
    fields = {"cache-control": "max-age=600", "surrogate-key": "products"}
    audit = tmp_path / "audit.jsonl"
    event = {"at": "2026-11-18T11:07:10+00:00", "action": "purge", "outcome": "done", "actor": "a", **purge}
    audit.write_text(json.dumps(event) + "\n" + json.dumps({**event, "action": "publish"}))
    lines = [line(at, fields=fields) for at in (0, 20, 40, 50)]
    replay = replayed(lines, tmp_path, purges=list(read_purges(audit)))
    expected = {("miss", "absent"): 1, ("memory", "fresh"): 3}
    if reason:
        expected = {("miss", "absent"): 1, ("memory", "fresh"): 2, ("miss", reason): 1}
    assert counts(replay).by_reason == expected


def test_what_comes_while_the_origin_answers_waits(tmp_path: Path) -> None:
    found = counts(replayed([line(0, duration_ms=5000), line(1), line(2), line(6)], tmp_path))
    assert found.by_tier == {"miss": 1, "collapsed": 2, "memory": 1}
    assert found.origin_requests == 1


def test_stale_is_served_when_the_origin_fails(tmp_path: Path) -> None:
    found = counts(replayed([line(0), line(100, status=503, fields={})], tmp_path))
    assert found.by_reason == {("miss", "absent"): 1, ("stale", "stale-if-error"): 1}
    assert found.stale_ms.count == 1
    assert found.origin_errors == 1


def test_other_settings_are_tried_beside(tmp_path: Path) -> None:
    lines = [line(at, f"/a?utm_source={at}", fields={}) for at in range(20)]
    replay = replayed(lines, tmp_path, what_if=["*.default_lifetime=1m;*.query_drop=utm_*"])
    assert [round(edge.ledger.overall.hit_ratio, 2) for edge in replay.edges.values()] == [0.0, 0.95]


def test_a_location_sees_what_another_stored(tmp_path: Path) -> None:
    # Each client's requests go to one of many locations; what one stored is read from KV by the rest.
    lines = [line(at, client=f"203.0.113.{at}") for at in range(50)]
    found = counts(replayed(lines, tmp_path, assumptions=Assumptions(locations=20)))
    assert found.by_tier["miss"] == 1
    assert found.by_tier["kv"] > 5


def test_memory_of_an_isolate_is_bounded(tmp_path: Path) -> None:
    lines = [line(at / 100, f"/{at % 50}", size=500_000) for at in range(200)]
    replay = replayed(lines, tmp_path, what_if=["MEMORY_BYTES=4MiB"])
    assert counts(replay).by_tier == {"miss": 50, "memory": 150}
    assert counts(replay, "MEMORY_BYTES=4MiB").by_tier["kv"] > 100


def test_a_sample_stands_for_all(tmp_path: Path) -> None:
    # Few URLs make half of the requests, and each of many others comes ten times.
    lines = [line(at / 50, f"/hot/{at % 7}" if at % 2 else f"/cold/{at % 600}") for at in range(6_000)]
    whole = replayed(lines, tmp_path)
    sampled = replayed(lines, tmp_path, max_keys=100)
    report = Report(sampled).first
    assert report.sampled < 1
    assert len(sampled.edges[NOW].sample) <= 101
    assert counts(sampled).requests == pytest.approx(counts(whole).requests, rel=0.15)
    low, high = report.hit_ratio_range
    assert low - 0.03 <= counts(whole).hit_ratio <= high + 0.03
    assert high - low < 0.2


def test_a_sample_lets_go_of_what_is_rare_and_keeps_what_is_hot() -> None:
    sample = KeySample(100)
    for _ in range(100):
        assert sample.follow("hot")
    for number in range(10_000):
        sample.follow(f"cold {number}")
        list(sample.thin())
    assert len(sample) <= 100
    hot = sample.follow("hot")
    assert hot
    assert hot.weight == 1


def test_responses_are_as_one_says(tmp_path: Path) -> None:
    assumed = Assumptions(responses=[parse_response_fields("/a/** Cache-Control: max-age=60")])
    lines = [line(at, url, fields={}) for at, url in enumerate(["/a/1", "/a/1", "/b", "/b"])]
    found = counts(replayed(lines, tmp_path, assumptions=assumed))
    assert found.by_tier == {"miss": 3, "memory": 1}


def test_an_answer_of_a_cache_counts_as_new(tmp_path: Path) -> None:
    fields = {
        "age": "59",
        "date": "Wed, 18 Nov 2026 11:06:40 GMT",
        "expires": "Wed, 18 Nov 2026 11:07:40 GMT",
        "cache-status": "EdgeCache; hit",
    }
    found = counts(replayed([line(at, fields=fields) for at in (0, 30, 59)], tmp_path))
    assert found.by_tier == {"miss": 1, "memory": 2}


def test_lifetimes_tell_what_they_would_bring(tmp_path: Path) -> None:
    replay = replayed([line(at * 30, fields={}) for at in range(101)], tmp_path)
    (curve,) = replay.lifetimes.values()
    assert {step: round(ratio, 2) for step, ratio in curve.ratios().items()} == {
        1: 0.0, 10: 0.0, 60: 0.5, 600: 0.94, 3600: 0.99, 86_400: 0.99,
    }  # fmt: skip


def test_the_memory_curve_counts_stack_distances() -> None:
    curve = MemoryCurve(slots=64)
    mebibyte = 1024 * 1024
    for _ in range(50):  # ten in turn, a MiB each: a memory of 8 holds none of them when it comes again
        for number in range(10):
            curve.add(str(number), mebibyte, 1)
    ratios = curve.ratios()
    assert ratios[8 * mebibyte] == 0
    assert ratios[16 * mebibyte] == pytest.approx(0.98)


def test_a_timeline_has_few_steps_however_long_it_is() -> None:
    timeline = Timeline()
    for second in range(0, 1_000_000, 10):
        timeline.at(second * 1000).requests += 1
    assert len(timeline.steps) <= 120
    assert sum(step.requests for step in timeline.steps) == 100_000


def test_a_page_shows_foreign_text_as_text(tmp_path: Path) -> None:
    evil = '<script>alert("1")</script>'
    lines = [line(at, f"/a?{evil}={at}") for at in range(5)]
    page = page_of(Report(replayed(lines, tmp_path, {"RULES": [{"name": evil}]})))
    assert "<script" not in page
    assert "&lt;script&gt;" in page


def test_a_validation_costs_no_body(tmp_path: Path) -> None:
    fields = {"cache-control": "max-age=10", "etag": '"1"'}
    found = counts(replayed([line(0, fields=fields), line(20, fields=fields)], tmp_path))
    assert found.by_tier == {"miss": 1, "validated": 1}
    assert found.origin_bytes == 100


def test_stale_goes_out_while_it_is_refreshed(tmp_path: Path) -> None:
    fields = {"cache-control": "max-age=10, stale-while-revalidate=60"}
    found = counts(replayed([line(at, fields=fields) for at in (0, 20, 21)], tmp_path))
    assert found.by_tier == {"miss": 1, "stale": 1, "memory": 1}
    assert found.origin_requests == 2


def _from_everywhere() -> list[Line]:
    # What is stale is asked for wherever KV doesn't show yet what another location has stored.
    fields = {"cache-control": "max-age=20"}
    return [line(number / 2, client=f"198.51.100.{number % 200}", fields=fields) for number in range(400)]


def test_a_shield_takes_the_misses_of_all_locations(tmp_path: Path) -> None:
    assumptions = Assumptions(locations=10, regions={"near": 10.0, "far": 200.0})
    replay = replayed(_from_everywhere(), tmp_path, assumptions=assumptions, shield=True)
    without, shielded = counts(replay), counts(replay, f"{NOW}, with a shield")
    assert shielded.origin_requests == 10, "one each lifetime"
    assert without.origin_requests > 3 * shielded.origin_requests
    assert shielded.shield_answers > 2 * shielded.origin_requests
    assert shielded.kv_writes == shielded.origin_requests, "who asks the origin writes"
    assert without.requests == shielded.requests
    for variant in Report(replay).variants:
        assert variant.waits_ms["near"] < variant.waits_ms["far"]


def test_a_rule_keeps_out_of_the_shield(tmp_path: Path) -> None:
    rules = {**_VARIABLES, "RULES": [{"path": "/a", "shield": False}]}
    replay = replayed(_from_everywhere(), tmp_path, rules, Assumptions(locations=10), shield=True)
    found = counts(replay, f"{NOW}, with a shield")
    assert found.origin_requests == counts(replay).origin_requests
    assert found.shield_answers == 0
