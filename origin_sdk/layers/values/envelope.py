"""What Redis holds for a key.

::

    birth (8) | magic (2) format (1) coding+seal (1) schema (2) lifetime stale fail-safe load (4 each)
    groups' length (2) | groups | payload

Big-endian; birth is a double, a moment of Redis's clock in microseconds. It stands first, because a script of
Redis sets it; a sealed record has had it before, since a seal binds in all up to the payload.
The four durations are milliseconds; groups are separated by line feeds.
"""

import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from origin_sdk._values.errors import InvalidSettings
from origin_sdk.layers.errors import UnreadableRecord
from origin_sdk.layers.values.codings import coding_named, coding_numbered
from origin_sdk.layers.values.families import AnyFamily, AnyKey, Family
from origin_sdk.layers.values.messagepack import READ_ERRORS
from origin_sdk.layers.values.seals import Seal
from origin_sdk.layers.values.serialization import FORMATS, NATIVE, TAGGED, Format

__all__ = ["HEADER", "NO_BIRTH", "Record", "Wrapping", "split_groups"]

BIRTH_BYTES = 8
NO_BIRTH = 2.0**53
"""From this on a double skips microseconds, so that it is no moment. Scripts of Redis know it, too."""
HEADER = struct.Struct(">d6sI12xH")
"""What reading needs of it: birth, head (magic to schema), lifetime, and the groups' length."""
_MAGIC = b"L1"
_BIRTH = struct.Struct(">d")
_HEADER = struct.Struct(">d6sIIIIH")
_BODY = struct.Struct(">6sIIIIH")
_HEAD = struct.Struct(">2sBBH")
_LOAD = struct.Struct(">26xI")
_MAX_MS = (1 << 32) - 1
_SEAL_SHIFT = 4
_CODING_MASK = 0x0F


@dataclass(slots=True)
class Record:
    """A stored value with its times: ``birth`` in microseconds of Redis's clock, all others in seconds."""

    value: Any
    birth: float
    lifetime: float
    stale: float
    fail_safe: float
    load_seconds: float
    groups: tuple[str, ...]

    @property
    def kept_seconds(self) -> float:
        """For how long Redis has to keep it."""
        return self.lifetime + max(self.stale, self.fail_safe)


