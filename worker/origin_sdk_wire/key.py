"""From a request target to the KV key of its stored responses.

A key can be read, and listed by host or by path::

    r1/https/api.example.com/products?page=2        a URL's only response, or the index of its variants
    r1/https/api.example.com/products?page=2#5f0…   one variant: 32 hex digits over the key's other parts
    r1/https/api.example.com/products?ids=1,2…#~93… too long for KV: its beginning, and 32 digits over the
    whole

``#`` can't occur in a request target, so no URL can be made to look like another's variant.

Two targets share a key only where RFC 3986 section 6.2.2 calls them equivalent: case of scheme and host, a
default port, dot segments, the case of percent-encoding, and percent-encoded unreserved characters. The rest
is as the WHATWG URL standard serialises it, which is what the Worker sees.
"""

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

from origin_sdk_wire.errors import InvalidTarget
from origin_sdk_wire.memo import remember_short

__all__ = [
    "BODY_PREFIXES",
    "CUT",
    "MAX_KEY_BYTES",
    "RECORD_PREFIX",
    "KeyParts",
    "Target",
    "body_key",
    "claim_text",
    "digest",
    "escape_path",
    "fit",
    "hostname_of",
    "is_sealed_body",
    "parse_target",
    "record_key",
    "unescape",
    "variant_key",
]

KeyParts: TypeAlias = tuple[tuple[str, str | None], ...]
"""What a key holds beyond the target: names and values, ``None`` where a request lacks one."""
MAX_KEY_BYTES = 512
"""Cloudflare's limit for a KV key."""

RECORD_PREFIX = "r1/"
BODY_PREFIX = "b1/"
SEALED_BODY_PREFIX = "b2/"
BODY_PREFIXES = (BODY_PREFIX, SEALED_BODY_PREFIX)

CUT = "#~"
"""Stands where a key was cut, before the digest of the whole."""
_DIGEST_CHARACTERS = 32
_VARIANT_BYTES = 1 + _DIGEST_CHARACTERS
_DEFAULT_PORTS = {"http": 80, "https": 443}
_LARGEST_PORT = 65_535
_ABSOLUTE = re.compile(
    r"(https?)://([^/?#\\]*)([^?#]*)(?:\?([^#]*))?(?:#.*)?", re.IGNORECASE | re.ASCII | re.DOTALL
)
_AUTHORITY = re.compile(r"([A-Za-z0-9._~!$&'()*+,;=-]+|\[[0-9A-Fa-f:.]+\])(?::([0-9]{0,9}))?")
# One that follows a stray "%" or "%4" stays as it is: decoded, it would complete another.
_PERCENT = re.compile(r"(?<!%)(?<!%[0-9A-Fa-f])%([0-9A-Fa-f]{2})|%[0-9A-Fa-f]{2}")
_ENCODED = re.compile(rb"%([0-9A-Fa-f]{2})")
_PORT_OR_ROOT = re.compile(r"\.?(?::[0-9]+)?$")
_DOT = re.compile(r"%2e", re.IGNORECASE)
_IGNORED = re.compile(r"[\t\n\r]")
_AT_THE_ENDS = "".join(map(chr, range(0x21)))
# The characters that a WHATWG URL percent-encodes in a path and in a query; some parsers leave `^`.
_IN_PATH = re.compile(r"[^\x21\x24-\x3b\x3d\x40-\x5d\x5f\x61-\x7a\x7c\x7e%]")
_IN_QUERY = re.compile(r"[^\x21\x24-\x26\x28-\x3b\x3d\x3f-\x7e%]")
_UNRESERVED = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")


def hostname_of(host: str) -> str:
    """Return an authority's host as origins compare it: without a port and the dot of the root."""
    return _PORT_OR_ROOT.sub("", host) if ":" in host or host.endswith(".") else host


@dataclass(frozen=True, slots=True)
class Target:
    """A target URI, normalised: two equal targets are the same resource to the cache.

    ``host`` is the authority (host and, if it isn't the scheme's default, port); ``path`` begins with ``/``;
    ``query`` is ``None`` where there is no ``?``.
    """

    scheme: str
    host: str
    path: str
    query: str | None = None

    @property
    def location(self) -> str:
        """Host, path and query: what URL marks name, since a purge covers both schemes."""
        return f"{self.host}{self.path}" if self.query is None else f"{self.host}{self.path}?{self.query}"

    @property
    def hostname(self) -> str:
        """The host as origins compare it: without a port and the dot of the root of the name space."""
        return hostname_of(self.host)

    @property
    def origin(self) -> tuple[str, str]:
        """Scheme and authority, as far as "same origin" is asked (RFC 9110 section 4.3.1)."""
        return self.scheme, self.host

    def __str__(self) -> str:
        return f"{self.scheme}://{self.location}"


