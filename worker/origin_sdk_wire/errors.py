"""Errors of the wire contract.

::

    WireError (ValueError)
    ├── InvalidTarget      a URL that no cached request can have
    ├── InvalidGroup       a group name that no response can carry
    ├── InvalidRule        a rule that can't be read; says which setting and what to do
    ├── RefusedRequest     a request to the purge log that isn't signed as it has to be
    ├── UnreadableEntry    an entry or a page of the purge log that this version didn't write
    ├── UnreadableMetrics  counts that this version didn't write
    └── UnreadableRecord   KV holds something that this version didn't write
        └── BrokenSeal     or that nobody wrote who has the keys
"""

__all__ = [
    "BrokenSeal",
    "InvalidGroup",
    "InvalidRule",
    "InvalidTarget",
    "RefusedRequest",
    "UnreadableEntry",
    "UnreadableMetrics",
    "UnreadableRecord",
    "WireError",
]


class WireError(ValueError):
    """What was given doesn't fit the wire contract."""


class InvalidTarget(WireError):
    """A URL that no cached request can have."""


class InvalidGroup(WireError):
    """A group name that no response can carry."""


class InvalidRule(WireError):
    """A rule that can't be read."""


class RefusedRequest(WireError):
    """A request to the purge log that isn't signed as it has to be; says what to do."""


class UnreadableEntry(WireError):
    """An entry or a page of the purge log that this version didn't write."""


class UnreadableMetrics(WireError):
    """A document of counts that this version didn't write."""


class UnreadableRecord(WireError):
    """A KV value or its metadata that this version didn't write; to be treated as absent."""


class BrokenSeal(UnreadableRecord):
    """What lies in KV isn't what somebody wrote there who has the keys; to be treated as absent.

    ``kind`` is one of the constants, a label of the metrics.
    """

    UNSEALED = "unsealed"
    """It has no seal where it needs one."""
    UNKNOWN_KEY = "unknown-key"
    BROKEN = "broken"
    """It was changed, or moved here from another key."""

    def __init__(self, kind: str, explanation: str) -> None:
        super().__init__(explanation)
        self.kind = kind
