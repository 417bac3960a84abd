"""What a forked process, such as gunicorn's preload makes, doesn't share with its parent."""

import os
from threading import Lock
from typing import Protocol
from weakref import WeakSet

__all__ = ["Renewable", "Suspendable", "renew_after_fork", "suspend_at_fork"]


class Renewable(Protocol):
    """Something with threads, locks or connections."""

    def renew(self) -> None:
        """Start over in a process that has none of the parent's threads."""
        ...


class Suspendable(Renewable, Protocol):
    """Something that has to be closed while the process forks, since the child can't even leave it alone."""

    def suspend(self) -> None:
        """Close it, and let no thread open it."""
        ...

    def resume(self) -> None:
        """Let it be opened again, in the parent; the child renews it."""
        ...


_renewed: WeakSet[Renewable] = WeakSet()
_suspended: WeakSet[Suspendable] = WeakSet()
renew_after_fork = _renewed.add


def suspend_at_fork(each: Suspendable) -> None:
    """Close something before each fork, and let both processes open it anew."""
    _suspended.add(each)
    renew_after_fork(each)


_forking = Lock()
_closed: list[Suspendable] = []
"""What is closed for the fork that is under way; more may be made meanwhile."""


def _suspend() -> None:
    _forking.acquire()
    for each in list(_suspended):
        each.suspend()
        _closed.append(each)


def _resume() -> None:
    while _closed:
        _closed.pop().resume()
    _forking.release()


def _renew() -> None:
    _closed.clear()
    if _forking.locked():  # a fork without Python's hooks, as uWSGI's, has suspended nothing
        _forking.release()
    for each in list(_renewed):
        each.renew()


os.register_at_fork(before=_suspend, after_in_parent=_resume, after_in_child=_renew)
