"""`origin-sdk publish`."""

import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from origin_sdk._edge.client import PurgeClient
from origin_sdk._edge.options import PublishArguments
from origin_sdk._edge.publication import Published
from origin_sdk._values.errors import InvalidRequest
from origin_sdk._values.media_types import MEDIA_TYPES
from origin_sdk.cli.context import (
    AsJson,
    BaseUrl,
    ConfigFile,
    Context,
    Environment,
    NamespaceId,
    interruptible,
)
from origin_sdk.cli.requests import Content, Method, RequestHeaders, content_of, fields_of
from origin_sdk.cli.screen import Screen, counted

__all__ = ["publish"]

Headers = Annotated[
    list[str] | None, typer.Option("--header", "-H", help="A response field, 'Name: value'. Repeatable.")
]
Groups = Annotated[
    list[str] | None, typer.Option("--group", help="A group that the response belongs to. Repeatable.")
]
Status = Annotated[int, typer.Option("--status", help="The status code.")]
Born = Annotated[
    datetime | None,
    typer.Option(
        "--born",
        help="When rendering began, in UTC: a purge since then wins. Default: when FILE was last changed.",
    ),
]


def publish(
    url: Annotated[str, typer.Argument(help="The URL to store it under.")],
    file: Annotated[str, typer.Argument(help="The body; - for standard input.")],
    headers: Headers = None,
    groups: Groups = None,
    status: Status = 200,
    request_headers: RequestHeaders = None,
    method: Method = "GET",
    content: Content = None,
    born: Born = None,
    config: ConfigFile = None,
    environment: Environment = "",
    namespace_id: NamespaceId = None,
    base_url: BaseUrl = None,
    as_json: AsJson = False,
) -> None:
    r"""Store a response at the edge before anyone requests it: update instead of purge.

    The Content-Type follows from FILE's name where no --header gives it. A purge since FILE was last changed
    wins: --born says otherwise.

        origin-sdk publish https://api.example.com/menu menu.json \
          -H 'Cache-Control: max-age=600' --group menu
    """
    context = Context(config, environment, namespace_id, base_url, as_json)
    with context.client() as client:
        body, changed = _body(file, client)
        arguments = PublishArguments(
            status=status,
            headers=_typed(fields_of(headers), file),
            groups=groups or (),
            request_headers=fields_of(request_headers),
            method=method,
            content=content_of(content),
            born=born.replace(tzinfo=UTC) if born else changed,
        )
        with interruptible(lambda: f"it isn't known whether {url} is published; publish it again"):
            published = client.publish(url, body, **arguments)
    context.show(published.as_json(), lambda screen: _draw(screen, published))


def _body(file: str, client: PurgeClient) -> tuple[bytes, datetime]:
    """Return the body and the moment before which it was rendered."""
    if file == "-":
        began = client.now()
        return sys.stdin.buffer.read(), began
    try:
        path = Path(file)
        return path.read_bytes(), datetime.fromtimestamp(path.stat().st_mtime, UTC)
    except OSError as error:
        raise InvalidRequest(f"{file}: can't be read: {error.strerror or error}") from error


def _typed(fields: dict[str, str], file: str) -> dict[str, str]:
    """Return the fields with a Content-Type: a client guesses where there is none, and may guess HTML."""
    if "content-type" in {name.lower() for name in fields}:
        return fields
    media_type = MEDIA_TYPES.get(Path(file).suffix.lower())
    if media_type is None:
        raise InvalidRequest(
            f"{'standard input' if file == '-' else file}: its name doesn't tell the media type; "
            "pass one, such as -H 'Content-Type: application/json'"
        )
    return {**fields, "Content-Type": media_type}


def _draw(screen: Screen, published: Published) -> None:
    screen.print(f"Published {published.url}", style="green")
    screen.row("key", published.key)
    screen.row("fresh for", f"{published.fresh_seconds} s, kept for {published.seconds} s")
    coding = f" ({published.coding})" if published.coding else ""
    requests = counted(published.requests, "request")
    screen.row("stored", f"{published.stored_bytes} bytes{coding} in {requests}")
    screen.row("everywhere", f"by {published.visible_by:%Y-%m-%d %H:%M:%S} UTC")
