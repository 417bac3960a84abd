"""What an isolate knows of marks, and what it still knows of those that it had to forget."""

from __future__ import annotations

import pytest

from cachewire.marks import Lane
from edgecache.storage.mark_table import MarkTable
from edgecache.storage.memory import Memory
from tests.edgecache.fakes import START_MS


@pytest.mark.parametrize("lane", Lane)
@pytest.mark.parametrize("is_claimed", [False, True], ids=["forgotten", "forgotten and met again"])
def test_a_mark_that_was_forgotten_is_read_before_what_it_covers_is_used(
    lane: Lane, is_claimed: bool
) -> None:
    table, birth_ms = MarkTable(5000, Memory(0)), START_MS
    table.write("url/one", lane, birth_ms + 1)
    for number in range(3):  # more characters than a table takes
        table.learn(f"{number}{'x' * 1_000_000}", 0, 0, birth_ms + 2)
    if is_claimed:
        table.claim(["url/one"], birth_ms + 3)

    assert table.known_at(["url/one"], birth_ms) == 0
    assert table.known_at(["url/one"], birth_ms + 2) == birth_ms + 2
