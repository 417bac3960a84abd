"""Settings that can't mean what they say: each alone can be read, and together they do nothing, or harm.

An *error* can't be meant; a *warning* does what it says, and mostly harm as well.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping

from origin_sdk_wire.bounds import KV_PROPAGATION_SECONDS, MAX_GROUPS
from origin_sdk_wire.choices import DataClass, Forwarded, SingleFlight
from origin_sdk_wire.fields import HOP_BY_HOP
from origin_sdk_wire.rules import KeyBody, KeyRule, covers_name
from origin_sdk_wire.seals import Seal
from origin_sdk_wire.settings import Rule, Settings
from origin_sdk_wire.storability import NEVER_STORED
from origin_sdk_wire.values import shown_value

__all__ = ["errors_of", "misplaced", "rule_errors", "rule_warnings", "warnings_of"]

_MATCHING = frozenset({"name", "host", "path", "methods"})
_NOT_STORING = frozenset(
    {"bypass", "data_class", "hook_request_bytes", "origin_timeout", "origins", "weights"}
)
"""What is of use also where nothing is stored."""
_SLOW_MARKS_SECONDS = 300

_EACH_CLIENTS = frozenset(
    {
        "accept",
        "accept-encoding",
        "cf-connecting-ip",
        "cf-ray",
        "cookie",
        "date",
        "dnt",
        "forwarded",
        "referer",
        "sec-ch-ua",
        "sec-ch-ua-full-version-list",
        "traceparent",
        "tracestate",
        "true-client-ip",
        "user-agent",
        "x-client-ip",
        "x-correlation-id",
        "x-forwarded-for",
        "x-real-ip",
        "x-request-id",
    }
)
"""Request fields with about as many values as there are clients, or requests."""

_INSTEAD = {
    "cookie": "name the cookie that matters in key_cookies",
    "accept-encoding": "let the origin say Vary: Accept-Encoding, of which the Worker makes a few values",
    "accept": "let the origin say Vary: Accept, whose order and spaces then don't matter",
}
_NEVER_SENT = HOP_BY_HOP | {
    "if-match",
    "if-modified-since",
    "if-none-match",
    "if-range",
    "if-unmodified-since",
    "range",
}
"""Request fields that don't reach the origin with a look-up, so that no response depends on them."""


def errors_of(settings: Settings, given: Collection[str]) -> Iterator[str]:
    """Say which settings, of those ``given`` by name, can't be meant beside others."""
    if 0 < settings.memory_bytes < settings.memory_item_bytes:
        yield (
            f"MEMORY_ITEM_BYTES = {settings.memory_item_bytes}: is more than "
            f"MEMORY_BYTES = {settings.memory_bytes}; lower it, or raise MEMORY_BYTES"
        )
    if "soft_timeout" in given and settings.soft_timeout > settings.origin_timeout:
        yield (
            f"SOFT_TIMEOUT = {settings.soft_timeout:g}: is never reached, since the origin is given up after "
            f"ORIGIN_TIMEOUT = {settings.origin_timeout:g}; lower it, or raise ORIGIN_TIMEOUT"
        )
    for number, rule in enumerate(settings.rules):
        if rule.soft_timeout is not None and rule.soft_timeout > settings.origin_timeout_of(rule):
            yield (
                f"RULES[{number}].soft_timeout = {rule.soft_timeout:g}: is never reached, since the origin "
                f"is given up after {settings.origin_timeout_of(rule):g} s; lower it, or raise origin_timeout"
            )
    if settings.origin_secret and settings.forwarded in {Forwarded.FORWARDED, Forwarded.NONE}:
        yield (
            f"FORWARDED = {settings.forwarded.value!r}: ORIGIN_SECRET signs X-Forwarded-Host, which the "
            'origin then lacks; write "both" or "x-forwarded"'
        )
    if "compress_min_bytes" in given and settings.compress_min_bytes > settings.max_body_bytes:
        yield (
            f"COMPRESS_MIN_BYTES = {settings.compress_min_bytes}: no body of this size is stored, since "
            f"MAX_BODY_BYTES = {settings.max_body_bytes}; lower it, or write 0 to switch compression off"
        )
    if settings.max_body_bytes == 0:
        yield (
            "MAX_BODY_BYTES = 0: nothing could be stored; raise it, or let requests bypass the cache with a "
            "rule that has bypass = true"
        )


