"""How the Worker makes a key of a URL: which rule applied and why, what is merged into it, what splits it."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from origin_sdk._values.project import Project
from origin_sdk._values.targets import parse_url
from origin_sdk_wire.content import content_key, may_do_otherwise
from origin_sdk_wire.disguise import AMBIGUOUS, applied_rule, readings_met
from origin_sdk_wire.key import MAX_KEY_BYTES, Target, record_key, variant_key
from origin_sdk_wire.marks import covering_marks
from origin_sdk_wire.parameters import undeclared_parameters, without_parameters
from origin_sdk_wire.rules import PLAIN_METHODS, asked_target, first_match, key_target
from origin_sdk_wire.seals import Seal
from origin_sdk_wire.settings import DEFAULT_RULE, Rule
from origin_sdk_wire.shield import is_shielded

__all__ = ["Explanation", "RuleVerdict", "explain"]

_READINGS_SHOWN = 3


@dataclass(frozen=True, slots=True)
class RuleVerdict:
    """Whether a rule applies to the URL, and why."""

    name: str
    applies: bool
    why: str


@dataclass(frozen=True, slots=True)
class Explanation:
    """The key of a URL.

    ``merged`` tells which other requests share it, ``split_by`` what gives requests keys apart.
    """

    url: str
    normalised: str
    key: str
    rule: str
    verdicts: tuple[RuleVerdict, ...]
    merged: tuple[str, ...]
    split_by: tuple[str, ...]
    marks: tuple[str, ...]
    revoked_by: tuple[str, ...] = ()
    """The groups whose purge ends the tokens or API keys that were issued before."""
    origins: tuple[str, ...] = ()
    """Who is asked, the first one first, if the rule says so."""
    readings: tuple[str, ...] = ()
    """By which spellings of the URL a stricter rule applies than the one that matches it as it is spelt."""
    kept: str = ""
    """Where what is stored lies by the rule, and how it is sealed."""
    hooks: tuple[str, ...] = ()
    """What hooks see of bodies by the rule."""
    single_flight: str = ""
    """Among whom one request to the origin is enough: those of an isolate, or of the world (``global``)."""
    shield: str = ""
    """The Worker near the origin through which misses go."""
    passed: tuple[str, ...] = ()
    """Which requests for the URL bypass the cache for what they bear, with the remedy."""

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON types."""
        return {
            "url": self.url,
            "normalised": self.normalised,
            "key": self.key,
            "rule": self.rule,
            "rules": [
                {"name": each.name, "applies": each.applies, "why": each.why} for each in self.verdicts
            ],
            "merged": list(self.merged),
            "split_by": list(self.split_by),
            "marks": list(self.marks),
            "revoked_by": list(self.revoked_by),
            "origins": list(self.origins),
            "readings": list(self.readings),
            "kept": self.kept,
            "hooks": list(self.hooks),
            "single_flight": self.single_flight,
            "shield": self.shield,
            "passed": list(self.passed),
        }


def explain(
    url: str,
    project: Project,
    method: str = "GET",
    content: bytes | None = None,
    fields: Mapping[str, str] | None = None,
) -> Explanation:
    """Explain the key of ``url``; asks nobody.

    With the ``content`` of a request and the ``fields`` that describe it, by name in lower case, the key is
    that of the response to it.
    """
    target = parse_url(url)
    spelled = first_match(project.rules, method, target)
    rule = applied_rule(method, target, project)
    keyed = key_target(rule, target) if rule else target
    shows = undeclared_parameters(target, rule.hidden_parameters if rule else (), project.hidden_parameters)
    key = record_key(keyed) if _is_looked_up(method, rule) and not shows else ""
    if key and rule and content is not None and rule.keys_content(method):
        parts = content_key(method, rule.body, fields or {}, content).parts
        key = (
            ""
            if parts is None or may_do_otherwise(method, rule.body, target)
            else variant_key(key, (*parts, *project.version_parts))
        )
    return Explanation(
        url=url,
        normalised=str(target),
        key=key,
        rule=rule.name if rule else "",
        verdicts=_verdicts(project, method, target, rule),
        revoked_by=rule.revoked_by if rule else (),
        origins=spelled.origins if spelled else (),
        readings=tuple(_readings(method, target, spelled, rule)),
        kept=_kept(rule or DEFAULT_RULE),
        hooks=tuple(_shown(spelled or DEFAULT_RULE, rule or DEFAULT_RULE)),
        single_flight=rule.single_flight.value if key and rule else "",
        shield=project.shield_service if key and is_shielded(rule or DEFAULT_RULE, project) else "",
        merged=tuple(_merged(url, target, rule)),
        passed=tuple(_passed(rule, project)) if key and rule else (),
        split_by=(_undeclared(shows),) if shows else tuple(_split_by(target, rule, key, method, project)),
        marks=covering_marks(without_parameters(keyed, project.hidden_parameters), ()),
    )


