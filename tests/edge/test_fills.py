"""A body on its way: all its clients get all of it, and nothing is held or counted for longer than needed."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import pytest

from origin_sdk_edge.fills import Fill
from origin_sdk_edge.policy.facts import OriginFailure
from origin_sdk_edge.ports import OriginError
from origin_sdk_edge.storage.memory import Memory
from tests.edge.fakes import FakeBodies, FakeTiming

PART = b"0123456789" * 10_000


class Pieces:
    """A body that comes piece by piece, and may break off."""

    def __init__(self, count: int, *, breaks: bool = False, is_there: bool = False) -> None:
        self.left = count
        self._is_there = is_there
        self.was_cancelled = False
        self._breaks = breaks

    async def is_near(self, _seconds: float) -> bool:
        return True

    async def next(self) -> bytes | None:
        if not self._is_there:
            await asyncio.sleep(0)
        if self.left:
            self.left -= 1
            return PART
        if self._breaks:
            raise OriginError(OriginFailure.TRUNCATED, "it broke off")
        return None

    def cancel(self) -> None:
        self.was_cancelled = True
        self.left = 0


class Client:
    """A client that takes pieces at its own pace, and perhaps goes away."""

    def __init__(self, *, pauses: int = 0, leaves_after: int = 10**9) -> None:
        self.readable = None
        self.got = b""
        self.end = ""
        self._pauses = pauses
        self._leaves_after = leaves_after

    async def write(self, piece: bytes, _timeout_seconds: float) -> bool:
        for _ in range(self._pauses):
            await asyncio.sleep(0)
        if len(self.got) >= self._leaves_after:
            return False
        self.got += piece
        return True

    async def close(self) -> None:
        self.end = "closed"

    async def abort(self) -> None:
        self.end = "aborted"


def _fill(pieces: Pieces, memory: Memory, limit_bytes: int = 10_000_000) -> Fill:
    return Fill(pieces, FakeBodies(), FakeTiming(), memory, limit_bytes=limit_bytes, alone_bytes=150_000)


async def _run(fill: Fill, clients: list[Client]) -> bytes | None:
    feeding = [asyncio.ensure_future(fill.feed(client, 60)) for client in clients]
    await asyncio.sleep(0)
    try:
        body: bytes | None = await fill.read()
    finally:
        fill.close()
        await asyncio.gather(*feeding)
    return body


@pytest.mark.parametrize(
    ("limit_bytes", "memory_bytes", "is_kept"),
    [
        pytest.param(10_000_000, 100_000_000, True, id="held whole"),
        pytest.param(1_500_000, 100_000_000, False, id="too large"),
        pytest.param(10_000_000, 1_000_000, False, id="no room"),
    ],
)
async def test_all_clients_get_all_of_it(limit_bytes: int, memory_bytes: int, *, is_kept: bool) -> None:
    memory = Memory(memory_bytes)
    clients = [Client(), Client(pauses=3), Client(pauses=20), Client(leaves_after=500_000)]

    body = await _run(_fill(Pieces(40), memory, limit_bytes), clients)

    assert [client.got == PART * 40 for client in clients[:3]] == [True] * 3
    assert [client.end for client in clients] == ["closed"] * 3 + [""]
    assert (body == PART * 40) is is_kept
    assert memory.used_bytes == 0
    assert memory.has_room_for(memory_bytes * 3 // 4)


async def test_a_break_is_shown_to_all() -> None:
    memory, clients = Memory(10_000_000), [Client(), Client(pauses=9)]

    with pytest.raises(OriginError):
        await _run(_fill(Pieces(5, breaks=True), memory), clients)

    assert [(client.got == PART * 5, client.end) for client in clients] == [(True, "aborted")] * 2
    assert memory.used_bytes == 0


async def test_what_its_clients_left_is_abandoned_once_it_is_large() -> None:
    memory, pieces = Memory(10_000_000), Pieces(50)
    fill = _fill(pieces, memory)

    body = await _run(fill, [Client(leaves_after=100_000), Client(leaves_after=300_000)])

    assert body is None
    assert fill.is_abandoned
    assert pieces.was_cancelled
    assert memory.used_bytes == 0


@pytest.mark.parametrize("is_too_large", [False, True])
async def test_a_refresh_that_no_client_waits_for_is_read_while_it_may_be_held(*, is_too_large: bool) -> None:
    memory = Memory(10_000_000)
    fill = _fill(Pieces(30), memory, 1_000_000 if is_too_large else 10_000_000)
    fill.expect_nobody()

    body = await _run(fill, [])

    assert body == (None if is_too_large else PART * 30)
    assert memory.used_bytes == 0


async def test_what_is_read_ahead_waits_for_its_client_even_without_room() -> None:
    memory, client = Memory(0), Client()
    fill = _fill(Pieces(3), memory)
    await fill.read_ahead(1_000_000, None)

    assert not fill.is_kept
    assert await _run(fill, [client]) is None
    assert client.got == PART * 3
    assert memory.used_bytes == 0


@pytest.mark.parametrize("breaks", [pytest.param(False, id="whole"), pytest.param(True, id="broken off")])
async def test_what_is_over_before_its_first_client_comes_is_held_for_that(*, breaks: bool) -> None:
    memory, client = Memory(10_000_000), Client()
    fill = _fill(Pieces(3, breaks=breaks, is_there=True), memory)
    with suppress(OriginError):
        await fill.read()
    fill.close()

    await fill.feed(client, 60)

    assert (client.got == PART * 3, client.end) == (True, "aborted" if breaks else "closed")
    assert memory.used_bytes == 0


async def test_what_is_over_is_let_go_when_no_first_client_is_to_come() -> None:
    memory = Memory(10_000_000)
    fill = _fill(Pieces(3, is_there=True), memory)
    await fill.read()
    fill.close()
    assert memory.used_bytes == len(PART) * 3

    fill.expect_nobody()

    assert memory.used_bytes == 0
