"""The shield: a Worker near the origin that those of all locations ask in its place.

It is the same Worker, deployed once more, and reached over a service binding alone: the binding's *props*,
which only who may deploy can set, tell it that an edge asks. With each request that says by which settings it
goes (:func:`settings_digest`): a shield of others refuses, and the edge asks the origin itself. The refusal
bears a digest of each setting, by which the edge can name those that differ, and no value.
"""

from collections.abc import Mapping
from dataclasses import fields, is_dataclass

from origin_sdk_wire import WIRE_VERSION
from origin_sdk_wire.choices import DataClass, StoreOn
from origin_sdk_wire.key import digest
from origin_sdk_wire.settings import Rule, Settings

__all__ = [
    "SHIELD_BINDING",
    "SHIELD_FIELD",
    "SHIELD_PROPS",
    "differing_settings",
    "is_shielded",
    "placement_of",
    "setting_digests",
    "settings_digest",
]

SHIELD_BINDING = "SHIELD"
SHIELD_PROPS = {"asks": "shield"}
"""What the binding says of who asks: no client can."""
SHIELD_FIELD = "edge-shield"
"""The field in which edge and shield tell each other what goes beyond HTTP."""

_OF_ONE_WORKER = frozenset(
    {
        *("cache_name", "debug_secret", "development", "hook_timeout", "log_sampling", "log_writes"),
        *("memory_bytes", "metrics_shared", "metrics_urls", "publish_coding", "purge_log_keys"),
        *("refresh_concurrency", "shield_placement", "shield_timeout"),
    }
)
"""Settings in which edge and shield may differ, since no answer depends on them."""
_VERSION = "the version"
_SHORT = 12


def is_shielded(rule: Rule, settings: Settings) -> bool:
    """Whether the shield is asked for what a rule matches, where there is one.

    By default for what all may see: what is one user's is mostly asked for at one location, and what stays in
    memory is to stay in that of the user's location. Without ``origin`` the shield wouldn't know whom to ask.
    """
    if not settings.origin:
        return False
    if rule.shield is not None:
        return rule.shield
    return rule.data_class is DataClass.PUBLIC and rule.store_on is not StoreOn.NEVER


def placement_of(setting: str) -> dict[str, str]:
    """Return the setting ``SHIELD_PLACEMENT`` as wrangler.toml has it in ``placement``."""
    if setting == "smart":
        return {"mode": "smart"}
    kind, _, place = setting.partition(":")
    return {kind: place} if kind in {"host", "hostname"} else {"region": setting}


def settings_digest(settings: Settings) -> str:
    """Return what tells settings apart by which two Workers would answer differently, secrets included."""
    return digest(*_shared(settings).values())


def setting_digests(settings: Settings) -> Mapping[str, str]:
    """Return a short digest of each such setting, by the name of its variable."""
    return {name: digest(each)[:_SHORT] for name, each in _shared(settings).items()}


def differing_settings(settings: Settings, others: Mapping[str, str]) -> tuple[str, ...]:
    """Return the names of settings that differ from those of which ``others`` are the digests."""
    own = setting_digests(settings)
    return tuple(sorted(name for name in {**own, **others} if own.get(name) != others.get(name)))


def _shared(settings: Settings) -> dict[str, str]:
    """Return the text of each setting that edge and shield have in common, by the name of its variable."""
    names = sorted(each.name for each in fields(settings) if each.name not in _OF_ONE_WORKER)
    told = {name.upper(): f"{name}={_told(getattr(settings, name))}" for name in names}
    return {_VERSION: str(WIRE_VERSION), **told}


def _told(value: object) -> str:
    if is_dataclass(value) and not isinstance(value, type):
        return _told({each.name: getattr(value, each.name) for each in fields(value)})
    if isinstance(value, Mapping):
        return repr(sorted((str(name), _told(each)) for name, each in value.items()))
    if isinstance(value, frozenset | set):
        return repr(sorted(map(_told, value)))
    if isinstance(value, list | tuple):
        return repr(list(map(_told, value)))
    return repr(value)
