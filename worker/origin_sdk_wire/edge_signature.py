"""How the Worker signs what it asks an origin, so that the origin can refuse requests that bypass the edge.

::

    Edge-Signature: t=1795744800, s=5f0c…

``s`` is HMAC-SHA256 (RFC 2104), in hexadecimal, with a secret that both know, over a version, the time in
seconds, the method, the scheme and the host that the client asked for, the path and the query. The path is
percent-decoded, since not every server shows an application the other one.
"""

import hashlib
import hmac
import re
from collections.abc import Iterable
from dataclasses import dataclass

__all__ = ["EDGE_SIGNATURE", "WINDOW_SECONDS", "OriginRequest", "is_signed", "signature_of"]

EDGE_SIGNATURE = "edge-signature"
WINDOW_SECONDS = 300
"""By how much the time of a request may differ from the origin's, unless it says otherwise."""

_VERSION = "origin-sdk-edge/1"
_VALUE = re.compile(r"t=([0-9]{1,12}), s=([0-9a-f]{64})")
_PERCENT = re.compile(rb"%([0-9A-Fa-f]{2})")


@dataclass(frozen=True, slots=True)
class OriginRequest:
    """A request as the origin gets it; ``scheme`` and ``host`` are those that the client asked for."""

    method: str
    scheme: str
    host: str
    path: bytes
    """Percent-encoded or not: it is decoded once."""
    query: bytes = b""
    is_decoded: bool = False
    """Whether the path is decoded already."""


def signature_of(asked: OriginRequest, secret: str, seconds: int) -> str:
    """Return the value of the field for a request that is sent at ``seconds`` since the epoch."""
    return f"t={seconds}, s={_mac(asked, secret, seconds)}"


def is_signed(
    value: str,
    asked: OriginRequest,
    secrets: Iterable[str],
    now_seconds: float,
    window_seconds: float = WINDOW_SECONDS,
) -> bool:
    """Whether a value of the field is right for a request, by any of ``secrets``: while they change, two."""
    found = _VALUE.fullmatch(value)
    if not found or abs(now_seconds - int(found[1])) > window_seconds:
        return False
    given = found[2].encode()
    # Each is compared, so that the time taken doesn't tell which is right.
    right = [
        hmac.compare_digest(_mac(asked, secret, int(found[1])).encode(), given)
        for secret in secrets
        if secret
    ]
    return any(right)


def _mac(asked: OriginRequest, secret: str, seconds: int) -> str:
    path = (
        asked.path if asked.is_decoded else _PERCENT.sub(lambda found: bytes([int(found[1], 16)]), asked.path)
    )
    texts = (_VERSION, str(seconds), asked.method, asked.scheme, asked.host)
    # Their lengths go before, so that no part can pass for another one's end.
    parts = [*(text.encode("utf-8", "replace") for text in texts), path, asked.query]
    signed = b"".join(b"%d:%b\n" % (len(part), part) for part in parts)
    return hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest()
