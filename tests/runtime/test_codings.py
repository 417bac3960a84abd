"""Content codings: kept as origins send them, for clients that accept them; nothing expands without end."""

from __future__ import annotations

import gzip
import json
from base64 import b64encode
from collections.abc import Iterator
from dataclasses import replace

import brotli
import pytest

from origin_sdk import Project, PurgeClient
from origin_sdk._process.clock import SystemClock
from origin_sdk.testing import FakeKV
from origin_sdk_wire.choices import PublishCoding
from origin_sdk_wire.seals import Seal, parse_store_keys
from origin_sdk_wire.settings import Rule
from scripts.runtime.workerd import Workerd
from scripts.runtime.workerd_config import Json, StandIn
from tests.runtime.client import Response
from tests.runtime.crowd import Asked, crowd
from tests.runtime.edge import HOST, Variables, detail, get, is_hit, new_path, running
from tests.runtime.kv import BreakableKV, Entry
from tests.runtime.origin import Request, ScriptedOrigin
from tests.runtime.replies import Reply, reply

NESTED = b'{"id": "' + b"0" * 20_000_000 + b'"}'
BOMB = brotli.compress(NESTED, quality=5)  # the best is no smaller, and takes 0.2 s
ITEMS = json.dumps([{"id": number, "name": f"item {number}"} for number in range(2000)]).encode()
PLAIN, CODED = (None, '"v1"'), ("br", 'W/"v1"')
"""Content-Encoding and ETag of what is sent."""
KEY = "test:" + b64encode(bytes(range(32))).decode()
CHROME, SAFARI, CURL = "gzip, deflate, br, zstd", "gzip, deflate, br", "gzip"


@pytest.fixture(scope="module")
def edge(running_origin: ScriptedOrigin, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workerd]:
    rules: list[Json] = [{"path": "/read/**", "groups_from": "p-{id}"}]
    workers: Variables = {
        "edge": {"RULES": rules, "MEMORY_ITEM_BYTES": "64KiB"},
        "zstd": {"CODINGS": ["zstd", "br", "gzip"]},
        "gzip": {"CODINGS": "gzip"},
        "none": {"CODINGS": []},
    }
    with running(tmp_path_factory.mktemp("codings"), running_origin, workers) as workerd:
        yield workerd


def serve(origin: ScriptedOrigin, path: str) -> None:
    """Let the origin code as it is asked to, with bytes that only look coded, so that a change would show."""

    def answer(asked: Request) -> Reply:
        coding = (asked.value("Accept-Encoding") or "").partition(",")[0]
        coded = [] if coding in {"", "identity"} else [("Content-Encoding", coding)]
        fields = [("Cache-Control", "max-age=600"), ("Vary", "Accept-Encoding"), ("ETag", f'"of-{coding}"')]
        return reply(200, [*fields, *coded], b"\0as " + coding.encode())

    origin.decide(path, answer)


def ask(edge: Workerd, worker: str, path: str, accepted: str) -> Response:
    return get(edge.url(worker), path, ("Accept-Encoding", accepted))


@pytest.mark.parametrize(
    ("worker", "accepted", "asked"),
    [
        pytest.param("edge", CHROME, "br, gzip", id="zstd isn't asked for"),
        pytest.param("zstd", CHROME, "zstd, br, gzip", id="but where it is set"),
        pytest.param("zstd", SAFARI, "br, gzip", id="and accepted"),
        pytest.param("gzip", CHROME, "gzip", id="gzip alone"),
        pytest.param("none", CHROME, "identity", id="no coding"),
        pytest.param("edge", "br;q=0, gzip", "gzip", id="a coding that is refused"),
        pytest.param("edge", "gzip;q=1.0, br;q=0.000", "gzip", id="with all digits"),
        pytest.param("edge", "br;q=0.1, gzip", "br, gzip", id="one of little weight"),
        pytest.param("edge", "*", "br, gzip", id="any"),
        pytest.param("edge", "br;q=0, *", "gzip", id="any but one"),
        pytest.param("edge", "dcb, dcz, br", "br", id="codings by a dictionary"),
        pytest.param("edge", "identity", "identity", id="none"),
        pytest.param("edge", "*;q=0", "identity", id="nothing at all"),
        pytest.param("edge", "br;q=0.0000, gzip;q=2, *", "identity", id="weights that can't be read"),
        pytest.param("edge", "gzip, br, gzip;q=0", "br", id="one that is named twice"),
        pytest.param("edge", 'br;level=9;q=1, ;, =, "gzip', "identity", id="garbage"),
        pytest.param("edge", "GZIP\t; q=0.5", "gzip", id="in capitals"),
    ],
)
def test_what_the_origin_is_asked_for_and_what_is_kept(
    edge: Workerd, origin: ScriptedOrigin, worker: str, accepted: str, asked: str
) -> None:
    path = new_path()
    serve(origin, path)
    told = [ask(edge, worker, path, accepted) for _ in range(2)]

    assert [each.value("Accept-Encoding") for each in origin.requests(path)] == [asked]
    coding = asked.partition(",")[0]
    assert is_hit(told[1])
    assert told[1].body == b"\0as " + coding.encode()
    assert told[1].value("Content-Encoding") == (None if coding == "identity" else coding)
    assert told[1].value("ETag") == f'"of-{coding}"'


