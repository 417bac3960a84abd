"""Break Redis, the way to it and its clients for minutes, and hold every read to an oracle.

Five processes, of threads and of event loops, read single values, values whose loaders alone tell their
group, batches, and pages made of other values, while each invalidates what it changes. A read is wrong that
began after an invalidation and is older: at once in the process that invalidated, in the others once their
link has been whole for 2.5 seconds. Exit code 1 if one was, if a caller saw an error, or if calls took too
long. With --shrink what failed is run again with fewer faults until none can be left out.
"""

from __future__ import annotations

import argparse
import json
import os
import random  # noqa: TID251 - chance is what this is about
import signal
import subprocess
import sys
import tempfile
import time
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import redis

from origin_sdk.layers import Policy
from scripts.runtime.chaos_client import BOUND_SECONDS, PROCESSES, Board, drawn
from scripts.runtime.paths import ROOT
from scripts.runtime.proxy import Proxy
from scripts.runtime.redis_servers import ClusterOfSix, RedisServer, SentinelSet, ShiftedClock

__all__ = ["Fault", "Report", "chaos", "main", "planned"]

TIMEOUT_SECONDS = 0.25
_SLACK_SECONDS = 0.3
"""What two busy cores add to a call."""
_LENIENT_SECONDS = 15.0
_PAUSES = (1.0, 6.0)


@dataclass(frozen=True)
class Fault:
    """What is broken, when after the beginning, and a random number that says how."""

    at: float
    name: str
    number: int


@dataclass
class Report:
    """What all processes saw together."""

    counts: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    waits: list[tuple[float, float]] = field(default_factory=list)
    """When calls began, and what they took beside their loads."""
    begun: list[tuple[float, str]] = field(default_factory=list)
    """When which fault began."""
    errors: list[str] = field(default_factory=list)
    violations: list[dict[str, Any]] = field(default_factory=list)
    healing: list[float] = field(default_factory=list)
    """Seconds from the end of each fault until every process has found its link whole."""

    def quantile(self, share: float, fault: str = "") -> float:
        """Return what this share of the calls took at most, beside their loads; or of those after a fault."""
        starts = [at for at, _ in self.begun]
        ordered = sorted(
            wait
            for at, wait in self.waits
            if not fault or ((place := bisect_right(starts, at)) and self.begun[place - 1][1] == fault)
        )
        return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else 0.0

    @property
    def is_good(self) -> bool:
        """Whether every promise was kept.

        A call may meet a stalled Redis twice, as it looks and as it stores; and of a thousand one may wait
        for the load of a process that was stopped or killed, for as long as that one's lock lives.
        """
        is_prompt = self.quantile(0.99) <= TIMEOUT_SECONDS * 2 + _SLACK_SECONDS
        ends = self.quantile(0.999) <= TIMEOUT_SECONDS * 2 + _SLACK_SECONDS + Policy().lock
        return not self.violations and not self.errors and is_prompt and ends


class Store:
    """Redis in one of its forms, and what can be done to it."""

    faults: Sequence[str] = ()

    def __init__(self, folder: Path, board: Board) -> None:
        self.folder = folder
        self.board = board

    url = ""

    def do(self, fault: Fault) -> None:
        """Break something, and mend what doesn't mend itself."""
        getattr(self, fault.name)(drawn(fault.number))

    def stop(self) -> None:
        """End all."""


