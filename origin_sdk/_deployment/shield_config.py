"""The configuration by which the Worker is deployed once more, as its own shield near the origin."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from origin_sdk._deployment.worker_code import put
from origin_sdk._values.project import shield_binding, worker_name
from origin_sdk_wire.settings import Settings
from origin_sdk_wire.shield import SHIELD_BINDING, placement_of

__all__ = ["SHIELD_FILE", "local_shield_config", "put_shield", "shield_config"]

SHIELD_FILE = "wrangler.shield.json"
"""What `origin-sdk build` writes beside wrangler.toml, for `wrangler deploy --config`."""

_OF_THE_EDGE = frozenset({"route", "routes", "env", "migrations", "triggers", "placement", "services"})
"""What the shield has not, or otherwise: nobody is to reach it but the edge."""
_DATASETS = "analytics_engine_datasets"


def put_shield(config: Path) -> None:
    """Write the shield's configuration beside ``wrangler.toml``, and remove one that is no longer wanted."""
    file, text = config.parent / SHIELD_FILE, shield_config(tomllib.loads(config.read_text(encoding="utf-8")))
    if text is None:
        file.unlink(missing_ok=True)
    else:
        put(file, text.encode())


def shield_config(declared: Mapping[str, Any]) -> str | None:
    """Return the shield's configuration as JSON, made of what a wrangler.toml declares.

    It has the environments that bind a shield; ``None`` if none does.
    """
    made = _table("", declared, declared)
    given = declared.get("env", {})
    environments = given.items() if isinstance(given, Mapping) else ()
    others = {
        name: table
        for name, each in environments
        if isinstance(each, Mapping) and (table := _table(name, each, declared))
    }
    if not (made or others):
        return None
    top = {name: value for name, value in declared.items() if name not in _OF_THE_EDGE}
    # Where the top level has no shield, only what environments inherit of it is of use: it is no edge either.
    name = f"{declared.get('name')}-shield"
    top = made or {**top, "name": name, "workers_dev": False, "preview_urls": False, "vars": {}}
    whole = {**top, **({"env": others} if others else {})}
    return json.dumps(whole, indent=2, ensure_ascii=False, default=str) + "\n"


def local_shield_config(
    declared: Mapping[str, Any], environment: str, variables: Mapping[str, str], flags: Sequence[str]
) -> str | None:
    """Return the shield's configuration for `wrangler dev`; ``None`` if the environment binds none.

    It has what the edge is told beside its own configuration, variables and compatibility flags: wrangler
    tells that the first Worker alone, and a shield of other settings refuses what the edge asks.
    """
    table = declared.get("env", {}).get(environment, {}) if environment else declared
    if shield_binding(table) is None or (text := shield_config(declared)) is None:
        return None
    whole = json.loads(text)
    chosen = whole["env"][environment] if environment else whole
    chosen["vars"] |= variables
    if name := variables.get("CACHE_NAME"):
        chosen["vars"]["CACHE_NAME"] = f"{name}-shield"
    own = chosen.get("compatibility_flags", whole.get("compatibility_flags", []))
    chosen["compatibility_flags"] = list(dict.fromkeys([*own, *flags]))
    return json.dumps(whole, indent=2, ensure_ascii=False) + "\n"


def _table(environment: str, table: Mapping[str, Any], top: Mapping[str, Any]) -> dict[str, Any] | None:
    binding = shield_binding(table)
    if binding is None:
        return None
    made = {name: value for name, value in table.items() if name not in _OF_THE_EDGE}
    variables = dict(table.get("vars", {}))
    name = variables.get("CACHE_NAME", Settings.cache_name)
    services = [each for each in table.get("services", ()) if each.get("binding") != SHIELD_BINDING]
    made |= {
        "name": binding.get("service"),
        "workers_dev": False,
        "preview_urls": False,
        "placement": placement_of(str(variables.get("SHIELD_PLACEMENT", Settings.shield_placement))),
        "vars": {**variables, "CACHE_NAME": f"{name}-shield"},
    }
    if services:
        made["services"] = services
    if objects := table.get("durable_objects"):
        edge = worker_name(environment, table, top)
        bindings = [{"script_name": edge, **each} for each in objects.get("bindings", ())]
        made["durable_objects"] = {**objects, "bindings": bindings}
    if _DATASETS in table:
        # What both counted in one would count twice.
        made[_DATASETS] = [{**each, "dataset": f"{each.get('dataset')}_shield"} for each in table[_DATASETS]]
    return made
