"""Load two isolates over one KV for minutes, while the origin fails and purges come, and check every answer.

An answer is wrong if it is another URL's, another user's, another variant's, cut unnoticed, older than a
purge that every isolate must have seen by then, or an error while the origin is well. Exit code 1 if one was,
if one took too long, or if an isolate holds more at the end than once it was warm: Python objects that belong
to requests, what waits for ever, the wasm memory; or in all more than is well below its 128 MB.
"""

from __future__ import annotations

import argparse
import asyncio
import random  # noqa: TID251 - chance is what this is about
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from origin_sdk_wire.key import parse_target
from origin_sdk_wire.marks import (
    EVERYTHING,
    Lane,
    Mark,
    group_mark,
    host_mark,
    prefix_index_mark,
    prefix_mark,
    url_mark,
    value_of,
    written_keys,
)
from scripts.runtime.hits import hits
from scripts.runtime.inspection import INSPECTED, INSPECTOR, Holdings, held_bytes, inspected_source
from scripts.runtime.inspection import V8_FLAGS as INSPECTED_V8_FLAGS
from scripts.runtime.soak_log import soak_log
from scripts.runtime.soak_log import table as log_table
from scripts.runtime.soak_world import Answer, Client, ClientError, Fault, Origin, read_body
from scripts.runtime.workerd import Workerd
from scripts.runtime.workerd_config import Json, Worker

__all__ = ["Report", "main", "soak"]

MARK_INTERVAL = 0.5
BOUND = MARK_INTERVAL + 2.5
"""After so many seconds each isolate honours a purge: the interval, and what a busy machine takes."""
LONGEST = 20.0
"""An answer that takes longer than all timeouts together hangs."""
_RECOVERY = 6.0
"""So long after a fault errors may still be seen: requests that were under way, throttle and breaker."""
_VARIABLES: dict[str, Json] = {
    "MARK_INTERVAL": "500ms",
    "ORIGIN_TIMEOUT": "3s",
    "SOFT_TIMEOUT": "500ms",
    "COLLAPSE_TIMEOUT": "3s",
    "REFRESH_THROTTLE": "1s",
    "BREAKER_PAUSE": "2s",
    "BETWEEN_BYTES_TIMEOUT": "3s",
    "MEMORY_BYTES": "8MiB",
    "RULES": [
        {"path": "/key/**", "data_class": "private", "key_fields": ["X-User"], "default_lifetime": "10m"}
    ],
}
_STALE = frozenset({"stale-if-error", "slow-origin", "throttled", "breaker-open", "stale-while-revalidate"})
_KINDS = {"item": 40, "long": 200, "vary": 40, "key": 40, "private": 20, "cookie": 20, "large": 6}
_WEIGHTS = (30, 30, 12, 12, 8, 6, 2)
_CLOSING_SECONDS = 0.2
_NAMES = ("edge", "twin")
_WARM_SHARE = 0.2
"""So much of the time goes by before anything is counted: tables and memory are full by then."""
_SETTLING_SECONDS = 45.0
"""Work that outlives its request ends by then."""
_FEW_OBJECTS = 60
_FEW_PENDING = 5
_WASM_SLACK_MIB = 8
"""The wasm memory never shrinks: it tells of the busiest moment."""
_MOST_HELD_MIB = 96
_BAR = 30
_MIB = 1024 * 1024
_V8_FLAGS = ("--max-old-space-size=96", "--max-semi-space-size=4", "--gc-global")
"""Less than an isolate has at Cloudflare, and each collection a whole one.

Otherwise V8 hardly collects: a Worker that only says hello was seen to grow from 260 to 510 MiB, and what is
garbage couldn't be told from what is held.
"""


@dataclass(frozen=True, slots=True)
class Held:
    """What an isolate held once it was warm, and at the end, each after a garbage collection."""

    warm: Holdings
    end: Holdings
    end_bytes: int

    @property
    def left(self) -> int:
        """How many objects of requests more there are than before."""
        return self.end.count_left_by_requests(self.warm)

    @property
    def grew(self) -> bool:
        """Whether requests left something behind, or memory grew."""
        more_pending = self.end.pending - self.warm.pending
        more_bytes = self.end.wasm_bytes - self.warm.wasm_bytes
        return (
            self.left > _FEW_OBJECTS
            or more_pending > _FEW_PENDING
            or more_bytes > _WASM_SLACK_MIB * _MIB
            or self.end_bytes > _MOST_HELD_MIB * _MIB
        )

    def __str__(self) -> str:
        return (
            f"objects {self.warm.objects:,} then {self.end.objects:,}, of requests {self.left:+}; "
            f"waiting {self.warm.pending} then {self.end.pending}; "
            f"wasm {self.warm.wasm_bytes / _MIB:.0f} then {self.end.wasm_bytes / _MIB:.0f} MiB; "
            f"with JavaScript and buffers {self.end_bytes / _MIB:.0f} MiB"
        )


