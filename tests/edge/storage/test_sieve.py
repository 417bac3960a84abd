"""What goes first: not what is asked for all the time, whatever else comes by."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from origin_sdk_edge.storage.sieve import Sieve


def going(sieve: Sieve[int], count: int) -> list[str]:
    """Return the keys that go, one after the other."""
    gone: list[str] = []
    for _ in range(count):
        found = sieve.next_to_go()
        assert found
        gone.append(found[0])
        sieve.pop(found[0])
    return gone


@pytest.mark.parametrize(
    ("used", "gone"),
    [
        pytest.param("", "abcd", id="unused: the oldest first"),
        pytest.param("a", "bcda", id="used since: passed over once"),
        pytest.param("abcd", "abcd", id="all used: the oldest, on the second round"),
        pytest.param("bd", "acbd", id="the hand goes on where it stopped"),
    ],
)
def test_the_order(used: str, gone: str) -> None:
    sieve: Sieve[int] = Sieve()
    for number, key in enumerate("abcd"):
        sieve.put(key, number)
    for key in used:
        assert sieve.get(key) is not None
    assert going(sieve, 4) == list(gone)
    assert sieve.next_to_go() is None


def test_a_scan_does_not_push_out_what_is_asked_for_all_the_time() -> None:
    sieve: Sieve[int] = Sieve()
    for number in range(10):
        sieve.put(f"hot-{number}", number)
    for number in range(1000):
        for hot in range(10):
            sieve.get(f"hot-{hot}")
        while len(sieve) >= 20:
            going(sieve, 1)
        sieve.put(f"once-{number}", number)
    assert all(sieve.get(f"hot-{number}") is not None for number in range(10))


def test_what_replaces_a_used_item_counts_as_used() -> None:
    sieve: Sieve[int] = Sieve()
    sieve.put("a", 1)
    sieve.get("a")
    sieve.put("a", 2)
    sieve.put("b", 3)
    assert going(sieve, 2) == ["b", "a"]


VERBS = st.sampled_from(["put", "get", "pop", "go"])
STEPS = st.lists(st.tuples(VERBS, st.sampled_from("abcdef")), max_size=60)


class _Model:
    """The same with a list: slow, and easy to see through."""

    def __init__(self) -> None:
        self.queue: list[list[object]] = []
        self.hand: str | None = None

    def _at(self, key: str | None) -> int | None:
        return next((at for at, (known, _) in enumerate(self.queue) if known == key), None)

    def put(self, key: str) -> None:
        at = self._at(key)
        is_used = at is not None and self.queue[at][1]
        self.pop(key)
        self.queue.append([key, is_used])

    def get(self, key: str) -> None:
        if (at := self._at(key)) is not None:
            self.queue[at][1] = True

    def pop(self, key: str) -> None:
        at = self._at(key)
        if at is None:
            return
        if self.hand == key:
            self.hand = str(self.queue[at + 1][0]) if at + 1 < len(self.queue) else None
        del self.queue[at]

    def go(self) -> str | None:
        at = self._at(self.hand) or 0
        while self.queue and self.queue[at][1]:
            self.queue[at][1] = False
            at = (at + 1) % len(self.queue)
        self.hand = str(self.queue[at][0]) if self.queue else None
        return self.hand


@given(STEPS)
def test_it_does_as_the_plain_one(steps: Sequence[tuple[str, str]]) -> None:
    sieve: Sieve[int] = Sieve()
    model = _Model()
    for step, key in steps:
        if step == "put":
            sieve.put(key, 0)
            model.put(key)
        elif step == "get":
            sieve.get(key)
            model.get(key)
        elif step == "pop":
            sieve.pop(key)
            model.pop(key)
        else:
            found = sieve.next_to_go()
            assert (found and found[0]) == model.go()
        assert len(sieve) == len(model.queue)
