"""What a reading is said to be read by."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest

from origin_sdk._responses.observed import Declared, Observed


def _of_a_package(source: str, **names: Any) -> Any:
    """Return the function of a module that pip has installed."""
    names |= {"__name__": "a_package"}
    exec(compile(source, "/x/site-packages/a_package.py", "exec"), names)  # noqa: S102 - our own
    return names["function"]


def _handler() -> None: ...


_WRAPPED = _of_a_package("def function(): ...")


@pytest.mark.parametrize(
    ("endpoint", "place"),
    [
        pytest.param(
            _handler,
            r".*test_observed.py:\d+, in a parameter or decorator of _handler, by a_package:1",
            id="own",
        ),
        pytest.param(_WRAPPED, "a_package:1", id="in a wrapper of the package's, which says nothing"),
        pytest.param(None, "a_package:1", id="none"),
    ],
)
def test_a_parameter_that_a_package_reads_is_the_handlers(
    endpoint: Callable[[], None] | None, place: str
) -> None:
    observed = Observed((__name__,), lambda: endpoint)
    _of_a_package("def function(): note('cookie')", note=observed.note)()
    [reading] = observed.undeclared(Declared())
    assert re.fullmatch(f"Cookie was read at {place}", str(reading))
