"""A coroutine that has begun."""

from __future__ import annotations

import asyncio

import pytest

from edgecache.begun import Begun


async def test_it_has_run_up_to_its_first_wait_before_anyone_awaits_it() -> None:
    answer: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    seen: list[str] = []

    async def ask() -> str:
        seen.append("asked")
        return await answer

    begun = Begun(ask())
    assert seen == ["asked"]
    answer.set_result("told")
    assert await begun == "told"


async def test_it_waits_as_often_as_it_has_to() -> None:
    async def count() -> int:
        for _ in range(3):
            await asyncio.sleep(0)
        return 3

    begun = Begun(count())
    await asyncio.sleep(0)
    assert await begun == 3


async def test_what_never_waits_is_done_at_once() -> None:
    async def answer() -> str:
        return "told"

    assert await Begun(answer()) == "told"


async def test_what_it_waited_for_may_fail() -> None:
    answer: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def ask() -> str:
        return await answer

    begun = Begun(ask())
    answer.set_exception(ValueError("broken"))
    with pytest.raises(ValueError, match="broken"):
        await begun


async def test_it_may_handle_what_it_waited_for() -> None:
    failing: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def ask() -> str:
        try:
            return await failing
        except ValueError:
            await asyncio.sleep(0)
            return "handled"

    begun = Begun(ask())
    failing.get_loop().call_soon(failing.set_exception, ValueError())
    assert await begun == "handled"


async def test_what_it_raises_reaches_whoever_awaits_it() -> None:
    async def ask() -> str:
        await asyncio.sleep(0)
        raise ValueError

    begun = Begun(ask())
    with pytest.raises(ValueError):  # noqa: PT011 - there is only one
        await begun
