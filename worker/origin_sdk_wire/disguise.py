"""Paths and hosts that an origin may take for others (web cache deception), and the rule that then applies.

What a rule keeps out of the cache, or keeps for one identity, has to be kept so under each spelling that some
origin would answer with the same response: /account may be met as /ACCOUNT, /account/, //account, /account;x,
/account%2Fx.css, /x/..%2Faccount, /account. or /account/x.css. Of all rules that apply to a reading of the
path, the strictest counts, with what any other keeps past the cache for a cookie, out of KV, or sealed; and
so for a host that is met with another port, or with a dot at its end.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import product
from typing import Any, TypeVar

from origin_sdk_wire.choices import DataClass, SingleFlight, StoreOn
from origin_sdk_wire.key import Target, escape_path, unescape
from origin_sdk_wire.parameters import without_parameters
from origin_sdk_wire.rules import (
    FURTHER_METHODS,
    KeyBody,
    KeyRule,
    first_match,
    folded,
    hidden_by,
    key_target,
)
from origin_sdk_wire.seals import Seal
from origin_sdk_wire.settings import DEFAULT_RULE, Rule, Settings

__all__ = ["AMBIGUOUS", "applied_rule", "forbids", "keyed_targets", "readings_met", "strictest_rule"]

_Rule = TypeVar("_Rule", bound=KeyRule)

AMBIGUOUS = Rule("ambiguous", data_class=DataClass.NEVER)
"""For a path whose readings belong to different identities: none of them can be told to be the one."""

_SEALS = (Seal.NONE, Seal.AUTHENTICATE, Seal.ENCRYPT)
"""From the weakest on."""

_ODD = re.compile(r"[%;A-Z\\]|//|[/.]$|\.[A-Za-z0-9]+$|\./")
_END = re.compile(r"[?#\x00\r\n]")
_PARAMETERS = re.compile(r";[^/]*")
_FILE = re.compile(r"/[^/]*\.[A-Za-z0-9]{1,8}$")
_PADDING = " .\t"
"""What Windows takes off the end of a name."""


def forbids(rule: Rule) -> bool:
    """Whether what the rule matches is to stay out of the cache."""
    return rule.bypass or rule.data_class is DataClass.NEVER


def applied_rule(method: str, target: Target, settings: Settings) -> Rule | None:
    """Return the rule that decides on a request, if there is one."""
    spelt = first_match(settings.rules, method, target)
    rule = strictest_rule(spelt or DEFAULT_RULE, method, target, settings)
    return spelt if rule is DEFAULT_RULE else rule


def strictest_rule(rule: Rule, method: str, target: Target, settings: Settings) -> Rule:
    """Return ``rule``, which applies to ``target`` as it is spelt, or a stricter one of another reading.

    It is as careful as all of them together. Only the safe profile asks for other readings.
    """
    if not settings.is_safe:
        return rule
    strict = [other for other in settings.rules if _strictness(other)]
    if forbids(rule) or not strict or not _may_be_met_as_another(target, strict):
        return rule
    met = [rule, *_rules_of_readings(method, target, settings.rules)]
    strictest = max(met, key=_strictness)
    if strictest.data_class is DataClass.PRIVATE and len({_identity(other) for other in met} - {()}) > 1:
        return AMBIGUOUS
    return _joined(strictest if _strictness(strictest) > _strictness(rule) else rule, met)


def _joined(rule: Rule, met: Sequence[Rule]) -> Rule:
    """Return ``rule`` with what other readings' rules keep past the cache, out of KV, or sealed."""
    if forbids(rule):
        return rule
    cautions: dict[str, Any] = {}
    cookies = rule.bypass_cookies.union(*(other.bypass_cookies for other in met))
    if cookies != rule.bypass_cookies:
        cautions["bypass_cookies"] = cookies
    if not rule.is_kept_in_memory and any(other.is_kept_in_memory for other in met):
        cautions |= {"store_on": StoreOn.NEVER, "single_flight": SingleFlight.ISOLATE}
    seal = max((rule.own_seal, *(other.seal for other in met if other.seal)), key=_SEALS.index)
    if seal is not rule.own_seal:
        cautions["seal"] = seal
    return replace(rule, **cautions) if cautions else rule


