"""What every outbox promises, whatever it keeps its entries in."""

from __future__ import annotations

from threading import Barrier, Thread

from origin_sdk import Purge
from origin_sdk.outbox import Republish, State, acting
from origin_sdk.outbox._stores.entries import Claim, End, Settlement, Verdict, read_payload
from origin_sdk.testing import ManualClock
from tests.outbox.conftest import Kind

LEASE = 60.0


def purge(name: str) -> Purge:
    return Purge.of(groups=name)


def claim(kind: Kind, clock: ManualClock, limit: int = 100) -> Claim:
    return kind.outbox.claim(limit, clock.now(), clock.now() + LEASE)


def settled(state: State, at: float, result: str = "") -> Settlement:
    return Settlement(Verdict(state, at, result))


def groups(claimed: Claim) -> list[str]:
    intents = [read_payload(entry.payload) for entry in claimed.entries]
    return [group for intent in intents if isinstance(intent, Purge) for group in intent.groups]


def test_what_is_recorded_comes_out_in_order_and_once(kind: Kind, kv_clock: ManualClock) -> None:
    assert kind.outbox.next_due() is None
    kind.record(purge("a"), purge("b"), purge("a"))
    kind.record(purge("a"))
    assert kind.outbox.next_due() == 0
    assert groups(claim(kind, kv_clock)) == ["a", "b", "a"]
    assert groups(claim(kind, kv_clock)) == []


def test_an_intent_comes_back_as_it_was(kind: Kind, kv_clock: ManualClock) -> None:
    intents = [
        Purge.of(
            urls="https://a.example/ü?q=%22", prefixes="https://a.example/p", hosts="a.example", hard=True
        ),
        Purge.of(everything=True, hard=True, delete=True, reason="ünicode : colon %s %(x)s"),
        Republish("https://a.example/1", "page", {"id": 1}),
    ]
    kind.record(*intents)
    assert [read_payload(entry.payload) for entry in claim(kind, kv_clock).entries] == intents


def test_who_and_why_are_kept(kind: Kind, kv_clock: ManualClock) -> None:
    with acting("alice", "price list"), acting(reason="typo"):
        kind.record(purge("a"))
    [entry] = claim(kind, kv_clock).entries
    assert (entry.actor, entry.reason, entry.attempts) == ("alice", "typo", 1)


def test_a_claim_is_limited_and_several_share_the_work(kind: Kind, kv_clock: ManualClock) -> None:
    kind.record(*[purge(f"g{number}") for number in range(10)])
    first, second, third = (claim(kind, kv_clock, 4) for _ in range(3))
    assert [len(each.entries) for each in (first, second, third)] == [4, 4, 2]
    assert sorted(groups(first) + groups(second) + groups(third)) == sorted(f"g{n}" for n in range(10))


