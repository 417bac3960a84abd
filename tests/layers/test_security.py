"""Redis as managed services run it: TLS, clients' certificates, ACL users; and what is said if that fails."""

import logging
import re
import socket
import ssl
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from threading import Thread
from typing import Any
from uuid import uuid4

import pytest

from origin_sdk.layers import Family, RedisOptions
from origin_sdk.layers.django.shared_cache import SharedCache
from origin_sdk.layers.key_value import KeyValue
from origin_sdk.layers.process.moments import Moments
from origin_sdk.layers.process.stats import Stats
from origin_sdk.layers.redis.link import Link
from origin_sdk.testing import ManualClock
from scripts.runtime import paths
from tests.layers.caches import make
from tests.layers.certificates import Secured
from tests.layers.servers import ClusterOfSix, RedisServer, SentinelSet
from tests.layers.test_breakdowns import eventually
from tests.layers.test_contract import Source

FAMILY = Family("product", "{id}", str, groups=("product-{id}",))
DOCS = " ".join((paths.ROOT / "docs" / "layers.md").read_text().split())


def documented(whose: str) -> str:
    """Return the rights that the documentation says somebody needs."""
    found = re.search(rf"{whose} needs ((?:`[^`]*`(?:, | and )?)+)", DOCS)
    assert found, whose
    return " ".join(re.findall("`([^`]*)`", found[1])).replace("PREFIX", "app")


RIGHTS = documented("An ACL user")
CLUSTER_RIGHTS = documented("in a cluster it also")
SENTINEL_RIGHTS = documented("at sentinels it")


def users(folder: Path, rights: str) -> tuple[str, ...]:
    """Return what a server is started with that has a user with these rights, and one for everything."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "users.acl"
    file.write_text(f"user default on nopass ~* &* +@all\nuser cache on >secret {rights}\n")
    return ("--aclfile", str(file))


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Secured:
    return Secured.make(tmp_path_factory.mktemp("certificates"))


class Place:
    """Redis that takes a client's certificate and the rights of the documentation alone."""

    def __init__(self, kind: str, folder: Path, secured: Secured) -> None:
        self.arguments: dict[str, Any] = {}
        self.running: Any
        match kind:
            case "single":
                self.running = RedisServer(folder, *users(folder, RIGHTS), secured=secured)
                self.servers = [self.running]
            case "sentinel":
                self.running = SentinelSet(
                    folder,
                    *users(folder, RIGHTS),
                    secured=secured,
                    rights=SENTINEL_RIGHTS,
                    is_steady=True,
                )
                self.servers = [self.running.primary]
                account = {"username": "cache", "password": "secret"}
                self.arguments = {"sentinel_arguments": {"ssl": True, **account, **secured.of_client}}
            case _:
                self.running = ClusterOfSix(
                    folder, *users(folder, f"{RIGHTS} {CLUSTER_RIGHTS}"), secured=secured, is_steady=True
                )
                self.servers = self.running.nodes
        self.options = RedisOptions(
            url=self.running.url.replace("://", "://cache:secret@"),
            prefix="app",
            timeout=10,  # a handshake for each node, on a busy machine; what isn't done in time isn't stored
            arguments=secured.of_client,
            wait_replicas=0 if kind == "single" else 1,
            **self.arguments,
        )


@pytest.fixture(scope="module", params=["single", "sentinel", "cluster"])
def place(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, secured: Secured
) -> Iterator[Place]:
    made = Place(request.param, tmp_path_factory.mktemp(request.param), secured)
    yield made
    made.running.stop()


def do_everything(cache: Any, driver: str) -> None:
    """Use every command and script of the layers."""
    keys = [FAMILY.key(id=f"{driver}-{number}") for number in range(40)]
    for key in keys[:20]:
        assert cache.get_or_load(key, Source("a")) == "a"
    cache.get_many_or_load(keys, lambda missing: dict.fromkeys(missing, "a"))
    cache.memory.clear()
    assert cache.get(keys[0]) == "a"
    assert len(cache.get_many_or_load(keys, lambda missing: dict.fromkeys(missing, "b"))) == 40
    cache.set(keys[1], "b")
    cache.delete(keys[2])
    with pytest.raises(LookupError):
        cache.get_or_load(keys[2], Source(LookupError("no rows")))
    assert cache.refresh(keys[3], Source("c")) == "c"
    assert cache.invalidate(groups=[f"product-{driver}-4"]).in_redis
    eventually(lambda: cache.invalidate(groups=[]).in_replicas != 0)  # once replicas are there


