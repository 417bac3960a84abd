"""What an isolate holds, counted from within: the Worker with `workers/inspected.py` in front of it."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import httpx

from scripts.runtime import paths
from scripts.runtime.workerd import Workerd

__all__ = ["INSPECTED", "INSPECTOR", "V8_FLAGS", "Holdings", "held_bytes", "inspected_source"]

INSPECTED = "inspected.py"
"""The main module of a Worker that can be inspected."""

INSPECTOR = ("--inspector-addr=127.0.0.1:0",)
"""Arguments of workerd, so that it tells what JavaScript's heap holds."""
V8_FLAGS = ("--expose-gc",)
"""So that what is garbage is collected first."""

_HEAP_USAGE = Path(__file__).parent / "workers" / "heap_usage.mjs"
_PATH = "/inspect-the-isolate"
_WAIT = "origin_sdk_edge.adapters.promises._Wait"
_OF_REQUESTS = (
    "_asyncio.Task",
    "_contextvars.Context",
    "builtins.coroutine",
    "builtins.frame",
    "builtins.generator",
    "builtins.method",
    "origin_sdk_edge.adapters.promises.Promised",
    _WAIT,
    "pyodide.webloop.PyodideFuture",
)
"""What a request makes and must not leave behind."""


def held_bytes(workerd: Workerd, worker: str) -> int:
    """Return what counts against the 128 MB of an isolate, in a workerd with `INSPECTOR` and `V8_FLAGS`.

    That is the wasm memory, which is Python's, and JavaScript's heap and buffers.
    """
    python = Holdings.of(workerd.url(worker))  # collects what is garbage first
    command = [str(paths.NODE), str(_HEAP_USAGE), workerd.inspector, worker]
    told = subprocess.run(command, capture_output=True, check=True, timeout=60, text=True)  # noqa: S603
    usage: dict[str, int] = json.loads(told.stdout)
    return python.wasm_bytes + usage["usedSize"] + usage["backingStorageSize"]


def inspected_source(folder: Path) -> Path:
    """Copy the Worker into ``folder``, with the module beside it that tells what is held."""
    source = folder / "inspected-worker"
    shutil.copytree(paths.WORKER, source, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(Path(__file__).parent / "workers" / INSPECTED, source)
    return source


@dataclass(frozen=True, slots=True)
class Holdings:
    """What an isolate holds after a garbage collection."""

    objects: int
    pending: int
    """How much waits for something: work that a request left behind, which ends in time or never."""
    wasm_bytes: int
    types: Counter[str]

    @classmethod
    def of(cls, url: str) -> Self:
        """Ask the Worker at ``url``, in a workerd with `V8_FLAGS`."""
        told: dict[str, Any] = httpx.get(url + _PATH, timeout=60, trust_env=False).raise_for_status().json()
        types = Counter(told["types"])
        return cls(told["objects"], told["pending_futures"] + types[_WAIT], told["wasm_bytes"], types)

    def left_by_requests(self, before: Holdings) -> Counter[str]:
        """Return how many objects more than ``before`` there are of the types that belong to requests."""
        return Counter(
            {name: more for name in _OF_REQUESTS if (more := self.types[name] - before.types[name])}
        )

    def count_left_by_requests(self, before: Holdings) -> int:
        """Return how many of those there are more, of the types that there are more of."""
        return sum(more for more in self.left_by_requests(before).values() if more > 0)