def test_who_doesnt_accept_what_is_kept_has_the_origin_asked(edge: Workerd, origin: ScriptedOrigin) -> None:
    path = new_path()
    serve(origin, path)
    told = [ask(edge, "edge", path, each) for each in (SAFARI, CURL, "identity", CHROME, CURL, "identity")]

    assert [is_hit(each) for each in told] == [False] * 3 + [True] * 3
    assert [each.value("Content-Encoding") for each in told] == ["br", "gzip", None] * 2


def test_a_dictionary_of_a_client_splits_nothing(edge: Workerd, origin: ScriptedOrigin) -> None:
    path = new_path()
    origin.on(path, reply(200, [("Cache-Control", "max-age=600"), ("Use-As-Dictionary", 'match="/*"')], b"x"))
    names = ("Available-Dictionary", "Dictionary-ID")
    told = [get(edge.url("edge"), path, *((name, value) for name in names)) for value in (":a:", ":b:")]

    assert is_hit(told[1])
    assert told[1].value("Use-As-Dictionary") == 'match="/*"'
    assert [asked.values(name) for asked in origin.requests(path) for name in names] == [[], []]


@pytest.mark.parametrize("coding", ["dcb", "DCZ", "gzip, dcb"])
def test_what_is_coded_by_a_dictionary_is_for_one_client(
    edge: Workerd, origin: ScriptedOrigin, coding: str
) -> None:
    path = new_path()
    origin.on(path, reply(200, [("Cache-Control", "max-age=600"), ("Content-Encoding", coding)], b"x"))

    told = [ask(edge, "edge", path, f"{coding}, br") for _ in range(2)]

    assert [(each.body, detail(each)) for each in told] == [(b"x", "dictionary")] * 2


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        pytest.param(gzip.compress(b'{"id": 7}'), "absent", id="a small one is read"),
        pytest.param(gzip.compress(NESTED), "answer-unread", id="a bomb"),
        pytest.param(b"\x1f\x8b\x08 no gzip", "answer-unread", id="what is none"),
        pytest.param(brotli.compress(b'{"id": 7}'), "absent", id="Brotli is read"),
        pytest.param(brotli.compress(b'{"id": 7}') + b"tail", "absent", id="and what follows it isn't"),
        pytest.param(BOMB[:-3], "answer-unread", id="Brotli that is cut off"),
        pytest.param(BOMB, "answer-unread", id="a bomb of Brotli"),
    ],
)
def test_what_expands_without_end_is_not_read(
    edge: Workerd, origin: ScriptedOrigin, content: bytes, reason: str
) -> None:
    path = new_path("read/t")
    coded = [
        ("Cache-Control", "max-age=600"),
        ("Content-Encoding", "gzip" if content.startswith(b"\x1f\x8b") else "br"),
        ("Content-Type", "application/json"),
    ]
    origin.on(path, reply(200, coded, content))

    told = ask(edge, "edge", path, CURL)

    assert (told.status, told.body == content, detail(told)) == (200, True, reason)


@pytest.fixture(scope="module")
def stored(
    running_origin: ScriptedOrigin, running_kv: BreakableKV, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Workerd]:
    folder, store = tmp_path_factory.mktemp("stored"), StandIn(running_kv.address)
    # All at once, the KV of these tests may take its time.
    patient: dict[str, Json] = {"KV_TIMEOUT": "20s"}
    sealed: dict[str, Json] = {**patient, "STORE_KEYS": KEY, "RULES": [{"path": "/**", "seal": "encrypt"}]}
    with running(folder, running_origin, {"edge": patient, "sealed": sealed}, store=store) as workerd:
        yield workerd


@pytest.fixture
def published(breakable_kv: BreakableKV) -> str:
    """Publish some JSON, compressed with Brotli, and return its path."""
    return publish(breakable_kv, Project(publish_coding=PublishCoding.BR))


def publish(breakable_kv: BreakableKV, project: Project, keys: str = "") -> str:
    path, fake = new_path(), FakeKV(SystemClock())
    headers = {"Cache-Control": "max-age=600", "ETag": '"v1"', "Content-Type": "application/json"}
    settings = replace(fake.settings, store_keys=keys)
    with PurgeClient(settings, project=project, transport=fake.transport) as client:
        told = client.publish(f"http://{HOST}{path}", lambda: ITEMS, headers=headers)
    assert told.coding == "br"
    breakable_kv.entries[told.key] = Entry(fake.read(told.key) or b"", json.dumps(fake.metadata(told.key)))
    return path


