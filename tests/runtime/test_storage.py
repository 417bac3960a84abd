"""A KV that is down, slow or full of nonsense costs hits alone; memory has a bound; hot keys are cheap."""

from __future__ import annotations

import gzip
import json
import statistics
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import partial
from itertools import pairwise
from urllib.parse import unquote

import brotli
import pytest

from origin_sdk_wire.key import body_key, parse_target, record_key
from origin_sdk_wire.marks import Lane, written_keys
from origin_sdk_wire.record import Record, head_of, metadata_for
from scripts.runtime.workerd import Workerd
from scripts.runtime.workerd_config import StandIn
from tests.runtime.client import Response
from tests.runtime.crowd import Asked, crowd
from tests.runtime.edge import HOST, Variables, detail, eventually, get, is_hit, key_of, new_path, running
from tests.runtime.kv import BreakableKV, Entry, Fault, Perform, delaying, failing, garbling
from tests.runtime.origin import Request, ScriptedOrigin
from tests.runtime.replies import Close, Hold, Pause, Reply, reply

FRESH = [("Cache-Control", "max-age=600")]
STALE = [("Cache-Control", "max-age=0"), ("ETag", '"1"')]
SLOW = 0.5


@pytest.fixture(scope="module")
def edge(
    running_origin: ScriptedOrigin, running_kv: BreakableKV, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Workerd]:
    workers: Variables = {
        "edge": {},
        "cold": {"MEMORY_BYTES": 0},
        "frozen": {"KV_TIMEOUT": "500ms"},
        "slow": {"KV_TIMEOUT": "2s"},
        "unmarked": {"MARK_INTERVAL": "100ms"},
        "small": {"MEMORY_BYTES": "1MiB", "MEMORY_ITEM_BYTES": "200KiB", "COMPRESS_MIN_BYTES": 0},
        "hot": {"MARK_INTERVAL": "500ms"},
    }
    folder, store = tmp_path_factory.mktemp("storage"), StandIn(running_kv.address)
    with running(folder, running_origin, workers, store=store) as workerd:
        yield workerd


def _key(request: Request) -> str:
    return unquote(request.path[1:])


def _is_noted(edge: Workerd) -> bool:
    return "edge cache: store: " in edge.process.output()


def _asked_for(kv: BreakableKV, method: str, path: str) -> list[Request]:
    return [request for request in kv.requests() if request.method == method and _key(request).endswith(path)]


def _hanging_up(_request: Request, _perform: Perform) -> Reply:
    return Reply((Close(),))


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(failing(500), id="errors"),
        pytest.param(failing(429), id="too many requests"),
        pytest.param(_hanging_up, id="no connection"),
        pytest.param(garbling(b"\x00\xff{"), id="garbage"),
    ],
)
def test_a_kv_that_fails_costs_hits_alone(
    edge: Workerd, origin: ScriptedOrigin, breakable_kv: BreakableKV, fault: Fault
) -> None:
    path = new_path()
    origin.on(path, reply(200, FRESH, b"right"))
    breakable_kv.fault = fault

    told = crowd(edge.url("cold"), [Asked(path)] * 20)
    again = get(edge.url("edge"), path), get(edge.url("edge"), path)

    assert {(t.response.status, t.body) for t in told} == {(200, b"right")}
    assert [t.body for t in again] == [b"right"] * 2
    assert is_hit(again[1])
    eventually(lambda: _is_noted(edge), "a note in the log")


def test_a_frozen_kv_is_waited_for_once(
    edge: Workerd, origin: ScriptedOrigin, breakable_kv: BreakableKV
) -> None:
    paths, hold = [new_path() for _ in range(5)], Hold()
    for path in paths:
        origin.on(path, reply(200, FRESH, b"right"))
    breakable_kv.fault = delaying(hold)

    told = [crowd(edge.url("frozen"), [Asked(path)] * 5) for path in paths]
    hold.release()

    assert {t.body for each in told for t in each} == {b"right"}
    assert statistics.median(t.seconds for t in told[0]) < SLOW + 2.5
    assert statistics.median(t.seconds for each in told[1:] for t in each) < SLOW
    assert "KV took longer than 0.5 s" in edge.process.output()


