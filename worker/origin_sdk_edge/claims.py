"""Claims of a verified JSON Web Token (RFC 7519): an identity in a key that can't be made up.

Here for HS256, whose secret the Worker shares; :mod:`.policy.tokens` has what issuers sign with keys of
their own.
"""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeGuard

from origin_sdk_wire.strict_json import strictly_read

__all__ = ["Expected", "decoded", "is_acceptable", "is_access", "is_for", "json_object", "verified_claims"]

_TYPES = frozenset({"jwt", "at+jwt", "application/jwt", "application/at+jwt"})

_LARGEST_TIME = 1e12


@dataclass(frozen=True, slots=True)
class Expected:
    """What a token must say beside being valid; an empty member asks for nothing."""

    audiences: frozenset[str] = frozenset()
    """One of these must be among the token's ``aud``."""
    issuers: frozenset[str] = frozenset()
    """One of these must be the token's ``iss``."""
    claims: Mapping[str, object] = field(default_factory=dict)
    """Claims that the token must have, with exactly these values."""


_NOTHING = Expected()


def verified_claims(
    token: str,
    secret: str,
    now_seconds: float,
    expected: Expected = _NOTHING,
    leeway_seconds: float = 0,
) -> Mapping[str, object] | None:
    """Return the claims of a token in compact form, or ``None`` if it isn't valid at ``now_seconds``.

    The signature comes first and is always HMAC-SHA-256 with ``secret``: what a token says about its own
    algorithm can only make it invalid, and nothing of an unsigned token is parsed. A token without an end,
    for another audience or not as ``expected`` isn't valid.
    """
    signed, _, signature = token.rpartition(".")
    head, dot, payload = signed.partition(".")
    if not secret or not dot or not _is_signature(signed, signature, secret):
        return None
    try:
        header, claims = json_object(head), json_object(payload)
    except ValueError:
        return None
    if header.get("alg") != "HS256" or not is_access(header):
        return None
    return claims if is_acceptable(claims, now_seconds, expected, leeway_seconds) else None


def is_acceptable(
    claims: Mapping[str, object], now_seconds: float, expected: Expected, leeway_seconds: float
) -> bool:
    """Whether the claims of a token whose signature is right make it valid, now and here."""
    return _is_current(claims, now_seconds, leeway_seconds) and _is_as(expected, claims)


def is_access(header: Mapping[str, object]) -> bool:
    """Whether a token may be one that grants access (RFC 8725 section 3.11, RFC 9068 section 2.1).

    Extensions that are marked critical make it invalid: none is understood (RFC 7515 section 4.1.11). No
    token leaves its payload unencoded (RFC 7797 section 7).
    """
    kind = header.get("typ", "JWT")
    is_plain = "crit" not in header and header.get("b64", True) is True
    return is_plain and isinstance(kind, str) and kind.lower() in _TYPES


def _is_as(expected: Expected, claims: Mapping[str, object]) -> bool:
    return (
        is_for(expected.audiences, claims)
        and (not expected.issuers or _is_one_of(claims.get("iss"), expected.issuers))
        and all(_is_same(claims.get(name), value) for name, value in expected.claims.items())
    )


def is_for(audiences: frozenset[str], claims: Mapping[str, object]) -> bool:
    """Whether a token is for one of ``audiences`` (RFC 7519 section 4.1.3)."""
    if "aud" not in claims:
        return not audiences
    named = claims["aud"] if isinstance(claims["aud"], list) else [claims["aud"]]
    return any(_is_one_of(audience, audiences) for audience in named)


def _is_one_of(value: object, texts: frozenset[str]) -> bool:
    return isinstance(value, str) and value in texts


def _is_same(value: object, expected: object) -> bool:
    return type(value) is type(expected) and value == expected


def _is_signature(signed: str, signature: str, secret: str) -> bool:
    try:
        given = decoded(signature)
    except ValueError:
        return False
    expected = hmac.new(secret.encode(), signed.encode("utf-8", "replace"), hashlib.sha256).digest()
    return hmac.compare_digest(given, expected)


def _is_current(claims: Mapping[str, object], now_seconds: float, leeway_seconds: float) -> bool:
    """Whether the token has an end, and is neither expired nor early (RFC 7519 sections 4.1.4, 4.1.5)."""
    expires, begins = claims.get("exp"), claims.get("nbf", now_seconds)
    return (
        _is_number(expires)
        and _is_number(begins)
        and (begins - leeway_seconds <= now_seconds < expires + leeway_seconds)
    )


def _is_number(value: object) -> TypeGuard[float]:
    """Whether a claim is a time: what is larger than all of these is none, or infinite."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < _LARGEST_TIME


def json_object(encoded: str) -> Mapping[str, object]:
    """Read a part of a token; raises :class:`ValueError`."""
    value = strictly_read(decoded(encoded).decode())  # RFC 7519 section 4: a name twice may mean either
    if not isinstance(value, dict):
        raise ValueError("not a JSON object")  # noqa: TRY004 - what was read is at fault
    return value


def decoded(text: str) -> bytes:
    """Decode base64url without padding (RFC 7515 section 2), in its one canonical form."""
    if not text.isascii() or "=" in text or "+" in text or "/" in text:
        raise ValueError("not base64url")
    try:
        decoded = base64.b64decode(
            text.replace("-", "+").replace("_", "/") + "=" * (-len(text) % 4), validate=True
        )
    except binascii.Error as error:
        raise ValueError("not base64url") from error
    if base64.urlsafe_b64encode(decoded).rstrip(b"=") != text.encode():
        raise ValueError("not base64url in canonical form")
    return decoded
