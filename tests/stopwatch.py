"""How long something took where a machine is busy."""

import time
from threading import Event, Thread
from typing import Self

_TICK_SECONDS = 0.005


class Stopwatch:
    """Stands still while the machine runs others in place of this process, as a thread of it notices.

    with Stopwatch() as watch:
        ...
    assert watch.seconds < 0.1
    """

    def __init__(self) -> None:
        self.seconds = 0.0
        self._over = Event()
        self._lost_seconds = 0.0
        self._thread = Thread(target=self._notice, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        self._began = time.monotonic()
        return self

    def __exit__(self, *_: object) -> None:
        ended = time.monotonic()
        self._over.set()
        self._thread.join()
        self.seconds = ended - self._began - self._lost_seconds

    def _notice(self) -> None:
        before, computed, is_over = time.monotonic(), time.process_time(), False
        while not is_over:
            is_over = self._over.wait(_TICK_SECONDS)
            now, computed_now = time.monotonic(), time.process_time()
            # What this process computes, and this thread has to wait for, is no other's.
            own_seconds = _TICK_SECONDS + computed_now - computed
            self._lost_seconds += max(0.0, now - before - own_seconds)
            before, computed = now, computed_now
