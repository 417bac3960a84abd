"""`scripts/bench codings`: what `publish` stores of a body with gzip and with Brotli, and what that takes.

Bodies are those of the examples, and lists of products made up at random.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random  # noqa: TID251 - one seed, the same bodies in each run
import time
from collections.abc import Iterator
from typing import Any

import httpx

from examples.apis.catalog import APPS
from origin_sdk._edge.publication import compressed
from origin_sdk_wire.choices import PublishCoding
from scripts.benches.rows import Row, row

__all__ = ["add_arguments", "bodies", "measure"]

_ROUNDS = 20
_WORDS = [
    "alpha",
    "bravo",
    "charlie",
    "delta",
    "echo",
    "foxtrot",
    "golf",
    "hotel",
    "india",
    "juliet",
    "kilo",
    "lima",
    "mike",
    "november",
]
_LIST = {
    "query": "query List($shelf: Int!) { products(shelf: $shelf) { id name } }",
    "variables": {"shelf": 1},
}
_REQUESTS: dict[str, tuple[str, str, Any]] = {
    "ads": ("GET", "/decide?slot=top&segment=a", None),
    "feed": ("GET", "/feed?page=1", None),
    "graphql": ("POST", "/graphql", _LIST),
}


def add_arguments(_: argparse.ArgumentParser) -> None:
    """Take nothing of its own."""


def measure(options: argparse.Namespace) -> list[Row]:
    """Return three rows for each body: its size, and size and CPU of each coding."""
    rounds = 3 if options.quick else _ROUNDS
    return [each for name, body in bodies().items() for each in _rows(name, body, rounds)]


def bodies() -> dict[str, bytes]:
    """Return bodies by their names."""
    answers = {name: asyncio.run(_answer(name, *asked)) for name, asked in _REQUESTS.items()}
    return answers | {f"{count} products": _products(count) for count in (30, 300, 3000)}


async def _answer(name: str, method: str, path: str, content: object) -> bytes:
    transport = httpx.ASGITransport(APPS[name])
    async with httpx.AsyncClient(transport=transport, base_url="http://example") as client:
        return (await client.request(method, path, json=content)).content


def _products(count: int) -> bytes:
    chance = random.Random(7)  # noqa: S311 - no secret
    return json.dumps(
        [
            {
                "id": number,
                "name": " ".join(chance.choices(_WORDS, k=3)),
                "price": chance.randrange(100, 100_000) / 100,
                "tags": chance.choices(_WORDS, k=3),
                "stock": chance.randrange(1000),
                "updated": f"2026-11-{chance.randrange(1, 29):02}T10:{chance.randrange(60):02}:00Z",
            }
            for number in range(count)
        ]
    ).encode()


def _rows(name: str, body: bytes, rounds: int) -> Iterator[Row]:
    yield row(name, "as it is", "bytes", [len(body)])
    gzip, brotli = ([_coded(body, coding) for _ in range(rounds)] for coding in PublishCoding)
    for coding, measured in ((PublishCoding.GZIP, gzip), (PublishCoding.BR, brotli)):
        sizes, spent = ([each[at] for each in measured] for at in (0, 1))
        yield row(name, str(coding), "bytes", sizes[:1], against="as it is", baseline=[len(body)])
        if coding is PublishCoding.GZIP:
            yield row(name, str(coding), "ms of CPU", spent)
        else:
            against = [each[1] for each in gzip]
            yield row(name, str(coding), "ms of CPU", spent, against="gzip", baseline=against)


def _coded(body: bytes, coding: PublishCoding) -> tuple[int, float]:
    began = time.process_time()
    _, stored = compressed(body, coding)
    return len(stored), (time.process_time() - began) * 1000
