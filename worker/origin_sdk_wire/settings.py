"""What can be set: each setting with its default in the safe profile, and how it is read and written.

:mod:`origin_sdk_wire.config` reads them from the environment, :mod:`origin_sdk_wire.rule_tables` those of
rules.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from types import MappingProxyType
from typing import Self

from origin_sdk_wire.api_keys import ApiKey, api_keys
from origin_sdk_wire.bounds import MAX_SEALED_BYTES
from origin_sdk_wire.cache_values import (
    coding_names,
    error_lifetimes,
    field_names,
    group_names,
    group_templates,
    log_keys,
    origin_url,
    origin_urls,
    placement,
    secret,
    store_keys,
    token,
)
from origin_sdk_wire.choices import (
    DataClass,
    Forwarded,
    Jurisdiction,
    MetricsUrls,
    Profile,
    PublishCoding,
    PurgeMode,
    ServerTiming,
    SingleFlight,
    StoreOn,
)
from origin_sdk_wire.issuers import Issuer, issuers
from origin_sdk_wire.key import KeyParts
from origin_sdk_wire.lifetimes import DEFAULT_JITTER
from origin_sdk_wire.purge_log.entries import MAX_WINDOW_SECONDS
from origin_sdk_wire.rules import KeyBody, KeyRule, hidden_by
from origin_sdk_wire.seals import Seal, StoreKey, concealed
from origin_sdk_wire.signed_requests import LogKey
from origin_sdk_wire.unkeyed import CREDENTIAL_FIELDS, is_among
from origin_sdk_wire.values import (
    count,
    duration,
    flag,
    one_of,
    setting,
    share,
    shares,
    size,
    table,
    texts,
    word,
)

__all__ = ["DEFAULT_RULE", "Rule", "Settings"]

_DAY = 86_400
_YEAR = 365 * _DAY
_MIB = 1 << 20
_WINDOW = duration(whole=True, most=_YEAR)
_WAIT = duration(most=300, least=0.01)
_SOFT_WAIT = duration(most=300)


@dataclass(frozen=True)
class Rule(KeyRule):
    """One ``[[vars.RULES]]`` table.

    Lifetimes and windows are seconds; ``None`` leaves the choice to the response.

    ``lifetime`` replaces what the response says; ``default_lifetime`` applies where it says nothing.
    Neither makes a response storable that is ``private`` or ``no-store``.
    """

    lifetime: int | None = setting(None, _WINDOW)
    default_lifetime: int | None = setting(None, _WINDOW)
    stale_while_revalidate: int | None = setting(None, _WINDOW)
    stale_if_error: int | None = setting(None, _WINDOW)
    negative_lifetimes: Mapping[int, int] = setting(
        MappingProxyType({}), error_lifetimes(_WINDOW), hash=False
    )
    """Status code to lifetime, for 404 and 410 and their like; where the response gives none."""
    groups: tuple[str, ...] = setting((), group_names())
    groups_from: tuple[str, ...] = setting((), group_templates())
    """Where the JSON body of a response names groups: paths, perhaps inside braces in a name."""
    revoked_by: tuple[str, ...] = setting((), group_templates("claims"))
    """The groups whose purge revokes the credentials that were issued before: named by their claims."""
    audience: frozenset[str] = setting(frozenset(), texts())
    """Whom tokens must be for (``aud``) beside what all rules ask: one of these."""
    origins: tuple[str, ...] = setting((), origin_urls())
    """Where requests go in place of ``origin``: to the first, to the next where that gives no answer."""
    weights: tuple[float, ...] = setting((), shares())
    """How URLs are shared out among ``origins``; none given: all go to the first that answers."""
    origin_timeout: float | None = setting(None, _WAIT)
    """As the setting of that name, for these requests; so is ``soft_timeout``."""
    soft_timeout: float | None = setting(None, _SOFT_WAIT)
    shield: bool | None = setting(None, flag())
    """Whether misses go through the shield; ``None`` leaves that to the class of data."""
    hook_request_bytes: int = setting(0, size(most=_MIB))
    """The largest content of a request that ``before_lookup`` sees; 0: none. So of ``after_origin`` below."""
    hook_response_bytes: int = setting(0, size(most=_MIB))
    bypass: bool = setting(False, flag())
    data_class: DataClass = setting(DataClass.PUBLIC, one_of(DataClass))
    bypass_cookies: frozenset[str] = setting(frozenset(), texts())
    """Names of cookies, as patterns: a request that has one of them passes by the cache."""
    ignore_cookies: bool = setting(False, flag())
    """The response doesn't depend on cookies: they neither prevent storing nor reach the origin."""
    ignore_origin: bool = setting(False, flag())
    """The response doesn't depend on Origin: it neither selects nor reaches the origin."""
    store_on: StoreOn = setting(StoreOn.FIRST_MISS, one_of(StoreOn))
    single_flight: SingleFlight = setting(SingleFlight.ISOLATE, one_of(SingleFlight))
    seal: Seal | None = setting(None, one_of(Seal))
    """How what is stored is protected; ``None`` leaves that to the class of data."""

    @cached_property
    def declared_credentials(self) -> frozenset[str]:
        """The request fields with credentials that the key covers, or on which no response depends."""
        declared = {*self.fields, *self.api_key_fields}
        if self.claims and not self.takes_api_keys:
            declared.add("authorization")
        if self.cookies or self.ignore_cookies:
            declared.add("cookie")
        return frozenset(declared)

    @property
    def is_for_one(self) -> bool:
        """Whether what it stores is for one identity, and so for no other that a request proves."""
        return self.data_class is DataClass.PRIVATE or self.takes_api_keys

    @property
    def grants_stale(self) -> bool:
        """Whether it names a window for what is stale."""
        return bool(self.stale_while_revalidate or self.stale_if_error)

    @property
    def reads_answers(self) -> bool:
        """Whether the body of a response has to be read before it may be stored."""
        return bool(self.groups_from) or self.body is KeyBody.GRAPHQL

    @property
    def reads_plainly(self) -> bool:
        """Whether somebody looks into bodies, so that the origin is asked for them without a coding."""
        return self.reads_answers or self.hook_response_bytes > 0

    @property
    def is_kept_in_memory(self) -> bool:
        """Whether nothing that the rule matches is written to KV, or read there."""
        return self.store_on is StoreOn.NEVER

    @property
    def own_seal(self) -> Seal:
        """How responses are sealed where there are keys."""
        by_class = Seal.ENCRYPT if self.data_class is DataClass.PRIVATE else Seal.AUTHENTICATE
        return self.seal or by_class

    @property
    def never_stores(self) -> bool:
        """Whether nothing that the rule matches is stored."""
        return self.bypass or self.data_class is DataClass.NEVER

    @cached_property
    def lifetime_terms(self) -> str:
        """All that it says of how long responses may be used, as a text."""
        windows = self.stale_while_revalidate, self.stale_if_error
        errors = sorted(self.negative_lifetimes.items())
        return repr((self.lifetime, self.default_lifetime, *windows, errors))