@pytest.mark.parametrize("driver", ["sync", "async"])
def test_a_client_with_certificate_and_these_rights_can_do_everything(place: Place, driver: str) -> None:
    with make(driver, place.options) as cache, make(driver, place.options) as other:
        assert cache.wait_until_synced(10)
        assert other.wait_until_synced(10)
        do_everything(cache, driver)
        other.set(FAMILY.key(id=5), "d")
        eventually(lambda: cache.get(FAMILY.key(id=5)) == "d")
        assert cache.stats.counts["redis-error", ""] == 0
        assert protocols(place.servers) == {"3"}


def protocols(servers: list[RedisServer]) -> set[str]:
    """Return the versions of Redis's protocol that the user's connections speak."""
    spoken: set[str] = set()
    for server in servers:
        with server.client() as client:
            listed: Any = client.client_list()
            spoken |= {each["resp"] for each in listed if each["user"] == "cache"}
    return spoken


def test_so_can_what_is_behind_django(place: Place) -> None:
    with SharedCache(place.options) as cache:
        assert cache.wait_until_synced(10)
        values = KeyValue(cache)
        key = values.key("key")
        assert cache.run(values.add(key, b"1", 60))
        assert cache.run(values.change(key, lambda data: data + b"1")) == b"11"
        assert cache.run(values.touch(key, 60))
        assert cache.run(values.get_many([key])) == {key: b"11"}
        assert cache.run(values.delete_many([key]))
        assert cache.run(values.clear())
        assert cache.stats.counts["redis-error", ""] == 0


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory, secured: Secured) -> Iterator[RedisServer]:
    """A server that wants all there is to want."""
    folder = tmp_path_factory.mktemp("strict")
    lacking = {
        "reader": "-@write",
        "deaf": "-subscribe",
        "mute": "-publish",
        "elsewhere": "resetkeys ~other:*",
    }
    arguments = users(folder, RIGHTS)
    with (folder / "users.acl").open("a") as file:
        file.writelines(f"user {name} on >secret {RIGHTS} {less}\n" for name, less in lacking.items())
    with RedisServer(folder, *arguments, secured=secured) as server:
        yield server


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with RedisServer(tmp_path_factory.mktemp("plain")) as server:
        yield server


OTHERS = "as another authority signed"
WRONG = [
    pytest.param("cache:secret", OTHERS, "isn't trusted", id="an authority that isn't known"),
    pytest.param("cache:secret", "ssl_ca_certs", "wants a client's certificate", id="no certificate"),
    pytest.param("cache:wrong", "", "password isn't accepted", id="another password"),
    pytest.param("nobody:secret", "", "password isn't accepted", id="an unknown user"),
    pytest.param("reader:secret", "", "lacks a right", id="no right to write"),
    pytest.param("deaf:secret", "", "lacks a right", id="no right to listen"),
    pytest.param("mute:secret", "", "lacks a right", id="no right to tell others"),
    pytest.param("elsewhere:secret", "", "lacks a right", id="no right to the keys"),
]


@pytest.mark.parametrize("driver", ["sync", "async"])
@pytest.mark.parametrize(("account", "arguments", "remedy"), WRONG)
def test_what_is_wrong_is_said_once_and_calls_are_answered(
    strict: RedisServer,
    secured: Secured,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    driver: str,
    account: str,
    arguments: str,
    remedy: str,
) -> None:
    given = secured.of_client
    if arguments == OTHERS:
        given = Secured.make(tmp_path).of_client
    elif arguments:
        given = {arguments: given[arguments]}
    options = RedisOptions(
        url=strict.url.replace("://", f"://{account}@"), prefix="app", timeout=0.5, arguments=given
    )
    assert_answers_and_says(options, driver, remedy, caplog)


@pytest.mark.parametrize("driver", ["sync", "async"])
def test_a_password_that_is_wanted_and_not_given_is_said(
    plain: RedisServer, caplog: pytest.LogCaptureFixture, driver: str
) -> None:
    with plain.client() as connection:
        connection.config_set("requirepass", "secret")
        try:
            options = RedisOptions(url=plain.url, prefix="app", timeout=0.5)
            assert_answers_and_says(options, driver, "password isn't accepted", caplog)
        finally:
            connection.config_set("requirepass", "")


