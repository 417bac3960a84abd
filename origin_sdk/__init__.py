"""The origin's side of the edge cache: purge it, publish to it, look into it.

::

    from origin_sdk import PurgeClient

    with PurgeClient() as edge:
        receipt = edge.purge(groups=["product-17"])

The clients need httpx (``pip install origin-sdk[client]``); :mod:`origin_sdk.responses` and its middleware
need nothing.
"""

from typing import TYPE_CHECKING, Any

from origin_sdk._values.errors import (
    AuthenticationFailed,
    CloudflareError,
    CloudflareUnavailable,
    ConnectionFailed,
    DeadlineExceeded,
    InvalidRequest,
    InvalidSettings,
    NamespaceNotFound,
    NotCacheable,
    OriginSdkError,
    OutOfScope,
    RateLimited,
    RequestRejected,
)

if TYPE_CHECKING:
    from origin_sdk._cloudflare.budget import RateBudget
    from origin_sdk._cloudflare.effects import Progress
    from origin_sdk._cloudflare.exchange import Retries
    from origin_sdk._edge.async_client import AsyncPurgeClient
    from origin_sdk._edge.batch import Batch
    from origin_sdk._edge.blast_radius import BlastRadius
    from origin_sdk._edge.client import PurgeClient
    from origin_sdk._edge.diagnosis import Finding, Grade
    from origin_sdk._edge.inspection import AppliedMark, Inspected, Inspection, Outcome
    from origin_sdk._edge.marks import MarkEntry
    from origin_sdk._edge.null import AsyncNullPurgeClient, NullPurgeClient
    from origin_sdk._edge.options import Options, PublishArguments
    from origin_sdk._edge.publication import Published
    from origin_sdk._edge.stored_responses import StoredResponse
    from origin_sdk._edge.switches import SwitchRecord
    from origin_sdk._edge.visibility import Visible
    from origin_sdk._edge.warmup import Warmed, WarmRequest
    from origin_sdk._process.audit import AuditEvent, AuditFile, Auditor
    from origin_sdk._process.clock import Clock, SystemClock
    from origin_sdk._values.api_keys import ApiKeysReceipt, NewApiKey, StoredApiKey
    from origin_sdk._values.project import Project, read_project
    from origin_sdk._values.receipt import PartialPurgeError, Receipt
    from origin_sdk._values.settings import Settings
    from origin_sdk._values.targets import Purge, Targets

__all__ = [
    "ApiKeysReceipt",
    "AppliedMark",
    "AsyncNullPurgeClient",
    "AsyncPurgeClient",
    "AuditEvent",
    "AuditFile",
    "Auditor",
    "AuthenticationFailed",
    "Batch",
    "BlastRadius",
    "Clock",
    "CloudflareError",
    "CloudflareUnavailable",
    "ConnectionFailed",
    "DeadlineExceeded",
    "Finding",
    "Grade",
    "Inspected",
    "Inspection",
    "InvalidRequest",
    "InvalidSettings",
    "MarkEntry",
    "NamespaceNotFound",
    "NewApiKey",
    "NotCacheable",
    "NullPurgeClient",
    "Options",
    "OriginSdkError",
    "OutOfScope",
    "Outcome",
    "PartialPurgeError",
    "Progress",
    "Project",
    "PublishArguments",
    "Published",
    "Purge",
    "PurgeClient",
    "RateBudget",
    "RateLimited",
    "Receipt",
    "RequestRejected",
    "Retries",
    "Settings",
    "StoredApiKey",
    "StoredResponse",
    "SwitchRecord",
    "SystemClock",
    "Targets",
    "Visible",
    "WarmRequest",
    "Warmed",
    "read_project",
]

# Imported when first asked for: marking responses shouldn't need httpx, nor wait for it.
_HOMES = {
    "AppliedMark": "_edge.inspection",
    "AsyncNullPurgeClient": "_edge.null",
    "AsyncPurgeClient": "_edge.async_client",
    "AuditEvent": "_process.audit",
    "AuditFile": "_process.audit",
    "Auditor": "_process.audit",
    "Batch": "_edge.batch",
    "BlastRadius": "_edge.blast_radius",
    "Clock": "_process.clock",
    "Finding": "_edge.diagnosis",
    "Inspected": "_edge.inspection",
    "Inspection": "_edge.inspection",
    "ApiKeysReceipt": "_values.api_keys",
    "MarkEntry": "_edge.marks",
    "NewApiKey": "_values.api_keys",
    "NullPurgeClient": "_edge.null",
    "Options": "_edge.options",
    "Outcome": "_edge.inspection",
    "PartialPurgeError": "_values.receipt",
    "Progress": "_cloudflare.effects",
    "Project": "_values.project",
    "PublishArguments": "_edge.options",
    "Published": "_edge.publication",
    "Purge": "_values.targets",
    "PurgeClient": "_edge.client",
    "RateBudget": "_cloudflare.budget",
    "Receipt": "_values.receipt",
    "Retries": "_cloudflare.exchange",
    "Settings": "_values.settings",
    "StoredApiKey": "_values.api_keys",
    "StoredResponse": "_edge.stored_responses",
    "SwitchRecord": "_edge.switches",
    "SystemClock": "_process.clock",
    "Targets": "_values.targets",
    "Grade": "_edge.diagnosis",
    "Visible": "_edge.visibility",
    "WarmRequest": "_edge.warmup",
    "Warmed": "_edge.warmup",
    "read_project": "_values.project",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module  # noqa: PLC0415 - see above

    try:
        return getattr(import_module(f"origin_sdk.{_HOMES[name]}"), name)
    except ModuleNotFoundError as error:
        if error.name == "httpx":
            raise ImportError(f"origin_sdk.{name} needs httpx: pip install 'origin-sdk[client]'") from error
        raise
