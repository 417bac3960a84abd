"""What an isolate holds, counted from within: the Worker with `workers/inspected.py` in front of it."""

from __future__ import annotations

import shutil
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import httpx

from scripts.runtime import paths

__all__ = ["INSPECTED", "Holdings", "inspected_source"]

INSPECTED = "inspected.py"
"""The main module of a Worker that can be inspected."""

_PATH = "/inspect-the-isolate"
_OF_REQUESTS = (
    "_asyncio.Task",
    "_contextvars.Context",
    "builtins.coroutine",
    "builtins.frame",
    "builtins.generator",
    "builtins.method",
    "pyodide.webloop.PyodideFuture",
)
"""What a request makes and must not leave behind."""


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
    pending_futures: int
    wasm_bytes: int
    types: Counter[str]

    @classmethod
    def of(cls, url: str) -> Self:
        """Ask the Worker at ``url``."""
        told: dict[str, Any] = httpx.get(url + _PATH, timeout=60, trust_env=False).raise_for_status().json()
        return cls(told["objects"], told["pending_futures"], told["wasm_bytes"], Counter(told["types"]))

    def left_by_requests(self, before: Holdings) -> Counter[str]:
        """Return how many objects more than ``before`` there are of the types that belong to requests."""
        return Counter(
            {name: more for name in _OF_REQUESTS if (more := self.types[name] - before.types[name])}
        )
