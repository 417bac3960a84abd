"""Open an outbox by a URL, for processes that aren't the service itself."""

import os
import sqlite3
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from origin_sdk._values.errors import InvalidSettings, OutboxUnavailable
from origin_sdk.outbox._stores.failures import store_errors, without_secrets
from origin_sdk.outbox._stores.ports import Outbox
from origin_sdk.outbox._stores.sql import TABLE

if TYPE_CHECKING:
    from origin_sdk.layers import LayeredCache

__all__ = ["open_layers", "open_outbox"]

_LAYER_SECONDS = 2.0
"""How long Redis is waited for: no request waits for a drainer."""

# ruff: noqa: PLC0415 - each kind needs an extra that the others don't


def open_outbox(url: str) -> Outbox:
    """Open ``sqlite:///file``, ``postgresql://…``, ``redis://…?stream=name`` or ``django``, if it is there.

    An outbox is made by the service that records in it: a process that only looks would make an empty one
    under a misspelled name, and find nothing in it for ever.

    Raises :class:`InvalidSettings` for what can't be opened, :class:`OutboxUnavailable` for a store that
    isn't there or fails.
    """
    scheme, separator, _ = url.partition(":")
    with store_errors(url):
        try:
            if scheme == "sqlite" and separator:
                return _sqlite(url)
            if scheme in {"postgresql", "postgres"} or scheme.startswith("postgresql+"):
                return _postgresql(url)
            if scheme in {"redis", "rediss"}:
                return _redis(url)
            if url == "django":
                return _django()
        except InvalidSettings:
            raise
        except ValueError as error:
            raise InvalidSettings(f"{without_secrets(url)}: not the URL of an outbox: {error}") from error
        except ModuleNotFoundError as error:
            if error.name not in _EXTRAS:
                raise
            raise InvalidSettings(
                f"{error.name} is missing: pip install 'origin-sdk[{_EXTRAS[error.name]}]'"
            ) from error
    raise InvalidSettings(
        f"unknown kind of outbox {scheme or url!r}: give sqlite:///file, postgresql://…, redis://… or django"
    )


_EXTRAS = {
    "sqlalchemy": "sqlalchemy,postgres",
    "psycopg": "sqlalchemy,postgres",
    "redis": "redis",
    "django": "django",
}
"""Which extra brings a module."""


def _sqlite(url: str) -> Outbox:
    from origin_sdk.outbox.sqlite import SqliteOutbox

    name = url.removeprefix("sqlite:///")
    if name == url or not name:
        raise InvalidSettings(
            f"{url}: write sqlite:/// and the file: sqlite:///outbox.db, or sqlite:////var/lib/outbox.db"
        )
    path = Path(name)
    if not path.is_file():
        raise OutboxUnavailable(
            f"{url}: there is no file {path.absolute()}; the service makes it when it first records"
        )
    # Opened for reading first: what only looks must not write a table into a database that has none.
    with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as connection:
        if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = ?", (TABLE,)).fetchall():
            raise OutboxUnavailable(f"{url}: the file has no table {TABLE}: no service records in it")
    return SqliteOutbox(path)


def _postgresql(url: str) -> Outbox:
    from sqlalchemy import create_engine, make_url

    from origin_sdk.outbox.sqlalchemy import SqlAlchemyOutbox

    engine = create_engine(make_url(url).set(drivername="postgresql+psycopg"))
    return SqlAlchemyOutbox(engine, is_own=True)


def _redis(url: str) -> Outbox:
    from redis import Redis

    from origin_sdk.outbox.redis import RedisOutbox, client_and_name

    client, name = client_and_name(url)
    if not Redis.exists(client, f"{{{name}}}"):
        client.close()
        raise OutboxUnavailable(
            f"{without_secrets(url)}: there is no stream {{{name}}}; name the service's with ?stream=name "
            "(it makes the stream when it starts)"
        )
    return RedisOutbox(client, name)


def _django() -> Outbox:
    # A console script's path lacks the folder that it is run in, where manage.py and the settings lie.
    if (folder := str(Path.cwd())) not in sys.path:
        sys.path.insert(0, folder)
    import django
    from django.conf import settings

    module = os.environ.get("DJANGO_SETTINGS_MODULE", "")
    if not (module or settings.configured):
        raise InvalidSettings("DJANGO_SETTINGS_MODULE isn't set: set it, or use `manage.py edge_drain`")
    try:
        django.setup()
    except ImportError as error:
        raise InvalidSettings(
            f"DJANGO_SETTINGS_MODULE = {module!r} can't be loaded: {error}; run this in the project's "
            "folder, or use `manage.py edge_drain`"
        ) from error
    from django.apps import apps

    if not apps.is_installed("origin_sdk.outbox.django"):
        raise InvalidSettings(
            "the outbox isn't installed in Django: add 'origin_sdk.outbox.django' to INSTALLED_APPS, then "
            "`manage.py migrate`"
        )
    from origin_sdk.outbox.django.store import DjangoOutbox

    return DjangoOutbox()


@contextmanager
def open_layers(url: str | None) -> Iterator[Sequence["LayeredCache"]]:
    """Open the Redis of the services' layered caches, ``redis://…?prefix=name``; nothing without a URL.

    What the services give RedisOptions besides belongs there, too: ``&shards=4``, ``&horizon=86400``. Raises
    :class:`InvalidSettings` for what can't be opened.
    """
    if url is None:
        yield ()
        return
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise InvalidSettings(f"the URL of the layers is invalid: {error}") from error
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
