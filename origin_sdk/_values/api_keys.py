"""API keys in KV, as callers give them and as they are listed."""

import json
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Self

from origin_sdk._values.arguments import check_type
from origin_sdk._values.errors import InvalidRequest
from origin_sdk_wire.api_keys import key_digest
from origin_sdk_wire.key_entries import KeyEntry, is_claim
from origin_sdk_wire.strict_json import strictly_read

__all__ = [
    "ApiKeysReceipt",
    "NewApiKey",
    "StoredApiKey",
    "has_claims",
    "new_key_of",
    "parse_moment",
    "require_sent",
    "shown_claim",
]

_DIGEST = re.compile(r"[0-9a-f]{64}")
_MOST_CHARACTERS = 1024
"""Of a key: the Worker looks for no longer one."""
_RANDOM_BYTES = 32
_MAX_CLAIM_BYTES = 400
"""Of the claims of a key, as JSON in ASCII: what KV's metadata hold beside all else."""
_RESERVED = frozenset({"begins", "digest", "ends", "iat", "key"})


@dataclass(frozen=True, slots=True)
class NewApiKey:
    """A key to be added, and what is said of its owner: what rules name in ``key_claims``.

    Either the ``key`` itself or its ``digest``, as ``API_KEY_TABLE`` has it; :meth:`generated` makes a key.
    It is valid from ``begins`` to before ``ends``.
    """

    claims: Mapping[str, str | int]
    key: str = field(default="", repr=False)
    digest: str = ""
    begins: datetime | None = None
    ends: datetime | None = None

    def __post_init__(self) -> None:
        """Raise :class:`InvalidRequest` for what can't be added; its message shows no key."""
        for name in ("key", "digest"):
            check_type(name, getattr(self, name), str, "a text")
        if bool(self.key) == bool(self.digest):
            raise InvalidRequest("give either the key or its digest; NewApiKey.generated(claims) makes a key")
        if self.digest and not _DIGEST.fullmatch(self.digest):
            raise InvalidRequest("the digest isn't one: it has 64 digits, 0 to 9 and a to f")
        if self.key:
            require_sent(self.key)
        _check_claims(self.claims)
        for name in ("begins", "ends"):
            moment = getattr(self, name)
            if moment is None:
                continue
            check_type(name, moment, datetime, "a datetime with a time zone")
            if moment.tzinfo is None:
                raise InvalidRequest(f"{name} = {moment}: has no time zone; give one, such as +00:00")
        if self.begins and self.ends and self.begins >= self.ends:
            raise InvalidRequest(f"ends = {self.ends}: is not after begins = {self.begins}; swap them")

    @classmethod
    def generated(
        cls,
        claims: Mapping[str, str | int],
        *,
        begins: datetime | None = None,
        ends: datetime | None = None,
    ) -> Self:
        """Make a key of 32 random bytes. Hand ``key`` to its owner: nothing can show it again."""
        key = secrets.token_urlsafe(_RANDOM_BYTES)
        while not key[0].isalnum():  # else it looks like an option where it is given to a command
            key = secrets.token_urlsafe(_RANDOM_BYTES)
        return cls(claims, key, begins=begins, ends=ends)

    def digest_by(self, secret: str) -> str:
        """Return the digest by which KV knows the key."""
        return self.digest or key_digest(self.key, secret)

    def entry(self, at_ms: int, by: str, why: str) -> KeyEntry:
        """Return its entry in KV."""
        moments = (self.begins, self.ends)
        begins, ends = (None if each is None else round(each.timestamp() * 1000) for each in moments)
        return KeyEntry(self.claims, at_ms, begins, ends, by=by, why=why)


