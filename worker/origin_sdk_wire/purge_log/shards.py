"""Which of several places holds what of the purge log, by host."""

import hashlib
from dataclasses import dataclass

from origin_sdk_wire.key import CUT, hostname_of
from origin_sdk_wire.marks import scope_of
from origin_sdk_wire.purge_log.entries import LogEntry, Switch

__all__ = ["Shard", "shard_of", "shards_of"]


@dataclass(frozen=True, slots=True)
class Shard:
    """One of the places that hold a log: that of a part of the hosts. Among ``of`` it has the ``number``."""

    number: int = 0
    of: int = 1

    def holds(self, entry: LogEntry) -> bool:
        """Whether an entry belongs there: what isn't about one host alone belongs everywhere."""
        return self.number in shards_of(entry, self.of)


def shard_of(host: str, of: int) -> int:
    """Return the number of the shard of a host's purges, whatever the port."""
    if of == 1:
        return 0
    octets = hashlib.sha256(hostname_of(host).encode("utf-8", "replace")).digest()
    return int.from_bytes(octets[:4], "big") % of


def shards_of(entry: LogEntry, of: int) -> frozenset[int]:
    """Return the numbers of the shards to which an entry belongs."""
    everywhere = frozenset(range(of))
    if of == 1 or isinstance(entry, Switch):
        return everywhere
    hosts = set(map(_host_of, entry.names))
    return everywhere if "" in hosts else frozenset(shard_of(host, of) for host in hosts)


def _host_of(name: str) -> str:
    """Return the host that a mark's name is about; empty for several, and for one that is cut."""
    scope = scope_of(name)
    host = scope.host.partition("?")[0] if scope else ""
    return "" if CUT in host else host
