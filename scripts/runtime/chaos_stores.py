"""Redis in its three forms, and what can be done to each."""

from __future__ import annotations

import random  # noqa: TID251 - chance is what this is about
import shutil
import struct
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import redis

from scripts.runtime.chaos_client import KEPT, PROCESSES, Board, drawn
from scripts.runtime.proxy import Connection, Proxy
from scripts.runtime.redis_servers import (
    ClusterOfSix,
    RedisServer,
    SentinelSet,
    client_program,
)
from scripts.runtime.shifted_clock import ShiftedClock

__all__ = ["FIRST_SECONDS", "LOSSLESS", "STORES", "TIMEOUT_SECONDS", "Fault", "Store"]

TIMEOUT_SECONDS = 0.25
FIRST_SECONDS = 4.0
"""How long all processes run in peace, at the beginning and at the end."""
_LEAVING_SECONDS = 2.0
"""How long processes may take to leave a primary on its way out: they ask the sentinels every second."""
_UNKNOWN_SECONDS = 30.0
_FAILOVER_SECONDS = 6.0
LOSSLESS = {
    "cut",
    "stall",
    "deafen",
    "delay",
    "kill_subscriptions",
    "forget_scripts",
    "stall_client",
    "kill_client",
}
"""What costs nobody what Redis holds."""
_SPOIL = "local v = redis.call('GET', KEYS[1]) \
return v and redis.call('SET', KEYS[1], string.sub(v, 1, -2) .. string.char(193), 'KEEPTTL')"


@dataclass(frozen=True)
class Fault:
    """What is broken, when after the beginning, and a random number that says how."""

    at: float
    name: str
    number: int


class Store:
    """Redis in one of its forms, and what can be done to it."""

    faults: Sequence[str] = ()

    pauses = (1.0, 6.0)
    """Seconds between two faults."""
    url = ""

    def __init__(self, folder: Path, board: Board) -> None:
        self.folder = folder
        self.board = board

    def births(self) -> dict[bytes, bytes]:
        """Return the births of valid records that nobody has to load again; none where that can't be told."""
        return {}

    def do(self, fault: Fault) -> None:
        """Break something, and mend what doesn't mend itself."""
        getattr(self, fault.name)(drawn(fault.number))

    def stop(self) -> None:
        """End all."""


