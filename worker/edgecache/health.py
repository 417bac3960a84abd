"""How the origin is doing: which refreshes to hold back, and when to leave it alone."""

from collections import OrderedDict

from cachewire.settings import Settings

__all__ = ["Health"]

_MAX_REMEMBERED = 4096


class Health:
    """Failed refreshes by key (throttle), and failures in a row (breaker).

    It only ever holds back requests that can be answered from what is stored: a request that needs the
    origin always goes there, and so finds out when it is back.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._failures = 0
        self._alone_until_ms = 0
        self._throttled: OrderedDict[str, int] = OrderedDict()

    def is_throttled(self, key: str, now_ms: int) -> bool:
        """Whether the last refresh of ``key`` failed a short while ago."""
        return now_ms < self._throttled.get(key, 0)

    def is_open(self, now_ms: int) -> bool:
        """Whether the breaker leaves the origin alone."""
        return now_ms < self._alone_until_ms

    def succeeded(self, key: str) -> None:
        """Take note of a response that isn't a server error."""
        self._failures = self._alone_until_ms = 0
        self._throttled.pop(key, None)

    def failed(self, key: str, now_ms: int) -> None:
        """Take note of a failure or a server error."""
        self._failures += 1
        limit = self._settings.breaker_failures
        if limit and self._failures >= limit:
            self._alone_until_ms = now_ms + int(self._settings.breaker_pause * 1000)
        self._throttled[key] = now_ms + int(self._settings.refresh_throttle * 1000)
        self._throttled.move_to_end(key)
        if len(self._throttled) > _MAX_REMEMBERED:
            self._throttled.popitem(last=False)