def warnings_of(settings: Settings, given: Collection[str]) -> Iterator[str]:
    """Say which settings, of those ``given`` by name, mostly do harm."""
    if settings.mark_interval > _SLOW_MARKS_SECONDS:
        seconds = settings.mark_interval + KV_PROPAGATION_SECONDS
        yield (
            f"MARK_INTERVAL = {settings.mark_interval:g}: a purge takes up to {seconds:g} s to be seen; the "
            "default of 5s costs one read of KV for each mark in that time"
        )
    if "breaker_pause" in given and not settings.breaker_failures:
        yield "BREAKER_PAUSE: has no effect while BREAKER_FAILURES = 0 switches the breaker off; remove it"
    takes_tokens = any(rule.claims and not rule.takes_api_keys for rule in settings.rules)
    if "token_secret" in given and settings.token_secret and not takes_tokens:
        yield "TOKEN_SECRET: no rule uses it; add key_claims to one, or remove the secret"
    if settings.token_issuers and not takes_tokens:
        yield "TOKEN_ISSUERS: no rule uses it; add key_claims to one, or remove it"
    yield from _idle_keys(settings, given)
    yield from _cookie_warnings(settings)
    if "shield_timeout" in given and settings.shield_timeout > settings.origin_timeout:
        yield (
            f"SHIELD_TIMEOUT = {settings.shield_timeout:g}: is never reached, since the shield gives the "
            f"origin up after ORIGIN_TIMEOUT = {settings.origin_timeout:g}; lower it"
        )
    if not settings.origin_timeout > settings.kv_timeout:
        yield (
            f"KV_TIMEOUT = {settings.kv_timeout:g}: is no less than ORIGIN_TIMEOUT = "
            f"{settings.origin_timeout:g}, so that a slow store costs more than asking the origin; lower it"
        )


def _cookie_warnings(settings: Settings) -> Iterator[str]:
    """Name the rules for bearers of tokens that browsers, which send cookies as well, never hit."""
    for number, rule in enumerate(settings.rules):
        is_for_bearers = "authorization" in rule.declared_credentials and not rule.takes_api_keys
        if is_for_bearers and not rule.never_stores and "cookie" in settings.proving_fields(rule):
            yield (
                f"RULES[{number}]: its key has a token and says nothing of cookies, so that a request with "
                "both, as browsers send it, bypasses the cache (undeclared-credential); if no response "
                "depends on cookies, add ignore_cookies = true, else name them in key_cookies"
            )


def _idle_keys(settings: Settings, given: Collection[str]) -> Iterator[str]:
    takes_keys = any(rule.takes_api_keys for rule in settings.rules)
    for name in ("api_key_table", "api_keys_in_kv"):
        if getattr(settings, name) and not takes_keys:
            yield (
                f"{name.upper()}: no rule uses it; say in a rule where keys are, such as "
                'api_key_in = "X-API-Key"'
            )
    for name in sorted({"api_key_lifetime", "api_key_stale"}.intersection(given)):
        if not settings.api_keys_in_kv:
            yield f"{name.upper()}: has no effect without API_KEYS_IN_KV = true; remove it, or set that"


