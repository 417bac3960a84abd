"""What a published body is: its bytes, and the media type that follows from it where nobody gives one.

Without a type a client guesses, and may guess HTML.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any, Final, TypeAlias
from urllib.parse import urlsplit

from origin_sdk._values.errors import InvalidRequest

__all__ = ["MEDIA_TYPES", "OCTETS", "Rendered", "encoded"]

Rendered: TypeAlias = bytes | str | Mapping[str, Any] | Sequence[Any]
"""A body: bytes, text, or what JSON is made of."""

MEDIA_TYPES: Final = {
    ".json": "application/json",
    ".html": "text/html; charset=utf-8",
    ".txt": "text/plain; charset=utf-8",
    ".xml": "application/xml",
    ".csv": "text/csv; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".webp": "image/webp",
    ".msgpack": "application/vnd.msgpack",
}
"""By a table of its own: :mod:`mimetypes` answers differently from machine to machine."""

OCTETS: Final = "application/octet-stream"
"""What browsers save, and never take for a page or a script."""
_HTML_BEGINS = ("<!doctype html", "<html")
_BEGINNING = 1024


def encoded(rendered: Rendered, url: str) -> tuple[bytes, str]:
    """Return a body as bytes with its media type, which is empty for no bytes at all.

    Raises :class:`InvalidRequest` for what can't be JSON.
    """
    if isinstance(rendered, bytes | bytearray | memoryview):
        body = bytes(rendered)
        return body, MEDIA_TYPES.get(_suffix(url)) or _type_of_bytes(body)
    try:
        if isinstance(rendered, str):
            return rendered.encode(), _type_of_str(rendered, url)
        return _json(rendered), MEDIA_TYPES[".json"]
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidRequest(
            f"{url} can't be published: its body, of type {type(rendered).__name__}, can't be "
            f"{'UTF-8' if isinstance(rendered, str) else 'JSON'}: {error}; give bytes or text, and the "
            "Content-Type in headers"
        ) from error


def _json(rendered: object) -> bytes:
    return json.dumps(rendered, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()


def _type_of_str(text: str, url: str) -> str:
    if hasattr(text, "__html__"):  # of a template: Markup, SafeString
        return MEDIA_TYPES[".html"]
    return MEDIA_TYPES.get(_suffix(url)) or _type_of_text(text)


def _suffix(url: str) -> str:
    return PurePosixPath(urlsplit(url).path).suffix.lower()


def _type_of_bytes(body: bytes) -> str:
    try:
        found = _type_of_text(body.decode("utf-8-sig"))
    except UnicodeDecodeError:
        return OCTETS
    if found == MEDIA_TYPES[".txt"]:  # what is no text may look like it
        return OCTETS if body else ""
    return found


def _type_of_text(text: str) -> str:
    beginning = text[:_BEGINNING].lstrip().lower()
    if beginning.startswith(_HTML_BEGINS):
        return MEDIA_TYPES[".html"]
    if beginning.startswith(("{", "[")):
        try:
            json.loads(text)
        except (ValueError, RecursionError):
            return MEDIA_TYPES[".txt"]
        return MEDIA_TYPES[".json"]
    return MEDIA_TYPES[".txt"]
