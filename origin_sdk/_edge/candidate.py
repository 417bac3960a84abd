"""What the Worker would make of a response that is to be published, and what keeps it from being stored."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from email.utils import format_datetime
from functools import cached_property

from origin_sdk._responses.cacheability import sentence
from origin_sdk._values.errors import InvalidRequest
from origin_sdk._values.header_fields import combined
from origin_sdk._values.project import Project
from origin_sdk._values.targets import parse_url
from origin_sdk_wire.answers import read_answer
from origin_sdk_wire.bounds import MAX_GROUPS
from origin_sdk_wire.choices import DataClass
from origin_sdk_wire.content import ContentKey, content_key, may_do_otherwise
from origin_sdk_wire.facts import Reason, ResponseFacts
from origin_sdk_wire.fields import CACHE_GROUPS, HOP_BY_HOP
from origin_sdk_wire.freshness import Freshness, freshness_of
from origin_sdk_wire.key import claim_text, record_key, variant_key
from origin_sdk_wire.layout import (
    NEVER_STORED_FIELDS,
    group_names,
    record_seconds,
)
from origin_sdk_wire.negotiation import negotiated
from origin_sdk_wire.parameters import NOBODY, has_undeclared, parameters_of
from origin_sdk_wire.record import Record
from origin_sdk_wire.rules import key_target, known_query, search_parts
from origin_sdk_wire.seals import Seal
from origin_sdk_wire.search_variance import QUERY, query_name, variance_field
from origin_sdk_wire.settings import DEFAULT_RULE, Rule
from origin_sdk_wire.storability import obstacles
from origin_sdk_wire.structured import parse_strings
from origin_sdk_wire.vary import selecting_names, selecting_values

__all__ = ["Candidate", "Publication"]

_STALE_AT_ONCE = frozenset({Reason.NO_CACHE, Reason.NO_FRESHNESS, Reason.EXPIRED})
_REMEDIES: Mapping[Reason, str] = {
    Reason.PRIVATE: 'it says private: only a rule with data_class = "private" lets it be stored at the '
    "edge, for a declared identity",
}
_LEFT_OUT = HOP_BY_HOP | NEVER_STORED_FIELDS | {"content-length", "set-cookie"}


@dataclass(frozen=True)
class Publication:
    """A response to store, and which requests it answers.

    ``birth_ms`` is the moment before rendering began: a purge after it wins. ``identity`` gives the values of
    what the rule declares as part of the key, under ``field:name``, ``cookie:name``, ``parameter:name`` and
    ``claim:name`` (``api-key:name`` of a rule for API keys), a claim with its type; fields are looked up in
    ``request_headers`` too, as are those that the response's Vary names, and parameters in ``url``.
    ``method`` and ``content`` are those of the requests, by a rule with ``key_body``.
    """

    url: str
    body: bytes
    birth_ms: int
    status: int = 200
    fields: tuple[tuple[str, str], ...] = ()
    groups: tuple[str, ...] = ()
    request_headers: Mapping[str, str] = field(default_factory=dict)
    identity: Mapping[str, object] = field(default_factory=dict)
    method: str = "GET"
    content: bytes = b""


def _text(value: object) -> str | None:
    return None if value is None else str(value)


@dataclass(frozen=True)
class Candidate:
    """A publication, with the rule and the moment that decide how it is stored."""

    publication: Publication
    rule: Rule | None
    project: Project
    now_ms: int
    selected_by: tuple[str, ...] = ()
    """The names of the request fields in its key: found when the index of its URL was read."""
    concealed_by: int = 0
    """Which of the store's keys conceals the identity."""
    stored_body: tuple[str, bytes] = ("", b"")
    """The cache's own coding of the body, "" for none, and the body so coded, once it is to be written."""

    @cached_property
    def by_name(self) -> dict[str, str]:
        return combined(self.publication.fields)

    @cached_property
    def freshness(self) -> Freshness:
        """As the Worker will see it, but for the share that it takes off at random."""
        settings = replace(self.project, lifetime_jitter=0)
        return freshness_of(self.record(), self.by_name, self.rule or DEFAULT_RULE, settings)

    @cached_property
    def groups(self) -> tuple[str, ...]:
        """As the Worker collects them: of the rule, the response's fields, and those given."""
        fields = self.by_name
        try:
            parse_strings(fields.get(CACHE_GROUPS, ""))
        except ValueError as error:
            raise InvalidRequest(
                f'Cache-Groups = {fields[CACHE_GROUPS]!r}: {error}; write "a", "b"'
            ) from error
        given = (*(self.rule.groups if self.rule else ()), *self.publication.groups)
        if isinstance(told := self._told, tuple):
            given += told
        return tuple(dict.fromkeys(group_names(fields, given)))

    @cached_property
    def _told(self) -> tuple[str, ...] | Reason:
        """What the body says of itself, where the rule has the Worker read that."""
        if not (self.rule and self.rule.reads_answers):
            return ()
        return read_answer(self.publication.status, self.publication.body, self.rule)

    @cached_property
    def _content(self) -> ContentKey:
        publication = self.publication
        if not (self.rule and self.rule.keys_content(publication.method)):
            return ContentKey(())
        return content_key(publication.method, self.rule.body, self._request_fields, publication.content)

    @cached_property
    def parts(self) -> list[tuple[str, str | None]]:
        """The declared identity, in the rule's order, and what the content adds."""
        version = self.project.version_parts
        if not self.rule:
            return [*version]
        concealed = self.project.key_identity(self.rule, self.identity, self.concealed_by)
        return [*concealed, *search_parts(self.rule), *(self._content.parts or ()), *version]

    @cached_property
    def identity(self) -> tuple[tuple[str, str | None], ...]:
        """The values of what the rule declares."""
        if not self.rule:
            return ()
        identity, headers = self.publication.identity, self._request_fields
        parts = [
            (f"field:{name}", _text(identity.get(f"field:{name}", headers.get(name))))
            for name in self.rule.fields
        ]
        parts += [(f"cookie:{name}", _text(identity.get(f"cookie:{name}"))) for name in self.rule.cookies]
        parts += [
            (f"{kind}:{name}", claim_text(identity.get(f"{kind}:{name}")))
            for kind in [self.rule.claim_kind]
            for name in self.project.claims_keyed(self.rule)
        ]
        in_url = parameters_of(parse_url(self.publication.url), self.rule.parameters) or {}
        parts += [
            (f"parameter:{name}", _text(identity.get(f"parameter:{name}", in_url.get(name))))
            for name in self.rule.parameters
        ]
        return tuple(parts)

    @cached_property
    def _request_fields(self) -> dict[str, str]:
        fields = combined(tuple(self.publication.request_headers.items()))
        if self.rule and self.rule.negotiates:
            fields |= negotiated(self.rule, fields)
        if self.rule and self.rule.no_vary_search:
            query = known_query(self.rule, parse_url(self.publication.url))
            fields |= {} if query is None else {QUERY: query}
        return fields

    @property
    def seal(self) -> Seal:
        """How it is sealed: by the rule and the keys that there are."""
        return self.project.seal_of(self.rule or DEFAULT_RULE)

    @cached_property
    def vary(self) -> tuple[str, ...]:
        names = selecting_names(self.by_name)
        if self.rule and self.rule.no_vary_search:
            return tuple(sorted({*names, query_name(dict([variance_field(self.by_name)]))}))
        return names

    @cached_property
    def index_key(self) -> str:
        target = parse_url(self.publication.url)
        return variant_key(record_key(key_target(self.rule, target) if self.rule else target), self.parts)

    @cached_property
    def key(self) -> str:
        target = parse_url(self.publication.url)
        base = record_key(key_target(self.rule, target) if self.rule else target)
        return variant_key(base, [*self.parts, *selecting_values(self.selected_by, self._request_fields)])

    @property
    def ttl_seconds(self) -> int:
        return record_seconds(self.freshness, self.project)

    def record(self) -> Record:
        fields = [
            (name.lower(), value) for name, value in self.publication.fields if name.lower() not in _LEFT_OUT
        ]
        if self.rule and self.rule.no_vary_search:
            fields.append(variance_field(self.by_name))
        if "date" not in self.by_name:
            # RFC 9110 section 6.6.1
            fields.append(
                ("date", format_datetime(datetime.fromtimestamp(self.now_ms // 1000, UTC), usegmt=True))
            )
        return Record(
            status=self.publication.status,
            birth_ms=self.publication.birth_ms,
            response_ms=self.now_ms,
            # RFC 9111 section 4.2.3: a response that took long to render is that old.
            initial_age_ms=max(0, self.now_ms - self.publication.birth_ms),
            fields=tuple(fields),
            groups=self.groups,
            body_bytes=len(self.publication.body),
        )

    def problems(self) -> Iterator[str]:
        """Say why the Worker would not have stored such a response, or could not serve it."""
        yield from self._forbidden()
        yield from self._unmet()
        if self.rule and self.rule.is_kept_in_memory:
            yield f"the rule {self.rule.name!r} has store_on = 'never', which keeps it out of KV"
        if self.rule and self.rule.seal not in {None, Seal.NONE} and not self.project.store_keys:
            yield f"the rule {self.rule.name!r} has seal = {str(self.rule.seal)!r}: set EDGE_CACHE_STORE_KEYS"
        if self.publication.status == 206 or self.publication.status >= 500:
            yield f"status {self.publication.status} isn't stored; publish a final response below 500"
        if len(self.publication.body) > self.project.max_body_bytes:
            yield (
                f"its body has {len(self.publication.body)} bytes; MAX_BODY_BYTES allows "
                f"{self.project.max_body_bytes}"
            )
        if len(self.groups) > MAX_GROUPS:
            yield f"it has {len(self.groups)} groups; a response may have {MAX_GROUPS}"
        if "accept-encoding" in self.vary or "content-encoding" in self.by_name:
            yield "it is encoded, or varies by encoding: publish the plain body; the cache compresses it"

    def _unmet(self) -> Iterator[str]:
        """Say why no request would meet it."""
        publication, rule = self.publication, self.rule or DEFAULT_RULE
        if has_undeclared(parse_url(publication.url), rule.hidden_parameters, self.project.hidden_parameters):
            yield sentence(Reason.UNDECLARED_CREDENTIAL, publication.status)
        if publication.method != "GET" and not rule.keys_content(publication.method):
            yield f"answers to {publication.method} are kept only where a rule with key_body matches"
        elif len(publication.content) > self.project.key_body_bytes:
            yield (
                f"the content has {len(publication.content)} bytes, and requests above KEY_BODY_BYTES = "
                f"{self.project.key_body_bytes} are passed on"
            )
        elif self._content.parts is None or may_do_otherwise(
            publication.method, rule.body, parse_url(publication.url)
        ):
            yield sentence(Reason.NOT_A_QUERY, publication.status)
        if isinstance(self._told, Reason):
            yield sentence(self._told, publication.status)

    def _forbidden(self) -> Iterator[str]:
        if self.rule and self.rule.never_stores:
            yield f"the rule {self.rule.name!r} keeps it from the edge"
        if "set-cookie" in self.by_name:
            yield "it carries Set-Cookie, which would reach everyone: leave it out"
        status = self.publication.status
        response = ResponseFacts(status, self.by_name, self.now_ms, self.now_ms)
        reasons = dict.fromkeys(obstacles(response, self.rule or DEFAULT_RULE, self.project))
        is_stale = not self.freshness.lifetime_ms or self.freshness.must_validate
        if is_stale or not reasons.keys().isdisjoint(_STALE_AT_ONCE):
            yield "it would be stale: give Cache-Control with max-age or s-maxage, or CDN-Cache-Control"
        yield from (
            _REMEDIES.get(each, sentence(each, status)) for each in reasons if each not in _STALE_AT_ONCE
        )
        is_private = self.rule is not None and self.rule.data_class is DataClass.PRIVATE
        missing = [
            name
            for name, value in self.identity
            if (value is None and (is_private or name.startswith(("claim:", "api-key:"))))
            or (is_private and value in NOBODY)
        ]
        if missing:
            yield f"the rule puts {', '.join(missing)} into the key: give identity={{{missing[0]!r}: ...}}"
