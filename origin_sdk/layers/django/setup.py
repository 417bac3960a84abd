"""From an entry of Django's ``CACHES`` to the cache that it means."""

from collections.abc import Mapping
from typing import Any, TypeAlias

from django.core.exceptions import ImproperlyConfigured
from django.utils.module_loading import import_string

from origin_sdk.layers.django.shared_cache import SharedCache
from origin_sdk.layers.django.values import PLAINER, TAGS
from origin_sdk.layers.key_value import KeyValue
from origin_sdk.layers.redis.options import RedisOptions
from origin_sdk.layers.values.envelope import Wrapping
from origin_sdk.layers.values.messagepack import Tagging

__all__ = ["OPTIONS", "Parts", "make"]

Options: TypeAlias = Mapping[str, Any]
"""The ``OPTIONS`` of one of ``CACHES``."""

_YEAR_SECONDS = 366 * 86_400.0
OPTIONS = {
    "REDIS": "a dict with arguments of RedisOptions",
    "EDGE": "the path of what purges the edge, or of a function that makes it",
    "WRAPPING": "the path of a Wrapping, or of a function that makes it",
    "MEMORY_SECONDS": "seconds",
    "MAX_ENTRIES": "a number",
    "TYPES": "paths of dataclasses, Structs or enums",
    "UNSUPPORTED": "'raise' or 'skip'",
    "ADD_WITHOUT_REDIS": "a boolean",
}


class Parts:
    """What the backends of a process share."""

    def __init__(self, cache: SharedCache, values: KeyValue, tagging: Tagging, options: Options) -> None:
        self.cache = cache
        self.values = values
        self.tagging = tagging
        self.skips = options.get("UNSUPPORTED", "raise") == "skip"
        self.adds_without_redis = bool(options.get("ADD_WITHOUT_REDIS", False))


def make(location: str, prefix: str, options: Options) -> Parts:
    """Make a cache. Raises ImproperlyConfigured with the value and the remedy."""
    if unknown := options.keys() - OPTIONS.keys():
        raise ImproperlyConfigured(f"CACHES: OPTIONS {sorted(unknown)}: known are {', '.join(OPTIONS)}")
    if options.get("UNSUPPORTED", "raise") not in {"raise", "skip"}:
        raise ImproperlyConfigured(
            f"CACHES: UNSUPPORTED {options['UNSUPPORTED']!r}: 'raise' or 'skip' is needed"
        )
    try:
        return _made(location, prefix, options)
    except (ValueError, TypeError, ImportError) as error:
        raise ImproperlyConfigured(f"CACHES: {error}") from error


def _made(location: str, prefix: str, options: Options) -> Parts:
    memory_seconds = float(options.get("MEMORY_SECONDS", 0))
    redis = None
    if location:
        # What is older than the horizon counts as invalid; Django keeps sessions for weeks.
        given = {"prefix": prefix or "django", "horizon": _YEAR_SECONDS, **options.get("REDIS", {})}
        redis = RedisOptions(url=location, **given)
    keeps = redis is None or memory_seconds > 0
    cache = SharedCache(
        redis,
        edge=_imported(options.get("EDGE"), "purge"),
        wrapping=_imported(options.get("WRAPPING"), "wrap") or Wrapping(),
        max_entries=int(options.get("MAX_ENTRIES", 100_000 if keeps else 1_000)),
    )
    types = [import_string(each) if isinstance(each, str) else each for each in options.get("TYPES", ())]
    return Parts(cache, KeyValue(cache, memory_seconds), Tagging(types, TAGS, PLAINER), options)


def _imported(given: object, verb: str) -> Any:
    """Return what a setting names, made if it is something that makes it."""
    found: Any = import_string(given) if isinstance(given, str) else given
    is_made = hasattr(found, verb) and not isinstance(found, type)
    return found if found is None or is_made else found()
