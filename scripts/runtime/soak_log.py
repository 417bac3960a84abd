"""Purge by the SDK for minutes while the processes of the purge log are killed and cut off at random.

Each purge is sent until it is confirmed, as a drainer does; then both isolates are asked until they have the
new version. KV shows here at once what is written, so that no answer may be older than a purge for longer
than the isolates' own bound, and what a busy machine takes.
"""

from __future__ import annotations

import asyncio
import json
import logging
import random  # noqa: TID251 - chance is what this is about
import secrets
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event, Lock, Thread

import httpx

from origin_sdk import Purge, PurgeClient, Settings
from origin_sdk.errors import OriginSdkError, PartialPurgeError
from scripts.runtime.soak_log_world import ISOLATES, World
from scripts.runtime.soak_world import Origin, read_body

__all__ = ["LogReport", "soak_log", "table"]

BOUND_SECONDS = 15.0
"""After so long each isolate honours a confirmed purge: its own bound of 6 s, and what it may take on a
busy machine to list KV, to start a process and to be asked."""
_BEGIN_SECONDS = 60.0
_PURGERS = 16
_PATHS = 40
_HOST = {"Host": "soak.test"}
_POLL_SECONDS = 0.05
_CLOSING_SECONDS = 0.2
_PATIENCE_SECONDS = 90.0
"""After which a purge that isn't seen counts as lost."""


@dataclass(slots=True)
class LogReport:
    """What was seen. Lags are seconds for which an isolate sent what was purged, once that was confirmed."""

    seconds: float = 0.0
    purges: int = 0
    tries: int = 0
    told: int = 0
    answers: int = 0
    lags: list[float] = field(default_factory=list)
    faults: Counter[str] = field(default_factory=Counter)
    late: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)

    @property
    def is_good(self) -> bool:
        """Whether no purge was lost or late."""
        return not (self.late or self.lost) and self.purges > 0 and bool(self.lags)


class _Soak:
    def __init__(self, world: World, origin: Origin, keys: str, chance: random.Random) -> None:
        self.report = LogReport()
        self._world = world
        self._origin = origin
        self._keys = keys
        self._chance = chance
        self._over = Event()
        self._lock = Lock()

    def run(self, seconds: float, purges: int) -> LogReport:
        """Purge for so long, or so often if that is given."""
        began = time.monotonic()
        purgers = [Thread(target=self._purge_on, args=(number,)) for number in range(_PURGERS)]
        breaker = Thread(target=self._break_on)
        for thread in (*purgers, breaker):
            thread.start()
        while time.monotonic() < began + seconds and not (purges and self.report.purges >= purges):
            time.sleep(0.2)
        self._over.set()
        for thread in (*purgers, breaker):
            thread.join()
        self.report.seconds = time.monotonic() - began
        return self.report

    # What fails

    def _break_on(self) -> None:
        faults = self._world.faults()
        while not self._over.wait(self._chance.uniform(0.5, 4)):
            name = self._chance.choice(list(faults))
            begin, end = faults[name]
            begin()
            self._over.wait(self._chance.uniform(0.5, 6))
            end()
            self.report.faults[name] += 1

    # Purging, as a drainer does

    def _purge_on(self, number: int) -> None:
        chance = random.Random(number)  # noqa: S311 - cases, not secrets
        settings = Settings(
            base_url=self._world.api_url,
            namespace_id="soak",
            actor="soak",
            log_url=self._world.isolates.url(ISOLATES[0]),
            log_key=self._keys,
        )
        with PurgeClient(settings) as client, httpx.Client(trust_env=False, timeout=30) as readers:
            while not self._over.is_set():
                # Each has paths of its own: what another purges isn't to be taken for one's own purge.
                path = f"/long/{number * _PATHS + chance.randrange(_PATHS)}"
                for isolate in ISOLATES:
                    self._version(readers, isolate, path)
                self._purge(client, readers, path, chance)

    def _purge(self, client: PurgeClient, readers: httpx.Client, path: str, chance: random.Random) -> None:
        url = f"http://soak.test{path}"
        hard = chance.random() < 0.5
        kinds = (
            Purge.of(urls=url, hard=hard),
            Purge.of(groups=path, hard=hard),
            Purge.of(prefixes=url, hard=hard),
        )
        left, version, told = chance.choice(kinds), self._origin.change(path), False
        while True:
            with self._lock:
                self.report.tries += 1
            try:
                told = bool(client.send(left).told)
                break
            except PartialPurgeError as error:
                left = error.remaining
            except OriginSdkError:
                time.sleep(0.2)
        confirmed = time.monotonic()
        with self._lock:
            self.report.purges += 1
            self.report.told += told
        for isolate in ISOLATES:
            self._await(readers, isolate, path, version, confirmed)

    def _await(self, readers: httpx.Client, isolate: str, path: str, version: int, confirmed: float) -> None:
        lag = 0.0
        while True:
            began = time.monotonic()
            seen = self._version(readers, isolate, path)
            with self._lock:
                if seen is not None and seen >= version:
                    self.report.lags.append(lag)
                    return
                lag = lag if seen is None else began - confirmed
                if seen is not None and began > confirmed + BOUND_SECONDS:
                    what = f"{isolate} {path}: version {seen} {began - confirmed:.1f} s after {version}"
                    self.report.late.append(what)
                if began > confirmed + _PATIENCE_SECONDS:
                    self.report.lost.append(f"{isolate} {path}: never version {version}")
                    return
            time.sleep(_POLL_SECONDS)

    def _version(self, readers: httpx.Client, isolate: str, path: str) -> int | None:
        """Return the version that an isolate answers with; ``None`` while it doesn't."""
        try:
            answer = readers.get(self._world.isolates.url(isolate) + path, headers=_HOST)
        except httpx.HTTPError:
            return None
        told = read_body(answer.content) if answer.status_code == 200 else None
        with self._lock:
            self.report.answers += 1
        return told.version if told else None


