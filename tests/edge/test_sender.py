"""What a client is sent of what is stored, of what the origin answers, and where there is neither."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest

from origin_sdk_edge.exchange import Exchange
from origin_sdk_edge.hooks import HookRequest, HookResponse, Hooks
from origin_sdk_edge.policy.decision import Lookup
from origin_sdk_edge.policy.facts import OriginFailure
from origin_sdk_edge.policy.status import FwdReason, Status
from origin_sdk_edge.sender import BodyGoneError
from origin_sdk_edge.storage.memory import Entry
from origin_sdk_wire.choices import ServerTiming
from origin_sdk_wire.facts import Reason, ResponseFacts
from origin_sdk_wire.record import Record
from origin_sdk_wire.settings import Settings
from tests.edge.fakes import START_MS, FakeResponse, Sent
from tests.edge.rooms import SETTINGS, Rooms
from tests.edge.virtual import run

FRESH = Status(Reason.FRESH, hit=True)
FIELDS = {"cache-control": "max-age=60", "etag": '"1"', "content-type": "text/plain"}
KNOWN = "a secret of thirty-two bytes or more"


def stored(rooms: Rooms, lookup: Lookup, *, age_seconds: int = 10) -> Entry:
    """Hold a response of this age."""
    born_ms = START_MS - age_seconds * 1000
    record = Record(200, born_ms, born_ms, 0, tuple(FIELDS.items()), (), body_bytes=4)
    return rooms.storage.retention.hold(lookup, record, b"body")


async def sent_stored(rooms: Rooms, fields: Mapping[str, str], method: str = "GET") -> tuple[Sent, Exchange]:
    lookup, exchange = rooms.lookup(method, **fields), rooms.exchange()
    entry = stored(rooms, lookup)
    sent: Sent = await rooms.sender.stored(exchange, lookup, entry, FRESH)
    return sent, exchange


@pytest.mark.parametrize(
    ("method", "fields", "code", "body", "size_bytes"),
    [
        pytest.param("GET", {}, 200, b"body", 4, id="GET"),
        pytest.param("HEAD", {}, 200, b"", 0, id="HEAD"),
        pytest.param("GET", {"if-none-match": '"1"'}, 304, b"", 0, id="a validator that is the same"),
        pytest.param("GET", {"if-none-match": '"2"'}, 200, b"body", 4, id="another validator"),
        pytest.param("GET", {"range": "bytes=1-2"}, 206, b"od", 2, id="a part"),
        pytest.param("GET", {"range": "bytes=4-"}, 416, b"", 0, id="a part that there isn't"),
    ],
)
def test_a_stored_response_answers(
    method: str, fields: Mapping[str, str], code: int, body: bytes, size_bytes: int
) -> None:
    async def main() -> None:
        sent, exchange = await sent_stored(Rooms(), fields, method)
        assert (sent.status, sent.body) == (code, body)
        assert (exchange.code, exchange.size_bytes, exchange.status) == (
            code,
            size_bytes,
            replace(FRESH, ttl_seconds=50),
        )
        assert sent.fields["cache-status"] == "EdgeCache; hit; ttl=50; detail=fresh"
        assert sent.fields["age"] == "10"

    run(main())


def test_what_only_just_came_has_no_age_and_its_clients_own_fields() -> None:
    async def main() -> None:
        rooms = Rooms()
        entry = stored(rooms, lookup := rooms.lookup(), age_seconds=0)
        own = [("set-cookie", "a=1")]
        sent: Sent = await rooms.sender.stored(rooms.exchange(), lookup, entry, FRESH, unstored=own)
        assert "age" not in sent.fields
        assert sent.fields["set-cookie"] == "a=1"

    run(main())


def test_a_freshened_response_is_sent_under_its_new_fields_and_lifetime() -> None:
    async def main() -> None:
        rooms = Rooms()
        entry = stored(rooms, lookup := rooms.lookup())
        fields = (("cache-control", "max-age=600"), ("x-new", "1"))
        record = replace(entry.record, fields=fields, birth_ms=START_MS, response_ms=START_MS)
        sent: Sent = await rooms.sender.stored(rooms.exchange(), lookup, entry, FRESH, record)
        assert sent.fields["x-new"] == "1"
        assert "ttl=600" in sent.fields["cache-status"]

    run(main())


def test_a_body_that_kv_no_longer_has_is_forgotten() -> None:
    async def main() -> None:
        rooms = Rooms()
        entry = stored(rooms, lookup := rooms.lookup())
        apart = Entry(entry.key, replace(entry.record, body_key="b1/gone"), None, 4)
        rooms.storage.memory.put(entry.key, apart)
        with pytest.raises(BodyGoneError):
            await rooms.sender.stored(rooms.exchange(), lookup, apart, FRESH)
        assert rooms.held(lookup) is None

    run(main())


@pytest.mark.parametrize(
    ("fields", "is_at_hand"),
    [
        pytest.param({}, True, id="the body as it lies there"),
        pytest.param({"range": "bytes=1-2"}, False, id="a part"),
        pytest.param({"if-none-match": '"1"'}, False, id="none"),
    ],
)
def test_what_is_at_hand(fields: Mapping[str, str], *, is_at_hand: bool) -> None:
    async def main() -> None:
        rooms = Rooms()
        entry = stored(rooms, lookup := rooms.lookup(**fields))
        now_ms = rooms.timing.now_ms()
        sent: Sent | None = rooms.sender.at_hand(rooms.exchange(), lookup, entry, FRESH, now_ms)
        assert (sent is not None) is is_at_hand
        if sent:
            assert sent.body == b"body"

    run(main())


@pytest.mark.parametrize(
    ("settings", "secret", "shown"),
    [
        pytest.param(Settings(cache_status=False), "", "", id="switched off"),
        pytest.param(
            Settings(cache_name="Ours"), "", "Ours; hit; ttl=50; detail=fresh", id="the name that is set"
        ),
        pytest.param(
            Settings(debug_secret=KNOWN),
            KNOWN,
            'EdgeCache; hit; ttl=50; key="r1/https/api.example/a"; detail=fresh',
            id="with the key, to who knows the secret",
        ),
        pytest.param(
            Settings(debug_secret=KNOWN),
            KNOWN[:-1],
            "EdgeCache; hit; ttl=50; detail=fresh",
            id="to nobody else",
        ),
    ],
)
def test_cache_status(settings: Settings, secret: str, shown: str) -> None:
    async def main() -> None:
        rooms = Rooms(settings=replace(settings, lifetime_jitter=0.0))
        sent, _ = await sent_stored(rooms, {"cache-debug": secret} if secret else {})
        assert sent.fields.get("cache-status", "") == shown

    run(main())


@pytest.mark.parametrize(
    ("setting", "secret", "shown"),
    [
        pytest.param(ServerTiming.NONE, KNOWN, None, id="none"),
        pytest.param(ServerTiming.SHORT, KNOWN, ["cache"], id="short"),
        pytest.param(ServerTiming.FULL, "", ["cache"], id="short to who doesn't know the secret"),
        pytest.param(ServerTiming.FULL, KNOWN, ["cache", "kv", "origin", "collapsed"], id="full"),
    ],
)
def test_server_timing(setting: ServerTiming, secret: str, shown: list[str] | None) -> None:
    async def main() -> None:
        rooms = Rooms(settings=replace(SETTINGS, server_timing=setting, debug_secret=KNOWN))
        lookup, exchange = rooms.lookup(cache_debug=secret), rooms.exchange()
        exchange.request = lookup.client
        exchange.store_ms = exchange.origin_ms = exchange.shared_ms = 1
        sent: Sent = await rooms.sender.stored(exchange, lookup, stored(rooms, lookup), FRESH)
        told = sent.fields.get("server-timing")
        names = told and [each.partition(";")[0] for each in told.split(", ")]
        assert names == shown

    run(main())


async def _marks(_: HookRequest, response: HookResponse) -> HookResponse:
    return HookResponse(response.status, {"x-hook": "1", "etag": response.fields["etag"]})


async def _adds(_: HookRequest, response: HookResponse) -> HookResponse:
    return response.with_field("x-hook", "1")


async def _fails(*_: object) -> Reason:
    return Reason.HOOK_FAILED


@pytest.mark.parametrize(
    ("hook", "is_for_edge", "hooked"),
    [
        pytest.param(_marks, False, {"x-hook": "1", "etag": '"1"'}, id="has the last word on the fields"),
        pytest.param(_fails, False, FIELDS, id="that fails changes nothing"),
        pytest.param(_marks, True, FIELDS, id="is left to the edge by a shield"),
    ],
)
def test_the_hook_before_a_response_is_sent(
    hook: object, hooked: Mapping[str, str], *, is_for_edge: bool
) -> None:
    async def main() -> None:
        rooms = Rooms(hooks=Hooks(before_send=hook))  # type: ignore[arg-type]  # one of the two
        lookup, exchange = rooms.lookup(), rooms.exchange()
        exchange.is_for_edge = is_for_edge
        sent: Sent = await rooms.sender.stored(exchange, lookup, stored(rooms, lookup), FRESH)
        of_hook = {name: sent.fields[name] for name in (*FIELDS, "x-hook") if name in sent.fields}
        assert of_hook == hooked
        assert ("edge-shield" in sent.fields) is is_for_edge

    run(main())


async def relayed(
    rooms: Rooms, fields: Mapping[str, str], *, is_for_edge: bool = False, key: str = "k"
) -> Sent:
    """Hand on an origin's response that isn't stored."""
    lookup, exchange = rooms.lookup(**fields), rooms.exchange()
    exchange.is_for_edge = is_for_edge
    response = FakeResponse(200, {**FIELDS, "content-length": "4", "x-internal": "1"}, b"mine")
    facts = ResponseFacts(200, response.fields, START_MS, START_MS)
    status = Status(Reason.PRIVATE, forwarded=FwdReason.URI_MISS, forwarded_status=200)
    sent: Sent = await rooms.sender.relayed(exchange, response, facts, lookup.client, status, key)
    return sent


@pytest.mark.parametrize(
    ("fields", "key", "code", "body"),
    [
        pytest.param({}, "k", 200, b"mine", id="as it is"),
        pytest.param({"if-none-match": '"1"'}, "k", 304, b"", id="not what the client has"),
        pytest.param({"if-none-match": '"1"'}, "", 200, b"mine", id="what passed the cache by, as it is"),
    ],
)
def test_an_origins_response_is_handed_on(
    fields: Mapping[str, str], key: str, code: int, body: bytes
) -> None:
    async def main() -> None:
        sent = await relayed(Rooms(), fields, key=key)
        assert (sent.status, sent.body) == (code, body)
        assert sent.fields["cache-status"] == "EdgeCache; fwd=uri-miss; fwd-status=200; detail=private"

    run(main())


@pytest.mark.parametrize(
    ("is_for_edge", "fields"),
    [
        pytest.param(False, {}, id="a client"),
        pytest.param(True, {}, id="an edge"),
        pytest.param(False, {"if-none-match": '"1"'}, id="a client, without a body"),
        pytest.param(True, {"if-none-match": '"1"'}, id="an edge, without a body"),
    ],
)
def test_an_edge_gets_internal_fields_and_a_client_what_the_hook_makes(
    fields: Mapping[str, str], *, is_for_edge: bool
) -> None:
    async def main() -> None:
        settings = replace(SETTINGS, internal_fields=frozenset({"x-internal"}))
        sent = await relayed(
            Rooms(settings=settings, hooks=Hooks(before_send=_adds)), fields, is_for_edge=is_for_edge
        )
        shown = [name for name in ("x-internal", "edge-shield", "x-hook") if name in sent.fields]
        assert shown == (["x-internal", "edge-shield"] if is_for_edge else ["x-hook"])

    run(main())


@pytest.mark.parametrize(
    ("failure", "code", "text"),
    [
        pytest.param(OriginFailure.UNREACHABLE, 502, "can't be reached", id="unreachable"),
        pytest.param(OriginFailure.TIMEOUT, 504, "didn't answer in time", id="silent"),
        pytest.param(OriginFailure.TRUNCATED, 502, "broke off", id="cut short"),
    ],
)
def test_an_origin_that_fails_is_explained(failure: OriginFailure, code: int, text: str) -> None:
    async def main() -> None:
        rooms = Rooms()
        exchange = rooms.exchange()
        sent: Sent = rooms.sender.failed(exchange, failure, Status(failure.value))
        assert (sent.status, sent.fields["cache-control"]) == (code, "no-store")
        assert text in sent.body.decode()
        assert (exchange.is_own, exchange.size_bytes) == (True, len(sent.body))
        assert "edge-shield" not in sent.fields
        exchange.is_for_edge = True
        assert rooms.sender.failed(exchange, failure, Status(failure.value)).fields["edge-shield"]

    run(main())
