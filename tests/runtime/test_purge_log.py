"""The purge log in the real runtime: a Durable Object, read by two isolates, beside KV."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import count

import httpx
import pytest

from origin_sdk_wire.exposition import Isolate, parse_document
from origin_sdk_wire.key import parse_target
from origin_sdk_wire.marks import (
    EVERYTHING,
    Lane,
    Mark,
    group_mark,
    host_group_mark,
    host_mark,
    prefix_mark,
    url_mark,
    value_of,
    written_keys,
)
from origin_sdk_wire.purge_log.entries import Purged, Switch, SwitchKind, id_of
from origin_sdk_wire.purge_log.metadata import parse_entry
from origin_sdk_wire.purge_log.shards import shard_of
from origin_sdk_wire.record import Record, head_of, metadata_for
from origin_sdk_wire.signed_requests import LOG_PATH, MAX_BODY_BYTES, TELL_PATH
from scripts.runtime import snapshot
from scripts.runtime.workerd import Workerd
from scripts.runtime.workerd_config import StandIn, Worker
from tests.runtime import log
from tests.runtime.edge import HOST, QUIET, detail, eventually, get, is_hit, key_of, new_path
from tests.runtime.kv import BreakableKV, Entry
from tests.runtime.origin import Request, ScriptedOrigin
from tests.runtime.replies import Reply, reply

FRESH = [("Cache-Control", "max-age=600, stale-if-error=600"), ("Cache-Tag", "shop-1")]


@pytest.fixture(scope="module")
def edge(
    running_origin: ScriptedOrigin, running_kv: BreakableKV, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Workerd]:
    variables = {
        **QUIET,
        "ORIGIN": running_origin.url,
        "PURGE_LOG_KEYS": json.dumps(log.KEYS),
        "DEVELOPMENT": True,
    }
    away = {"CACHE": StandIn(running_kv.address)}
    workers = [
        Worker("edge", variables=variables, log="edge"),
        Worker("twin", variables={**variables, "PURGE": "strict"}, log="edge"),
        Worker("unlisted", variables={**variables, "MARK_INTERVAL": "300ms"}, log="unlisted", stores=away),
        Worker("sharded", variables={**variables, "PURGE_LOG_SHARDS": 2}, log="sharded"),
        Worker("without", variables=variables),
    ]
    with Workerd(tmp_path_factory.mktemp("log"), workers, snapshots=snapshot.deployed()) as workerd:
        get(workerd.url("edge"), "/begin")
        eventually(lambda: log.state(workerd.url("edge")).known_ms, "the first listing")
        yield workerd


def _stored(origin: ScriptedOrigin, *urls: str, path: str = "") -> str:
    """Have a path stored, and hit by these Workers. Each answer of the origin has another body."""
    path, numbers = path or new_path("log"), count()
    origin.decide(path, lambda _: reply(200, FRESH, str(next(numbers)).encode()))
    for url in urls:
        _is_hit(url, path)
    return path


def _is_hit(url: str, path: str) -> None:
    eventually(lambda: is_hit(get(url, path)), "a hit")


def _is_new(url: str, path: str, old: bytes) -> None:
    eventually(lambda: get(url, path).body != old, "the purge")


def _reads(url: str, purpose: str) -> float:
    told = httpx.get(f"{url}/.edge-cache/metrics", headers={"Host": "localhost"}, trust_env=False)
    isolate: Isolate = parse_document(told.text).isolates[0]
    return isolate.counts.total("kv_keys", operation="read", purpose=purpose)


def _url(path: str) -> str:
    return url_mark(parse_target(f"http://{HOST}{path}"))


# First, before everything is purged that is older than the log


def test_marks_alone_are_honoured_by_what_is_older_than_the_log(
    edge: Workerd, origin: ScriptedOrigin
) -> None:
    path, url, long_ago_ms = new_path("old"), edge.url("edge"), log.now_ms() - 5_000_000
    origin.decide(path, lambda _: reply(200, FRESH, b"new"))
    record = Record(200, long_ago_ms, long_ago_ms, 0, (("cache-control", "max-age=9000"),), (), 3)
    metadata, _ = metadata_for(head_of(record))
    edge.store().put(key_of(path), b"old", metadata=json.loads(metadata))
    assert get(url, path).body == b"old"
    log.write_marks(edge.store(), _url(path))
    _is_new(url, path, b"old")


# What is told, and what is found


@pytest.mark.parametrize(
    ("name", "path"),
    [
        pytest.param(lambda _: EVERYTHING, "", id="everything"),
        pytest.param(lambda _: host_mark(HOST), "", id="a host"),
        pytest.param(_url, "", id="a URL"),
        pytest.param(_url, "/" + "long-" * 60, id="a URL that the log cuts"),
        pytest.param(lambda path: prefix_mark(parse_target(f"http://{HOST}{path}")), "", id="a prefix"),
        pytest.param(lambda _: group_mark("shop-1"), "", id="a group"),
        pytest.param(lambda _: host_group_mark(HOST, "shop-1"), "", id="a group of a host"),
    ],
)
def test_what_is_told_is_honoured_by_all_without_a_mark(
    edge: Workerd, origin: ScriptedOrigin, name: Callable[[str], str], path: str
) -> None:
    urls = edge.url("edge"), edge.url("twin")
    path = _stored(origin, *urls, path=path)
    old = get(urls[0], path).body
    assert log.tell(urls[0], log.entries_of(name(path))).status_code == 200
    for url in urls:
        _is_new(url, path, old)


def test_what_was_not_told_is_found_in_kv(edge: Workerd, origin: ScriptedOrigin) -> None:
    urls = edge.url("edge"), edge.url("twin")
    path = _stored(origin, *urls)
    old = get(urls[0], path).body
    log.write_entries(edge.store(), log.entries_of(_url(path)))
    for url in urls:
        _is_new(url, path, old)


def test_a_warm_request_reads_no_mark(edge: Workerd, origin: ScriptedOrigin) -> None:
    url = edge.url("edge")
    paths = [_stored(origin, url) for _ in range(5)]
    before = _reads(url, "mark")
    for path in paths * 4:
        assert is_hit(get(url, path))
    assert _reads(url, "mark") == before


def test_marks_hold_while_kv_cannot_be_listed(
    edge: Workerd, origin: ScriptedOrigin, breakable_kv: BreakableKV
) -> None:
    breakable_kv.fault = _unlisted
    url = edge.url("unlisted")
    path = _stored(origin, url)
    assert "log=unavailable" in (get(url, path).value("Cache-Status") or "")
    old = get(url, path).body
    for key in written_keys([group_mark("shop-1")], Lane.HARD):
        breakable_kv.entries[key] = Entry(value_of(key, Mark(log.now_ms(), "x")).encode())
    _is_new(url, path, old)


def _unlisted(request: Request, perform: Callable[[Request], Reply]) -> Reply:
    return reply(500) if request.path == "/" else perform(request)


@pytest.mark.parametrize(
    ("fields", "names"),
    [
        pytest.param([], lambda path: {_url(path)}, id="of its URL"),
        pytest.param(
            [("Cache-Group-Invalidation", '"audited"')],
            lambda path: {_url(path), host_group_mark(HOST, "audited")},
            id="of a group that the answer names, too",
        ),
    ],
)
def test_a_purge_of_the_workers_own_is_told_and_audited(
    edge: Workerd, origin: ScriptedOrigin, fields: list[tuple[str, str]], names: Callable[[str], set[str]]
) -> None:
    one, two = edge.url("edge"), edge.url("twin")
    path = _stored(origin, one, two)
    old, count_of = get(two, path).body, count()
    origin.decide(
        path,
        lambda request: (
            reply(204, fields)
            if request.method == "DELETE"
            else reply(200, FRESH, b"%d new" % next(count_of))
        ),
    )
    get(one, path, method="DELETE")
    _is_new(two, path, old)

    def entries() -> list[Purged]:
        keys = edge.store().keys("p2/")
        read = [parse_entry(id_of(key), edge.store().metadata(key)) for key in keys]
        return [entry for entry in read if isinstance(entry, Purged) and _url(path) in entry.names]

    (entry,) = eventually(entries, "the entry in KV")
    assert (entry.by, entry.why, set(entry.names)) == ("edge", "unsafe-request", names(path))


def test_an_answer_that_withdraws_a_response_is_told_and_audited(
    edge: Workerd, origin: ScriptedOrigin
) -> None:
    one, two = edge.url("edge"), edge.url("twin")
    path = new_path("log")
    origin.decide(path, lambda _: reply(200, [("Cache-Control", "max-age=4, stale-if-error=600")], b"old"))
    for url in (one, two):
        _is_hit(url, path)
    origin.decide(path, lambda _: reply(200, [("Cache-Control", "no-store")], b"new"))
    eventually(lambda: get(one, path).body == b"new", "the answer that isn't stored")

    def told() -> set[tuple[str, str]]:
        keys = edge.store().keys("p2/")
        read = [parse_entry(id_of(key), edge.store().metadata(key)) for key in keys]
        return {(each.by, each.why) for each in read if isinstance(each, Purged) and _url(path) in each.names}

    assert eventually(told, "the entry in KV") == {("edge", "origin-response")}


@pytest.mark.parametrize(
    ("name", "covers_other"),
    [
        pytest.param(host_mark, False, id="of one host"),
        pytest.param(lambda _: group_mark("shop-1"), True, id="of all"),
    ],
)
def test_shards_are_told_of_their_hosts_and_of_what_is_about_all(
    edge: Workerd, origin: ScriptedOrigin, name: Callable[[str], str], covers_other: bool
) -> None:
    url, path, numbers, (host, other) = edge.url("sharded"), new_path("log"), count(), ("a.test", "c.test")
    assert {shard_of(host, 2), shard_of(other, 2)} == {0, 1}
    origin.decide(path, lambda _: reply(200, FRESH, str(next(numbers)).encode()))
    eventually(lambda: is_hit(get(url, path, host=host)) and is_hit(get(url, path, host=other)), "hits")
    eventually(lambda: log.state(url).known_ms, "the first listing of both")
    old, old_other = (get(url, path, host=each).body for each in (host, other))
    (entry,) = log.entries_of(name(host))
    assert log.tell(url, [entry]).status_code == 200
    assert log.visible(url, entry.id)["unknown"] == []
    eventually(lambda: get(url, path, host=host).body != old, "the purge")
    if covers_other:
        eventually(lambda: get(url, path, host=other).body != old_other, "the purge of the other, too")
    else:
        assert get(url, path, host=other).body == old_other


# The route


def test_what_was_told_is_visible_once_all_have_read_it(edge: Workerd, origin: ScriptedOrigin) -> None:
    url, path = edge.url("edge"), new_path("log")
    origin.decide(path, lambda _: reply(200, FRESH))
    entries = log.entries_of(group_mark("visible"))
    assert log.visible(url, entries[0].id)["unknown"] == [entries[0].id]
    log.tell(url, entries)

    def is_visible() -> bool:
        get(url, path)
        return bool(log.visible(url, entries[0].id)["visible"])

    eventually(is_visible, "all have read it")


@pytest.mark.parametrize(
    ("send", "code"),
    [
        pytest.param(lambda url: log.tell(url, log.entries_of(group_mark("shop-2"))), 200, id="all"),
        pytest.param(
            lambda url: log.tell(url, log.entries_of(group_mark("shop-2")), log.SCOPED),
            200,
            id="in its scope",
        ),
        pytest.param(
            lambda url: log.tell(url, log.entries_of(group_mark("x")), log.SCOPED), 403, id="out of it"
        ),
        pytest.param(lambda url: log.post(url, TELL_PATH, {"entries": 1}), 400, id="no entries"),
        pytest.param(
            lambda url: log.tell(url, log.entries_of(EVERYTHING), replace(log.KEY, secret="s" * 40)),
            401,
            id="another secret",
        ),
        pytest.param(lambda url: httpx.post(url + TELL_PATH, content=b"{}"), 401, id="unsigned"),
        pytest.param(lambda url: httpx.get(url + TELL_PATH), 405, id="by GET"),
        pytest.param(
            lambda url: httpx.post(url + TELL_PATH, content=bytes(MAX_BODY_BYTES + 1)), 413, id="too large"
        ),
        pytest.param(lambda url: httpx.post(url + TELL_PATH, content=iter([b"{}"])), 411, id="of any size"),
        pytest.param(lambda url: log.post(url, f"{LOG_PATH}other", {}), 404, id="another path"),
    ],
)
def test_the_route_answers(edge: Workerd, send: Callable[[str], httpx.Response], code: int) -> None:
    assert send(edge.url("edge")).status_code == code


def test_a_request_counts_once(edge: Workerd) -> None:
    nonce = secrets.token_hex(16)
    codes = [log.tell(edge.url("edge"), log.entries_of("group/a"), nonce=nonce).status_code for _ in range(2)]
    assert codes == [200, 409]


def test_without_the_binding_the_route_is_the_origins(edge: Workerd, origin: ScriptedOrigin) -> None:
    origin.decide(TELL_PATH, lambda _: reply(204))
    assert log.tell(edge.url("without"), log.entries_of(EVERYTHING)).status_code == 204


# Switches


def test_a_switch_bypasses_the_cache_until_it_is_taken_back(edge: Workerd, origin: ScriptedOrigin) -> None:
    one, two = edge.url("edge"), edge.url("twin")
    path = _stored(origin, one, two)
    on = Switch(secrets.token_hex(8), log.now_ms(), SwitchKind.BYPASS, log.now_ms() + 600_000, by="ann")
    log.tell(one, [on])
    for url in (one, two):
        eventually(lambda url=url: detail(get(url, path)) == "bypass-switch", "the switch")  # type: ignore[misc]  # bound at once
    assert [switch.by for switch in log.state(one).switches] == ["ann"]
    later_ms = on.moment_ms + 1
    log.tell(one, [replace(on, id=secrets.token_hex(8), moment_ms=later_ms, until_ms=later_ms)])
    for url in (one, two):
        _is_hit(url, path)
    assert log.state(one).switches == ()


def test_a_switch_ends_by_itself_and_serves_stale_until_then(edge: Workerd, origin: ScriptedOrigin) -> None:
    url, path = edge.url("edge"), new_path("stale")
    origin.decide(path, lambda _: reply(200, [("Cache-Control", "max-age=1, stale-if-error=0")], b"x"))
    until_ms = log.now_ms() + 4000
    log.tell(url, [Switch(secrets.token_hex(8), log.now_ms(), SwitchKind.STALE, until_ms, seconds=600)])
    get(url, path)
    origin.decide(path, lambda _: reply(503))
    eventually(lambda: detail(get(url, path)) == "stale-while-revalidate", "stale responses")
    eventually(lambda: get(url, path).status == 503, "the end of the switch")
