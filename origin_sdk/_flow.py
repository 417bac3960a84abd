"""Rules without input or output: coroutines that await steps, and the one trampoline that drives them.

A *flow* is an ``async def`` that decides. Where it needs something of the world it awaits a :class:`Step`,
which says what, and gets what came of it. A driver carries the steps out, in the calling thread
(:func:`drive`) or in an event loop (:func:`drive_async`): so a rule is written once, and a test can be the
world. Flows await steps and other flows, nothing of an event loop.
"""

from collections.abc import Awaitable, Callable, Coroutine, Generator
from typing import Any, Generic, Self, TypeAlias, TypeVar

__all__ = ["AnyStep", "Flow", "Step", "drive", "drive_async"]

_Answer = TypeVar("_Answer")
_Result = TypeVar("_Result")


class Step(Generic[_Answer]):
    """Something that a flow wants done. Awaited, it is what came of it; what that raises is raised there."""

    __slots__ = ()

    def __await__(self) -> Generator[Self, _Answer, _Answer]:
        return (yield self)


AnyStep: TypeAlias = Step[Any]
Flow: TypeAlias = Coroutine[AnyStep, Any, _Result]


def drive(flow: Flow[_Result], do: Callable[[AnyStep], object]) -> _Result:
    """Run a flow in this thread, and return its result; ``do`` carries out a step and returns the answer."""
    answer: object = None
    error: BaseException | None = None
    try:
        while True:
            step = flow.send(answer) if error is None else flow.throw(error)
            error = None
            try:
                answer = do(step)
            except BaseException as raised:  # noqa: BLE001 - it is the flow's to deal with
                error = raised
    except StopIteration as end:
        result: _Result = end.value
        return result
    finally:
        del error  # its traceback leads to this frame


async def drive_async(flow: Flow[_Result], do: Callable[[AnyStep], Awaitable[object]]) -> _Result:
    """Run a flow in this task, as :func:`drive` does in a thread.

    A task that is cancelled while it carries out a step throws CancelledError into the flow.
    """
    answer: object = None
    error: BaseException | None = None
    try:
        while True:
            step = flow.send(answer) if error is None else flow.throw(error)
            error = None
            try:
                answer = await do(step)
            except BaseException as raised:  # noqa: BLE001 - it is the flow's to deal with
                error = raised
    except StopIteration as end:
        result: _Result = end.value
        return result
    finally:
        del error  # its traceback leads to this frame
