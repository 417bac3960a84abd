"""Kill a service again and again while it changes data and purges, and see whether the edge missed a change.

A child process writes and drains; the parent kills it with SIGKILL at a random moment and starts it again.
With `--forked` the child is a server that uses its client and its database, and then forks workers, which use
the same objects; workers are killed and forked again, and now and then the server with all of them. The API
that they purge through throttles, fails partly, times out and drops connections. In the end every committed
change must be purged, after it was made, and none that was rolled back; and what has a receipt was written.
"""

from __future__ import annotations

import argparse
import logging
import multiprocessing
import os
import random  # noqa: TID251 - chance is what this is about
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path
from threading import Thread
from typing import Any
from uuid import uuid4

import httpx
from sqlalchemy import BigInteger, Engine, create_engine, event, select
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, sessionmaker

from origin_sdk import Options, OriginSdkError, PurgeClient, Retries, Settings
from origin_sdk.events.sqlalchemy import EdgeEvents
from origin_sdk.outbox import Drainer, Pace, State
from origin_sdk.outbox.sqlalchemy import SqlAlchemyOutbox, outbox_table
from origin_sdk_wire.marks import Lane, group_mark, mark_key
from scripts.runtime.bad_api import CLOCK, READ_SECONDS, BadApi
from scripts.runtime.servers import Postgres

_WRITERS = 2
_DRAINERS = 2
_WORKERS = 2
_WORKERS_KILLED = 6
"""So many at most before their server itself is."""
_LIFE_SECONDS = (0.05, 0.5)
_MOST_SECONDS = 5.0
"""On a busy machine, where half a second isn't enough for a request."""
"""A child lives so long after its first change."""
_START_SECONDS = 120.0
_END_SECONDS = 30.0
"""So long nothing may be delivered in the end, where something waits."""
_PAUSE_SECONDS = 0.02
"""Writers rest up to so long: who waits for SQLite's lock waits in no queue, and drainers would starve."""
_PACE = Pace(
    limit=20,
    lease_seconds=0.6,
    poll_seconds=0.02,
    backoff=Retries(attempts=10**6, first_seconds=0.02, longest_seconds=0.2),
)


class Base(DeclarativeBase):
    """Root of the mapped classes."""


outbox_table(Base.metadata)
edge = EdgeEvents()


@edge.purges(groups=lambda change: [change.name, "hot"], bulk="warn")
class Change(Base):
    """A change with a group of its own: in the table if and only if it was committed."""

    __tablename__ = "change"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    at: Mapped[float]


class Receipted(Base):
    """A purge without the outbox, for which there was a receipt."""

    __tablename__ = "receipted"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    moment_ms: Mapped[int] = mapped_column(BigInteger)


@dataclass(frozen=True)
class Outcome:
    """What a run of kills showed."""

    kills: int
    committed: int
    missing: tuple[str, ...]
    too_early: tuple[str, ...]
    never_committed: tuple[str, ...]
    undelivered: int
    receipts: int
    unwritten: tuple[str, ...]
    requests: int
    faults: dict[str, int]

    @property
    def is_good(self) -> bool:
        """Whether each committed change and no other was purged after it was made, and receipts are true."""
        wrong = (self.missing, self.too_early, self.never_committed, self.undelivered, self.unwritten)
        return not any(wrong)


class _Impatient(httpx.HTTPTransport):
    """Waits for an answer for so short a time that a late one is a timeout."""

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        request.extensions["timeout"]["read"] = READ_SECONDS
        return super().handle_request(request)


