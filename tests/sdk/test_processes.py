"""A client in every process, event loop and thread that it may find itself in, over real connections.

What a receipt names must be there, and each process must get the answers to its own requests.
"""

import asyncio
import copy
import json
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import httpx
import pytest

from origin_sdk import AsyncPurgeClient, Options, PurgeClient, Settings
from origin_sdk._cloudflare.budget import RateBudget
from origin_sdk._cloudflare.exchange import Retries
from origin_sdk._development import watchdog
from origin_sdk._values.targets import Purge
from origin_sdk.errors import InvalidRequest, PartialPurgeError
from origin_sdk.outbox import AsyncDrainer, InThreads
from origin_sdk.outbox.sqlite import SqliteOutbox
from origin_sdk.testing import FakeKV
from scripts.runtime.ports import free_port
from scripts.runtime.servers import Redis

pytestmark = [
    pytest.mark.filterwarnings("ignore:This process.*is multi-threaded:DeprecationWarning"),
    pytest.mark.timeout(240),  # servers start slowly on a busy machine
]
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def kv() -> FakeKV:
    return FakeKV()


@pytest.fixture
def settings(kv: FakeKV) -> Iterator[Settings]:
    with kv.serve() as url:
        yield Settings(base_url=url, namespace_id=kv.namespace_id)


def purge_many(client: PurgeClient, name: str, times: int = 40) -> None:
    for number in range(times):
        # As many targets as nobody else asks for at once: the count in an answer tells whose it is.
        receipt = client.purge(groups=[f"{name}-{number}-{part}" for part in range(1 + number % 5)])
        assert len(receipt.marks) == 1 + number % 5


def expected(name: str, times: int = 40) -> set[str]:
    return {f"m2/s/group/{name}-{number}-{part}" for number in range(times) for part in range(1 + number % 5)}


async def purge_many_async(client: AsyncPurgeClient, name: str) -> None:
    await asyncio.gather(*(client.purge(groups=f"{name}-{number}") for number in range(8)))


def is_written(kv: FakeKV, name: str) -> bool:
    return {f"m2/s/group/{name}-{number}" for number in range(8)} <= set(kv.stored_keys())


# Processes


def forked(function: Callable[[], object]) -> Callable[[], int]:
    """Run a function in a forked process; return what waits for it and returns its exit code."""
    child = os.fork()
    if child:
        return lambda: os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    code = 1
    signal.alarm(120)  # one that hangs would outlive the run
    try:
        function()
        code = 0
    finally:
        os._exit(code)


def test_parent_and_forked_children_get_their_own_answers(kv: FakeKV, settings: Settings) -> None:
    with PurgeClient(settings) as client:
        purge_many(client, "before")
        ends = [forked(lambda name=name: purge_many(client, name)) for name in ("one", "two", "three")]  # type: ignore[misc]  # mypy: lambda's default
        purge_many(client, "parent")
        assert [end() for end in ends] == [0, 0, 0]
        purge_many(client, "after")
    names = ("before", "one", "two", "three", "parent", "after")
    assert set(kv.stored_keys()) == set().union(*map(expected, names))


def test_a_child_forks_too_and_may_close_what_its_parent_uses(kv: FakeKV, settings: Settings) -> None:
    def child() -> None:
        grandchild = forked(lambda: purge_many(client, "grandchild", 5))
        purge_many(client, "child", 5)
        client.close()
        assert grandchild() == 0

    with PurgeClient(settings) as client:
        purge_many(client, "parent", 5)
        assert forked(child)() == 0
        purge_many(client, "later", 5)
    assert set(kv.stored_keys()) == set().union(
        *(expected(name, 5) for name in ("parent", "child", "grandchild", "later"))
    )


def test_what_was_locked_at_the_fork_is_free_in_the_child(settings: Settings, tmp_path: Path) -> None:
    options = Options(budget=RateBudget())
    with PurgeClient(
        settings=Settings(**{**vars(settings), "audit_file": str(tmp_path / "audit")}), options=options
    ) as client:
        purge_many(client, "parent", 1)
        locks = [client._budget._lock, client.skew._lock, client._api._lock, client._audit._lock]  # type: ignore[union-attr]  # an AuditFile
        for lock in locks:
            lock.acquire()
        end = forked(lambda: purge_many(client, "child", 2))
        for lock in locks:
            lock.release()
        assert end() == 0


