"""For the tests of services that purge: a fake KV API, a clock that is moved by hand, and assertions.

pytest finds the fixtures by itself: see :mod:`origin_sdk.testing.plugin`.
"""

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
