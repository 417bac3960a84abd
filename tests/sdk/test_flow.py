"""One flow, driven by a thread and by an event loop, does the same."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar, assert_type

import pytest

from origin_sdk._flow import Flow, Step, drive, drive_async

_Result = TypeVar("_Result")
Run = Callable[[Flow[_Result], Callable[[Step[Any]], object]], _Result]


@dataclass(frozen=True, slots=True)
class Read(Step[int]):
    name: str


def _in_loop(flow: Flow[_Result], do: Callable[[Step[Any]], object]) -> _Result:
    async def do_later(step: Step[Any]) -> object:
        await asyncio.sleep(0)
        return do(step)

    return asyncio.run(drive_async(flow, do_later))


@pytest.fixture(params=[drive, _in_loop], ids=["thread", "loop"])
def run(request: pytest.FixtureRequest) -> Run[Any]:
    driver: Run[Any] = request.param
    return driver


async def _sum(*names: str) -> int:
    total = 0
    for name in names:
        value = await Read(name)
        assert_type(value, int)
        total += value
    return total


async def _sum_or(default: int, *names: str) -> int:
    try:
        return await _sum(*names)
    except KeyError:
        return default


def test_answers_reach_the_flow_in_order(run: Run[int]) -> None:
    world, asked = {"a": 1, "b": 2}, []

    def do(step: Step[Any]) -> object:
        assert isinstance(step, Read)
        asked.append(step.name)
        return world[step.name]

    assert run(_sum("a", "b", "a"), do) == 4
    assert asked == ["a", "b", "a"]


def test_a_flow_without_steps_asks_nothing(run: Run[int]) -> None:
    assert run(_sum(), lambda step: pytest.fail(f"asked for {step}")) == 0


def test_what_a_step_raises_is_the_flows_to_catch(run: Run[int]) -> None:
    def do(step: Step[Any]) -> object:
        raise KeyError(step)

    assert run(_sum_or(7, "a"), do) == 7


def test_what_a_flow_does_not_catch_comes_out(run: Run[int]) -> None:
    def do(_: Step[Any]) -> object:
        raise LookupError("gone")

    with pytest.raises(LookupError, match="gone"):
        run(_sum_or(7, "a"), do)


async def test_cancelling_the_task_ends_the_flow_where_it_waits() -> None:
    started, seen = asyncio.Event(), []

    async def flow() -> None:
        try:
            await Read("a")
        finally:
            seen.append(await Read("last"))

    async def do(step: Step[Any]) -> object:
        assert isinstance(step, Read)
        if step.name == "last":
            return 5
        started.set()
        return await asyncio.Event().wait()

    task = asyncio.create_task(drive_async(flow(), do))
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert seen == [5]
