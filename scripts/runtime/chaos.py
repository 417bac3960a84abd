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
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

from scripts.runtime.chaos_client import PROCESSES, Board, drawn
from scripts.runtime.chaos_report import Report, told
from scripts.runtime.chaos_shrink import shrunk
from scripts.runtime.chaos_stores import FIRST_SECONDS, LOSSLESS, STORES, TIMEOUT_SECONDS, Fault
from scripts.runtime.paths import ROOT

__all__ = ["Trial", "all_faults", "main", "planned"]

_START_SECONDS = 30.0
_BOOT = (
    "import sys, scripts.runtime, runpy; sys.path[:0] = sys.argv[1].split(':'); del sys.argv[1]; "
    "runpy.run_module('scripts.runtime.chaos_client', run_name='__main__', alter_sys=True)"
)
"""Runs this checker over the SDK of another folder."""


_CLIENT_FAULTS = ("kill_client", "stall_client", "step_client_clock", "fork_client")


class Clients:
    """The processes, each of which is started again if it is killed."""

    def __init__(self, board_file: Path, board: Board, url: str, seed: int, code: Path) -> None:
        self._code = code
        self._file = board_file
        self._board = board
        self._url = url
        self._seed = seed
        self._running = [self._start(number) for number in range(PROCESSES)]

    def _start(self, number: int) -> subprocess.Popen[str]:
        kind = "loop" if number % 2 else "threads"
        self._board.say_whole(number, is_whole=False)
        paths = f"{self._code}:{self._code / 'worker'}"
        values = (self._file, number, kind, self._url, "chaos", self._seed + number, TIMEOUT_SECONDS)
        log = self._file.with_name(f"client-{number}.log").open("a")
        with log:
            return subprocess.Popen(  # noqa: S603 - our own arguments, no shell
                (sys.executable, "-W", "ignore", "-c", _BOOT, paths, *map(str, values)),
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
        self._board.step_clock(chance.randrange(PROCESSES), chance.choice([-7200.0, -5.0, 0.0, 5.0, 7200.0]))

    def fork_client(self, chance: random.Random) -> None:
        # A loop doesn't go on in a child.
        number = chance.randrange(0, PROCESSES, 2)
        until = time.monotonic() + _START_SECONDS
        while not self._board.whole_at(number) and time.monotonic() < until:
            time.sleep(0.02)
        os.kill(self._running[number].pid, signal.SIGUSR1)

    def stop(self) -> None:
        """End those that still run."""
        for process in self._running:
            process.kill()
            process.wait()

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
                said = (self._file.with_name(f"client-{number}.log").read_text().splitlines() or [""])[-1]
                report.errors.append(f"process {number} didn't end: {type(error).__name__}; it said {said}")
                continue
            report.add(seen)
        for file in self._file.parent.glob("fork-*.json"):
            report.add(json.loads(file.read_text()))


def planned(store: str, seconds: float, seed: int, names: Sequence[str] = ()) -> list[Fault]:
    """Return the faults of a run, in order; ``names`` are those to choose from, all if there are none."""
    chance, at, faults = drawn(seed), FIRST_SECONDS, []
    while at < seconds - FIRST_SECONDS:
        name = chance.choice(names or all_faults(store))
        faults.append(Fault(at, name, chance.randrange(1 << 30)))
        at += chance.uniform(*STORES[store].pauses)
    return faults


def all_faults(store: str) -> tuple[str, ...]:
    """Return the names of what may be broken."""
    return (*STORES[store].faults, *_CLIENT_FAULTS)


@dataclass(frozen=True)
class Trial:
    """A run of the processes over a store, for so many seconds, with the SDK of a folder."""

    store: str
    seconds: float
    seed: int
    code: Path = ROOT

    def lasting(self, seconds: float) -> Self:
        """Return the same for another time."""
        return replace(self, seconds=seconds)

    def run(self, faults: Sequence[Fault], say: Callable[[str], None]) -> Report:
        """Break what is planned, and return what was seen."""
        report = Report()
        with ExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="chaos-")))
            file = folder / "board"
            file.write_bytes(bytes(Board.SIZE))
            board = Board(file)
            store = STORES[self.store](folder / "redis", board)
            stack.callback(store.stop)
            clients = Clients(file, board, store.url, self.seed, self.code)
            stack.callback(clients.stop)
            _healed(board, time.monotonic() + _START_SECONDS)
            report.began = began = time.monotonic()
            for fault in faults:
                time.sleep(max(0.0, began + fault.at - time.monotonic()))
                if time.monotonic() > began + self.seconds - FIRST_SECONDS:
                    break
                say(f"{time.monotonic() - began:6.1f} s  {fault.name}")
                report.faults[fault.name] += 1
                report.begun.append((time.monotonic(), fault.name))
                births = store.births() if fault.name in LOSSLESS else {}
                if fault.name in _CLIENT_FAULTS:
                    getattr(clients, fault.name)(drawn(fault.number))
                else:
                    store.do(fault)
                until = min(began + self.seconds, time.monotonic() + _START_SECONDS)
                report.healing.append(_healed(board, until))
                now = store.births() if births else {}
                if again := sum(now.get(name) != birth for name, birth in births.items()):
                    report.reloaded.append((fault.name, again, len(births)))
            time.sleep(max(0.0, began + self.seconds - time.monotonic()))
            clients.ended(report)
        return report