@dataclass(slots=True)
class Report:
    """What was seen."""

    seconds: float = 0.0
    statuses: Counter[int] = field(default_factory=Counter)
    details: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    purges: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    hangs: list[str] = field(default_factory=list)
    latencies: list[float] = field(default_factory=list)
    hits: int = 0
    cut: int = 0
    left: int = 0
    origin_requests: int = 0
    rss_mib: list[float] = field(default_factory=list)
    held: dict[str, Held] = field(default_factory=dict)

    @property
    def answers(self) -> int:
        """How many answers there were."""
        return sum(self.statuses.values())

    @property
    def grew(self) -> bool:
        """Whether an isolate holds what it should have let go of."""
        return any(held.grew for held in self.held.values())

    @property
    def is_good(self) -> bool:
        """Whether nothing was wrong."""
        return not (self.wrong or self.hangs or self.grew) and self.answers > 0


class _Soak:
    def __init__(self, workerd: Workerd, origin: Origin, seed: int) -> None:
        self.report = Report()
        self._workerd = workerd
        self._origin = origin
        self._ports = [int(workerd.url(name).rpartition(":")[2]) for name in _NAMES]
        self._random = random.Random(seed)  # noqa: S311 - cases, not secrets
        self._last_fault = 0.0
        self._least: dict[str, list[tuple[float, int, Lane]]] = {}

    async def run(self, seconds: float, clients: int, *, show: bool) -> Report:
        """Load the isolates, and count what they hold once they are warm, and at the end."""
        began = time.monotonic()
        await self._load(seconds * _WARM_SHARE, clients, show=show)
        warm = {name: await self._settled(name, None) for name in _NAMES}
        await self._load(seconds * (1 - _WARM_SHARE), clients, show=show)
        for name in _NAMES:
            end = await self._settled(name, warm[name])
            end_bytes = await asyncio.to_thread(held_bytes, self._workerd, name)
            self.report.held[name] = Held(warm[name], end, end_bytes)
        self.report.seconds = time.monotonic() - began
        self.report.origin_requests = self._origin.requests
        return self.report

    async def _settled(self, name: str, warm: Holdings | None) -> Holdings:
        """Return what an isolate holds once all that outlives requests is over."""
        deadline = time.monotonic() + _SETTLING_SECONDS
        while True:
            held = await asyncio.to_thread(Holdings.of, self._workerd.url(name))
            most = _FEW_PENDING + (warm.pending if warm else 0)
            if held.pending <= most or time.monotonic() > deadline:
                return held
            await asyncio.sleep(0.5)

    async def _load(self, seconds: float, clients: int, *, show: bool) -> None:
        began = time.monotonic()
        end = began + seconds
        work = [self._client(number, end) for number in range(clients)]
        work += [self._faults(end), self._purges(end), self._watch(began, end, show=show)]
        await asyncio.gather(*work)

    # Clients

    async def _client(self, number: int, end: float) -> None:
        client, chance = Client(), random.Random(number)  # noqa: S311 - cases, not secrets
        while time.monotonic() < end:
            [kind] = chance.choices(list(_KINDS), _WEIGHTS)
            path, port = f"/{kind}/{chance.randrange(_KINDS[kind])}", chance.choice(self._ports)
            if chance.random() < 0.01:
                await client.begin(port, path)
                self.report.left += 1
                continue
            await self._ask(client, port, path, _fields(kind, number))
        client.close()

    async def _ask(self, client: Client, port: int, path: str, fields: dict[str, str]) -> None:
        began = time.monotonic()
        try:
            answer = await client.ask(port, "GET", path, fields)
        except ClientError as error:
            self.report.hangs.append(f"{path}: {error}")
            return
        self._note(answer)
        if answer.seconds > LONGEST:
            self.report.hangs.append(f"{path}: {answer.seconds:.1f} s")
        if fault := self._fault_of(answer, path, fields, began):
            self.report.wrong.append(f"{path} {fields}: {fault} ({answer.status}, {answer.cache_status})")

    def _note(self, answer: Answer) -> None:
        report = self.report
        report.statuses[answer.status] += 1
        report.details[answer.detail] += 1
        report.hits += answer.is_hit
        report.latencies.append(answer.seconds)

    def _fault_of(self, answer: Answer, path: str, fields: dict[str, str], began: float) -> str:
        """Return what is wrong with an answer; nothing, mostly."""
        is_troubled = self._origin.fault is not Fault.NONE or began < self._last_fault + _RECOVERY
        if answer.status != 200:
            return "" if is_troubled and answer.status in {502, 503, 504} else "an error"
        if not answer.is_whole:
            self.report.cut += 1
            return "" if is_troubled else "cut"
        told = read_body(answer.body)
        if told is None:
            return "cut unnoticed"
        kind = path.split("/")[1]
        user = fields["X-User"] if kind in {"key", "private", "cookie"} else ""
        language = fields["X-Language"] if kind == "vary" else ""
        if (told.path, told.user, told.language) != (path, user, language):
            return f"the response of {told}"
        return self._age_fault(path, told.version, answer, began)

    def _age_fault(self, path: str, version: int, answer: Answer, began: float) -> str:
        for moment, least, lane in self._least.get(path, ()):
            is_excused = lane is Lane.SOFT and answer.detail in _STALE
            if began > moment + BOUND and version < least and not is_excused:
                return f"version {version} {began - moment:.1f} s after a {lane.name} purge, for {least}"
        return ""

    # What happens meanwhile

    async def _faults(self, end: float) -> None:
        kinds = [fault for fault in Fault if fault is not Fault.NONE]
        while time.monotonic() < end - 1:
            await asyncio.sleep(min(self._random.uniform(1, 9), max(0.0, end - time.monotonic() - 1)))
            fault = self._random.choice(kinds)
            self._origin.fault = fault
            self.report.faults[fault] += 1
            if fault is Fault.DOWN:
                await self._origin.refuse()
            await asyncio.sleep(self._random.uniform(0.5, 4))
            self._last_fault = time.monotonic()
            self._origin.fault = Fault.NONE
            await self._origin.listen()

    async def _purges(self, end: float) -> None:
        poster = Client()
        while time.monotonic() < end:
            await asyncio.sleep(self._random.uniform(0.05, 0.5))
            path = f"/{self._random.choice(['long', 'vary', 'key', 'large'])}/{self._random.randrange(40)}"
            if self._random.random() < 0.15:
                await self._post(poster, f"/long/{self._random.randrange(200)}")
            else:
                await self._purge(path, self._random.choice(list(Lane)))
        poster.close()

    async def _post(self, poster: Client, path: str) -> None:
        version = self._origin.current(path)
        try:
            answer = await poster.ask(self._ports[0], "POST", path, {"Content-Length": "0"})
        except ClientError:
            return
        if answer.status == 204 and self._origin.current(path) > version:
            self._least.setdefault(path, []).append((time.monotonic() + 1.2, version + 1, Lane.SOFT))
            self.report.purges["by POST"] += 1

    async def _purge(self, path: str, lane: Lane) -> None:
        target = parse_target(f"http://soak.test{path}")
        names = {
            "URL": [url_mark(target)],
            "group": [group_mark(path)],
            "prefix": [prefix_mark(target), prefix_index_mark(target.host)],
            "host": [host_mark(target.host)],
            "everything": [EVERYTHING],
        }
        kinds = list(names) if path.startswith("/long") else ["URL", "prefix", "host", "everything"]
        weights = [0.02 if kind in {"host", "everything"} else 1.0 for kind in kinds]
        [kind] = self._random.choices(kinds, weights)
        version = self._origin.change(path)
        mark = Mark(int(time.time() * 1000) + 50, "soak")  # noqa: TID251 - marks are dated
        for key in written_keys(names[kind], lane):
            await asyncio.to_thread(self._workerd.store().put, key, value_of(key, mark).encode())
        self._least.setdefault(path, []).append((time.monotonic(), version, lane))
        del self._least[path][:-20]
        self.report.purges[f"{kind}, {lane.name.lower()}"] += 1

    async def _watch(self, began: float, end: float, *, show: bool) -> None:
        while time.monotonic() < end:
            self.report.rss_mib.append(_rss_mib(self._workerd.process.id))
            if show:
                self._show(time.monotonic() - began, end - began)
            await asyncio.sleep(min(1.0, max(0.0, end - time.monotonic())))

    def _show(self, seconds: float, total: float) -> None:
        report = self.report
        bar = "#" * int(seconds / total * _BAR)
        text = (
            f"\r[{bar:<{_BAR}}] {seconds:4.0f} s  {report.answers:>8,} answers  {len(report.wrong)} wrong  "
        )
        print(f"{text}{report.rss_mib[-1]:.0f} MiB  {self._origin.fault.value:<10}", end="", file=sys.stderr)


