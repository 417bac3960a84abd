"""Coroutines driven by promises: no event loop, no task, no future.

Pyodide's event loop takes two macrotasks and a stack for each callback: waiting for a promise that way costs
some 45 µs, this way 3 to 9. So a coroutine yields a :class:`Promised` whenever it waits, and what settles
that promise resumes it, in the same request. Nothing of asyncio works inside: there is no current task.

Pyodide makes a future of each promise that a call returns. :func:`promised` calls by ``Array.from``, in whose
array the promise comes as it is.

What a request waits for never settles once the runtime has ended the request, as it does some 30 s after the
response; and a promise keeps what waits for it for ever. So all that waits is known, and :func:`give_up_lost`
lets go of what has waited for longer than anything does.
"""

from collections.abc import Callable, Generator
from functools import cache
from typing import Any

import js
from pyodide.ffi import create_once_callable

from origin_sdk_edge.adapters.javascript import from_json
from origin_sdk_edge.adapters.turn import turn
from origin_sdk_edge.ports import Work

__all__ = [
    "LOST_MS",
    "LostError",
    "Promised",
    "deferred",
    "drive",
    "give_up_lost",
    "promised",
    "together",
    "unawaited",
    "within",
]

_array_from = getattr(js.Array, "from")
deferred = js.Promise.withResolvers
"""Make a promise, with the functions that settle it."""
_set_timeout = js.setTimeout
_clear_timeout = js.clearTimeout
_LONGEST_MS = 2**31 - 1
"""JavaScript's timers take a longer time for none."""
LOST_MS = 600_000
"""What has waited for so long is lost: no timeout of the settings is longer than half of it."""


class LostError(Exception):
    """The runtime ended a request while work of it waited."""


@cache
def _one() -> Any:
    return from_json("[0]")


def promised(function: Any, this: Any, *arguments: Any) -> "Promised":
    """Call what returns a promise, a method of ``this``; what is promised comes of awaiting the result.

    After ``arguments`` it gets two zeros: where it would take more of them, give it None (undefined).
    Raises JsException where the call itself does.
    """
    return Promised(_array_from(_one(), function.bind(this, *arguments))[0])


def within(
    seconds: float | None, waiting: "Promised", abort: Callable[[], object] | None = None
) -> "Promised":
    """Wait no longer than ``seconds``, counted from when somebody awaits it; then TimeoutError is raised.

    ``abort`` is called then, and must make the promise settle: one that never does keeps what waits for it.
    Without one, nothing more of the promise is waited for.
    """
    return Promised(waiting.promise, seconds, abort)


def unawaited(waiting: "Promised") -> None:
    """Let it come to what it may."""
    waiting.promise.catch(_ignore)


def _ignore(_: Any) -> None:
    """Nobody waits for it."""


class Promised:
    """What a promise will come to. It may be awaited more than once."""

    __slots__ = ("abort", "promise", "seconds")

    def __init__(
        self, promise: Any, seconds: float | None = None, abort: Callable[[], object] | None = None
    ) -> None:
        self.promise = promise
        self.seconds = seconds
        self.abort = abort

    def __await__(self) -> Generator["Promised", Any, Any]:
        """Wait for it; raises JsException if it is rejected."""
        return (yield self)


def drive(work: Work, done: Callable[[Any], object], failed: Callable[[Exception], object]) -> None:
    """Run a coroutine as far as it goes without waiting, and on as what it waits for settles."""
    _advance(work, done, failed, work.send, None)


def _advance(
    work: Work,
    done: Callable[[Any], object],
    failed: Callable[[Exception], object],
    resume: Callable[[Any], Promised],
    value: Any,
) -> None:
    is_own_turn = turn.begin()
    try:
        waiting = resume(value)
    except StopIteration as stop:
        done(stop.value)
    except Exception as error:  # noqa: BLE001 - whoever started it hears of it
        failed(error)
    else:
        _Wait(work, done, failed).begin(waiting)
    finally:
        if is_own_turn:
            turn.end()


