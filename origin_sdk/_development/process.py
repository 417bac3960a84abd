"""Start a program, wait until it is ready, and stop it together with everything that it started.

It ends with the process that started it, however that ends: see :mod:`origin_sdk._development.watchdog`.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Self, TypeVar

from origin_sdk._development import watchdog

_POLL_SECONDS = 0.02
_LOG_LINES_SHOWN = 20

_Answer = TypeVar("_Answer")


class ProcessError(Exception):
    """A program ended, or did not get ready in time. The message shows the end of its log."""


class Process:
    """A running program in a process group of its own. Its output goes to the file `log`."""

    def __init__(
        self,
        name: str,
        arguments: Sequence[str | Path],
        *,
        log: Path,
        folder: Path,
        environment: Mapping[str, str] | None = None,
        inherited: Sequence[int] = (),
        grace_seconds: float = 5.0,
    ) -> None:
        """Start the program in `folder`, `environment` added to this one, with no standard input.

        The name is what messages call it, `inherited` are file descriptors that it
        keeps, and `grace_seconds` is the time that it has to end when it is asked to.
        """
        self.log = log
        self._name = name
        self._grace_seconds = grace_seconds
        self._stopped = False
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("wb") as output:
            self._popen = subprocess.Popen(  # noqa: S603 - the callers' own arguments, no shell
                arguments,
                cwd=folder,
                env={**os.environ, **(environment or {})},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                pass_fds=inherited,
            )
        watchdog.guard(self.id)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def id(self) -> int:
        """The process id, which is the id of the group too."""
        return self._popen.pid

    def output(self) -> str:
        """Everything that the program has printed."""
        return self.log.read_text(encoding="utf-8", errors="replace")

    def check(self) -> None:
        """Raise ProcessError if the program has ended."""
        if (code := self._popen.poll()) is not None:
            raise ProcessError(self._report(f"ended by itself, with exit code {code}"))

    def wait_for(self, ask: Callable[[], _Answer | None], *, what: str, seconds: float) -> _Answer:
        """Ask until the answer is not None. Raises ProcessError where the program or the time ends before."""
        deadline = time.monotonic() + seconds
        while (answer := ask()) is None:
            self.check()
            if time.monotonic() > deadline:
                raise ProcessError(self._report(f"has not come to {what} in {seconds:g} s"))
            time.sleep(_POLL_SECONDS)
        return answer

    def stop(self) -> None:
        """Ask the whole group to end, and end it after a grace period. Does nothing the second time."""
        if self._stopped:
            return
        self._signal_group(signal.SIGTERM)
        deadline = time.monotonic() + self._grace_seconds
        while self._group_runs() and time.monotonic() < deadline:
            time.sleep(_POLL_SECONDS)
        self._signal_group(signal.SIGKILL)
        self._popen.wait()
        watchdog.release(self.id)
        self._stopped = True

    def _signal_group(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.id, number)

    def _group_runs(self) -> bool:
        self._popen.poll()
        try:
            os.killpg(self.id, 0)
        except ProcessLookupError:
            return False
        return True

    def _report(self, event: str) -> str:
        tail = "\n".join(self.output().splitlines()[-_LOG_LINES_SHOWN:])
        return f"{self._name} {event}. The end of {self.log}:\n{tail}"
