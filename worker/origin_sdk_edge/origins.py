"""Which of a rule's origins is asked: by order or weight, first who isn't known to be away, then the next."""

from collections.abc import Mapping, Sequence
from math import log

from origin_sdk_edge.counters import Counters
from origin_sdk_edge.policy.facts import RequestFacts
from origin_sdk_edge.policy.invalidation import SAFE_METHODS
from origin_sdk_edge.policy.trouble import is_no_answer
from origin_sdk_edge.ports import Origin, OriginError, OriginResponse, Report, Request, Timing
from origin_sdk_wire.key import digest
from origin_sdk_wire.settings import Rule, Settings

__all__ = ["Origins", "weighted"]

_REST_MS = 10_000
"""For so long an origin that gave no answer comes after the others."""
_UNTRIED_MS = 60_000
"""So much longer it does for what may not be sent again, where nothing that may has tried it meanwhile."""


class Origins:
    """Asks origins, and remembers which are away. One for each isolate."""

    def __init__(
        self, settings: Settings, origin: Origin, timing: Timing, report: Report, counters: Counters
    ) -> None:
        self._settings = settings
        self._counters = counters
        self._origin = origin
        self._timing = timing
        self._report = report
        self._resting_until_ms: dict[str, int] = {}

    async def fetch(
        self, rule: Rule, request: RequestFacts, conditional: Mapping[str, str], body: Request
    ) -> OriginResponse:
        """Ask for a response; raises :class:`OriginError` if there is none from any origin."""
        bases = rule.origins or (self._settings.origin,)
        if len(bases) == 1:
            return await self._fetch(bases[0], rule, request, conditional, body)
        may_repeat = _may_repeat(request, body)
        ordered = self._ordered(rule, request, may_try=may_repeat)
        for base in ordered[:-1] if may_repeat else ():
            try:
                response = await self._tried(base, rule, request, conditional, body)
            except OriginError as error:
                self._report("origin", error)
            else:
                if not is_no_answer(response.status):
                    return response
                response.discard()
        return await self._tried(ordered[-1 if may_repeat else 0], rule, request, conditional, body)

    def _ordered(self, rule: Rule, request: RequestFacts, *, may_try: bool) -> list[str]:
        """Return the origins of a rule as they are asked: those that are known to be away last.

        One that has rested is tried by a single request, at first of those that may be sent again: all others
        pass it over until that has an answer.
        """
        now_ms = self._timing.now_ms()
        bases = (
            weighted(rule.origins, rule.weights, request.target.location) if rule.weights else rule.origins
        )
        resting = self._resting_until_ms
        longer_ms = 0 if may_try else _UNTRIED_MS
        ordered = sorted(bases, key=lambda base: base in resting and now_ms < resting[base] + longer_ms)
        if ordered[0] in resting:
            patience_ms = int(self._settings.origin_timeout_of(rule) * 1000)
            resting[ordered[0]] = max(resting[ordered[0]], now_ms + patience_ms)
        return ordered

    async def _tried(
        self, base: str, rule: Rule, request: RequestFacts, conditional: Mapping[str, str], body: Request
    ) -> OriginResponse:
        """Ask one of several, and remember whether it is away."""
        try:
            response = await self._fetch(base, rule, request, conditional, body)
        except OriginError:
            if not _is_streamed(request, body):
                self._resting_until_ms[base] = self._timing.now_ms() + _REST_MS
            raise
        if is_no_answer(response.status):
            self._resting_until_ms[base] = self._timing.now_ms() + _REST_MS
        else:
            self._resting_until_ms.pop(base, None)
        return response

    async def _fetch(
        self, base: str, rule: Rule, request: RequestFacts, conditional: Mapping[str, str], body: Request
    ) -> OriginResponse:
        seconds = self._settings.origin_timeout_of(rule)
        try:
            response = await self._origin.fetch(request, conditional, body, seconds, base)
        except OriginError as error:
            if not _is_streamed(request, body):
                self._counters.origin_tried(base, self._timing.now_ms(), error.failure.value)
            raise
        why_away = str(response.status) if is_no_answer(response.status) else ""
        self._counters.origin_tried(base, self._timing.now_ms(), why_away)
        return response


def weighted(bases: Sequence[str], weights: Sequence[float], location: str) -> list[str]:
    """Return origins in the order in which they are asked for a URL: always the same for one URL.

    By weighted rendezvous hashing, so that of the URLs only those move that an origin which comes or goes, or
    whose weight changes, gains or loses.
    """

    def score(base: str, weight: float) -> float:
        drawn = int(digest("origin", base, location)[:13], 16) + 0.5  # of 52 bits, and never 0
        return -weight / log(drawn / (1 << 52))

    scores = {base: score(base, weight) for base, weight in zip(bases, weights, strict=True)}
    return sorted(bases, key=lambda base: -scores[base])


def _is_streamed(request: RequestFacts, body: Request) -> bool:
    """Whether a content is read as it is sent.

    Then a failure says nothing of the origin: a client that breaks off, or is slow, makes the same one.
    """
    return body is not None and request.content is None


def _may_repeat(request: RequestFacts, body: Request) -> bool:
    """Whether a request may be sent again after one that gave no answer (RFC 9110 section 9.2.2)."""
    if _is_streamed(request, body):
        return False
    is_query = request.content is not None and request.content.parts is not None
    return request.method in SAFE_METHODS or is_query