def keyed_targets(target: Target, rules: Sequence[KeyRule]) -> tuple[Target, ...]:
    """Return the targets whose keys responses of ``target`` may have, that of a GET by its own rule first.

    Which rule applies is for :func:`applied_rule` to say; a purge has to reach what any of them keyed.
    """
    further = _methods_keyed(rules)
    spelt = first_match(rules, "GET", target)
    # By other methods only what a rule looks up is stored.
    found = [rule for method in further if (rule := _looking_up(method, first_match(rules, method, target)))]
    targets = [key_target(rule, target) if rule else target for rule in (spelt, *found)]
    if (
        target.query is not None
        and any(rule.edits_query for rule in rules)
        and _may_be_met_as_another(target, rules)
    ):
        for method in ("GET", *further):
            met = _rules_of_readings(method, target, rules)
            targets += [key_target(rule, target) for rule in met if _looking_up(method, rule)]
    # What any rule hides is stored under no key that shows it: no mark need.
    hidden = hidden_by(rules)
    return tuple(dict.fromkeys(without_parameters(each, hidden) for each in targets))


def _looking_up(method: str, rule: _Rule | None) -> _Rule | None:
    """Return ``rule`` if it has requests with ``method`` looked up."""
    return rule if rule and (method == "GET" or rule.looks_up_further(method)) else None


def _methods_keyed(rules: Sequence[KeyRule]) -> tuple[str, ...]:
    """Return the methods that are looked up beside GET."""
    has_further = any(rule.preflight or rule.body is not KeyBody.NONE for rule in rules)
    return FURTHER_METHODS if has_further else ()


def readings_met(method: str, target: Target, rule: Rule) -> list[Target]:
    """Return the spellings of a target, as it is met by some origin, that ``rule`` matches."""
    return [
        replace(target, host=host, path=path)
        for host, path in sorted(product({target.host, target.hostname}, _readings(target.path)))
        if rule.matches(method, replace(target, host=host, path=escape_path(path)))
        or rule.matches_folded(method, replace(target, host=host, path=folded(path)))
    ]


def _strictness(rule: Rule) -> int:
    if forbids(rule):
        return 3
    if rule.data_class is DataClass.PRIVATE:
        return 2
    is_kept_apart = rule.store_on is StoreOn.NEVER or rule.seal not in {None, Seal.NONE}
    return int(rule.declares_identity or is_kept_apart or bool(rule.bypass_cookies))


def _identity(rule: Rule) -> tuple[str, ...]:
    if rule.data_class is not DataClass.PRIVATE:
        return ()
    places = (*rule.api_key_fields, *rule.hidden_parameters)
    return (*rule.fields, *rule.cookies, *rule.claims, *places, *rule.revoked_by, *sorted(rule.audience))


def _is_odd(target: Target) -> bool:
    return _ODD.search(target.path) is not None or target.hostname != target.host


def _has_odd_paths(rule: KeyRule) -> bool:
    """Whether a rule's own paths are spelt so that a plain one may be met by another reading of them."""
    return any(_ODD.search(path) for path in rule.paths)


def _may_be_met_as_another(target: Target, rules: Iterable[KeyRule]) -> bool:
    return _is_odd(target) or any(map(_has_odd_paths, rules))


def _rules_of_readings(method: str, target: Target, rules: Sequence[_Rule]) -> Iterator[_Rule]:
    for host, path in product({target.host, target.hostname}, _readings(target.path)):
        exact, caseless = (replace(target, host=host, path=read(path)) for read in (escape_path, folded))
        first = first_match(rules, method, exact)
        first_caseless = next((rule for rule in rules if rule.matches_folded(method, caseless)), None)
        yield from filter(None, (first, first_caseless))


def _readings(path: str) -> set[str]:
    readings: set[str] = set()
    for _ in range(2):  # some decode twice
        path = unescape(path)
        for whole, has_parameters, is_resolved in product((False, True), repeat=3):
            text = path if whole else _END.split(path, maxsplit=1)[0]
            text = (text if has_parameters else _PARAMETERS.sub("", text)).replace("\\", "/")
            readings |= _plain(text.split("/"), is_resolved=is_resolved)
    return readings


def _plain(segments: list[str], *, is_resolved: bool) -> set[str]:
    """Return a path without empty segments, with and without a slash at its end or the file that it names."""
    kept: list[str] = []
    for segment in segments:
        if segment == ".." and is_resolved:
            del kept[-1:]
        elif name := segment.rstrip(_PADDING) or ("" if is_resolved else segment):
            kept.append(name)
    plain = "/" + "/".join(kept)
    # A file that isn't there is often answered by what lies above it.
    readings = {plain, _FILE.sub("", plain) or "/"}
    return readings | {plain + "/"} if not segments[-1].strip(_PADDING) else readings