def _healed(board: Board, until: float) -> float:
    """Wait until every process has found its link whole since now, and return for how long that took."""
    began = time.monotonic()
    while board.all_whole_at() < began and time.monotonic() < until:
        time.sleep(0.02)
    return time.monotonic() - began


def _plan(chosen: argparse.Namespace, store: str) -> list[Fault]:
    if chosen.replay is not None:
        return [Fault(float(at), name, int(number)) for at, name, number in map(_parts, chosen.replay)]
    names = chosen.faults.split(",") if chosen.faults else ()
    return planned(store, chosen.seconds, chosen.seed, [name for name in names if name in all_faults(store)])


def _parts(fault: str) -> tuple[str, str, str]:
    at, name, number = fault.split(":")
    return at, name, number


def main(arguments: Sequence[str]) -> int:
    """Run what the command line says."""
    known = sorted({name for store in STORES for name in all_faults(store)})
    parser = argparse.ArgumentParser(
        prog="scripts/chaos",
        description=__doc__,
        epilog=f"Faults: {', '.join(known)}. {', '.join(STORES)} have some of their own each.",
    )
    parser.add_argument("--store", choices=[*STORES, "all"], default="all")
    parser.add_argument("--seconds", type=float, default=180.0, help="for each store")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--faults", metavar="NAME,NAME", help="break nothing but these")
    parser.add_argument(
        "--replay", nargs="*", metavar="AT:NAME:NUMBER", help="break just this, as --shrink prints it"
    )
    parser.add_argument(
        "--shrink", action="store_true", help="look for the smallest set of faults that fails"
    )
    parser.add_argument(
        "--code", type=Path, default=ROOT, metavar="FOLDER", help="try the SDK of another checkout"
    )
    parser.add_argument(
        "--server", metavar="PROGRAM", help="valkey-server, for example, instead of redis-server"
    )
    parser.add_argument("--quiet", action="store_true")
    chosen = parser.parse_args(arguments)
    say: Callable[[str], None] = (lambda _: None) if chosen.quiet else (lambda line: print(line, flush=True))
    if chosen.server:
        os.environ["REDIS_SERVER"] = chosen.server
    is_good = True
    for store in STORES if chosen.store == "all" else [chosen.store]:
        trial = Trial(store, chosen.seconds, chosen.seed, chosen.code.resolve())
        faults = _plan(chosen, store)
        report = trial.run(faults, say)
        print(*told(store, report), sep="\n", flush=True)
        is_good = is_good and report.is_good
        if report.violations and chosen.shrink:
            print(*shrunk(trial, faults, report, say), sep="\n", flush=True)
    return 0 if is_good else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
