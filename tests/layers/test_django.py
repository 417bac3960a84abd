"""Django's backend keeps Django's contract, over Redis and in memory, for threads and for tasks."""

import asyncio
import os
import subprocess
import sys
import time
import warnings
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, timezone
from datetime import time as clock_time
from decimal import Decimal
from enum import Enum
from pathlib import Path
from threading import Barrier, Thread
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from django.conf import settings
from django.core.cache.backends.base import CacheKeyWarning
from django.core.exceptions import ImproperlyConfigured
from django.http import HttpResponse, JsonResponse, StreamingHttpResponse
from django.utils.functional import empty
from django.utils.safestring import SafeString, mark_safe

from origin_sdk.layers import Encryption, Wrapping
from origin_sdk.layers.django import LayeredBackend
from origin_sdk.layers.errors import UnreadableRecord, UnsupportedValue
from origin_sdk.layers.values.messagepack import Tagging
from scripts.runtime import paths
from tests.layers.caches import Loop
from tests.layers.servers import RedisServer
from tests.layers.test_breakdowns import eventually
from tests.stopwatch import Stopwatch


@pytest.fixture(scope="module", autouse=True)
def _django() -> Iterator[None]:
    """Django has one configuration a process: that of these tests is taken back."""
    is_ours = not settings.configured
    if is_ours:
        settings.configure()
    yield
    if is_ours:
        settings._wrapped = empty


LIFETIME = 1.0
"""Long enough for a busy machine to find alive what has just been stored, by Redis's clock."""
VERBS = frozenset(
    {
        *("add", "clear", "decr", "decr_version", "delete", "delete_many", "get", "get_many", "get_or_set"),
        *("has_key", "incr", "incr_version", "invalidate", "set", "set_many", "touch"),
    }
)


class Tasks:
    """A backend whose a-twins answer to the names of the verbs."""

    def __init__(self, inner: LayeredBackend) -> None:
        self.inner = inner
        self._loop = Loop()

    def __getattr__(self, name: str) -> Any:
        if name not in VERBS:
            return getattr(self.inner, name)
        return lambda *args, **kwargs: self._loop.run(getattr(self.inner, f"a{name}")(*args, **kwargs))

    def __contains__(self, key: str) -> bool:
        return key in self.inner

    def stop(self) -> None:
        self._loop.stop()


@pytest.fixture
def new_backend(redis_server: RedisServer, prefix: str) -> Iterator[Callable[..., LayeredBackend]]:
    """Makes backends that share Redis, but nothing else: as processes do."""
    made: list[LayeredBackend] = []

    def new(layer: str = "redis", **params: Any) -> LayeredBackend:
        options: dict[str, Any] = {"EDGE": Edge()} | params.pop("OPTIONS", {})
        if layer != "memory":
            options["REDIS"] = {"prefix": prefix, "timeout": 2.0}
        if layer == "redis+memory":
            options["MEMORY_SECONDS"] = 60
        backend = LayeredBackend(
            "" if layer == "memory" else redis_server.url, {"OPTIONS": options, **params}
        )
        made.append(backend)
        assert layer == "memory" or backend.layers.wait_until_synced(30)
        return backend

    yield new
    for backend in made:
        backend.layers.close()


class Edge:
    """Makes settings differ, so that each backend has a cache of its own."""

    def __init__(self) -> None:
        self.groups: list[str] = []

    def purge(self, *, groups: list[str], urls: list[str]) -> str:
        del urls
        self.groups += groups
        return "receipt"


@pytest.fixture(
    params=[
        (layer, driver) for layer in ("memory", "redis", "redis+memory") for driver in ("threads", "tasks")
    ],
    ids="-".join,
)
def backend(request: pytest.FixtureRequest, new_backend: Callable[..., LayeredBackend]) -> Iterator[Any]:
    layer, driver = request.param
    made: Any = new_backend(layer)
    if driver == "tasks":
        made = Tasks(made)
        yield made
        made.stop()
    else:
        yield made


def test_what_is_set_is_got(backend: Any) -> None:
    backend.set("key", "value")
    assert backend.get("key") == "value"
    assert backend.get("other") is None
    assert backend.get("other", "default") == "default"