def _shown(spelled: Rule, rule: Rule) -> Iterator[str]:
    if spelled.hook_request_bytes:
        yield f"before_lookup sees contents of requests up to {spelled.hook_request_bytes} bytes"
    if rule.hook_response_bytes and not rule.never_stores:
        yield f"after_origin sees bodies of responses up to {rule.hook_response_bytes} bytes"


def _undeclared(names: tuple[str, ...]) -> str:
    return (
        f"nothing: the query parameter {' and '.join(names)}, which another rule hides, makes it bypass the "
        "cache (undeclared-credential); send none, or name it in key_parameters of the rule for this URL"
    )


def _passed(rule: Rule, project: Project) -> Iterator[str]:
    if rule.bypass_cookies:
        yield f"requests with a cookie named {' or '.join(sorted(rule.bypass_cookies))} (bypass_cookies)"
    proving = project.proving_fields(rule)
    if "cookie" in proving:
        yield (
            "requests with any cookie (undeclared-credential): if no response depends on cookies, say "
            "ignore_cookies = true, else name those in key_cookies"
        )
    if others := sorted(proving - {"cookie"}):
        yield (
            f"requests with one of the fields {', '.join(others)} (undeclared-credential): put it into "
            "key_fields, or, if no response depends on it, into PASSED_FIELDS"
        )
    if others := sorted(project.hidden_parameters.difference(rule.hidden_parameters)):
        yield (
            f"requests with one of the query parameters {', '.join(others)}, which another rule hides "
            "(undeclared-credential): name it in key_parameters"
        )


def _kept(rule: Rule) -> str:
    if rule.never_stores:
        return "nowhere: it passes through"
    if rule.is_kept_in_memory:
        return "in the memory of isolates alone"
    return f"in Workers KV, {_SEALED[rule.own_seal]}"


_SEALED = {
    Seal.ENCRYPT: "encrypted where STORE_KEYS is set",
    Seal.AUTHENTICATE: "authenticated where STORE_KEYS is set",
    Seal.NONE: "without a seal",
}


def _is_looked_up(method: str, rule: Rule | None) -> bool:
    if rule and rule.never_stores:
        return False
    if method in PLAIN_METHODS or rule is None:
        return method in PLAIN_METHODS
    return rule.looks_up_further(method)


def _readings(method: str, target: Target, spelled: Rule | None, rule: Rule | None) -> list[str]:
    if rule is spelled or rule is None:
        return []
    if rule is AMBIGUOUS:
        return ["its readings belong to different identities: nothing is stored"]
    if spelled and rule.name == spelled.name:
        return [f"an origin may take it for another rule's, so that here {_cautions(spelled, rule)}"]
    met = readings_met(method, target, rule)
    shown = ", ".join(f"{each.host}{each.path}" for each in met[:_READINGS_SHOWN])
    return [f"an origin may take it for {shown}, to which the rule {rule.name} applies"]


def _cautions(spelled: Rule, rule: Rule) -> str:
    """Return what holds under other readings, beside what ``spelled`` says."""
    cookies = sorted(rule.bypass_cookies - spelled.bypass_cookies)
    held = [f"bypass_cookies has {' and '.join(cookies)}, too"] if cookies else []
    if rule.store_on is not spelled.store_on:
        held.append(f"store_on is {str(rule.store_on)!r}")
    if rule.seal is not spelled.seal:
        held.append(f"seal is {str(rule.seal)!r}")
    return ", ".join(held)


