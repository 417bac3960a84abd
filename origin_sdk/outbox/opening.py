"""Open an outbox by a URL, for processes that aren't the service itself."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from origin_sdk.errors import InvalidSettings
from origin_sdk.outbox.ports import Outbox

if TYPE_CHECKING:
    from origin_sdk.layers import LayeredCache

__all__ = ["open_layers", "open_outbox"]

_LAYER_SECONDS = 2.0
"""How long Redis is waited for: no request waits for a drainer."""

# ruff: noqa: PLC0415 - each kind needs an extra that the others don't


def open_outbox(url: str) -> Outbox:
    """Open ``sqlite:///file``, ``postgresql://…``, ``redis://…?stream=name`` or ``django``.

    Raises :class:`InvalidSettings` for what can't be opened.
    """
    scheme = urlsplit(url).scheme
    try:
        if scheme == "sqlite":
            from origin_sdk.outbox.sqlite import SqliteOutbox

            return SqliteOutbox(Path(url.removeprefix("sqlite:///")))
        if scheme.startswith("postgresql"):
            from sqlalchemy import create_engine, make_url

            from origin_sdk.outbox.sqlalchemy import SqlAlchemyOutbox

            engine = create_engine(make_url(url).set(drivername="postgresql+psycopg"))
            return SqlAlchemyOutbox(engine, is_own=True)
        if scheme in {"redis", "rediss"}:
            from origin_sdk.outbox.redis import RedisOutbox

            return RedisOutbox.from_url(url)
        if url == "django":
            import django

            django.setup()
            from origin_sdk.outbox.django.store import DjangoOutbox

            return DjangoOutbox()
    except ModuleNotFoundError as error:
        raise InvalidSettings(
            f"{error.name} is missing: pip install 'origin-sdk[sqlalchemy,postgres]', or [redis], or [django]"
        ) from error
    raise InvalidSettings(
        f"the outbox {scheme or url!r} isn't known: give sqlite:///file, postgresql://…, redis://… or django"
    )


@contextmanager
def open_layers(url: str | None) -> Iterator[Sequence["LayeredCache"]]:
    """Open the Redis of the services' layered caches, ``redis://…?prefix=name``; nothing without a URL.

    What the services give RedisOptions besides belongs there, too: ``&shards=4``, ``&horizon=86400``. Raises
    :class:`InvalidSettings` for what can't be opened.
    """
    if url is None:
        yield ()
        return
    parts = urlsplit(url)
    query = dict(parse_qsl(parts.query))
    try:
        from origin_sdk.layers import LayeredCache, RedisOptions

        options = RedisOptions(
            prefix=query.pop("prefix"),
            shards=int(query.pop("shards", "0")) or None,
            horizon=float(query.pop("horizon", "86400")),
            timeout=_LAYER_SECONDS,
            url=urlunsplit(parts._replace(query=urlencode(query))),
        )
    except ModuleNotFoundError as error:
        raise InvalidSettings(f"{error.name} is missing: pip install 'origin-sdk[layers]'") from error
    except (KeyError, ValueError) as error:
        raise InvalidSettings(
            f"layers at {parts.hostname} with {parts.query!r}: give the services' prefix, "
            "redis://host/0?prefix=name, and their shards and horizon if they have their own"
        ) from error
    with LayeredCache(options) as layers:
        yield (layers,)
