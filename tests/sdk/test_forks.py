"""Whatever the SDK has open at a fork serves both processes after it, and is answered for in one table."""

import ast
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest
import redis

from origin_sdk._values.targets import Purge
from origin_sdk.outbox import Drainer, State
from origin_sdk.outbox.redis import RedisOutbox
from origin_sdk.outbox.sqlite import SqliteOutbox
from origin_sdk.testing import FakeKV
from scripts.runtime.servers import Redis
from tests.sdk.test_processes import forked

pytestmark = pytest.mark.filterwarnings("ignore:This process.*is multi-threaded:DeprecationWarning")
SDK = Path(__file__).resolve().parents[2] / "origin_sdk"
# What a fork may find locked, running or open.
OPEN = {"Lock", "RLock", "Condition", "Semaphore", "Event", "Thread", "ThreadPoolExecutor", "connect"}
ANSWERS = {"renew_after_fork", "suspend_at_fork", "register_at_fork", "renew"}
OTHERWISE = {
    "_development/": "runs in a process of its own, which forks nothing",
    "cli/": "runs in a process of its own, which forks nothing",
    "dashboard/": "runs in a process of its own, which forks nothing",
    "_edge/client.py": "a pool that ends with the call",
    "events/postgres.py": "connects in run(), in the process that it is called in",
    "events/streams.py": "its client is the caller's; redis-py connects anew in each process",
    "layers/redis/client.py": "the cache makes another in each process",
    "layers/redis/listener.py": "the cache makes another in each process",
    "outbox/_stores/urls.py": "closed before it is left",
}


def is_of_threads(node: ast.AST) -> bool:
    """Whether this makes something of threads, or opens a database; asyncio's are of an event loop."""
    match node:
        case ast.Call(func=ast.Name(id=name)):
            return name in OPEN - {"connect"}
        case ast.Call(func=ast.Attribute(value=ast.Name(id=module), attr=name)):
            return module in {"threading", "sqlite3"} and name in OPEN
        case _:
            return False


