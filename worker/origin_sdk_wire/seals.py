"""Seals: what lies in KV is kept secret, or at least unchanged, with keys of the application's own.

A *record* is sealed with its metadata, whatever these hold, in one of two ways::

    encrypt        metadata {"e": "KEY-ID SIZE"}, value: nonce, AES-256-GCM of (metadata as JSON, body), tag
    authenticate   metadata {…, "a": "KEY-ID MAC"}, value: the body, as it would be without a seal

``SIZE`` is that of the record's own metadata in bytes. Bound in are the id of the key, the KV key and all of
the metadata, so that no part of a record can be changed, or passed off as that of another. An *entry* of the
purge log is authenticated in the same way, its value being empty. A *mark* has its seal behind its value,
``MOMENT PURGE-ID KEY-ID:MAC``, since marks are read without metadata.

A large body lies apart and is sealed in *parts*, so that it can be read as a stream, and from the middle: see
:class:`SealedParts`.

The keys for each purpose are derived from a secret by HKDF-Expand (RFC 5869 section 2.3) with SHA-256; the
secret is itself uniformly random, so that section 3.3 lets Extract be skipped. MACs are HMAC-SHA256 (RFC
2104) in base64url without padding, nonces 96 random bits (NIST SP 800-38D section 8.2.2).
"""

import hmac
import json
import re
from base64 import b64decode, urlsafe_b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import lru_cache
from typing import AnyStr

from origin_sdk_wire.errors import BrokenSeal
from origin_sdk_wire.key import KeyParts

__all__ = [
    "GENERATION_BYTES",
    "HEADER_BYTES",
    "MAC_BYTES",
    "NONCE_BYTES",
    "PART_BYTES",
    "SEAL_BYTES",
    "Purpose",
    "Seal",
    "SealNote",
    "SealedParts",
    "StoreKey",
    "authenticated",
    "bound_to_body",
    "bound_to_value",
    "concealed",
    "derived",
    "encrypted_metadata",
    "key_named",
    "mac_text",
    "note_of",
    "opened_text",
    "parse_parts",
    "parse_store_keys",
    "part_mac",
    "require_mac",
    "sealed_text",
    "verified",
    "with_mac",
    "without_mac",
    "without_seal",
]

SEAL_BYTES = 96
"""More than a seal adds to metadata."""
NONCE_BYTES = 12
TAG_BYTES = 16
"""Of AES-GCM."""
MAC_BYTES = 32
PART_BYTES = 256 * 1024
GENERATION_BYTES = 16

_KEY = re.compile(r"([A-Za-z0-9._-]{1,32}):([A-Za-z0-9+/_-]{43})=?")
_ENCRYPTED = re.compile(r"([A-Za-z0-9._-]{1,32}) ([1-9][0-9]{0,5})", re.ASCII)
_AUTHENTICATED = re.compile(r"([A-Za-z0-9._-]{1,32}) ([A-Za-z0-9_-]{43})", re.ASCII)
_SEALED_TEXT = re.compile(r"(.*) ([A-Za-z0-9._-]{1,32}):([A-Za-z0-9_-]{43})", re.ASCII)
_LABEL = b"origin-sdk-store/1 "
_EXPECTED = (
    "give comma-separated keys, each ID:BASE64, the one that writes first: an id of 1 to 32 letters, "
    'digits and ".", "_", "-", and 32 random bytes, as `openssl rand -base64 32` makes them'
)


class Seal(StrEnum):
    """How a stored response is protected against who can reach the namespace."""

    ENCRYPT = "encrypt"
    """Neither read nor changed without the key."""
    AUTHENTICATE = "authenticate"
    """Not changed without the key."""
    NONE = "none"

    @property
    def of_index(self) -> "Seal":
        """How the index is sealed of responses that are sealed so: it has nothing to hide."""
        return Seal.NONE if self is Seal.NONE else Seal.AUTHENTICATE


class Purpose(StrEnum):
    """What a key is derived for."""

    ENCRYPT = "encrypt"
    AUTHENTICATE = "authenticate"
    IDENTITY = "identity"


@dataclass(frozen=True, slots=True)
class StoreKey:
    """One of the keys: ``secret`` is 32 random bytes, and never shown."""

    id: str
    secret: bytes = field(repr=False)


def parse_store_keys(given: object) -> tuple[StoreKey, ...]:
    """Read the setting ``STORE_KEYS``; raises :class:`ValueError` with the remedy, which shows no key."""
    if not isinstance(given, str):
        raise ValueError(_EXPECTED)  # noqa: TRY004 - one type of error for all settings
    keys: list[StoreKey] = []
    for number, text in enumerate(filter(None, map(str.strip, given.split(","))), 1):
        found = _KEY.fullmatch(text)
        if not found:
            raise ValueError(f"key {number} isn't one; {_EXPECTED}")
        secret = b64decode(found[2].replace("-", "+").replace("_", "/") + "=")
        if len(set(secret)) < 8:
            raise ValueError(f"the key {found[1]} isn't random; `openssl rand -base64 32` makes one")
        if any(found[1] == key.id or secret == key.secret for key in keys):
            raise ValueError(f"the key {found[1]} is listed twice; remove one, or give it an id of its own")
        keys.append(StoreKey(found[1], secret))
    return tuple(keys)


