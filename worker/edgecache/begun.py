"""Doing two things at once without a task for each: a task costs more than what most of them do."""

from collections.abc import Coroutine, Generator
from functools import partial
from typing import Any, Generic, TypeVar

__all__ = ["Begun"]

_Result = TypeVar("_Result")


class Begun(Generic[_Result]):
    """A coroutine that has run as far as it could without waiting. Whoever awaits it runs the rest.

    What it waits for is under way meanwhile. Raises what the coroutine raises, before its first wait at once.
    """

    __slots__ = ("_coroutine", "_result", "_waits_for")

    def __init__(self, coroutine: Coroutine[Any, Any, _Result]) -> None:
        self._coroutine = coroutine
        self._result: list[_Result] = []
        try:
            self._waits_for = coroutine.send(None)
        except StopIteration as stop:
            self._result.append(stop.value)

    def __await__(self) -> Generator[Any, Any, _Result]:
        """Run the rest."""
        if self._result:
            return self._result[0]
        waits_for = self._waits_for
        while True:
            try:
                yield waits_for
            except BaseException as error:  # noqa: BLE001 - the coroutine's to handle
                resume = partial(self._coroutine.throw, error)
            else:
                resume = partial(self._coroutine.send, None)
            try:
                waits_for = resume()
            except StopIteration as stop:
                result: _Result = stop.value
                return result
