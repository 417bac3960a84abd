"""Real Redis for tests and chaos: one server, a primary with replicas and sentinels, a cluster."""

import contextlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Protocol, Self

import redis

from origin_sdk._development.process import Process, ProcessError
from scripts.runtime.ports import reserved_ports
from scripts.runtime.shifted_clock import ShiftedClock

__all__ = ["ClusterOfSix", "RedisServer", "SentinelSet", "client_program"]

START_SECONDS = 40.0
_POLL_SECONDS = 0.02
_STEADY_MS = 15_000
"""So long a server may be silent where nobody is to take over: a busy machine lets it wait a while."""
_PROMPT: Final = ("PUBLISH-PERIOD", "100", "INFO-PERIOD", "500", "TILT-PERIOD", "500")
"""Else sentinels tell of themselves every two seconds, and rest for thirty on a machine that is busy."""
_FAILING: Final = frozenset({"fail", "fail?", "handshake"})


def server_program() -> str:
    """Return what is started: redis-server, or what REDIS_SERVER names, valkey-server for example."""
    return os.environ.get("REDIS_SERVER", "redis-server")


def client_program() -> str:
    """Return the command line that comes with it."""
    return server_program().replace("-server", "-cli")


class Secured(Protocol):
    """Certificates, and how they are passed on."""

    @property
    def of_server(self) -> tuple[str, ...]:
        """What redis-server is started with."""
        ...

    @property
    def of_redis_cli(self) -> tuple[str, ...]:
        """What redis-cli is called with."""
        ...

    @property
    def of_client(self) -> Mapping[str, Any]:
        """What redis-py is given."""
        ...


class RedisServer:
    """A redis-server of its own, that can be stopped, frozen and started again on the same port."""

    def __init__(
        self,
        folder: Path,
        *arguments: str,
        port: int | None = None,
        secured: Secured | None = None,
        has_own_clock: bool = False,
        program: str | None = None,
    ) -> None:
        self._program = program or server_program()
        if not shutil.which(self._program):
            raise ProcessError(f"{self._program} is missing: scripts/install {Path(self._program).name}")
        self.folder = folder
        self.port = port or reserved_ports(1)[0]
        self._arguments = arguments
        self._secured = secured
        self._clock = ShiftedClock(folder / f"clock-{self.port}") if has_own_clock else None
        self.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Start it, empty."""
        self.folder.mkdir(parents=True, exist_ok=True)
        log = self.folder / f"redis-{self.port}.log"
        environment = self._clock.environment if self._clock else {}
        self._process = Process(
            self._program, self._command(), log=log, folder=self.folder, environment=environment
        )
        try:
            self._process.wait_for(self._answer, what="an answer", seconds=START_SECONDS)
        except BaseException:
            self._process.stop()
            raise

    def _command(self) -> Sequence[str]:
        listen: tuple[str, ...] = ("--port", str(self.port))
        if self._secured:
            listen = (*self._secured.of_server, "--tls-port", str(self.port))
        quiet = ("--save", "", "--bind", "127.0.0.1", "--enable-debug-command", "yes")
        prompt = ("--repl-diskless-sync-delay", "0")  # else replicas wait five seconds for each other
        return (self._program, *listen, *quiet, *prompt, *self._arguments)

    def _answer(self) -> bool | None:
        try:
            with self.client() as client:
                answering = int(client.info("server")["process_id"])
        except redis.AuthenticationError:
            return True
        except (redis.RedisError, OSError):
            return None
        if answering != self._process.id:
            raise ProcessError(f"on port {self.port} answers another server, process {answering}")
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

    def step_clock(self, seconds: float) -> None:
        """Set its clock so far ahead of the machine's, or back."""
        if self._clock is None:
            raise ProcessError("it was started without a clock of its own")
        self._clock.step(seconds)

    def kill(self) -> None:
        """End it at once, as a crash does."""
        self._send(signal.SIGKILL)
        self._process.stop()

    def restart(self, *arguments: str) -> None:
        """Crash it, and start it again with arguments of this time alone."""
        usual, self._arguments = self._arguments, (*self._arguments, *arguments)
        self.kill()
        self.start()
        self._arguments = usual

    def stop(self) -> None:
        """End it."""
        with contextlib.suppress(ProcessLookupError):
            self._send(signal.SIGCONT)
        self._process.stop()