class Single(Store):
    """One server behind a proxy."""

    faults = (
        *("freeze", "restart_empty", "restart_aof", "restart_rdb", "flush", "fill", "cut", "cut", "stall"),
        *("stall", "delay", "kill_subscriptions", "forget_scripts", "step_clock"),
    )

    def __init__(self, folder: Path, board: Board) -> None:
        super().__init__(folder, board)
        self.server = RedisServer(
            folder, "--dir", str(folder), "--appendfsync", "always", has_own_clock=ShiftedClock.is_possible()
        )
        self.proxy = Proxy(self.server.port)
        self.url = f"redis://127.0.0.1:{self.proxy.port}/0"

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
        connections = self.proxy.connections
        subscriptions = [each for each in connections if each.subscribes]
        chosen = chance.choice(subscriptions if subscriptions and chance.random() < 0.5 else connections)
        chosen.stall()
        time.sleep(chance.random() * 4)
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

    def _lenient(self) -> None:
        # Two primaries for some seconds: docs/layers-theory.md says what that means.
        self.board.lenient_until = time.monotonic() + _LENIENT_SECONDS

    def fail_over(self, _: random.Random) -> None:
        self._lenient()
        with self.set.sentinels[0].client() as client, suppress(redis.RedisError):
            client.execute_command("SENTINEL", "FAILOVER", self.set.service)
        time.sleep(4)

    def freeze_primary(self, chance: random.Random) -> None:
        primary = self._primary()
        self._lenient()
        primary.freeze()
        time.sleep(1 + chance.random() * 3)
        primary.thaw()
        self._lenient()
        time.sleep(4)

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
        self.board.lenient_until = time.monotonic() + _LENIENT_SECONDS
        node.freeze()
        time.sleep(0.5 + chance.random() * 3)
        node.thaw()
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
        self.board.lenient_until = time.monotonic() + _LENIENT_SECONDS / 3
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
                *("redis-cli", "--cluster", "reshard", f"127.0.0.1:{giver.port}", "--cluster-yes"),
                *("--cluster-from", names[0], "--cluster-to", names[1], "--cluster-slots", "400"),
            ),
            check=False,
            capture_output=True,
            timeout=60,
        )

    def stop(self) -> None:
        self.cluster.stop()


STORES: dict[str, type[Store]] = {"single": Single, "sentinel": Watched, "cluster": Sharded}
_CLIENT_FAULTS = ("kill_client", "stall_client", "step_client_clock")


class Clients:
    """The processes, each of which is started again if it is killed."""

    def __init__(self, board_file: Path, board: Board, url: str, seed: int) -> None:
        self._file = board_file
        self._board = board
        self._url = url
        self._seed = seed
        self._running = [self._start(number) for number in range(PROCESSES)]

    def _start(self, number: int) -> subprocess.Popen[str]:
        kind = "loop" if number % 2 else "threads"
        module = "scripts.runtime.chaos_client"
        values = (self._file, number, kind, self._url, "chaos", self._seed + number, TIMEOUT_SECONDS)
        log = self._file.with_name(f"client-{number}.log").open("a")
        with log:
            return subprocess.Popen(  # noqa: S603 - our own arguments, no shell
                (sys.executable, "-m", module, *map(str, values)),
                cwd=ROOT,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )

    def kill_client(self, chance: random.Random) -> None:
        number = chance.randrange(PROCESSES)
        process = self._running[number]
        process.kill()
        process.communicate()
        self._running[number] = self._start(number)

    def stall_client(self, chance: random.Random) -> None:
        process = self._running[chance.randrange(PROCESSES)]
        os.kill(process.pid, signal.SIGSTOP)
        time.sleep(0.5 + chance.random() * 3)
        os.kill(process.pid, signal.SIGCONT)

    def step_client_clock(self, chance: random.Random) -> None:
        self._board.clock_shift = chance.choice([-7200.0, -5.0, 0.0, 5.0, 7200.0])

    def ended(self, report: Report) -> None:
        """Wait for the ends, and take what they saw."""
        self._board.is_over = 1.0
        for number, process in enumerate(self._running):
            try:
                said, _ = process.communicate(timeout=60)
                seen = json.loads(said)
            except (subprocess.TimeoutExpired, ValueError) as error:
                process.kill()
                process.communicate()
                report.errors.append(f"process {number} didn't end: {type(error).__name__}")
                continue
            for name in ("reads", "loads", "invalidations", "owed", "cut_off"):
                report.counts[name] += seen[name]
            report.waits += seen["waits"]
            report.errors += seen["errors"]
            report.violations += seen["violations"]


def planned(store: str, seconds: float, seed: int) -> list[Fault]:
    """Return the faults of a run, in order."""
    chance, at, faults = drawn(seed), 4.0, []
    names = (*STORES[store].faults, *_CLIENT_FAULTS)
    while at < seconds - 4:
        faults.append(Fault(at, chance.choice(names), chance.randrange(1 << 30)))
        at += chance.uniform(*_PAUSES)
    return faults


