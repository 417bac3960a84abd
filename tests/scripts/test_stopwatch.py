"""The tests' stopwatch takes nothing off what a test itself computes."""

import re
import time
from collections.abc import Callable

import pytest

from tests.stopwatch import Stopwatch


@pytest.mark.parametrize(
    "compute",
    [
        pytest.param(
            lambda: re.match(r"(a+)+$", "a" * 23 + "b"), id="in one call, which no thread comes between"
        ),
        pytest.param(lambda: sum(number for number in range(3_000_000)), id="in Python"),
    ],
)
def test_what_is_computed_counts(compute: Callable[[], object]) -> None:
    began = time.thread_time()
    with Stopwatch() as watch:
        compute()
    assert watch.seconds > 0.9 * (time.thread_time() - began) > 0.01
