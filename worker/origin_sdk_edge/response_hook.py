"""The hook that sees what the origin answered."""

from dataclasses import replace

from origin_sdk_edge.hooks import HookRequest, HookResponse, Hooks
from origin_sdk_edge.policy.decision import Lookup
from origin_sdk_edge.policy.facts import WITHOUT_CONTENT
from origin_sdk_edge.ports import Bodies, LateError, OriginResponse, Report
from origin_sdk_wire.facts import Reason, ResponseFacts
from origin_sdk_wire.record import STORED_CODINGS
from origin_sdk_wire.storability import is_endless

__all__ = ["ResponseHook"]


class ResponseHook:
    """Lets a service's code change the header fields of an origin's response."""

    def __init__(self, hooks: Hooks, bodies: Bodies, report: Report) -> None:
        self._hooks = hooks
        self._bodies = bodies
        self._report = report

    async def applied(
        self, lookup: Lookup, facts: ResponseFacts, response: OriginResponse
    ) -> ResponseFacts | Reason:
        """Return what the hook makes of a response, or why it failed; raises :class:`OriginError`."""
        if not self._hooks.after_origin:
            return facts
        request = lookup.request
        try:
            body = await self._shown(lookup, facts, response)
        except LateError as error:
            self._report("after_origin", error)
            return Reason.HOOK_TIMEOUT
        given = HookRequest(request.method, str(request.target), request.fields)
        result = await self._hooks.after_origin(given, HookResponse(facts.status, facts.fields, body))
        return result if isinstance(result, Reason) else replace(facts, fields=result.fields)

    async def _shown(self, lookup: Lookup, facts: ResponseFacts, response: OriginResponse) -> bytes | None:
        """Return a body without its coding, where a rule shows it to hooks.

        Raises :class:`OriginError`, and :class:`LateError`.
        """
        most_bytes, coding = lookup.rule.hook_response_bytes, facts.fields.get("content-encoding", "")
        has_content = lookup.request.method != "HEAD" and facts.status not in WITHOUT_CONTENT
        if not most_bytes or not has_content or coding not in {"", *STORED_CODINGS}:
            return None
        if is_endless(facts.fields):
            return None
        body = await response.copied(most_bytes)
        try:
            if coding and body is not None:
                body = await self._bodies.expanded(body, coding, most_bytes)
        except ValueError:
            return None
        return None if body is None else self._bodies.octets(body)