def _verdicts(
    project: Project, method: str, target: Target, strictest: Rule | None
) -> tuple[RuleVerdict, ...]:
    verdicts: list[RuleVerdict] = []
    is_taken = False
    for rule in project.rules:
        why = _mismatch(rule, method, target)
        is_first = not why and not is_taken
        is_taken = is_taken or is_first
        applies = strictest is not None and rule.name == strictest.name
        if applies and not is_first:
            why = "matches another reading of the URL, and is the strictest rule that does"
        elif is_first and not applies:
            why = "matches, but a stricter rule applies to another reading of the URL"
        why = why or ("matches" if is_first else "an earlier rule applies")
        verdicts.append(RuleVerdict(rule.name, applies, why))
    return tuple(verdicts)


def _mismatch(rule: Rule, method: str, target: Target) -> str:
    if rule.methods and method not in rule.methods:
        return f"methods = {sorted(rule.methods)} without {method}"
    if rule.hosts and not Rule(hosts=rule.hosts).matches(method, target):
        return f"host = {list(rule.hosts)} doesn't match {target.host}"
    if rule.paths and not Rule(paths=rule.paths).matches(method, target):
        return f"path = {list(rule.paths)} doesn't match {target.path}"
    return ""


def _merged(url: str, target: Target, rule: Rule | None) -> list[str]:
    merged: list[str] = []
    if url != str(target):
        merged.append(f"spelling: {url} is {target} to the cache (RFC 3986 section 6.2.2)")
    asked = asked_target(rule, target) if rule else target
    dropped = set((target.query or "").split("&")) - set((asked.query or "").split("&")) - {""}
    if dropped:
        merged.append(
            f"query parameters that the rule drops, here {', '.join(sorted(dropped))}; the origin "
            "doesn't see them"
        )
    if rule and rule.query_sort:
        merged.append("the order of query parameters")
    if rule and rule.no_vary_search:
        merged.append(
            "queries that the response's No-Vary-Search treats as equal; a purge of one is one of all"
        )
    if rule and rule.api_key_parameters:
        merged.append("API keys of which the same is said; the origin sees the key")
    merged += _negotiated(rule) if rule else ()
    if not (rule and rule.declares_identity):
        merged.append(
            "all clients: no cookie, request field or token claim is in the key, unless the response "
            "says Vary"
        )
    return merged


def _negotiated(rule: Rule) -> Iterator[str]:
    for field, offered in (("Accept-Language", rule.languages), ("Accept", rule.media_types)):
        if offered:
            yield f"values of {field}, but for which of {', '.join(offered)} they ask for"
    if rule.device_field:
        yield f"devices, but for their class, which the origin sees in {rule.device_field}"
    if rule.ignore_origin:
        yield "values of Origin; the origin doesn't see them"


def _of_query(rule: Rule | None) -> str:
    if rule and rule.no_vary_search:
        return "the query, as far as the response's No-Vary-Search doesn't say otherwise"
    return "the query, letter by letter"


def _places(rule: Rule) -> str:
    return " or ".join((*rule.api_key_fields, *(f"?{name}" for name in rule.api_key_parameters)))


def _split_by(target: Target, rule: Rule | None, key: str, method: str, project: Project) -> list[str]:
    if not key and not (rule and rule.never_stores):
        return [f"nothing: {method} bypasses the cache, unless a rule has key_body (key_preflight)"]
    if not key:
        return ["nothing: the rule keeps it from the edge, each request goes to the origin"]
    split = ["scheme, host and path", *([_of_query(rule)] if target.query else [])]
    if rule:
        split += [f"request field {name}" for name in rule.fields]
        split += [f"cookie {name}" for name in rule.cookies]
        known = " (API_KEY_TABLE, then KV)" if project.api_keys_in_kv else ""
        source = f"API key in {_places(rule)}{known}: claim" if rule.takes_api_keys else "token claim"
        split += [f"{source} {name}" for name in project.claims_keyed(rule)]
        split += [f"query parameter {name}, as a digest" for name in rule.parameters]
        if rule.keys_content(method):
            split.append(f"method and content ({rule.body}), its media type, coding and language")
    if rule and rule.preflight and method == "OPTIONS":
        split.append("Origin, and which method and fields a preflight asks for")
    if project.key_version:
        split.append(f"the version {project.key_version}")
    split.append("the request fields that the response names in Vary")
    if "#~" in key:
        split.append(f"a digest: the target is longer than the {MAX_KEY_BYTES} bytes of a KV key")
    return split