class Closing:
    """Shakes hands by TLS 1.3 and then, as a server does that misses a certificate, ends the connection."""

    def __init__(self, secured: Secured, *, resets: bool) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(secured.server, secured.server_key)
        self._linger = struct.pack("ii", 1, 0) if resets else None
        self._socket = context.wrap_socket(socket.create_server(("127.0.0.1", 0)), server_side=True)
        self.port = self._socket.getsockname()[1]
        Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except ssl.SSLError:
                continue
            except OSError:
                return
            if self._linger:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, self._linger)
            connection.close()

    def close(self) -> None:
        self._socket.close()


@pytest.mark.parametrize("driver", ["sync", "async"])
@pytest.mark.parametrize("resets", [pytest.param(True, id="resets"), pytest.param(False, id="closes")])
def test_a_server_that_ends_tls_without_an_alert_is_explained(
    secured: Secured, caplog: pytest.LogCaptureFixture, driver: str, *, resets: bool
) -> None:
    with closing(Closing(secured, resets=resets)) as server:
        arguments = {"ssl_ca_certs": secured.of_client["ssl_ca_certs"]}
        options = RedisOptions(
            url=f"rediss://127.0.0.1:{server.port}", prefix="app", timeout=0.5, arguments=arguments
        )
        assert_answers_and_says(options, driver, "wants a client's certificate", caplog)


@pytest.mark.parametrize(
    ("scheme", "arguments", "says"),
    [
        pytest.param("rediss", {}, True, id="TLS without a certificate"),
        pytest.param("rediss", {"ssl_certfile": "client.pem"}, False, id="a certificate is given"),
        pytest.param("redis", {}, False, id="no TLS"),
    ],
)
def test_a_connection_that_is_reset_is_no_riddle_where_a_certificate_may_be_missing(
    caplog: pytest.LogCaptureFixture, scheme: str, arguments: dict[str, str], *, says: bool
) -> None:
    clock = ManualClock()
    options = RedisOptions(url=f"{scheme}://127.0.0.1:1", arguments=arguments)
    link = Link(options, Moments(), clock, Stats())
    link.trip(ConnectionResetError(104, "Connection reset by peer"))
    assert ("wants a client's certificate" in caplog.text) is says
    caplog.clear()
    link.restore(0)
    link.trip(ConnectionResetError(104, "Connection reset by peer"))
    assert "wants a client's certificate" not in caplog.text


@pytest.mark.parametrize("driver", ["sync", "async"])
def test_a_cluster_where_there_is_none_is_said_once(
    plain: RedisServer, caplog: pytest.LogCaptureFixture, driver: str
) -> None:
    options = RedisOptions(url=f"redis+cluster://127.0.0.1:{plain.port}", prefix="app", timeout=0.5)
    assert_answers_and_says(options, driver, "isn't part of a cluster", caplog)


def assert_answers_and_says(
    options: RedisOptions, driver: str, remedy: str, caplog: pytest.LogCaptureFixture
) -> None:
    said: Callable[[], list[str]] = lambda: [  # noqa: E731 - asked again and again
        record.getMessage() for record in caplog.records if remedy in record.getMessage()
    ]
    with caplog.at_level(logging.WARNING), make(driver, options) as cache:
        for _ in range(5):
            key = FAMILY.key(id=uuid4())  # no one's lock is left on it
            assert cache.get_or_load(key, Source("a")) == "a"
            cache.set(key, "b")
            # What Redis refuses halfway leaves doubt, and that counts as invalid.
            assert cache.get(key) in {"b", None}
            cache.invalidate(groups=key.groups)
            assert cache.get(key) is None
        eventually(lambda: bool(said()))
        time.sleep(0.5)  # in which it could be said again
    assert len(said()) == 1


@pytest.mark.parametrize(
    "url",
    [
        "redis://:s3cret@host:6379/0",
        "rediss://user:s3cret@host/0?password=s3cret",
        "redis+sentinel://user:s3cret@one:1,two:2/main",
        "redis+cluster://user:s3%63ret@one:1,two:2",
        "unix://:s3cret@/tmp/redis.sock",
    ],
)
def test_no_secret_of_redis_is_shown(url: str) -> None:
    options = RedisOptions(
        url=url, arguments={"password": "s3cret"}, sentinel_arguments={"ssl_password": "s3cret"}
    )
    for shown in (repr(options), str(options), f"{[options]}"):
        assert "cret" not in shown
        assert "RedisOptions(url=" in shown
