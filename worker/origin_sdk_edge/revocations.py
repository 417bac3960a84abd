"""Whether a credential was revoked: by a purge, since it was issued, of a group that its claims name.

What purges reaches credentials by that, too: marks in KV, read as often as ``MARK_INTERVAL`` says, and the
purge log. It is asked on each request, before anything stored is looked for, so that what lies in memory or
is on its way is nobody's who was revoked.
"""

from collections.abc import Mapping

from origin_sdk_edge.policy.credentials import issued_ms, revoking_groups
from origin_sdk_edge.policy.facts import CheckedToken
from origin_sdk_edge.storage.marks import Marks
from origin_sdk_wire.facts import Reason
from origin_sdk_wire.settings import Rule

__all__ = ["checked"]


async def checked(claims: Mapping[str, object] | None, rule: Rule, marks: Marks, now_ms: int) -> CheckedToken:
    """Return what becomes of a valid credential by the purges of its groups; these are read if need be."""
    groups = None if claims is None else revoking_groups(rule, claims)
    if claims is None or groups is None:
        return CheckedToken(None, is_checked=True)
    is_revoked = await marks.is_purged(groups, issued_ms(claims, now_ms))
    if is_revoked is None:
        return CheckedToken(None, is_checked=True, refusal=Reason.MARKS_UNKNOWN)
    if is_revoked:
        return CheckedToken(None, is_checked=True, refusal=Reason.REVOKED)
    return CheckedToken(claims, is_checked=True)
