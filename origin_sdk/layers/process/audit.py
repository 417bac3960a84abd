"""Who wrote and who invalidated, without values."""

import logging
from collections.abc import Callable
from datetime import UTC, datetime

from origin_sdk._process.audit import AuditEvent
from origin_sdk._process.clock import Clock

__all__ = ["Auditing"]

_log = logging.getLogger("origin_sdk.layers")


class Auditing:
    """Tells ``sink``, if there is one: :class:`origin_sdk.AuditFile` for example."""

    def __init__(self, sink: Callable[[AuditEvent], None] | None, actor: str, clock: Clock) -> None:
        self._sink = sink
        self._actor = actor
        self._clock = clock

    def note(self, action: str, outcome: str, **details: object) -> None:
        """Tell of something done; a sink that fails is logged, and stops nothing."""
        if self._sink:
            at = datetime.fromtimestamp(self._clock.now(), UTC)
            try:
                self._sink(AuditEvent(at, action, self._actor, outcome, details))
            except Exception:  # noqa: BLE001 - a sink is anyone's code
                _log.exception("the audit of %s isn't written", action)
