"""Hooks in workerd: async ones, bodies by declaration, and all that a hook may do wrong."""

from __future__ import annotations

import gzip
import socket
from collections.abc import Iterator
from urllib.parse import urlsplit

import brotli
import pytest

from scripts.runtime.build import build
from scripts.runtime.workerd import Workerd
from scripts.runtime.workerd_config import Json, Worker
from tests.runtime.client import exchange, read_response
from tests.runtime.crowd import Asked, crowd
from tests.runtime.edge import HOST, QUIET, detail, eventually, get, is_hit, new_path
from tests.runtime.origin import Request, ScriptedOrigin
from tests.runtime.replies import Pause, Reply, chunked, reply, truncated

HOOKS = """
import asyncio
import sys
import js
from origin_sdk_edge.hooks import HookAnswer

def told(body):
    return "none" if body is None else f"{len(body)}:{body[:4]!r}"

async def misbehave(place, request, given):
    async def fail():
        raise ValueError("on purpose")
    wrong = request.url.rpartition("=")[2]
    if f"/{place}/" not in request.url:
        await asyncio.sleep(0)
    elif wrong == "hangs":
        await asyncio.Event().wait()
    elif wrong == "raises":
        await fail()
    elif wrong == "exits":
        sys.exit(3)
    elif wrong == "cancels":
        raise asyncio.CancelledError
    elif wrong == "garbage":
        return [given]
    elif wrong == "mutates":
        given.fields["x-mutated"] = "1"
    elif wrong == "assigns":
        given.url = given.status = 7
    elif wrong == "coroutine":
        return fail

async def before_lookup(request):
    if "/empty" in request.url:
        return HookAnswer(204)
    if source := request.fields.get("x-source"):
        response = await js.fetch(source)
        return request.with_field("x-found", await response.text())
    if wrong := await misbehave("before", request, request):
        return wrong
    if "slow=" in request.url:
        js.console.log(f"{request.url} shows {told(request.body)}")
    return request.with_field("x-shown", told(request.body))

async def after_origin(request, response):
    if wrong := await misbehave("after", request, response):
        return wrong
    return response.with_field("x-read", told(response.body)).with_field("cache-groups", '"seen"')

async def before_send(request, response):
    return await misbehave("send", request, response) or response.with_field("x-sent", "yes")
"""
FRESH = [("Cache-Control", "max-age=600")]
BOUND = 1000
BOMB = bytes(5_000_000)


@pytest.fixture(scope="module")
def edge(running_origin: ScriptedOrigin, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workerd]:
    own = tmp_path_factory.mktemp("own")
    (own / "hooks.py").write_text(HOOKS, encoding="utf-8")
    tree = build(tmp_path_factory.mktemp("hooked"), own)
    shown: dict[str, Json] = {
        "path": "/shown/**",
        "hook_request_bytes": BOUND,
        "hook_response_bytes": BOUND,
        "methods": ["GET", "POST"],
    }
    keyed: dict[str, Json] = {"path": "/keyed/**", "key_body": "raw", "hook_request_bytes": BOUND}
    variables: dict[str, Json] = {"ORIGIN": running_origin.url, "RULES": [shown, keyed], **QUIET}
    variables |= {"HOOK_TIMEOUT": "2s", "BETWEEN_BYTES_TIMEOUT": "1500ms"}
    with Workerd(tmp_path_factory.mktemp("hooks"), [Worker("edge", tree, variables=variables)]) as workerd:
        yield workerd


def echo(request: Request) -> Reply:
    """Answer with what hooks told of the request, and with its content."""
    seen = request.value("X-Shown") or request.value("X-Found") or ""
    return reply(200, [*FRESH, ("X-Told", seen)], request.body or b"answer")


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [("hangs", "hook-timeout")]
    + [(each, "hook-failed") for each in ("raises", "exits", "cancels", "garbage", "mutates", "coroutine")]
    + [("assigns", "hook-failed")],
)
@pytest.mark.parametrize("place", ["before", "after", "send"])
def test_what_a_hook_does_wrong_costs_a_hit_alone(
    edge: Workerd, origin: ScriptedOrigin, place: str, wrong: str, reason: str
) -> None:
    path = new_path(f"{place}/t")
    origin.decide(path, echo)

    told = [get(edge.url("edge"), f"{path}?wrong={wrong}") for _ in range(1 if wrong == "hangs" else 2)]

    assert {(each.status, each.body) for each in told} == {(200, b"answer")}
    if place == "send":  # the response is as it was, and stored
        assert [is_hit(each) for each in told] == [False, True][: len(told)]
        assert {each.value("X-Sent") for each in told} == {None}
    else:
        assert {detail(each) for each in told} == {reason}
    name = {"before": "before_lookup", "after": "after_origin", "send": "before_send"}[place]
    eventually(lambda: f"edge cache: {name}: " in edge.process.output(), "a line in the log")


