"""Which URLs are followed, so that a log of any length fits into memory.

Spatial sampling as in SHARDS (Waldspurger et al., FAST 2015): whether a URL is followed depends on a hash
of it alone, so that all of its requests are or none is, and what is left is traffic of the same shape.
Unlike there, what is asked for often is always kept, as one hot URL more or less would change every
ratio; each URL has the weight with which it stands for others (Horvitz and Thompson).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import blake2b

__all__ = ["Followed", "KeySample"]

_SPACE = 1 << 32


@dataclass(slots=True)
class Followed:
    """A URL that is followed."""

    weight: float
    requests: int = 0
    hash: int = 0


def _place(key: str) -> int:
    """Return a number below 2^32 that depends on the key alone, and on each part of it."""
    return int.from_bytes(blake2b(key.encode("utf-8", "surrogatepass"), digest_size=4).digest())


class KeySample:
    """At most ``max_keys`` keys; of more, half are let go, but for the busiest quarter."""

    def __init__(self, max_keys: int) -> None:
        self.max_keys = max_keys
        self.rate = 1.0
        self._followed: dict[str, Followed] = {}

    def __len__(self) -> int:
        return len(self._followed)

    def follow(self, key: str) -> Followed | None:
        """Count a request; return what is known of its key, ``None`` if that isn't followed."""
        followed = self._followed.get(key)
        if followed is None:
            place = _place(key)
            if place >= self.rate * _SPACE:
                return None
            followed = self._followed[key] = Followed(1 / self.rate, hash=place)
        followed.requests += 1
        return followed

    def thin(self) -> Iterator[str]:
        """Yield the keys that are let go, if there are too many."""
        while len(self._followed) > self.max_keys:
            self.rate /= 2
            limit, busy = self.rate * _SPACE, self._busy_requests()
            dropped = []
            for key, followed in self._followed.items():
                if followed.requests > busy:
                    continue
                if followed.hash >= limit:
                    dropped.append(key)
                else:
                    followed.weight = 1 / self.rate
            for key in dropped:
                del self._followed[key]
                yield key

    def _busy_requests(self) -> int:
        """Return how often a key must have been asked for more than, to be one of the busiest quarter."""
        ordered = sorted((followed.requests for followed in self._followed.values()), reverse=True)
        return ordered[self.max_keys // 4]
