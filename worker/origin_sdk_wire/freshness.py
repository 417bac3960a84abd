"""Freshness lifetime and age (RFC 9111 section 4.2), and the windows for what is stale (RFC 5861)."""

from collections.abc import Mapping
from dataclasses import dataclass

from origin_sdk_wire.directives import Directives, delta_seconds, response_directives, split_list
from origin_sdk_wire.lifetimes import (
    explicit_lifetime,
    forbids_stale,
    governed_lifetime,
    jittered_ms,
    parse_date,
    window,
)
from origin_sdk_wire.record import Record
from origin_sdk_wire.settings import Rule, Settings

__all__ = [
    "HEURISTICALLY_CACHEABLE",
    "Freshness",
    "current_age_ms",
    "freshness_of",
    "initial_age_ms",
    "is_of_use",
]

HEURISTICALLY_CACHEABLE = frozenset({200, 203, 204, 206, 300, 301, 308, 404, 405, 410, 414, 501})
"""RFC 9110 section 15.1."""

_MAX_HEURISTIC_SECONDS = 86_400


@dataclass(frozen=True, slots=True)
class Freshness:
    """For how long a stored response may be used, in milliseconds of its age."""

    lifetime_ms: int
    stale_while_revalidate_ms: int
    stale_if_error_ms: int
    must_validate: bool
    """``no-cache``: never without validation, not even while fresh."""
    forbids_stale: bool
    """A directive forbids stale use, also while the origin is unreachable (section 4.2.4)."""
    is_explicit: bool

    @property
    def longest_use_ms(self) -> int:
        """The age beyond which the response is used in no case."""
        return self.lifetime_ms + max(self.stale_while_revalidate_ms, self.stale_if_error_ms)


def initial_age_ms(fields: Mapping[str, str], birth_ms: int, response_ms: int) -> int:
    """Return corrected_initial_age (section 4.2.3) of a response.

    It was asked for at ``birth_ms`` and came at ``response_ms``.
    """
    date = parse_date(fields.get("date", ""), response_ms)
    # A date is of whole seconds, so the clock is compared with it in whole seconds.
    apparent_age_ms = max(0, response_ms // 1000 - date) * 1000 if date is not None else 0
    return max(apparent_age_ms, _age_value(fields) * 1000 + max(0, response_ms - birth_ms))


def _age_value(fields: Mapping[str, str]) -> int:
    # Section 5.1: the first member counts, and an invalid one is ignored; one that is empty is none (RFC 9110
    # section 5.6.1.2).
    members = split_list(fields["age"]) if "age" in fields else ()
    return (delta_seconds(members[0]) or 0) if members else 0


def current_age_ms(record: Record, now_ms: int) -> int:
    """Return the current age of a stored response (section 4.2.3)."""
    return record.initial_age_ms + max(0, now_ms - record.response_ms)


def freshness_of(record: Record, fields: Mapping[str, str], rule: Rule, settings: Settings) -> Freshness:
    """Return how long a response stays usable.

    In this order: a rule's ``lifetime``, what the response says, the rule's default, a heuristic.
    """
    directives = response_directives(fields)
    explicit = explicit_lifetime(directives, fields, record.response_ms)
    lifetime, is_explicit = governed_lifetime(
        record.status, explicit, rule.lifetime, rule.default_lifetime, rule.negative_lifetimes
    )
    if lifetime is None:
        lifetime = _heuristic_lifetime(record, directives, fields, settings)
    is_stale_forbidden = forbids_stale(directives, by_rule=rule.grants_stale)
    while_revalidate = window(
        directives, "stale-while-revalidate", rule.stale_while_revalidate, settings.stale_while_revalidate
    )
    if_error = window(directives, "stale-if-error", rule.stale_if_error, settings.stale_if_error)
    return Freshness(
        lifetime_ms=jittered_ms(lifetime, record.birth_ms, settings.lifetime_jitter),
        stale_while_revalidate_ms=0 if is_stale_forbidden else while_revalidate * 1000,
        stale_if_error_ms=0 if is_stale_forbidden else if_error * 1000,
        must_validate=directives.unqualified("no-cache"),
        forbids_stale=is_stale_forbidden,
        is_explicit=is_explicit,
    )


def _heuristic_lifetime(
    record: Record, directives: Directives, fields: Mapping[str, str], settings: Settings
) -> int:
    # Section 4.2.2
    if not settings.heuristic_fraction or not (
        record.status in HEURISTICALLY_CACHEABLE or directives.permits("public")
    ):
        return 0
    modified = parse_date(fields.get("last-modified", ""), record.response_ms)
    if modified is None:
        return 0
    date = parse_date(fields.get("date", ""), record.response_ms)
    since = (record.response_ms // 1000 if date is None else date) - modified
    return min(_MAX_HEURISTIC_SECONDS, max(0, int(since * settings.heuristic_fraction)))


def is_of_use(record: Record, fields: Mapping[str, str], rule: Rule, settings: Settings) -> bool:
    """Whether a response may be used without validation at all."""
    freshness = freshness_of(record, fields, rule, settings)
    return freshness.lifetime_ms > 0 and not freshness.must_validate