def test_a_slow_kv_still_gives_hits(edge: Workerd, origin: ScriptedOrigin, breakable_kv: BreakableKV) -> None:
    path = new_path()
    origin.on(path, reply(200, FRESH, b"right"))
    get(edge.url("edge"), path)
    eventually(lambda: key_of(path) in breakable_kv.entries, "the response in KV")
    breakable_kv.fault = delaying(Pause(0.3))

    response = get(edge.url("slow"), path)

    assert (response.body, is_hit(response)) == (b"right", True)


def test_refused_writes_are_tried_again(
    edge: Workerd, origin: ScriptedOrigin, breakable_kv: BreakableKV
) -> None:
    path = new_path()
    origin.on(path, reply(200, FRESH, b"right"))
    breakable_kv.fault = failing(429, method="PUT")

    assert get(edge.url("edge"), path).body == b"right"
    eventually(lambda: _asked_for(breakable_kv, "PUT", path), "a write")
    breakable_kv.fault = None

    eventually(lambda: key_of(path) in breakable_kv.entries, "another write")


def test_writes_to_a_key_are_a_second_apart_and_the_last_one_wins(
    edge: Workerd, origin: ScriptedOrigin, breakable_kv: BreakableKV
) -> None:
    path = new_path()
    origin.on(path, *[reply(200, STALE, str(number).encode()) for number in range(10)])
    written: list[float] = []

    def noting(request: Request, perform: Perform) -> Reply:
        if request.method == "PUT" and _key(request).endswith(path):
            written.append(time.monotonic())
        return perform(request)

    breakable_kv.fault = noting
    told = [get(edge.url("edge"), path).body for _ in range(10)]

    assert told == [str(number).encode() for number in range(10)]
    eventually(lambda: breakable_kv.entries.get(key_of(path), Entry(b"")).value == b"9", "the last one in KV")
    assert len(written) < 10
    assert all(later - earlier > 1 for earlier, later in pairwise(written))


def _record(body: bytes, **changes: object) -> str:
    now = int(datetime.now(UTC).timestamp() * 1000)  # noqa: TID251 - records are dated
    facts = {"birth_ms": now, "response_ms": now, "initial_age_ms": 0, "body_bytes": len(body), **changes}
    fields = (("cache-control", "max-age=600"), ("date", "Mon, 23 Nov 2026 03:00:00 GMT"))
    return head_of(Record(200, fields=fields, **facts))  # type: ignore[arg-type] # the rows' business


def _metadata(head: str) -> str:
    return metadata_for(head)[0]


