"""Which of a rule's origins is asked: the first that isn't known to be away, and the next where it fails."""

from collections.abc import Mapping, Sequence
from typing import Any

from origin_sdk_edge.policy.facts import RequestFacts
from origin_sdk_edge.policy.invalidation import SAFE_METHODS
from origin_sdk_edge.policy.trouble import is_no_answer
from origin_sdk_edge.ports import Origin, OriginError, OriginResponse, Report, Timing
from origin_sdk_wire.settings import Rule, Settings

__all__ = ["Origins"]

_REST_MS = 10_000
"""For so long an origin that gave no answer comes after the others."""


class Origins:
    """Asks origins, and remembers which are away. One for each isolate."""

    def __init__(self, settings: Settings, origin: Origin, timing: Timing, report: Report) -> None:
        self._settings = settings
        self._origin = origin
        self._timing = timing
        self._report = report
        self._resting_until_ms: dict[str, int] = {}

    async def fetch(
        self, rule: Rule, request: RequestFacts, conditional: Mapping[str, str], body: Any
    ) -> OriginResponse:
        """Ask for a response; raises :class:`OriginError` if there is none from any origin."""
        bases = rule.origins or (self._settings.origin,)
        if len(bases) == 1:
            return await self._fetch(bases[0], request, conditional, body)
        ordered = self._ordered(bases)
        if not _may_repeat(request, body):
            return await self._fetch(ordered[0], request, conditional, body)
        for base in ordered[:-1]:
            try:
                response = await self._fetch(base, request, conditional, body)
            except OriginError as error:
                self._report("origin", error)
            else:
                if not is_no_answer(response.status):
                    self._resting_until_ms.pop(base, None)
                    return response
                response.discard()
            self._resting_until_ms[base] = self._timing.now_ms() + _REST_MS
        return await self._fetch(ordered[-1], request, conditional, body)

    def _ordered(self, bases: Sequence[str]) -> list[str]:
        now_ms = self._timing.now_ms()
        return sorted(bases, key=lambda base: now_ms < self._resting_until_ms.get(base, 0))

    async def _fetch(
        self, base: str, request: RequestFacts, conditional: Mapping[str, str], body: Any
    ) -> OriginResponse:
        return await self._origin.fetch(request, conditional, body, self._settings.origin_timeout, base)


def _may_repeat(request: RequestFacts, body: Any) -> bool:
    """Whether a request may be sent again after one that gave no answer (RFC 9110 section 9.2.2)."""
    if body is not None and request.content is None:
        return False  # it is read as it is sent
    is_query = request.content is not None and request.content.parts is not None
    return request.method in SAFE_METHODS or is_query
