"""Load by `wrk`: how many requests a server answers, and how much CPU time its process takes for each."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from origin_sdk._development.process import Process, ProcessError

__all__ = ["HOST", "TOKENS_A_RUN", "Load", "Target", "cpu_seconds", "loads"]

HOST = "bench.test"
_CONNECTIONS = 8
_LONGEST_SECONDS = 10
"""A run without an answer is made again with twice its time, up to this."""
_MARGIN = 100
"""So many paths are left out between two runs: wrk asks for more than it waits for."""
_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
_DONE = re.compile(r"(\d+) requests in ([\d.]+)(ms|s|m)\b")
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0}
_FAILED = re.compile(r"Non-2xx or 3xx responses: \d+|Socket errors: .+")
_PATHS, _CONTENT, _TOKENS = (
    Path(__file__).with_name(f"{name}.lua") for name in ("paths", "content", "tokens")
)
TOKENS_A_RUN = 500


@dataclass(slots=True)
class Target:
    """What is put under load: a path of a server, or the paths below it, 0 to ``paths`` in a circle.

    With ``paths`` = 0 no path comes twice; with ``None`` the path itself is all there is.
    """

    name: str
    base: str
    path: str
    process: Process
    paths: int | None = None
    at: int = 0
    method: str = "GET"
    fields: Sequence[tuple[str, str]] = ()
    content: str = ""
    tokens: Path | None = None
    """A file of bearer tokens, one a line. Each is sent once: a run takes ``TOKENS_A_RUN`` and ends."""

    @property
    def url(self) -> str:
        """The path that comes next."""
        return f"{self.base}{self.path}" if self.paths is None else f"{self.base}{self.path}/{self.at}"


@dataclass(frozen=True, slots=True)
class Load:
    """What came of one run."""

    requests_per_second: float
    cpu_microseconds: float
    """CPU time of the server's process for each request."""

    @classmethod
    def on(cls, target: Target, seconds: int) -> Load:
        """Put ``target`` under load. Raises ProcessError where anything but 2xx and 3xx comes back."""
        before = cpu_seconds(target.process)
        output = _wrk(target, seconds)
        used = cpu_seconds(target.process) - before
        done = _DONE.search(output)
        failed = _FAILED.search(output)
        if not done or failed:
            raise ProcessError(f"{target.name}: {failed[0] if failed else 'no answers'}\n{output}")
        requests = int(done[1])
        if target.tokens:
            target.at += TOKENS_A_RUN
        elif target.paths is not None:
            target.at = (target.at + requests + _MARGIN) % (target.paths or 1 << 62)
        if not requests:
            if seconds > _LONGEST_SECONDS:
                raise ProcessError(f"{target.name}: no answers in {seconds} s\n{output}")
            return cls.on(target, seconds * 2)  # the machine is busy
        return cls(requests / (float(done[2]) * _UNITS[done[3]]), used / requests * 1e6)


def loads(targets: Sequence[Target], seconds: int, *, at_once: int) -> list[Load]:
    """Put targets under load, so many at the same time, and return what came of each."""
    with ThreadPoolExecutor(at_once) as pool:
        return list(pool.map(lambda target: Load.on(target, seconds), targets))


def _wrk(target: Target, seconds: int) -> str:
    command = ["wrk", "-t1", f"-c{_CONNECTIONS}", f"-d{seconds}s"]
    for name, value in (("Host", HOST), *target.fields):
        command += ["-H", f"{name}: {value}"]
    if target.tokens:
        arguments = [str(target.at), str(TOKENS_A_RUN), str(target.tokens)]
        command += ["-s", str(_TOKENS), target.base + target.path, "--", *arguments]
    elif target.paths is not None:
        command += ["-s", str(_PATHS), target.base + target.path, "--", str(target.at), str(target.paths)]
    elif target.method != "GET":
        command += ["-s", str(_CONTENT), target.base + target.path, "--", target.method, target.content]
    else:
        command.append(target.base + target.path)
    # The bench's own arguments, no shell; wrk is Debian's.
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout  # noqa: S603


def cpu_seconds(process: Process) -> float:
    """Return the CPU time that a process has taken so far, with that of its children that have ended."""
    ids = [process.id, *_children(process.id)]
    return sum(_ticks(each) for each in ids) / _TICKS_PER_SECOND


def _children(process_id: int) -> list[int]:
    text = Path(f"/proc/{process_id}/task/{process_id}/children").read_text(encoding="utf-8")
    return [int(child) for child in text.split()]


def _ticks(process_id: int) -> int:
    fields = Path(f"/proc/{process_id}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])