@pytest.mark.parametrize(
    ("metadata", "value"),
    [
        pytest.param(None, b"body", id="no metadata"),
        pytest.param("nonsense", b"body", id="metadata that isn't JSON"),
        pytest.param("7", b"body", id="a number"),
        pytest.param('{"h": 5}', b"body", id="a head that isn't text"),
        pytest.param('{"h": ""}', b"body", id="an empty head"),
        pytest.param('{"h": "1 200"}', b"body", id="a cut head"),
        pytest.param(_metadata("2" + _record(b"body")[1:]), b"body", id="a later version"),
        pytest.param('{"o": 400}', b"body", id="a head longer than the value"),
        pytest.param('{"o": 4}', b"\xff\xfe\x00\x01", id="a head that isn't UTF-8"),
        pytest.param('{"o": 1e300}', b"body", id="a head of 1e300 bytes"),
        pytest.param('{"o": 9007199254740993}', b"body", id="a head longer than numbers of JavaScript"),
        pytest.param('{"v": "accept"}', b"", id="an index that isn't a list"),
        pytest.param('{"v": [["accept", 5]]}', b"", id="an index with numbers"),
        pytest.param('{"v": [["accept"]]}', b"", id="an index of nothing"),
        pytest.param(json.dumps({"v": [[str(n)] for n in range(50)]}), b"", id="a long index"),
        pytest.param(_metadata(_record(b"longer body")), b"body", id="half a body"),
        *(
            pytest.param(_metadata(_record(b"body", coding=coding)), value, id=f"{coding}: {what}")
            for coding, compress in (("gzip", gzip.compress), ("br", partial(brotli.compress, quality=5)))
            for what, value in (
                ("none", b"body"),
                ("cut off", compress(b"body")[:-3]),
                ("longer than said", compress(b"a body")),
                ("a bomb", compress(bytes(20_000_000))),
            )
        ),
        pytest.param(_metadata(_record(b"body")).replace(" - -", " zstd -"), b"body", id="another coding"),
        pytest.param(_metadata(_record(b"body", body_key=body_key("gone"))), b"", id="a body that is gone"),
        pytest.param(
            _metadata(_record(b"body").replace(" 200 ", " 999 ")), b"body", id="an impossible status"
        ),
        pytest.param(_metadata(_record(b"body") + "\nno field"), b"body", id="a line that is no field"),
        pytest.param(_metadata(_record(b"body") + "\na b:c"), b"body", id="a name that is no name"),
        pytest.param(_metadata(_record(b"body") + "\na:b\x00c"), b"body", id="a NUL in a field"),
        pytest.param(_metadata(_record(b"body") + "\n> a"), b"body", id="a group that no response can have"),
        pytest.param(_metadata(_record(b"body") + "\n>"), b"body", id="a group without a name"),
        pytest.param(_metadata(_record(b"body", birth_ms=10**30)), b"body", id="born beyond all time"),
    ],
)
def test_nonsense_in_kv_counts_as_absent(
    edge: Workerd, origin: ScriptedOrigin, breakable_kv: BreakableKV, metadata: str | None, value: bytes
) -> None:
    path = new_path()
    origin.on(path, reply(200, FRESH, b"right"))
    breakable_kv.entries[key_of(path)] = Entry(value, metadata)

    response = get(edge.url("edge"), path)

    assert (response.status, response.body) == (200, b"right")
    assert is_hit(get(edge.url("edge"), path))


def test_what_was_written_by_hand_is_served(edge: Workerd, breakable_kv: BreakableKV) -> None:
    path = new_path()
    breakable_kv.entries[key_of(path)] = Entry(b"body", _metadata(_record(b"body")))

    response = get(edge.url("edge"), path)

    assert (response.status, response.body, is_hit(response)) == (200, b"body", True)


@pytest.mark.parametrize("stored", [pytest.param(FRESH, id="fresh"), pytest.param(STALE, id="stale")])
def test_a_body_that_is_gone_is_fetched_again(
    edge: Workerd, origin: ScriptedOrigin, breakable_kv: BreakableKV, stored: list[tuple[str, str]]
) -> None:
    path, body = new_path(), b"large" * 300_000

    def answer(request: Request) -> Reply:
        return reply(304, stored) if request.value("If-None-Match") else reply(200, stored, body)

    origin.decide(path, answer)
    get(edge.url("edge"), path)
    eventually(lambda: key_of(path) in breakable_kv.entries, "the record in KV")
    for key in [key for key in breakable_kv.entries if key.startswith("b1/")]:
        del breakable_kv.entries[key]

    response = get(edge.url("edge"), path)

    assert (response.status, response.body) == (200, body)


def test_many_long_fields_are_kept(edge: Workerd, origin: ScriptedOrigin, breakable_kv: BreakableKV) -> None:
    path = new_path()
    many = [(f"X-Field-{number}", "x" * 100 + str(number)) for number in range(40)]
    origin.on(path, reply(200, [*FRESH, *many], b"body"))
    get(edge.url("edge"), path)
    eventually(lambda: key_of(path) in breakable_kv.entries, "the response in KV")

    response = get(edge.url("cold"), path)

    assert (response.body, is_hit(response)) == (b"body", True)
    assert len([name for name, _ in response.fields if name.lower().startswith("x-field-")]) == 40
    assert '"o"' in (breakable_kv.entries[key_of(path)].metadata or "")


def _bulk(body: bytes) -> Fault:
    """A fault: reads of many keys at once answer with these bytes."""
    return lambda request, perform: reply(body=body) if request.method == "POST" else perform(request)