@lru_cache(maxsize=64)
def derived(key: StoreKey, purpose: Purpose) -> bytes:
    """Return the 32 bytes that ``key`` comes to for a purpose."""
    return hmac.digest(key.secret, _LABEL + purpose.encode() + b"\x01", "sha256")


def key_named(keys: Sequence[StoreKey], key_id: str) -> StoreKey:
    """Return the key of an id; raises :class:`BrokenSeal` if it isn't among ``keys``."""
    for key in keys:
        if key.id == key_id:
            return key
    raise BrokenSeal(BrokenSeal.UNKNOWN_KEY, f"sealed by {key_id!r}, which isn't in STORE_KEYS")


# Records and entries of the purge log


@dataclass(frozen=True, slots=True)
class SealNote:
    """What metadata say of a seal: ``size_bytes`` for what is encrypted, ``mac`` for what isn't."""

    seal: Seal
    key_id: str
    size_bytes: int = 0
    mac: str = ""


def note_of(metadata: object) -> SealNote | None:
    """Return what metadata say of a seal, ``None`` if there is none; raises :class:`BrokenSeal`."""
    if not isinstance(metadata, Mapping):
        return None
    if (text := metadata.get("e")) is not None:
        if found := isinstance(text, str) and _ENCRYPTED.fullmatch(text):
            return SealNote(Seal.ENCRYPT, found[1], size_bytes=int(found[2]))
        raise BrokenSeal(BrokenSeal.BROKEN, "the metadata names no key")
    if (text := metadata.get("a")) is not None:
        if found := isinstance(text, str) and _AUTHENTICATED.fullmatch(text):
            return SealNote(Seal.AUTHENTICATE, found[1], mac=found[2])
        raise BrokenSeal(BrokenSeal.BROKEN, "the metadata has no MAC")
    return None


def encrypted_metadata(key_id: str, size_bytes: int) -> str:
    """Return the metadata of what is encrypted, as JSON; ``size_bytes`` is that of its own metadata."""
    return f'{{"e":"{key_id} {size_bytes}"}}'


def bound_to_value(key_id: str, key: str, metadata: Mapping[str, object] | int) -> bytes:
    """Return what is bound in beside a value.

    ``key`` is the KV key; ``metadata`` those beside an authenticated value, or how many bytes they take in
    an encrypted one.
    """
    if isinstance(metadata, int):
        return _json([Seal.ENCRYPT.value, key_id, key, metadata])
    try:
        return _json([Seal.AUTHENTICATE.value, key_id, key, without_mac(metadata)]) + b"\n"
    except (TypeError, ValueError, RecursionError) as error:
        # Whoever writes to KV chooses what its metadata are, and JavaScript's null is no value of JSON here.
        raise BrokenSeal(BrokenSeal.BROKEN, "the metadata isn't what was sealed") from error


def with_mac(metadata: str, key_id: str, mac: bytes) -> str:
    """Return metadata, which are JSON of an object, with a MAC among them."""
    end = "" if metadata == "{}" else ","
    return f'{metadata[:-1]}{end}"a":"{key_id} {mac_text(mac)}"}}'


def without_mac(metadata: Mapping[str, object]) -> dict[str, object]:
    """Return metadata without the MAC among them."""
    return {name: member for name, member in metadata.items() if name != "a"}


def mac_text(mac: bytes) -> str:
    """Write a MAC in base64url."""
    return urlsafe_b64encode(mac).decode().rstrip("=")


def require_mac(made: AnyStr, given: AnyStr) -> None:
    """Raise :class:`BrokenSeal` unless the MAC that was given is the one that was made."""
    if not hmac.compare_digest(made, given):
        raise BrokenSeal(BrokenSeal.BROKEN, "it was altered, or moved from another key")


def authenticated(
    key: StoreKey, kv_key: str, metadata: Mapping[str, object], value: bytes = b""
) -> dict[str, object]:
    """Return ``metadata`` with a MAC of them and of what they belong to."""
    mac = _mac(key, bound_to_value(key.id, kv_key, metadata) + value)
    return {**metadata, "a": f"{key.id} {mac_text(mac)}"}


def verified(
    keys: Sequence[StoreKey], kv_key: str, metadata: object, value: bytes = b""
) -> dict[str, object]:
    """Return metadata without their MAC, which is right; raises :class:`BrokenSeal`."""
    note = note_of(metadata)
    if note is None or note.seal is not Seal.AUTHENTICATE or not isinstance(metadata, Mapping):
        raise BrokenSeal(BrokenSeal.UNSEALED, "it isn't authenticated")
    key = key_named(keys, note.key_id)
    require_mac(mac_text(_mac(key, bound_to_value(key.id, kv_key, metadata) + value)), note.mac)
    return without_mac(metadata)


