"""Ends the programs that tests and scripts have started, should those end without a chance to do so.

Whoever is killed by SIGKILL, by the kernel for want of memory or by a CI that is out of patience, runs no
code at its end. So the first program that a process starts brings along a watchdog: a process in a session
of its own, which is told through a pipe what process groups there are, and ends them once its parent is gone.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from threading import Lock

__all__ = ["guard", "release"]

_POLL_SECONDS = 0.5
_GRACE_SECONDS = 3.0

_lock = Lock()
_pipe: tuple[int, int] | None = None
"""The process that started the watchdog, and where it is told of groups."""


def guard(group: int) -> None:
    """Have a process group ended when this process is."""
    _tell(f"+{group}\n")


def release(group: int) -> None:
    """Forget a group: it has ended, and its number may come again."""
    _tell(f"-{group}\n")


def _tell(line: str) -> None:
    global _pipe  # noqa: PLW0603 - one for a process
    with _lock:
        if _pipe is None or _pipe[0] != os.getpid():  # a forked process has that of its parent
            _pipe = os.getpid(), _start()
    with contextlib.suppress(BrokenPipeError):
        os.write(_pipe[1], line.encode())


def _start() -> int:
    reading, writing = os.pipe()
    command = [sys.executable, "-S", "-E", str(Path(__file__)), str(os.getpid())]
    subprocess.Popen(  # noqa: S603 - our own arguments, no shell
        command, stdin=reading, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    ).returncode = 0  # it outlives whoever would wait for it
    os.close(reading)
    return writing


def _lines(parent: int) -> Iterator[str]:
    """Yield what comes through the pipe until the parent has gone."""
    rest = ""
    while os.getppid() == parent:
        if not select.select([0], [], [], _POLL_SECONDS)[0]:
            continue
        if not (read := os.read(0, 4096)):
            return
        *whole, rest = (rest + read.decode()).split("\n")
        yield from whole


def _end(groups: set[int]) -> None:
    for number in (signal.SIGTERM, signal.SIGCONT):
        for group in groups:
            _signal(group, number)
    deadline = time.monotonic() + _GRACE_SECONDS
    while any(_signal(group, 0) for group in groups) and time.monotonic() < deadline:
        time.sleep(0.05)
    for group in groups:
        _signal(group, signal.SIGKILL)


def _signal(group: int, number: int) -> bool:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)
        return True
    return False


def main() -> None:
    """Watch over the process whose id is the first argument."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    groups: set[int] = set()
    for line in _lines(int(sys.argv[1])):
        (groups.add if line[0] == "+" else groups.discard)(int(line[1:]))
    _end(groups)


if __name__ == "__main__":
    main()
