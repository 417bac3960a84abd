"""For how long a response may be used, as the Worker will see it: for publishing and for inspecting."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime

from cachewire.directives import Directives, response_directives
from cachewire.record import Record
from origin_sdk.project import EdgeRule, Project

__all__ = ["Windows", "combined", "windows_of"]

_NO_RULE = EdgeRule()


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
    """Return fields by name in lower case, repeated ones combined (RFC 9110 section 5.3)."""
    by_name: dict[str, str] = {}
    for written, value in fields:
        name = written.lower()
        by_name[name] = f"{by_name[name]}, {value}" if name in by_name else value
    return by_name


def windows_of(
    fields: Mapping[str, str], response_seconds: float, rule: EdgeRule | None, project: Project
) -> Windows:
    """Return the windows of a response that came at ``response_seconds`` since the epoch.

    What the Worker adds of its own isn't in it: a little jitter, heuristic freshness where it is switched on.
    """
    rule = rule or _NO_RULE
    directives = response_directives(fields)
    explicit = _explicit_lifetime(directives, fields, response_seconds)
    lifetime = next(
        (given for given in (rule.lifetime, explicit, rule.default_lifetime) if given is not None), 0
    )
    forbids_stale = _forbids_stale(directives)
    while_revalidate = _window(
        directives, "stale-while-revalidate", rule.stale_while_revalidate, project.stale_while_revalidate
    )
    if_error = _window(directives, "stale-if-error", rule.stale_if_error, project.stale_if_error)
    return Windows(
        lifetime=lifetime,
        stale_while_revalidate=0 if forbids_stale else while_revalidate,
        stale_if_error=0 if forbids_stale else if_error,
        is_explicit=explicit is not None or rule.lifetime is not None,
        must_validate=directives.unqualified("no-cache"),
    )


def windows_of_record(record: Record, rule: EdgeRule | None, project: Project) -> Windows:
    """Return the windows of a stored response."""
    return windows_of(combined(record.fields), record.response_ms / 1000, rule, project)


def _explicit_lifetime(
    directives: Directives, fields: Mapping[str, str], response_seconds: float
) -> int | None:
    # RFC 9111 section 4.2.1
    for name in ("s-maxage", "max-age"):
        if (lifetime := directives.lifetime(name)) is not None:
            return lifetime
    if directives.is_targeted or "expires" not in fields:
        return None
    expires, date = _date(fields["expires"]), _date(fields.get("date", ""))
    return 0 if expires is None else max(0, int(expires - (response_seconds if date is None else date)))


def _date(value: str) -> float | None:
    try:
        return parsedate_to_datetime(value).timestamp()
    except ValueError:
        return None


def _forbids_stale(directives: Directives) -> bool:
    # RFC 9111 section 4.2.4
    if (
        "must-revalidate" in directives
        or "proxy-revalidate" in directives
        or directives.unqualified("no-cache")
    ):
        return True
    return "s-maxage" in directives and not (
        "stale-while-revalidate" in directives or "stale-if-error" in directives
    )


def _window(directives: Directives, name: str, by_rule: int | None, by_default: int) -> int:
    if by_rule is not None:
        return by_rule
    granted = directives.window(name)
    return by_default if granted is None else granted