def test_none_is_a_value(backend: Any) -> None:
    backend.set("key", None)
    assert backend.get("key", "default") is None
    assert backend.has_key("key")
    assert backend.get_or_set("key", "default") is None


def test_what_is_got_is_a_copy(backend: Any) -> None:
    backend.set("key", {"tags": ["a"]})
    backend.get("key")["tags"].append("b")
    assert backend.get("key") == {"tags": ["a"]}


def test_add_stores_only_what_is_not_there(backend: Any) -> None:
    assert backend.add("key", 1) is True
    assert backend.add("key", 2) is False
    assert backend.get("key") == 1
    backend.delete("key")
    assert backend.add("key", 3) is True
    assert backend.get("key") == 3


def test_delete_tells_whether_there_was_something(backend: Any) -> None:
    backend.set("key", 1)
    assert backend.delete("key") is True
    assert backend.delete("key") is False
    assert backend.get("key") is None


def test_clear_forgets_all(backend: Any) -> None:
    backend.set_many({"a": 1, "b": 2})
    backend.clear()
    assert backend.get_many(["a", "b"]) == {}
    assert backend.delete("a") is False
    assert backend.touch("b") is False
    assert backend.add("a", 3) is True
    assert backend.get("a") == 3


def test_has_key_and_in(backend: Any) -> None:
    backend.set("key", False)
    assert backend.has_key("key")
    assert "key" in backend
    assert not backend.has_key("other")
    assert "other" not in backend


def test_incr_and_decr(backend: Any) -> None:
    backend.set("key", 41)
    assert backend.incr("key") == 42
    assert backend.incr("key", 10) == 52
    assert backend.decr("key") == 51
    assert backend.decr("key", 10) == 41
    assert backend.incr("key", -1) == 40
    assert backend.get("key") == 40
    backend.set("large", 1 << 62)
    assert backend.incr("large", 1 << 70) == (1 << 62) + (1 << 70)


@pytest.mark.parametrize("verb", ["incr", "decr", "incr_version", "decr_version"])
def test_what_is_missing_can_not_be_counted(backend: Any, verb: str) -> None:
    with pytest.raises(ValueError, match="not found"):
        getattr(backend, verb)("missing")


def test_a_text_can_not_be_counted(backend: Any) -> None:
    backend.set("key", "text")
    with pytest.raises(TypeError):
        backend.incr("key")
    assert backend.get("key") == "text"


def test_incr_keeps_the_timeout(backend: Any) -> None:
    backend.set("key", 1, LIFETIME)
    backend.incr("key")
    eventually(lambda: backend.get("key") is None)


@pytest.mark.parametrize("timeout", [0, -1, -0.5])
def test_a_timeout_that_is_over_stores_nothing(backend: Any, timeout: float) -> None:
    backend.set("key", 1)
    backend.set("key", 2, timeout)
    assert backend.get("key") is None
    assert backend.set_many({"a": 1}, timeout) == []
    assert backend.get("a") is None
    assert backend.get_or_set("b", lambda: 3, timeout) == 3
    assert backend.get("b") is None
    assert backend.add("c", 1, timeout) is True
    assert backend.get("c") is None
    assert backend.add("c", 2) is True
    assert backend.add("c", 3, timeout) is False
    assert backend.get("c") == 2
    assert backend.touch("c", timeout) is True
    assert backend.get("c") is None
    assert backend.touch("c", timeout) is False


def test_timeouts_end(backend: Any) -> None:
    backend.set("a", 1, LIFETIME)
    backend.set("b", 1, 100)
    backend.set("c", 1, None)
    backend.set("d", 1, 400 * 86_400)
    assert backend.get_many(["a", "b", "c", "d"]) == {"a": 1, "b": 1, "c": 1, "d": 1}
    eventually(lambda: backend.get_many(["a", "b", "c", "d"]) == {"b": 1, "c": 1, "d": 1})


def test_touch_moves_the_end(backend: Any) -> None:
    backend.set("longer", 1, LIFETIME)
    backend.set("shorter", 1, 100)
    backend.set("gone", 1, None)
    assert backend.touch("longer", 100) is True
    assert backend.touch("shorter", LIFETIME) is True
    assert backend.touch("gone", 0) is True
    assert backend.touch("missing") is False
    eventually(lambda: backend.get_many(["longer", "shorter", "gone"]) == {"longer": 1})
    assert backend.touch("longer", None) is True
    assert backend.get_or_set("longer", 2) == 1


