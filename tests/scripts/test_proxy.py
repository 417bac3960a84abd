"""A frozen proxy lets nothing through, however new a connection is."""

import socket
from collections.abc import Iterator
from threading import Thread

import pytest

from scripts.runtime.proxy import Proxy


@pytest.fixture
def echo() -> Iterator[int]:
    """A server that answers with what it is sent."""
    listener = socket.create_server(("127.0.0.1", 0))

    def answer(connection: socket.socket) -> None:
        with connection:
            while data := connection.recv(100):
                connection.sendall(data)

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            Thread(target=answer, args=(connection,), daemon=True).start()

    Thread(target=serve, daemon=True).start()
    yield listener.getsockname()[1]
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()


def test_a_connection_made_while_it_is_frozen_passes_nothing_until_it_thaws(echo: int) -> None:
    with Proxy(echo) as proxy:
        proxy.freeze()
        for _ in range(50):
            with socket.create_connection(("127.0.0.1", proxy.port)) as client:
                client.sendall(b"x")
                client.settimeout(0.02)
                with pytest.raises(TimeoutError):
                    client.recv(1)
        with socket.create_connection(("127.0.0.1", proxy.port)) as client:
            client.sendall(b"x")
            proxy.thaw()
            client.settimeout(20)
            assert client.recv(1) == b"x"
