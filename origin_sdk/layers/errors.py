"""What the layered cache raises, split by whose fault it is.

::

    OriginSdkError
    ├── InvalidRequest (ValueError)
    │   ├── UnstableKey             an argument that renders to no stable text
    │   ├── InvalidSettings         a URL, a key or a format that can't be used, or a package that is missing
    │   ├── InvalidFamily           a key family or a policy that contradicts itself
    │   │   └── UnsupportedValue    a value that would not come back as itself
    │   └── NotCacheable
    │       └── DataClassViolation  data were to go where their class forbids it
    ├── LoadCycle                   loaders wait for each other, or one for itself
    ├── LoadTimeout (TimeoutError)  the loader's time is over; what it returns late is kept
    └── UnreadableRecord            what Redis holds isn't ours, or isn't whole; it counts as a miss

What a loader raises reaches the caller as it is. Redis never raises: a layer that fails is left out.
"""

from origin_sdk._values.errors import DataClassViolation, InvalidRequest, OriginSdkError

__all__ = [
    "DataClassViolation",
    "InvalidFamily",
    "LoadCycle",
    "LoadTimeout",
    "UnreadableRecord",
    "UnstableKey",
    "UnsupportedValue",
]


class UnstableKey(InvalidRequest):
    """A key's argument has no rendering that would be the same in another process."""


class InvalidFamily(InvalidRequest):
    """A key family or a policy that contradicts itself."""


class UnsupportedValue(InvalidFamily):
    """A value that can't be written, since it would not come back as itself."""


class LoadCycle(OriginSdkError):
    """Loaders wait for each other, in this process or among several, or one asks for its own key."""


class LoadTimeout(OriginSdkError, TimeoutError):
    """The loader took longer than it may. It goes on, and what it returns is kept."""


class UnreadableRecord(OriginSdkError):
    """A record that can't be read: of another version, changed on its way, or sealed with an unknown key."""
