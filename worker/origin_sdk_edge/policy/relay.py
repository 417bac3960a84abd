"""Messages on their way through.

What the origin gets to see of a request, and the client of a response (RFC 9110 section 7.6).
"""

from collections.abc import Iterable

from origin_sdk_edge.policy.access import DEBUG, knows_secret
from origin_sdk_edge.policy.facts import WITHOUT_CONTENT, RequestFacts
from origin_sdk_wire.choices import Forwarded
from origin_sdk_wire.directives import split_list
from origin_sdk_wire.edge_signature import EDGE_SIGNATURE, OriginRequest, signature_of
from origin_sdk_wire.facts import Fields
from origin_sdk_wire.key import Target
from origin_sdk_wire.search_variance import SEARCH_VARIANCE
from origin_sdk_wire.settings import Rule, Settings
from origin_sdk_wire.shield import SHIELD_FIELD
from origin_sdk_wire.storability import content_length, hop_by_hop
from origin_sdk_wire.unkeyed import selected

__all__ = [
    "dated",
    "end_to_end",
    "http_date",
    "lacks_length",
    "localised",
    "origin_url",
    "outbound_fields",
    "relayed_bytes",
    "relayed_fields",
    "shown_fields",
    "shown_key",
    "signature_field",
]

_NOT_FORWARDED = frozenset(
    {
        "host",
        "content-length",
        "cf-connecting-ip",
        "cf-worker",
        "cf-ew-via",
        "cdn-loop",
        DEBUG,
        EDGE_SIGNATURE,
        SHIELD_FIELD,
        "x-forwarded-host",
        "x-forwarded-proto",
        # WSGI would take them for those that this cache sets.
        "x_forwarded_host",
        "x_forwarded_proto",
        "x-forwarded_host",
        "x-forwarded_proto",
        "x_forwarded-host",
        "x_forwarded-proto",
    }
)
_DAYS = ("Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_REFERENCES = ("location", "content-location")
_OWN = frozenset({SEARCH_VARIANCE, SHIELD_FIELD})
"""Response fields of this cache's own."""


def origin_url(target: Target, base: str) -> str:
    """Return where the origin at ``base`` is asked for ``target``; without one, the zone's own."""
    if not base:
        return str(target)
    return base + (target.path if target.query is None else f"{target.path}?{target.query}")


def end_to_end(fields: Fields) -> Fields:
    """Return a request's fields without those that Connection lists, but Upgrade (RFC 9110 section 7.6.1).

    The origin doesn't get them, so that neither a key nor a decision may depend on them.
    """
    listed = fields.get("connection")
    if not listed:
        return fields
    left_out = {name.lower() for name in split_list(listed)} - {"upgrade"}
    return {name: value for name, value in fields.items() if name not in left_out}


def lacks_length(request: RequestFacts) -> bool:
    """Whether a request has a body that the runtime would drop: that of a GET or HEAD without a length."""
    return request.method in {"GET", "HEAD"} and "transfer-encoding" in request.fields


def outbound_fields(request: RequestFacts, settings: Settings, base: str = "") -> dict[str, str]:
    """Return the fields that the origin gets, which is ``ORIGIN`` or the one at ``base``."""
    left_out = hop_by_hop(request.fields) | _NOT_FORWARDED
    if "upgrade" in request.fields:
        left_out -= {"connection", "upgrade"}
    fields = {name: value for name, value in request.fields.items() if name not in left_out}
    via = f"1.1 {settings.cache_name}"
    fields["via"] = f"{fields['via']}, {via}" if "via" in fields else via
    if settings.is_safe:
        fields.setdefault("user-agent", settings.cache_name)
    # Of the target, and so of the key: not what a client would like them to be.
    return fields | _forwarded(request.target, settings, has_own_host=bool(base or settings.origin))


def _forwarded(target: Target, settings: Settings, *, has_own_host: bool) -> dict[str, str]:
    """Return the fields that tell an origin, which may have a host of its own, what a client asked for."""
    fields: dict[str, str] = {}
    if settings.forwarded in {Forwarded.X_FORWARDED, Forwarded.BOTH}:
        fields["x-forwarded-proto"] = target.scheme
        if has_own_host:
            fields["x-forwarded-host"] = target.host
    if settings.forwarded in {Forwarded.FORWARDED, Forwarded.BOTH}:
        host = [f'host="{target.host}"'] if has_own_host else []  # RFC 7239 section 4: a port needs quotes
        fields["forwarded"] = ";".join([*host, f"proto={target.scheme}"])
    return fields


def signature_field(
    request: RequestFacts, fields: Fields, base: str, secret: str, now_seconds: int
) -> dict[str, str]:
    """Return what proves to the origin at ``base`` that a request with ``fields`` comes from here."""
    if not secret:
        return {}
    target = request.asked or request.target
    path = base.partition("://")[2].partition("/")[1:] if base else ()
    host = fields.get("x-forwarded-host", target.host)
    asked = OriginRequest(
        request.method,
        target.scheme,
        host,
        f"{''.join(path)}{target.path}".encode(),
        (target.query or "").encode(),
    )
    return {EDGE_SIGNATURE: signature_of(asked, secret, now_seconds)}


def localised(fields: Fields, target: Target, rule: Rule, settings: Settings) -> Fields:
    """Return a response's fields, references to an origin's own address turned into such to ``target``'s.

    As a reverse proxy does: a client that followed them would otherwise bypass the cache.
    """
    bases = rule.origins or ((settings.origin,) if settings.origin else ())
    changed = {
        name: f"{target.scheme}://{target.host}{fields[name][len(base) :]}"
        for name in _REFERENCES
        if name in fields
        for base in bases
        if fields[name].startswith(base) and fields[name][len(base) :][:1] in {"", "/", "?"}
    }
    return {**fields, **changed} if changed else fields


def is_internal(name: str, settings: Settings) -> bool:
    """Whether a response field is between origin and caches, and not for clients."""
    return name in _OWN or selected(settings.internal_fields, settings.shown_fields)[name]


def shown_fields(
    fields: Iterable[tuple[str, str]], settings: Settings, *, is_for_edge: bool = False
) -> list[tuple[str, str]]:
    """Return the fields of a response that are for clients, or for an edge: one more cache."""
    if is_for_edge:
        return [field for field in fields if field[0] not in _OWN]
    is_hidden = selected(settings.internal_fields, settings.shown_fields)
    return [field for field in fields if field[0] not in _OWN and not is_hidden[field[0]]]


def shown_key(key: str, request: Fields, settings: Settings) -> str:
    """Return the key for whom it may be shown, and else nothing (RFC 9211 section 6)."""
    if settings.cache_status_key:
        return key
    return key if knows_secret(request, settings) else ""


def relayed_bytes(method: str, status: int, fields: Fields) -> int | None:
    """Return the size of the body of a response that is handed on; ``None`` if it doesn't say."""
    # RFC 9112 section 6.3
    return 0 if method == "HEAD" or status in WITHOUT_CONTENT else content_length(fields)


def relayed_fields(
    before: Fields,
    fields: Fields,
    added: Fields,
    now_ms: int,
    settings: Settings,
    *,
    is_for_edge: bool = False,
) -> dict[str, str | None]:
    """Return what changes in the fields of a response that is handed on.

    A value to set, or ``None`` to remove.

    ``before`` are the fields as they came and ``fields`` as they were changed since; what is ``added`` goes
    behind what others on the way have said in these fields.
    """
    changes: dict[str, str | None] = {
        name: value for name, value in fields.items() if before.get(name) != value
    }
    changes |= {name: None for name in before if name not in fields}
    one_hop = hop_by_hop(before)
    changes |= {
        name: None
        for name in before
        if name in one_hop or name in _OWN or (not is_for_edge and is_internal(name, settings))
    }
    if "date" not in fields:
        changes["date"] = http_date(now_ms)  # RFC 9110 section 6.6.1
    for name, value in added.items():
        if value:
            changes[name] = f"{fields[name]}, {value}" if name in fields else value
    return changes


def dated(fields: Fields, now_ms: int) -> Fields:
    """Return the fields of a response that has just come, with a Date (RFC 9110 section 6.6.1)."""
    return fields if "date" in fields else {**fields, "date": http_date(now_ms)}


def http_date(now_ms: int) -> str:
    """Write a moment as an IMF-fixdate (RFC 9110 section 5.6.7)."""
    seconds = now_ms // 1000
    days, rest = divmod(seconds, 86_400)
    # The civil calendar from a count of days, by eras of 400 years that begin in March.
    era, day_of_era = divmod(days + 719_468, 146_097)
    year_of_era = (day_of_era - day_of_era // 1460 + day_of_era // 36_524 - day_of_era // 146_096) // 365
    day_of_year = day_of_era - (365 * year_of_era + year_of_era // 4 - year_of_era // 100)
    month = (5 * day_of_year + 2) // 153
    day = day_of_year - (153 * month + 2) // 5 + 1
    month, year = (
        (month + 3, year_of_era + era * 400) if month < 10 else (month - 9, year_of_era + era * 400 + 1)
    )
    hour, minute, second = rest // 3600, rest % 3600 // 60, rest % 60
    return f"{_DAYS[days % 7]}, {day:02} {_MONTHS[month - 1]} {year} {hour:02}:{minute:02}:{second:02} GMT"
