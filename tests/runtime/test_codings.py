"""Content codings: kept as origins send them, for clients that accept them; nothing expands without end."""

from __future__ import annotations

import gzip
from collections.abc import Iterator

import pytest

from scripts.runtime.workerd import Workerd
from scripts.runtime.workerd_config import Json
from tests.runtime.client import Response
from tests.runtime.edge import Variables, detail, get, is_hit, new_path, running
from tests.runtime.origin import Request, ScriptedOrigin
from tests.runtime.replies import Reply, reply

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


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        pytest.param(gzip.compress(b'{"id": 7}'), "absent", id="a small one is read"),
        pytest.param(gzip.compress(b'{"id": "' + b"0" * 20_000_000 + b'"}'), "answer-unread", id="a bomb"),
        pytest.param(b"\x1f\x8b\x08 no gzip", "answer-unread", id="what is none"),
    ],
)
def test_what_expands_without_end_is_not_read(
    edge: Workerd, origin: ScriptedOrigin, content: bytes, reason: str
) -> None:
    path = new_path("read/t")
    coded = [
        ("Cache-Control", "max-age=600"),
        ("Content-Encoding", "gzip"),
        ("Content-Type", "application/json"),
    ]
    origin.on(path, reply(200, coded, content))

    told = ask(edge, "edge", path, CURL)

    assert (told.status, told.body == content, detail(told)) == (200, True, reason)