def test_many_at_once(backend: Any) -> None:
    assert backend.set_many({"a": 1, "b": None, "c": [3]}) == []
    assert backend.get_many(["a", "b", "c", "d"]) == {"a": 1, "b": None, "c": [3]}
    assert backend.get_many(iter(["a"])) == {"a": 1}
    backend.delete_many(iter(["a", "b", "x"]))
    assert backend.get_many(["a", "b", "c"]) == {"c": [3]}
    assert backend.get_many([]) == {}
    assert backend.set_many({}) == []
    backend.delete_many([])


def test_get_or_set(backend: Any) -> None:
    calls: list[int] = []

    def default() -> str:
        calls.append(1)
        return "made"

    assert backend.get_or_set("key", default) == "made"
    assert backend.get_or_set("key", default) == "made"
    assert backend.get_or_set("plain", 5) == 5
    assert backend.get_or_set("none", lambda: None) is None
    assert backend.get("none", "default") is None
    assert len(calls) == 1


def test_an_error_of_the_default_is_the_callers_and_not_kept(backend: Any) -> None:
    def fail() -> None:
        raise LookupError("no rows")

    with pytest.raises(LookupError):
        backend.get_or_set("key", fail)
    assert backend.get_or_set("key", 1) == 1


def test_versions(backend: Any) -> None:
    backend.set("key", "one")
    backend.set("key", "two", version=2)
    assert backend.get("key") == "one"
    assert backend.get("key", version=2) == "two"
    assert backend.get_many(["key"], version=2) == {"key": "two"}
    assert backend.incr_version("key", 2) == 3
    assert backend.get("key") is None
    assert backend.get("key", version=3) == "one"
    assert backend.decr_version("key", version=3) == 2
    assert backend.get("key", version=2) == "one"


def test_groups(backend: Any) -> None:
    backend.set("a", 1, groups=["product-17"])
    backend.add("b", 1, groups=["product-17", "lamps"])
    backend.get_or_set("c", 1, groups=["product-17"])
    backend.set_many({"d": 1}, groups=["lamps"])
    backend.set("e", 1)
    backend.incr("a")
    receipt = backend.invalidate(groups=["product-17"])
    assert (receipt.in_redis, receipt.edge) == (True, "receipt")
    assert backend.get_many("abcde") == {"d": 1, "e": 1}


@pytest.mark.parametrize(
    "key",
    ["with space", "ünïcode", "line\nfeed", "'quoted", "%41", "long" * 200, "{brace}", ":1:colon"],
)
def test_any_text_is_a_key(backend: Any, key: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CacheKeyWarning)
        backend.set(key, "this one")
        backend.set("'" + key, "another")
        assert backend.get(key) == "this one"
        assert backend.delete(key)
        assert backend.get(key) is None


def test_keys_that_memcached_refuses_are_warned_of(backend: Any) -> None:
    with pytest.warns(CacheKeyWarning):
        backend.set("with space", 1)


def test_prefixes_and_key_functions(new_backend: Callable[..., LayeredBackend]) -> None:
    ours = new_backend(KEY_PREFIX="ours")
    theirs = new_backend(KEY_PREFIX="theirs", VERSION=2)
    upper = new_backend(KEY_FUNCTION=lambda key, prefix, version: f"{prefix}-{version}-{key}".upper())
    for value, each in enumerate((ours, theirs, upper)):
        each.set("key", value)
    assert [each.get("key") for each in (ours, theirs, upper)] == [0, 1, 2]
    assert ours.make_key("key") == "ours:1:key"
    assert upper.get("KEY") == 2


class Size(Enum):
    SMALL = 1


@dataclass
class Price:
    cents: int
    at: datetime


