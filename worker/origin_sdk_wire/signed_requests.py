"""Requests that a client of the purge log signs, and what its key allows.

The Worker takes them under :data:`LOG_PATH` on each of its hosts, by POST, with JSON in the body::

    POST /.edge-cache/log/tell
    Edge-Log-Key: shop
    Edge-Log-Time: 1795744800000
    Edge-Log-Nonce: 1f0c…
    Edge-Log-Signature: 9a41…

The signature is HMAC-SHA256 (RFC 2104), in hexadecimal, with the key's secret, over the lines of
:func:`signed_text`. A request counts for a minute around its time, and its nonce once.
"""

import hashlib
import hmac
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from fnmatch import fnmatchcase
from types import MappingProxyType

from origin_sdk_wire.errors import RefusedRequest
from origin_sdk_wire.marks import scope_of
from origin_sdk_wire.purge_log.entries import LogEntry, Purged

__all__ = [
    "LOG_PATH",
    "MAX_BODY_BYTES",
    "NONCE_BYTES",
    "REQUEST_WINDOW_MS",
    "STATE_PATH",
    "TELL_PATH",
    "VISIBLE_PATH",
    "LogKey",
    "Permission",
    "out_of_scope",
    "parse_keys",
    "sign",
    "signed_text",
    "verify",
]

LOG_PATH = "/.edge-cache/log/"
TELL_PATH = f"{LOG_PATH}tell"
"""Tell the log of entries: ``{"entries": [{"id": …, "at": …, "names": […]}, …]}``."""
VISIBLE_PATH = f"{LOG_PATH}visible"
"""Ask whether all that read honour entries: ``{"ids": […]}``."""
STATE_PATH = f"{LOG_PATH}state"
"""Ask how the log is, and which switches are on: ``{}``."""

REQUEST_WINDOW_MS = 60_000
"""By how much the time of a request may differ from the Worker's."""
NONCE_BYTES = 16
MAX_BODY_BYTES = 256 * 1024

KEY, TIME, NONCE, SIGNATURE = "edge-log-key", "edge-log-time", "edge-log-nonce", "edge-log-signature"
_VERSION = "origin-sdk-log/1"
_NONCE = re.compile(rf"[0-9a-f]{{{2 * NONCE_BYTES}}}")
_TIME = re.compile(r"[0-9]{1,15}")
_MIN_SECRET_BYTES = 32
_EXPECTED = (
    "give a table of keys by their ids, or JSON, such as "
    '{ shop = { secret = "…", may = ["purge"], groups = ["shop-*"] } }'
)


class Permission(StrEnum):
    """What a key may be allowed to do."""

    PURGE = "purge"
    PUBLISH = "publish"
    """Write responses into KV. The Worker has no part in that: the SDK keeps to it."""
    SWITCH = "switch"
    READ = "read"
    """Ask what is visible, and how the log is. Whoever may do another thing may do this, too."""


@dataclass(frozen=True, slots=True)
class LogKey:
    """A key to the log, and its scope.

    Without ``hosts``, ``groups`` and ``prefixes`` it may purge everything; with any, only what these name:
    all of a host, groups by patterns with ``*``, and paths of a host and all below them, such as
    ``api.example.com/shop``. A switch is for the whole cache: only a key without a scope may set one.
    """

    id: str
    secret: str = field(repr=False)
    may: frozenset[Permission] = frozenset(Permission)
    hosts: frozenset[str] = frozenset()
    groups: frozenset[str] = frozenset()
    prefixes: frozenset[str] = frozenset()

    @property
    def is_scoped(self) -> bool:
        """Whether it is for a part of the cache alone."""
        return bool(self.hosts or self.groups or self.prefixes)

    def covers(self, name: str) -> bool:
        """Whether all that the mark of this name covers lies in the scope."""
        scope = scope_of(name)
        if scope is None or not self.is_scoped:
            return scope is not None
        return scope.host in self.hosts or self._has_group(scope.group) or self._has_path(scope.location)

    def _has_group(self, group: str) -> bool:
        return bool(group) and any(fnmatchcase(group, pattern) for pattern in self.groups)

    def _has_path(self, location: str) -> bool:
        path = location.partition("?")[0]
        return bool(path) and any(path == prefix or path.startswith(f"{prefix}/") for prefix in self.prefixes)


# Keys


def parse_keys(given: object) -> Mapping[str, LogKey]:
    """Read the setting ``PURGE_LOG_KEYS``, a table or JSON; raises :class:`ValueError` with the remedy."""
    read = _json(given) if isinstance(given, str) else given
    if not isinstance(read, Mapping):
        raise ValueError(_EXPECTED)  # noqa: TRY004 - one type of error for all settings
    return MappingProxyType({str(key_id): _key(str(key_id), table) for key_id, table in read.items()})


