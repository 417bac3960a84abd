"""`scripts/bench edge`: the Worker with its default settings against the least that does its job, in workerd.

Everything that is compared runs in one workerd process, over one KV, and takes turns in each round:

- memory hit: one URL, in the isolate's memory;
- KV hit: 10,000 URLs in a circle, more than memory holds, so that each is read from KV, with its purge marks;
- KV hit with the log: the same by a Worker that has a purge log, so that no mark is read;
- KV hit without marks: one URL, memory switched off, so that each request reads one key of KV as (b) does;
- KV hit of 10 KB, open, authenticated and encrypted: the same, to show what a sealed store costs;
- stale hit: one URL, stale within stale-while-revalidate, whose origin fails, so that the refresh rests;
- miss: URLs that nobody has asked for before.

And against itself without what it counts; if ``--only`` asks for it, with hooks, and with what rules add.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import time
from base64 import b64encode
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx

from origin_sdk._development.process import ProcessError
from origin_sdk._edge.seals import ClientSeals
from origin_sdk_wire.fields import combined
from origin_sdk_wire.freshness import freshness_of
from origin_sdk_wire.prepared import prepared_for
from origin_sdk_wire.record import Record, head_of, metadata_for
from origin_sdk_wire.seals import Seal, parse_store_keys
from origin_sdk_wire.settings import Rule, Settings
from scripts.benches import nginx
from scripts.benches.cost import Requests, cost_rows, measure_usage
from scripts.benches.counting import Turns, counting_rows
from scripts.benches.features import feature_rows
from scripts.benches.hooked import hook_rows
from scripts.benches.load import HOST, Load, Target, loads
from scripts.benches.rows import AtLeast, AtMost, Row, row
from scripts.benches.start_up import Start, import_milliseconds
from scripts.runtime.snapshot import save_memory
from scripts.runtime.workerd import Workerd
from scripts.runtime.workerd_config import Json, Worker

__all__ = ["add_arguments", "measure"]

_WORKERS = Path(__file__).parent / "workers"
_BODY = "x" * 2048

_PARTS = ("load", "start", "cost", "counting")
_HOOKS, _FEATURES = "hooks", "features"
_MEMORY_HIT, _KV_HIT, _KV_ALONE = "memory hit", "KV hit", "KV hit without marks"
_KV_LOG = "KV hit with the log"
_STALE_HIT, _MISS = "stale hit", "miss"
_KV_OPEN, _KV_AUTHENTICATED, _KV_ENCRYPTED = (
    f"KV hit of 10 KB, {how}" for how in ("open", "sealed: authenticated", "sealed: encrypted")
)
_SEALED_BODY = b"0123456789abcdef" * 640
_STORE_KEY = "bench:" + b64encode(bytes(range(32))).decode()
_LEAST, _LEAST_KV, _JAVASCRIPT = (
    "(a) least Python Worker",
    "(b) least Python over KV",
    "(c) JavaScript over KV",
)
_NGINX_HIT, _NGINX_MISS = "(d) nginx hit", "(d) nginx miss"


@dataclass(frozen=True, slots=True)
class _Comparison:
    name: str
    against: str
    least: float | None = None
    """How many times the baseline's requests a second there are to be."""


_COMPARISONS = (
    _Comparison(_MEMORY_HIT, _JAVASCRIPT, 1.2),
    _Comparison(_MEMORY_HIT, _LEAST),
    _Comparison(_MEMORY_HIT, _NGINX_HIT),
    _Comparison(_KV_HIT, _LEAST_KV, 0.85),
    _Comparison(_KV_LOG, _LEAST_KV, 1.0),
    _Comparison(_KV_ALONE, _LEAST_KV, 0.85),
    _Comparison(_KV_ALONE, _JAVASCRIPT),
    _Comparison(_KV_AUTHENTICATED, _KV_OPEN),
    _Comparison(_KV_ENCRYPTED, _KV_OPEN),
    _Comparison(_STALE_HIT, _JAVASCRIPT),
    _Comparison(_MISS, _NGINX_MISS),
)
_MOST_START_UP = 1.2
_BEGINNINGS = 4
_AS_DEPLOYED, _FROM_NOTHING = "start as deployed", "start from nothing"
_START_PARTS = (_AS_DEPLOYED, _FROM_NOTHING)


