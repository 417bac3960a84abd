"""A Worker for the test of what is lost: each path does one thing to work that waits."""

import gc
import json
from types import CoroutineType

import js

from origin_sdk_edge.adapters.promises import LOST_MS, Promised, drive, give_up_lost, together

_told = []


def on_fetch(request, env, ctx):
    """Tell what is held and was heard of, after what the path does."""
    _DONE[js.URL.new(request.url).pathname]()
    gc.collect()
    kinds = [type(each) for each in gc.get_objects()]
    held = {"coroutines": kinds.count(CoroutineType), "told": _told}
    return js.Response.new(json.dumps(held))


def _begin():
    for _ in range(50):
        drive(_alone(), _tell, _tell)
        drive(_joined(), _tell, _tell)


async def _alone():
    await _within(None)


async def _joined():
    await together(_within(None), _within(3600))


async def _within(seconds):
    try:
        await Promised(js.Promise.withResolvers().promise, seconds)
    finally:
        _told.append("ended")


def _tell(outcome):
    _told.append(f"{type(outcome).__name__}")


def _look(times):
    # What it had seen before waited for longer than that.
    return lambda: give_up_lost(times * LOST_MS)


_DONE = {"/begin": _begin, "/early": _look(1), "/in-time": _look(2), "/late": _look(3)}