def _key(key_id: str, table: object) -> LogKey:
    if not isinstance(table, Mapping) or not re.fullmatch(r"[A-Za-z0-9._-]{1,64}", key_id):
        raise ValueError(_EXPECTED)
    if unknown := sorted(table.keys() - {"secret", "may", "hosts", "groups", "prefixes"}):
        raise ValueError(f"the key {key_id} has {unknown[0]!r}, which isn't known; {_EXPECTED}")
    secret = table.get("secret")
    if not isinstance(secret, str) or len(secret.encode()) < _MIN_SECRET_BYTES:
        raise ValueError(
            f"the key {key_id} needs a secret of at least {_MIN_SECRET_BYTES} bytes; "
            "openssl rand -base64 32 makes one"
        )
    may = _names(key_id, table, "may")
    if unknown := sorted(may - frozenset(Permission)):
        raise ValueError(
            f"the key {key_id} may {unknown[0]!r}, which is no permission: give some of "
            f"{', '.join(Permission)}"
        )
    permissions = frozenset(map(Permission, may)) | {Permission.READ} if may else frozenset(Permission)
    prefixes = frozenset(prefix.rstrip("/") for prefix in _names(key_id, table, "prefixes"))
    hosts, groups = _names(key_id, table, "hosts"), _names(key_id, table, "groups")
    return LogKey(key_id, secret, permissions, hosts, groups, prefixes)


def _names(key_id: str, table: Mapping[str, object], member: str) -> frozenset[str]:
    given = table.get(member, [])
    if not isinstance(given, list | tuple) or not all(isinstance(name, str) and name for name in given):
        raise ValueError(f"the key {key_id} has {member} that isn't a list of strings")
    if member in table and not given:
        raise ValueError(f"the key {key_id} has no {member}: leave {member} out, or name some")
    return frozenset(given)


def _json(text: str) -> object:
    try:
        return json.loads(text) if text.strip() else {}
    except (ValueError, RecursionError):
        return None


# Signatures


def signed_text(method: str, path: str, key_id: str, time_ms: int, nonce: str, body: bytes) -> str:
    """Return what is signed: these in lines, and SHA-256 of the body in hexadecimal."""
    body_digest = hashlib.sha256(body).hexdigest()
    return "\n".join((_VERSION, method, path, key_id, str(time_ms), nonce, body_digest))


def sign(key: LogKey, path: str, body: bytes, time_ms: int, nonce: str) -> dict[str, str]:
    """Return the request fields of a POST to ``path``; ``nonce`` is 32 random digits, hexadecimal."""
    text = signed_text("POST", path, key.id, time_ms, nonce, body)
    return {KEY: key.id, TIME: str(time_ms), NONCE: nonce, SIGNATURE: _hmac(key.secret, text)}


def verify(
    keys: Mapping[str, LogKey], path: str, fields: Mapping[str, str], body: bytes, now_ms: int
) -> tuple[LogKey, str]:
    """Return the key that signed a POST, and its nonce, which may not have been used before.

    ``fields`` are in lower case. Raises :class:`RefusedRequest`, which tells nobody whether a key exists.
    """
    time, nonce = fields.get(TIME, ""), fields.get(NONCE, "")
    if len(body) > MAX_BODY_BYTES:
        raise RefusedRequest(f"The body has more than {MAX_BODY_BYTES} bytes: send several.")
    if not (_TIME.fullmatch(time) and _NONCE.fullmatch(nonce)):
        raise RefusedRequest("The request has no signature, or an incomplete one: see docs/wire-format.md.")
    key_id = fields.get(KEY, "")
    key = keys.get(key_id) or LogKey(key_id, "")
    expected = _hmac(key.secret, signed_text("POST", path, key_id, int(time), nonce, body))
    given = fields.get(SIGNATURE, "").encode("utf-8", "replace")
    if not hmac.compare_digest(expected.encode(), given) or not key.secret:
        raise RefusedRequest("The signature matches no key in PURGE_LOG_KEYS.")
    if abs(int(time) - now_ms) > REQUEST_WINDOW_MS:
        raise RefusedRequest(
            f"The request's time is {int(time) - now_ms} ms off: correct the sender's clock."
        )
    return key, nonce


def out_of_scope(key: LogKey, entries: list[LogEntry]) -> Iterator[str]:
    """Say of each entry that a key may not tell of why it may not."""
    for entry in entries:
        if not isinstance(entry, Purged):
            if Permission.SWITCH not in key.may or key.is_scoped:
                yield f"{entry.id}: the key {key.id} may set no switches"
        elif Permission.PURGE not in key.may:
            yield f"{entry.id}: the key {key.id} may not purge"
        else:
            outside = next((name for name in entry.names if not key.covers(name)), None)
            if outside:
                yield f"{entry.id}: {outside} is outside the scope of the key {key.id}"


def _hmac(secret: str, text: str) -> str:
    return hmac.new(secret.encode(), text.encode("utf-8", "replace"), hashlib.sha256).hexdigest()
