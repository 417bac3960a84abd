"""Jurisdictions of Durable Objects: within the one that is set, or nowhere."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from scripts.runtime import snapshot
from scripts.runtime.workerd import Workerd
from scripts.runtime.workerd_config import Json, StandIn, Worker
from tests.runtime.edge import eventually, get
from tests.runtime.origin import ScriptedOrigin


class _Door(BaseHTTPRequestHandler):
    """Takes what objects are asked, and notes which."""

    def do_GET(self) -> None:
        self.server.asked.append(self.headers.get("log-object", ""))  # type: ignore[attr-defined]  # ours
        self.send_response(503)
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_POST = do_GET  # noqa: N815 - as above

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def door() -> Iterator[ThreadingHTTPServer]:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Door) as server:
        server.asked = []  # type: ignore[attr-defined]  # ours
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture(scope="module")
def edge(
    running_origin: ScriptedOrigin, door: ThreadingHTTPServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Workerd]:
    variables: dict[str, Json] = {
        "ORIGIN": running_origin.url,
        "PURGE_LOG_JURISDICTION": "eu",
        "RULES": [{"path": "/dear/**", "single_flight": "global"}],
        "DEVELOPMENT": True,
    }
    place = StandIn(f"127.0.0.1:{door.server_port}")
    workers = [
        Worker("at-cloudflare", variables=variables, remote_log=place),
        Worker("here", variables=variables, log="here"),
    ]
    with Workerd(tmp_path_factory.mktemp("regions"), workers, snapshots=snapshot.deployed()) as workerd:
        yield workerd


def test_objects_are_asked_within_their_jurisdiction(edge: Workerd, door: ThreadingHTTPServer) -> None:
    assert get(edge.url("at-cloudflare"), "/dear/a").status != 500
    asked: list[str] = door.asked  # type: ignore[attr-defined]  # ours
    eventually(lambda: any(name.startswith("flights-") for name in asked), "a flight")
    eventually(lambda: any(not name.startswith("flights-") for name in asked), "the log")
    assert all(name.endswith(" in eu") for name in asked)


def test_where_there_are_none_no_object_is_asked(edge: Workerd) -> None:
    told = get(edge.url("here"), "/a")
    assert told.status == 500
    assert b"PURGE_LOG_JURISDICTION = 'eu': " in told.body
