"""An environment of WSGI that notes what is read of the request."""

from collections.abc import Iterator
from functools import lru_cache
from typing import Any

from origin_sdk._responses.observed import ADDRESS, EVERYTHING, USER, Observed

__all__ = ["ObservedEnviron"]

_WSGI_NEUTRAL = (
    # The request line, the server, and what frameworks leave there for themselves.
    *("CONTENT_LENGTH", "PATH_", "QUERY_STRING", "RAW_URI", "REQUEST_", "SCRIPT_", "SERVER_"),
    *("CSRF_COOKIE_", "flask.", "gunicorn.", "mod_wsgi.", "origin_sdk.", "uwsgi.", "waitress.", "werkzeug."),
    *("wsgi.",),
)
_NAMED_KEYS = {
    "AUTH_TYPE": USER,
    "CONTENT_TYPE": "content-type",
    "CSRF_COOKIE": "cookie",
    "REMOTE_USER": USER,
}


@lru_cache(maxsize=4096)
def _meaning(key: object) -> str:
    """Return what a key of a WSGI environment tells of the client; empty for what is in the cache's key."""
    if not isinstance(key, str) or key.startswith(_WSGI_NEUTRAL):
        return ""
    if key in _NAMED_KEYS:
        return _NAMED_KEYS[key]
    if key.startswith("HTTP_"):
        return key.removeprefix("HTTP_").replace("_", "-").lower()
    return ADDRESS if key.startswith("REMOTE_") else f"environ[{key!r}]"


class ObservedEnviron(dict[str, Any]):
    """A WSGI environment that notes what is looked up; what is set reaches the server's own as well."""

    def __init__(self, environ: dict[str, Any], observed: Observed) -> None:
        super().__init__(environ)
        self._environ = environ
        self.observed = observed

    def _note(self, key: object) -> None:
        if meaning := _meaning(key):
            self.observed.note(meaning)

    def __getitem__(self, key: str) -> Any:
        self._note(key)
        return super().__getitem__(key)

    def get(self, key: str, default: Any = None) -> Any:
        """Return a value, noting that it was looked up."""
        self._note(key)
        return super().get(key, default)

    def __contains__(self, key: object) -> bool:
        self._note(key)
        return super().__contains__(key)

    def __iter__(self) -> Iterator[str]:
        self.observed.note(EVERYTHING)
        return super().__iter__()

    def keys(self) -> Any:
        """Return all keys, noting it."""
        self.observed.note(EVERYTHING)
        return super().keys()

    def values(self) -> Any:
        """Return all values, noting it."""
        self.observed.note(EVERYTHING)
        return super().values()

    def items(self) -> Any:
        """Return everything, noting it."""
        self.observed.note(EVERYTHING)
        return super().items()

    def copy(self) -> dict[str, Any]:
        """Return a plain copy, noting that everything was taken."""
        return dict(self.items())

    def popitem(self) -> tuple[str, Any]:
        """Remove something and return it."""
        self.observed.note(EVERYTHING)
        return super().popitem()

    def __or__(self, other: Any) -> Any:
        return self.copy() | other

    def __eq__(self, other: object) -> bool:
        return self.copy() == other

    __hash__ = None

    def __repr__(self) -> str:
        return repr(self.copy())

    def __reversed__(self) -> Iterator[str]:
        return reversed(self.copy())

    def __setitem__(self, key: str, value: Any) -> None:
        super().__setitem__(key, value)
        self._environ[key] = value

    def __delitem__(self, key: str) -> None:
        super().__delitem__(key)
        self._environ.pop(key, None)

    def setdefault(self, key: str, default: Any = None) -> Any:
        """Return a value that is there, or set it."""
        if key not in self:
            self[key] = default
        return super().__getitem__(key)

    def pop(self, key: str, *default: Any) -> Any:
        """Remove a value and return it."""
        self._note(key)
        self._environ.pop(key, None)
        return super().pop(key, *default)

    def update(self, *others: Any, **more: Any) -> None:
        """Set several values."""
        super().update(*others, **more)
        self._environ.update(*others, **more)