VALUES = [
    *(1, -1, 1 << 80, 1.5, float("inf"), True, "text", "ünïcode", b"\x00", "", None),
    *([1, [2]], {"a": {"b": 1}}, {1: "a", None: "b"}, {(1, 2): "pair", Decimal(1): "one"}),
    *((1, (2,)), {1, 2}, frozenset({"a"}), [], {}, (), set()),
    *(
        Decimal("1.50"),
        UUID(int=7),
        date(2026, 1, 2),
        clock_time(1, 2, 3),
        timedelta(days=-1, microseconds=7),
    ),
    datetime(2026, 1, 2, 3, 4, 5, 6),  # noqa: DTZ001 - Django without time zones has these
    datetime(2026, 1, 2, tzinfo=UTC),
    datetime(2026, 1, 2, tzinfo=timezone(timedelta(hours=2))),
    datetime(2026, 10, 25, 2, 30, tzinfo=ZoneInfo("Europe/Berlin"), fold=1),
    OrderedDict(b=1, a=2),
    [{"at": datetime(2026, 1, 2, tzinfo=UTC), "price": (Decimal("9.95"), "EUR")}],
    *(Size.SMALL, Price(995, datetime(2026, 1, 2, tzinfo=UTC)), [Price(1, datetime(2026, 1, 2, tzinfo=UTC))]),
]


@pytest.fixture(scope="module")
def tagging() -> Tagging:
    return Tagging([Size, Price])


@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_a_value_comes_back_as_itself(tagging: Tagging, value: object) -> None:
    back = tagging.decode(tagging.encode(value))
    assert back == value
    assert type(back) is type(value)
    assert repr(back) == repr(value)


def test_what_an_older_release_wrote_is_read() -> None:
    written = (
        "83a26174c71b0191b9323032362d30312d30325430303a30303a30302b30303a3030"
        "a26f66c70c0b9192d5099101d605a3312e35a26964c71206c41000000000000000000000000000000007"
    )
    assert Tagging().decode(bytes.fromhex(written)) == {
        "at": datetime(2026, 1, 2, tzinfo=UTC),
        "of": {(1,): Decimal("1.5")},
        "id": UUID(int=7),
    }


def test_bytes_that_are_not_ours_are_unreadable_and_nothing_worse(backend: Any) -> None:
    with pytest.raises(UnreadableRecord):
        Tagging().decode(b"\xc7\x01\x63\x00")
    written = Tagging([Size]).encode(Size.SMALL)
    with pytest.raises(UnreadableRecord):
        Tagging().decode(written)
    values = backend._parts.values
    backend._parts.cache.run(values.set_many({values.key(":1:key"): written}, 60))
    assert backend.get("key", "a miss") == "a miss"


@pytest.mark.parametrize(
    ("make", "named"),
    [
        (object, "builtins.object"),
        (lambda: Path("/"), "PosixPath"),
        (lambda: len, "builtin_function"),
        (lambda: [{"deep": {1: Exception("no")}}], "builtins.Exception"),
        (lambda: StreamingHttpResponse(["part"]), "StreamingHttpResponse"),
        (lambda: "\ud800", "isn't Unicode"),
    ],
    ids=["an object", "a path", "a function", "deep inside", "a stream", "half a character"],
)
def test_a_value_that_would_not_come_back_is_refused_by_name(
    backend: Any, make: Callable[[], object], named: str
) -> None:
    value = make()
    backend.set("key", "known")
    with pytest.raises(UnsupportedValue, match=named):
        backend.set("key", value)
    with pytest.raises(UnsupportedValue, match=named):
        backend.get_or_set("other", lambda: value)
    assert backend.get("key") == "known"


def test_or_skipped_where_the_setting_says_so(new_backend: Callable[..., LayeredBackend]) -> None:
    cache = new_backend(OPTIONS={"UNSUPPORTED": "skip"})
    value = Path("/")
    cache.set("key", "known")
    cache.set("key", value)
    assert cache.get("key") is None  # the older value isn't the current one
    assert cache.set_many({"a": value, "b": 1}) == ["a"]
    assert cache.add("key", value) is False
    assert cache.get_or_set("key", lambda: value) is value


def test_declared_types_come_back_as_themselves(new_backend: Callable[..., LayeredBackend]) -> None:
    cache = new_backend(OPTIONS={"TYPES": [f"{__name__}.Price", Size]})
    price = Price(995, datetime(2026, 1, 2, tzinfo=UTC))
    cache.set("price", {"net": price, "size": Size.SMALL})
    assert cache.get("price") == {"net": price, "size": Size.SMALL}


