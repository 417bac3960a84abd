"""What is stored of answers that overtake each other: the latest to come stays, whoever is ready last."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest

from origin_sdk_edge.questions import Question
from origin_sdk_wire.settings import Rule, Settings
from tests.edge.fakes import FakeResponse
from tests.edge.rooms import SETTINGS, Rooms, page
from tests.edge.virtual import run

OLDER = b"older " * 500
WHOLE = replace(SETTINGS, compress_min_bytes=1000, rules=(Rule("pages", no_vary_search=True),))
"""With a rule by which an answer that isn't stored ends what is, and not by a mark."""
APART = replace(WHOLE, memory_item_bytes=1000)
LATE_SECONDS = 5.0
"""Longer than writes to a key are apart."""


def late(work: Callable[..., Awaitable[Any]], *, if_given: bytes | str) -> Callable[..., Awaitable[Any]]:
    """Return what does the same, and takes long where ``if_given`` is in its first argument."""

    async def doing(*given: Any) -> Any:
        if given and if_given in given[0]:
            await asyncio.sleep(LATE_SECONDS)
        return await work(*given)

    return doing


def late_body(_: Rooms, older: FakeResponse) -> None:
    read = older.read

    async def reading() -> bytes:
        await asyncio.sleep(LATE_SECONDS)
        return await read()

    older.read = reading  # type: ignore[method-assign] # of a fake


def late_compression(rooms: Rooms, _: FakeResponse) -> None:
    rooms.bodies.gzip = late(rooms.bodies.gzip, if_given=b"older")  # type: ignore[assignment] # of a fake


def late_separate_body(rooms: Rooms, _: FakeResponse) -> None:
    rooms.store.write = late(rooms.store.write, if_given="b1/")  # type: ignore[assignment] # of a fake


async def answered(rooms: Rooms, question: Question, response: FakeResponse) -> None:
    """Have a question answered, and keep what comes of it."""
    rooms.origin.answer = lambda _: response
    outcome = await rooms.asker.ask(question)
    entry = await rooms.asker.collected(question, outcome)
    await rooms.asker.intake.keep(question.lookup, outcome, entry)


@pytest.mark.parametrize(
    ("newer", "stays"),
    [
        pytest.param(page(b"newer"), b"newer", id="by a newer one"),
        pytest.param(page(b"mine", cache_control="private"), b"", id="by its end"),
    ],
)
@pytest.mark.parametrize(
    ("delay", "settings", "content_type"),
    [
        pytest.param(late_body, WHOLE, "image/png", id="while its body comes"),
        pytest.param(late_compression, WHOLE, "text/plain", id="while it is compressed"),
        pytest.param(late_separate_body, APART, "image/png", id="while its body is written apart"),
    ],
)
def test_a_response_that_is_overtaken_takes_no_later_one_s_place(
    delay: Callable[[Rooms, FakeResponse], None],
    settings: Settings,
    content_type: str,
    newer: FakeResponse,
    stays: bytes,
) -> None:
    async def main() -> None:
        rooms = Rooms(settings=settings)
        await rooms.ask(lookup := rooms.lookup())
        await asyncio.sleep(61)
        questions = [await rooms.question(lookup) for _ in range(2)]
        older = page(OLDER, content_type=content_type)
        delay(rooms, older)
        keeping = asyncio.create_task(answered(rooms, questions[0], older))
        await asyncio.sleep(1)
        await answered(rooms, questions[1], newer)
        await keeping
        assert rooms.faults == []
        assert rooms.store.values[questions[0].key].body == stays
        held = rooms.held(lookup)
        assert (held.body if held else b"") == stays

    run(main())


def test_an_end_that_is_overtaken_ends_nothing_that_came_after_it() -> None:
    async def main() -> None:
        rooms = Rooms(settings=WHOLE)
        await rooms.ask(lookup := rooms.lookup())
        await asyncio.sleep(61)
        questions = [await rooms.question(lookup) for _ in range(2)]
        rooms.origin.answer = lambda _: page(b"mine", cache_control="private")
        ended = await rooms.asker.ask(questions[0])
        await asyncio.sleep(1)
        await answered(rooms, questions[1], page(b"newer"))
        await rooms.asker.intake.keep(lookup, ended, None)
        assert rooms.store.values[questions[0].key].body == b"newer"

    run(main())