def _fields(kind: str, number: int) -> dict[str, str]:
    """Return what a client sends: fields that neither key nor Vary has keep a response from being stored."""
    if kind == "vary":
        return {"X-Language": f"l{number % 3}"}
    return {"X-User": f"u{number % 5}"} if kind in {"key", "private", "cookie"} else {}


def _rss_mib(pid: int) -> float:
    pages = int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1])
    return pages * 4096 / _MIB


def soak(seconds: float, *, clients: int = 50, seed: int = 1, show: bool = False) -> Report:
    """Run, and return what was seen."""
    return asyncio.run(_run(seconds, clients, seed, show=show))


async def _run(seconds: float, clients: int, seed: int, *, show: bool) -> Report:
    origin = Origin()
    await origin.listen()
    variables = {**_VARIABLES, "ORIGIN": f"http://127.0.0.1:{origin.port}"}
    with tempfile.TemporaryDirectory() as folder:
        source = inspected_source(Path(folder))
        workers = [Worker(name, source, main=INSPECTED, variables=variables) for name in _NAMES]
        flags = (*_V8_FLAGS, *INSPECTED_V8_FLAGS)
        workerd = await asyncio.to_thread(Workerd, Path(folder), workers, arguments=INSPECTOR, v8_flags=flags)
        with workerd:
            report = await _Soak(workerd, origin, seed).run(seconds, clients, show=show)
            workerd.process.check()
    await origin.refuse()
    await asyncio.sleep(_CLOSING_SECONDS)
    return report


