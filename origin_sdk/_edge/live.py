"""A deployed Worker, tried through its public address: what a URL's cache does, and how soon a purge is seen.

It asks for one URL, purges that URL alone, and leaves a mark behind, which expires by itself.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from statistics import median
from typing import NamedTuple

from origin_sdk._edge.diagnosis import Finding, Grade
from origin_sdk._values.errors import OriginSdkError
from origin_sdk_wire.exposition import AwayOrigin

__all__ = ["Answer", "Counted", "Trial", "try_live"]

_HITS = 20
_STORE_SECONDS = 15.0
_PAUSE_SECONDS = 0.25
_HIT = re.compile(r";\s*hit\b")


@dataclass(frozen=True, slots=True)
class Answer:
    """One response: its status and fields, and how long it took."""

    status: int
    fields: Mapping[str, str]
    seconds: float

    @property
    def cache_status(self) -> str:
        """What the cache says (RFC 9211); empty without one."""
        return self.fields.get("cache-status", "")

    @property
    def is_hit(self) -> bool:
        """Whether it came out of the store."""
        return bool(_HIT.search(self.cache_status))

    @property
    def location(self) -> str:
        """The location of Cloudflare's that answered, by its code, if it tells."""
        return self.fields.get("cf-ray", "").rpartition("-")[2]


class Counted(NamedTuple):
    """What the Worker has counted: requests, keys of KV, and which origins gave no answer last."""

    requests: int
    keys: int
    away: Sequence[AwayOrigin] = ()


@dataclass(frozen=True)
class Trial:
    """What a trial is made with.

    ``ask`` requests the URL once, ``purge`` purges it hard, ``count`` returns what the Worker has counted.
    Each may raise :class:`OriginSdkError`. ``bound_seconds`` is within which every location honours a purge.
    """

    url: str
    ask: Callable[[], Answer]
    purge: Callable[[], object]
    count: Callable[[], Counted]
    pause: Callable[[float], None]
    monotonic: Callable[[], float]
    bound_seconds: float


def try_live(trial: Trial) -> Iterator[Finding]:
    """Yield what is found, each as soon as it is; it ends where the next trial makes no sense."""
    try:
        yield from _tried(trial)
    except OriginSdkError as error:
        yield Finding("live", Grade.BAD, str(error))


def _tried(trial: Trial) -> Iterator[Finding]:
    answer = trial.ask()
    if not answer.cache_status:
        yield Finding(
            "address",
            Grade.BAD,
            f"{trial.url} answered {answer.status} without Cache-Status: the request doesn't reach the "
            "Worker; check its routes, and what is in front of it",
        )
        return
    at = f" at {answer.location}" if answer.location else ""
    yield Finding("address", Grade.GOOD, f"the Worker answers{at}: {answer.status}, in {_ms(answer.seconds)}")
    answer, seconds = _wait(trial, _STORE_SECONDS, is_hit=True)
    if not answer.is_hit:
        yield Finding(
            "store",
            Grade.BAD,
            f"no hit within {_STORE_SECONDS:.0f} s, the last response says {answer.cache_status!r}: give the "
            f"URL of a response that may be stored; `origin-sdk why {trial.url}` tells what to change",
        )
        return
    yield Finding("store", Grade.GOOD, f"a hit after {seconds:.1f} s")
    times = sorted(trial.ask().seconds for _ in range(_HITS))
    yield Finding(
        "latency", Grade.GOOD, f"{_HITS} hits: median {_ms(median(times))}, slowest {_ms(times[-1])}"
    )
    yield from _purged(trial)
    yield from _counted(trial)
    yield Finding(
        "left behind",
        Grade.GOOD,
        f"one mark of {trial.url}, which expires by itself; nothing else was changed",
    )


def _purged(trial: Trial) -> Iterator[Finding]:
    trial.purge()
    answer, seconds = _wait(trial, trial.bound_seconds, is_hit=False)
    if answer.is_hit:
        yield Finding(
            "purge",
            Grade.BAD,
            f"still a hit {seconds:.0f} s after the purge, which has to be seen within "
            f"{trial.bound_seconds:.0f} s: does EDGE_CACHE_NAMESPACE_ID name the namespace that the Worker "
            "binds, and is the URL the one that it sees (origin-sdk explain)?",
        )
        return
    bound = f"every location sees it within {trial.bound_seconds:.0f} s"
    yield Finding("purge", Grade.GOOD, f"seen here after {seconds:.1f} s; {bound}")
    answer, seconds = _wait(trial, _STORE_SECONDS, is_hit=True)
    yield (
        Finding("store", Grade.GOOD, f"stored again after {seconds:.1f} s")
        if answer.is_hit
        else Finding("store", Grade.WARNING, f"not stored again yet: {answer.cache_status!r}")
    )


def _counted(trial: Trial) -> Iterator[Finding]:
    try:
        counted = trial.count()
    except OriginSdkError as error:
        yield Finding("counts", Grade.WARNING, str(error))
        return
    told = f"of {counted.requests} requests and {counted.keys} keys of KV where it answered"
    yield Finding("counts", Grade.GOOD, told)
    for away in counted.away:
        tries = "1 try" if away.tries == 1 else f"{away.tries} tries"
        since, last = _clock(away.since_ms), _clock(away.last_ms)
        yield Finding(
            "origins",
            Grade.WARNING,
            f"{away.origin} has given no answer since {since} UTC ({tries}, the last at {last}): {away.why}",
        )
    if not counted.away:
        yield Finding("origins", Grade.GOOD, "each that was asked there answered when it was asked last")


def _clock(at_ms: int) -> str:
    return f"{datetime.fromtimestamp(at_ms / 1000, UTC):%Y-%m-%d %H:%M:%S}"


def _wait(trial: Trial, most_seconds: float, *, is_hit: bool) -> tuple[Answer, float]:
    """Ask until a response is a hit, or none, or time is up; return the last, and how long that took."""
    began = trial.monotonic()
    while True:
        answer = trial.ask()
        seconds = trial.monotonic() - began
        if answer.is_hit is is_hit or seconds >= most_seconds:
            return answer, seconds
        trial.pause(_PAUSE_SECONDS)


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms"
