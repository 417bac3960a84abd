"""What every outbox promises, whatever it keeps its entries in."""

from __future__ import annotations

from threading import Barrier, Thread

import pytest

from origin_sdk import Purge
from origin_sdk.outbox import Republish, State, acting
from origin_sdk.outbox._stores.entries import Claim, End, Settlement, read_payload
from origin_sdk.outbox._stores.ports import HORIZON_SECONDS
from tests.outbox.conftest import Kind

LEASE = 60.0
TOOK = 30.0
"""More than the machine takes for a step of a test: the stores' clocks go on."""


def purge(name: str) -> Purge:
    return Purge.of(groups=name)


def claim(kind: Kind, limit: int = 100) -> Claim:
    return kind.outbox.claim(limit, LEASE)


def settled(state: State, result: str = "", delay: float = 0.0) -> Settlement:
    return Settlement(End(state, result, delay))


def groups(claimed: Claim) -> list[str]:
    intents = [read_payload(entry.payload) for entry in claimed.entries]
    return [group for intent in intents if isinstance(intent, Purge) for group in intent.groups]


def test_what_is_recorded_comes_out_in_order_and_once(kind: Kind) -> None:
    assert kind.outbox.due_in() is None
    kind.record(purge("a"), purge("b"), purge("a"))
    kind.record(purge("a"))
    assert kind.outbox.due_in() == 0
    assert groups(claim(kind)) == ["a", "b", "a"]
    assert groups(claim(kind)) == []


def test_an_intent_comes_back_as_it_was(kind: Kind) -> None:
    intents = [
        Purge.of(
            urls="https://a.example/ü?q=%22", prefixes="https://a.example/p", hosts="a.example", hard=True
        ),
        Purge.of(everything=True, hard=True, delete=True, reason="ünicode : colon %s %(x)s"),
        Republish("https://a.example/1", "page", {"id": 1}),
    ]
    kind.record(*intents)
    assert [read_payload(entry.payload) for entry in claim(kind).entries] == intents


def test_who_and_why_are_kept(kind: Kind) -> None:
    with acting("alice", "price list"), acting(reason="typo"):
        kind.record(purge("a"))
    [entry] = claim(kind).entries
    assert (entry.actor, entry.reason, entry.attempts) == ("alice", "typo", 1)


def test_a_claim_is_limited_and_several_share_the_work(kind: Kind) -> None:
    kind.record(*[purge(f"g{number}") for number in range(10)])
    first, second, third = (claim(kind, 4) for _ in range(3))
    assert [len(each.entries) for each in (first, second, third)] == [4, 4, 2]
    assert sorted(groups(first) + groups(second) + groups(third)) == sorted(f"g{n}" for n in range(10))