def test_drainers_that_claim_at_once_never_get_the_same(kind: Kind, kv_clock: ManualClock) -> None:
    kind.record(*[purge(f"g{number}") for number in range(200)])
    claims: list[Claim] = []
    barrier = Barrier(4)

    def work() -> None:
        barrier.wait()
        while (claimed := claim(kind, kv_clock, 10)).entries:
            claims.append(claimed)

    threads = [Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    ids = [entry.id for claimed in claims for entry in claimed.entries]
    assert len(ids) == len(set(ids)) == 200


def test_done_is_done(kind: Kind, kv_clock: ManualClock) -> None:
    kind.record(purge("a"))
    kind.outbox.settle(claim(kind, kv_clock), settled(State.DONE, kv_clock.now(), "purge 1"))
    kv_clock.advance(LEASE * 2)
    assert kind.outbox.next_due() is None
    assert claim(kind, kv_clock).entries == ()
    [listed] = kind.outbox.list([State.DONE], 10)
    assert (listed.result, listed.at, listed.attempts) == ("purge 1", kv_clock.now() - LEASE * 2, 1)


def test_a_lease_that_is_over_gives_the_entries_to_another(kind: Kind, kv_clock: ManualClock) -> None:
    kind.record(purge("a"))
    lost = claim(kind, kv_clock)
    assert kind.outbox.next_due() == lost.until
    kv_clock.advance(LEASE)
    again = claim(kind, kv_clock)
    assert [entry.attempts for entry in again.entries] == [2]
    # The one that was thought dead ends after all: the entry isn't its own any more.
    kind.outbox.settle(lost, settled(State.WAITING, kv_clock.now() + 1000, "late"))
    kind.outbox.settle(again, settled(State.DONE, kv_clock.now()))
    assert kind.outbox.next_due() is None


def test_a_failure_waits_for_its_time(kind: Kind, kv_clock: ManualClock) -> None:
    kind.record(purge("a"))
    later = kv_clock.now() + 10
    kind.outbox.settle(claim(kind, kv_clock), settled(State.WAITING, later, "RateLimited"))
    assert kind.outbox.next_due() == later
    assert claim(kind, kv_clock).entries == ()
    kv_clock.advance(10)
    [entry] = claim(kind, kv_clock).entries
    assert entry.attempts == 2


def test_each_entry_of_a_claim_can_end_in_its_own_way(kind: Kind, kv_clock: ManualClock) -> None:
    kind.record(purge("good"), purge("bad"), purge("slow"))
    claimed = claim(kind, kv_clock)
    good, bad, slow = claimed.entries
    now = kv_clock.now()
    ends = {
        good.id: End(State.DONE, "yes"),
        bad.id: End(State.DEAD, "no"),
        slow.id: End(State.WAITING, "later", 5),
    }
    kind.outbox.settle(claimed, Settlement.of(ends, now))
    listed = {entry.id: entry for entry in kind.outbox.list(list(State), 10)}
    assert {id_: (entry.state, entry.result) for id_, entry in listed.items()} == {
        good.id: (State.DONE, "yes"),
        bad.id: (State.DEAD, "no"),
        slow.id: (State.WAITING, "later"),
    }
    status = kind.outbox.status()
    assert dict(status.counts) == {State.DONE: 1, State.DEAD: 1, State.WAITING: 1}


def test_lag_is_the_age_of_the_oldest_that_waits(kind: Kind) -> None:
    assert kind.outbox.status().lag_seconds(5.0) == 0
    kind.record(purge("a"))
    oldest_at = kind.outbox.status().oldest_at
    assert oldest_at is not None
    assert kind.outbox.status().lag_seconds(oldest_at + 3) == 3


def test_the_dead_are_seen_and_replayed(kind: Kind, kv_clock: ManualClock) -> None:
    kind.record(purge("a"), purge("b"))
    kind.outbox.settle(claim(kind, kv_clock), settled(State.DEAD, kv_clock.now(), "no"))
    assert kind.outbox.next_due() is None
    dead = kind.outbox.list([State.DEAD], 10)
    assert len(dead) == 2
    assert kind.outbox.replay([dead[0].id, "999999"]) == 1
    assert len(claim(kind, kv_clock).entries) == 1
    assert kind.outbox.replay(None) == 2
    assert len(claim(kind, kv_clock).entries) == 2


def test_what_is_dropped_is_not_delivered_and_stays_on_record(kind: Kind, kv_clock: ManualClock) -> None:
    kind.record(purge("a"))
    [waiting] = kind.outbox.list([State.WAITING], 10)
    assert kind.outbox.drop([waiting.id], kv_clock.now(), "dropped by bob") == 1
    assert kind.outbox.drop([waiting.id], kv_clock.now(), "again") == 0
    assert claim(kind, kv_clock).entries == ()
    [dropped] = kind.outbox.list([State.DROPPED], 10)
    assert dropped.result == "dropped by bob"


def test_only_what_ended_long_ago_is_pruned(kind: Kind, kv_clock: ManualClock) -> None:
    kind.record(purge("old"))
    kind.outbox.settle(claim(kind, kv_clock), settled(State.DONE, kv_clock.now()))
    kv_clock.advance(100)
    kind.record(purge("dead"))
    kind.outbox.settle(claim(kind, kv_clock), settled(State.DEAD, kv_clock.now() - 90))
    kind.record(purge("new"))
    kind.outbox.settle(claim(kind, kv_clock), settled(State.DONE, kv_clock.now()))
    kind.record(purge("waiting"))
    assert kind.outbox.prune(kv_clock.now() - 50) == 1
    assert sum(kind.outbox.status().counts.values()) == 3


def test_the_latest_are_listed_first(kind: Kind) -> None:
    for number in range(5):
        kind.record(purge(f"g{number}"))
    listed = kind.outbox.list([State.WAITING, State.DEAD], 2)
    assert [entry.as_json()["payload"] for entry in listed] == [
        {"purge": {"groups": ["g4"]}},
        {"purge": {"groups": ["g3"]}},
    ]