def test_every_verb_works_on_what_is_encrypted(
    new_backend: Callable[..., LayeredBackend], redis_server: RedisServer, prefix: str
) -> None:
    cache = new_backend(OPTIONS={"WRAPPING": Wrapping(seal=Encryption({"one": os.urandom(32)}))})
    cache.set("secret", "not to be read", None)
    with redis_server.client() as client:
        stored: Any = client.get(f"{{{prefix}:0}}e:kv.v1::1:secret")
        assert b"not to be read" not in stored
    cache.set("count", 1, LIFETIME)
    assert cache.incr("count") == 2
    assert cache.touch("count", 100)
    time.sleep(LIFETIME + 0.1)  # its first lifetime
    assert cache.get_many(["secret", "count"]) == {"secret": "not to be read", "count": 2}
    assert not cache.add("count", 3)
    assert cache.get_or_set("count", 3) == 2
    cache.clear()
    assert cache.get("secret") is None


def test_a_safe_text_stays_safe(backend: Any) -> None:
    backend.set("fragment", mark_safe("<b>"))
    assert type(backend.get("fragment")) is SafeString
    backend.set("text", "<b>")
    assert type(backend.get("text")) is str


def test_a_response_comes_back_whole(backend: Any) -> None:
    response = JsonResponse({"id": 17}, status=404, headers={"X-One": "1"})
    response.set_cookie("seen", "a b;c", max_age=60, httponly=True, samesite="Lax")
    backend.set("response", response)
    back = backend.get("response")
    assert type(back) is HttpResponse
    assert (back.status_code, back.reason_phrase, back.content) == (404, "Not Found", b'{"id": 17}')
    assert dict(back.headers) == dict(response.headers)
    assert back.cookies.output() == response.cookies.output()
    assert back["X-One"] == "1"


def test_a_write_is_read_by_others_at_once(new_backend: Callable[..., LayeredBackend]) -> None:
    ours, others = new_backend(), new_backend()
    for number in range(200):
        ours.set("key", number)
        assert others.get("key") == number
        others.delete("key")
        assert ours.get("key") is None


def test_memory_hears_of_writes_by_others(new_backend: Callable[..., LayeredBackend]) -> None:
    ours, others = new_backend("redis+memory"), new_backend("redis+memory")
    verbs: list[tuple[Callable[[], object], object]] = [
        (lambda: others.set("key", 2), 2),
        (lambda: others.incr("key"), 3),
        (lambda: others.delete("key"), None),
        (lambda: others.add("key", 4), 4),
        (others.clear, None),
        (lambda: others.get_or_set("key", 5), 5),
        (lambda: others.touch("key", 0), None),
    ]
    ours.set("key", 1)
    for write, expected in verbs:
        ours.get("key")
        write()
        eventually(lambda expected=expected: ours.get("key") == expected)  # type: ignore[misc]  # a lambda's default


COUNTER = """
import sys
from django.conf import settings
settings.configure(CACHES={"default": {
    "BACKEND": "origin_sdk.layers.django.LayeredBackend",
    "LOCATION": sys.argv[1],
    "OPTIONS": {"REDIS": {"prefix": sys.argv[2], "timeout": 5.0}},
}})
from django.core.cache import cache
print("ready", flush=True)
sys.stdin.readline()
for _ in range(300):
    cache.incr("counter")
print(sum(cache.add(f"lock-{number}", 1) for number in range(300)), flush=True)
"""


