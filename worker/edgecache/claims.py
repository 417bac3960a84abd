"""Claims of a verified JSON Web Token (RFC 7519, HS256 alone): an identity in a key that can't be made up."""

import base64
import binascii
import hashlib
import hmac
import json
from collections.abc import Mapping
from typing import TypeGuard

__all__ = ["verified_claims"]


def verified_claims(token: str, secret: str, now_seconds: float) -> Mapping[str, object] | None:
    """Return the claims of a token in compact form, or ``None`` if it isn't valid at ``now_seconds``.

    The signature comes first and is always HMAC-SHA-256 with ``secret``: what a token says about its own
    algorithm can only make it invalid, and nothing of an unsigned token is parsed.
    """
    signed, _, signature = token.rpartition(".")
    head, dot, payload = signed.partition(".")
    if not secret or not dot or not _is_signature(signed, signature, secret):
        return None
    try:
        header, claims = _json_object(head), _json_object(payload)
    except (ValueError, RecursionError):
        return None
    # RFC 7515 section 4.1.11: extensions that are marked critical and not understood make the token invalid.
    if header.get("alg") != "HS256" or "crit" in header:
        return None
    return claims if _is_current(claims, now_seconds) else None


def _is_signature(signed: str, signature: str, secret: str) -> bool:
    try:
        given = _decoded(signature)
    except ValueError:
        return False
    expected = hmac.new(secret.encode(), signed.encode("utf-8", "replace"), hashlib.sha256).digest()
    return hmac.compare_digest(given, expected)


def _is_current(claims: Mapping[str, object], now_seconds: float) -> bool:
    """Whether the token is neither expired nor early (RFC 7519 sections 4.1.4 and 4.1.5)."""
    expires, begins = claims.get("exp", now_seconds + 1), claims.get("nbf", now_seconds)
    return _is_number(expires) and _is_number(begins) and begins <= now_seconds < expires


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _json_object(encoded: str) -> Mapping[str, object]:
    value = json.loads(
        _decoded(encoded).decode(), object_pairs_hook=_without_repeats, parse_constant=_refused
    )
    if not isinstance(value, dict):
        raise ValueError("not a JSON object")  # noqa: TRY004 - what was read is at fault
    return value


def _without_repeats(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """Refuse a repeated name, of which the issuer may have meant the other one (RFC 7519 section 4)."""
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a repeated name")
    return members


def _refused(constant: str) -> float:
    raise ValueError(f"{constant} isn't JSON")


def _decoded(text: str) -> bytes:
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
