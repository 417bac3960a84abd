"""Whether a response may be stored, given who asked for it (RFC 9111 section 3).

What holds whoever asks is in :mod:`origin_sdk_wire.storability`.
"""

from origin_sdk_edge.policy.facts import RequestFacts
from origin_sdk_edge.policy.unkeyed import unkeyed_names
from origin_sdk_wire.choices import DataClass
from origin_sdk_wire.directives import Directives, request_directives, response_directives
from origin_sdk_wire.facts import Reason, ResponseFacts
from origin_sdk_wire.key import unescape
from origin_sdk_wire.parameters import parameters_of
from origin_sdk_wire.settings import Rule, Settings
from origin_sdk_wire.storability import (
    forbidden_by_fields,
    forbidden_by_status,
    is_named,
    useless,
    withdrawn_by_directive,
)
from origin_sdk_wire.vary import selecting_names

__all__ = ["is_for_everyone", "may_store", "speaks_for_others", "unnominated_names"]


def may_store(request: RequestFacts, response: ResponseFacts, rule: Rule, settings: Settings) -> Reason:
    """Return :attr:`Reason.STORED`, or why the response may not be stored or isn't worth it."""
    directives = response_directives(response.fields)
    return (
        forbidden_by_status(response, directives)
        or _forbidden_by_directive(request, response, directives, rule, settings)
        or _forbidden_by_identity(request, response, directives, rule, settings)
        or forbidden_by_fields(response, settings)
        or _forbidden_by_unkeyed(request, response, rule, settings)
        or _forbidden_by_shown(request, response, rule)
        or useless(response, directives, rule, settings)
        or Reason.STORED
    )


def speaks_for_others(request: RequestFacts, response: ResponseFacts, rule: Rule, settings: Settings) -> bool:
    """Whether a response says something of the resource, and not only to who sent what is in no key."""
    directives = response_directives(response.fields)
    reason = _forbidden_by_identity(request, response, directives, rule, settings)
    if reason in {Reason.AUTHORIZATION, Reason.COOKIE}:
        return False
    forbidden = _forbidden_by_unkeyed(request, response, rule, settings)
    return forbidden is None and _forbidden_by_shown(request, response, rule) is None


def _forbidden_by_directive(
    request: RequestFacts, response: ResponseFacts, directives: Directives, rule: Rule, settings: Settings
) -> Reason | None:
    # One client's wish would undo the collapsing for all, and what others may see isn't that client's secret.
    if not settings.is_safe and "no-store" in request_directives(request.fields):
        return Reason.REQUEST_NO_STORE
    return withdrawn_by_directive(response, directives, rule, settings)


def _forbidden_by_identity(
    request: RequestFacts, response: ResponseFacts, directives: Directives, rule: Rule, settings: Settings
) -> Reason | None:
    is_declared = rule.data_class is DataClass.PRIVATE
    if "authorization" in request.fields and not (is_declared or is_for_everyone(directives, settings)):
        return Reason.AUTHORIZATION
    if not settings.is_safe:
        return None
    if "cookie" in request.fields and not (
        is_named(directives) or is_declared or "cookie" in selecting_names(response.fields)
    ):
        return Reason.COOKIE
    return Reason.SET_COOKIE if response.set_cookies else None


def _forbidden_by_unkeyed(
    request: RequestFacts, response: ResponseFacts, rule: Rule, settings: Settings
) -> Reason | None:
    return Reason.UNKEYED_FIELD if unnominated_names(request, response, rule, settings) else None


def _forbidden_by_shown(request: RequestFacts, response: ResponseFacts, rule: Rule) -> Reason | None:
    """Return why a response isn't stored whose fields, such as Location and Link, repeat a hidden parameter.

    All who share the response would read one client's key there.
    """
    hidden = parameters_of(request.asked or request.target, rule.hidden_parameters)
    for name, value in (hidden or {}).items():
        shown = {f"{name}={value}", f"{name}={unescape(value)}"} if value else ()
        if any(each in text for each in shown for text in response.fields.values()):
            return Reason.SHOWN_PARAMETER
    return None


def unnominated_names(
    request: RequestFacts, response: ResponseFacts, rule: Rule, settings: Settings
) -> tuple[str, ...]:
    """Return the names of what the origin saw, the key doesn't hold and the response doesn't nominate."""
    nominated = selecting_names(response.fields)
    return tuple(name for name in unkeyed_names(request, rule, settings) if name not in nominated)


def is_for_everyone(directives: Directives, settings: Settings) -> bool:
    """Whether a response to a request with credentials may be shared (section 3.5).

    In the safe profile only one that says so itself: ``must-revalidate`` forbids staleness, and is mostly
    meant so.
    """
    permits = directives.permits("public") or directives.permits("s-maxage")
    return permits or (not settings.is_safe and "must-revalidate" in directives)
