"""Opaque API keys: a table of their digests, which says whose each is.

Who reads the table learns no key: a digest is HMAC-SHA256 (RFC 2104), in hexadecimal, of the key with a
secret that isn't in it. ``printf %s "$KEY" | openssl dgst -sha256 -hmac "$API_KEY_TABLE_SECRET"`` makes one.
"""

import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from types import MappingProxyType
from typing import TypeGuard

from origin_sdk_wire.values import ValueKind, from_json, shown_value

__all__ = ["ApiKey", "api_keys", "found_key", "key_digest"]

_DIGEST = re.compile(r"[0-9a-f]{64}")
_TIMES = ("begins", "ends")
_KINDS_OF_TIME = str | int | float | date
_EXAMPLE = '{ "5f0c… (64 digits)" = { tenant = "acme", ends = "2027-06-30" } }'


@dataclass(frozen=True, slots=True)
class ApiKey:
    """Whose a key is, and when it is valid: from ``begins_seconds`` to before ``ends_seconds``."""

    claims: Mapping[str, object] = field(hash=False)
    begins_seconds: float | None = None
    ends_seconds: float | None = None
    is_revoked: bool = False

    def is_current(self, now_seconds: float) -> bool:
        """Whether it is valid now."""
        is_early = self.begins_seconds is not None and now_seconds < self.begins_seconds
        is_over = self.ends_seconds is not None and now_seconds >= self.ends_seconds
        return not (is_early or is_over)


def key_digest(key: str, secret: str) -> str:
    """Return the digest by which the table knows ``key``."""
    return hmac.digest(secret.encode(), key.encode("utf-8", "surrogatepass"), "sha256").hex()


def found_key(key: str, secrets: tuple[str, ...], keys: Mapping[str, ApiKey]) -> ApiKey | None:
    """Return what the table says of ``key`` by any of ``secrets``.

    How long that takes tells nothing of the digests in the table: who doesn't know the secret can't choose
    what they are compared with.
    """
    digests = [key_digest(key, secret) for secret in secrets if secret]
    return next((keys[digest] for digest in digests if digest in keys), None)


def api_keys() -> ValueKind:
    """A table by digest, or JSON: whose each key is, and perhaps when it begins and ends."""
    expects = f"a table of keys by their digests, or JSON, such as {_EXAMPLE}"

    def read(value: object) -> object:
        found = from_json(value) if isinstance(value, str) else value
        if not isinstance(found, Mapping):
            raise ValueError(f"give {expects}")  # noqa: TRY004 - one type of error for all kinds
        for number, digest in enumerate(found, 1):
            if not _DIGEST.fullmatch(str(digest)):
                # By its number: it may be the key itself, which no log is to show.
                raise ValueError(
                    f"entry {number} isn't under the digest of a key: 64 digits, 0 to 9 and a to f; "
                    'printf %s "$KEY" | openssl dgst -sha256 -hmac "$API_KEY_TABLE_SECRET" makes one'
                )
        return MappingProxyType({str(digest): _key(str(digest), entry) for digest, entry in found.items()})

    return ValueKind(expects, read, lambda _: "")


def _key(digest: str, entry: object) -> ApiKey:
    claims = {name: value for name, value in entry.items() if name not in _TIMES} if _is_table(entry) else {}
    if not claims:
        raise ValueError(
            f'{digest[:12]}… doesn\'t say whose it is; write a table such as {{ tenant = "acme" }}'
        )
    begins, ends = (_seconds(digest, name, entry) for name in _TIMES)
    if begins is not None and ends is not None and begins >= ends:
        raise ValueError(f"{digest[:12]}… ends before it begins")
    issued = {} if begins is None else {"iat": begins}
    return ApiKey(MappingProxyType({**claims, **issued}), begins, ends)


def _is_table(entry: object) -> TypeGuard[Mapping[str, object]]:
    return isinstance(entry, Mapping) and all(
        isinstance(name, str) and isinstance(value, _KINDS_OF_TIME if name in _TIMES else str | int | float)
        for name, value in entry.items()
    )


def _seconds(digest: str, name: str, entry: object) -> float | None:
    """Read a day or a moment; without a zone it is of UTC."""
    value = entry.get(name) if isinstance(entry, Mapping) else None
    if value is None:
        return None
    try:
        # A date without quotes in TOML reaches the Worker as a text, and who checks the file as a date.
        moment = datetime.fromisoformat(value.isoformat() if isinstance(value, date) else value)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"{digest[:12]}… has {name} = {shown_value(value)}: give a day or a moment, such as "
            "2027-06-30 or 2027-06-30T12:00:00Z"
        ) from error
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