def table(report: Report) -> str:
    """Return the summary."""
    ordered = sorted(report.latencies) or [0.0]
    rows = [
        (
            "answers",
            f"{report.answers:,} in {report.seconds:.0f} s, {report.answers / report.seconds:,.0f} a second",
        ),
        (
            "hits",
            f"{report.hits / max(report.answers, 1):.1%}; origin asked {report.origin_requests:,} times",
        ),
        (
            "latency",
            _latency(ordered),
        ),
        ("statuses", _listed(report.statuses)),
        ("reasons", _listed(report.details)),
        ("faults", _listed(report.faults)),
        ("purges", _listed(report.purges)),
        ("clients gone", f"{report.left:,}"),
        ("cut, shown so", f"{report.cut:,}"),
        ("memory", _memory(report.rss_mib)),
        *((f"held, {name}", str(held)) for name, held in report.held.items()),
        ("wrong", f"{len(report.wrong)}"),
        ("hanging", f"{len(report.hangs)}"),
        ("verdict", "good" if report.is_good else "MEMORY GREW" if report.grew else "BAD"),
    ]
    return "\n".join(f"{name:<14}{value}" for name, value in rows)


def _latency(ordered: Sequence[float]) -> str:
    median, late = ordered[len(ordered) // 2] * 1000, ordered[len(ordered) * 99 // 100] * 1000
    return f"median {median:.1f} ms, 99% {late:.0f} ms, longest {ordered[-1]:.1f} s"


def _listed(counts: Counter[str] | Counter[int]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in counts.most_common())


def _memory(rss: Sequence[float]) -> str:
    thirds = [rss[i * len(rss) // 3 : (i + 1) * len(rss) // 3] or [0.0] for i in range(3)]
    return (
        "workerd "
        + ", ".join(f"{statistics.median(t):.0f}" for t in thirds)
        + f" MiB by thirds, at most {max(rss):.0f}"
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run; return 0 if nothing was wrong."""
    parser = argparse.ArgumentParser(prog="scripts/soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0, help="how long (default: 10)")
    parser.add_argument("--clients", type=int, default=50, help="how many at once (default: 50)")
    parser.add_argument(
        "--seed", type=int, default=1, help="another one makes other faults and purges (default: 1)"
    )
    parser.add_argument(
        "--hits",
        type=int,
        metavar="N",
        help="instead: N hits of memory and KV, and what they leave behind",
    )
    parser.add_argument(
        "--log",
        type=int,
        nargs="?",
        const=-1,
        metavar="PURGES",
        help="instead: purge, so often at most, while the purge log's processes are killed and cut off",
    )
    options = parser.parse_args(arguments)
    if options.log:
        purges = max(0, options.log)
        found = soak_log(options.minutes * 60, purges=purges, seed=options.seed, show=True)
        print("\n" + "\n".join((log_table(found), *found.late[:20], *found.lost[:20])))
        return 0 if found.is_good else 1
    if options.hits:
        kept = hits(options.hits, show=True)
        print("\n" + "\n".join(map(str, kept)))
        return 0 if all(each.is_flat for each in kept) else 1
    report = soak(options.minutes * 60, clients=options.clients, seed=options.seed, show=True)
    print(f"\n{table(report)}")
    for line in (report.wrong + report.hangs)[:20]:
        print(f"  {line}")
    return 0 if report.is_good else 1


if __name__ == "__main__":
    sys.exit(main())
