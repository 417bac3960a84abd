"""Open an outbox by a URL, for processes that aren't the service itself."""

from pathlib import Path
from urllib.parse import urlsplit

from origin_sdk.errors import InvalidSettings
from origin_sdk.outbox.ports import Outbox

__all__ = ["open_outbox"]

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
