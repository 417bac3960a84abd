"""Cache fields of the API's responses: lifetimes, validators, and the 304 that they allow.

Lifetimes are written by hand here, to show more of what caches read than one middleware writes: `s-maxage`,
`CDN-Cache-Control`, `Last-Modified` beside ETag. The SDK's verbs say the groups, its middleware sends them.
"""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from email.utils import format_datetime, parsedate_to_datetime

from starlette.requests import Request
from starlette.responses import Response

from origin_sdk.asgi import add_groups


@dataclass(frozen=True, slots=True)
class Lifetimes:
    """Cache-Control of one kind of response and, where the edge should differ, CDN-Cache-Control."""

    cache_control: str
    # RFC 9213 section 2.2: where present it stands alone at the edge, so the windows are repeated in it.
    cdn_cache_control: str | None = None


PRODUCT = Lifetimes("public, max-age=60, s-maxage=300, stale-while-revalidate=60, stale-if-error=86400")
# A purge reaches the edge and not the browser: long there, short here.
PRODUCT_LIST = Lifetimes(
    "public, max-age=30, stale-if-error=600",
    "max-age=600, stale-while-revalidate=120, stale-if-error=86400",
)
# Few people repeat another's words, so a search is worth more to the one who asked than to the edge.
SEARCH = Lifetimes(
    "public, max-age=120, stale-if-error=600",
    "max-age=30, stale-while-revalidate=30, stale-if-error=3600",
)
CATEGORIES = Lifetimes(
    "public, max-age=300, s-maxage=3600, stale-while-revalidate=600, stale-if-error=604800"
)
IMAGE = Lifetimes(
    "public, max-age=86400", "max-age=604800, stale-while-revalidate=86400, stale-if-error=604800"
)
EXPORT = Lifetimes("public, max-age=60, s-maxage=600, stale-if-error=86400")
# Fresh for so short a time that the stale-while-revalidate window can be watched.
REPORT = Lifetimes("public, max-age=5, stale-while-revalidate=60, stale-if-error=86400")
MOVED = Lifetimes("public, max-age=3600, s-maxage=86400")
ABSENT = Lifetimes("public, max-age=10")
PERSONAL = Lifetimes("private, no-cache")
UNSTORED = Lifetimes("no-store")

_ENTITY_TAG = re.compile(r'(W/)?("[^"]*")')
# RFC 9110 section 15.4.5, and the fields that RFC 9213 and RFC 9875 add to what guides a cache.
_FIELDS_OF_304 = frozenset(
    {
        "cache-control",
        "cdn-cache-control",
        "cache-groups",
        "content-location",
        "etag",
        "last-modified",
        "vary",
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Validators:
    """The ETag (quoted) and the moment of last change of one representation; either may be missing."""

    etag: str | None = None
    last_modified: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Representation:
    """A whole answer to GET, before any condition of the request is looked at."""

    body: bytes
    lifetimes: Lifetimes
    media_type: str = "application/json"
    groups: tuple[str, ...] = ()
    last_modified: datetime | None = None
    fields: Mapping[str, str] = field(default_factory=dict)


def strong_etag(body: bytes) -> str:
    """Return the quoted entity tag of exactly these bytes."""
    return f'"{hashlib.blake2b(body, digest_size=12).hexdigest()}"'


def settled(last_modified: datetime, now: datetime) -> datetime | None:
    """Return `last_modified` unless more changes could still fall into the same second as it."""
    # RFC 9110 section 8.8.2.2: a date with the resolution of a second is weak until that second is over.
    return last_modified if int(last_modified.timestamp()) < int(now.timestamp()) else None


def cache_fields(lifetimes: Lifetimes, *, validators: Validators = Validators()) -> dict[str, str]:
    """Return the header fields that tell caches how long to keep a response, and how to validate it."""
    fields = {"Cache-Control": lifetimes.cache_control}
    if lifetimes.cdn_cache_control is not None:
        fields["CDN-Cache-Control"] = lifetimes.cdn_cache_control
    if validators.etag is not None:
        fields["ETag"] = validators.etag
    if validators.last_modified is not None:
        fields["Last-Modified"] = format_datetime(validators.last_modified, usegmt=True)
    return fields


def is_not_modified(request_fields: Mapping[str, str], validators: Validators) -> bool:
    """Tell whether a GET or HEAD with these fields is answered by 304."""
    if (if_none_match := request_fields.get("if-none-match")) is not None:
        # RFC 9110 section 13.1.2: the comparison is weak.
        return if_none_match.strip() == "*" or validators.etag in {
            opaque for _, opaque in _ENTITY_TAG.findall(if_none_match)
        }
    # RFC 9110 section 13.1.3: looked at only where If-None-Match is absent.
    since = _http_date(request_fields.get("if-modified-since"))
    if since is None or validators.last_modified is None:
        return False
    return int(validators.last_modified.timestamp()) <= int(since.timestamp())


def is_match_failed(request_fields: Mapping[str, str], etag: str) -> bool:
    """Tell whether If-Match keeps a write from being done on the representation with this entity tag."""
    if_match = request_fields.get("if-match")
    if if_match is None or if_match.strip() == "*":
        return False
    # RFC 9110 section 13.1.1: the comparison is strong, so that a weak tag matches nothing.
    return etag not in {opaque for weak, opaque in _ENTITY_TAG.findall(if_match) if not weak}


def _http_date(value: str | None) -> datetime | None:
    if value is None:
        return None
    try:
        parsed = parsedate_to_datetime(value)
    except ValueError:
        return None
    # RFC 9110 section 5.6.7: every HTTP-date is in GMT; one without a zone is none.
    return parsed if parsed.tzinfo is not None else None


def conditional_response(request: Request, representation: Representation) -> Response:
    """Answer with the representation, or with 304 if the client holds it already."""
    add_groups(*representation.groups)
    validators = Validators(etag=strong_etag(representation.body), last_modified=representation.last_modified)
    fields = dict(representation.fields) | cache_fields(representation.lifetimes, validators=validators)
    if is_not_modified(request.headers, validators):
        return not_modified(fields)
    return Response(representation.body, media_type=representation.media_type, headers=fields)


def not_modified(fields: Mapping[str, str]) -> Response:
    """Return a 304 with those of the fields that belong on one."""
    kept = {name: value for name, value in fields.items() if name.lower() in _FIELDS_OF_304}
    return Response(status_code=304, headers=kept)
