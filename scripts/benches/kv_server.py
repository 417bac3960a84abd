"""The APIs that `scripts/bench purge` talks to, in processes of their own, with memory of their own.

`full N GROUP`: the SDK's fake of Cloudflare's KV API over N stored responses of a group.
`least`: always the same answer, at once; what is left is the client's own time.
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections.abc import Sequence

from origin_sdk._process.clock import SystemClock
from origin_sdk.testing import FakeKV
from origin_sdk_wire.record import Record, head_of, metadata_for

__all__ = ["NAMESPACE", "PREFIX", "READY"]

NAMESPACE = "namespace"
PREFIX = "https://shop.example/products"
READY = "serving at "

_WRITTEN = json.dumps(
    {
        "success": True,
        "errors": [],
        "messages": [],
        "result": {"successful_key_count": 1, "unsuccessful_keys": []},
    }
).encode()
_ANSWER = (
    b"HTTP/1.1 200 OK\r\nDate: Mon, 23 Nov 2026 00:00:00 GMT\r\nContent-Type: application/json\r\n"
    b'Ratelimit: "default";r=1199;t=300\r\nContent-Length: %d\r\n\r\n%b' % (len(_WRITTEN), _WRITTEN)
)


def _full(count: int, group: str) -> None:
    fake = FakeKV(SystemClock(), namespace_id=NAMESPACE, rate_limit=10**9)
    head = head_of(Record(200, 1, 1, 0, (("cache-control", "max-age=600"),), (group,), 2048))
    metadata = json.loads(metadata_for(head)[0])
    place = PREFIX.replace("https://", "r1/https/")
    for number in range(count):
        fake.put(f"{place}/{number:07}", b"", metadata)
    with fake.serve() as url:
        print(f"{READY}{url}", flush=True)
        signal.pause()


class _Least(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - a TCP server's
        self._transport = transport
        self._received = b""

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, border, body = self._received.partition(b"\r\n\r\n")
        if not border:
            return
        length = head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0]
        if len(body) >= int(length or 0):
            self._received = b""
            self._transport.write(_ANSWER)


async def _least() -> None:
    server = await asyncio.get_running_loop().create_server(_Least, "127.0.0.1", 0)
    print(f"{READY}http://127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
    await server.serve_forever()


def main(arguments: Sequence[str]) -> None:
    """Serve until a signal comes."""
    match arguments:
        case ["full", count, group]:
            _full(int(count), group)
        case ["least"]:
            asyncio.run(_least())


if __name__ == "__main__":
    main(sys.argv[1:])
