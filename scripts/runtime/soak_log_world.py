"""The processes of the purge log's soak: KV, its REST API, the log's object and two isolates, each by itself.

Between them are proxies, so that each way can be cut or stalled, and each process can be killed while the
others go on by the same addresses.
"""

from __future__ import annotations

import json
import os
import random  # noqa: TID251 - chance is what this is about
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from enum import StrEnum
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any, Self

import httpx

from origin_sdk._development.loopback import serving
from scripts.runtime.proxy import Proxy
from scripts.runtime.snapshot import deployed
from scripts.runtime.store import Store
from scripts.runtime.workerd import Workerd
from scripts.runtime.workerd_config import Json, Namespace, StandIn, Worker

__all__ = ["ISOLATES", "ApiFault", "KvApi", "Part", "World"]

ISOLATES = ("one", "two")
_WORKERS = Path(__file__).parent / "workers"
_DOOR = "log_door.js"
_SLOW_SECONDS = 1.5


class ApiFault(StrEnum):
    """How KV's REST API fails for a while."""

    NONE = "none"
    REFUSES = "refuses"
    THROTTLES = "throttles"
    SLOW = "slow"
    PARTLY = "partly"
    BREAKS_OFF = "breaks off"


class KvApi:
    """The REST API over a KV, as far as purging needs it."""

    def __init__(self, store: Store, chance: random.Random) -> None:
        self.fault = ApiFault.NONE
        self._store = store
        self._chance = chance

    @contextmanager
    def serve(self) -> Iterator[str]:
        """Serve it, and give its URL."""
        answering = type("Answering", (_Answering,), {"api": self})
        with serving(answering) as url:
            yield url

    def write(self, pairs: Sequence[Mapping[str, Any]]) -> list[str]:
        """Write, and return the keys that weren't."""
        refused: list[str] = []
        for pair in pairs:
            if self.fault is ApiFault.PARTLY and self._chance.random() < 0.5:
                refused.append(pair["key"])
            else:
                value = pair["value"].encode()
                self._store.put(pair["key"], value, metadata=pair.get("metadata"))
        return refused


