"""What servers run in the tests of processes: applications with a client made, and used, before any fork."""

import os
from collections.abc import Callable, Iterable
from typing import Any

import celery

from origin_sdk import AsyncPurgeClient, PurgeClient

client = PurgeClient()
async_client = AsyncPurgeClient()
client.purge(groups="before-the-fork")

_StartResponse = Callable[[str, list[tuple[str, str]]], object]


def wsgi(environ: dict[str, Any], start_response: _StartResponse) -> Iterable[bytes]:
    """Purge the group that the path names, and answer with the process's id and the mark written."""
    receipt = client.purge(groups=environ["PATH_INFO"][1:])
    start_response("200 OK", [("content-type", "text/plain")])
    return [f"{os.getpid()} {receipt.marks[0]}".encode()]


async def asgi(scope: dict[str, Any], _receive: object, send: Callable[[dict[str, Any]], Any]) -> None:
    """Do as ``wsgi`` does, in an event loop."""
    if scope["type"] != "http":
        return
    receipt = await async_client.purge(groups=scope["path"][1:])
    body = f"{os.getpid()} {receipt.marks[0]}".encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
    await send({"type": "http.response.body", "body": body})


tasks = celery.Celery("tasks", broker=os.environ.get("BROKER_URL", "memory://"))
tasks.conf.update(broker_connection_retry_on_startup=True, worker_hijack_root_logger=False)


@tasks.task  # type: ignore[untyped-decorator]  # Celery has no types
def purge(group: str) -> None:
    """Purge a group and one that names the process."""
    client.purge(groups=[group, f"by-{os.getpid()}"])
