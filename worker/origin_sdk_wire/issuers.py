"""Who issues tokens, and where the keys are by which these are verified."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from origin_sdk_wire.errors import InvalidTarget
from origin_sdk_wire.key import parse_target
from origin_sdk_wire.values import ValueKind, from_json, shown_value, table, texts

__all__ = ["ALGORITHMS", "Issuer", "issuers"]

ALGORITHMS = frozenset({"RS256", "PS256", "ES256", "EdDSA"})
"""What tokens may be signed with (RFC 7518 section 3.1, RFC 8037): none of it with a shared secret."""

_MEMBERS = frozenset({"issuer", "keys", "audience", "claims", "algorithms"})
_MINE = frozenset({"localhost", "127.0.0.1", "::1"})
_EXAMPLE = (
    '{ issuer = "https://login.example.com", keys = "https://login.example.com/.well-known/jwks.json", '
    'audience = "https://api.example.com" }'
)


@dataclass(frozen=True, slots=True)
class Issuer:
    """One issuer: its tokens say ``issuer`` in ``iss``, and are for one of ``audience``.

    ``keys`` is the URL of its JWK Set (RFC 7517 section 5).
    """

    issuer: str
    keys: str
    audience: frozenset[str]
    claims: Mapping[str, object] = field(default_factory=dict, hash=False)
    """Claims that its tokens must have, with exactly these values."""
    algorithms: frozenset[str] = ALGORITHMS


def issuers() -> ValueKind:
    """A list of tables, or JSON: one for each issuer."""
    expects = f"a list of tables such as [{_EXAMPLE}]"

    def read(value: object) -> object:
        if isinstance(value, str):
            value = from_json(value) if value.strip() else ()
        if not isinstance(value, list | tuple):
            raise ValueError(f"give {expects}")  # noqa: TRY004 - one type of error for all kinds
        found = tuple(map(_issuer, value))
        if len({each.issuer for each in found}) < len(found):
            raise ValueError("two tables have one issuer; remove one of them")
        return found

    return ValueKind(expects, read, lambda _: "")


def _issuer(given: object) -> Issuer:
    if not isinstance(given, Mapping):
        raise ValueError(f"{shown_value(given)} isn't a table; write {_EXAMPLE}")  # noqa: TRY004
    unknown = sorted(map(str, given.keys() - _MEMBERS))
    if unknown:
        raise ValueError(f"{', '.join(unknown)}: an issuer has {', '.join(sorted(_MEMBERS))}")
    name, audience = given.get("issuer"), texts().read(given.get("audience", ()))
    if not isinstance(name, str) or not name:
        raise ValueError(f"each has an issuer, as its tokens say it in iss: {_EXAMPLE}")
    if not isinstance(audience, frozenset) or not audience:
        # RFC 8725 section 3.9: else a token for any service of the issuer would do here.
        raise ValueError(f"{shown_value(name)} needs an audience: whom its tokens for this API are for")
    claims, algorithms = table().read(given.get("claims", {})), texts().read(given.get("algorithms", ()))
    if not isinstance(claims, Mapping) or not isinstance(algorithms, frozenset):
        raise TypeError
    if not algorithms <= ALGORITHMS:
        unknown = sorted(algorithms - ALGORITHMS)
        raise ValueError(f"{', '.join(unknown)}: the algorithms are {', '.join(sorted(ALGORITHMS))}")
    return Issuer(name, _keys_url(given.get("keys"), name), audience, claims, algorithms or ALGORITHMS)


def _keys_url(url: object, name: str) -> str:
    try:
        target = parse_target(url) if isinstance(url, str) else None
    except InvalidTarget:
        target = None
    is_safe = target and (target.scheme == "https" or urlsplit(str(target)).hostname in _MINE)
    if not target or not is_safe:
        raise ValueError(
            f"keys = {shown_value(url)}: give the https URL of the JWK Set of {shown_value(name)}; its "
            "/.well-known/openid-configuration calls it jwks_uri"
        )
    return str(target)
