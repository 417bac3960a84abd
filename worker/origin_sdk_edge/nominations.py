"""Which fields, of those that origins mostly don't get to see, the responses of a path nominate."""

from origin_sdk_edge.policy.decision import Lookup
from origin_sdk_edge.storage.memory import Memory, Table
from origin_sdk_wire.facts import Fields
from origin_sdk_wire.vary import selecting_names

__all__ = ["Nominations"]

_NONE: frozenset[str] = frozenset()


class Nominations:
    """What has been learnt of each path, for some paths: a path that was forgotten is learnt again."""

    def __init__(self, memory: Memory) -> None:
        self._by_path: Table[frozenset[str]] = memory.table(1 / 64)

    def of(self, lookup: Lookup) -> frozenset[str]:
        """Return the names that the responses of a look-up's path have nominated."""
        return (lookup.undisclosed and self._by_path.get(_path(lookup))) or _NONE

    def learn(self, lookup: Lookup, fields: Fields) -> bool:
        """Take note of a response, and return whether it nominates what its request should have shown."""
        withheld = lookup.undisclosed.keys() - lookup.request.fields.keys()
        names = withheld.intersection(selecting_names(fields)) if withheld else _NONE
        if names:
            self._by_path.set(_path(lookup), self.of(lookup) | names)
        return bool(names)


def _path(lookup: Lookup) -> str:
    return lookup.request.target.host + lookup.request.target.path
