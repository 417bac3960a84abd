"""API keys in KV: an entry for each, which says whose it is; the SDK writes it, the Worker reads it.

::

    k1/5f0c…    {"at": 1795744800000, "claims": {"plan": "gold", "tenant": "acme"}, "ends": 1827280800000}

An entry lies in the metadata of ``k1/`` and the digest of its key, which is made as those in
``API_KEY_TABLE`` are; the value is empty. With ``STORE_KEYS`` it is authenticated as an entry of the purge
log is. A key that was revoked keeps its entry, which says so.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from origin_sdk_wire.api_keys import ApiKey
from origin_sdk_wire.bounds import LATEST_MS
from origin_sdk_wire.errors import UnreadableRecord

__all__ = ["KEY_PREFIX", "KeyEntry", "is_claim", "kv_key", "read_entry"]

KEY_PREFIX = "k1/"

_LARGEST_INTEGER = 2**53 - 1
"""What JavaScript, in which the Worker gets the metadata, can tell from its neighbours."""
_MOMENTS = ("begins", "ends", "revoked")


@dataclass(frozen=True, slots=True)
class KeyEntry:
    """What is known of a key. Moments are in milliseconds since the epoch.

    ``at_ms`` is when it was added, by which a purge of its groups revokes it. It is valid from ``begins_ms``
    to before ``ends_ms``, and never once it has ``revoked_ms``. ``by`` and ``why`` tell of the last change.
    """

    claims: Mapping[str, object] = field(hash=False)
    at_ms: int
    begins_ms: int | None = None
    ends_ms: int | None = None
    revoked_ms: int | None = None
    by: str = ""
    why: str = ""

    def metadata(self) -> dict[str, object]:
        """Return it as KV's metadata have it, without a seal."""
        told: dict[str, object] = {
            "begins": self.begins_ms,
            "ends": self.ends_ms,
            "revoked": self.revoked_ms,
            "by": self.by or None,
            "why": self.why or None,
        }
        given = {name: value for name, value in told.items() if value is not None}
        return {"at": self.at_ms, "claims": dict(self.claims), **given}

    @property
    def api_key(self) -> ApiKey:
        """What the Worker takes it for: issued when it was added, or begins if that is later."""
        issued = {"iat": max(self.at_ms, self.begins_ms or 0) / 1000}
        begins, ends = (None if ms is None else ms / 1000 for ms in (self.begins_ms, self.ends_ms))
        is_revoked = self.revoked_ms is not None
        return ApiKey(MappingProxyType({**self.claims, **issued}), begins, ends, is_revoked)


def kv_key(digest: str) -> str:
    """Return where the entry of a key lies, by its digest."""
    return f"{KEY_PREFIX}{digest}"


def read_entry(metadata: object) -> KeyEntry:
    """Read metadata without their seal; raises :class:`UnreadableRecord`."""
    if not isinstance(metadata, Mapping):
        raise UnreadableRecord("an API key's entry has no metadata")
    claims, at_ms = metadata.get("claims"), metadata.get("at")
    begins, ends, revoked = (metadata.get(name) for name in _MOMENTS)
    moments = [moment for moment in (begins, ends, revoked) if moment is not None]
    if not isinstance(claims, Mapping) or not all(map(_is_moment, (at_ms, *moments))):
        raise UnreadableRecord("an API key's entry has no claims, or a moment that isn't one")
    if not all(isinstance(name, str) and is_claim(value) for name, value in claims.items()):
        raise UnreadableRecord("an API key's entry has a claim that isn't one")
    if not claims and revoked is None:
        raise UnreadableRecord("an API key's entry doesn't say whose it is")
    by, why = (str(metadata.get(name) or "") for name in ("by", "why"))
    return KeyEntry(MappingProxyType(dict(claims)), at_ms, begins, ends, revoked, by, why)  # type: ignore[arg-type]  # as was looked at


def is_claim(value: object) -> bool:
    """Whether a value stays the same through KV and JavaScript, so that it can be sealed."""
    if isinstance(value, str):
        return not any("\ud800" <= character <= "\udfff" for character in value)
    return isinstance(value, int) and abs(value) <= _LARGEST_INTEGER


def _is_moment(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= LATEST_MS
