"""A way to a server that can be cut, stalled and slowed down, one connection at a time."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Callable
from threading import Event, Lock, Thread
from typing import Self

__all__ = ["Connection", "Proxy"]

_CHUNK = 1 << 16


class Connection:
    """One client's way to the server."""

    def __init__(
        self, client: socket.socket, server: socket.socket, proxy: Proxy, *, is_stalled: bool
    ) -> None:
        self._client = client
        self._server = server
        self._proxy = proxy
        self._flows = Event()
        if not is_stalled:
            self._flows.set()
        self.subscribes = False
        for source, sink, is_request in ((client, server, True), (server, client, False)):
            Thread(target=self._pump, args=(source, sink, is_request), daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket, is_request: bool) -> None:  # noqa: FBT001 - its own
        with contextlib.suppress(OSError):
            while data := source.recv(_CHUNK):
                if is_request and b"SUBSCRIBE" in data:
                    self.subscribes = True
                if is_request and self._proxy.swallows(data):
                    continue
                if not is_request and (seconds := self._proxy.delays_reply(data)):
                    time.sleep(seconds)
                self._flows.wait()
                sink.sendall(data)
        self.cut()

    def stall(self) -> None:
        """Let nothing through from now on, and say nothing of it."""
        self._flows.clear()

    def resume(self) -> None:
        """Let everything through again, in order."""
        self._flows.set()

    def cut(self) -> None:
        """End it on both sides."""
        self._proxy.forget(self)
        self._flows.set()
        for each in (self._client, self._server):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()


class Proxy:
    """Listens on a port of its own, and passes on what comes to the port of a server."""

    def __init__(self, target: int, port: int = 0) -> None:
        self._target = target
        self._connections: list[Connection] = []
        self._lock = Lock()
        self._listener = socket.create_server(("127.0.0.1", port))
        self.port: int = self._listener.getsockname()[1]
        self.delays_reply: Callable[[bytes], float] = lambda _: 0.0
        """Says for how many seconds a reply is kept back."""
        self.swallows: Callable[[bytes], bool] = lambda _: False
        """Says which requests never arrive."""
        self.stalls_new = False
        """Whether new connections are stalled from the beginning."""
        Thread(target=self._serve, daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            try:
                server = socket.create_connection(("127.0.0.1", self._target), timeout=2)
            except OSError:
                client.close()
                continue
            server.settimeout(None)
            for each in (client, server):
                each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            # Stalled before its first byte, and listed before anyone looks: nothing gets around a freeze.
            with self._lock:
                connection = Connection(client, server, self, is_stalled=self.stalls_new)
                self._connections.append(connection)

    def lead_to(self, target: int) -> None:
        """Pass on to another port from now on: that of a server that was started again."""
        self._target = target

    @property
    def connections(self) -> list[Connection]:
        """Those that are open."""
        with self._lock:
            return list(self._connections)

    def freeze(self, *, spares_subscriptions: bool = False) -> None:
        """Let nothing through any more, but subscriptions if they are spared."""
        self.stalls_new = True
        for each in self.connections:
            if not (spares_subscriptions and each.subscribes):
                each.stall()

    def thaw(self) -> None:
        """Let everything through again."""
        self.stalls_new = False
        for each in self.connections:
            each.resume()

    def forget(self, connection: Connection) -> None:
        """Leave out a connection that has ended."""
        with self._lock, contextlib.suppress(ValueError):
            self._connections.remove(connection)

    def close(self) -> None:
        """Cut all, and listen no more."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for each in self.connections:
            each.cut()
