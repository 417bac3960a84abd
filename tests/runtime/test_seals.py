"""The sealed store in the real runtime: WebCrypto seals, and what others write into KV counts as absent."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import count

import pytest

from origin_sdk_wire.exposition import parse_document
from origin_sdk_wire.key import variant_key
from origin_sdk_wire.marks import Lane, Mark, group_mark, mark_key
from origin_sdk_wire.purge_log.entries import entry_key
from origin_sdk_wire.purge_log.metadata import metadata_of, sealed_metadata
from origin_sdk_wire.record import Record, head_of
from origin_sdk_wire.seals import PART_BYTES, concealed, parse_store_keys, sealed_text, verified
from origin_sdk_wire.signed_requests import TELL_PATH
from scripts.runtime.workerd import Workerd
from scripts.runtime.workerd_config import Json, StandIn, Worker
from tests.runtime import log
from tests.runtime.client import Response
from tests.runtime.edge import HOST, QUIET, detail, eventually, get, is_hit, key_of, new_path
from tests.runtime.kv import BreakableKV, Entry
from tests.runtime.origin import ScriptedOrigin
from tests.runtime.replies import reply

OLD, NEW = (
    f"{name}:{b64encode(bytes(range(first, first + 32))).decode()}"
    for name, first in (("old", 1), ("new", 99))
)
KEYS = parse_store_keys(NEW)
FRESH = [("Cache-Control", "max-age=600"), ("Content-Type", "text/plain")]
RULES: Json = [
    {"name": "me", "path": "/me/**", "data_class": "private", "key_cookies": ["sid"], "lifetime": "10m"},
    {"name": "secret", "path": "/secret/**", "seal": "encrypt"},
    {"name": "open", "path": "/open/**", "seal": "none"},
    {"name": "kept", "path": "/kept/**", "store_on": "never"},
]
SMALL, LARGE = b"small, and to be kept" * 9, bytes(range(256)) * (5 * PART_BYTES // 512)
OTHERS = b"of the origin"
BEARER = ("Authorization", f"Bearer {log.SECRET}")
METRICS_PATH = "/.edge-cache/metrics"
ME = ("Cookie", "sid=a")


@pytest.fixture(scope="module")
def edge(
    running_origin: ScriptedOrigin, running_kv: BreakableKV, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Workerd]:
    variables: dict[str, Json] = {
        **QUIET,
        "ORIGIN": running_origin.url,
        "RULES": RULES,
        "DEBUG_SECRET": log.SECRET,
        "COMPRESS_MIN_BYTES": 0,
        "MEMORY_ITEM_BYTES": 1024,
        "MARK_INTERVAL": "200ms",
        "PURGE_LOG_KEYS": json.dumps(log.KEYS),
        "STORE_KEYS": NEW,
    }
    away = {"CACHE": StandIn(running_kv.address)}
    workers = [
        Worker("writer", variables=variables, stores=away),
        # Without memory, so that each request has to open what lies in KV.
        Worker(
            "reader", variables={**variables, "STORE_KEYS": f"{NEW},{OLD}", "MEMORY_BYTES": 0}, stores=away
        ),
        Worker("old", variables={**variables, "STORE_KEYS": OLD}, stores=away),
        Worker("logged", variables={**variables, "LOG_WRITES": True, "METRICS_URLS": "full"}, log="logged"),
    ]
    with Workerd(tmp_path_factory.mktemp("seals"), workers) as workerd:
        yield workerd


_groups = count()


def _stored(
    edge: Workerd,
    origin: ScriptedOrigin,
    kv: BreakableKV,
    path: str,
    body: bytes = SMALL,
    *fields: tuple[str, str],
    by: str = "writer",
    group: str = "shop",
) -> str:
    """Have a response stored, and the origin answer otherwise from then on; return its key in KV."""
    origin.on(path, reply(200, [*FRESH, ("Cache-Tag", group)], body))
    before = set(kv.entries)
    get(edge.url(by), path, *fields)

    def added() -> str:
        return next((key for key in kv.entries if key not in before and key.startswith("r1/")), "")

    key = eventually(added, "the record in KV")
    origin.on(path, reply(200, [("Cache-Control", "no-store")], OTHERS))
    return key


def _read(edge: Workerd, path: str, *fields: tuple[str, str]) -> Response:
    return get(edge.url("reader"), path, *fields)


@pytest.mark.parametrize("place", ["/x", "/secret", "/me", "/open"])
@pytest.mark.parametrize(
    "body",
    [
        pytest.param(SMALL, id="small"),
        pytest.param(bytes(range(256)) * 160, id="more than Python digests"),
        pytest.param(LARGE, id="in parts"),
    ],
)
def test_another_isolate_serves_what_was_sealed(
    edge: Workerd, origin: ScriptedOrigin, breakable_kv: BreakableKV, place: str, body: bytes
) -> None:
    path, fields = f"{place}{new_path()}", [ME] if place == "/me" else []
    _stored(edge, origin, breakable_kv, path, body, *fields)

    whole = _read(edge, path, *fields)
    part = _read(edge, path, *fields, ("Range", f"bytes={len(body) - 70}-{len(body) - 60}"))

    assert is_hit(whole)
    assert whole.body == body
    assert (part.status, part.body) == (206, body[-70:-59])
    entries = breakable_kv.entries.values()
    is_readable = any(
        body[-64:] in entry.value or "text/plain" in (entry.metadata or "") for entry in entries
    )
    assert is_readable is (place in {"/x", "/open"})


def test_nobody_without_the_keys_can_tell_whether_there_is_something_of_a_user(
    edge: Workerd, origin: ScriptedOrigin, breakable_kv: BreakableKV
) -> None:
    path = f"/me{new_path()}"
    key = _stored(edge, origin, breakable_kv, path, SMALL, ME)

    assert key.startswith(f"{key_of(path)}#")
    assert key != variant_key(key_of(path), [("cookie:sid", "a")])
    assert key == variant_key(key_of(path), concealed([("cookie:sid", "a")], KEYS[0]))


def test_what_is_kept_in_memory_alone_never_reaches_kv(
    edge: Workerd, origin: ScriptedOrigin, breakable_kv: BreakableKV
) -> None:
    path, later = f"/kept{new_path()}", new_path()
    origin.on(path, reply(200, FRESH, SMALL))
    get(edge.url("writer"), path)
    assert is_hit(get(edge.url("writer"), path))
    _stored(edge, origin, breakable_kv, later)  # which was asked for after it, and is there
    assert not [key for key in breakable_kv.entries if path in key]
    assert not [request for request in breakable_kv.requests() if path in request.target]


Attack = Callable[[Entry], Entry]


def _flipped(at: int) -> Attack:
    def attack(entry: Entry) -> Entry:
        octets = bytearray(entry.value)
        octets[at] ^= 1
        return replace(entry, value=bytes(octets))

    return attack


def _members(**members: Json) -> Attack:
    return lambda entry: replace(
        entry, metadata=json.dumps({**json.loads(entry.metadata or "{}"), **members})
    )


def _forged(_: Entry) -> Entry:
    now_ms = log.now_ms()
    record = Record(200, now_ms, now_ms, 0, (("cache-control", "max-age=600"),), (), 6)
    return Entry(b"forged", json.dumps({"h": head_of(record)}))


@pytest.mark.parametrize(
    ("place", "attack"),
    [
        pytest.param("/x", _flipped(0), id="a bit of an authenticated body"),
        pytest.param("/x", _members(h="1 200 1 1 0 6 - -"), id="another head"),
        pytest.param("/x", _members(p=""), id="without what was prepared"),
        pytest.param("/x", _members(x="y"), id="a member more"),
        pytest.param("/x", _members(h=None), id="a null"),
        pytest.param("/x", _members(x=json.loads("[" * 400 + "]" * 400)), id="a deep nest"),
        pytest.param("/x", _members(a="new"), id="no MAC"),
        pytest.param("/x", _members(e="new 20"), id="what is authenticated passed off as encrypted"),
        pytest.param("/x", lambda entry: replace(entry, value=entry.value[:-1]), id="cut short"),
        pytest.param("/x", _forged, id="a forged record without a seal"),
        pytest.param("/x", lambda _: Entry(b"", '{"v":[["x"]]}'), id="a forged index"),
        pytest.param("/secret", _forged, id="a forged record where one is to be encrypted"),
        pytest.param("/secret", _flipped(3), id="a bit of the nonce"),
        pytest.param("/secret", _flipped(40), id="a bit of the ciphertext"),
        pytest.param("/secret", _flipped(-1), id="a bit of the tag"),
        pytest.param("/secret", _members(e="new 7"), id="another length of the head"),
        pytest.param("/secret", _members(e="old 7"), id="another key"),
        pytest.param("/secret", lambda entry: replace(entry, value=b""), id="no ciphertext"),
        pytest.param("/secret", lambda entry: replace(entry, value=entry.value[:20]), id="no tag"),
    ],
)
def test_what_somebody_without_the_keys_wrote_is_never_served(
    edge: Workerd, origin: ScriptedOrigin, breakable_kv: BreakableKV, place: str, attack: Attack
) -> None:
    path = f"{place}{new_path()}"
    key = _stored(edge, origin, breakable_kv, path)
    breakable_kv.entries[key] = attack(breakable_kv.entries[key])

    response = _read(edge, path)

    assert response.body == OTHERS
    assert detail(_read(edge, path, ("Cache-Control", "only-if-cached"))) == "only-if-cached"
    told = parse_document(get(edge.url("reader"), METRICS_PATH, BEARER).body.decode())
    assert told.isolates[0].counts.total("broken_seals") >= 2
    assert "edge cache: seal: BrokenSeal: r1/http/" in edge.process.output()


@pytest.mark.parametrize("place", ["/x", "/secret"])
def test_a_record_is_bound_to_its_host_and_path(
    edge: Workerd, origin: ScriptedOrigin, breakable_kv: BreakableKV, place: str
) -> None:
    path, other = f"{place}{new_path()}", f"{place}{new_path()}"
    key, foreign = (_stored(edge, origin, breakable_kv, each) for each in (path, other))
    entries = breakable_kv.entries
    entries[key.replace(HOST, "other.test")], entries[key] = entries[key], entries[foreign]

    assert get(edge.url("reader"), path).body == OTHERS
    assert get(edge.url("reader"), path, host="other.test").body == OTHERS


@pytest.mark.parametrize("place", ["/x", "/secret"])
@pytest.mark.parametrize("how", ["swapped", "dropped", "repeated"])
def test_parts_cant_be_moved(
    edge: Workerd, origin: ScriptedOrigin, breakable_kv: BreakableKV, place: str, how: str
) -> None:
    path = f"{place}{new_path()}"
    _stored(edge, origin, breakable_kv, path, LARGE)
    entries = breakable_kv.entries
    [key] = [key for key in entries if key.startswith("b2/")]
    value, step = entries[key].value, PART_BYTES + (28 if place == "/secret" else 32)
    head = 2 + value[1] + 24
    first, second = value[head : head + step], value[head + step : head + 2 * step]
    rest = value[head + 2 * step :]
    changed = {"swapped": second + first + rest, "dropped": second + rest, "repeated": first + first + rest}
    entries[key] = Entry(value[:head] + changed[how])

    assert _read(edge, path, ("Range", f"bytes=0-{len(LARGE) - 1}")).body == OTHERS


@pytest.mark.parametrize("swapped", ["metadata", "value"])  # what is encrypted has all in its value
def test_no_part_of_an_older_version_passes_for_one_of_a_newer(
    edge: Workerd, origin: ScriptedOrigin, breakable_kv: BreakableKV, swapped: str
) -> None:
    path = new_path()
    key = _stored(edge, origin, breakable_kv, path, by="reader")
    older = breakable_kv.entries.pop(key)
    assert _stored(edge, origin, breakable_kv, path, SMALL[::-1], by="writer") == key
    newer = breakable_kv.entries[key]
    breakable_kv.entries[key] = replace(newer, **{swapped: getattr(older, swapped)})

    assert _read(edge, path).body == OTHERS


@pytest.mark.parametrize("place", ["/x", "/secret"])
def test_an_older_version_that_is_put_back_is_ended_by_a_purge_since_its_birth(
    edge: Workerd, origin: ScriptedOrigin, breakable_kv: BreakableKV, place: str
) -> None:
    path, group = f"{place}{new_path()}", f"shop-{next(_groups)}"
    key = _stored(edge, origin, breakable_kv, path, group=group)
    older = breakable_kv.entries[key]
    assert is_hit(_read(edge, path))

    _mark(breakable_kv, lambda name, text: sealed_text(KEYS[0], name, text), group)
    eventually(lambda: not is_hit(_read(edge, path)), "the purge")
    breakable_kv.entries[key] = older

    assert _read(edge, path).body == OTHERS


def test_the_parts_of_two_writings_dont_mix(
    edge: Workerd, origin: ScriptedOrigin, breakable_kv: BreakableKV
) -> None:
    path, entries = f"/secret{new_path()}", breakable_kv.entries
    _stored(edge, origin, breakable_kv, path, LARGE)
    [first] = [key for key in entries if key.startswith("b2/")]
    older = entries[first].value
    _stored(edge, origin, breakable_kv, f"{path}/2", LARGE)
    [second] = [key for key in entries if key.startswith("b2/") and key != first]
    head = 2 + older[1] + 24
    entries[first] = Entry(older[: head + PART_BYTES + 28] + entries[second].value[head + PART_BYTES + 28 :])

    assert _read(edge, path, ("Range", f"bytes=0-{len(LARGE) - 1}")).body == OTHERS


def test_an_entry_of_the_log_counts_under_its_own_key(edge: Workerd, origin: ScriptedOrigin) -> None:
    path, numbers = new_path(), count()
    origin.decide(path, lambda _: reply(200, [*FRESH, ("Cache-Tag", "moved")], str(next(numbers)).encode()))
    eventually(lambda: is_hit(get(edge.url("logged"), path)), "a hit")
    before = get(edge.url("logged"), path).body
    [entry], [other] = (log.entries_of(group_mark("moved")) for _ in range(2))

    edge.store().put(entry_key(other), b"", metadata=sealed_metadata(entry, KEYS))
    refused = edge.process.output().count("can't be opened")
    eventually(
        lambda: (
            get(edge.url("logged"), path).status == 200
            and edge.process.output().count("can't be opened") > refused
        ),
        "a listing",
    )

    assert get(edge.url("logged"), path).body == before
    edge.store().delete(entry_key(other))


@pytest.mark.parametrize(
    ("sealed_by", "code"), [("new", 200), (None, 200), ("", 403), ("other", 403), (7, 200)]
)
def test_who_tells_of_purges_that_dont_count_in_kv_is_told(edge: Workerd, sealed_by: Json, code: int) -> None:
    told = [{"id": entry.id, **metadata_of(entry)} for entry in log.entries_of(group_mark("told"))]
    said = {} if sealed_by is None else {"sealed_by": sealed_by}

    answer = log.post(edge.url("logged"), TELL_PATH, {"entries": told, **said})

    assert answer.status_code == code
    assert ("EDGE_CACHE_STORE_KEYS" in answer.text) is (code == 403)


def test_keys_are_changed_one_after_the_other(
    edge: Workerd, origin: ScriptedOrigin, breakable_kv: BreakableKV
) -> None:
    path = f"/secret{new_path()}"
    _stored(edge, origin, breakable_kv, path, by="old")
    without, response = get(edge.url("writer"), path), _read(edge, path)

    assert (without.body, detail(without)) == (OTHERS, "no-store")
    assert (response.body, is_hit(response)) == (SMALL, True)


def _mark(kv: BreakableKV, value: Callable[[str, str], str], group: str) -> None:
    for lane in Lane:
        key = mark_key(group_mark(group), lane)
        kv.entries[key] = Entry(value(key, str(Mark(log.now_ms() + 1000, "p1"))).encode())


@pytest.mark.parametrize(
    ("value", "is_purged"),
    [
        pytest.param(lambda key, text: sealed_text(KEYS[0], key, text), True, id="who has the key"),
        pytest.param(lambda _, text: text, False, id="without a seal"),
        pytest.param(lambda _, text: sealed_text(KEYS[0], "m2/s/group/x", text), False, id="of another mark"),
        pytest.param(lambda key, text: "9" + sealed_text(KEYS[0], key, text), False, id="of another moment"),
        pytest.param(lambda _key, _text: "garbage", False, id="garbage"),
    ],
)
def test_who_hasnt_the_keys_cant_purge(
    edge: Workerd,
    origin: ScriptedOrigin,
    breakable_kv: BreakableKV,
    value: Callable[[str, str], str],
    is_purged: bool,
) -> None:
    path, group = new_path(), f"shop-{next(_groups)}"
    _stored(edge, origin, breakable_kv, path, group=group)
    assert is_hit(_read(edge, path))
    _mark(breakable_kv, value, group)
    known = len(breakable_kv.requests())

    def is_read() -> bool:
        response = _read(edge, path)
        return is_hit(response) is not is_purged and any(
            group.encode() in request.body for request in breakable_kv.requests()[known:]
        )

    eventually(is_read, "marks that were read again")
    assert is_hit(_read(edge, path)) is not is_purged


def test_the_worker_seals_its_own_marks_and_entries(edge: Workerd, origin: ScriptedOrigin) -> None:
    path, store = new_path(), edge.store()
    origin.on(path, reply(200, FRESH, SMALL))
    get(edge.url("logged"), path)
    origin.on(path, reply(200, [], b""))
    get(edge.url("logged"), path, method="DELETE")

    def entries() -> list[tuple[str, object]]:
        return [(key, store.metadata(key)) for key in store.keys("p2/")]

    for key, metadata in eventually(entries, "an entry of the log"):
        assert verified(KEYS, key, metadata)["by"] == "edge"
    for key in eventually(lambda: store.keys("m2/"), "marks"):
        value = store.get(key) or b""
        assert b" new:" in value
        assert verified(KEYS, key, store.metadata(key), value)["by"] == "edge"
    lines = [json.loads(line) for line in edge.process.output().splitlines() if '"write"' in line]
    written = {(line["action"], line["why"]): line["key"] for line in lines}
    assert written["store", "absent"] == key_of(path)
    assert written["purge", "unsafe-request"].startswith("m2/")


def test_who_hasnt_the_keys_writes_nothing_into_the_log(edge: Workerd, origin: ScriptedOrigin) -> None:
    path, numbers = new_path(), count()
    origin.decide(path, lambda _: reply(200, [*FRESH, ("Cache-Tag", "logged")], str(next(numbers)).encode()))
    eventually(lambda: is_hit(get(edge.url("logged"), path)), "a hit")
    [forged], [sealed] = (log.entries_of(group_mark("logged")) for _ in range(2))
    before = get(edge.url("logged"), path).body

    eventually(lambda: log.state(edge.url("logged")).known_ms, "the first listing")
    log.write_entries(edge.store(), [forged])
    refused = "entries of the purge log can't be opened"
    eventually(
        lambda: get(edge.url("logged"), path).status == 200 and refused in edge.process.output(), "a listing"
    )
    assert get(edge.url("logged"), path).body == before

    edge.store().put(entry_key(sealed), b"", metadata=sealed_metadata(sealed, KEYS))
    eventually(lambda: get(edge.url("logged"), path).body != before, "the purge")