# Marks


def sealed_text(key: StoreKey, kv_key: str, text: str) -> str:
    """Return a value of one line with its seal behind it."""
    return f"{text} {key.id}:{mac_text(_mac(key, _bound_to_text(key.id, kv_key, text)))}"


def opened_text(keys: Sequence[StoreKey], kv_key: str, value: str) -> str:
    """Return a value of one line without its seal; raises :class:`BrokenSeal`."""
    found = _SEALED_TEXT.fullmatch(value)
    if not found:
        raise BrokenSeal(BrokenSeal.UNSEALED, "it isn't authenticated")
    key = key_named(keys, found[2])
    require_mac(mac_text(_mac(key, _bound_to_text(key.id, kv_key, found[1]))), found[3])
    return found[1]


def without_seal(value: str) -> str:
    """Return a value of one line without its seal, be that right or not, if it has one."""
    found = _SEALED_TEXT.fullmatch(value)
    return found[1] if found else value


def _bound_to_text(key_id: str, kv_key: str, text: str) -> bytes:
    return _json(["text", key_id, kv_key, text])


# Identities


def concealed(parts: Sequence[tuple[str, str | None]], key: StoreKey) -> KeyParts:
    """Return the one part that stands for a declared identity in keys that nobody else can make.

    By a plain digest who can list the namespace could find out whether there is something of a user whose
    identity they guess.
    """
    secret = derived(key, Purpose.IDENTITY)
    return (("identity", hmac.digest(secret, _json([list(part) for part in parts]), "sha256").hex()),)


# Bodies that lie apart


@dataclass(frozen=True, slots=True)
class SealedParts:
    """How a body is sealed that lies apart: what its value begins with.

    Byte 0 is 1 for encrypted parts, 2 for authenticated ones; byte 1 the length of the key's id, which
    follows; then 16 random bytes, the *generation*, and the size of the body in 8 bytes, the most significant
    first. Of the body each 256 KiB are a part, the last may be shorter: ``nonce, ciphertext, tag``, or ``MAC,
    bytes``. All of this is bound into each part with its number and the KV key, so that none can be dropped,
    moved, or taken from another writing of the body.
    """

    seal: Seal
    key_id: str
    generation: bytes
    size_bytes: int

    @property
    def header(self) -> bytes:
        """What comes before the first part."""
        kind = 1 if self.seal is Seal.ENCRYPT else 2
        key_id = self.key_id.encode()
        return bytes((kind, len(key_id))) + key_id + self.generation + self.size_bytes.to_bytes(8, "big")

    @property
    def count(self) -> int:
        """How many parts there are: one at least."""
        return max(1, -(-self.size_bytes // PART_BYTES))

    @property
    def overhead_bytes(self) -> int:
        """By how much a part is longer than what it holds."""
        return NONCE_BYTES + TAG_BYTES if self.seal is Seal.ENCRYPT else MAC_BYTES

    @property
    def sealed_bytes(self) -> int:
        """The size of the whole value."""
        return len(self.header) + self.size_bytes + self.count * self.overhead_bytes

    def span(self, number: int) -> tuple[int, int]:
        """Return where a part begins and ends in the body."""
        return number * PART_BYTES, min((number + 1) * PART_BYTES, self.size_bytes)

    def covering(self, start: int, end: int) -> range:
        """Return the numbers of the parts that hold these bytes of the body."""
        return range(start // PART_BYTES, max(start // PART_BYTES, (end - 1) // PART_BYTES) + 1)


HEADER_BYTES = 2 + 32 + GENERATION_BYTES + 8
"""The longest header."""


def parse_parts(value: bytes) -> SealedParts:
    """Read the beginning of a sealed body, at most :data:`HEADER_BYTES`; raises :class:`BrokenSeal`."""
    kind, id_bytes = (value[0], value[1]) if len(value) > 1 else (0, 0)
    end = 2 + id_bytes + GENERATION_BYTES + 8
    if kind not in {1, 2} or not 0 < id_bytes <= 32 or len(value) < end:
        raise BrokenSeal(BrokenSeal.BROKEN, "the body isn't sealed")
    key_id = value[2 : 2 + id_bytes].decode("ascii", "replace")
    seal = Seal.ENCRYPT if kind == 1 else Seal.AUTHENTICATE
    generation = value[2 + id_bytes : end - 8]
    return SealedParts(seal, key_id, generation, int.from_bytes(value[end - 8 : end], "big"))


def bound_to_body(parts: SealedParts, body_key: str, number: int) -> bytes:
    """Return what is bound into a part."""
    return _json(["part", parts.header.hex(), body_key, number]) + b"\n"


def part_mac(key: StoreKey, bound: bytes, part: bytes) -> bytes:
    """Return the MAC that stands before a part."""
    return _mac(key, bound + part)


def _mac(key: StoreKey, message: bytes) -> bytes:
    return hmac.digest(derived(key, Purpose.AUTHENTICATE), message, "sha256")


def _json(value: object) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()
