"""Start-up: from the start of a fresh workerd with one Worker to that Worker's first response.

It is measured twice, each time alike for both sides:

- as deployed: from the Worker's memory as Cloudflare saves it at a deploy, after the Worker's imports;
- from nothing of its own: from the memory of an interpreter in which nothing was imported, so that imports,
  and with them the compilation of the sources, count. That is what the deploy itself meets.
"""

from __future__ import annotations

import shutil
import time
from dataclasses import dataclass
from pathlib import Path

import httpx

from origin_sdk._development.process import ProcessError
from scripts.benches.load import HOST, cpu_seconds
from scripts.runtime.build import built
from scripts.runtime.workerd import Workerd
from scripts.runtime.workerd_config import Worker

__all__ = ["Start", "import_milliseconds"]

_TIMEOUT_SECONDS = 60.0
_TIMED = Path(__file__).parent / "workers" / "timed_imports.py"


@dataclass(frozen=True, slots=True)
class Start:
    """One start."""

    milliseconds: float
    cpu_milliseconds: float

    @classmethod
    def of(cls, worker: Worker, folder: Path, path: str, snapshots: Path | None) -> Start:
        """Start a workerd with ``worker``, ask it for ``path``, and end it."""
        began = time.perf_counter()
        with Workerd(folder, [worker], snapshots=snapshots) as workerd:
            _get(workerd.url(worker.name) + path)
            seconds = time.perf_counter() - began
            used = cpu_seconds(workerd.process)
        return cls(seconds * 1000, used * 1000)


def import_milliseconds(folder: Path) -> float:
    """Return how long a fresh isolate takes to import the Worker's modules."""
    source = folder / "source"
    shutil.copytree(built(), source)
    shutil.copy(_TIMED, source)
    with Workerd(folder, [Worker("timed", source, main=_TIMED.name)]) as workerd:
        return float(_get(workerd.url("timed")))


def _get(url: str) -> str:
    response = httpx.get(url, headers={"Host": HOST}, timeout=_TIMEOUT_SECONDS, trust_env=False)
    if response.status_code != httpx.codes.OK:
        raise ProcessError(f"{url} answered {response.status_code} to its first request")
    return response.text
