"""Tokens that issuers sign with keys of their own, and which key verifies one (RFC 7515, 7517, 7518, 8725).

Of an unverified token two things are believed, each to choose among what is configured: ``iss``, at which
issuer's keys to look, and ``kid``, at which of these. Keys and places of keys that a token brings along
(``jwk``, ``jku``, ``x5u``, ``x5c``) are never looked at; and no key of these verifies a token that names an
algorithm of shared secrets.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from origin_sdk_edge.claims import Expected, decoded, is_acceptable, is_access, json_object
from origin_sdk_wire.issuers import Issuer
from origin_sdk_wire.strict_json import strictly_read

__all__ = ["Jwk", "SignedToken", "accepted_claims", "candidates", "read_key_set", "signed_token"]

_MOST_KEYS = 64
_MOST_CANDIDATES = 4
_MOST_CHARACTERS = 8192
_LEAST_RSA_BYTES = 256
"""RFC 7518 section 3.3: a key of 2048 bits or larger."""
_PRIME = (1 << 255) - 19
_D = -121665 * pow(121666, -1, _PRIME)
"""Of Ed25519 (RFC 8032 section 5.1)."""
_SECRET = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth", "k"})
"""What no public key has (RFC 7518 section 6): by one that has been made known anybody may sign."""
_RSA = ("kty", "n", "e")
_KINDS: Mapping[str, tuple[str, str, tuple[str, ...]]] = {
    "RS256": ("RSA", "", _RSA),
    "PS256": ("RSA", "", _RSA),
    "ES256": ("EC", "P-256", ("kty", "crv", "x", "y")),
    "EdDSA": ("OKP", "Ed25519", ("kty", "crv", "x")),
}
"""By algorithm: the type of its keys, their curve, and the members that make one."""


@dataclass(frozen=True, slots=True)
class SignedToken:
    """A token that nobody has verified yet."""

    algorithm: str
    key_id: str | None
    issuer: Issuer
    claims: Mapping[str, object]
    message: bytes
    signature: bytes


@dataclass(frozen=True, slots=True)
class Jwk:
    """A public key of an issuer, with the members alone that make it; ``algorithm`` may be unsaid."""

    key_id: str | None
    algorithm: str | None
    members: Mapping[str, str]


def signed_token(token: str, issuers: Sequence[Issuer]) -> SignedToken | None:
    """Read a token in compact form; ``None`` if no key of ``issuers`` could verify it."""
    message, _, signature = token.rpartition(".")
    head, dot, payload = message.partition(".")
    if not dot or len(token) > _MOST_CHARACTERS:
        return None
    try:
        header, claims, signed = json_object(head), json_object(payload), decoded(signature)
    except ValueError:
        return None
    issuer = next((each for each in issuers if each.issuer == claims.get("iss")), None)
    algorithm, key_id = header.get("alg"), header.get("kid")
    if issuer is None or not isinstance(algorithm, str) or algorithm not in issuer.algorithms:
        return None
    if not is_access(header) or not isinstance(key_id, str | None):
        return None
    return SignedToken(algorithm, key_id, issuer, claims, message.encode(), signed)


def accepted_claims(
    token: SignedToken, now_seconds: float, leeway_seconds: float
) -> Mapping[str, object] | None:
    """Return the claims of a token whose signature is right, or ``None`` if it isn't valid now, or here."""
    issuer = token.issuer
    expected = Expected(issuer.audience, frozenset({issuer.issuer}), issuer.claims)
    return token.claims if is_acceptable(token.claims, now_seconds, expected, leeway_seconds) else None


def read_key_set(text: str) -> tuple[Jwk, ...]:
    """Read the public keys for signatures of a JWK Set; raises :class:`ValueError` for what is none."""
    found = strictly_read(text)
    keys = found.get("keys") if isinstance(found, dict) else None
    if not isinstance(keys, list):
        raise ValueError('not a JWK Set: it has no list "keys"')  # noqa: TRY004 - what was read is at fault
    return tuple(_jwks(keys[:_MOST_KEYS]))


def _jwks(keys: list[object]) -> Iterator[Jwk]:
    for key in keys:
        if not isinstance(key, dict) or key.get("use", "sig") != "sig" or not key.keys().isdisjoint(_SECRET):
            continue
        operations, said = key.get("key_ops", ["verify"]), (key.get("kid"), key.get("alg"))
        if not isinstance(operations, list) or "verify" not in operations:
            continue
        if not all(isinstance(each, str | None) for each in said):
            continue
        for kind, curve, names in dict.fromkeys(_KINDS.values()):
            members = {name: key[name] for name in names if isinstance(key.get(name), str)}
            is_whole = len(members) == len(names) and not (kind == "OKP" and _is_weak(members["x"]))
            if is_whole and members["kty"] == kind and members.get("crv", "") == curve:
                yield Jwk(*said, members)


def _is_weak(key: str) -> bool:
    """Whether a key of Ed25519 is a point whose order divides 8: to it anybody can make signatures.

    RFC 8032 section 8.3 leaves the check to implementations, and WebCrypto doesn't make it. The points are
    where y is 0, 1 or -1, or the double has y = 0: d y^4 + 2 y^2 = 1.
    """
    try:
        y = int.from_bytes(decoded(key), "little") % (1 << 255) % _PRIME
    except ValueError:
        return False  # which WebCrypto takes for no key
    return y in {0, 1, _PRIME - 1} or (_D * pow(y, 4, _PRIME) + 2 * y * y - 1) % _PRIME == 0


def candidates(keys: Sequence[Jwk], token: SignedToken) -> list[Jwk]:
    """Return the keys by which a token may be verified: by its ``kid`` if it has one, always by its kind."""
    return [key for key in keys if _fits(key, token)][:_MOST_CANDIDATES]


def _fits(key: Jwk, token: SignedToken) -> bool:
    kind, curve, _ = _KINDS[token.algorithm]
    if key.members["kty"] != kind or key.members.get("crv", "") != curve:
        return False
    if key.algorithm not in {None, token.algorithm} or token.key_id not in {None, key.key_id}:
        return False
    try:
        return kind != "RSA" or len(decoded(key.members["n"]).lstrip(b"\0")) >= _LEAST_RSA_BYTES
    except ValueError:
        return False