class Single(Store):
    """One server behind a proxy."""

    faults = (
        *("freeze", "restart_empty", "restart_aof", "restart_rdb", "restart_old_rdb", "flush", "fill"),
        *("cut", "cut", "stall", "deafen", "delay", "kill_subscriptions", "forget_scripts", "step_clock"),
        *("spoil", "evict"),
    )

    def __init__(self, folder: Path, board: Board) -> None:
        super().__init__(folder, board)
        self.server = RedisServer(
            folder, "--dir", str(folder), "--appendfsync", "always", has_own_clock=ShiftedClock.is_possible()
        )
        self.proxy = Proxy(self.server.port)
        self.url = f"redis://127.0.0.1:{self.proxy.port}/0"

    def births(self) -> dict[bytes, bytes]:
        with self.server.client() as client, suppress(redis.RedisError):
            names: Any = client.keys("*e:item*")
            kept = [name for name in names if int(name.rpartition(b":")[2]) >= KEPT]
            records: Any = client.mget(kept) if kept else []
            floor: Any = client.zscore("{chaos:0}m", "") or 0
            found = {name: record[:8] for name, record in zip(kept, records, strict=True) if record}
            return {name: birth for name, birth in found.items() if struct.unpack(">d", birth)[0] > floor}
        return {}

    def _ask(self, *words: str) -> None:
        with self.server.client() as client, suppress(redis.RedisError):
            client.execute_command(*words)

    def freeze(self, chance: random.Random) -> None:
        self.server.freeze()
        time.sleep(0.2 + chance.random() * 1.5)
        self.server.thaw()

    def _restart(self) -> None:
        self.server.kill()
        self.server.start()

    def restart_empty(self, _: random.Random) -> None:
        (self.folder / "dump.rdb").unlink(missing_ok=True)
        self._restart()

    def restart_rdb(self, chance: random.Random) -> None:
        self._ask("SAVE")
        time.sleep(chance.random() * 2)
        self._restart()
        (self.folder / "dump.rdb").unlink(missing_ok=True)

    def restart_old_rdb(self, _: random.Random) -> None:
        """Restart from the snapshot of the last time, which may be minutes old, and make the next one."""
        current, kept = self.folder / "dump.rdb", self.folder / "kept.rdb"
        self.server.kill()
        if kept.exists():
            shutil.copy(kept, current)
        self.server.start()
        current.unlink(missing_ok=True)
        self._ask("SAVE")
        if current.exists():
            shutil.move(current, kept)

    def spoil(self, chance: random.Random) -> None:
        """Write what nobody can read over records, as a version of other types would, and step clocks."""
        with self.server.client() as client, suppress(redis.RedisError):
            until = time.monotonic() + 1
            while time.monotonic() < until:
                for name in client.scan_iter("*e:*", count=200):
                    if chance.random() < 0.5:  # a head that is read, and a value that isn't
                        client.eval(_SPOIL, 1, name)
                self.board.step_clock(chance.randrange(PROCESSES), chance.choice([-5.0, 0.0, 5.0, 3600.0]))
                time.sleep(0.05)

    def evict(self, chance: random.Random) -> None:
        """Remove what the cache keeps of itself, as an eviction does that may remove anything."""
        with self.server.client() as client, suppress(redis.RedisError):
            for name in client.keys("*}[mtgh]"):
                if chance.random() < 0.4:
                    client.delete(name)

    def restart_aof(self, chance: random.Random) -> None:
        self._ask("CONFIG", "SET", "appendonly", "yes")
        time.sleep(0.3 + chance.random())
        self.server.restart("--appendonly", "yes")
        self._ask("CONFIG", "SET", "appendonly", "no")

    def flush(self, _: random.Random) -> None:
        self._ask("FLUSHALL")

    def fill(self, chance: random.Random) -> None:
        self._ask("CONFIG", "SET", "maxmemory", "1")
        time.sleep(chance.random() * 2)
        self._ask("CONFIG", "SET", "maxmemory", "0")

    def cut(self, chance: random.Random) -> None:
        for _ in range(chance.randint(1, 6)):
            if connections := self.proxy.connections:
                chance.choice(connections).cut()
            time.sleep(0.05)

    def stall(self, chance: random.Random) -> None:
        self._stall([each for each in self.proxy.connections if not each.subscribes], chance, 4)

    def deafen(self, chance: random.Random) -> None:
        """Let nothing through to one who listens, and say nothing of it."""
        self._stall([each for each in self.proxy.connections if each.subscribes], chance, 10)

    @staticmethod
    def _stall(connections: Sequence[Connection], chance: random.Random, most: float) -> None:
        if connections:
            chosen = chance.choice(connections)
            chosen.stall()
            time.sleep((0.1 + 0.9 * chance.random()) * most)
            chosen.resume()

    def delay(self, chance: random.Random) -> None:
        self.proxy.delays_reply = lambda _: TIMEOUT_SECONDS * 2 * (chance.random() < 0.05)
        time.sleep(1.5)
        self.proxy.delays_reply = lambda _: 0.0

    def kill_subscriptions(self, _: random.Random) -> None:
        self._ask("CLIENT", "KILL", "TYPE", "pubsub")

    def forget_scripts(self, _: random.Random) -> None:
        self._ask("SCRIPT", "FLUSH")

    def step_clock(self, chance: random.Random) -> None:
        if ShiftedClock.is_possible():
            self.server.step_clock(chance.choice([-7200.0, -2.0, 0.0, 2.0, 7200.0]))

    def stop(self) -> None:
        self.proxy.close()
        self.server.stop()


