"""Rules: which one applies to a request, and what it puts into the key.

A rule is a table of ``[[vars.RULES]]`` in ``wrangler.toml``. This module reads the part of it that decides
*which* stored responses a request can meet, since the Worker and the SDK's ``explain`` and ``purge`` must
agree on that; :mod:`origin_sdk_wire.rule_tables` reads lifetimes and the rest of a rule.

The first rule that matches a request applies.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property, lru_cache
from typing import TypeVar

from origin_sdk_wire.key import Target, escape_path, unescape

__all__ = [
    "CONTENT_FIELDS",
    "CONTENT_METHODS",
    "FURTHER_METHODS",
    "KEY_RULE_SETTINGS",
    "PLAIN_METHODS",
    "PREFLIGHT_FIELDS",
    "KeyBody",
    "KeyRule",
    "asked_target",
    "covers_name",
    "decoded_name",
    "first_match",
    "folded",
    "hidden_by",
    "key_target",
    "known_query",
    "search_parts",
]

KEY_RULE_SETTINGS = frozenset(
    {
        "name",
        "host",
        "path",
        "methods",
        "query_keep",
        "query_drop",
        "query_sort",
        "no_vary_search",
        "key_fields",
        "key_cookies",
        "key_claims",
        "key_parameters",
        "api_key_in",
        "key_body",
        "key_preflight",
        "languages",
        "media_types",
        "device_field",
    }
)
"""The settings of a rule that this module reads."""

_WILDCARDS = {"**": ".*", "*": "[^/]*"}
_STARS = re.compile(r"\*{3,}")
_TOKENS = re.compile(r"\*\*|\*|[^*]+")
# One wildcard at most, or each at the end of a segment: a regular expression never tries a character twice.
_SIMPLE = re.compile(r"[^*]*\*{0,2}[^*]*|(?:[^*]|\*(?=/|$))*(?:\*\*)?", re.DOTALL)


CONTENT_FIELDS = frozenset({"content-type", "content-encoding", "content-language"})
"""The request fields that say what a content is, and go into the key with it."""

CONTENT_METHODS = ("QUERY", "POST")
"""The methods whose content a rule may put into the key."""

PREFLIGHT_FIELDS = (
    "origin",
    "access-control-request-method",
    "access-control-request-headers",
    "access-control-request-private-network",
)
"""The request fields that a CORS preflight is looked up by; the last is Private Network Access's."""

PLAIN_METHODS = frozenset({"GET", "HEAD"})
"""The methods that are looked up whatever the rules say."""

FURTHER_METHODS = (*CONTENT_METHODS, "OPTIONS")
"""The methods that are looked up beside GET and HEAD, where a rule says so."""


class KeyBody(StrEnum):
    """What of the content of a QUERY or POST belongs in the key, so that the request can be looked up."""

    NONE = "none"
    RAW = "raw"
    """Its bytes."""
    JSON = "json"
    """What it says as JSON, whatever its spaces and the order of its members."""
    GRAPHQL = "graphql"
    """The operation of a GraphQL request, if that is a query."""