@dataclass(frozen=True, slots=True)
class _Extent:
    """How much is measured."""

    warm_ups: int
    rounds: int
    seconds: int
    starts: int
    counting_rounds: int
    feature_rounds: int
    at_once: int
    """How many targets are under load at the same time: one, where the numbers are to be believed."""
    urls: int
    requests: Requests


_FULL = _Extent(
    warm_ups=1,
    rounds=7,
    seconds=1,
    starts=7,
    counting_rounds=31,
    feature_rounds=4,
    at_once=1,
    urls=10_000,
    requests=Requests(2000, 12.0, 100, 6.0),
)
_QUICK = _Extent(
    warm_ups=0,
    rounds=1,
    seconds=1,
    starts=1,
    counting_rounds=1,
    feature_rounds=1,
    at_once=4,
    urls=500,
    requests=Requests(100, 0.5, 10, 0.0),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Say which parts can be chosen."""
    parser.add_argument(
        "--only",
        choices=(*_PARTS, _HOOKS, _FEATURES),
        action="append",
        help=f"measure this part (default: all but {_HOOKS} and {_FEATURES})",
    )


def measure(options: argparse.Namespace) -> list[Row]:
    """Measure all parts, or those of ``--only``."""
    extent = _QUICK if options.quick else _FULL
    parts = options.only or _PARTS
    rows: list[Row] = []
    with TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name)
        if "load" in parts and _can_load():
            rows += _load_rows(folder, extent)
        if "start" in parts:
            rows += _start_rows(folder, extent)
        if "cost" in parts:
            rows += cost_rows(measure_usage(folder, _WORKERS, extent.requests))
        if "counting" in parts and _can_load():
            rows += _counting_rows(folder, extent)
        if _HOOKS in parts and _can_load():
            rows += _hook_rows(folder, extent)
        if _FEATURES in parts and _can_load():
            rows += feature_rows(folder, extent.feature_rounds)
    return rows


def _can_load() -> bool:
    if shutil.which("wrk"):
        return True
    _say("wrk is missing (apt-get install wrk): no rows for hits and misses")
    return False


def _say(text: str) -> None:
    print(f"scripts/bench: {text}", file=sys.stderr)


def _counting_rows(folder: Path, extent: _Extent) -> list[Row]:
    with Workerd(folder / "counted-origin", [Worker("origin", _WORKERS, main="origin.js")]) as behind:
        return counting_rows(
            folder,
            behind.url("origin"),
            lambda workerd: _fill(workerd, 1),
            Turns(extent.warm_ups, extent.counting_rounds, extent.at_once),
        )


def _hook_rows(folder: Path, extent: _Extent) -> list[Row]:
    with Workerd(folder / "hooked-origin", [Worker("origin", _WORKERS, main="origin.js")]) as behind:
        return hook_rows(folder, behind.url("origin"), lambda workerd: _fill(workerd, 1), extent.rounds)


# Load


def _load_rows(folder: Path, extent: _Extent) -> list[Row]:
    runs: dict[str, list[Load]] = {}
    with _targets(folder, extent) as targets:
        for _ in range(extent.warm_ups + extent.rounds):
            for target, load in zip(
                targets, loads(targets, extent.seconds, at_once=extent.at_once), strict=True
            ):
                runs.setdefault(target.name, []).append(load)
        _check(targets)
    runs = {name: own[extent.warm_ups :] for name, own in runs.items()}
    rates = {name: [load.requests_per_second for load in own] for name, own in runs.items()}
    cpu = {name: [load.cpu_microseconds for load in own] for name, own in runs.items()}
    return [
        *_compared("load", "requests/s", rates, {c: AtLeast(c.least) for c in _COMPARISONS if c.least}),
        *_compared("CPU", "µs/request", cpu, {c: AtMost(1 / c.least) for c in _COMPARISONS if c.least}),
    ]


def _compared(
    part: str,
    unit: str,
    values: Mapping[str, Sequence[float]],
    aims: Mapping[_Comparison, AtLeast | AtMost],
) -> list[Row]:
    known = [each for each in _COMPARISONS if each.against in values]
    rows = [
        row(
            part,
            each.name,
            unit,
            values[each.name],
            against=each.against,
            baseline=values[each.against],
            aim=aims.get(each),
        )
        for each in known
    ]
    return rows + [
        row(part, name, unit, own) for name, own in values.items() if name not in _compared_names(known)
    ]


def _compared_names(comparisons: Sequence[_Comparison]) -> set[str]:
    return {each.name for each in comparisons}


@contextmanager
def _targets(folder: Path, extent: _Extent) -> Iterator[list[Target]]:
    with ExitStack() as stack:
        behind = stack.enter_context(
            Workerd(folder / "origin", [Worker("origin", _WORKERS, main="origin.js")])
        )
        origin = behind.url("origin")
        workerd = stack.enter_context(Workerd(folder / "edge", _workers(origin)))
        _begin_log(workerd)
        _fill(workerd, extent.urls)
        targets = _worker_targets(workerd, extent)
        if nginx.PROGRAM:
            server = nginx.Nginx(folder / "nginx", origin)
            stack.callback(server.process.stop)
            targets += [
                Target(_NGINX_HIT, server.url, "/p/0", server.process),
                Target(_NGINX_MISS, server.url, "/miss", server.process, 0),
            ]
        else:
            _say("nginx is missing (apt-get install nginx): no rows for it")
        yield targets


def _workers(origin: str) -> list[Worker]:
    variables: dict[str, Json] = {"ORIGIN": origin}
    return [
        Worker("edge", variables=variables),
        Worker("with-log", variables=variables, log="with-log"),
        Worker("without-memory", variables={**variables, "MEMORY_BYTES": 0}),
        Worker("sealed", variables={**variables, "MEMORY_BYTES": 0, "STORE_KEYS": _STORE_KEY}),
        Worker("least", _WORKERS / "least"),
        Worker("least-kv", _WORKERS / "least_kv"),
        Worker("javascript", _WORKERS, main="kv.js"),
    ]


def _worker_targets(workerd: Workerd, extent: _Extent) -> list[Target]:
    process, urls = workerd.process, extent.urls
    edge, without_memory = workerd.url("edge"), workerd.url("without-memory")
    return [
        Target(_MEMORY_HIT, edge, "/hot/0", process),
        Target(_JAVASCRIPT, workerd.url("javascript"), "/p/0", process),
        Target(_LEAST, workerd.url("least"), "/p/0", process),
        Target(_KV_HIT, edge, "/p", process, urls),
        Target(_LEAST_KV, workerd.url("least-kv"), "/p", process, urls),
        Target(_KV_LOG, workerd.url("with-log"), "/p", process, urls),
        Target(_KV_ALONE, without_memory, "/hot/0", process),
        Target(_KV_OPEN, without_memory, f"/{Seal.NONE}", process),
        Target(_KV_AUTHENTICATED, workerd.url("sealed"), f"/{Seal.AUTHENTICATE}", process),
        Target(_KV_ENCRYPTED, workerd.url("sealed"), f"/{Seal.ENCRYPT}", process),
        Target(_STALE_HIT, edge, "/stale", process),
        Target(_MISS, edge, "/miss", process, 0),
    ]


def _check(targets: Sequence[Target]) -> None:
    """Make sure that what was measured is what the rows call it."""
    for target in targets:
        expected = {_MISS: "fwd=uri-miss", _STALE_HIT: "detail=stale-while-revalidate"}.get(
            target.name, "hit"
        )
        response = httpx.get(target.url, headers={"Host": HOST}, trust_env=False).raise_for_status()
        shown = response.headers.get("cache-status")
        if shown is not None and expected not in shown:
            raise ProcessError(f"{target.name}: the response came with {shown!r}")


def _begin_log(workerd: Workerd) -> None:
    """Have the purge log list KV: it vouches for what is stored from then on."""
    for _ in range(_BEGINNINGS):
        httpx.get(f"{workerd.url('with-log')}/begin", headers={"Host": HOST}, trust_env=False)
        time.sleep(1.2)


def _fill(workerd: Workerd, urls: int) -> None:
    """Put into KV what the Workers find there: this cache's records, and plain values."""
    fresh, stale = _metadata(0), _metadata(600)
    host = f"r1/http/{HOST}"
    for prefix, count, metadata in (
        (f"{host}/p/", urls, fresh),
        (f"{host}/hot/", 1, fresh),
        ("plain/", urls, None),
    ):
        for begin in range(0, count, 500):
            asked = {
                "prefix": prefix,
                "from": begin,
                "to": min(begin + 500, count),
                "value": _BODY,
                "metadata": metadata,
            }
            url = f"{workerd.url('javascript')}/fill"
            httpx.post(url, json=asked, timeout=60, trust_env=False).raise_for_status()
    workerd.store().put(f"{host}/stale", _BODY.encode(), metadata=stale)
    seals = ClientSeals(parse_store_keys(_STORE_KEY))
    for seal in Seal:
        key = f"{host}/{seal}"
        sealed, value = seals.closed(seal, key, _metadata(0, len(_SEALED_BODY)), _SEALED_BODY)
        workerd.store().put(key, value, metadata=sealed)


def _metadata(age_seconds: int, body_bytes: int = len(_BODY)) -> dict[str, Json]:
    """Return the metadata of a response as the Worker writes it by the default settings."""
    record, rule, settings = replace(_record(age_seconds), body_bytes=body_bytes), Rule(), Settings()
    freshness = freshness_of(record, combined(record.fields), rule, settings)
    metadata, _ = metadata_for(head_of(record), prepared_for(freshness, rule, settings))
    found: dict[str, Json] = json.loads(metadata)
    return found


def _record(age_seconds: int) -> Record:
    """Return the record of a response as the origin gives it, stored some time ago."""
    now_ms = time.time_ns() // 1_000_000 - age_seconds * 1000
    window = ", stale-while-revalidate=86400" if age_seconds else ""
    lifetime = 60 if age_seconds else 86_400
    fields = (
        ("content-type", "application/json"),
        ("etag", '"v1"'),
        ("cache-control", f"public, max-age={lifetime}{window}"),
        ("cache-groups", '"products"'),
        ("date", "Mon, 23 Nov 2026 02:45:23 GMT"),
        ("x-request-id", "5d41402abc4b2a76"),
    )
    return Record(200, now_ms, now_ms, 0, fields, ("products",), len(_BODY))


# Start-up


def _start_rows(folder: Path, extent: _Extent) -> list[Row]:
    folder /= "start"
    with Workerd(folder / "origin", [Worker("origin", _WORKERS, main="origin.js")]) as behind:
        own = Worker("edge", variables={"ORIGIN": behind.url("origin")})
        workers = (own, Worker("least", _WORKERS / "least"))
        saved = {worker.name: save_memory(worker, folder / f"saved-{worker.name}") for worker in workers}
        cases = [
            (part, worker, snapshots)
            for part in _START_PARTS
            for worker in workers
            for snapshots in [saved[worker.name] if part == _AS_DEPLOYED else None]
        ]
        starts: dict[tuple[str, str], list[Start]] = {}
        for worker in workers:  # fills KV, so that the first response of each other start is a KV hit
            Start.of(worker, folder / worker.name, "/p/0", saved[worker.name])
        for _ in range(extent.warm_ups + extent.starts):
            for part, worker, snapshots in cases:
                start = Start.of(worker, folder / worker.name, "/p/0", snapshots)
                starts.setdefault((part, worker.name), []).append(start)
        starts = {case: own[extent.warm_ups :] for case, own in starts.items()}
    imports = [import_milliseconds(folder / f"imports-{turn}") for turn in range(extent.starts)]
    return [
        *(each for part in _START_PARTS for each in _start_part(part, starts)),
        row(_FROM_NOTHING, "the Worker's imports alone", "ms", imports),
    ]


def _start_part(part: str, starts: Mapping[tuple[str, str], Sequence[Start]]) -> Iterator[Row]:
    own, least = starts[part, "edge"], starts[part, "least"]
    for unit, of in (("ms", _milliseconds), ("ms of CPU", _cpu_milliseconds)):
        baseline, aim = [of(start) for start in least], AtMost(_MOST_START_UP)
        yield row(
            part,
            "to the first KV hit",
            unit,
            [of(s) for s in own],
            against=_LEAST,
            baseline=baseline,
            aim=aim,
        )
        yield row(part, _LEAST, unit, baseline)


def _milliseconds(start: Start) -> float:
    return start.milliseconds


def _cpu_milliseconds(start: Start) -> float:
    return start.cpu_milliseconds
