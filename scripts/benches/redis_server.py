"""A redis-server for benches, that can be frozen."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from origin_sdk._development.process import Process

__all__ = ["RunningRedis", "running_redis"]

_START_SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class RunningRedis:
    """Where it is, and the process that it is."""

    url: str
    process: Process

    def freeze(self) -> None:
        """Let it hold connections and answer nothing."""
        os.killpg(self.process.id, signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        os.killpg(self.process.id, signal.SIGCONT)


@contextmanager
def running_redis(folder: Path) -> Iterator[RunningRedis]:
    """Run one in ``folder``, on a port of its own."""
    port = _free_port()
    command = ("redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "")
    with Process("redis-server", command, log=folder / "redis.log", folder=folder) as process:
        process.wait_for(lambda: _listens(port), what="listening", seconds=_START_SECONDS)
        yield RunningRedis(f"redis://127.0.0.1:{port}/0", process)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _listens(port: int) -> bool | None:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0 or None
