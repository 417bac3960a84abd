"""What a response itself says of how long it may be used (RFC 9111 section 4.2, RFC 5861), before rules."""

import re
from collections.abc import Mapping
from functools import lru_cache

from origin_sdk_wire.directives import Directives

__all__ = [
    "DEFAULT_JITTER",
    "explicit_lifetime",
    "forbids_stale",
    "governed_lifetime",
    "jittered_ms",
    "parse_date",
    "window",
]

DEFAULT_JITTER = 0.05
"""The share of a lifetime that the Worker takes off at most, unless ``LIFETIME_JITTER`` says otherwise."""

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
_PERMANENT_REDIRECTS = frozenset({301, 308})
_YEAR_MS = 31_556_952_000
_LONGEST_DATES = 128
"""Characters of the longest value that is looked at: a date, and room for another after it."""


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


def explicit_lifetime(directives: Directives, fields: Mapping[str, str], response_ms: int) -> int | None:
    """Return the freshness lifetime in seconds that a response names; ``None`` if it names none."""
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


def governed_lifetime(
    status: int, explicit: int | None, lifetime: int | None, default: int | None, negative: Mapping[int, int]
) -> tuple[int | None, bool]:
    """Return the seconds for which a response is fresh, and whether that is explicit; ``None``: nobody says.

    In this order: a rule's ``lifetime``, what the response says (``explicit``), the rule's ``default`` or
    ``negative`` lifetime. Only successes and permanent redirects have the first and the third, only errors
    the last: what holds for one client at one moment isn't to be everyone's for as long as a page is.
    """
    is_lasting = 200 <= status < 300 or status in _PERMANENT_REDIRECTS
    if lifetime is not None and is_lasting:
        return lifetime, True
    if explicit is not None:
        return explicit, True
    return (default if is_lasting else negative.get(status)), False


def forbids_stale(directives: Directives, *, by_rule: bool = False) -> bool:
    """Whether a directive forbids stale use (section 4.2.4); ``by_rule``: a rule grants a window by name."""
    if (
        "must-revalidate" in directives
        or "proxy-revalidate" in directives
        or directives.unqualified("no-cache")
    ):
        return True
    # s-maxage implies proxy-revalidate (section 5.2.2.10), unless a window is granted by name.
    return "s-maxage" in directives and not (
        by_rule or "stale-while-revalidate" in directives or "stale-if-error" in directives
    )


def window(directives: Directives, name: str, by_rule: int | None, by_default: int) -> int:
    """Return the seconds of a window of RFC 5861: the rule's, else the response's, else the default."""
    if by_rule is not None:
        return by_rule
    granted = directives.window(name)
    return by_default if granted is None else granted


def jittered_ms(lifetime_seconds: int, birth_ms: int, jitter: float) -> int:
    """Return a lifetime less up to the share ``jitter``: random among responses, constant for each."""
    share = (birth_ms * 2_654_435_761 & 0xFFFF) / 0xFFFF
    return round(lifetime_seconds * 1000 * (1 - jitter * share))
