"""Freshness lifetime and age (RFC 9111 section 4.2), and the windows for what is stale (RFC 5861)."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

from cachewire.directives import Directives, delta_seconds, parse_cache_control, response_directives
from cachewire.record import Record
from edgecache.settings import Rule, Settings

__all__ = [
    "HEURISTICALLY_CACHEABLE",
    "Freshness",
    "current_age_ms",
    "freshness_of",
    "initial_age_ms",
    "parse_date",
]

HEURISTICALLY_CACHEABLE = frozenset({200, 203, 204, 206, 300, 301, 308, 404, 405, 410, 414, 501})
"""RFC 9110 section 15.1."""

_MONTHS = {
    name: number
    for number, name in enumerate(
        ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"], 1
    )
}
_CLOCK = r"(?P<hour>\d\d):(?P<minute>\d\d):(?P<second>\d\d)"
# RFC 9110 section 5.6.7, case-insensitively and in GMT only as RFC 9111 section 4.2 asks.
_DATES = tuple(
    re.compile(pattern + r"(?=\s*(?:,|$))", re.IGNORECASE | re.ASCII)
    for pattern in (
        rf"[a-z]{{3}}, (?P<day>\d\d) (?P<month>[a-z]{{3}}) (?P<year>\d{{4}}) {_CLOCK} GMT",
        rf"[a-z]{{6,9}}, (?P<day>\d\d)-(?P<month>[a-z]{{3}})-(?P<year>\d\d) {_CLOCK} GMT",
        rf"[a-z]{{3}} (?P<month>[a-z]{{3}}) (?P<day>[ \d]\d) {_CLOCK} (?P<year>\d{{4}})",
    )
)
_MAX_HEURISTIC_SECONDS = 86_400
_YEAR_MS = 31_556_952_000
_LONGEST_DATES = 128
"""Characters of the longest value that is looked at: a date, and room for another after it."""


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


def parse_date(value: str, now_ms: int) -> int | None:
    """Read an HTTP-date as seconds since the epoch; ``None`` if it is none.

    ``now_ms`` dates two-digit years.
    """
    is_plausible = 0 < len(value) <= _LONGEST_DATES
    return _parsed(value, 1970 + now_ms // _YEAR_MS) if is_plausible else None


@lru_cache(maxsize=512)
def _parsed(value: str, this_year: int) -> int | None:
    for pattern in _DATES:
        if found := pattern.match(value.strip()):
            return _seconds_since_epoch(found, this_year)
    return None


def _seconds_since_epoch(found: re.Match[str], this_year: int) -> int | None:
    year, month, day = int(found["year"]), _MONTHS.get(found["month"].lower(), 0), int(found["day"])
    hour, minute, second = int(found["hour"]), int(found["minute"]), int(found["second"])
    if len(found["year"]) == 2:
        # RFC 9110 section 5.6.7: more than 50 years ahead means the past.
        year += this_year // 100 * 100
        year -= 100 if year > this_year + 50 else 0
    if not (month and 1 <= day <= _days_of(month, year) and hour < 24 and minute < 60 and second <= 60):
        return None
    return _days_since_epoch(year, month, day) * 86_400 + hour * 3_600 + minute * 60 + second


def _days_of(month: int, year: int) -> int:
    if month == 2:
        return 29 if year % 4 == 0 and (year % 100 or year % 400 == 0) else 28
    return 30 if month in {4, 6, 9, 11} else 31


def _days_since_epoch(year: int, month: int, day: int) -> int:
    # Counted from March, so that the leap day is the last of its year.
    year, month = (year, month - 3) if month > 2 else (year - 1, month + 9)
    return 365 * year + year // 4 - year // 100 + year // 400 + (153 * month + 2) // 5 + day - 719_469


def initial_age_ms(fields: Mapping[str, str], birth_ms: int, response_ms: int) -> int:
    """Return corrected_initial_age (section 4.2.3) of a response.

    It was asked for at ``birth_ms`` and came at ``response_ms``.
    """
    date = parse_date(fields.get("date", ""), response_ms)
    # A date is of whole seconds, so the clock is compared with it in whole seconds.
    apparent_age_ms = max(0, response_ms // 1000 - date) * 1000 if date is not None else 0
    return max(apparent_age_ms, _age_value(fields) * 1000 + response_ms - birth_ms)


def _age_value(fields: Mapping[str, str]) -> int:
    # Section 5.1: the first member counts, and an invalid one is ignored.
    return delta_seconds(fields.get("age", "").partition(",")[0].strip()) or 0


def current_age_ms(record: Record, now_ms: int) -> int:
    """Return the current age of a stored response (section 4.2.3)."""
    return record.initial_age_ms + max(0, now_ms - record.response_ms)


def freshness_of(record: Record, fields: Mapping[str, str], rule: Rule, settings: Settings) -> Freshness:
    """Return how long a response stays usable.

    In this order: a rule's ``lifetime``, what the response says, the rule's default, a heuristic.
    """
    directives = response_directives(fields)
    lifetime = _explicit_lifetime(directives, fields, record.response_ms)
    is_explicit = lifetime is not None
    if rule.lifetime is not None:
        lifetime, is_explicit = rule.lifetime, True
    elif lifetime is None:
        lifetime = _lifetime_by_rule(record.status, rule)
        if lifetime is None:
            lifetime = _heuristic_lifetime(record, directives, fields, settings)
    forbids_stale = _forbids_stale(directives)
    while_revalidate = _window(
        directives, "stale-while-revalidate", rule.stale_while_revalidate, settings.stale_while_revalidate
    )
    if_error = _window(directives, "stale-if-error", rule.stale_if_error, settings.stale_if_error)
    return Freshness(
        lifetime_ms=round(lifetime * 1000 * (1 - settings.lifetime_jitter * _share(record))),
        stale_while_revalidate_ms=0 if forbids_stale else while_revalidate * 1000,
        stale_if_error_ms=0 if forbids_stale else if_error * 1000,
        must_validate=directives.unqualified("no-cache"),
        forbids_stale=forbids_stale,
        is_explicit=is_explicit,
    )


def _explicit_lifetime(directives: Directives, fields: Mapping[str, str], response_ms: int) -> int | None:
    # Section 4.2.1, the first that is present.
    for name in ("s-maxage", "max-age"):
        if (seconds := directives.lifetime(name)) is not None:
            return seconds
    # RFC 9213 section 2.1: with a targeted field, Expires doesn't count either.
    if directives.is_targeted or "expires" not in fields:
        return None
    expires = parse_date(fields["expires"], response_ms)
    if expires is None:
        return 0  # section 5.3: an invalid date lies in the past
    date = parse_date(fields.get("date", ""), response_ms)
    return max(0, expires - (response_ms // 1000 if date is None else date))


def _lifetime_by_rule(status: int, rule: Rule) -> int | None:
    if status in rule.negative_lifetimes:
        return rule.negative_lifetimes[status]
    return rule.default_lifetime if status < 400 else None


def _heuristic_lifetime(
    record: Record, directives: Directives, fields: Mapping[str, str], settings: Settings
) -> int:
    # Section 4.2.2
    if not settings.heuristic_fraction or not (
        record.status in HEURISTICALLY_CACHEABLE or "public" in directives
    ):
        return 0
    modified = parse_date(fields.get("last-modified", ""), record.response_ms)
    if modified is None:
        return 0
    date = parse_date(fields.get("date", ""), record.response_ms)
    since = (record.response_ms // 1000 if date is None else date) - modified
    return min(_MAX_HEURISTIC_SECONDS, max(0, int(since * settings.heuristic_fraction)))


def _forbids_stale(directives: Directives) -> bool:
    # Section 4.2.4
    if (
        "must-revalidate" in directives
        or "proxy-revalidate" in directives
        or directives.unqualified("no-cache")
    ):
        return True
    # s-maxage implies proxy-revalidate (section 5.2.2.10), unless the same field grants a window by name.
    return "s-maxage" in directives and not (
        "stale-while-revalidate" in directives or "stale-if-error" in directives
    )


def _window(directives: Directives, name: str, by_rule: int | None, by_default: int) -> int:
    if by_rule is not None:
        return by_rule
    granted = directives.window(name)
    return by_default if granted is None else granted


def _share(record: Record) -> float:
    """Return a number from 0 to 1, random among responses and constant for each: its birth, scrambled."""
    return (record.birth_ms * 2_654_435_761 & 0xFFFF) / 0xFFFF


def request_stale_if_error_ms(fields: Mapping[str, str]) -> int:
    """Return the window that a request grants itself (RFC 5861 section 4)."""
    value = fields.get("cache-control")
    return 1000 * (parse_cache_control(value).window("stale-if-error") or 0) if value else 0
