"""Everything that the SDK raises, split by whose fault it is.

::

    OriginSdkError
    ├── InvalidRequest (ValueError)   the caller: an invalid URL, group or option
    │   ├── InvalidSettings           the environment: a setting is missing, or two make no sense together
    │   ├── OutOfScope                the key to the purge log: not for this target
    │   └── NotCacheable              the response: it must not be shared, and was to be
    │       └── DataClassViolation    data were to go where their class forbids it
    ├── CloudflareError               Cloudflare's API said no
    │   ├── AuthenticationFailed      the token: unknown, expired, or without the permission that is named
    │   ├── NamespaceNotFound         the namespace or account id
    │   ├── RateLimited               too many requests, and no time left to wait
    │   ├── RequestRejected           any other refusal
    │   └── CloudflareUnavailable     5xx, or an answer that isn't the API's
    ├── ConnectionFailed              the network: no answer came
    ├── DeadlineExceeded              the time that the caller gave is over
    ├── OutboxUnavailable             the outbox's store: not there, not migrated, or failing
    └── PartialPurgeError             some of it is purged; ``remaining`` is what isn't
"""

from origin_sdk._values.errors import (
    AuthenticationFailed,
    CloudflareError,
    CloudflareUnavailable,
    ConnectionFailed,
    DataClassViolation,
    DeadlineExceeded,
    InvalidRequest,
    InvalidSettings,
    NamespaceNotFound,
    NotCacheable,
    OriginSdkError,
    OutboxUnavailable,
    OutOfScope,
    RateLimited,
    RequestRejected,
)
from origin_sdk._values.receipt import PartialPurgeError

__all__ = [
    "AuthenticationFailed",
    "CloudflareError",
    "CloudflareUnavailable",
    "ConnectionFailed",
    "DataClassViolation",
    "DeadlineExceeded",
    "InvalidRequest",
    "InvalidSettings",
    "NamespaceNotFound",
    "NotCacheable",
    "OriginSdkError",
    "OutOfScope",
    "OutboxUnavailable",
    "PartialPurgeError",
    "RateLimited",
    "RequestRejected",
]