class SentinelSet:
    """A primary, two replicas and three sentinels, which know it by a name that no other set has.

    In a steady one no replica takes over because a busy machine lets the primary wait.
    """

    def __init__(
        self,
        folder: Path,
        *arguments: str,
        secured: Secured | None = None,
        rights: str = "",
        is_steady: bool = False,
    ) -> None:
        self._secured = secured
        self.primary = RedisServer(folder / "primary", *arguments, secured=secured)
        self.service = f"main-{self.primary.port}"
        replica = (*arguments, "--replicaof", f"127.0.0.1 {self.primary.port}")
        self.replicas = [
            RedisServer(folder / f"replica-{number}", *replica, secured=secured) for number in (1, 2)
        ]
        self.sentinels: list[RedisServer] = []
        for number in (1, 2, 3):
            config = folder / f"sentinel-{number}.conf"
            config.write_text(
                f"sentinel monitor {self.service} 127.0.0.1 {self.primary.port} 2\n"
                f"sentinel down-after-milliseconds {self.service} {_STEADY_MS if is_steady else 500}\n"
                f"sentinel failover-timeout {self.service} 3000\n"
                + (f"user cache on >secret {rights}\n" if rights else "")
            )
            self.sentinels.append(_Sentinel(folder / f"sentinel-{number}", config, secured))
        _wait_until(self._is_whole, "the sentinels don't know of all")

    def _is_whole(self) -> bool:
        """Whether each sentinel knows of the replicas, and of the others: alone none has a majority."""
        return all(self._known_to(sentinel) == (2, 2) for sentinel in self.sentinels)

    def _known_to(self, sentinel: RedisServer) -> tuple[int, int]:
        with sentinel.client() as client:
            known: Any = client.execute_command("SENTINEL MASTER", self.service)
        return int(known["num-slaves"]), int(known["num-other-sentinels"])

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
        with self.client() as client, contextlib.suppress(redis.ResponseError):  # before Redis 7
            client.execute_command("SENTINEL DEBUG", *_PROMPT)

    def _command(self) -> Sequence[str]:
        program, *arguments = super()._command()
        # A sentinel takes these two from nobody.
        listen = arguments[: arguments.index("--save")]
        return (program, str(self._config), "--sentinel", *listen, "--bind", "127.0.0.1")


class ClusterOfSix:
    """Three primaries with a replica each; of a steady one the same holds as of such a set."""

    def __init__(
        self, folder: Path, *arguments: str, secured: Secured | None = None, is_steady: bool = False
    ) -> None:
        timeout_ms = str(_STEADY_MS if is_steady else 1500)
        enabled = (*arguments, "--cluster-enabled", "yes", "--cluster-node-timeout", timeout_ms)
        self._secured = secured
        if is_steady:
            enabled = (*enabled, "--cluster-replica-no-failover", "yes")
        if secured:
            enabled = (*enabled, "--tls-cluster", "yes")
        self.nodes = [
            RedisServer(
                folder / str(port),
                *(*enabled, "--cluster-config-file", f"{port}.conf"),
                port=port,
                secured=secured,
            )
            for port in reserved_ports(6)
        ]
        hosts = [f"127.0.0.1:{node.port}" for node in self.nodes]
        subprocess.run(  # noqa: S603 - our own arguments, no shell
            (
                *(
                    client_program(),
                    *(secured.of_redis_cli if secured else ()),
                    "--cluster",
                    "create",
                    *hosts,
                ),
                *("--cluster-replicas", "1", "--cluster-yes"),
            ),
            check=True,
            capture_output=True,
            timeout=60,
        )
        _wait_until(lambda: all(map(_is_whole, self.nodes)), "the cluster isn't whole")

    @property
    def url(self) -> str:
        """Where some of the nodes are."""
        hosts = ",".join(f"127.0.0.1:{node.port}" for node in self.nodes[:3])
        return f"redis{'s' if self._secured else ''}+cluster://{hosts}"

    def thaw(self) -> None:
        """Let all nodes go on."""
        for node in self.nodes:
            node.thaw()

    def stop(self) -> None:
        """End all."""
        for node in self.nodes:
            node.stop()


def _wait_until(is_so: Callable[[], bool], problem: str) -> None:
    """Wait as long as a server may take to start. Raises ProcessError, which names the problem."""
    deadline = time.monotonic() + START_SECONDS
    while not is_so():
        if time.monotonic() > deadline:
            raise ProcessError(f"{problem} after {START_SECONDS:g} s")
        time.sleep(_POLL_SECONDS)


def _is_whole(node: RedisServer) -> bool:
    with node.client() as client:
        known: Any = client.execute_command("CLUSTER NODES")
        told: Any = client.execute_command("CLUSTER INFO")
    is_ok = told["cluster_state"] == "ok"
    return is_ok and all(_FAILING.isdisjoint(each["flags"].split(",")) for each in known.values())
