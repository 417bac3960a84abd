"""Running edges: Workers of this cache in one workerd, and what their tests look at."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import TypeAlias, TypeVar

from scripts.runtime import snapshot
from scripts.runtime.workerd import Workerd
from scripts.runtime.workerd_config import Json, Namespace, StandIn, Worker
from tests.runtime.client import Response, exchange
from tests.runtime.origin import ScriptedOrigin

_PATIENCE_SECONDS = 40.0
_POLL_SECONDS = 0.02
_DETAIL = re.compile(r"; detail=([a-z-]+)")
_numbers = count(1)
_Seen = TypeVar("_Seen")

Variables: TypeAlias = Mapping[str, Mapping[str, Json]]
"""The variables of each Worker, by its name."""

HOST = "api.test"
"""The host that all requests are for, so that Workers on different ports share keys."""

QUIET: Mapping[str, Json] = {"BREAKER_FAILURES": 0, "LIFETIME_JITTER": 0}
"""One test's failures aren't to open the breaker for the next; lifetimes are to be what tests say."""


@contextmanager
def running(
    folder: Path,
    origin: ScriptedOrigin,
    workers: Variables,
    *,
    store: Namespace | StandIn | None = None,
) -> Iterator[Workerd]:
    """Run a Worker for each name, with these variables beside `QUIET`, over one KV."""
    made = [
        Worker(
            name,
            variables={"ORIGIN": origin.url, **QUIET, **variables},
            stores={"CACHE": store or Namespace()},
        )
        for name, variables in workers.items()
    ]
    with Workerd(folder, made, snapshots=snapshot.deployed()) as workerd:
        yield workerd


def new_path(name: str = "t") -> str:
    """A path that no other test uses."""
    return f"/{name}-{next(_numbers)}"


def key_of(path: str) -> str:
    """The KV key of a path's response."""
    return f"r1/http/{HOST}{path}"


def get(
    url: str, path: str, *fields: tuple[str, str], method: str = "GET", body: bytes = b"", host: str = HOST
) -> Response:
    """Send a request for a path of `HOST` to the Worker at `url`."""
    framing = [("Content-Length", str(len(body)))] if body else []
    lines = [("Host", host), *fields, *framing, ("Connection", "close")]
    text = "".join(f"{name}: {value}\r\n" for name, value in lines)
    return exchange(url, f"{method} {path} HTTP/1.1\r\n{text}\r\n".encode("latin-1") + body)


def detail(response: Response) -> str:
    """Why the cache did what it did."""
    found = _DETAIL.search(response.value("Cache-Status") or "")
    return found[1] if found else ""


def is_hit(response: Response) -> bool:
    """Whether the cache answered without asking the origin."""
    return (response.value("Cache-Status") or "").startswith("EdgeCache; hit")


def eventually(look: Callable[[], _Seen], what: str, seconds: float = _PATIENCE_SECONDS) -> _Seen:
    """Look until there is something to see, and return it. Raises AssertionError if that takes too long."""
    deadline = time.monotonic() + seconds
    while not (seen := look()):
        assert time.monotonic() < deadline, f"never came, in {seconds:g} s: {what}"
        time.sleep(_POLL_SECONDS)
    return seen


def within(seconds: float, look: Callable[[], object]) -> float:
    """Return after how many seconds `look` saw something; raises AssertionError after `seconds`."""
    began = time.monotonic()
    while not look():
        assert time.monotonic() - began < seconds, f"not within {seconds:g} s"
        time.sleep(_POLL_SECONDS)
    return time.monotonic() - began
