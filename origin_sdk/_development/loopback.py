"""HTTP servers on this machine, each for as long as a block runs."""

from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

__all__ = ["LoopbackServer", "serving"]


class LoopbackServer(ThreadingHTTPServer):
    """A server whose threads don't keep the process alive."""

    daemon_threads = True
    request_queue_size = 128  # a connection that finds the queue full waits for a second


@contextmanager
def serving(
    handler: type[BaseHTTPRequestHandler], server: type[LoopbackServer] = LoopbackServer
) -> Iterator[str]:
    """Serve on a free port of 127.0.0.1, and yield the URL without a path."""
    with server(("127.0.0.1", 0), handler) as made:
        thread = Thread(target=made.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{made.server_port}"
        finally:
            made.shutdown()
            thread.join()