class Watched(Store):
    """A primary, two replicas and three sentinels."""

    faults = ("fail_over", "freeze_primary", "kill_primary", "lag_and_kill")
    pauses = (4.0, 8.0)

    def __init__(self, folder: Path, board: Board) -> None:
        super().__init__(folder, board)
        self.set = SentinelSet(folder)
        self.url = self.set.url
        self.servers = [self.set.primary, *self.set.replicas]

    def _primary(self) -> RedisServer:
        for sentinel in self.set.sentinels:
            with sentinel.client() as client, suppress(redis.RedisError):
                found: Any = client.execute_command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", self.set.service)
                port = int(found[1])
                return next(each for each in self.servers if each.port == port)
        return self.servers[0]

    def _lenient(self, seconds: float = _UNKNOWN_SECONDS) -> None:
        # Two primaries for some seconds: docs/layers-theory.md says what that means.
        self.board.lenient_until = time.monotonic() + seconds

    def fail_over(self, _: random.Random) -> None:
        before = self._primary()
        self._lenient()
        with self.set.sentinels[0].client() as client, suppress(redis.RedisError):
            client.execute_command("SENTINEL", "FAILOVER", self.set.service)
        self._leave(before)

    def _leave(self, primary: RedisServer) -> None:
        """Wait until the sentinels name another; from then on processes have so long to follow."""
        until = time.monotonic() + _FAILOVER_SECONDS
        while self._primary() is primary and time.monotonic() < until:
            time.sleep(0.05)
        self._lenient(_LEAVING_SECONDS)
        time.sleep(_LEAVING_SECONDS)

    def freeze_primary(self, chance: random.Random) -> None:
        primary = self._primary()
        self._lenient()
        primary.freeze()
        time.sleep(1 + chance.random() * 3)
        primary.thaw()
        # It may be replaced only now, by an election that began while it was frozen.
        self._leave(primary)

    def kill_primary(self, _: random.Random) -> None:
        primary = self._primary()
        primary.kill()
        time.sleep(5)
        primary.start()
        time.sleep(2)

    def lag_and_kill(self, chance: random.Random) -> None:
        primary = self._primary()
        others = [each for each in self.servers if each is not primary]
        for each in others:
            each.freeze()
        time.sleep(0.2 + chance.random())
        primary.kill()
        for each in others:
            each.thaw()
        time.sleep(6)
        primary.start()
        time.sleep(2)

    def stop(self) -> None:
        self.set.stop()


class Sharded(Store):
    """Three primaries with a replica each."""

    faults = ("kill_node", "freeze_node", "fail_over", "take_over", "reshard")
    pauses = (4.0, 8.0)

    def __init__(self, folder: Path, board: Board) -> None:
        super().__init__(folder, board)
        self.cluster = ClusterOfSix(folder)
        self.url = self.cluster.url

    def _by_role(self, role: str) -> list[RedisServer]:
        found = []
        for node in self.cluster.nodes:
            with node.client() as client, suppress(redis.RedisError):
                answer: Any = client.execute_command("ROLE")
                if answer[0].decode() == role:
                    found.append(node)
        return found

    def kill_node(self, chance: random.Random) -> None:
        node = chance.choice(self._by_role("master"))
        node.kill()
        time.sleep(4)
        node.start()
        time.sleep(2)

    def freeze_node(self, chance: random.Random) -> None:
        node = chance.choice(self._by_role("master"))
        self.board.lenient_until = time.monotonic() + _UNKNOWN_SECONDS
        node.freeze()
        time.sleep(0.5 + chance.random() * 3)
        node.thaw()
        self.board.lenient_until = time.monotonic() + _LEAVING_SECONDS
        time.sleep(3)

    def _promote(self, chance: random.Random, *how: str) -> None:
        replica = chance.choice(self._by_role("slave"))
        with replica.client() as client, suppress(redis.RedisError):
            client.execute_command("CLUSTER", "FAILOVER", *how)
        time.sleep(3)

    def fail_over(self, chance: random.Random) -> None:
        self._promote(chance)

    def take_over(self, chance: random.Random) -> None:
        """Promote a replica that has lagged behind, without asking its primary."""
        replica = chance.choice(self._by_role("slave"))
        self.board.lenient_until = time.monotonic() + _LEAVING_SECONDS
        with replica.client() as client, suppress(redis.RedisError):
            role: Any = client.execute_command("ROLE")
            port = int(role[2])
            primary = next(each for each in self.cluster.nodes if each.port == port)
            with primary.client() as at_primary:
                replica.freeze()
                time.sleep(0.2 + chance.random() * 0.6)
                at_primary.execute_command("CLIENT", "KILL", "TYPE", "replica")
                replica.thaw()
                client.execute_command("CLUSTER", "FAILOVER", "TAKEOVER")
        time.sleep(4)

    def reshard(self, chance: random.Random) -> None:
        giver, taker = chance.sample(self._by_role("master"), 2)
        names = []
        for each in (giver, taker):
            with each.client() as client:
                name: Any = client.execute_command("CLUSTER", "MYID")
                names.append(name.decode())
        subprocess.run(  # noqa: S603 - our own arguments, no shell
            (
                *(client_program(), "--cluster", "reshard", f"127.0.0.1:{giver.port}", "--cluster-yes"),
                *("--cluster-from", names[0], "--cluster-to", names[1], "--cluster-slots", "400"),
            ),
            check=False,
            capture_output=True,
            timeout=60,
        )

    def stop(self) -> None:
        self.cluster.stop()


STORES: dict[str, type[Store]] = {"single": Single, "sentinel": Watched, "cluster": Sharded}
