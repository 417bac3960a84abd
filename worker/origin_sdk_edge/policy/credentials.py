"""What a request proves of whom it is for: the claims of a valid token, or of a key in the table.

A credential is revoked by a purge of a group that its claims name by ``revoked_by``: it was issued before.
"""

from collections.abc import Mapping

from origin_sdk_edge.claims import Expected, is_for, verified_claims
from origin_sdk_edge.policy.facts import RequestFacts
from origin_sdk_wire.answers import named_groups
from origin_sdk_wire.api_keys import found_key
from origin_sdk_wire.facts import Fields
from origin_sdk_wire.key import unescape
from origin_sdk_wire.parameters import has_undeclared, parameters_of
from origin_sdk_wire.settings import Rule, Settings

__all__ = [
    "bearer_token",
    "claims_of",
    "has_undeclared_credential",
    "issued_ms",
    "presented_key",
    "revoking_groups",
]

_AHEAD_SECONDS = 300
"""By so much the clock of an issuer may be ahead."""
_MOST_CHARACTERS = 1024
"""Of an API key."""


def has_undeclared_credential(request: RequestFacts, rule: Rule, settings: Settings) -> bool:
    """Whether a request proves whose it is by something of which its rule says nothing.

    The answer may be for whom that proves: it is no other identity's, and a parameter that some rule hides is
    for no key to show. Declared is what the key covers, and what is said to make no difference by
    ``PASSED_FIELDS``, ``UNKEYED_FIELDS`` and ``ignore_cookies``, and what a hook has set.
    """
    hidden = settings.hidden_parameters
    if hidden and has_undeclared(request.target, rule.hidden_parameters, hidden):
        return True
    proving = settings.proving_fields(rule)
    return any(name in request.fields and name not in request.own for name in proving)


def claims_of(
    request: RequestFacts, rule: Rule, settings: Settings, now_ms: int
) -> Mapping[str, object] | None:
    """Return the claims of a request's credential, or ``None`` if it has none that is valid, now and here."""
    claims = _verified(request, rule, settings, now_ms)
    return claims if claims is None or not rule.audience or is_for(rule.audience, claims) else None


def _verified(
    request: RequestFacts, rule: Rule, settings: Settings, now_ms: int
) -> Mapping[str, object] | None:
    if request.token:
        return request.token.claims
    if rule.takes_api_keys:
        return _claims_of_key(request, rule, settings, now_ms)
    if settings.token_issuers:
        return None
    expected = Expected(settings.token_audience, settings.token_issuer, settings.token_claims)
    return verified_claims(
        bearer_token(request.fields),
        settings.token_secret,
        now_ms // 1000,
        expected,
        settings.token_leeway,
    )


def bearer_token(fields: Fields) -> str:
    """Return a request's bearer token (RFC 6750 section 2.1), or nothing."""
    scheme, _, token = fields.get("authorization", "").partition(" ")
    return token.strip(" ") if scheme.lower() == "bearer" else ""


def _claims_of_key(
    request: RequestFacts, rule: Rule, settings: Settings, now_ms: int
) -> Mapping[str, object] | None:
    given = presented_key(request, rule)
    if given is None:
        return None
    secrets = settings.api_key_table_secret, settings.api_key_table_old_secret
    key = found_key(given, secrets, settings.api_key_table)
    return key.claims if key and key.is_current(now_ms / 1000) else None


def presented_key(request: RequestFacts, rule: Rule) -> str | None:
    """Return the API key that a request has, if it has one."""
    given = _keys_given(request, rule)
    if len(given) != 1 or not 0 < len(given[0]) <= _MOST_CHARACTERS:
        return None  # of two, one can't tell which the origin takes
    return given[0]


def _keys_given(request: RequestFacts, rule: Rule) -> list[str]:
    """Return the API keys that a request has in any of the places where the rule looks."""
    given = [
        bearer_token(request.fields) if name == "authorization" else request.fields[name]
        for name in rule.api_key_fields
        if name in request.fields
    ]
    parameters = parameters_of(request.target, rule.api_key_parameters)
    if parameters is None:
        return []
    return [*given, *(unescape(value.replace("+", " ")) for value in parameters.values())]


def revoking_groups(rule: Rule, claims: Mapping[str, object]) -> tuple[str, ...] | None:
    """Return the groups whose purge revokes a credential; ``None`` if it lacks a claim that names one."""
    groups: list[str] = []
    for template in rule.revoked_by:
        named = list(named_groups(template, dict(claims)))
        if not named:
            return None  # nobody could revoke it
        groups += named
    return tuple(dict.fromkeys(groups))


def issued_ms(claims: Mapping[str, object], now_ms: int) -> int:
    """Return when a credential was issued (RFC 7519 section 4.1.6).

    Without ``iat`` that is before all purges, and so if it lies ahead: no purge until then would count.
    """
    issued, latest = claims.get("iat"), now_ms / 1000 + _AHEAD_SECONDS
    if not isinstance(issued, int | float) or isinstance(issued, bool) or not 0 < issued < latest:
        return 0
    return int(issued * 1000)