def test_a_process_forked_out_of_a_running_event_loop(kv: FakeKV, settings: Settings) -> None:
    client = AsyncPurgeClient(settings)

    def child() -> None:
        asyncio.events._set_running_loop(None)  # as a forking server does
        asyncio.run(purge_many_async(client, "child"))

    async def parent() -> None:
        await purge_many_async(client, "parent")
        end = forked(child)
        await purge_many_async(client, "later")
        assert await asyncio.to_thread(end) == 0

    asyncio.run(parent())
    assert all(is_written(kv, name) for name in ("parent", "child", "later"))


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_a_client_is_an_argument_of_multiprocessing(kv: FakeKV, settings: Settings, method: str) -> None:
    with PurgeClient(settings) as client:
        purge_many(client, "parent", 3)
        process = multiprocessing.get_context(method).Process(  # type: ignore[attr-defined]  # mypy: of its base
            target=purge_many, args=(client, "child", 3)
        )
        process.start()
        process.join()
        assert process.exitcode == 0
    assert set(kv.stored_keys()) == expected("parent", 3) | expected("child", 3)


@pytest.mark.parametrize("kind", [PurgeClient, AsyncPurgeClient])
def test_a_copy_has_the_same_settings_and_its_own_connections(
    settings: Settings, kind: type[PurgeClient | AsyncPurgeClient]
) -> None:
    client = kind(settings, options=Options(timeout=3, budget=RateBudget(burst=7)))
    for twin in (pickle.loads(pickle.dumps(client)), copy.deepcopy(client)):  # noqa: S301 - its own
        assert (twin.settings, twin.project) == (client.settings, client.project)
        assert twin.options.timeout == 3
        assert twin.options.budget
        assert twin.options.budget.burst == 7
        assert twin._api is not client._api


# Servers


