"""Who purged what: events, and the file on this machine that has their whole history."""

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from threading import Lock
from typing import Any, Protocol

from origin_sdk._process.forks import renew_after_fork
from origin_sdk._values.errors import InvalidSettings, OriginSdkError

__all__ = ["AuditEvent", "AuditFile", "Auditor"]


@dataclass(frozen=True, slots=True)
class AuditEvent:
    """Something done to the cache, ``purge`` or ``publish``, and its end: ``done`` or an error's name."""

    at: datetime
    action: str
    actor: str
    outcome: str
    details: Mapping[str, Any] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON types."""
        return {
            "at": self.at.isoformat(),
            "action": self.action,
            "actor": self.actor,
            "outcome": self.outcome,
            **self.details,
        }


class Auditor(Protocol):
    """Receives everything that a client does to the cache, failures included.

    Called once it is known how it ended.
    """

    def __call__(self, event: AuditEvent, /) -> None:
        """Take the event; must not raise."""
        ...


class AuditFile:
    """Appends each event as a line of JSON; lines of several processes don't mix.

    Never holds bodies or secrets.
    """

    def __init__(self, path: Path) -> None:
        """Write to ``path``, which is made with its folder when the first event comes."""
        self.path = path
        self._lock = Lock()
        renew_after_fork(self)

    def __reduce__(self) -> tuple[type, tuple[Path]]:
        """Be sent to another process as a writer of the same file."""
        return type(self), (self.path,)

    def renew(self) -> None:
        """Free the lock in a forked process: the thread that held it isn't there."""
        self._lock = Lock()

    def __call__(self, event: AuditEvent, /) -> None:
        """Append an event in one write."""
        line = (json.dumps(event.as_json(), ensure_ascii=False) + "\n").encode()
        with self._lock:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
            try:
                os.write(descriptor, line)
            finally:
                os.close(descriptor)

    def read(self) -> Iterator[dict[str, Any]]:
        """Yield the events, the oldest first; raises :class:`InvalidSettings` for a line that isn't one."""
        if not self.path.exists():
            return
        with self.path.open(encoding="utf-8") as lines:
            for number, line in enumerate(lines, 1):
                try:
                    event = json.loads(line)
                except (ValueError, RecursionError) as error:
                    raise InvalidSettings(
                        f"{self.path}, line {number}, isn't an audit event: {error}"
                    ) from error
                if isinstance(event, dict):
                    yield event


def outcome_of(error: BaseException | None) -> str:
    """Return how an audit names the end of something."""
    if error is None:
        return "done"
    return type(error).__name__ if isinstance(error, OriginSdkError) else "interrupted"
