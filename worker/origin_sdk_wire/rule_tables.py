"""The tables of ``[[vars.RULES]]``, read and checked: each alone, and against those before it.

Problems are collected in a list, so that one start shows all of them.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import fields
from itertools import product
from math import prod
from typing import Any

from origin_sdk_wire.contradictions import rule_errors, rule_warnings
from origin_sdk_wire.errors import InvalidRule
from origin_sdk_wire.key import Target
from origin_sdk_wire.key_rule_tables import parse_key_rule
from origin_sdk_wire.rules import KEY_RULE_SETTINGS, KeyRule
from origin_sdk_wire.settings import Rule, Settings
from origin_sdk_wire.values import kinds_of, shown_value

__all__ = ["RULE_SETTINGS", "nearest", "read_rules"]

_MOST_PARTS = 64
"""A rule of more combinations of method, host and path is compared with single rules only."""


def read_rules(tables: object, problems: list[str], warnings: list[str]) -> tuple[Rule, ...]:
    """Read the rules, given as a list of tables or as JSON text; what is wrong goes to the two lists."""
    if isinstance(tables, str):
        tables = _from_json(tables, problems)
    if not isinstance(tables, list | tuple):
        problems.append(
            f"RULES = {shown_value(tables)}: give a list of tables: [[vars.RULES]] in wrangler.toml"
        )
        return ()
    known_problems = len(problems)
    rules = tuple(_read_rule(table, f"RULES[{number}]", problems) for number, table in enumerate(tables))
    if len(problems) == known_problems:  # a rule that was misread would seem to match what it doesn't
        problems += [*_repeated_names(rules), *_unreachable(rules)]
        warnings += (
            f"RULES[{number}].{each}" for number, rule in enumerate(rules) for each in rule_warnings(rule)
        )
    return rules


def nearest(name: str, known: Iterable[str]) -> str:
    """Return the known name that ``name`` seems to be a slip of, or ``""``."""
    # A name that is much longer or shorter is someone else's, as API_TOKEN_SECRET is beside TOKEN_SECRET.
    close = [other for other in known if abs(len(other) - len(name)) <= 2]
    if not close:
        return ""
    from difflib import get_close_matches  # noqa: PLC0415 - only a doubtful name pays for it

    return next(iter(get_close_matches(name, close, n=1, cutoff=0.75)), "")


def _from_json(text: str, problems: list[str]) -> object:
    import json  # noqa: PLC0415 - only rules from --var pay for it

    try:
        return json.loads(text) if text.strip() else ()
    except (ValueError, RecursionError) as error:
        problems.append(
            f"RULES = {shown_value(text)}: isn't JSON ({error}); give a list of tables: [{{...}}, {{...}}]"
        )
        return ()


def _read_rule(table: object, where: str, problems: list[str]) -> Rule:
    if not isinstance(table, Mapping):
        problems.append(
            f"{where} = {shown_value(table)}: isn't a table; write [[vars.RULES]] and a setting on each line"
        )
        return Rule(name=where)
    known_problems = len(problems)
    problems += _unknown_settings(table, where)
    values: dict[str, Any] = _key_values(table, where, problems)
    for setting in sorted(_KINDS.keys() & table.keys()):
        try:
            values[setting] = _KINDS[setting].read(table[setting])
        except ValueError as error:
            problems.append(f"{where}.{setting} = {shown_value(table[setting])}: {error}")
    rule = Rule(**values)
    if len(problems) == known_problems:
        problems += (f"{where}.{problem}" for problem in rule_errors(rule, table.keys()))
    return rule


def _unknown_settings(table: Mapping[str, object], where: str) -> Iterator[str]:
    for setting in table:
        if setting not in RULE_SETTINGS:
            remedy = _remedy(str(setting))
            yield f"{where}.{setting} = {shown_value(table[setting])}: isn't a setting of a rule; {remedy}"


def _remedy(setting: str) -> str:
    if setting.lower() in Settings.__dataclass_fields__:
        return f"it is one of the whole Worker: write {setting.upper()} under [vars]"
    near = nearest(setting, RULE_SETTINGS)
    return f"did you mean {near}?" if near else f"a rule has: {', '.join(sorted(RULE_SETTINGS))}"


def _key_values(table: Mapping[str, object], where: str, problems: list[str]) -> dict[str, Any]:
    """Read the settings that match requests and make keys, one by one: each reports its own problem."""
    good: dict[str, object] = {}
    for setting in sorted(KEY_RULE_SETTINGS & table.keys()):
        try:
            parse_key_rule({setting: table[setting]}, where)
        except InvalidRule as error:
            problems.append(str(error))
        else:
            good[setting] = table[setting]
    rule = parse_key_rule(good, where)
    return {field.name: getattr(rule, field.name) for field in fields(KeyRule)}


_KINDS = kinds_of(Rule)

RULE_SETTINGS = KEY_RULE_SETTINGS | _KINDS.keys()
"""The settings that a rule's table can have."""


