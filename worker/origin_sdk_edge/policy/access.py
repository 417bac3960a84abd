"""Who may see what is not for everyone: the key of a response, timings in full, metrics."""

import hmac

from origin_sdk_edge.policy.facts import RequestFacts
from origin_sdk_wire.facts import Fields
from origin_sdk_wire.settings import Settings

__all__ = ["DEBUG", "METRICS_PATH", "knows_secret", "may_read_metrics"]

DEBUG = "cache-debug"
"""The request field in which somebody proves that it may be shown to them."""
METRICS_PATH = "/.edge-cache/metrics"
"""Where the Worker tells what it counted, on each of its hosts."""
_BEARER = "bearer "
_THIS_MACHINE = frozenset({"localhost", "127.0.0.1", "[::1]"})


def knows_secret(request: Fields, settings: Settings) -> bool:
    """Whether a request proves by Cache-Debug that it comes from who runs the cache."""
    return _is_secret(request.get(DEBUG, ""), settings)


def may_read_metrics(request: RequestFacts, settings: Settings) -> bool:
    """Whether the metrics may be told: by Cache-Debug, by a bearer token (RFC 6750), or to a developer.

    While developing they are told to who calls the Worker by a name of this machine: another name may be a
    page's that has it resolve to here.
    """
    if settings.development and request.target.hostname in _THIS_MACHINE:
        return True
    scheme = request.fields.get("authorization", "")
    bearer = scheme[len(_BEARER) :].strip() if scheme[: len(_BEARER)].lower() == _BEARER else ""
    return knows_secret(request.fields, settings) or _is_secret(bearer, settings)


def _is_secret(given: str, settings: Settings) -> bool:
    if not (given and settings.debug_secret):
        return False
    return hmac.compare_digest(given.encode("utf-8", "replace"), settings.debug_secret.encode())