def soak_log(seconds: float, *, purges: int = 0, seed: int = 1, show: bool = False) -> LogReport:
    """Run for so long, or until so many purges are seen if that is sooner; return what was seen."""
    logging.getLogger("origin_sdk").setLevel(logging.ERROR)  # what can't be told is a part of it
    chance = random.Random(seed)  # noqa: S311 - cases, not secrets
    keys = {"soak": {"secret": secrets.token_urlsafe(32)}}
    with (
        tempfile.TemporaryDirectory() as folder,
        _serving() as origin,
        World(Path(folder), f"http://127.0.0.1:{origin.port}", keys, chance) as world,
    ):
        world.begin(_BEGIN_SECONDS)
        soak = _Soak(world, origin, json.dumps(keys), chance)
        with _shown(soak.report) if show else nullcontext():
            return soak.run(seconds, purges)


@contextmanager
def _serving() -> Iterator[Origin]:
    loop, origin = asyncio.new_event_loop(), Origin()
    thread = Thread(target=loop.run_forever, daemon=True)
    thread.start()
    asyncio.run_coroutine_threadsafe(origin.listen(), loop).result()
    try:
        yield origin
    finally:
        asyncio.run_coroutine_threadsafe(_closed(origin), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


async def _closed(origin: Origin) -> None:
    await origin.refuse()
    await asyncio.sleep(_CLOSING_SECONDS)


@contextmanager
def _shown(report: LogReport) -> Iterator[None]:
    over = Event()

    def show() -> None:
        while not over.wait(1):
            shown = f"{report.purges:,} purges, {len(report.late)} late, {len(report.lost)} lost"
            print(f"\r{shown}  ", end="", flush=True)

    thread = Thread(target=show)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def table(report: LogReport) -> str:
    """Return the summary."""
    ordered = sorted(report.lags) or [0.0]
    median, most = statistics.median(ordered), ordered[round(0.99 * (len(ordered) - 1))]
    lag = f"median {median:.2f} s, 99% {most:.2f} s, longest {ordered[-1]:.2f} s; bound {BOUND_SECONDS:g} s"
    purges = f"{report.purges:,} in {report.seconds:.0f} s, {report.tries:,} tries, {report.told:,} told"
    rows = [
        ("purges", purges),
        ("answers", f"{report.answers:,}"),
        ("faults", ", ".join(f"{name} {count}" for name, count in report.faults.most_common())),
        ("lag", lag),
        ("late", f"{len(report.late)}"),
        ("lost", f"{len(report.lost)}"),
        ("verdict", "good" if report.is_good else "BAD"),
    ]
    return "\n".join(f"{name:<10}{value}" for name, value in rows)