@dataclass(frozen=True)
class KeyRule:
    """The part of a rule that matches requests and makes keys.

    ``hosts`` and ``paths`` are patterns: ``*`` stands for any characters but ``/``, ``**`` for any; none
    given matches all. ``query_keep`` (if not ``None``) and ``query_drop`` are patterns of parameter names,
    percent-decoded. What is dropped doesn't reach the origin either, so that nothing outside the key can
    change the response. ``fields``, ``cookies``, ``claims`` and ``parameters`` name what of a request belongs
    in the key: its declared identity. ``body`` says what of the content of a QUERY or POST does.
    """

    name: str = "default"
    hosts: tuple[str, ...] = ()
    paths: tuple[str, ...] = ()
    methods: frozenset[str] = frozenset()
    query_keep: tuple[str, ...] | None = None
    query_drop: tuple[str, ...] = ()
    query_sort: bool = False
    no_vary_search: bool = False
    """Whether the query counts as far as the responses' No-Vary-Search says."""
    fields: tuple[str, ...] = ()
    cookies: tuple[str, ...] = ()
    claims: tuple[str, ...] = ()
    parameters: tuple[str, ...] = ()
    """The query parameters that are in the key as a digest alone: their values are for nobody to see."""
    api_key_fields: tuple[str, ...] = ()
    api_key_parameters: tuple[str, ...] = ()
    """Where requests have an API key, whose claims then stand in place of a token's."""
    body: KeyBody = KeyBody.NONE
    preflight: bool = False
    """Whether a CORS preflight is looked up, by its origin and by what it asks for."""
    languages: tuple[str, ...] = ()
    """The languages on offer: Accept-Language is brought down to one of them."""
    media_types: tuple[str, ...] = ()
    """The media types on offer: Accept is brought down to one of them."""
    device_field: str = ""
    """The field of :attr:`fields` that is set to a class of devices, whatever clients send in it."""

    def matches(self, method: str, target: Target) -> bool:
        """Whether the rule applies to ``method`` and ``target``, if no earlier one does."""
        return self._matches_host(method, target) and (not self.paths or _any_match(self.paths, target.path))

    def matches_folded(self, method: str, target: Target) -> bool:
        """Whether the rule applies to a target whose path is :func:`folded`, by whatever case it is in."""
        return self._matches_host(method, target) and (
            not self.paths or _any_match(self._folded_paths, target.path)
        )

    def _matches_host(self, method: str, target: Target) -> bool:
        return (not self.methods or method in self.methods) and (
            not self.hosts or _any_match(self.hosts, target.host)
        )

    @cached_property
    def _folded_paths(self) -> tuple[str, ...]:
        return tuple(folded(path.rstrip("/") or "/") for path in self.paths)

    @cached_property
    def declares_identity(self) -> bool:
        """Whether the key holds anything beyond the target."""
        return bool(self.fields or self.cookies or self.claims or self.parameters)

    def keys_content(self, method: str) -> bool:
        """Whether the content of a request with ``method`` belongs in the key."""
        return self.body is not KeyBody.NONE and method in CONTENT_METHODS

    def looks_up_further(self, method: str) -> bool:
        """Whether requests with ``method`` are looked up, which is neither GET nor HEAD."""
        return self.preflight if method == "OPTIONS" else self.keys_content(method)

    @cached_property
    def takes_api_keys(self) -> bool:
        """Whether the claims are those of an API key, and not of a token."""
        return bool(self.api_key_fields or self.api_key_parameters)

    @property
    def claim_kind(self) -> str:
        """What the claims are of, in the names of the key's parts."""
        return "api-key" if self.takes_api_keys else "claim"

    @cached_property
    def hidden_parameters(self) -> tuple[str, ...]:
        """The query parameters that the origin sees, and of which the key holds a digest at most."""
        return (*self.parameters, *self.api_key_parameters)

    @cached_property
    def negotiates(self) -> bool:
        """Whether it sets request fields in place of a client's."""
        return bool(self.languages or self.media_types or self.device_field)

    @cached_property
    def edits_query(self) -> bool:
        """Whether the key's query can differ from the request's."""
        return (
            self.query_keep is not None
            or bool(self.query_drop or self.hidden_parameters)
            or self.no_vary_search
            or self.query_sort
        )


_Rule = TypeVar("_Rule", bound=KeyRule)


def hidden_by(rules: Iterable[KeyRule]) -> frozenset[str]:
    """Return the query parameters that are for nobody to see, whatever rule applies."""
    return frozenset(name for rule in rules for name in rule.hidden_parameters)


def first_match(rules: Iterable[_Rule], method: str, target: Target) -> _Rule | None:
    """Return the rule that applies, or ``None``."""
    return next((rule for rule in rules if rule.matches(method, target)), None)


def folded(path: str) -> str:
    """Return a path, or a pattern of paths, without what letters of upper and lower case tell apart."""
    return escape_path(unescape(path).casefold()).lower()