def chaos(
    store: str, seconds: float, seed: int, faults: Sequence[Fault], say: Callable[[str], None]
) -> Report:
    """Run the processes for so long, break what is planned, and return what was seen."""
    report = Report()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="chaos-")))
        file = folder / "board"
        file.write_bytes(bytes(Board.SIZE))
        board = Board(file)
        running = STORES[store](folder / "redis", board)
        stack.callback(running.stop)
        clients = Clients(file, board, running.url, seed)
        began = time.monotonic()
        for fault in faults:
            time.sleep(max(0.0, began + fault.at - time.monotonic()))
            if time.monotonic() > began + seconds - 4:
                break
            say(f"{time.monotonic() - began:6.1f} s  {fault.name}")
            report.faults[fault.name] += 1
            report.begun.append((time.monotonic(), fault.name))
            if fault.name in _CLIENT_FAULTS:
                getattr(clients, fault.name)(drawn(fault.number))
            else:
                running.do(fault)
            report.healing.append(_healed(board, began + seconds))
        time.sleep(max(0.0, began + seconds - time.monotonic()))
        clients.ended(report)
    return report


def _healed(board: Board, until: float) -> float:
    """Wait until every process has found its link whole since now, and return for how long that took."""
    began = time.monotonic()
    while board.all_whole_at() < began and time.monotonic() < until:
        time.sleep(0.02)
    return time.monotonic() - began


def shrunk(
    store: str, seconds: float, seed: int, faults: Sequence[Fault], say: Callable[[str], None]
) -> list[Fault]:
    """Return fewer faults that still break a promise."""
    rest = list(faults)
    size = max(1, len(rest) // 2)
    while True:
        for start in range(0, len(rest), size):
            fewer = rest[:start] + rest[start + size :]
            say(f"again with {len(fewer)} of {len(rest)} faults")
            if chaos(store, seconds, seed, fewer, lambda _: None).violations:
                rest = fewer
                break
        else:
            if size == 1:
                return rest
            size = max(1, size // 2)


def _told(violation: dict[str, Any]) -> str:
    history = "\n".join(
        f"      {at - violation['at']:+8.3f} s  {what} {value}" for at, what, value in violation["history"]
    )
    whose = "its own" if violation["is_own"] else "another's"
    return (
        f"  process {violation['process']} read version {violation['version']} of item {violation['item']} "
        f"through {violation['through']} after {whose} invalidation of all before {violation['least']}; its "
        f"link was whole for {violation['whole_for']:.1f} s {violation['link']}\n{history}"
    )


def _show(store: str, report: Report) -> None:
    counts = report.counts
    milliseconds = {
        name: f"{report.quantile(share) * 1e3:.1f} ms"
        for name, share in (("median", 0.5), ("99 %", 0.99), ("99.9 %", 0.999), ("longest", 1.0))
    }
    after_each = {name: f"{report.quantile(0.999, name) * 1e3:.0f} ms" for name in report.faults}
    healing = sorted(report.healing) or [0.0]
    print(
        f"{store}: {counts['reads']:,} reads, {counts['invalidations']:,} invalidations "
        f"({counts['owed']:,} owed), {counts['loads']:,} loads, {sum(report.faults.values())} faults",
        f"faults: {dict(report.faults)}",
        f"calls beside their loads: {milliseconds}",
        f"99.9 % after each: {after_each}",
        f"healed after {healing[len(healing) // 2]:.2f} s (median), {healing[-1]:.2f} s (longest)",
        f"reads while the link was down, or whole for less than {BOUND_SECONDS} s: {counts['cut_off']:,}",
        f"errors: {len(report.errors)}, violations: {len(report.violations)}",
        sep="\n  ",
        flush=True,
    )
    for error, times in Counter(report.errors).most_common(5):
        print(f"  {times} x {error}")
    for violation in report.violations[:3]:
        print(_told(violation))


def main(arguments: Sequence[str]) -> int:
    """Run what the command line says."""
    parser = argparse.ArgumentParser(prog="scripts/chaos", description=__doc__)
    parser.add_argument("--store", choices=[*STORES, "all"], default="all")
    parser.add_argument("--seconds", type=float, default=180.0, help="for each store")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--shrink", action="store_true", help="look for the fewest faults that fail")
    parser.add_argument("--quiet", action="store_true")
    chosen = parser.parse_args(arguments)
    say: Callable[[str], None] = (lambda _: None) if chosen.quiet else (lambda line: print(line, flush=True))
    is_good = True
    for store in STORES if chosen.store == "all" else [chosen.store]:
        faults = planned(store, chosen.seconds, chosen.seed)
        report = chaos(store, chosen.seconds, chosen.seed, faults, say)
        _show(store, report)
        is_good = is_good and report.is_good
        if report.violations and chosen.shrink:
            fewest = shrunk(store, chosen.seconds, chosen.seed, faults, say)
            print("the fewest faults that break it:", *fewest, sep="\n  ")
    return 0 if is_good else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
