"""For the tests of services that purge: a fake KV API, a clock that is moved by hand, and assertions.

pytest finds the fixtures by itself: see :mod:`origin_sdk.testing.plugin`.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from origin_sdk.testing.assertions import (
        HasMarks,
        assert_cacheable,
        assert_not_cacheable,
        assert_not_purged,
        assert_purged,
    )
    from origin_sdk.testing.clock import ManualClock
    from origin_sdk.testing.fake import FakeKV, FakeRequest

__all__ = [
    "FakeKV",
    "FakeRequest",
    "HasMarks",
    "ManualClock",
    "assert_cacheable",
    "assert_not_cacheable",
    "assert_not_purged",
    "assert_purged",
]

# Imported when first asked for: pytest loads this package wherever it is installed, httpx or not.
_HOMES = {
    "FakeKV": "fake",
    "FakeRequest": "fake",
    "HasMarks": "assertions",
    "ManualClock": "clock",
    "assert_cacheable": "assertions",
    "assert_not_cacheable": "assertions",
    "assert_not_purged": "assertions",
    "assert_purged": "assertions",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module  # noqa: PLC0415 - see above

    try:
        return getattr(import_module(f"origin_sdk.testing.{_HOMES[name]}"), name)
    except ModuleNotFoundError as error:
        remedy = "pip install 'origin-sdk[client]'"
        raise ImportError(f"origin_sdk.testing.{name} needs {error.name}: {remedy}") from error