@remember_short(1024)
def parse_target(url: str) -> Target:
    """Read an absolute http or https URL.

    Raises :class:`InvalidTarget` for another scheme, a relative reference, user information, an empty host,
    or one that isn't ASCII.
    """
    found = _ABSOLUTE.fullmatch(_IGNORED.sub("", url.strip(_AT_THE_ENDS)))
    if not found:
        raise InvalidTarget(f"{url!r} isn't an absolute http or https URL; write it as https://host/path")
    if not url.isascii():
        _require_encodable(url)
    scheme, authority, path, query = found.groups()
    scheme = scheme.lower()
    return Target(
        scheme,
        _host(scheme, authority, url),
        _path(path),
        None if query is None else _escape(query, _IN_QUERY),
    )


def _require_encodable(url: str) -> None:
    try:
        url.encode()
    except UnicodeEncodeError as error:
        raise InvalidTarget(f"{url!r} has half a surrogate pair in it, which no URL can hold") from error


def _host(scheme: str, authority: str, url: str) -> str:
    found = _AUTHORITY.fullmatch(authority)
    port = int((found and found[2]) or _DEFAULT_PORTS[scheme])
    if not found or port > _LARGEST_PORT:
        raise InvalidTarget(
            f"{url!r} has no valid host: write it as https://host/path, without user information, "
            "and a host that isn't ASCII in its xn-- form"
        )
    host = found[1].lower()
    return host if port == _DEFAULT_PORTS[scheme] else f"{host}:{port}"


def _path(path: str) -> str:
    path = path.replace("\\", "/")
    if "/." in path or "%2" in path:
        path = _without_dot_segments(path)
    return escape_path(path) or "/"


def escape_path(path: str) -> str:
    """Return ``path`` with its percent-encoding normalised and what a path can't hold encoded."""
    return _escape(path, _IN_PATH)


def unescape(text: str) -> str:
    """Return ``text`` percent-decoded as UTF-8; what isn't UTF-8 is replaced."""
    octets = _ENCODED.sub(lambda found: bytes.fromhex(found[1].decode()), text.encode("utf-8", "replace"))
    return octets.decode("utf-8", "replace")


def _without_dot_segments(path: str) -> str:
    kept: list[str] = []
    segments = path.split("/")[1:]
    for position, segment in enumerate(segments):
        plain = _DOT.sub(".", segment)
        is_last = position == len(segments) - 1
        if plain == "..":
            if kept:
                kept.pop()
        elif plain != ".":
            kept.append(segment)
            continue
        if is_last:
            kept.append("")
    return "/" + "/".join(kept)


def _escape(text: str, unsafe: re.Pattern[str]) -> str:
    if unsafe.search(text):
        text = unsafe.sub(lambda found: "".join(f"%{byte:02X}" for byte in found.group().encode()), text)
    if "%" in text:
        text = _PERCENT.sub(_normalised_percent, text)
    return text


def _normalised_percent(found: re.Match[str]) -> str:
    character = chr(int(found[1], 16)) if found[1] else ""
    return character if character in _UNRESERVED else found[0].upper()


def claim_text(value: object) -> str | None:
    """Return a token's claim as it stands in a key: of another type is another; ``None`` for null.

    ``value`` is what JSON holds. What is nested too deeply counts as null.
    """
    try:
        return None if value is None else json.dumps(value, sort_keys=True, separators=(",", ":"))
    except RecursionError:
        return None


def digest(*parts: object) -> str:
    """32 hex digits of SHA-256 over ``parts``; different parts give different digests."""
    encoded = json.dumps(parts, separators=(",", ":")).encode()
    return hashlib.sha256(encoded).hexdigest()[:_DIGEST_CHARACTERS]


def fit(key: str, limit: int) -> str:
    """Return ``key`` if it has at most ``limit`` bytes, else its beginning and a digest of the whole."""
    encoded = key.encode()
    if len(encoded) <= limit and CUT not in key:
        return key
    room = limit - len(CUT) - _DIGEST_CHARACTERS
    return encoded[:room].decode("utf-8", "ignore") + CUT + digest("long", key)


def record_key(target: Target) -> str:
    """Return the KV key of a target's stored response, or of the index of its variants."""
    return fit(f"{RECORD_PREFIX}{target.scheme}/{target.location}", MAX_KEY_BYTES - _VARIANT_BYTES)


def variant_key(base: str, parts: Sequence[tuple[str, str | None]]) -> str:
    """Return the KV key of one variant of ``base``, a :func:`record_key`.

    ``parts`` are the names and values beyond the target that select it: what a rule declares, and the
    selecting header fields that the response nominates with Vary. Values are only ever stored as a digest.
    """
    return f"{base}#{digest('variant', *parts)}" if parts else base


def body_key(record_id: str, *, is_sealed: bool = False) -> str:
    """Return the KV key of a body that is stored apart from its record."""
    return (SEALED_BODY_PREFIX if is_sealed else BODY_PREFIX) + record_id


def is_sealed_body(key: str) -> bool:
    """Whether a body that lies apart is sealed in parts."""
    return key.startswith(SEALED_BODY_PREFIX)
