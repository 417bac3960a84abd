"""Whom a request speaks for: what only some clients send must not decide for all others."""

from origin_sdk_edge.policy.decision import Lookup
from origin_sdk_wire.choices import DataClass
from origin_sdk_wire.directives import request_directives
from origin_sdk_wire.key import digest

__all__ = ["voice_of"]

_OWN = ("authorization", "cookie")
_MATTERING = frozenset({*_OWN, "cache-control", "pragma"})


def voice_of(lookup: Lookup) -> str:
    """Return what tells apart those whose answers may be for them alone; empty for a request of anybody's.

    That a response can't be shared, or that a refresh fails, is remembered for the like-voiced only.
    """
    if lookup.rule.data_class is DataClass.PRIVATE:
        return ""  # the key itself names the client
    fields = lookup.request.fields
    if not lookup.unkeyed and _MATTERING.isdisjoint(fields):
        return ""
    own = [fields.get(name) for name in _OWN]
    own += [f"{name}:{fields.get(name)}" for name in sorted(lookup.unkeyed)]
    refuses = "no-store" in request_directives(fields)
    return f" {digest(own, refuses)}" if refuses or any(own) else ""