def test_every_module_that_a_fork_may_find_at_work_answers_for_it() -> None:
    unanswered, used = [], set()
    for path in sorted(SDK.rglob("*.py")):
        name, tree = path.relative_to(SDK).as_posix(), ast.parse(path.read_text())
        imported = {
            each.name
            for node in ast.walk(tree)
            if isinstance(node, ast.ImportFrom) and node.module in {"threading", "concurrent.futures"}
            for each in node.names
        }
        made = [node for node in ast.walk(tree) if is_of_threads(node)]
        if not made or not (imported or "sqlite3" in path.read_text()):
            continue
        words = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
        words |= {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
        words |= {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
        excuse = {room for room in OTHERWISE if name.startswith(room)}
        used |= excuse
        if not words & ANSWERS and not excuse:
            unanswered.append(name)
    assert unanswered == []
    assert used == OTHERWISE.keys()


@pytest.fixture
def sqlite(tmp_path: Path) -> Iterator[SqliteOutbox]:
    with closing(SqliteOutbox(tmp_path / "outbox.db")) as outbox:
        outbox.record(Purge.of(groups="before"))
        yield outbox


@pytest.fixture
def streams(redis_server: Redis) -> Iterator[RedisOutbox]:
    with redis.Redis.from_url(redis_server.url) as client:
        client.flushall()
        outbox = RedisOutbox(client)
        outbox.record(Purge.of(groups="before"))
        yield outbox


@pytest.mark.parametrize("store", ["sqlite", "streams"])
def test_parent_and_children_record_and_lose_nothing(store: str, request: pytest.FixtureRequest) -> None:
    outbox = request.getfixturevalue(store)

    def record(name: str) -> None:
        for number in range(20):
            outbox.record(Purge.of(groups=f"{name}-{number}"))

    ends = [forked(lambda name=name: record(name)) for name in ("one", "two")]  # type: ignore[misc]  # mypy: lambda's default
    record("parent")
    assert [end() for end in ends] == [0, 0]
    assert outbox.status().counts[State.WAITING] == 61


def test_a_child_holds_nothing_of_its_parents_file(sqlite: SqliteOutbox) -> None:
    def nothing_is_open() -> None:
        links = [each.readlink() for each in Path("/proc/self/fd").iterdir() if each.is_symlink()]
        assert not [link for link in links if link.name.startswith("outbox.db")]
        assert sqlite.status().counts[State.WAITING] == 1

    assert forked(nothing_is_open)() == 0


def test_what_a_child_records_outlives_its_parents_closing(sqlite: SqliteOutbox, tmp_path: Path) -> None:
    read, write = os.pipe()

    def child() -> None:
        sqlite.record(Purge.of(groups="first"))
        os.read(read, 1)
        sqlite.record(Purge.of(groups="second"))

    end = forked(child)
    sqlite.close()  # takes the write-ahead log away, if it is the last that has the file open
    os.write(write, b"x")
    assert end() == 0
    with closing(SqliteOutbox(tmp_path / "outbox.db")) as looked_at:
        assert looked_at.status().counts[State.WAITING] == 3


def test_a_fork_waits_for_a_transaction_of_another_thread(sqlite: SqliteOutbox) -> None:
    def record() -> None:
        for number in range(30):
            sqlite.record(Purge.of(groups=f"thread-{number}"))

    thread = Thread(target=record)
    thread.start()
    ends = [forked(lambda: sqlite.record(Purge.of(groups="child"))) for _ in range(5)]
    assert [end() for end in ends] == [0] * 5
    thread.join()
    assert sqlite.status().counts[State.WAITING] == 36


def test_who_forks_within_a_transaction_commits_it_once(sqlite: SqliteOutbox) -> None:
    with sqlite.transaction() as run:
        run(sqlite.statements.dialect.insert, [{"payload": "{}", "actor": "", "reason": ""}])
        assert forked(lambda: None)() == 0
    assert sqlite.status().counts[State.WAITING] == 2


def test_a_relative_path_means_the_same_file_in_another_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "other").mkdir()
    with closing(SqliteOutbox(Path("outbox.db"))) as outbox:

        def daemon() -> None:
            os.chdir("other")
            outbox.record(Purge.of(groups="daemon"))

        assert forked(daemon)() == 0
        assert outbox.status().counts[State.WAITING] == 1


def held_by_drainer(drainer: Drainer) -> tuple[Any, ...]:
    return drainer._awake._cond, drainer._stopping._cond  # type: ignore[attr-defined]  # threading's own


LOCKED: dict[str, tuple[Callable[[Any], tuple[Any, ...]], Callable[[Any], object]]] = {
    "a drainer that is woken": (held_by_drainer, lambda each: each.wake()),
    "a drainer that is stopped": (held_by_drainer, lambda each: each.stop()),
    "a fake API": (lambda each: (each._lock,), lambda each: each.put("key", "value")),
}


@pytest.mark.parametrize("name", LOCKED)
def test_what_a_thread_had_locked_is_free_in_the_child(
    name: str, sqlite: SqliteOutbox, request: pytest.FixtureRequest
) -> None:
    locks_of, use = LOCKED[name]
    each: Any = FakeKV() if "API" in name else Drainer(sqlite, request.getfixturevalue("purge_client"))
    locks, is_held, may_end = locks_of(each), Event(), Event()

    def hold() -> None:
        for lock in locks:
            lock.acquire()
        is_held.set()
        may_end.wait(60)

    thread = Thread(target=hold)
    thread.start()
    is_held.wait(60)

    def child() -> None:
        signal.alarm(10)
        use(each)  # not in a thread: that could have the number of the one that holds an RLock

    end = forked(child)
    may_end.set()
    thread.join()
    assert end() == 0