class _Answering(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    api: KvApi

    def do_GET(self) -> None:
        self._answer(404, {"success": False, "errors": [{"code": 10009, "message": "not found"}]})

    def do_PUT(self) -> None:
        pairs, fault = json.loads(self.rfile.read(int(self.headers["Content-Length"]))), self.api.fault
        if fault is ApiFault.REFUSES:
            self._answer(503, {"success": False})
        elif fault is ApiFault.THROTTLES:
            self._answer(429, {"success": False}, {"Retry-After": "1"})
        else:
            self._write(pairs, fault)

    def _write(self, pairs: Sequence[Mapping[str, Any]], fault: ApiFault) -> None:
        if fault is ApiFault.SLOW:
            time.sleep(_SLOW_SECONDS)
        refused = self.api.write(pairs)
        if fault is ApiFault.BREAKS_OFF:
            self.close_connection = True
            return
        result = {"successful_key_count": len(pairs) - len(refused), "unsuccessful_keys": refused}
        self._answer(200, {"success": True, "result": result})

    def _answer(self, status: int, told: Mapping[str, Any], fields: Mapping[str, str] | None = None) -> None:
        body = json.dumps(told).encode()
        self.send_response(status)
        for name, value in {**(fields or {}), "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nobody reads it."""


class Part:
    """A workerd process that is killed and started again, behind proxies that stay."""

    def __init__(self, folder: Path, workers: Sequence[Worker], names: Sequence[str]) -> None:
        self._folder = folder
        self._workers = workers
        self._workerd = Workerd(folder, workers, snapshots=deployed())
        self.ways = {name: Proxy(self._port(name)) for name in names}
        self.is_running = True

    def _port(self, name: str) -> int:
        return int(self._workerd.url(name).rpartition(":")[2])

    def url(self, name: str) -> str:
        """Return where a Worker is reached, whichever process runs it."""
        return f"http://127.0.0.1:{self.ways[name].port}"

    def kill(self) -> None:
        """End it as a machine that fails does."""
        with suppress(ProcessLookupError):
            os.killpg(self._workerd.process.id, signal.SIGKILL)
        self._workerd.__exit__()
        self.is_running = False

    def start(self) -> None:
        """Start it again; what it holds on the disk is there still."""
        self._workerd = Workerd(self._folder, self._workers, snapshots=deployed())
        for name, way in self.ways.items():
            way.lead_to(self._port(name))
        self.is_running = True

    def close(self) -> None:
        """End it for good."""
        for way in self.ways.values():
            way.close()
        self._workerd.__exit__()


class World:
    """All processes. ``kv_ways`` lead from the isolates and from the object to KV."""

    def __init__(
        self, folder: Path, origin: str, log_keys: Mapping[str, Json], chance: random.Random
    ) -> None:
        with ExitStack() as stack:
            door = Worker("door", _WORKERS, main=_DOOR)
            kv = stack.enter_context(Workerd(folder / "kv", [door]))
            store, socket = kv.store(), kv.url(Namespace().socket)
            self.kv_ways = [stack.enter_context(Proxy(int(socket.rpartition(":")[2]))) for _ in range(2)]
            of_isolates, of_object = ({"CACHE": StandIn(f"127.0.0.1:{way.port}")} for way in self.kv_ways)
            variables: dict[str, Json] = {
                "ORIGIN": origin,
                "BREAKER_FAILURES": 0,
                "PURGE_LOG_KEYS": json.dumps(log_keys),
            }
            owner = Worker("owner", variables=variables, stores=of_object, log="owner")
            behind = Worker("door", _WORKERS, main=_DOOR, stores={}, log="owner")
            self.object = Part(folder / "object", [owner, behind], ["door"])
            stack.callback(self.object.close)
            remote = StandIn(f"127.0.0.1:{self.object.ways['door'].port}")
            isolates = [
                Worker(name, variables=variables, stores=of_isolates, remote_log=remote) for name in ISOLATES
            ]
            self.isolates = Part(folder / "isolates", isolates, ISOLATES)
            stack.callback(self.isolates.close)
            self.api = KvApi(store, chance)
            self.api_url = stack.enter_context(self.api.serve())
            self._running = stack.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._running.close()

    def begin(self, patience_seconds: float) -> None:
        """Ask until the log is had."""
        deadline = time.monotonic() + patience_seconds
        for name in ISOLATES:
            while "log=unavailable" in self._status(name):
                assert time.monotonic() < deadline, "the log never began"  # noqa: S101 - nothing to show then
                time.sleep(0.2)

    def _status(self, name: str) -> str:
        url = f"{self.isolates.url(name)}/long/begin"
        told = httpx.get(url, headers={"Host": "soak.test"}, trust_env=False).headers["cache-status"]
        return told if "; hit" in told else "log=unavailable"

    def faults(self) -> Mapping[str, tuple[Callable[[], None], Callable[[], None]]]:
        """Name what can go wrong: how it begins, and how it ends."""

        def failing(fault: ApiFault) -> Callable[[], None]:
            return lambda: setattr(self.api, "fault", fault)

        well = failing(ApiFault.NONE)
        ways = {
            "isolates cut off from KV": self.kv_ways[0],
            "the object cut off from KV": self.kv_ways[1],
            "isolates cut off from the object": self.object.ways["door"],
        }
        return {
            "isolates killed": (self.isolates.kill, self.isolates.start),
            "the object killed": (self.object.kill, self.object.start),
            **{name: (way.freeze, _thawing(way)) for name, way in ways.items()},
            **{
                f"the API {fault.value}": (failing(fault), well)
                for fault in ApiFault
                if fault is not ApiFault.NONE
            },
        }


def _thawing(way: Proxy) -> Callable[[], None]:
    def thaw() -> None:
        way.thaw()
        for connection in way.connections:
            connection.cut()

    return thaw