def rule_errors(rule: Rule, given: Iterable[str]) -> Iterator[str]:
    """Say which settings of one rule can't be meant beside others; ``given`` are those in its table."""
    unused = sorted(set(given) - _MATCHING - _NOT_STORING)
    if rule.bypass and unused:
        yield (
            f"bypass = true: a request that bypasses the cache has no use for {', '.join(unused)}; "
            "remove one of them"
        )
    elif rule.data_class is DataClass.NEVER and unused:
        yield (
            f'data_class = "never": a response that isn\'t stored has no use for {", ".join(unused)}; '
            "remove one of them"
        )
    elif rule.methods and not _is_looked_up(rule) and (unused or rule.data_class is DataClass.PRIVATE):
        yield (
            f"methods = {shown_value(sorted(rule.methods))}: only answers to GET are stored (with "
            "key_body also to QUERY and POST), and these have "
            f"no use for {', '.join(unused) or 'data_class'}; add GET (and HEAD), or remove them"
        )
    if rule.data_class is DataClass.PRIVATE and not rule.declares_identity:
        yield (
            'data_class = "private": nothing in the key says whom the response is for; '
            "declare it with key_cookies, key_fields, key_claims or key_parameters"
        )
    yield from _credential_errors(rule)
    if rule.lifetime is not None and rule.default_lifetime is not None:
        yield (
            f"default_lifetime = {rule.default_lifetime}: is never used, since lifetime replaces what the "
            "response says; remove one of them"
        )
    yield from _cookie_errors(rule)
    if rule.body is not KeyBody.NONE and rule.methods and not any(map(rule.keys_content, rule.methods)):
        yield (
            f"key_body = {shown_value(rule.body.value)}: only QUERY and POST have a content that is "
            f"looked up, and methods = {shown_value(sorted(rule.methods))} has neither; add one, or remove "
            "key_body"
        )
    if rule.preflight and rule.methods and "OPTIONS" not in rule.methods:
        yield (
            "key_preflight = true: preflights are OPTIONS, which methods = "
            f"{shown_value(sorted(rule.methods))} doesn't have; add it, or remove key_preflight"
        )
    if rule.ignore_origin and (rule.preflight or "origin" in rule.fields):
        setting = "key_preflight" if rule.preflight else "key_fields"
        yield f"ignore_origin = true: {setting} says that Origin changes the response; remove one of them"
    yield from _key_errors(rule)
    yield from _storing_errors(rule)


def _cookie_errors(rule: Rule) -> Iterator[str]:
    for name in rule.cookies:
        if covers_name(tuple(rule.bypass_cookies), name):
            yield f"key_cookies: bypass_cookies sends what has {name} past the cache; remove one of them"
    if rule.ignore_cookies and (rule.cookies or "cookie" in rule.fields):
        setting = "key_cookies" if rule.cookies else "key_fields"
        yield f"ignore_cookies = true: {setting} says that cookies change the response; remove one of them"


def _credential_errors(rule: Rule) -> Iterator[str]:
    if rule.takes_api_keys and not rule.claims:
        yield (
            "api_key_in: doesn't say whose a response is; name in key_claims what API_KEY_TABLE says of a key"
        )
    if rule.takes_api_keys and rule.data_class is not DataClass.PRIVATE:
        yield (
            f'data_class = "{rule.data_class}": a response that needs an API key is for its owner alone; '
            'write "private"'
        )
    if rule.revoked_by and not rule.claims:
        yield (
            f"revoked_by = {shown_value(list(rule.revoked_by))}: is made of claims, and there are none; "
            "add key_claims, or remove it"
        )
    if rule.audience and (rule.takes_api_keys or not rule.claims):
        yield (
            f"audience = {shown_value(sorted(rule.audience))}: is of tokens, whose claims aren't in the key; "
            "add key_claims, or remove it"
        )


def _is_looked_up(rule: KeyRule) -> bool:
    return "GET" in rule.methods or any(map(rule.looks_up_further, rule.methods))


def _key_errors(rule: KeyRule) -> Iterator[str]:
    for name in rule.fields:
        if name in _NEVER_SENT:
            yield (
                f"key_fields = {shown_value(name)}: never reaches the origin, so no "
                "response depends on it; remove it"
            )
        elif name == "host":
            yield "key_fields = 'host': is in every key anyway; remove it"
    for kept in rule.query_keep or ():
        if covers_name(rule.query_drop, kept):
            yield (
                f"query_keep = {shown_value(kept)}: query_drop removes it again; remove it from one of them"
            )
    yield from _parameter_errors(rule)
    for path in rule.paths:
        if any(segment in {".", ".."} for segment in path.split("/")):
            yield (
                f"path = {shown_value(path)}: matches nothing, since . and .. are "
                "resolved first; write it without them"
            )