def environment(settings: Settings, **more: str) -> dict[str, str]:
    named = {"CLOUDFLARE_API_BASE_URL": settings.base_url, "EDGE_CACHE_NAMESPACE_ID": settings.namespace_id}
    return {**os.environ, **named, "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "default", **more}


@contextmanager
def running(*command: str, env: dict[str, str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    with (
        log.open("wb") as output,
        subprocess.Popen(
            [sys.executable, "-m", *command],
            env=env,
            stdout=output,
            stderr=output,
            cwd=ROOT,
            start_new_session=True,
        ) as process,
    ):
        watchdog.guard(process.pid)
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()


def until(condition: Callable[[], bool], log: Path, seconds: float = 150) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.05)


@pytest.mark.parametrize(
    "server",
    [
        pytest.param(
            "gunicorn --preload --workers 2 --threads 4 --bind 127.0.0.1:{port} tests.sdk.apps:wsgi",
            id="gunicorn, preload and threads",
        ),
        pytest.param("uvicorn --workers 2 --port {port} tests.sdk.apps:asgi", id="uvicorn, workers"),
    ],
)
def test_workers_of_a_server_purge(kv: FakeKV, settings: Settings, server: str, tmp_path: Path) -> None:
    log = tmp_path / "log"
    url = f"http://127.0.0.1:{(port := free_port())}"
    with running(*server.format(port=port).split(), env=environment(settings), log=log):
        started: set[str] = set()
        numbers = count()

        def have_all_started() -> bool:
            started.update(process_at(f"{url}/started-{next(numbers)}"))
            return len(started) > 1

        until(have_all_started, log)
        with ThreadPoolExecutor(8) as pool:
            replies = list(pool.map(lambda number: httpx.get(f"{url}/row-{number}", timeout=30), range(80)))
    assert {reply.status_code for reply in replies} == {200}, log.read_text()
    said = [reply.text.split() for reply in replies]
    assert [mark for _, mark in said] == [f"m2/s/group/row-{number}" for number in range(80)]
    assert {mark for _, mark in said} <= set(kv.stored_keys())


def process_at(url: str) -> list[str]:
    """Return the id of the process that answers, if one does yet."""
    try:
        reply = httpx.get(url, timeout=10)
    except httpx.HTTPError:
        return []
    return reply.text.split()[:1] if reply.status_code == 200 else []


def test_celerys_prefork_workers_purge(
    kv: FakeKV, settings: Settings, redis_server: Redis, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    env = environment(settings, BROKER_URL=redis_server.url)
    code = "from tests.sdk.apps import purge\nfor number in range(60): purge.delay(f'row-{number}')"

    def send() -> None:
        subprocess.run([sys.executable, "-c", code], env=env, check=True, cwd=ROOT)

    def are_many_at_work() -> bool:
        if len(kv.stored_keys("m2/s/group/by-")) > 1:
            return True
        send()  # the first of them may be done with all before the others are there
        return False

    options = "--pool prefork --concurrency 3 --without-gossip --without-mingle --loglevel WARNING"
    with running("celery", "-A", "tests.sdk.apps:tasks", "worker", *options.split(), env=env, log=log):
        send()
        wanted = {f"m2/s/group/row-{number}" for number in range(60)}
        until(lambda: wanted <= set(kv.stored_keys()), log)
        until(are_many_at_work, log)


# Event loops


def test_one_asyncio_run_after_another(kv: FakeKV, settings: Settings) -> None:
    client = AsyncPurgeClient(settings)
    for name in ("first", "second", "third"):
        asyncio.run(purge_many_async(client, name))
        assert is_written(kv, name)
    assert all(of.client.is_closed for of in client._api._open.values()), "connections end with their loop"


def test_a_block_per_run_closes_and_opens_again(kv: FakeKV, settings: Settings) -> None:
    client = AsyncPurgeClient(settings)

    async def block(name: str) -> None:
        async with client:
            await purge_many_async(client, name)

    asyncio.run(block("first"))
    asyncio.run(block("second"))
    assert is_written(kv, "second")


def test_a_loop_that_ended_without_ceremony(kv: FakeKV, settings: Settings) -> None:
    client = AsyncPurgeClient(
        settings, transport=lambda: httpx.AsyncHTTPTransport(limits=httpx.Limits(max_keepalive_connections=0))
    )
    for name in ("first", "second"):
        loop = asyncio.new_event_loop()
        loop.run_until_complete(purge_many_async(client, name))
        loop.close()
        assert is_written(kv, name)


def test_loops_of_several_threads_at_once(kv: FakeKV, settings: Settings) -> None:
    client = AsyncPurgeClient(settings)
    names = [f"thread-{number}" for number in range(4)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda name: asyncio.run(purge_many_async(client, name)), names))
    assert all(is_written(kv, name) for name in names)
    assert all(of.client.is_closed for of in client._api._open.values())


@pytest.fixture(scope="module")
def shared_client() -> Iterator[tuple[FakeKV, AsyncPurgeClient]]:
    kv = FakeKV()
    with kv.serve() as url:
        yield kv, AsyncPurgeClient(Settings(base_url=url, namespace_id=kv.namespace_id))


@pytest.mark.parametrize("number", range(3))
async def test_a_client_of_a_module_in_pytest_asyncios_loops(
    shared_client: tuple[FakeKV, AsyncPurgeClient], number: int
) -> None:
    kv, client = shared_client
    await purge_many_async(client, f"test-{number}")
    assert is_written(kv, f"test-{number}")


def test_a_drainer_in_one_run_after_another(kv: FakeKV, settings: Settings, tmp_path: Path) -> None:
    outbox = SqliteOutbox(tmp_path / "outbox")
    drainer = AsyncDrainer(InThreads(outbox), AsyncPurgeClient(settings))

    async def deliver(name: str) -> None:
        outbox.record(Purge.of(groups=name))
        async with drainer:
            drainer.wake()
            while f"m2/s/group/{name}" not in kv.stored_keys():  # noqa: ASYNC110 - the API says nothing
                await asyncio.sleep(0.01)

    asyncio.run(deliver("first"))
    asyncio.run(deliver("second"))
    outbox.close()


# Threads, and the interpreter's end


class Crowded(httpx.AsyncBaseTransport):
    """Answers every write a moment later, and counts how many it has at a time."""

    def __init__(self) -> None:
        self.now = self.most = 0

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.now += 1
        self.most = max(self.most, self.now)
        try:
            await asyncio.sleep(0)
        finally:
            self.now -= 1
        written = len(json.loads(request.content))
        return httpx.Response(200, json={"success": True, "result": {"successful_key_count": written}})


def test_a_crowd_of_calls_waits_its_turn_and_cancelled_ones_give_theirs_back(settings: Settings) -> None:
    transport = Crowded()

    async def crowd() -> None:
        async with AsyncPurgeClient(settings, transport=transport) as edge:
            tasks = [asyncio.create_task(edge.purge(groups=f"g-{number}")) for number in range(300)]
            await asyncio.sleep(0)
            for task in tasks[::2]:
                task.cancel()
            await asyncio.wait(tasks)
            assert all(task.result().marks for task in tasks[1::2])
            await asyncio.gather(*(edge.purge(groups=f"h-{number}", timeout=20) for number in range(100)))

    asyncio.run(crowd())
    assert transport.now == 0
    assert 1 < transport.most <= 50


def test_a_turn_that_does_not_come_in_time_is_said(settings: Settings) -> None:
    async def crowd() -> str:
        ends = asyncio.Event()

        class Hanging(httpx.AsyncBaseTransport):
            async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
                await ends.wait()
                raise httpx.ReadTimeout("hangs", request=request)

        options = Options(retries=Retries(attempts=1))
        async with AsyncPurgeClient(settings, options=options, transport=Hanging()) as edge:
            tasks = [asyncio.create_task(edge.purge(groups="g", timeout=0.2)) for _ in range(51)]
            [done], _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            ends.set()
            await asyncio.wait(tasks)
            assert all(task.exception() for task in tasks)
            return str(done.exception())

    assert "50 requests at once" in asyncio.run(crowd())


def test_threads_share_a_client_from_its_first_call_on(kv: FakeKV, settings: Settings) -> None:
    with PurgeClient(settings) as client:
        start = threading.Barrier(8)

        def work(number: int) -> None:
            start.wait()
            purge_many(client, f"thread-{number}", 10)

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(work, range(8)))
    assert set(kv.stored_keys()) == set().union(*(expected(f"thread-{number}", 10) for number in range(8)))


AT_THE_END = {
    "a client that is never closed": "client.purge(groups='end')",
    "in atexit": """
        import atexit
        client.purge(groups='x')
        atexit.register(lambda: client.purge(groups='end'))
    """,
    "in a thread that outlives the main one": """
        import threading, time
        def late():
            threading.main_thread().join()
            client.purge(groups='end')
        threading.Thread(target=late).start()
    """,
    "asyncio, never closed": "asyncio.run(other.purge(groups='end'))",
    "asyncio, in atexit": """
        import atexit
        asyncio.run(other.purge(groups='x'))
        atexit.register(lambda: asyncio.run(other.purge(groups='end')))
    """,
}


@pytest.mark.parametrize("code", AT_THE_END.values(), ids=list(AT_THE_END))
def test_the_interpreters_end(kv: FakeKV, settings: Settings, code: str) -> None:
    program = "import asyncio\nfrom origin_sdk import *\nclient, other = PurgeClient(), AsyncPurgeClient()\n"
    ended = subprocess.run(
        # A synchronous client that is never closed is its user's choice.
        [
            sys.executable,
            "-W",
            "error",
            "-W",
            "ignore::ResourceWarning",
            "-c",
            program + textwrap.dedent(code),
        ],
        env=environment(settings),
        cwd=ROOT,
        check=False,
        capture_output=True,
        text=True,
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    assert "m2/s/group/end" in kv.stored_keys()


# Transports of one's own


def test_a_transport_is_not_carried_into_another_process_or_loop(kv: FakeKV, settings: Settings) -> None:
    def refused() -> None:
        with pytest.raises(InvalidRequest, match=r"pass a function.*lambda: HTTPTransport"):
            client.purge(groups="child")

    with PurgeClient(settings, transport=httpx.HTTPTransport(retries=1)) as client:
        client.purge(groups="parent")
        assert forked(refused)() == 0
    async_client = AsyncPurgeClient(settings, transport=httpx.AsyncHTTPTransport(retries=1))
    asyncio.run(async_client.purge(groups="first"))
    with pytest.raises(InvalidRequest, match=r"pass a function.*lambda: AsyncHTTPTransport"):
        asyncio.run(async_client.purge(groups="second"))
    assert set(kv.stored_keys()) == {f"m2/s/group/{name}" for name in ("parent", "first")}


def test_a_function_makes_a_transport_for_each(kv: FakeKV, settings: Settings) -> None:
    with PurgeClient(settings, transport=lambda: httpx.HTTPTransport(retries=1)) as client:
        client.purge(groups="parent")
        assert forked(lambda: client.purge(groups="child"))() == 0
    async_client = AsyncPurgeClient(settings, transport=lambda: httpx.AsyncHTTPTransport(retries=1))
    asyncio.run(async_client.purge(groups="first"))
    asyncio.run(async_client.purge(groups="second"))
    assert len(kv.stored_keys()) == 4


# A receipt means written


NOT_THIS_REQUESTS_ANSWER = {
    "of a write of another size": {"successful_key_count": 3, "unsuccessful_keys": []},
    "of nothing written": {"successful_key_count": 0, "unsuccessful_keys": []},
    "of a count that isn't one": {"successful_key_count": "2", "unsuccessful_keys": []},
    "of a list of keys": [],
    "of a bulk read": {"values": {}},
    "of keys that failed, in no list": {"unsuccessful_keys": "m2/s/group/a"},
    "of success in another type": None,
}


@pytest.mark.parametrize("said", NOT_THIS_REQUESTS_ANSWER)
def test_an_answer_that_does_not_confirm_the_write_is_no_receipt(settings: Settings, said: str) -> None:
    result = NOT_THIS_REQUESTS_ANSWER[said]
    answer = {"success": True if result is not None else "true", "errors": [], "result": result}
    transport = httpx.MockTransport(lambda _: httpx.Response(200, json=answer))
    options = Options(retries=Retries(attempts=1))
    with PurgeClient(settings, options=options, transport=transport) as client:
        error = PartialPurgeError if result is not None else Exception
        with pytest.raises(error) as raised:
            client.purge(groups=["a", "b"])
    if isinstance(raised.value, PartialPurgeError):
        assert raised.value.receipt.marks == ()
        assert raised.value.remaining.groups == ("a", "b")