def _engine(url: str) -> Engine:
    patience = {"timeout": _START_SECONDS} if url.startswith("sqlite") else {}
    engine = create_engine(url, pool_size=_WRITERS + _DRAINERS, connect_args=patience)
    if engine.dialect.name == "sqlite":
        # As SQLAlchemy's documentation has it for savepoints; immediate, so that writers wait in turn.
        event.listen(engine, "connect", lambda connection, _: setattr(connection, "isolation_level", None))
        event.listen(engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN IMMEDIATE"))
    return engine


def _client(api: str, transport: type[httpx.BaseTransport] | None = None) -> PurgeClient:
    settings = Settings(base_url=api, namespace_id="namespace")
    options = Options(retries=Retries(attempts=2, first_seconds=0.01, longest_seconds=0.02))
    return PurgeClient(settings, options=options, transport=transport)


@dataclass
class Service:
    """What a process has: made before it forks, used before and after."""

    url: str
    api: str

    def __post_init__(self) -> None:
        """Make it."""
        logging.disable()
        self.engine = _engine(self.url)
        self.sessions = sessionmaker(self.engine)
        edge.listen(self.sessions)
        self.client = _client(self.api, _Impatient)
        self.drainers = [Drainer(SqlAlchemyOutbox(self.engine), self.client, _PACE) for _ in range(_DRAINERS)]

    def work(self, seed: int, is_ready: Any) -> None:
        """Change and drain until killed, or until the run has ended, however it did."""
        Thread(target=_end_with_run, daemon=True).start()
        for drainer in self.drainers:
            drainer.start()
        writers = [
            Thread(target=_write, args=(self, random.Random(seed + number)))  # noqa: S311 - a test's
            for number in range(_WRITERS)
        ]
        for writer in writers:
            writer.start()
        is_ready.send_bytes(b"1")
        for writer in writers:
            writer.join()

    def purge(self) -> None:
        """Purge without the outbox; what has a receipt is written down."""
        name = f"direct-{uuid4().hex}"
        try:
            receipt = self.client.purge(groups=name)
        except OriginSdkError:
            return
        with self.sessions.begin() as session:
            session.add(Receipted(name=name, moment_ms=round(receipt.moment.timestamp() * 1000)))


def serve(url: str, api: str, seed: int, is_ready: Any, _workers: Any) -> None:
    """Be a service of one process."""
    Service(url, api).work(seed, is_ready)


def serve_forked(url: str, api: str, seed: int, is_ready: Any, workers: Any) -> None:
    """Be a server that forks workers, as gunicorn does with `--preload`, and forks again what was killed."""
    os.setsid()
    service = Service(url, api)
    while _run_goes_on():
        _use(service)
        for number, worker in enumerate(workers):
            if not worker:
                workers[number] = _fork(service, seed + number * _WRITERS, is_ready)
        ended, _ = os.wait()
        seed += 100
        workers[workers[:].index(ended)] = 0


def _run_goes_on(seconds: float | None = 0) -> bool:
    """Wait so long for the end of the run, which may be killed itself, and tell whether it didn't come."""
    run_of = multiprocessing.parent_process()
    if run_of is not None:
        run_of.join(seconds)
    return run_of is not None and run_of.is_alive()


def _end_with_run() -> None:
    while _run_goes_on(seconds=None):
        pass
    os._exit(1)


def _use(service: Service) -> None:
    """Use everything that the workers will have."""
    service.purge()
    with service.sessions.begin() as session:
        session.add(_change("kept"))
    service.drainers[0].drain()


def _fork(service: Service, seed: int, is_ready: Any) -> int:
    if process := os.fork():
        return process
    try:
        service.engine.dispose(close=False)  # as SQLAlchemy has it: its connections are the server's
        service.work(seed, is_ready)
    finally:
        os._exit(1)


def _write(service: Service, chance: random.Random) -> None:
    while True:
        time.sleep(chance.uniform(0, _PAUSE_SECONDS))
        if chance.random() < 0.2:
            service.purge()
        with service.sessions() as session:
            for _ in range(chance.randint(1, 3)):
                session.add(_change("kept"))
            if chance.random() < 0.3:
                nested = session.begin_nested()
                session.add(_change("lost"))
                session.flush()
                nested.rollback()
            if chance.random() < 0.3:
                session.add(_change("lost"))
                session.flush()
                session.rollback()
            session.commit()


def _change(kind: str) -> Change:
    return Change(name=f"{kind}-{uuid4().hex}", at=CLOCK.now())


def run(url: str, kills: int, seed: int = 0, *, is_forked: bool = False) -> Outcome:
    """Kill a service over the empty database at ``url`` so often, let it end its work, and compare."""
    chance = random.Random(seed)  # noqa: S311 - a test's
    api = BadApi(seed)
    engine = _engine(url)
    Base.metadata.create_all(engine)
    processes = multiprocessing.get_context("forkserver")
    processes.set_forkserver_preload([__name__])
    with api.serve() as base_url:
        killed = 0
        while killed < kills:
            # Without locks, which a process that is killed would hold for ever.
            workers = processes.RawArray("i", _WORKERS)
            is_ready, tell_ready = processes.Pipe(duplex=False)
            arguments = (url, base_url, seed + killed * _WRITERS, tell_ready, workers)
            target = serve_forked if is_forked else serve
            child = processes.Process(target=target, args=arguments, daemon=True)
            child.start()
            try:
                _await(is_ready)
                for _ in range(min(chance.randint(0, _WORKERS_KILLED), kills - killed - 1) * is_forked):
                    time.sleep(chance.uniform(*_LIFE_SECONDS))
                    _clear(is_ready)
                    if worker := chance.choice(workers[:]):
                        os.kill(worker, signal.SIGKILL)
                        killed += 1
                        _await(is_ready)
                _let_live(api, chance)
                if killed == kills - 1:
                    _await_receipt(engine)
            finally:
                _kill(child, is_forked=is_forked)
            killed += 1
        api.is_well = True
        _finish(engine, base_url)
    outcome = _compare(engine, api, kills)
    engine.dispose()
    return outcome


def _let_live(api: BadApi, chance: random.Random) -> None:
    """Let a service live for a moment: of every other one, at least until it has asked the API again."""
    asked = sum(api.faults.values())
    wants_request, deadline = chance.random() < 0.5, time.monotonic() + _MOST_SECONDS
    time.sleep(chance.uniform(*_LIFE_SECONDS))
    while wants_request and sum(api.faults.values()) <= asked and time.monotonic() < deadline:
        time.sleep(0.02)


def _await_receipt(engine: Engine) -> None:
    """Let the last service live until one has written a receipt: on a busy machine none may have yet."""
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
        with Session(engine) as session:
            if session.scalar(select(Receipted.id).limit(1)) is not None:
                return
        time.sleep(0.02)


def _await(is_ready: Any) -> None:
    if not is_ready.poll(_START_SECONDS):
        raise RuntimeError(f"the service didn't start in {_START_SECONDS:g} s")
    _clear(is_ready)


def _clear(is_ready: Any) -> None:
    while is_ready.poll():
        is_ready.recv_bytes()


def _kill(child: BaseProcess, *, is_forked: bool) -> None:
    """End a service at once, its workers included."""
    if is_forked and child.pid:
        with suppress(ProcessLookupError):  # it has no group of its own yet
            os.killpg(child.pid, signal.SIGKILL)
    child.kill()
    child.join()
    child.close()


def _finish(engine: Engine, api: str) -> None:
    drainer = Drainer(SqlAlchemyOutbox(engine), _client(api), _PACE)
    deadline = time.monotonic() + _END_SECONDS
    with drainer.client:
        while drainer.outbox.due_in() is not None and time.monotonic() < deadline:
            if any(made.done for made in drainer.drain()):
                deadline = time.monotonic() + _END_SECONDS
            time.sleep(_PACE.poll_seconds)


def _compare(engine: Engine, api: BadApi, kills: int) -> Outcome:
    with Session(engine) as session:
        committed = {change.name: change.at for change in session.scalars(select(Change))}
        receipted = {each.name: each.moment_ms for each in session.scalars(select(Receipted))}
    marks = api.fake.marks_in_force()
    moments = {name: marks.get(mark_key(group_mark(name), Lane.SOFT)) for name in committed}
    written = {name: marks.get(mark_key(group_mark(name), Lane.SOFT)) for name in receipted}
    direct = mark_key(group_mark("direct-"), Lane.SOFT)
    known = {mark_key(group_mark(name), Lane.SOFT) for name in (*committed, "hot")}
    counts = SqlAlchemyOutbox(engine).status().counts
    return Outcome(
        kills=kills,
        committed=len(committed),
        missing=tuple(name for name, mark in moments.items() if mark is None),
        too_early=tuple(
            name for name, mark in moments.items() if mark and mark.moment_ms < committed[name] * 1000
        ),
        never_committed=tuple(key for key in marks if key not in known and not key.startswith(direct)),
        undelivered=counts.get(State.WAITING, 0) + counts.get(State.DEAD, 0),
        receipts=len(receipted),
        unwritten=tuple(
            name for name, mark in written.items() if not mark or mark.moment_ms < receipted[name]
        ),
        requests=len(api.fake.requests),
        faults=api.faults,
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run it for SQLite and PostgreSQL and say what came of it."""
    parser = argparse.ArgumentParser(prog="scripts/crash", description=__doc__)
    parser.add_argument("--kills", type=int, default=300, help="for each database (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--forked", action="store_true", help="servers that fork workers, alone")
    options = parser.parse_args(arguments)
    is_good = True
    with tempfile.TemporaryDirectory() as folder, Postgres() as postgres:
        for is_forked in (False, True)[options.forked :]:
            database = "forked" if is_forked else "spawned"
            postgres.make_database(database)
            urls = {
                "SQLite": f"sqlite:///{Path(folder)}/{database}.db",
                "PostgreSQL": postgres.url(database=database),
            }
            for name, url in urls.items():
                began = time.monotonic()
                outcome = run(url, options.kills, options.seed, is_forked=is_forked)
                is_good = is_good and outcome.is_good
                took = time.monotonic() - began
                print(f"{name}, {database}: {outcome} in {took:.0f} s", flush=True)
    print("every committed change is purged, and no other" if is_good else "FAILED")
    return 0 if is_good else 1


if __name__ == "__main__":
    sys.exit(main())