@dataclass(frozen=True, slots=True)
class StoredApiKey:
    """A key that KV knows, by its digest. ``by`` and ``why`` tell of the last change.

    ``is_forged`` says that its entry can't be read, or that nobody wrote it who has the keys of the store:
    the Worker doesn't count it.
    """

    digest: str
    claims: Mapping[str, object]
    added: datetime | None = None
    begins: datetime | None = None
    ends: datetime | None = None
    revoked: datetime | None = None
    by: str = ""
    why: str = ""
    is_forged: bool = False

    def state(self, now: datetime) -> str:
        """Return ``valid``, or why it isn't."""
        if self.is_forged:
            return "forged"
        if self.revoked:
            return "revoked"
        if self.begins and now < self.begins:
            return "not begun"
        return "over" if self.ends and now >= self.ends else "valid"

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON types."""
        values = {name: getattr(self, name) for name in self.__slots__}
        for name in ("added", "begins", "ends", "revoked"):
            values[name] = values[name].isoformat() if values[name] else None
        return {**values, "claims": dict(self.claims)}


@dataclass(frozen=True, slots=True)
class ApiKeysReceipt:
    """What was done to keys. Every location goes by it after ``visible_by``.

    ``added``, ``changed`` and ``revoked`` are the digests of what was written; ``unchanged`` were as they are
    to be, and ``left_revoked`` were to be added, and had been revoked, which they stay.
    """

    added: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    revoked: tuple[str, ...] = ()
    unchanged: int = 0
    left_revoked: tuple[str, ...] = ()
    requests: int = 0
    visible_by: datetime | None = None

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON types."""
        values: dict[str, Any] = {name: getattr(self, name) for name in self.__slots__}
        for name in ("added", "changed", "revoked", "left_revoked"):
            values[name] = list(values[name])
        return {**values, "visible_by": self.visible_by.isoformat() if self.visible_by else None}


def parse_moment(name: str, text: object) -> datetime:
    """Read a day or a moment; without a zone it is of UTC."""
    try:
        moment = datetime.fromisoformat(text)  # type: ignore[arg-type]  # another type is an error as well
    except (TypeError, ValueError) as error:
        raise InvalidRequest(
            f"{name} = {text!r}: give a day or a moment, such as 2027-06-30 or 2027-06-30T12:00:00Z"
        ) from error
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def new_key_of(line: str) -> NewApiKey:
    """Read a line of a list: a JSON object with ``key`` or ``digest``, perhaps ``begins`` and ``ends``.

    What else it has are claims. Raises :class:`InvalidRequest`, whose message shows no key.
    """
    try:
        row = strictly_read(line)
    except ValueError as error:
        raise InvalidRequest("isn't JSON, or has a name twice; write an object in a line") from error
    if not isinstance(row, dict) or not all(isinstance(row.get(name, ""), str) for name in ("key", "digest")):
        raise InvalidRequest('isn\'t an object with a key; write such as {"key": "…", "tenant": "acme"}')
    key, digest = (row.pop(name, "") for name in ("key", "digest"))
    begins, ends = (parse_moment(name, row.pop(name)) if name in row else None for name in ("begins", "ends"))
    return NewApiKey(row, key, digest, begins, ends)


def require_sent(key: str) -> None:
    """Raise :class:`InvalidRequest`, which shows no key, for one that the Worker would never look for."""
    is_of_size = 0 < len(key) <= _MOST_CHARACTERS
    if not is_of_size or not key.isascii() or not key.isprintable() or " " in key:
        raise InvalidRequest(
            f"the key can't be sent in a request: give 1 to {_MOST_CHARACTERS} printable characters of "
            "ASCII, without spaces"
        )


def has_claims(claims: Mapping[str, object], wanted: Mapping[str, object]) -> bool:
    """Whether claims have all that are wanted, as they are shown: a command knows 17 as a text alone."""
    return all(
        name in claims and shown_claim(claims[name]) == shown_claim(value) for name, value in wanted.items()
    )


def shown_claim(value: object) -> str:
    """Return a claim as it is shown, and given to a command."""
    return value if isinstance(value, str) else json.dumps(value)


def _check_claims(claims: Mapping[str, object]) -> None:
    """Raise :class:`InvalidRequest` for claims that no entry can have; it shows none of their values."""
    check_type("claims", claims, Mapping, 'a mapping, such as {"tenant": "acme"}')
    if not claims:
        raise InvalidRequest('it doesn\'t say whose the key is; give claims, such as tenant = "acme"')
    for name, value in claims.items():
        check_type("the name of a claim", name, str, "a text")
        if name in _RESERVED or not name.isprintable() or not name:
            raise InvalidRequest(f"{name!r} can't be the name of a claim; choose another")
        if not is_claim(value):
            raise InvalidRequest(
                f"the claim {name!r} is neither a text, a whole number of up to 15 digits, true nor false; "
                "write it as one of them"
            )
    size_bytes = len(json.dumps(dict(claims)))
    if size_bytes > _MAX_CLAIM_BYTES:
        raise InvalidRequest(
            f"its claims take {size_bytes} bytes of JSON; at most {_MAX_CLAIM_BYTES} fit: keep what the "
            "rules name in key_claims and revoked_by"
        )