def test_drainers_that_claim_at_once_never_get_the_same(kind: Kind) -> None:
    kind.record(*[purge(f"g{number}") for number in range(200)])
    claims: list[Claim] = []
    barrier = Barrier(4)

    def work() -> None:
        barrier.wait()
        while (claimed := claim(kind, 10)).entries:
            claims.append(claimed)

    threads = [Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    ids = [entry.id for claimed in claims for entry in claimed.entries]
    assert len(ids) == len(set(ids)) == 200


def test_done_is_done(kind: Kind) -> None:
    kind.record(purge("a"))
    kind.outbox.settle(claim(kind), settled(State.DONE, "purge 1"))
    [listed] = kind.outbox.list([State.DONE], 10)
    assert (listed.result, listed.attempts) == ("purge 1", 1)
    assert 0 <= listed.at - listed.recorded_at < TOOK
    kind.wait(LEASE * 2)
    assert kind.outbox.due_in() is None
    assert claim(kind).entries == ()


def test_a_lease_that_is_over_gives_the_entries_to_another(kind: Kind) -> None:
    kind.record(purge("a"))
    lost = claim(kind)
    assert lost.until - lost.at == pytest.approx(LEASE)
    assert kind.outbox.due_in() == pytest.approx(LEASE, abs=TOOK)
    kind.wait(LEASE)
    again = claim(kind)
    assert [entry.attempts for entry in again.entries] == [2]
    # The one that was thought dead ends after all: the entry isn't its own any more.
    kind.outbox.settle(lost, settled(State.WAITING, "late", 1000))
    kind.outbox.settle(again, settled(State.DONE))
    assert kind.outbox.due_in() is None


def test_a_failure_waits_for_its_time(kind: Kind) -> None:
    kind.record(purge("a"))
    kind.outbox.settle(claim(kind), settled(State.WAITING, "RateLimited", 100))
    assert kind.outbox.due_in() == pytest.approx(100, abs=TOOK)
    assert claim(kind).entries == ()
    kind.wait(100)
    [entry] = claim(kind).entries
    assert entry.attempts == 2


def test_what_a_clock_that_was_set_back_would_delay_is_due(kind: Kind) -> None:
    kind.record(purge("claimed"), purge("failed"))
    kind.outbox.settle(claim(kind), settled(State.WAITING, "RateLimited", 100))
    kind.wait(100)
    assert len(claim(kind).entries) == 2
    kind.wait(-LEASE)
    assert claim(kind).entries == (), "a step as short as a delay can't be told from one"
    kind.wait(-HORIZON_SECONDS - LEASE)
    assert kind.outbox.due_in() == 0
    again = claim(kind)
    assert [entry.attempts for entry in again.entries] == [3, 3]
    kind.outbox.settle(again, settled(State.DONE))
    assert kind.outbox.due_in() is None


def test_each_entry_of_a_claim_can_end_in_its_own_way(kind: Kind) -> None:
    kind.record(purge("good"), purge("bad"), purge("slow"))
    claimed = claim(kind)
    good, bad, slow = claimed.entries
    ends = {
        good.id: End(State.DONE, "yes"),
        bad.id: End(State.DEAD, "no"),
        slow.id: End(State.WAITING, "later", 5),
    }
    kind.outbox.settle(claimed, Settlement.of(ends))
    listed = {entry.id: entry for entry in kind.outbox.list(list(State), 10)}
    assert {id_: (entry.state, entry.result) for id_, entry in listed.items()} == {
        good.id: (State.DONE, "yes"),
        bad.id: (State.DEAD, "no"),
        slow.id: (State.WAITING, "later"),
    }
    status = kind.outbox.status()
    assert dict(status.counts) == {State.DONE: 1, State.DEAD: 1, State.WAITING: 1}


def test_lag_is_the_age_of_the_oldest_that_waits(kind: Kind) -> None:
    assert kind.outbox.status().lag_seconds == 0
    kind.record(purge("a"))
    kind.wait(300)
    kind.record(purge("b"))
    assert kind.outbox.status().lag_seconds == pytest.approx(300, abs=TOOK)
    kind.wait(-600)
    assert kind.outbox.status().lag_seconds == 0


def test_the_dead_are_seen_and_replayed(kind: Kind) -> None:
    kind.record(purge("a"), purge("b"))
    kind.outbox.settle(claim(kind), settled(State.DEAD, "no"))
    assert kind.outbox.due_in() is None
    dead = kind.outbox.list([State.DEAD], 10)
    assert len(dead) == 2
    assert kind.outbox.replay([dead[0].id, "999999"]) == 1
    assert len(claim(kind).entries) == 1
    assert kind.outbox.replay(None) == 2
    assert len(claim(kind).entries) == 2


def test_what_is_dropped_is_not_delivered_and_stays_on_record(kind: Kind) -> None:
    kind.record(purge("a"))
    [waiting] = kind.outbox.list([State.WAITING], 10)
    assert kind.outbox.drop([waiting.id], "dropped by bob") == 1
    assert kind.outbox.drop([waiting.id], "again") == 0
    assert claim(kind).entries == ()
    [dropped] = kind.outbox.list([State.DROPPED], 10)
    assert dropped.result == "dropped by bob"


def test_only_what_ended_long_ago_is_pruned(kind: Kind) -> None:
    kind.record(purge("old"))
    kind.outbox.settle(claim(kind), settled(State.DONE))
    kind.wait(100)
    kind.record(purge("dead"))
    kind.outbox.settle(claim(kind), settled(State.DEAD))
    kind.wait(100)
    kind.record(purge("new"))
    kind.outbox.settle(claim(kind), settled(State.DONE))
    kind.record(purge("waiting"))
    assert kind.outbox.prune(250) == 0
    assert kind.outbox.prune(50) == 1
    assert kind.outbox.prune(50) == 0
    assert sum(kind.outbox.status().counts.values()) == 3


def test_the_latest_are_listed_first(kind: Kind) -> None:
    for number in range(5):
        kind.record(purge(f"g{number}"))
    listed = kind.outbox.list([State.WAITING, State.DEAD], 2)
    assert [entry.as_json()["payload"] for entry in listed] == [
        {"purge": {"groups": ["g4"]}},
        {"purge": {"groups": ["g3"]}},
    ]
