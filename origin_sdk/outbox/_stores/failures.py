"""What a store raises, told with its place and the remedy."""

from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit, urlunsplit

from origin_sdk._values.errors import OriginSdkError, OutboxUnavailable

__all__ = ["store_errors", "without_secrets"]

_STORES = ("sqlalchemy.", "sqlite3", "psycopg", "redis.", "django.")
_UNREACHED = "is it running, and is the URL right?"
_REMEDIES = (
    (
        ("no such table", "does not exist", "doesn't exist"),
        "make its table: `manage.py migrate` with Django, Alembic or metadata.create_all with SQLAlchemy",
    ),
    (
        ("readonly database", "unable to open database file"),
        "let this user write to the file and its folder, where SQLite keeps its log",
    ),
    (("file is not a database", "is malformed"), "name the file that the service records in"),
    (("is full", "disk I/O error"), "free some space on its disk; what is recorded is kept"),
    (("is locked",), "see which process holds a transaction on the file open"),
)


@contextmanager
def store_errors(place: str) -> Iterator[None]:
    """Tell what a store raises as :class:`OutboxUnavailable`: where, by its URL or file, and the remedy."""
    try:
        yield
    except Exception as error:
        if isinstance(error, OriginSdkError) or not _is_of_store(error):
            raise
        text = str(getattr(error, "orig", None) or error).strip().partition("\n")[0]
        remedy = next(
            (remedy for signs, remedy in _REMEDIES if any(sign in text for sign in signs)), _UNREACHED
        )
        raise OutboxUnavailable(
            f"{without_secrets(place)}: {type(error).__name__}: {text}; {remedy}"
        ) from error


def _is_of_store(error: Exception) -> bool:
    return any(f"{kind.__module__}.".startswith(_STORES) for kind in type(error).__mro__)


def without_secrets(url: str) -> str:
    """Return an outbox's URL without its password, as it may be shown."""
    try:
        parts = urlsplit(url)
        _, at, place = parts.netloc.rpartition("@")
    except ValueError:
        return url.partition(":")[0] + ":…"
    return urlunsplit(parts._replace(netloc=f"…@{place}" if at else place)) if place else url
