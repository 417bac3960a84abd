"""workerd without wrangler: many Workers in one process, over a KV whose clock, place and health a test sets.

Each Worker has a socket of its own. The KV is workerd's own, which enforces the limits of the real one.
"""

from __future__ import annotations

import json
import os
import select
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Self

import httpx

from origin_sdk._cloudflare.connections import tls
from origin_sdk._development.process import Process
from scripts.runtime import paths
from scripts.runtime.shifted_clock import ShiftedClock
from scripts.runtime.store import Store
from scripts.runtime.workerd_config import Namespace, Worker, clocks_of, encode, namespaces_of

_START_SECONDS = 90.0


class Workerd:
    """A running workerd with some Workers and the KV namespaces that they are bound to.

    Args:
        folder: where its log and its KV data go.
        workers: what it runs.
        arguments: further arguments of `workerd serve`.
        v8_flags: flags of V8, such as the size of its heap, which is boundless on one's own machine.
        snapshots: the folder of the interpreter's snapshot, in place of the one that scripts/install made.
        clock: what its Workers take for the time of day, in place of the machine's.
    """

    def __init__(
        self,
        folder: Path,
        workers: Sequence[Worker],
        *,
        arguments: Sequence[str] = (),
        v8_flags: Sequence[str] = (),
        snapshots: Path | None = None,
        clock: ShiftedClock | None = None,
    ) -> None:
        namespaces, self._clocks = namespaces_of(workers), clocks_of(workers)
        sockets = [worker.name for worker in workers] + [n.socket for n in (*namespaces, *self._clocks)]
        with ExitStack() as stack:
            control = stack.enter_context(_Control())
            configuration = encode(folder, workers, v8_flags)
            environment = {"WORKERD_SNAPSHOTS": str(snapshots)} if snapshots else {}
            environment |= clock.environment if clock else {}
            self.process = stack.enter_context(_start(folder, configuration, control, arguments, environment))
            self._ports = self.process.wait_for(
                lambda: control.ports(set(sockets)), what="listening", seconds=_START_SECONDS
            )
            self.inspector = f"127.0.0.1:{control.inspector_port}"
            self._stores = {
                namespace: stack.enter_context(Store(self.url(namespace.socket))) for namespace in namespaces
            }
            self._running = stack.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._running.close()

    def url(self, name: str) -> str:
        """Return the base URL of the Worker of that name."""
        return f"http://127.0.0.1:{self._ports[name]}"

    def store(self, namespace: Namespace | None = None) -> Store:
        """Return the contents of a namespace that a Worker is bound to."""
        return self._stores[namespace or Namespace()]

    def advance_kv_clock(self, seconds: float) -> None:
        """Move the time by which KV expires keys, and by which each location forgets what it read."""
        for clock in self._clocks:
            url, moment = f"{self.url(clock.socket)}/clock", {"advance": round(seconds * 1000)}
            moved = httpx.post(url, params=moment, verify=tls())
            moved.raise_for_status()


class _Control:
    """The pipe on which workerd tells, in lines of JSON, at which port each socket listens."""

    def __init__(self) -> None:
        self._read, self.write = os.pipe()
        self._received = b""
        self.inspector_port = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._read)
        os.close(self.write)

    def ports(self, sockets: set[str]) -> dict[str, int] | None:
        """Return the port of each socket, or None while one of `sockets` is missing."""
        while select.select([self._read], [], [], 0)[0]:
            self._received += os.read(self._read, 65536)
        events = [
            json.loads(line) for line in self._received.splitlines(keepends=True) if line.endswith(b"\n")
        ]
        self.inspector_port = next((e["port"] for e in events if e["event"] == "listen-inspector"), 0)
        ports = {event["socket"]: event["port"] for event in events if event["event"] == "listen"}
        return ports if sockets <= ports.keys() else None


def _start(
    folder: Path,
    configuration: bytes,
    control: _Control,
    arguments: Sequence[str],
    environment: Mapping[str, str],
) -> Process:
    for name in ("objects", "blobs"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    config = folder / "config.bin"
    config.write_bytes(configuration)
    serve = ["serve", "--experimental", "--binary", f"--control-fd={control.write}", str(config)]
    return Process(
        "workerd",
        [paths.WORKERD, *serve, *arguments],
        log=folder / "workerd.log",
        folder=folder,
        environment=environment,
        inherited=[control.write],
    )