def test_hooks_of_many_requests_wait_for_the_network_at_once(edge: Workerd, origin: ScriptedOrigin) -> None:
    numbers = range(12)
    path, sources = new_path(), [new_path("source") for _ in numbers]
    asked = []
    for number, source in enumerate(sources):
        origin.on(source, reply(200, [], b"%d" % number))
        origin.decide(f"{path}-{number}", echo)
        asked.append(Asked(f"{path}-{number}", [("X-Source", f"{origin.url}{source}")]))

    told = crowd(edge.url("edge"), asked)

    assert [each.response.value("X-Told") for each in told] == [str(number) for number in numbers]


def test_an_answer_may_have_no_content(edge: Workerd) -> None:
    assert get(edge.url("edge"), "/empty").status == 204


@pytest.mark.parametrize(
    ("content", "shown"),
    [
        pytest.param(b"", "0:b''", id="none"),
        pytest.param(b"query", "5:b'quer'", id="small"),
        pytest.param(b"a" * BOUND, "1000:b'aaaa'", id="of just that size"),
        pytest.param(b"a" * (BOUND + 1), "none", id="larger than declared"),
        pytest.param(b"a" * 3_000_000, "none", id="much larger"),
        pytest.param(b"\xff\x00", "2:b'\\xff\\x00'", id="bytes"),
    ],
)
@pytest.mark.parametrize("place", ["shown", "keyed"])
@pytest.mark.parametrize("method", ["POST", "GET"])
def test_a_request_is_shown_where_that_is_declared_and_passed_on_whole(
    edge: Workerd, origin: ScriptedOrigin, content: bytes, shown: str, place: str, method: str
) -> None:
    path = new_path(f"{place}/t")
    origin.decide(path, echo)

    told = get(edge.url("edge"), path, method=method, body=content)

    assert (told.status, told.body) == (200, content or b"answer")
    assert told.value("X-Told") == ("none" if method == "POST" and not content else shown)  # no length


def test_a_request_without_a_length_is_not_shown_and_passed_on_whole(
    edge: Workerd, origin: ScriptedOrigin
) -> None:
    path = new_path("shown/t")
    origin.decide(path, echo)
    head = f"POST {path} HTTP/1.1\r\nHost: {HOST}\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"

    told = exchange(edge.url("edge"), head.encode() + b"5\r\nquery\r\n0\r\n\r\n")

    assert (told.status, told.body, told.value("X-Told")) == (200, b"query", "none")


def test_a_request_that_is_slow_to_come_is_not_shown_and_passed_on_whole(
    edge: Workerd, origin: ScriptedOrigin
) -> None:
    path, address = new_path("shown/t"), urlsplit(edge.url("edge"))
    origin.decide(path, echo)
    head = f"POST {path}?slow=1 HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 5\r\nConnection: close\r\n\r\n"

    with socket.create_connection((address.hostname, address.port or 80), timeout=20) as connection:
        connection.sendall(head.encode() + b"qu")
        eventually(lambda: f"{path}?slow=1 shows none" in edge.process.output(), "the hook's own line")
        connection.sendall(b"ery")
        told = read_response(connection, "POST")

    assert (told.status, told.body, told.value("X-Told")) == (200, b"query", "none")