def _parameter_errors(rule: KeyRule) -> Iterator[str]:
    for name in rule.hidden_parameters:
        if covers_name(rule.query_drop, name):
            yield (
                f"query_drop: removes {shown_value(name)}, which key_parameters or api_key_in needs; "
                "remove it from one of them"
            )
        if name in rule.parameters and name in rule.api_key_parameters:
            yield f"key_parameters = {shown_value(name)}: api_key_in has it too; remove it from one of them"


def _storing_errors(rule: Rule) -> Iterator[str]:
    if rule.seal is not None and len(rule.methods & {"GET", "HEAD"}) == 1:
        yield (
            f"seal = {shown_value(str(rule.seal))}: GET and HEAD are answered from the same response, and "
            f"methods = {shown_value(sorted(rule.methods))} has one of them alone; name both"
        )
    if rule.is_kept_in_memory and rule.seal is not None:
        yield (
            f'seal = {shown_value(str(rule.seal))}: store_on = "never" keeps these responses out of KV, so '
            "that there is nothing to seal; remove one of them"
        )
    if rule.is_kept_in_memory and rule.single_flight is SingleFlight.GLOBAL:
        yield (
            'single_flight = "global": store_on = "never" keeps these responses in the isolate that fetched '
            "them, and not in any other; remove one of them"
        )
    if rule.weights and len(rule.weights) != len(rule.origins):
        yield (
            f"weights = {shown_value(list(rule.weights))}: has {len(rule.weights)} entries for "
            f"{len(rule.origins)} origins; give one for each"
        )
    if rule.single_flight is SingleFlight.GLOBAL and rule.data_class is DataClass.PRIVATE:
        yield (
            'single_flight = "global": a private response isn\'t shared with other isolates; remove it, or '
            'data_class = "private"'
        )
    for status in sorted(NEVER_STORED & rule.negative_lifetimes.keys()):
        yield f"negative_lifetimes = {status}: is never stored (RFC 6585); remove it"
    if len(rule.groups) > MAX_GROUPS:
        yield (
            f"groups: has {len(rule.groups)} names, and a response in more than {MAX_GROUPS} groups isn't "
            "stored; remove some"
        )


def rule_warnings(rule: Rule) -> Iterator[str]:
    """Say which settings of one rule mostly do harm."""
    for name in rule.fields:
        if name in _EACH_CLIENTS:
            remedy = _INSTEAD.get(name, "name a field with few values, or let a hook make one of it")
            yield (
                f"key_fields = {shown_value(name)}: has about as many values as "
                "there are clients, each with a stored "
                f"response of its own, so that there are few hits and many writes; {remedy}"
            )
    is_shared = rule.data_class is DataClass.PUBLIC
    if rule.seal is Seal.NONE and not is_shared:
        yield (
            'seal = "none": anyone who can read the namespace can read private responses; remove it, so that '
            "STORE_KEYS encrypts what is stored"
        )
    if is_shared and "authorization" in rule.fields:
        yield (
            "key_fields = 'authorization': answers to credentials aren't stored unless they say public; "
            'if each user may have one, write data_class = "private"'
        )
    for status, lifetime in sorted(rule.negative_lifetimes.items()):
        if status in {401, 403} and lifetime and is_shared:
            yield (
                f"negative_lifetimes = {status}: one client's refusal is then everyone's; keep it for 404 "
                'and 410, or declare the identity with data_class = "private"'
            )
    if rule.hidden_parameters and rule.methods and "GET" not in rule.methods:
        hidden = shown_value(", ".join(sorted(rule.hidden_parameters)))
        yield (
            f"methods = {shown_value(sorted(rule.methods))}: a GET of the same path with {hidden} in its URL "
            "isn't this rule's, and passes by the cache; add GET"
        )
    if is_shared and rule.cookies and (rule.lifetime or rule.default_lifetime):
        yield (
            "key_cookies: answers to requests with cookies aren't stored unless they say public or s-maxage; "
            'if the cookie tells users apart, write data_class = "private"'
        )


def misplaced(variables: Mapping[str, object], of_rules: Collection[str]) -> Iterator[str]:
    """Name the plain variables that are settings of a rule; common words may be the user's own."""
    for variable in variables:
        if "_" in variable and variable.isupper() and variable.lower() in of_rules:
            yield f"{variable}: is a setting of a rule; move it into [[vars.RULES]] as {variable.lower()}"