def _repeated_names(rules: Sequence[Rule]) -> Iterator[str]:
    first_with: dict[str, int] = {}
    for number, rule in enumerate(rules):
        first = first_with.setdefault(rule.name, number)
        if first != number:
            yield (
                f"RULES[{number}].name = {shown_value(rule.name)}: RULES[{first}] "
                "has that name; give each its own"
            )


def _unreachable(rules: Sequence[Rule]) -> Iterator[str]:
    for number, rule in enumerate(rules):
        earlier = _shadowing(rules[:number], rule)
        if earlier:
            shown = " and ".join(f"RULES[{each}]" for each in earlier)
            yield (
                f"RULES[{number}].name = {shown_value(rule.name)}: never applies, since {shown} "
                f"{'match' if len(earlier) > 1 else 'matches'} the same requests and the first match counts; "
                "put the narrower rule first"
            )


def _shadowing(earlier: Sequence[KeyRule], later: KeyRule) -> list[int]:
    """Return the numbers of the earlier rules that together surely take all requests of ``later``."""
    for number, rule in enumerate(earlier):
        if _covers(rule, later):
            return [number]
    kinds = [sorted(later.methods) or [""], later.hosts or [""], later.paths or [""]]
    if prod(map(len, kinds)) > _MOST_PARTS:
        return []
    takers: set[int] = set()
    for method, host, path in product(*kinds):
        part = KeyRule(
            methods=frozenset(filter(None, [method])),
            hosts=tuple(filter(None, [host])),
            paths=tuple(filter(None, [path])),
        )
        taker = next((number for number, rule in enumerate(earlier) if _covers(rule, part)), None)
        if taker is None:
            return []
        takers.add(taker)
    return sorted(takers)


def _covers(earlier: KeyRule, later: KeyRule) -> bool:
    """Whether ``earlier`` surely matches every request that ``later`` does."""
    return (
        (not earlier.methods or (bool(later.methods) and later.methods <= earlier.methods))
        and _patterns_cover(earlier.hosts, later.hosts, anything="*")
        and _patterns_cover(earlier.paths, later.paths)
    )


def _patterns_cover(earlier: Sequence[str], later: Sequence[str], *, anything: str = "/**") -> bool:
    return not earlier or all(
        any(_pattern_covers(pattern, narrower) for pattern in earlier) for narrower in later or (anything,)
    )


def _pattern_covers(pattern: str, narrower: str) -> bool:
    """Whether ``pattern`` surely matches all that ``narrower`` does."""
    # What only a wildcard can match stands for the wildcards of the narrower pattern.
    rule = KeyRule(paths=(pattern,))
    return all(
        rule.matches("", Target("", "", narrower.replace("**", anything).replace("*", "\0")))
        for anything in ("\0", "\0/\0/\0/\0")
    )
