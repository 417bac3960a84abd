"""For how long a response may be used, as the Worker will see it: for publishing and for inspecting."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from cachewire.directives import response_directives
from cachewire.fields import combined as fields_by_name
from cachewire.lifetimes import explicit_lifetime, forbids_stale, governed_lifetime, jittered_ms, window
from cachewire.record import Record
from cachewire.settings import Rule
from origin_sdk._values.project import Project

__all__ = ["Windows", "combined", "windows_of"]

_NO_RULE = Rule()


@dataclass(frozen=True, slots=True)
class Windows:
    """Seconds: fresh for ``lifetime``, and once stale usable for the two windows of RFC 5861."""

    lifetime: int
    stale_while_revalidate: int
    stale_if_error: int
    is_explicit: bool
    must_validate: bool

    @property
    def longest_use(self) -> int:
        """The age beyond which the response is used in no case."""
        return self.lifetime + max(self.stale_while_revalidate, self.stale_if_error)


def combined(fields: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Return fields by name in lower case, repeated ones combined."""
    return fields_by_name((name.lower(), value) for name, value in fields)


def windows_of(
    status: int, fields: Mapping[str, str], response_seconds: float, rule: Rule | None, project: Project
) -> Windows:
    """Return the windows of a response that came at ``response_seconds`` since the epoch.

    What the Worker adds of its own isn't in it: jitter, and heuristic freshness where it is switched on.
    """
    rule = rule or _NO_RULE
    directives = response_directives(fields)
    explicit = explicit_lifetime(directives, fields, round(response_seconds * 1000))
    lifetime, is_explicit = governed_lifetime(
        status, explicit, rule.lifetime, rule.default_lifetime, rule.negative_lifetimes
    )
    is_stale_forbidden = forbids_stale(directives, by_rule=rule.grants_stale)
    while_revalidate = window(
        directives, "stale-while-revalidate", rule.stale_while_revalidate, project.stale_while_revalidate
    )
    if_error = window(directives, "stale-if-error", rule.stale_if_error, project.stale_if_error)
    return Windows(
        lifetime=lifetime or 0,
        stale_while_revalidate=0 if is_stale_forbidden else while_revalidate,
        stale_if_error=0 if is_stale_forbidden else if_error,
        is_explicit=is_explicit,
        must_validate=directives.unqualified("no-cache"),
    )


def windows_of_record(record: Record, rule: Rule | None, project: Project) -> Windows:
    """Return the windows of a stored response, with the jitter that its lifetime has."""
    windows = windows_of(record.status, combined(record.fields), record.response_ms / 1000, rule, project)
    lifetime_ms = jittered_ms(windows.lifetime, record.birth_ms, project.lifetime_jitter)
    return replace(windows, lifetime=lifetime_ms // 1000)