def key_target(rule: KeyRule, target: Target) -> Target:
    """Return the target as the readable part of the key has it: with the rule's edits of the query."""
    if rule.no_vary_search and target.query is not None:
        # Responses of one path may take different queries for the same: all lie under the path.
        return Target(target.scheme, target.host, target.path)
    return _edited(rule, target, rule.hidden_parameters)


def known_query(rule: KeyRule, target: Target) -> str | None:
    """Return the query that responses are selected by, where the readable part of the key has none."""
    return _edited(rule, target, rule.hidden_parameters).query


def search_parts(rule: KeyRule) -> tuple[tuple[str, str], ...]:
    """Return the parts that keep what lies under a path with any query from what lies there without one."""
    return (("search", "by No-Vary-Search"),) if rule.no_vary_search else ()


def asked_target(rule: KeyRule, target: Target) -> Target:
    """Return the target as the origin sees it: also with what the key holds as a digest alone."""
    return _edited(rule, target, ())


def _edited(rule: KeyRule, target: Target, hidden: tuple[str, ...]) -> Target:
    if target.query is None or not rule.edits_query:
        return target
    # Only "&" separates: a parser that also takes ";" must not see a parameter that the key doesn't.
    parameters = [
        parameter
        for parameter in target.query.split("&")
        if _is_kept(rule, decoded_name(parameter.partition("=")[0]), hidden)
    ]
    if rule.query_sort:
        parameters.sort(key=lambda parameter: parameter.partition("=")[0])
    return Target(target.scheme, target.host, target.path, "&".join(parameters) or None)


def _is_kept(rule: KeyRule, name: str, hidden: tuple[str, ...]) -> bool:
    if name in rule.hidden_parameters:
        return name not in hidden
    if rule.query_keep is not None and not _any_match(rule.query_keep, name):
        return False
    return not _any_match(rule.query_drop, name)


def covers_name(patterns: Sequence[str], pattern: str) -> bool:
    """Whether ``patterns`` of parameter names surely match all that ``pattern`` does."""
    # What only a wildcard can match stands for the wildcards of the narrower pattern.
    return any(
        _compiled(each)(_STARS.sub("**", pattern).replace("**", "\0/\0").replace("*", "\0"))
        for each in patterns
    )


def decoded_name(name: str) -> str:
    """Return the name of a parameter as the origin will read it."""
    if "%" not in name and "+" not in name:
        return name
    return unescape(name.replace("+", " "))


def _any_match(patterns: Sequence[str], text: str) -> bool:
    return any(_compiled(pattern)(text) for pattern in patterns)


@lru_cache(maxsize=512)
def _compiled(pattern: str) -> Callable[[str], object]:
    pattern = _STARS.sub("**", pattern)
    tokens = _TOKENS.findall(pattern)
    if not _SIMPLE.fullmatch(pattern):
        return _Automaton(tokens).matches
    return re.compile(
        "".join(_WILDCARDS.get(token) or re.escape(token) for token in tokens), re.DOTALL
    ).fullmatch


class _Automaton:
    """A pattern of several wildcards, matched in time linear in the text, which comes from strangers.

    Bit ``i`` of a state says that the first ``i`` parts of the pattern are matched: characters and wildcards.
    """

    __slots__ = ("_any", "_characters", "_in_segment", "_length")

    def __init__(self, tokens: Iterable[str]) -> None:
        self._any, self._in_segment, self._length = 0, 0, 0
        self._characters: dict[str, int] = {}
        for token in tokens:
            for part in [token] if token in _WILDCARDS else token:
                self._add(part)

    def _add(self, part: str) -> None:
        bit = 1 << self._length
        if part == "**":
            self._any |= bit
        elif part == "*":
            self._in_segment |= bit
        else:
            self._characters[part] = self._characters.get(part, 0) | bit
        self._length += 1

    def matches(self, text: str) -> bool:
        wildcards = self._any | self._in_segment
        state = 1 | (1 & wildcards) << 1
        for character in text:
            stay = self._any if character == "/" else wildcards
            state = (state & self._characters.get(character, 0)) << 1 | state & stay
            state |= (state & wildcards) << 1
        return bool(state >> self._length & 1)