DEFAULT_RULE = Rule()
"""What holds for a request that no rule matches."""


@dataclass(frozen=True)
class Settings:
    """Every setting of the Worker. Durations are seconds and sizes bytes unless the name says otherwise."""

    origin: str = setting("", origin_url())
    """Where requests go: scheme and authority, perhaps a path prefix. Empty: to the zone's own origin."""
    origin_secret: str = setting("", secret(), repr=False)
    """What requests to the origin are signed with, so that it can refuse who goes around the edge."""
    forwarded: Forwarded = setting(Forwarded.X_FORWARDED, one_of(Forwarded))
    """In which fields origins are told of the host and the scheme that a client asked for."""
    profile: Profile = setting(Profile.SAFE, one_of(Profile))
    cache_name: str = setting("EdgeCache", token())
    """How the cache calls itself in Cache-Status and Via."""
    development: bool = setting(False, flag())
    """Whether responses may tell what is wrong with the configuration: on a developer's machine alone."""
    cache_status: bool = setting(True, flag())
    cache_status_key: bool = setting(False, flag())
    """Whether Cache-Status shows the key to everyone, and not only to clients that know ``debug_secret``."""
    rules: tuple[Rule, ...] = ()
    key_version: str = setting("", word())
    """A part of every key: what was stored under another isn't met."""

    stale_while_revalidate: int = setting(0, _WINDOW)
    stale_if_error: int = setting(_DAY, _WINDOW)
    """How long a stale response may stand in for a failing origin, where the response doesn't say."""
    heuristic_fraction: float = setting(0.0, share())
    """The share of a response's age at the origin (Last-Modified to Date) that it stays fresh for.

    RFC 9111 section 4.2.2.
    """
    lifetime_jitter: float = setting(DEFAULT_JITTER, share())
    """The largest share of a lifetime that is cut off at random: what came together expires apart."""
    refresh_ahead: float = setting(0.0, share())
    """The last share of a lifetime in which a hit on a hot response refreshes it in the background.

    0 switches it off.
    """
    retention: int = setting(7 * _DAY, _WINDOW)
    """How long KV keeps a response at least once it is stale, for the time when the origin is down."""
    honour_request_directives: bool = setting(True, flag())
    """Whether Cache-Control and Pragma of a request count (RFC 9111 section 5.2.1 makes them advisory)."""
    client_refresh_interval: float = setting(10.0, duration(most=_YEAR))
    """How long after a response came from the origin no client can force another fetch."""

    shared_groups: frozenset[str] = setting(frozenset(), texts())
    """Groups, as patterns, that an answer to a write invalidates on every host, not on its own alone."""
    mark_interval: float = setting(5.0, duration(most=3600))
    """For how long the purge marks that were read last may be relied on."""
    purge: PurgeMode = setting(PurgeMode.FAST, one_of(PurgeMode))
    """With the purge log: whether who was idle may serve before it has asked what was purged meanwhile."""
    purge_log_window: float = setting(3600.0, duration(least=300, most=MAX_WINDOW_SECONDS))
    """How far back the purge log knows all purges: older responses are judged by their marks."""
    purge_log_shards: int = setting(1, count(least=1, most=32))
    """Among how many Durable Objects the hosts of the purge log are divided."""
    purge_log_jurisdiction: Jurisdiction = setting(Jurisdiction.NONE, one_of(Jurisdiction))
    """Within which the purge log's objects lie, and with them the flights of all isolates."""
    store_keys: tuple[StoreKey, ...] = setting((), store_keys(), repr=False)
    """With which what lies in KV is sealed: by the first when it is written, by any when it is read."""
    purge_log_keys: Mapping[str, LogKey] = setting(MappingProxyType({}), log_keys(), repr=False, hash=False)
    """Who may tell the purge log of purges and switches, and of which."""
    # An isolate has 128 MB, the Python heap included.
    memory_bytes: int = setting(32 * 1024 * 1024, size(most=64 * _MIB))
    memory_item_bytes: int = setting(1024 * 1024, size(most=25 * _MIB))
    """Bodies above this size skip memory and lie in KV under a key of their own."""
    # Cloudflare's limit for a value in KV.
    max_body_bytes: int = setting(25 * 1024 * 1024, size(most=25 * _MIB))
    """Larger responses stream through unstored; KV's own limit is 25 MiB."""
    variants_per_url: int = setting(32, count())
    """How many variants of a URL an isolate writes to KV in a burst, then one a minute; 0 for no limit."""
    stored_bytes_per_minute: int = setting(256 * 1024 * 1024, size(most=1024 * 1024 * _MIB))
    """How many bytes of bodies an isolate writes to KV in a minute; 0 for no limit."""
    key_body_bytes: int = setting(64 * 1024, size(most=_MIB))
    """Requests with a larger content are passed on, though a rule puts it into the key."""
    second_use_bytes: int = setting(0, size(most=25 * _MIB))
    """Bodies of at least this size are written to KV when they are asked for again; 0 at once."""
    compress_min_bytes: int = setting(4096, size(most=25 * _MIB))
    """Text of at least this size is stored compressed; 0 switches it off."""

    publish_coding: PublishCoding = setting(PublishCoding.GZIP, one_of(PublishCoding))
    """With what ``publish`` compresses where that pays, if Brotli is installed there; the Worker has gzip."""

    codings: tuple[str, ...] = setting(("br", "gzip"), coding_names())
    """The content codings that origins are asked for of those that a client accepts, in this order."""

    origin_timeout: float = setting(25.0, _WAIT)
    """The longest wait for the origin's response fields."""
    between_bytes_timeout: float = setting(10.0, _WAIT)
    """The longest silence in the body of a response that is stored. How long it takes in all has no bound."""
    shield_placement: str = setting("smart", placement())
    """Where the shield runs, as Cloudflare calls the place: for `origin-sdk build`."""
    shield_timeout: float = setting(5.0, _WAIT)
    """The longest wait for the shield's response fields, after which the origin itself is asked."""
    soft_timeout: float = setting(3.0, _SOFT_WAIT)
    """With a usable stale response at hand, the wait after which it is sent; the late result is kept."""
    kv_timeout: float = setting(1.0, _WAIT)
    hook_timeout: float = setting(1.0, _WAIT)
    """The longest wait for an ``async`` hook."""
    collapse_timeout: float = setting(10.0, duration(most=300))
    """The longest that a request waits for another's answer before it asks the origin itself."""
    refresh_throttle: float = setting(10.0, duration(most=3600))
    """After a failed refresh, the time in which the stale response is served without another try."""
    refresh_concurrency: int = setting(16, count())
    """How many background refreshes an isolate runs at once, half of them for one rule; 0: no limit."""
    breaker_failures: int = setting(5, count())
    """How many requests in a row without an answer open the breaker; 0 switches it off."""
    breaker_pause: float = setting(2.0, duration(most=3600))
    """How far apart an open breaker lets requests try the origin while there is something to serve."""

    unkeyed_fields: frozenset[str] = setting(frozenset(), field_names())
    """Request fields that don't reach the origin on a cacheable request unless a rule puts them into the key.

    A name may end in ``*``. What is set adds to the list of the profile.
    """
    passed_fields: frozenset[str] = setting(frozenset(), field_names())
    """Request fields that reach the origin although no key holds them: responses don't depend on them."""
    unstored_fields: frozenset[str] = setting(frozenset(), field_names())
    """Response fields that belong to one exchange, and are not stored; a name may end in ``*``.

    What is set adds to the list of the profile.
    """
    stored_fields: frozenset[str] = setting(frozenset(), field_names())
    """Response fields that are stored although ``unstored_fields`` has them."""
    internal_fields: frozenset[str] = setting(frozenset(), field_names())
    """Response fields that don't go to clients; a name may end in ``*``.

    What is set adds to the list of the profile.
    """
    shown_fields: frozenset[str] = setting(frozenset(), field_names())
    """Response fields that go to clients although ``internal_fields`` has them."""
    server_timing: ServerTiming = setting(ServerTiming.NONE, one_of(ServerTiming))
    metrics_urls: MetricsUrls = setting(MetricsUrls.NONE, one_of(MetricsUrls))
    metrics_shared: bool = setting(False, flag())
    """Whether isolates store their counts in KV, so that one can tell those of all."""
    log_writes: bool = setting(False, flag())
    """Whether the log has a line for each response and mark that the Worker writes to KV, for an audit."""
    log_sampling: float = setting(0.0, share(or_all=True))
    """The share of requests that the log has a line for."""
    debug_secret: str = setting("", secret(), repr=False)
    """A client that sends it in Cache-Debug sees the key in Cache-Status, and may read the metrics."""
    token_secret: str = setting("", secret(), repr=False)
    """The HS256 secret that tokens are verified with before a claim goes into a key."""

    token_audience: frozenset[str] = setting(frozenset(), texts())
    """Whom tokens must be for (``aud``): one of these. None given: those without an audience."""
    token_issuer: frozenset[str] = setting(frozenset(), texts())
    """By whom tokens must be issued (``iss``): one of these. None given: anyone who knows the secret."""
    token_claims: Mapping[str, object] = setting(MappingProxyType({}), table())
    """Claims that a token must have, with these values: what tells an access token from the others."""
    token_issuers: tuple[Issuer, ...] = setting((), issuers())
    """Who signs tokens with keys of their own, and where the public ones are."""
    token_leeway: float = setting(0.0, duration(most=300))
    """By how much clocks may differ where tokens begin and end."""
    api_key_table: Mapping[str, ApiKey] = setting(MappingProxyType({}), api_keys(), repr=False, hash=False)
    """Whose each API key is, by its digest."""
    api_key_table_secret: str = setting("", secret(), repr=False)
    """What the digests of API keys are made with."""
    api_key_table_old_secret: str = setting("", secret(), repr=False)
    """What digests are made with that haven't been made anew yet."""
    api_keys_in_kv: bool = setting(False, flag())
    """Whether API keys that ``api_key_table`` doesn't have are looked up in KV."""
    api_key_lifetime: float = setting(60.0, duration(most=3600))
    """For how long what KV says of an API key is used before it is read again."""
    api_key_stale: float = setting(300.0, duration(most=_DAY))
    """For how long a key that KV knew is used beyond that while KV can't be read."""
    key_set_lifetime: float = setting(600.0, duration(most=_DAY, least=10))
    """For how long the keys of an issuer are used before they are fetched again, behind a response."""
    key_set_stale: float = setting(float(_DAY), duration(most=30 * _DAY))
    """For how long they are used beyond that while they can't be had."""

    def claims_keyed(self, rule: KeyRule) -> tuple[str, ...]:
        """Return the names of the claims that a rule puts into the key: among several issuers, also whose."""
        if rule.claims and self.token_issuers and not rule.takes_api_keys:
            return tuple(dict.fromkeys(("iss", *rule.claims)))
        return rule.claims

    def origin_timeout_of(self, rule: Rule) -> float:
        """Return the longest wait for an origin's response fields."""
        return self.origin_timeout if rule.origin_timeout is None else rule.origin_timeout

    def soft_timeout_of(self, rule: Rule) -> float:
        """Return the wait after which a usable stale response is sent."""
        return self.soft_timeout if rule.soft_timeout is None else rule.soft_timeout

    @cached_property
    def hidden_parameters(self) -> frozenset[str]:
        """The query parameters that are for nobody to see, whatever rule applies."""
        return hidden_by(self.rules)

    @cached_property
    def credential_fields(self) -> frozenset[str]:
        """The request fields that prove who a client is, but for those that are said not to matter."""
        named = CREDENTIAL_FIELDS.union(*(rule.api_key_fields for rule in self.rules))
        ignored = self.passed_fields | self.unkeyed_fields
        return frozenset(name for name in named if not is_among(name, ignored))

    def proving_fields(self, rule: Rule) -> frozenset[str]:
        """Return the credentials of which a rule for one identity says nothing: who sends one bypasses it."""
        return self.credential_fields - rule.declared_credentials if rule.is_for_one else frozenset()

    def sealed_with(self, keys: tuple[StoreKey, ...]) -> Self:
        """Return these settings with keys for the store, which leave room for seals in the largest body."""
        most_bytes = min(self.max_body_bytes, MAX_SEALED_BYTES) if keys else self.max_body_bytes
        return replace(self, store_keys=keys, max_body_bytes=most_bytes)

    def seal_of(self, rule: Rule) -> Seal:
        """Return how responses are sealed that a rule matches: without keys not at all."""
        return rule.own_seal if self.store_keys else Seal.NONE

    def key_identity(self, rule: Rule, parts: KeyParts, by: int = 0) -> KeyParts:
        """Return a declared identity as the key has it: with ``store_keys`` nobody else can guess the key.

        ``by`` is the number of the key that conceals it: the Worker looks by its first.
        """
        is_concealed = parts and self.conceals(rule)
        return concealed(parts, self.store_keys[by]) if is_concealed else parts

    def conceals(self, rule: Rule) -> bool:
        """Whether identities of a rule are concealed in keys."""
        return bool(self.store_keys) and rule.data_class is DataClass.PRIVATE

    @property
    def version_parts(self) -> tuple[tuple[str, str], ...]:
        """What ``key_version`` adds to every key."""
        return (("version", self.key_version),) if self.key_version else ()

    @cached_property
    def lifetime_terms(self) -> str:
        """All that they say of how long responses may be used, as a text."""
        windows = self.stale_while_revalidate, self.stale_if_error
        return repr((*windows, float(self.heuristic_fraction), float(self.lifetime_jitter)))

    @cached_property
    def is_safe(self) -> bool:
        """Whether product caution beyond the RFCs applies."""
        return self.profile is Profile.SAFE
