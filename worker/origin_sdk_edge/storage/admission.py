"""What may be written to KV of what clients cause to be stored: it is paid for, and lies there for days."""

from dataclasses import dataclass, field

from origin_sdk_edge.policy.decision import Lookup
from origin_sdk_edge.storage.memory import Memory, Table
from origin_sdk_edge.storage.variants import variant
from origin_sdk_wire.choices import DataClass, StoreOn
from origin_sdk_wire.search_variance import QUERY
from origin_sdk_wire.settings import Rule, Settings

__all__ = ["Admission", "Allowance"]

_MINUTE_MS = 60_000
_MAX_KNOWN = 256


@dataclass(slots=True)
class Allowance:
    """So much at once, and as much again within ``whole_ms``."""

    most: int
    whole_ms: int
    _full_ms: int = 0
    """When it will be whole again."""

    def takes(self, amount: int, now_ms: int) -> bool:
        """Take ``amount`` out of it, if it is there."""
        full_ms = max(self._full_ms, now_ms) + amount * self.whole_ms // self.most
        if full_ms > now_ms + self.whole_ms:
            return False
        self._full_ms = full_ms
        return True

    def give_back(self, amount: int) -> None:
        """Put back what was taken, and not needed."""
        self._full_ms -= amount * self.whole_ms // self.most


@dataclass(slots=True)
class _Url:
    allowance: Allowance
    known: set[str] = field(default_factory=set)


class Admission:
    """Bounds variants of a URL, bytes a minute, and what nobody asks for again: if large, or by its rule.

    What isn't admitted answers its request, and others as long as memory holds it.
    """

    def __init__(self, settings: Settings, memory: Memory) -> None:
        self._variants = settings.variants_per_url
        self._second_use_bytes = settings.second_use_bytes
        most = settings.stored_bytes_per_minute
        self._bytes = Allowance(most, _MINUTE_MS) if most else None
        self._urls: Table[_Url] = memory.table(1 / 64)
        self._used_once: Table[int] = memory.table(1 / 64)

    def admits(self, lookup: Lookup, key: str, size_bytes: int, now_ms: int) -> bool:
        """Whether a response may be written under ``key``."""
        return (
            not lookup.rule.is_kept_in_memory
            and self._is_used_again(lookup.rule, key, size_bytes)
            and self._admits_variant(lookup, key, now_ms)
            and (self._bytes is None or self._bytes.takes(size_bytes, now_ms))
        )

    def _is_used_again(self, rule: Rule, key: str, size_bytes: int) -> bool:
        is_large = self._second_use_bytes and size_bytes >= self._second_use_bytes
        if not is_large and rule.store_on is StoreOn.FIRST_MISS:
            return True
        is_known = self._used_once.get(key) is not None
        self._used_once.set(key, 1)
        return is_known

    def _admits_variant(self, lookup: Lookup, key: str, now_ms: int) -> bool:
        # Whose keys hold a declared identity has as many as there are users; a content is what a query is.
        base = variant(lookup, ()) if lookup.request.content else lookup.key
        if lookup.rule.no_vary_search:
            base = variant(lookup, (QUERY,))
        if not self._variants or key == base or lookup.rule.data_class is DataClass.PRIVATE:
            return True
        # As many again take as many minutes.
        new = _Url(Allowance(self._variants, self._variants * _MINUTE_MS))
        url = self._urls.get(base) or new
        if key in url.known:
            return True
        if not url.allowance.takes(1, now_ms):
            return False
        if len(url.known) >= _MAX_KNOWN:
            url.known.clear()
        url.known.add(key)
        self._urls.set(base, url)
        return True
