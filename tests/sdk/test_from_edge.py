"""Only what the Worker signed gets through, by ASGI and by WSGI."""

from __future__ import annotations

import hmac
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import unquote_to_bytes, urlsplit

import httpx
import pytest

from origin_sdk.errors import InvalidSettings
from origin_sdk.from_edge import OnlyFromEdge, OnlyFromEdgeWSGI
from origin_sdk_wire.edge_signature import OriginRequest, signature_of

SECRET, NEXT, FOREIGN = (
    f"the {name} secret of these tests, of 32 bytes" for name in ("one", "next", "other")
)
ASKED = OriginRequest("GET", "https", "api.example.com", b"/a/%C3%A9", b"b=%20c")
PUBLIC = {"x-forwarded-host": "api.example.com", "x-forwarded-proto": "https"}
URL = "http://127.0.0.1:8000/a/%C3%A9?b=%20c"


async def _asgi_app(scope: Any, _receive: Any, send: Any) -> None:
    assert scope["type"] in {"http", "lifespan"}
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"let in"})


def _wsgi_app(_environ: Any, start_response: Any) -> list[bytes]:
    start_response("200 OK", [])
    return [b"let in"]


async def status_by_asgi(method: str, url: str, fields: Mapping[str, str]) -> int:
    app = OnlyFromEdge(_asgi_app, secrets=[SECRET, NEXT], open_paths=["/health"])
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport) as client:
        return (await client.request(method, url, headers=dict(fields))).status_code


async def status_by_wsgi(method: str, url: str, fields: Mapping[str, str]) -> int:
    app = OnlyFromEdgeWSGI(_wsgi_app, secrets=[SECRET, NEXT], open_paths=["/health"])
    parts = urlsplit(url)
    environ = {
        "REQUEST_METHOD": method,
        "HTTP_HOST": parts.netloc,
        "SCRIPT_NAME": "",
        "PATH_INFO": unquote_to_bytes(parts.path).decode("latin-1"),
        "QUERY_STRING": parts.query,
    }
    environ |= {f"HTTP_{name.upper().replace('-', '_')}": value for name, value in fields.items()}
    lines: list[str] = []
    app(environ, lambda status, _fields: lines.append(status))
    return int(lines[0].split()[0])


def signed(asked: OriginRequest = ASKED, secret: str = SECRET, *, seconds_ago: float = 0) -> dict[str, str]:
    now = int(time.time() - seconds_ago)  # noqa: TID251 - signatures are dated
    return {**PUBLIC, "edge-signature": signature_of(asked, secret, now)}


@pytest.mark.parametrize("status_by", [status_by_asgi, status_by_wsgi])
@pytest.mark.parametrize(
    ("method", "url", "fields", "status"),
    [
        pytest.param("GET", URL, signed, 200, id="signed"),
        pytest.param("GET", URL, lambda: signed(secret=NEXT), 200, id="by the next secret"),
        pytest.param("GET", URL, lambda: signed(seconds_ago=240), 200, id="four minutes ago"),
        pytest.param("GET", URL, lambda: signed(seconds_ago=360), 403, id="six minutes ago"),
        pytest.param("GET", URL, lambda: signed(seconds_ago=-360), 403, id="in six minutes"),
        pytest.param("GET", URL, lambda: PUBLIC, 403, id="not signed"),
        pytest.param("GET", URL, lambda: {**PUBLIC, "edge-signature": "t=1, s="}, 403, id="half a signature"),
        pytest.param("GET", URL, lambda: signed(secret=FOREIGN), 403, id="by another"),
        pytest.param("DELETE", URL, signed, 403, id="another method"),
        pytest.param("GET", f"{URL}d", signed, 403, id="another query"),
        pytest.param("GET", URL.replace("/a/", "/b/"), signed, 403, id="another path"),
        pytest.param(
            "GET", URL, lambda: signed() | {"x-forwarded-host": "b.example"}, 403, id="another host"
        ),
        pytest.param("GET", URL, lambda: signed() | {"x-forwarded-proto": "http"}, 403, id="another scheme"),
        pytest.param(
            "GET", URL, lambda: signed(replace(ASKED, path=b"/", query=b"a")), 403, id="another request"
        ),
        pytest.param("GET", "http://127.0.0.1:8000/health", dict, 200, id="an open path"),
        pytest.param("GET", "http://127.0.0.1:8000/health/x", dict, 403, id="below an open path"),
    ],
)
async def test_only_what_is_signed_gets_through(
    status_by: Any, method: str, url: str, fields: Callable[[], Mapping[str, str]], status: int
) -> None:
    assert await status_by(method, url, fields()) == status


def test_the_signature_is_what_the_wire_format_says() -> None:
    parts = [b"origin-sdk-edge/1", b"7", b"GET", b"https", b"api.example.com", b"/a/\xc3\xa9", b"b=%20c"]
    signed_text = b"".join(str(len(part)).encode() + b":" + part + b"\n" for part in parts)
    expected = hmac.digest(SECRET.encode(), signed_text, "sha256").hex()
    assert signature_of(ASKED, SECRET, 7) == f"t=7, s={expected}"


def test_no_part_of_a_request_can_pass_for_the_end_of_another() -> None:
    one, other = (replace(ASKED, path=path, query=query) for path, query in ((b"/a", b"bc"), (b"/ab", b"c")))
    assert signature_of(one, SECRET, 1) != signature_of(other, SECRET, 1)


async def test_a_websocket_that_is_not_signed_is_closed() -> None:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "websocket", "path": "/ws", "headers": []}
    await OnlyFromEdge(_asgi_app, secrets=[SECRET])(scope, None, send)

    assert sent == [{"type": "websocket.close", "code": 1008}]


async def test_what_is_no_request_passes() -> None:
    await OnlyFromEdge(_asgi_app, secrets=[SECRET])({"type": "lifespan"}, None, None)


@pytest.mark.parametrize("secrets", [[], ["short"], SECRET])
def test_secrets_that_protect_nothing_are_refused(secrets: Any) -> None:
    with pytest.raises(InvalidSettings, match="secrets"):
        OnlyFromEdge(_asgi_app, secrets=secrets)
