"""What a hit costs on the full path, in calls: nothing is decided or parsed twice."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from types import CodeType, FrameType

import pytest

from origin_sdk_edge.policy.facts import RequestFacts
from origin_sdk_wire.config import load
from tests.edge.fakes import FakeEdge, FakeResponse

URL = "https://api.example/products/17?b=1&a=2"
FIELDS = {"accept": "*/*", "accept-encoding": "br, gzip", "user-agent": "test"}
SETTINGS = load(
    {
        "ORIGIN": "https://origin.example",
        "RULES": [{"name": "p", "path": "/products/**", "query_sort": True}],
    }
)
LOOK_UPS = frozenset({"Table.get", "Memory.get", "Sieve.get", "Tiers.at_hand", "_slot_of", "MarkTable._get"})
"""A look into a table, where another question is asked of what is found."""
ARITHMETIC = frozenset({"current_age_ms", "MarkTable._counting_ms", "Directives.__bool__"})
MEMORISED = frozenset({"variant", "lane_name", "remember_short.<locals>.decorate.<locals>.call"})
RULES = frozenset({"forbids"})
"""Two flags of a rule."""


def answer(_: RequestFacts) -> FakeResponse:
    fields = {"cache-control": "max-age=60", "content-length": "5", "cache-groups": '"a", "b"'}
    return FakeResponse(200, fields, b"hello")


@contextmanager
def repeats() -> Iterator[Counter[str]]:
    """Count how often functions of the Worker are called again with what they were called with before."""
    found: Counter[str] = Counter()
    seen: set[tuple[CodeType, str]] = set()

    def note(frame: FrameType, event: str, _: object) -> None:
        code = frame.f_code
        if event != "call" or "/worker/" not in code.co_filename or "<" in code.co_name:
            return
        names = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
        given = {name: frame.f_locals[name] for name in names}
        called = code, repr([id(value) if name == "self" else value for name, value in given.items()])
        found[code.co_qualname] += called in seen
        seen.add(called)

    sys.setprofile(note)
    try:
        yield found
    finally:
        sys.setprofile(None)


async def warmed(edge: FakeEdge, seconds: int) -> None:
    """Ask until the response is stored, and the marks are read if it is older than they may be."""
    for pause_seconds in (0, seconds, 1):
        edge.timing.ms += pause_seconds * 1000
        await edge.full("GET", URL, FIELDS)


@pytest.mark.parametrize(
    "memory_bytes", [pytest.param(1 << 25, id="from memory"), pytest.param(0, id="from KV")]
)
@pytest.mark.parametrize(
    ("seconds", "again"),
    [
        pytest.param(10, 0, id="its marks read"),
        # Once whether it is valid, and once what is to be read ahead.
        pytest.param(0, 1, id="younger than its marks need be"),
    ],
)
async def test_a_hit_decides_nothing_twice(memory_bytes: int, seconds: int, again: int) -> None:
    edge = FakeEdge(replace(SETTINGS, memory_bytes=memory_bytes), answer)
    await warmed(edge, seconds)
    with repeats() as found:
        await edge.full("GET", URL, FIELDS)
    marks = {"MarkTable.deciding", "MarkTable._add", "MarkTable._known_until"}
    others = +found - Counter(dict.fromkeys(marks, 2 * again))
    assert not others.keys() - LOOK_UPS - ARITHMETIC - MEMORISED - RULES, others