@pytest.mark.parametrize(
    "unreadable",
    [
        pytest.param(failing(500, method="POST"), id="errors"),
        pytest.param(_bulk(b"["), id="garbage"),
        pytest.param(_bulk(b"5"), id="a number"),
        pytest.param(_bulk(b"{}"), id="no answer for the keys"),
    ],
)
def test_unreadable_marks_make_stored_responses_doubtful(
    edge: Workerd, origin: ScriptedOrigin, breakable_kv: BreakableKV, unreadable: Fault
) -> None:
    path = new_path()
    fields = [*FRESH, ("ETag", '"1"')]
    origin.on(path, reply(200, fields, b"stored"), reply(304, fields), Reply((Close(),)))
    get(edge.url("unmarked"), path)
    breakable_kv.fault = unreadable
    time.sleep(0.15)

    validated = get(edge.url("unmarked"), path)
    time.sleep(0.15)
    standing_in = get(edge.url("unmarked"), path)

    assert (validated.body, detail(validated)) == (b"stored", "validated")
    assert (standing_in.body, detail(standing_in)) == (b"stored", "stale-if-error")


def test_a_mark_that_is_nonsense_purges_what_is_older(
    edge: Workerd, origin: ScriptedOrigin, breakable_kv: BreakableKV
) -> None:
    path = new_path()
    origin.on(path, reply(200, FRESH, b"1"), reply(200, FRESH, b"2"))
    get(edge.url("unmarked"), path)
    for key in written_keys([f"url/{HOST}{path}"], Lane.HARD):
        breakable_kv.entries[key] = Entry(b"yesterday")

    eventually(lambda: get(edge.url("unmarked"), path).body == b"2", "the purge")


def test_memory_keeps_its_bound(edge: Workerd, origin: ScriptedOrigin, breakable_kv: BreakableKV) -> None:
    paths = [new_path() for _ in range(30)]
    for path in paths:
        origin.on(path, reply(200, FRESH, b"x" * 100_000))
        get(edge.url("small"), path)
    eventually(lambda: {key_of(path) for path in paths} <= breakable_kv.entries.keys(), "all of them in KV")

    told = [get(edge.url("small"), path) for path in paths]

    assert all(is_hit(t) for t in told)
    # 1 MiB holds ten of them; walking through thirty in order finds none of the least recently used.
    assert sum(len(_asked_for(breakable_kv, "GET", path)) > 1 for path in paths) >= 20


def test_large_bodies_are_shared_by_isolates_and_lie_apart(
    edge: Workerd, origin: ScriptedOrigin, breakable_kv: BreakableKV
) -> None:
    path, body = new_path(), bytes(range(256)) * 8192
    origin.on(path, reply(200, FRESH, body))
    get(edge.url("edge"), path)
    eventually(lambda: key_of(path) in breakable_kv.entries, "the record in KV")

    response = get(edge.url("cold"), path)

    assert (response.body == body, is_hit(response)) == (True, True)
    assert breakable_kv.entries[key_of(path)].value == b""


def test_a_hot_key_costs_few_reads(edge: Workerd, origin: ScriptedOrigin, breakable_kv: BreakableKV) -> None:
    path = new_path()
    origin.on(path, reply(200, [*FRESH, ("Cache-Groups", '"one", "two"')], b"hot"))
    get(edge.url("hot"), path)
    breakable_kv.requests().clear()
    before, began, told = len(breakable_kv.requests()), time.monotonic(), list[Response]()

    while time.monotonic() < began + 2.2:
        told += [t.response for t in crowd(edge.url("hot"), [Asked(path)] * 20)]

    assert all(is_hit(t) for t in told)
    reads = [r for r in breakable_kv.requests()[before:] if r.method != "PUT"]
    assert {r.target for r in reads} == {"/bulk/get"}
    # All marks in one read, at 0.7 of the interval of half a second.
    assert len(reads) <= 7
    assert len(reads) < 0.1 * len(told)


def test_keys_are_what_the_contract_says() -> None:
    assert key_of("/a") == record_key(parse_target(f"http://{HOST}/a"))