def test_a_response_that_is_slow_to_come_is_passed_on_and_not_stored(
    edge: Workerd, origin: ScriptedOrigin
) -> None:
    path = new_path("shown/t")
    origin.on(path, chunked(200, FRESH, [b"a", Pause(0.3)] * 7), reply(200, FRESH, b"items"))

    told = [get(edge.url("edge"), path) for _ in range(3)]

    assert [(each.status, each.body) for each in told] == [(200, b"a" * 7), (200, b"items"), (200, b"items")]
    assert [each.value("X-Read") for each in told] == [None, "5:b'item'", "5:b'item'"]
    assert (detail(told[0]), is_hit(told[2])) == ("hook-timeout", True)


def test_nothing_is_shown_where_nothing_is_declared(edge: Workerd, origin: ScriptedOrigin) -> None:
    path = new_path()
    origin.decide(path, echo)

    told = get(edge.url("edge"), path, method="POST", body=b"query")

    assert (told.body, told.value("X-Told"), get(edge.url("edge"), path).value("X-Read")) == (
        b"query",
        "none",
        "none",
    )


def coded(coding: str, content: bytes) -> Reply:
    return reply(200, [*FRESH, ("Content-Encoding", coding)], content)


@pytest.mark.parametrize(
    ("answer", "read"),
    [
        pytest.param(reply(200, FRESH, b""), "0:b''", id="none"),
        pytest.param(reply(200, FRESH, b"items"), "5:b'item'", id="small"),
        pytest.param(reply(200, FRESH, b"a" * BOUND), "1000:b'aaaa'", id="of just that size"),
        pytest.param(reply(200, FRESH, b"a" * (BOUND + 1)), "none", id="larger than declared"),
        pytest.param(chunked(200, FRESH, [b"it", b"ems"]), "5:b'item'", id="chunks"),
        pytest.param(chunked(200, FRESH, [b"a" * 600] * 2), "none", id="chunks that come to more"),
        pytest.param(chunked(200, FRESH, [b"a" * 100_000] * 30), "none", id="chunks that come to much more"),
        pytest.param(coded("gzip", gzip.compress(b"items")), "5:b'item'", id="gzip"),
        pytest.param(coded("br", brotli.compress(b"items")), "5:b'item'", id="Brotli"),
        pytest.param(coded("br", brotli.compress(b"items" * 9)[:-3]), "none", id="Brotli that is cut off"),
        pytest.param(coded("br", brotli.compress(b"items") + b"tail"), "5:b'item'", id="with more behind it"),
        pytest.param(coded("br", brotli.compress(BOMB, quality=5)), "none", id="a bomb of Brotli"),
        pytest.param(coded("gzip", gzip.compress(b"a" * 90_000)), "none", id="a bomb of gzip"),
        pytest.param(coded("zstd", b"items"), "none", id="another coding"),
    ],
)
def test_a_response_is_shown_where_that_is_declared_and_stored_whole(
    edge: Workerd, origin: ScriptedOrigin, answer: Reply, read: str
) -> None:
    path = new_path("shown/t")
    origin.on(path, answer)

    told = [get(edge.url("edge"), path, ("Accept-Encoding", "gzip, br")) for _ in range(2)]

    assert [each.value("X-Read") for each in told] == [read] * 2
    assert told[0].body == told[1].body
    eventually(lambda: is_hit(get(edge.url("edge"), path)), "a stored response")


@pytest.mark.parametrize("missing", [1, 10 * BOUND])
def test_a_response_that_breaks_off_is_none_with_a_hook_either(
    edge: Workerd, origin: ScriptedOrigin, missing: int
) -> None:
    path = new_path("shown/t")
    origin.on(path, truncated(b"items", missing=missing, fields=FRESH), reply(200, FRESH, b"whole"))

    told = [get(edge.url("edge"), path) for _ in range(2)]

    if missing == 1:  # it is looked into before anything is sent
        assert (told[0].status, detail(told[0])) == (502, "origin-truncated")
    assert told[1].body == b"whole"


def test_hooks_that_hang_for_everybody_are_left_out(edge: Workerd, origin: ScriptedOrigin) -> None:
    paths = [new_path("before/t") for _ in range(100)]
    for path in paths:
        origin.decide(path, echo)

    for _ in range(2):
        told = crowd(edge.url("edge"), [Asked(f"{path}?wrong=hangs") for path in paths])
        assert {(each.response.status, detail(each.response)) for each in told} == {(200, "hook-timeout")}
    assert "earlier calls" in edge.process.output()
