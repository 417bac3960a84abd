"""What answers isn't quite a Redis: a reply of another type counts as none, whoever reads it."""

import socket
from collections.abc import Callable, Iterator
from contextlib import suppress
from threading import Thread
from typing import Any

import pytest

from origin_sdk.layers import Family, RedisOptions
from origin_sdk.layers.redis import scripts, structure_scripts
from origin_sdk.layers.redis.lua import Script
from origin_sdk.layers.redis.reply_shapes import SHAPES
from tests.layers.caches import make
from tests.layers.servers import PATIENT_SECONDS

REPLIES = {
    "nil": b"_\r\n",
    "an integer": b":17\r\n",
    "a text": b"$3\r\nyes\r\n",
    "an empty list": b"*0\r\n",
    "a list of nil": b"*2\r\n_\r\n_\r\n",
    "a list of texts": b"*2\r\n$1\r\nx\r\n$1\r\ny\r\n",
    "a nested list": b"*1\r\n*1\r\n$1\r\n1\r\n",
    "a map": b"%1\r\n$1\r\na\r\n:1\r\n",
    "a boolean": b"#t\r\n",
}
VALUES = Family("value", "{id}", str, groups=("all",))
PARTS = Family("parts", "{id}", dict[str, int], kept_as="hash", groups=("all",))


class Imposter:
    """Greets as Redis does, and answers whatever else it is asked with one reply."""

    def __init__(self, reply: bytes) -> None:
        self._reply = reply
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._open: list[socket.socket] = []
        self.port = self._listener.getsockname()[1]
        Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                self._open.append(connection)
                Thread(target=self._answer, args=(connection,), daemon=True).start()

    def _answer(self, connection: socket.socket) -> None:
        with suppress(OSError, ValueError), connection.makefile("rb") as asked:
            while line := asked.readline():
                words = []
                for _ in range(int(line[1:])):
                    size = int(asked.readline()[1:])
                    words.append(asked.read(size + 2)[:-2])
                connection.sendall(self._to(words))

    def _to(self, words: list[bytes]) -> bytes:
        match words[0].upper():
            case b"HELLO":
                return b"%2\r\n$5\r\nproto\r\n:3\r\n$7\r\nversion\r\n$5\r\n7.4.0\r\n"
            case b"CLIENT" | b"SELECT":
                return b"+OK\r\n"
            case b"SUBSCRIBE":
                return b"".join(
                    b">3\r\n$9\r\nsubscribe\r\n$%d\r\n%b\r\n:1\r\n" % (len(word), word) for word in words[1:]
                )
        return self._reply

    def close(self) -> None:
        for each in (self._listener, *self._open):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()


@pytest.fixture(params=list(REPLIES.values()), ids=list(REPLIES))
def imposter(request: pytest.FixtureRequest) -> Iterator[Imposter]:
    made = Imposter(request.param)
    yield made
    made.close()


USES: dict[str, tuple[Callable[[Any], object], object]] = {
    "get": (lambda cache: cache.get(VALUES.key(id=1)), None),
    "get_or_load": (lambda cache: cache.get_or_load(VALUES.key(id=2), lambda _: "new"), "new"),
    "get_many_or_load": (
        lambda cache: list(
            cache.get_many_or_load(
                [VALUES.key(id=number) for number in (3, 4)], lambda keys: dict.fromkeys(keys, "new")
            ).values()
        ),
        ["new", "new"],
    ),
    "refresh": (lambda cache: cache.refresh(VALUES.key(id=5), lambda _: "new"), "new"),
    "set": (lambda cache: cache.set(VALUES.key(id=6), "new"), None),
    "delete": (lambda cache: cache.delete(VALUES.key(id=6)), None),
    "a whole structure": (lambda cache: cache.get_or_load(PARTS.key(id=7), lambda _: {"a": 1}), {"a": 1}),
    "invalidate": (lambda cache: cache.invalidate(groups=["all"]).in_redis, False),
}


@pytest.mark.parametrize("driver", ["sync", "async"])
def test_no_call_fails_by_a_reply_of_another_type(driver: str, imposter: Imposter) -> None:
    options = RedisOptions(url=f"redis://127.0.0.1:{imposter.port}", timeout=PATIENT_SECONDS)
    cache = make(driver, options)
    link: Any = cache.link
    link.trip = lambda *_: None  # so that callers ask it all the same
    try:
        for name, (use, answer) in USES.items():
            assert (name, use(cache)) == (name, answer)
            assert all(link.up)
    finally:
        cache.close()


def test_each_script_says_what_its_reply_is() -> None:
    known = {
        each.name
        for room in (scripts, structure_scripts)
        for each in vars(room).values()
        if isinstance(each, Script)
    }
    assert known | {"GET", "MGET"} == set(SHAPES)