class _Waits:
    """All that waits, by two ages, so that a wait needn't ask for the time."""

    def __init__(self) -> None:
        self.recent: set[_Wait] = set()
        self._older: set[_Wait] = set()
        self._next_ms = 0

    def give_up_lost(self, now_ms: int) -> None:
        if now_ms < self._next_ms:
            return
        # What was recent the last time has been waiting since before that.
        lost = self._older if self._next_ms else set()
        self._older, self.recent = self.recent, set()
        self._next_ms = now_ms + LOST_MS
        for wait in list(lost):
            wait.give_up()


class _Wait:
    """One time that a coroutine waits: it is resumed once, by what comes first."""

    __slots__ = ("_abort", "_among", "_done", "_failed", "_is_late", "_once", "_timer", "_work")

    def __init__(
        self,
        work: Work,
        done: Callable[[Any], object],
        failed: Callable[[Exception], object],
    ) -> None:
        self._work: Work | None = work
        self._done = done
        self._failed = failed
        self._once: Any = None
        self._is_late = False
        self._among = _waits.recent

    def begin(self, waiting: Promised) -> None:
        self._among.add(self)
        if waiting.seconds is not None:
            # A once-callable: a proxy that is given to a timer is never called. It goes with the timer.
            self._abort = waiting.abort
            self._once = create_once_callable(self._reach)
            self._timer = _set_timeout(self._once, min(int(waiting.seconds * 1000), _LONGEST_MS))
        waiting.promise.then(self._settle, self._reject)

    def _settle(self, value: Any) -> None:
        self._end(value, None)

    def _reject(self, reason: Any) -> None:
        self._end(None, reason if isinstance(reason, Exception) else RuntimeError(str(reason)))

    def _end(self, value: Any, error: Exception | None) -> None:
        work, self._work = self._work, None
        if work is None:
            return
        self._among.discard(self)
        if self._is_late:
            error = TimeoutError()
        elif self._once is not None:
            _clear_timeout(self._timer)
            self._once.destroy()
        if error is None:
            _advance(work, self._done, self._failed, work.send, value)
        else:
            _advance(work, self._done, self._failed, work.throw, error)

    def _reach(self) -> None:
        self._is_late = True
        if self._work is not None and self._abort:
            self._abort()  # what it waits for settles by that, and lets go of this
        else:
            self._end(None, None)

    def give_up(self) -> None:
        """Let go of the work: nothing of it is run but what it does whenever it ends."""
        work, self._work = self._work, None
        self._among.discard(self)
        if work is None:
            return
        if self._once is not None and not self._is_late:
            _clear_timeout(self._timer)
            self._once.destroy()
        failed, self._done, self._failed = self._failed, _ignore, _ignore
        try:
            work.close()
        except Exception as error:  # noqa: BLE001 - whoever started it hears of it
            failed(error)
        else:
            failed(LostError(f"the runtime cut it off, or it waited for more than {LOST_MS // 1000} s"))


_waits = _Waits()


def give_up_lost(now_ms: int) -> None:
    """Let go of work that waits for what never comes, as :class:`LostError` tells whoever started it.

    Asked at least once in `LOST_MS`, it does so when the work has waited for between once and twice that.
    """
    _waits.give_up_lost(now_ms)


async def together(*work: Work) -> list[Any]:
    """Run all at once, and return what each returned; raises what the first that failed did."""
    joined = _Joined(len(work))
    for number, each in enumerate(work):
        drive(each, joined.taker(number), joined.fail)
    if joined.left:
        joined.own = deferred()
        await Promised(joined.own.promise)
    if joined.error:
        raise joined.error
    return joined.results


class _Joined:
    def __init__(self, count: int) -> None:
        self.left = count
        self.results: list[Any] = [None] * count
        self.error: Exception | None = None
        self.own: Any = None

    def taker(self, number: int) -> Callable[[Any], None]:
        def take(result: Any) -> None:
            self.results[number] = result
            self._end()

        return take

    def fail(self, error: Exception) -> None:
        self.error = self.error or error
        self._end()

    def _end(self) -> None:
        self.left -= 1
        if not self.left and self.own is not None:
            self.own.resolve()
