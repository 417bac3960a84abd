"""What a forked process, such as gunicorn's preload makes, doesn't share with its parent."""

import os
from typing import Protocol
from weakref import WeakSet

__all__ = ["Renewable", "renew_after_fork"]


class Renewable(Protocol):
    """Something with threads, locks or connections."""

    def renew(self) -> None:
        """Start over in a process that has none of the parent's threads."""
        ...


_known: WeakSet[Renewable] = WeakSet()
renew_after_fork = _known.add


def _renew() -> None:
    for each in list(_known):
        each.renew()


os.register_at_fork(after_in_child=_renew)
