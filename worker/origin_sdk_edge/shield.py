"""The shield is asked in place of the origin, as long as it answers in time."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from origin_sdk_edge.policy.decision import Invalidity, Lookup
from origin_sdk_edge.policy.facts import RequestFacts
from origin_sdk_edge.policy.shield_field import Told, asking_field, fields_for_shield, parse_told
from origin_sdk_edge.ports import OriginError, OriginResponse, Timing
from origin_sdk_wire.facts import ResponseFacts
from origin_sdk_wire.settings import Settings
from origin_sdk_wire.shield import SHIELD_FIELD, differing_settings, is_shielded, settings_digest

__all__ = ["Shield", "ShieldError", "ShieldPort", "Shielded"]

_REST_MS = 10_000
"""For so long a shield isn't asked that gave no answer where the origin gave one."""


class ShieldError(Exception):
    """The shield gave no answer; ``why`` is a word for that, with the settings that differ if some do.

    Costs time, never a response.
    """

    def __init__(self, why: str, explanation: str) -> None:
        super().__init__(explanation)
        self.why = why


class ShieldPort(Protocol):
    """The binding."""

    async def fetch(
        self, request: RequestFacts, fields: Mapping[str, str], timeout_seconds: float
    ) -> OriginResponse:
        """Send a request with these fields, to the URL that a client asked for.

        Raises :class:`~origin_sdk_edge.ports.OriginError`.
        """


@dataclass(frozen=True, slots=True)
class Shielded:
    """A response of the shield, and what it says of it. The edge had asked at ``asked_ms``."""

    response: OriginResponse
    fields: Mapping[str, str]
    told: Told
    asked_ms: int

    def facts(self, response_ms: int, fields: Mapping[str, str]) -> ResponseFacts:
        """Return what the policy sees of it, with these fields."""
        response, birth_ms = self.response, self.told.birth_ms
        return ResponseFacts(
            response.status, fields, birth_ms, response_ms, response.set_cookies, self.asked_ms
        )


class Shield:
    """Asks the shield, and leaves it alone for a while when it turns out to be away. One for each isolate."""

    def __init__(self, port: ShieldPort, settings: Settings, timing: Timing) -> None:
        self._port = port
        self._settings = settings
        self._digest = settings_digest(settings)
        self._timing = timing
        self._resting_until_ms = 0

    def is_for(self, lookup: Lookup) -> bool:
        """Whether the shield is to be asked for this. One never asks another: nothing could go round."""
        return is_shielded(lookup.rule, self._settings) and not lookup.client.is_from_edge

    def rests(self) -> bool:
        """Whether it is left alone now."""
        return self._timing.now_ms() < self._resting_until_ms

    def rest_after(self, origin_ms: int) -> None:
        """Leave it alone for a while, as it gave no answer, and the origin did after ``origin_ms``.

        Not if that is longer than the shield had: it is the origin that is slow, perhaps for one URL alone.
        """
        if origin_ms < self._settings.shield_timeout * 1000:
            self._resting_until_ms = self._timing.now_ms() + _REST_MS

    async def fetch(self, lookup: Lookup, conditional: Mapping[str, str], purged: Invalidity) -> Shielded:
        """Ask for what was last ``purged`` then.

        Raises :class:`ShieldError`, and :class:`~origin_sdk_edge.ports.OriginError` as the shield tells it.
        """
        asked_ms = self._timing.now_ms()
        fields = fields_for_shield(lookup, conditional, self._settings)
        fields[SHIELD_FIELD] = asking_field(lookup, self._digest, purged, asked_ms)
        try:
            response = await self._port.fetch(lookup.request, fields, self._settings.shield_timeout)
        except OriginError as error:
            raise ShieldError(error.failure.value, f"the shield gave no answer: {error}") from error
        fields = dict(response.fields)
        try:
            told = parse_told(fields.pop(SHIELD_FIELD, ""))
        except ValueError as error:
            response.discard()
            explanation = f"it isn't a shield that answered with {response.status}: {error}"
            raise ShieldError(str(response.status), explanation) from error
        if told.is_refused:
            response.discard()
            names = ", ".join(differing_settings(self._settings, told.digests)) if told.digests else "unknown"
            explanation = f"the shield was deployed with other settings ({names}): deploy both"
            raise ShieldError(f"other-settings ({names})", explanation)
        if told.failure:
            response.discard()
            raise OriginError(told.failure, "as the shield says")
        return Shielded(response, fields, told, asked_ms)