@pytest.mark.parametrize(
    ("accepted", "sent"),
    [
        pytest.param(CHROME, CODED, id="among others"),
        pytest.param("BR;Q=0.001", CODED, id="at the least weight"),
        pytest.param("*", CODED, id="any"),
        pytest.param(CURL, PLAIN, id="gzip alone"),
        pytest.param(None, PLAIN, id="no field"),
        pytest.param("", PLAIN, id="none"),
        pytest.param("br;q=0, *", PLAIN, id="any other"),
        pytest.param("br;q=0.0000", PLAIN, id="refused with many digits"),
        pytest.param("br, br;q=0", PLAIN, id="named and refused"),
        pytest.param('br;q=2, br;q="1", br;x=1, ;br, "br', PLAIN, id="garbage"),
        pytest.param(",".join(["x"] * 3000) + ",br", CODED, id="behind many others"),
        # RFC 9110 section 12.5.3: where nothing that is accepted can be sent, 406 or the plain body.
        pytest.param("identity;q=0", PLAIN, id="nothing that there is"),
        pytest.param("*;q=0", PLAIN, id="nothing at all"),
        pytest.param("dcb, dcz", PLAIN, id="codings by a dictionary alone"),
    ],
)
def test_what_publish_compressed_is_for_who_accepts_it(
    stored: Workerd, published: str, accepted: str | None, sent: tuple[str | None, str]
) -> None:
    fields = [] if accepted is None else [("Accept-Encoding", accepted)]
    for told in (get(stored.url("edge"), published, *fields) for _ in range(3)):
        assert is_hit(told)
        assert (told.value("Content-Encoding"), told.value("ETag")) == sent
        assert told.value("Vary") == "Accept-Encoding"
        assert told.body == ITEMS if sent is PLAIN else brotli.decompress(told.body) == ITEMS


@pytest.mark.parametrize(
    ("fields", "status", "sent"),
    [
        pytest.param([("If-None-Match", 'W/"v1"')], 304, None, id="a tag that came with Brotli"),
        pytest.param([("If-None-Match", '"v1"')], 304, None, id="a tag that came without"),
        pytest.param([("Range", "bytes=0-9")], 206, ITEMS[:10], id="a part is of the plain body"),
        pytest.param(
            [("Range", "bytes=0-9"), ("If-Range", '"v1"')], 206, ITEMS[:10], id="of a plain body in hand"
        ),
        pytest.param([("Range", "bytes=0-9"), ("If-Range", 'W/"v1"')], 200, ITEMS, id="of Brotli in hand"),
        pytest.param([("Range", "bytes=99999999-")], 416, b"", id="behind its end"),
    ],
)
@pytest.mark.parametrize("accepted", [CHROME, CURL])
def test_conditions_and_parts_hold_over_codings(
    stored: Workerd,
    published: str,
    fields: list[tuple[str, str]],
    status: int,
    sent: bytes | None,
    accepted: str,
) -> None:
    told = get(stored.url("edge"), published, ("Accept-Encoding", accepted), *fields)

    assert (told.status, is_hit(told)) == (status, True)
    if status == 206:
        assert (told.value("ETag"), told.value("Content-Encoding")) == ('"v1"', None)
    body = brotli.decompress(told.body) if told.value("Content-Encoding") else told.body
    assert body == (sent or b"")


def test_what_is_sealed_is_sent_by_coding_too(stored: Workerd, breakable_kv: BreakableKV) -> None:
    rules = (Rule(paths=("/**",), seal=Seal.ENCRYPT),)
    project = Project(publish_coding=PublishCoding.BR, rules=rules, store_keys=parse_store_keys(KEY))
    path = publish(breakable_kv, project, KEY)

    told = [get(stored.url("sealed"), path, ("Accept-Encoding", each)) for each in (CHROME, CURL)]

    assert [is_hit(each) for each in told] == [True] * 2
    assert [each.value("Content-Encoding") for each in told] == ["br", None]
    assert [brotli.decompress(told[0].body), told[1].body] == [ITEMS] * 2


@pytest.mark.parametrize(("accepted", "sent"), [(CHROME, CODED), (CURL, PLAIN)])
def test_a_head_tells_what_a_get_would_send(
    stored: Workerd, published: str, accepted: str, sent: tuple[str | None, str]
) -> None:
    told = get(stored.url("edge"), published, ("Accept-Encoding", accepted), method="HEAD")

    assert (told.value("Content-Encoding"), told.value("ETag")) == sent
    assert told.value("Content-Length") == (None if sent is CODED else str(len(ITEMS)))


def test_a_crowd_of_all_kinds_of_clients_gets_what_each_accepts(stored: Workerd, published: str) -> None:
    kinds = [CHROME, CURL, "br;q=0", "identity"]
    told = crowd(
        stored.url("edge"), [Asked(published, [("Accept-Encoding", kinds[n % 4])]) for n in range(500)]
    )

    for n, each in enumerate(told):
        assert each.response.value("Content-Encoding") == (None if n % 4 else "br")
        assert (each.body if n % 4 else brotli.decompress(each.body)) == ITEMS
