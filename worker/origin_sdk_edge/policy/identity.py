"""The declared identity of a request: what a rule puts into the key beside the target.

It is read at least as strictly as any framework reads it, so that no two readings of one request differ: what
frameworks read in different ways is no identity.
"""

import re
from collections.abc import Iterable, Mapping

from origin_sdk_edge.policy.credentials import claims_of
from origin_sdk_edge.policy.facts import RequestFacts
from origin_sdk_wire.choices import DataClass
from origin_sdk_wire.facts import Reason
from origin_sdk_wire.key import KeyParts, claim_text
from origin_sdk_wire.parameters import NOBODY, parameters_of
from origin_sdk_wire.rules import covers_name
from origin_sdk_wire.settings import Rule, Settings

__all__ = ["cookies_of", "has_cookie", "identity_of"]

# RFC 6265 section 4.2.1, with any white space where it has one space; "%" is decoded in names by some.
_OCTETS = r"[\x21\x23-\x2b\x2d-\x3a\x3c-\x5b\x5d-\x7e]*"
_PAIR = re.compile(rf"[ \t]*([!#$&'*+.^_`|~0-9A-Za-z-]+)=({_OCTETS}|\"{_OCTETS}\")")
_BLANK = re.compile(r"[ \t]*")


def identity_of(request: RequestFacts, rule: Rule, settings: Settings, now_ms: int) -> KeyParts | Reason:
    """Return the names and values of a request's declared identity, or why it has none.

    An absent value is ``None``; for a ``private`` rule there must be all, and none of them empty.
    """
    if not rule.declares_identity:
        return ()
    parts: list[tuple[str, str | None]] = [
        (f"field:{name}", request.fields.get(name)) for name in rule.fields
    ]
    if rule.cookies:
        cookies = cookies_of(request.fields.get("cookie", ""), rule.cookies)
        if cookies is None:
            return Reason.MALFORMED_COOKIE
        parts += [(f"cookie:{name}", cookies.get(name)) for name in rule.cookies]
    if rule.claims:
        claims = claims_of(request, rule, settings, now_ms)
        if claims is None:
            return (request.token and request.token.refusal) or Reason.IDENTITY_MISSING
        parts += [
            (f"{rule.claim_kind}:{name}", claim_text(claims.get(name)))
            for name in settings.claims_keyed(rule)
        ]
    if rule.parameters:
        parameters = parameters_of(request.target, rule.parameters)
        if parameters is None:
            return Reason.IDENTITY_MISSING
        parts += [(f"parameter:{name}", parameters.get(name)) for name in rule.parameters]
    if rule.data_class is DataClass.PRIVATE and any(value in NOBODY for _, value in parts):
        return Reason.IDENTITY_MISSING
    return tuple(parts)


def has_cookie(value: str, names: Iterable[str]) -> bool:
    """Whether a Cookie field has a cookie that one of ``names``, which are patterns, matches.

    However malformed: what passes by the cache for nothing is slower, and not wrong.
    """
    patterns = tuple(names)
    return any(covers_name(patterns, text.partition("=")[0].strip()) for text in value.split(";"))


def cookies_of(value: str, names: tuple[str, ...]) -> Mapping[str, str] | None:
    """Return those cookies of a Cookie field that have one of ``names``.

    ``None`` if the field has anything in it that RFC 6265 doesn't allow, or one of them twice: frameworks
    disagree about which value counts.
    """
    cookies: dict[str, str] = {}
    for text in value.split(";"):
        pair = _PAIR.fullmatch(text)
        if pair is None:
            if _BLANK.fullmatch(text):
                continue
            return None
        if pair[1] in cookies:
            return None
        if pair[1] in names:
            cookies[pair[1]] = pair[2]
    return cookies
