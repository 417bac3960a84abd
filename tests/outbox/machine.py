"""Steps of services and drainers over a store, each a process with its own clock that tells what it saw.

A line of standard input names a step: the store's URL, what to do, by how many seconds the clock is ahead. A
line answers it. The processes are forks of this one, so that what they need is imported once.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from pathlib import Path
from typing import Any

import redis
from sqlalchemy import MetaData, create_engine

from origin_sdk import Options, Purge, PurgeClient, Retries
from origin_sdk._process.clock import SystemClock
from origin_sdk.outbox import Drainer, Outbox, Pace
from origin_sdk.outbox._stores.urls import open_outbox
from origin_sdk.outbox.redis import RedisOutbox
from origin_sdk.outbox.sqlalchemy import outbox_table, record
from origin_sdk.outbox.sqlite import SqliteOutbox
from origin_sdk.testing import FakeKV
from origin_sdk_wire.marks import Lane, group_mark, mark_key

LEASE_SECONDS = 1000.0
DELAY_SECONDS = 500.0
KEEP_SECONDS = 600.0


def record_in(url: str) -> None:
    """Record a purge of the group `a`, in a store that is made where it isn't there."""
    purge = Purge.of(groups="a")
    if url.startswith("redis:"):
        RedisOutbox(redis.Redis.from_url(url)).record(purge)
    elif url.startswith("sqlite:"):
        SqliteOutbox(Path(url.removeprefix("sqlite:///"))).record(purge)
    else:
        metadata = MetaData()
        outbox_table(metadata)
        with create_engine(url).begin() as connection:
            metadata.create_all(connection)
            record(connection, purge)


def drain(outbox: Outbox, ahead: float, failures: int = 0) -> dict[str, Any]:
    """Drain what is due, over an API whose clock is right."""
    clock = SystemClock()
    fake = FakeKV(clock, skew_seconds=-ahead)
    fake.fail_next(failures)
    backoff = Retries(first_seconds=DELAY_SECONDS, longest_seconds=DELAY_SECONDS)
    options = Options(retries=Retries(attempts=1))
    with PurgeClient(fake.settings, transport=fake.transport, options=options) as client:
        rounds = Drainer(outbox, client, Pace(lease_seconds=LEASE_SECONDS, backoff=backoff)).drain()
    mark = fake.marks_in_force().get(mark_key(group_mark("a"), Lane.SOFT))
    return {
        "done": sum(made.done for made in rounds),
        "failed": sum(made.failed for made in rounds),
        "lag": max((made.lag_seconds for made in rounds), default=None),
        "moment": mark.moment_ms / 1000 if mark else None,
    }


def main(url: str, step: str, ahead: float) -> dict[str, Any]:
    """Do a step on a machine whose clock is so many seconds ahead."""
    if step == "record":
        record_in(url)
    outbox = open_outbox(url)
    seen: dict[str, Any] = {"now": SystemClock().now()}
    match step:
        case "claim":
            seen["claimed"] = len(outbox.claim(100, LEASE_SECONDS).entries)
        case "prune":
            seen["pruned"] = outbox.prune(KEEP_SECONDS)
        case "drain":
            seen |= drain(outbox, ahead)
        case "fail":
            seen |= drain(outbox, ahead, failures=9)
    status = outbox.status()
    counts = {state.value: count for state, count in status.counts.items()}
    return {**seen, "waited": status.lag_seconds, "due_in": outbox.due_in(), "counts": counts}


def _tell(seen: dict[str, Any]) -> None:
    sys.stdout.write(f"{json.dumps(seen)}\n")
    sys.stdout.flush()


def serve() -> None:
    """Do each step in a process of its own, one after the other."""
    for line in sys.stdin:
        if process := os.fork():
            _, status = os.waitpid(process, 0)
            if status:
                _tell({"raised": f"the process ended with {status}"})
            continue
        try:
            _tell(main(*json.loads(line)))
        except Exception:  # noqa: BLE001 - the test shows it
            _tell({"raised": traceback.format_exc()})
        finally:
            os._exit(0)


if __name__ == "__main__":
    serve()