def test_processes_count_and_lock_together(
    new_backend: Callable[..., LayeredBackend], redis_server: RedisServer, prefix: str
) -> None:
    cache = new_backend()
    cache.set("counter", 0, None)
    processes = [
        subprocess.Popen(
            (sys.executable, "-c", COUNTER, redis_server.url, prefix),
            cwd=paths.ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(3)
    ]
    for process in processes:
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin
        process.stdin.write("go\n")
        process.stdin.flush()
    locks = [int(process.communicate(timeout=50)[0]) for process in processes]
    assert cache.get("counter") == 900
    assert sum(locks) == 300


def test_threads_of_one_process_count_together_in_memory(new_backend: Callable[..., LayeredBackend]) -> None:
    cache = new_backend("memory")
    cache.set("counter", 0)
    barrier = Barrier(4)

    def count() -> None:
        barrier.wait()
        for _ in range(500):
            cache.incr("counter")

    threads = [Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert cache.get("counter") == 2000


async def test_fifty_tasks_make_one_default(new_backend: Callable[..., LayeredBackend]) -> None:
    cache = new_backend()
    calls = 0

    async def default() -> str:
        nonlocal calls
        calls += 1
        await asyncio.sleep(0.1)
        return "made"

    values = await asyncio.gather(*(cache.aget_or_set("key", default) for _ in range(50)))
    assert (values, calls) == (["made"] * 50, 1)
    assert await cache.aget("key") == "made"


def test_a_request_that_ends_leaves_the_cache_open(backend: Any) -> None:
    backend.set("key", 1)
    backend.close()
    assert backend.get("key") == 1


@pytest.mark.filterwarnings("ignore:This process.*is multi-threaded:DeprecationWarning")
def test_a_forked_process_has_connections_of_its_own(new_backend: Callable[..., LayeredBackend]) -> None:
    cache = new_backend()
    cache.set("key", "before")
    read, write = os.pipe()
    child = os.fork()
    if not child:
        answer = b"failed"
        try:
            cache.set("child", "here")
            answer = str(cache.get("key")).encode()
        finally:
            os.write(write, answer)
            os._exit(0)
    for number in range(200):
        cache.set("number", number)
        assert cache.get("number") == number
    assert os.read(read, 100) == b"before"
    os.waitpid(child, 0)
    os.close(read)
    os.close(write)
    assert cache.get("child") == "here"


@pytest.mark.parametrize("driver", ["threads", "tasks"])
def test_without_redis_nothing_fails_and_nothing_waits(tmp_path: Path, driver: str) -> None:
    with RedisServer(tmp_path / "redis") as server:
        inner = LayeredBackend(server.url, {"OPTIONS": {"REDIS": {"prefix": f"gone-{driver}"}}})
        cache: Any = Tasks(inner) if driver == "tasks" else inner
        assert inner.layers.wait_until_synced(30)
        cache.set("key", "old")
        cache.set("count", 1)
        server.freeze()
        slowest = 0.0
        verbs: list[Callable[[], object]] = [
            lambda: cache.get("key", "default") == "default",
            lambda: cache.set("key", "new") is None,
            lambda: cache.set_many({"a": 1}) == ["a"],
            lambda: cache.get_many(["key"]) == {},
            lambda: cache.add("lock", 1) is False,
            lambda: cache.touch("key") is False,
            lambda: cache.delete("count") is False,
            lambda: cache.has_key("key") is False,
            lambda: cache.get_or_set("other", lambda: 5) == 5,
            lambda: cache.clear() is None,
            lambda: cache.invalidate(groups=["g"]).in_redis is False,
        ]
        for verb in verbs:
            with Stopwatch() as watch:
                assert verb()
            slowest = max(slowest, watch.seconds)
        with pytest.raises(ValueError, match="not found"):
            cache.incr("count")
        assert slowest < 0.4
        server.thaw()
        eventually(lambda: bool(inner.layers.link.is_up) and not inner.layers.link.owed)  # type: ignore[union-attr]  # a link
        assert cache.get("key") is None  # what was set meanwhile is lost, and so is what it replaced
        cache.set("key", "newer")
        assert cache.get("key") == "newer"
        inner.layers.close()
        if driver == "tasks":
            cache.stop()


@pytest.mark.parametrize(
    ("location", "params", "message"),
    [
        (["redis://a", "redis://b"], {}, "one URL is needed"),
        ("memcache://a", {}, "memcache"),
        ("", {"OPTIONS": {"TIMEOUT": 3}}, "known are REDIS, EDGE"),
        ("", {"OPTIONS": {"UNSUPPORTED": "pickle"}}, "'raise' or 'skip'"),
        ("redis://a", {"OPTIONS": {"REDIS": {"port": 1}}}, "port"),
        ("", {"OPTIONS": {"EDGE": "nowhere.to_be_found"}}, "nowhere"),
    ],
)
def test_settings_that_can_not_be_are_refused(location: Any, params: dict[str, Any], message: str) -> None:
    with pytest.raises(ImproperlyConfigured, match=message):
        LayeredBackend(location, params)