@dataclass(frozen=True, slots=True)
class Wrapping:
    """How values are written; reading takes any format and coding.

    ``compression`` is ``gzip``, ``br`` or ``zstd``, and applies from ``compress_from`` bytes on if it makes
    the payload smaller. A value of more than ``max_bytes`` before compression stays out of Redis.
    """

    format: Format = "msgpack"
    compression: str | None = "gzip"
    compress_from: int = 4096
    seal: Seal | None = None
    max_bytes: int = 64 << 20
    scope: str = ""
    """Whose records these are: a cache's prefix, which its seal binds in, together with the birth."""

    def __post_init__(self) -> None:
        if self.format not in FORMATS:
            raise InvalidSettings(f"format {self.format!r}: one of {', '.join(FORMATS)} is needed")
        if self.compression:
            coding_named(self.compression)

    def wrap(self, key: AnyKey, record: Record) -> bytes | None:
        """Return everything but the birth, or None if the value is too large.

        Raises UnsupportedValue for a value that wouldn't come back as itself.
        """
        coding = 0
        if self.seal is None and key.family.shape is not None:
            form, payload = NATIVE, key.family.shape.encode(record.value, self, FORMATS[self.format])
        else:
            form, payload = key.family.typed.encode(record.value, FORMATS[self.format])
        if len(payload) > self.max_bytes:
            return None
        if form != NATIVE:
            coding, payload = self._compressed(payload)
        groups = "\n".join(record.groups).encode()
        seal = self.seal.number if self.seal else 0
        header = _BODY.pack(
            _HEAD.pack(_MAGIC, form, coding | seal << _SEAL_SHIFT, key.family.schema),
            _milliseconds(record.lifetime),
            _milliseconds(record.stale),
            _milliseconds(record.fail_safe),
            _milliseconds(record.load_seconds),
            len(groups),
        )
        if self.seal:
            payload = self.seal.close(payload, self._bound(key, _BIRTH.pack(record.birth), header + groups))
        return header + groups + payload

    def _compressed(self, payload: bytes) -> tuple[int, bytes]:
        """Return the coding's number and the payload, as it was if it is small or gets no smaller."""
        if self.compression and len(payload) >= self.compress_from:
            chosen = coding_named(self.compression)
            compressed = chosen.compress(payload)
            if len(compressed) < len(payload):
                return chosen.number, compressed
        return 0, payload

    def pack_part(self, form: int, data: bytes) -> bytes:
        """Return a part of a structure, with its form and coding before it."""
        coding, payload = self._compressed(data)
        return bytes((form | coding << _SEAL_SHIFT,)) + payload

    def unpack_part(self, data: bytes) -> tuple[int, bytes]:
        """Return a part's form, and its data. Raises UnreadableRecord."""
        if not data:
            raise UnreadableRecord("an empty part of a structure")
        form, number = data[0] & _CODING_MASK, data[0] >> _SEAL_SHIFT
        return form, self._expanded(number, data[1:]) if number else data[1:]

    def unwrap(self, key: AnyKey, stored: bytes) -> Record:
        """Read a record. Raises UnreadableRecord."""
        try:
            birth, head, lifetime, stale, fail_safe, load, length = _HEADER.unpack_from(stored)
        except struct.error as error:
            raise UnreadableRecord(f"{key}: {len(stored)} bytes aren't a record") from error
        end = _HEADER.size + length
        value = self.value(key, stored, head, end)
        groups = split_groups(stored[_HEADER.size : end])
        return Record(value, birth, lifetime / 1000, stale / 1000, fail_safe / 1000, load / 1000, groups)

    def value(self, key: AnyKey, stored: bytes, head: bytes, end: int) -> object:
        """Return a record's value, whose payload begins at ``end``. Raises UnreadableRecord."""
        magic, form, how, schema = _HEAD.unpack(head)
        known = self._decoder(key.family, form)
        if magic != _MAGIC or schema != key.family.schema or known is None:
            raise UnreadableRecord(f"{key}: of another version")
        payload = self._opened(key, stored, end, how) if how or self.seal else stored[end:]
        if len(payload) > self.max_bytes:
            raise UnreadableRecord(f"{key}: {len(payload)} bytes, where at most {self.max_bytes} are written")
        try:
            return known(payload)
        except READ_ERRORS as error:
            raise UnreadableRecord(f"{key}: {error}") from error

    def plain(self, family: AnyFamily) -> tuple[bytes, Callable[[bytes], object]]:
        """Return the head of records whose payload only has to be decoded, as most have, and the decoder."""
        forms = family.typed.forms
        number = FORMATS[self.format] if FORMATS[self.format] in forms else TAGGED
        if self.seal is None and (family.shape is not None or NATIVE in forms):
            number = NATIVE
        decode = self._decoder(family, number)
        if decode is None:
            raise UnreadableRecord(f"family {family.name}: no form {number}")
        head = b"" if self.seal else _HEAD.pack(_MAGIC, number, 0, family.schema)
        return head, decode

    def _decoder(self, family: Family[Any], form: int) -> Callable[[bytes], object] | None:
        """Return what reads a form of a family's values."""
        if form == NATIVE and family.shape is not None:
            shape = family.shape
            return lambda data: shape.decode(data, self)
        known = family.typed.forms.get(form)
        return known.decode if known else None

    def load_seconds(self, stored: bytes) -> float:
        """Return how long a record's value took to load."""
        milliseconds: int = _LOAD.unpack_from(stored)[0]
        return milliseconds / 1000

    def _opened(self, key: AnyKey, stored: bytes, end: int, how: int) -> bytes:
        payload = stored[end:]
        # A record without a seal is refused where one is set: whoever writes to Redis could leave it off.
        if how >> _SEAL_SHIFT != (self.seal.number if self.seal else 0):
            raise UnreadableRecord(f"{key}: not sealed as this cache seals")
        if self.seal:
            payload = self.seal.open(payload, self._bound(key, stored[:BIRTH_BYTES], stored[BIRTH_BYTES:end]))
        if not how & _CODING_MASK:
            return payload
        try:
            return self._expanded(how & _CODING_MASK, payload)
        except UnreadableRecord as error:
            raise UnreadableRecord(f"{key}: {error}") from error

    def _expanded(self, number: int, payload: bytes) -> bytes:
        coding = coding_numbered(number)
        if coding is None:
            raise UnreadableRecord("compressed with what isn't installed here")
        try:
            return coding.expand(payload, self.max_bytes)
        except Exception as error:
            raise UnreadableRecord(str(error)) from error

    def _bound(self, key: AnyKey, birth: bytes, header: bytes) -> bytes:
        scope = self.scope.encode() + b"\n" if self.scope else b""
        return scope + key.name.encode() + b"\n" + (birth if scope else b"") + header


def _milliseconds(seconds: float) -> int:
    return min(round(seconds * 1000), _MAX_MS) if seconds else 0


def split_groups(written: bytes) -> tuple[str, ...]:
    """Return groups as they stand in a record."""
    return tuple(written.decode(errors="replace").split("\n")) if written else ()
