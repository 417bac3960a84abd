"""Real Redis for tests: one server, a primary with replicas and sentinels, a cluster."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import pytest
import redis

from scripts.runtime.process import Process
from tests.layers.certificates import Secured

START_SECONDS = 20.0


def free_ports(count: int) -> list[int]:
    """Return ports that nobody listens on, low enough that a cluster's bus, 10,000 above, has one too."""
    found: list[int] = []
    candidate = 20_000 + os.getpid() % 380 * 7  # where other tests that run at the time don't begin
    while len(found) < count:
        candidate += 7
        if all(_is_free(port) for port in (candidate, candidate + 10_000)):
            found.append(candidate)
    return found


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


class RedisServer:
    """A redis-server of its own, that can be stopped, frozen and started again on the same port."""

    def __init__(
        self, folder: Path, *arguments: str, port: int | None = None, secured: Secured | None = None
    ) -> None:
        if not shutil.which("redis-server"):
            pytest.fail("redis-server is missing: run the tests with scripts/test, which installs it")
        self.folder = folder
        self.port = port or free_ports(1)[0]
        self._arguments = arguments
        self._secured = secured
        self.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Start it, empty."""
        self.folder.mkdir(parents=True, exist_ok=True)
        log = self.folder / f"redis-{self.port}.log"
        self._process = Process("redis-server", self._command(), log=log, folder=self.folder)
        self._process.wait_for(self._answer, what="an answer", seconds=START_SECONDS)

    def _command(self) -> Sequence[str]:
        listen: tuple[str, ...] = ("--port", str(self.port))
        if self._secured:
            listen = (*self._secured.of_server, "--tls-port", str(self.port))
        quiet = ("--save", "", "--bind", "127.0.0.1", "--enable-debug-command", "yes")
        prompt = ("--repl-diskless-sync-delay", "0")  # else replicas wait five seconds for each other
        return ("redis-server", *listen, *quiet, *prompt, *self._arguments)

    def _answer(self) -> bool | None:
        try:
            with self.client() as client:
                client.ping()
        except redis.AuthenticationError:
            return True
        except (redis.RedisError, OSError):
            return None
        return True

    def client(self) -> redis.Redis:
        """Return a plain client."""
        secured: dict[str, Any] = {"ssl": True, **self._secured.of_client} if self._secured else {}
        return redis.Redis(port=self.port, socket_timeout=2, **secured)

    @property
    def url(self) -> str:
        """Where it is."""
        return f"redis{'s' if self._secured else ''}://127.0.0.1:{self.port}/0"

    def _send(self, number: signal.Signals) -> None:
        os.killpg(self._process.id, number)

    def freeze(self) -> None:
        """Let it hold connections and answer nothing."""
        self._send(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        self._send(signal.SIGCONT)

    def stop(self) -> None:
        """End it."""
        with contextlib.suppress(ProcessLookupError):
            self._send(signal.SIGCONT)
        self._process.stop()


class SentinelSet:
    """A primary, two replicas and three sentinels."""

    service = "main"

    def __init__(
        self, folder: Path, *arguments: str, secured: Secured | None = None, rights: str = ""
    ) -> None:
        self._secured = secured
        self.primary = RedisServer(folder / "primary", *arguments, secured=secured)
        replica = (*arguments, "--replicaof", f"127.0.0.1 {self.primary.port}")
        self.replicas = [
            RedisServer(folder / f"replica-{number}", *replica, secured=secured) for number in (1, 2)
        ]
        self.sentinels: list[RedisServer] = []
        for number in (1, 2, 3):
            config = folder / f"sentinel-{number}.conf"
            config.write_text(
                f"sentinel monitor {self.service} 127.0.0.1 {self.primary.port} 2\n"
                f"sentinel down-after-milliseconds {self.service} 500\n"
                f"sentinel failover-timeout {self.service} 3000\n"
                + (f"user cache on >secret {rights}\n" if rights else "")
            )
            self.sentinels.append(_Sentinel(folder / f"sentinel-{number}", config, secured))

    @property
    def url(self) -> str:
        """Where the sentinels are."""
        hosts = ",".join(f"127.0.0.1:{sentinel.port}" for sentinel in self.sentinels)
        return f"redis{'s' if self._secured else ''}+sentinel://{hosts}/{self.service}"

    def stop(self) -> None:
        """End all."""
        for server in (*self.sentinels, *self.replicas, self.primary):
            server.stop()


class _Sentinel(RedisServer):
    def __init__(self, folder: Path, config: Path, secured: Secured | None) -> None:
        self._config = config
        super().__init__(folder, secured=secured)

    def _command(self) -> Sequence[str]:
        program, *arguments = super()._command()
        # A sentinel takes these two from nobody.
        listen = arguments[: arguments.index("--save")]
        return (program, str(self._config), "--sentinel", *listen, "--bind", "127.0.0.1")


class ClusterOfSix:
    """Three primaries with a replica each."""

    def __init__(self, folder: Path, *arguments: str, secured: Secured | None = None) -> None:
        enabled = (*arguments, "--cluster-enabled", "yes", "--cluster-node-timeout", "1500")
        self._secured = secured
        if secured:
            enabled = (*enabled, "--tls-cluster", "yes")
        self.nodes = [
            RedisServer(
                folder / str(port),
                *(*enabled, "--cluster-config-file", f"{port}.conf"),
                port=port,
                secured=secured,
            )
            for port in free_ports(6)
        ]
        hosts = [f"127.0.0.1:{node.port}" for node in self.nodes]
        subprocess.run(
            (
                *("redis-cli", *(secured.of_redis_cli if secured else ()), "--cluster", "create", *hosts),
                *("--cluster-replicas", "1", "--cluster-yes"),
            ),
            check=True,
            capture_output=True,
            timeout=60,
        )

    @property
    def url(self) -> str:
        """Where some of the nodes are."""
        hosts = ",".join(f"127.0.0.1:{node.port}" for node in self.nodes[:3])
        return f"redis{'s' if self._secured else ''}+cluster://{hosts}"

    def stop(self) -> None:
        """End all."""
        for node in self.nodes:
            node.stop()
