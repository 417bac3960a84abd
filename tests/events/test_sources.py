"""Sources that aren't an ORM: calls, PostgreSQL's notifications, Redis streams, webhooks."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Condition, Thread
from typing import Any

import psycopg
import pytest
import redis

from origin_sdk import InvalidRequest, InvalidSettings, Purge
from origin_sdk.events._models.rules import gathered
from origin_sdk.events.calls import purging, recording
from origin_sdk.events.messages import read_message, read_narrowly
from origin_sdk.events.postgres import PostgresListener, notify
from origin_sdk.events.streams import StreamConsumer
from origin_sdk.events.webhook import Webhook, signature
from origin_sdk.outbox import Intent, Republish
from origin_sdk.outbox._stores.entries import payload_of
from origin_sdk.outbox.sqlite import SqliteOutbox
from origin_sdk.testing import ManualClock
from scripts.runtime.servers import Postgres, Redis


class Records:
    """An outbox that keeps its intents in a list, and wakes who waits for so many."""

    def __init__(self) -> None:
        self.intents: list[Intent] = []
        self._changed = Condition()

    def __call__(self, *intents: Intent) -> None:
        with self._changed:
            self.intents += intents
            self._changed.notify_all()

    def await_count(self, count: int) -> list[Intent]:
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.intents) >= count, 10), self.intents
        return self.intents


@pytest.fixture
def records() -> Records:
    return Records()


def test_a_call_that_returns_purges_and_one_that_raises_does_not(records: Records) -> None:
    @purging(records, groups=lambda number, by: f"half-{number}-{by}", urls="https://a.example/all")
    def divide(number: int, by: int) -> int:
        return number // by

    assert divide(4, by=2) == 2
    with pytest.raises(ZeroDivisionError):
        divide(2, by=0)
    assert records.intents == [Purge.of(groups="half-4-2", urls="https://a.example/all")]


@pytest.mark.parametrize(
    ("groups", "expected"),
    [
        pytest.param(["a", "b\nc"], [Purge.of(groups="a")], id="one that no response has, beside another"),
        pytest.param(["a", 17], [Purge.of(groups="a")], id="what is no text, beside another"),
        pytest.param("b\u200bc\n", [], id="one that no response has"),
        pytest.param(None, [], id="None"),
        pytest.param(17, [], id="a number"),
        pytest.param([], [], id="none, as nothing changed"),
    ],
)
def test_a_call_that_succeeded_does_not_fail_for_what_it_names(
    records: Records, caplog: pytest.LogCaptureFixture, groups: Any, expected: list[Intent]
) -> None:
    @purging(records, groups=lambda: groups)
    def change() -> str:
        return "done"

    assert change() == "done"
    assert records.intents == expected
    assert ("not purged" in caplog.text) == (groups != [])


def test_what_is_always_named_is_checked_where_it_is_declared(records: Records) -> None:
    for groups in ("a\nb", 17, None):
        with pytest.raises(InvalidRequest):
            purging(records, groups=groups)  # type: ignore[arg-type]  # what callers get wrong


NOT_RECORDED: dict[str, Any] = {
    "no intent": {"groups": ["a"]},
    "None": None,
    "a URL that is none": Republish("nonsense"),
    "no URL": Republish(17),  # type: ignore[arg-type]  # what callers get wrong
    "half a character in the URL": Republish("https://a.example/\ud800"),
    "half a character in the arguments": Republish("https://a.example/", "page", {"name": "\ud800"}),
    "half a character in a group": Purge(groups=("a\ud800",)),
    "an argument that JSON hasn't": Republish("https://a.example/", "page", {"at": object()}),
    "a renderer without a name": Republish("https://a.example/", None),  # type: ignore[arg-type]  # see above
}


@pytest.mark.parametrize("intent", NOT_RECORDED.values(), ids=NOT_RECORDED.keys())
def test_what_no_drainer_could_read_is_not_recorded(tmp_path: Path, intent: Any) -> None:
    outbox = SqliteOutbox(tmp_path / "outbox.db")
    with pytest.raises(InvalidRequest, match=r"can't be recorded|what is recorded is"):
        outbox.record(Purge.of(groups="a"), intent)
    assert outbox.due_in() is None, "nothing of it is recorded"


def test_a_change_does_not_fail_for_what_cannot_be_published(caplog: pytest.LogCaptureFixture) -> None:
    sound = Republish("https://a.example/", "page", {"id": 1})
    unsound = [each for each in NOT_RECORDED.values() if isinstance(each, Republish)]
    assert gathered([*unsound, sound]) == [sound]
    assert caplog.text.count("not published") == len(unsound)


def test_a_coroutine_is_awaited_first(records: Records) -> None:
    @purging(records, groups="a", hard=True)
    async def change() -> str:
        assert records.intents == []
        return "done"

    assert asyncio.run(change()) == "done"
    assert records.intents == [Purge.of(groups="a", hard=True)]


def test_a_block_records_at_its_end_if_it_succeeds(records: Records) -> None:
    with recording(records) as edge:
        edge.purge(groups="a")
        edge.publish("https://a.example/1", "page", id=1)
        assert records.intents == []
    with recording(records):
        pass
    with pytest.raises(ZeroDivisionError), recording(records) as edge:
        edge.purge(groups=f"b{1 // 0}")
    assert records.intents == [Purge.of(groups="a"), Republish("https://a.example/1", "page", {"id": 1})]


@contextmanager
def running(target: Callable[[], None], stop: Callable[[], None]) -> Iterator[None]:
    thread = Thread(target=target)
    thread.start()
    try:
        yield
    finally:
        stop()
        thread.join(10)


def test_notifications_are_recorded_from_commits_alone(postgres: Postgres, records: Records) -> None:
    conninfo = postgres.url("postgresql")
    missed = Purge.of(groups="all")
    listener = PostgresListener(conninfo, "Edge Events", records, missed=[missed])
    with running(lambda: listener.run(poll_seconds=0.05), listener.stop), psycopg.connect(conninfo) as sender:
        assert listener.is_listening.wait(10)
        notify(sender, "Edge Events", Purge.of(groups="lost"))
        sender.rollback()
        sender.execute("SELECT pg_notify('Edge Events', 'not JSON')")
        notify(sender, "Edge Events", Purge.of(groups="a"), Purge.of(groups="b"))
        sender.commit()
        assert records.await_count(3) == [missed, Purge.of(groups="a"), Purge.of(groups="b")]


def test_a_lost_connection_is_made_again_and_the_gap_is_purged(postgres: Postgres, records: Records) -> None:
    conninfo = postgres.url("postgresql")
    listener = PostgresListener(conninfo, "events", records, missed=[Purge.of(groups="all")])
    run = lambda: listener.run(poll_seconds=0.05, retry_seconds=0.05)  # noqa: E731 - one call
    with running(run, listener.stop), psycopg.connect(conninfo, autocommit=True) as other:
        records.await_count(1)
        other.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'LISTEN%'")
        records.await_count(2)
        notify(other, "events", Purge.of(groups="a"))
        assert records.await_count(3)[-1] == Purge.of(groups="a")


def test_a_notification_that_is_too_long_is_refused(postgres: Postgres) -> None:
    with (
        psycopg.connect(postgres.url("postgresql")) as sender,
        pytest.raises(InvalidRequest, match="too long for NOTIFY"),
    ):
        notify(sender, "events", Purge.of(groups=[f"group-{number}" for number in range(1000)]))


@pytest.fixture(params=[2, 3], ids=["RESP2", "RESP3"])
def stream_client(request: pytest.FixtureRequest, redis_server: Redis) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(redis_server.url, protocol=request.param) as client:
        client.flushdb()
        yield client


def test_a_stream_is_recorded_and_acknowledged(stream_client: redis.Redis, records: Records) -> None:
    stream_client.xadd("events", {"message": payload_of(Purge.of(groups="early"))})
    consumer = StreamConsumer(stream_client, "events", records)
    StreamConsumer(stream_client, "events", records)  # the group is there: no error
    with running(lambda: consumer.run(0.05), consumer.stop):
        records.await_count(1)
        stream_client.xadd("events", {"other": "field"})
        stream_client.xadd("events", {"message": payload_of(Purge.of(groups="late"))})
        assert records.await_count(2) == [Purge.of(groups="early"), Purge.of(groups="late")]
    assert pending(stream_client) == 0


def test_what_was_in_hand_when_recording_failed_comes_again(
    stream_client: redis.Redis, records: Records
) -> None:
    def failing(*_: Intent) -> None:
        raise OSError("disk")

    stream_client.xadd("events", {"message": payload_of(Purge.of(groups="a"))})
    with pytest.raises(OSError, match="disk"):
        StreamConsumer(stream_client, "events", failing).take()
    assert pending(stream_client) == 1
    again = StreamConsumer(stream_client, "events", records)
    assert again.take(after="0") == 1
    assert records.intents == [Purge.of(groups="a")]
    assert pending(stream_client) == 0


def test_what_another_consumer_died_with_is_taken_over(stream_client: redis.Redis, records: Records) -> None:
    stream_client.xadd("events", {"message": payload_of(Purge.of(groups="a"))})
    StreamConsumer(stream_client, "events", records)
    stream_client.xreadgroup("edge-cache", "dead", {"events": ">"})
    other = StreamConsumer(stream_client, "events", records, consumer="2")
    assert other.take_over(idle_seconds=600) == 0
    assert other.take_over(idle_seconds=0) == 1
    assert records.intents == [Purge.of(groups="a")]
    assert pending(stream_client) == 0


def test_a_store_that_fails_once_loses_no_message(stream_client: redis.Redis, records: Records) -> None:
    failures = iter([OSError("disk")])

    def record(*intents: Intent) -> None:
        if error := next(failures, None):
            raise error
        records(*intents)

    stream_client.xadd("events", {"message": payload_of(Purge.of(groups="a"))})
    consumer = StreamConsumer(stream_client, "events", record)
    with running(lambda: consumer.run(0.05, retry_seconds=0.05), consumer.stop):
        assert records.await_count(1) == [Purge.of(groups="a")]


POISON = {
    "deep nesting": "[" * 200_000,
    "a deep object": '{"purge":' * 100_000,
    "text for a boolean": '{"purge": {"everything": "no"}}',
    "a number for a boolean": '{"purge": {"groups": ["a"], "hard": 1}}',
    "numbers for groups": '{"purge": {"groups": [1]}}',
    "an object for groups": '{"purge": {"groups": {"a": 1}}}',
    "a list for a reason": '{"purge": {"groups": ["a"], "reason": ["x"]}}',
    "arguments that are none": '{"republish": {"url": "https://a.example/", "arguments": [1]}}',
    "a URL that is none": '{"republish": {"url": 1}}',
    "half a character": '{"purge": {"groups": ["\\ud800"]}}',
    "half a character in a reason": '{"purge": {"groups": ["a"], "reason": "\\ud800"}}',
    "a number of a million digits": '{"purge": {"groups": [' + "1" * 1_000_000 + "]}}",
    "no JSON": "\x00\x1b[2J",
}


def test_poison_is_put_aside_and_holds_nothing_up(
    stream_client: redis.Redis, records: Records, caplog: pytest.LogCaptureFixture
) -> None:
    for message in POISON.values():
        stream_client.xadd("events", {"message": message})
    stream_client.xadd("events", {"message": payload_of(Purge.of(groups="good"))})
    consumer = StreamConsumer(stream_client, "events", records)
    while consumer.take():
        pass
    assert records.intents == [Purge.of(groups="good")]
    assert pending(stream_client) == 0
    aside: Any = stream_client.xrange("events:aside")
    assert [fields[b"message"].decode() for _, fields in aside] == list(POISON.values())
    assert all(fields[b"why"] for _, fields in aside)
    assert "set aside" in caplog.text


def test_a_reader_of_ones_own_that_fails_holds_nothing_up(
    stream_client: redis.Redis, records: Records
) -> None:
    def read(message: str) -> list[Intent]:
        return [Purge.of(groups=json.loads(message)["id"])]

    for message in ("{}", "[]", "?", '{"id": "a"}'):
        stream_client.xadd("events", {"message": message})
    assert StreamConsumer(stream_client, "events", records, read=read).take() == 4
    assert records.intents == [Purge.of(groups="a")]


@pytest.mark.parametrize(
    "payload", ['{"purge": {"everything": true}}', '{"purge": {"hosts": ["a.example"]}}'], ids=str
)
def test_a_notification_may_not_purge_everything(payload: str) -> None:
    with pytest.raises(InvalidRequest, match="read=read_message"):
        read_narrowly(payload)
    assert read_message(payload)
    assert read_narrowly('{"purge": {"groups": ["a"]}}') == [Purge.of(groups="a")]


def pending(client: redis.Redis) -> int:
    summary = client.xpending("events", "edge-cache")
    assert isinstance(summary, dict)
    return int(summary["pending"])


KEY, OTHER_KEY = b"k" * 24, b"o" * 32
SECRETS = f"whsec_{base64.b64encode(OTHER_KEY).decode()} {base64.b64encode(KEY).decode()}"
BODY = json.dumps({"purge": {"groups": ["a"]}}).encode()
NOW = "1795000000"


def signed(body: bytes = BODY, key: bytes = KEY, timestamp: str = NOW) -> dict[str, str]:
    made = signature(key, "id-1", timestamp, body)
    return {"Webhook-Id": "id-1", "Webhook-Timestamp": timestamp, "Webhook-Signature": made}


def dotted() -> dict[str, str]:
    return {
        "Webhook-Id": "id.1",
        "Webhook-Timestamp": NOW,
        "Webhook-Signature": signature(KEY, "id.1", NOW, BODY),
    }


TWO_SIGNATURES = {"Webhook-Signature": f"v1,AAAA {signed()['Webhook-Signature']}"}
WEBHOOKS: dict[str, tuple[dict[str, str], bytes, int]] = {
    "signed": (signed(), BODY, 202),
    "signed with the other secret": (signed(key=OTHER_KEY), BODY, 202),
    "one of two signatures": (signed() | TWO_SIGNATURES, BODY, 202),
    "signed with an unknown secret": (signed(key=b"x" * 24), BODY, 401),
    "another body": (signed(), BODY + b" ", 401),
    "another id": (signed() | {"Webhook-Id": "id-2"}, BODY, 401),
    "no signature": ({}, BODY, 401),
    "a signature that isn't ASCII": (signed() | {"Webhook-Signature": "v1,ü"}, BODY, 401),
    "a timestamp that is none": (signed(timestamp="now"), BODY, 401),
    "an old one": (signed(timestamp="1794999699"), BODY, 401),
    "one from the future": (signed(timestamp="1795000301"), BODY, 401),
    "signed, and not understood": (signed(b"{}"), b"{}", 422),
    "signed, and nested deeply": (signed(b"[" * 200_000), b"[" * 200_000, 422),
    "an id with a dot, whose parts could be cut differently": (dotted(), BODY, 401),
    "an id that isn't ASCII": (signed() | {"Webhook-Id": "\ud800"}, BODY, 401),
    "half a character in the signature": (signed() | {"Webhook-Signature": "v1,\ud800"}, BODY, 401),
    "signed, and too long": (signed(), b" " * 1_000_001, 413),
}


@pytest.mark.parametrize("case", WEBHOOKS)
def test_a_webhook_is_believed_if_it_is_signed_and_recent(
    records: Records, kv_clock: ManualClock, case: str
) -> None:
    fields, body, expected = WEBHOOKS[case]
    status, _ = Webhook(SECRETS, records, clock=kv_clock).receive(fields, body)
    assert status == expected
    assert records.intents == ([Purge.of(groups="a")] if expected == 202 else [])


@pytest.mark.parametrize("secret", ["", "whsec_", "whsec_c2hvcnQ=", "whsec_???"])
def test_a_weak_secret_is_refused_and_never_shown(records: Records, secret: str) -> None:
    with pytest.raises(InvalidSettings, match="secret"):
        Webhook(secret, records)
    assert "whsec" not in repr(Webhook(SECRETS, records))
