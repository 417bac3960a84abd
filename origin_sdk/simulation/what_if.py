"""Settings that are tried on the same traffic: ``SETTING=VALUE``, ``RULE.SETTING=VALUE``, joined by ``;``."""

import tomllib
from collections.abc import Mapping, Sequence
from typing import Any

from origin_sdk._values.errors import InvalidRequest
from origin_sdk_wire.config import VARIABLES, problems
from origin_sdk_wire.settings import Settings

__all__ = ["NOW", "settings_of", "varied", "with_changes"]

NOW = "now"
"""How the settings as they are are called."""

_REST = "rest"
_ALL_RULES = "*"


def varied(variables: Mapping[str, Any], what_ifs: Sequence[str]) -> Mapping[str, Settings]:
    """Return the settings as they are, and those of each ``--what-if`` by its text.

    Raises :class:`InvalidRequest` with what the Worker would say of them.
    """
    variants = {NOW: settings_of(variables, "wrangler.toml")}
    for text in what_ifs:
        changed = with_changes(variables, text)
        if unknown := changed.keys() - variables.keys() - VARIABLES:
            raise InvalidRequest(f"--what-if {text!r}: {min(unknown)} isn't a setting of the Worker")
        variants[text] = settings_of(changed, f"--what-if {text!r}")
    return variants


def settings_of(variables: Mapping[str, Any], where: str) -> Settings:
    """Read variables as the Worker does; raises :class:`InvalidRequest`."""
    # What the secrets and the origin's address are makes no difference here.
    found = problems({"ORIGIN": "https://origin.invalid", **variables}, has_secrets=False)
    if found.settings is None:
        raise InvalidRequest(f"{where}: the Worker can't use these settings:\n" + "\n".join(found.errors))
    return found.settings


def with_changes(variables: Mapping[str, Any], text: str) -> Mapping[str, Any]:
    """Return the variables with the changes of one ``--what-if``.

    ``RULE`` is a rule's name, ``*`` each of them and what no rule matches. Raises :class:`InvalidRequest`.
    """
    changed = dict(variables)
    rules = [dict(rule) for rule in changed.get("RULES", ())]
    for change in filter(None, map(str.strip, text.split(";"))):
        place, separator, value = change.partition("=")
        if not separator or not place.strip():
            raise InvalidRequest(
                f"--what-if {change!r}: write SETTING=VALUE or RULE.SETTING=VALUE, such as "
                "MEMORY_BYTES=64MiB, products.default_lifetime=10m or '*.query_drop=utm_*'"
            )
        rule, _, setting = place.strip().rpartition(".")
        if not rule:
            changed[setting] = _value(value.strip())
            continue
        for each in _rules_of(rules, rule, change):
            each[setting] = _value(value.strip())
    if rules:
        changed["RULES"] = rules
    return changed


def _rules_of(rules: list[dict[str, Any]], name: str, change: str) -> list[dict[str, Any]]:
    if name == _ALL_RULES:
        if not any(rule.get("name") == _REST for rule in rules):
            rules.append({"name": _REST})
        return rules
    found = [rule for rule in rules if rule.get("name") == name]
    if not found:
        known = ", ".join(str(rule.get("name", "?")) for rule in rules) or "none"
        raise InvalidRequest(f"--what-if {change!r}: there is no rule {name!r}; there are: {known}")
    return found


def _value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text
