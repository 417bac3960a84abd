"""What an edge and its shield tell each other beside HTTP, in a field of each request and of each response.

::

    Edge-Shield: settings=5f1d…&own=x-tenant&address=203.0.113.7&soft=1795744800000     a request
    Edge-Shield: birth=1795744800120&later=1                                            an answer to it
    Edge-Shield: failure=origin-timeout                                                 the origin failed
    Edge-Shield: refused=settings&digests=ORIGIN=5f1d…+RULES=…                          the edge is to ask

Only what comes over the binding is believed: the field of a client or an origin goes no further. A response
without it is none of the shield's.

An answer bears the *birth* that it had at the shield, so that a purge ends it at the edge as it does there.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from urllib.parse import parse_qs, parse_qsl, urlencode

from origin_sdk_edge.policy.decision import Invalidity, Lookup
from origin_sdk_edge.policy.facts import OriginFailure, RequestFacts
from origin_sdk_edge.policy.unkeyed import address_of
from origin_sdk_wire.settings import Settings
from origin_sdk_wire.shield import SHIELD_FIELD
from origin_sdk_wire.unkeyed import is_among

__all__ = [
    "Asking",
    "Told",
    "asking_field",
    "fields_for_shield",
    "parse_asking",
    "parse_told",
    "received",
    "told_failure",
    "told_refusal",
    "told_response",
]

_RECENT_MS = 600_000
"""Purges that were before aren't told of: whoever reads marks knows them."""


@dataclass(frozen=True, slots=True)
class Asking:
    """What an edge says of a request.

    By which settings it goes, which fields its hook has set, the client's address as Cloudflare knows it, and
    the last moments at which what is asked for was purged, softly and hard, as far as it knows.
    """

    settings: str
    own: frozenset[str]
    address: str
    soft_ms: int
    hard_ms: int


@dataclass(frozen=True, slots=True)
class Told:
    """What a shield says of a response: when the origin was asked for it, or how the origin failed."""

    birth_ms: int = 0
    is_later: bool = False
    """Whether the origin was asked after the edge had asked."""
    may_store: bool = True
    failure: OriginFailure | None = None
    is_refused: bool = False
    digests: Mapping[str, str] = field(default_factory=dict)
    """Of a refusal: by which settings the shield goes, as :func:`.shield.setting_digests` has them."""


def asking_field(lookup: Lookup, settings: str, purged: Invalidity, now_ms: int) -> str:
    """Write what is said of a request for what was last ``purged`` then."""
    told: dict[str, str | int] = {"settings": settings}
    if lookup.request.own:
        told["own"] = " ".join(sorted(lookup.request.own))
    if address := address_of(lookup.client.fields):
        told["address"] = address
    moments_ms = {"soft": purged.soft_ms, "hard": purged.hard_ms}
    told |= {name: moment for name, moment in moments_ms.items() if moment > now_ms - _RECENT_MS}
    return urlencode(told)


def parse_asking(text: str) -> Asking:
    """Read what is said of a request; raises :class:`ValueError`."""
    told = _read(text)
    return Asking(
        told["settings"],
        frozenset(told.get("own", "").split()),
        told.get("address", ""),
        int(told.get("soft", 0)),
        int(told.get("hard", 0)),
    )


def received(request: RequestFacts, asking: Asking) -> RequestFacts:
    """Return a request as the edge had it."""
    fields = {name: value for name, value in request.fields.items() if name != SHIELD_FIELD}
    if asking.address:
        fields["cf-connecting-ip"] = asking.address
    return replace(request, fields=fields, own=asking.own, is_from_edge=True)


def fields_for_shield(lookup: Lookup, conditional: Mapping[str, str], settings: Settings) -> dict[str, str]:
    """Return the fields of a request to the shield.

    They are what the origin would get of this edge, and what that gets only where its responses nominate it:
    that is for the shield to know. In the safe profile the client's address is told beside them.
    """
    fields = {**lookup.undisclosed, **lookup.request.fields, **conditional}
    is_vouched = is_among(
        "x-forwarded-for", settings.passed_fields.union(lookup.request.own, lookup.rule.fields)
    )
    if settings.is_safe and not is_vouched:
        fields.pop("x-forwarded-for", None)
    return fields


def told_response(birth_ms: int, began_ms: int, *, may_store: bool = True) -> str:
    """Write what is said of a response to an edge that asked at ``began_ms``."""
    told = {"birth": birth_ms, "later": int(birth_ms >= began_ms)}
    return urlencode(told if may_store else {**told, "unstored": 1})


def told_failure(failure: OriginFailure) -> str:
    """Write how the origin failed."""
    return urlencode({"failure": failure.value})


def told_refusal(digests: Mapping[str, str]) -> str:
    """Write what a shield of other settings, or of another version, says: by which it goes."""
    return urlencode({"refused": "settings", "digests": urlencode(digests)})


def parse_told(text: str) -> Told:
    """Read what is said of a response; raises :class:`ValueError` for what no shield says."""
    told = _read(text)
    if "failure" in told:
        return Told(failure=OriginFailure(told["failure"]))
    if "refused" in told:
        return Told(is_refused=True, digests=dict(parse_qsl(told.get("digests", ""))))
    return Told(int(told["birth"]), told["later"] == "1", "unstored" not in told)


def _read(text: str) -> Mapping[str, str]:
    try:
        return _Read({name: values[0] for name, values in parse_qs(text, strict_parsing=True).items()})
    except ValueError as error:
        raise ValueError(f"not what edge and shield say: {text[:80]!r}") from error


class _Read(dict[str, str]):
    def __missing__(self, name: str) -> str:
        raise ValueError(f"edge and shield say {name}, and it is missing")
