"""What the clients have in common: everything but input and output."""

import copyreg
import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from inspect import isawaitable
from pathlib import Path
from types import MappingProxyType, NoneType
from typing import Any, TypeAlias, TypeVar

from origin_sdk._cloudflare.budget import RateBudget
from origin_sdk._cloudflare.exchange import Exchange
from origin_sdk._cloudflare.kv import Namespace
from origin_sdk._cloudflare.skew import Skew
from origin_sdk._edge.api_keys import Wanted, add_keys, revoke_keys
from origin_sdk._edge.candidate import Publication
from origin_sdk._edge.diagnosis import Finding, examine
from origin_sdk._edge.options import AsyncBody, Body, Options, PublishArguments
from origin_sdk._edge.publication import Published, publish
from origin_sdk._edge.purge import Operation, SharedMark, purge, tell_again
from origin_sdk._edge.purge_log import LogClient
from origin_sdk._edge.seals import ClientSeals
from origin_sdk._edge.stored_responses import Coverage, Listing
from origin_sdk._edge.switches import Setting, SwitchRecord, read_state, switch
from origin_sdk._edge.visibility import Visible, wait_until_visible
from origin_sdk._flow import Flow
from origin_sdk._process.audit import AuditEvent, AuditFile, outcome_of
from origin_sdk._process.reads import Reads, made_to_publish
from origin_sdk._values.api_keys import ApiKeysReceipt, NewApiKey
from origin_sdk._values.arguments import Kind, check_header_fields, check_type
from origin_sdk._values.errors import InvalidRequest
from origin_sdk._values.media_types import Rendered, encoded
from origin_sdk._values.project import DEFAULT_PROJECT, Project
from origin_sdk._values.receipt import PartialPurgeError, Receipt
from origin_sdk._values.settings import Settings
from origin_sdk._values.targets import Purge, parse_url, shown_url
from origin_sdk._values.texts import text, texts
from origin_sdk_wire.marks import url_mark

__all__ = ["Operations", "ReadPage"]

_log = logging.getLogger("origin_sdk")
_Result = TypeVar("_Result")
_Listed = TypeVar("_Listed")

ReadPage: TypeAlias = Callable[[Operation, str], Flow[tuple[list[_Listed], str]]]
"""Returns a page of what is listed from a cursor on, and the cursor of the next page, or ``""``."""

_EVERYTHING = Purge(everything=True)
_A_RECEIPT = "what purge() returned"
_PUBLISHED_TYPES: Mapping[str, tuple[Kind, str]] = {
    "status": (int, "a number"),
    "identity": (Mapping, 'a mapping such as {"claim:sub": "ann"}'),
    "born": (datetime, "client.now() of before the rendering"),
    "after": (Receipt, _A_RECEIPT),
    "method": (str, "a text"),
    "content": (bytes, "bytes"),
}

EDGE_FIELDS: Mapping[str, str] = {"user-agent": "origin-sdk"}
"""What warming sends: never the API's token."""
WARM_SECONDS = 60.0
CHECK_SECONDS = 60.0
LOCAL_SECONDS = 2.0
_TOLD_DIGESTS = 100
"""So many digests of keys the audit names of one call."""


class Operations:
    """Builds operations and tells the auditor how they ended."""

    def __init__(self, settings: Settings, project: Project, options: Options) -> None:
        self.settings = settings
        keys = settings.parsed_store_keys
        self._seals = ClientSeals(keys)
        self.project = project.sealed_with(keys)
        self.options = options
        self.skew = Skew()
        self._shared = SharedMark()
        # A Worker that reads the log must find all purges there, whether or not this client may tell it.
        has_log = settings.parsed_log_key is not None or project.purge_log
        sealed_by = keys[0].id if keys else ""
        self._log = LogClient(settings.log_url, settings.parsed_log_key, sealed_by) if has_log else None
        self._audit = options.audit or (AuditFile(Path(settings.audit_file)) if settings.audit_file else None)
        shared = RateBudget.shared(settings.token) if settings.is_cloudflare else RateBudget.unlimited()
        self._budget = options.budget or shared

    _transports: Mapping[str, object] = MappingProxyType({})

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        """Be sent to a spawned process as a client of the same settings."""
        return _made_again, (type(self), self.settings, self.project, self.options, dict(self._transports))

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}(namespace_id={self.settings.namespace_id!r}, "
            f"base_url={self.settings.base_url!r})"
        )

    @property
    def has_purge_log(self) -> bool:
        """Whether purges are written into a purge log, too."""
        return self._log is not None

    def now(self) -> datetime:
        """Return Cloudflare's time, as far as it is known.

        Take it before rendering what is to be published.
        """
        return datetime.fromtimestamp(self.options.clock.now() + self.skew.seconds, UTC)

    def _api_fields(self) -> dict[str, str]:
        authorization = {"authorization": f"Bearer {self.settings.token}"} if self.settings.token else {}
        return {**EDGE_FIELDS, **authorization}

    def _operation(self, timeout: float | None) -> Operation:
        check_type("timeout", timeout, (float, int, NoneType), "a number of seconds, or None")
        exchange = Exchange(
            clock=self.options.clock,
            budget=self._budget,
            skew=self.skew,
            retries=self.options.retries,
            seconds=self.options.timeout if timeout is None else timeout,
        )
        namespace = Namespace(self.settings.namespace_url)
        rules, shared = self.project.rules, self._shared
        return Operation(exchange, namespace, self.settings, rules, shared, self._log, self._seals)

    def _listing(self, targets: Purge | None) -> Listing:
        operation = self._operation(None)
        coverage = Coverage(targets or _EVERYTHING, self.project.rules)
        return Listing(operation.exchange, operation.namespace, coverage, self._seals)

    def _purging(self, targets: Purge, timeout: float | None) -> Flow[Receipt]:
        check_type("the purge", targets, Purge, "one that Purge.of(groups=…) made")
        return self._audited("purge", targets.as_json(), purge(self._operation(timeout), targets))

    def _telling(self, receipt: Receipt) -> Flow[Receipt]:
        check_type("the receipt", receipt, Receipt, _A_RECEIPT)
        return tell_again(self._operation(CHECK_SECONDS), receipt)

    def _waiting(self, receipt: Receipt, timeout: float | None) -> Flow[Visible]:
        check_type("the receipt", receipt, Receipt, _A_RECEIPT)
        return wait_until_visible(self._operation(timeout), receipt)

    def _switching(self, setting: Setting) -> Flow[SwitchRecord]:
        details = {"kind": setting.kind.value, "rule": setting.rule, "reason": setting.reason}
        details["until"] = setting.until.isoformat() if setting.until else "now"
        return self._audited("switch", details, switch(self._operation(CHECK_SECONDS), setting))

    async def _switches(self) -> tuple[SwitchRecord, ...]:
        state = await read_state(self._operation(CHECK_SECONDS))
        return tuple(map(SwitchRecord.of, state.switches))

    def _adding_keys(
        self, keys: Iterable[NewApiKey], reason: str, timeout: float | None
    ) -> Flow[ApiKeysReceipt]:
        check_type("keys", keys, Iterable, "a list of NewApiKey")
        given, lifetime = tuple(keys), self.project.api_key_lifetime
        for key in given:
            check_type("one of the keys", key, NewApiKey, "a NewApiKey")
        check_type("reason", reason, str, "a text")
        adding = add_keys(self._operation(timeout), given, lifetime, reason)
        return self._audited("add keys", {"keys": len(given), "reason": reason}, adding)

    def _revoking_keys(self, wanted: Wanted, reason: str, timeout: float | None) -> Flow[ApiKeysReceipt]:
        check_type("reason", reason, str, "a text")
        revoking = revoke_keys(self._operation(timeout), wanted, self.project.api_key_lifetime, reason)
        return self._audited("revoke keys", {"claims": wanted.claims, "reason": reason}, revoking)

    def _publishing(self, publication: Publication, timeout: float | None) -> Flow[Published]:
        if self._log:
            self._log.check_publication(url_mark(parse_url(publication.url)))
        details = {"url": publication.url, "groups": list(publication.groups), "bytes": len(publication.body)}
        return self._audited("publish", details, publish(self._operation(timeout), publication, self.project))

    def _examining(self, *, may_write: bool) -> Flow[list[Finding]]:
        return examine(self._operation(CHECK_SECONDS), self.project, may_write=may_write)

    def _rendered(self, url: str, body: Body, given: PublishArguments) -> tuple[Rendered, PublishArguments]:
        if not callable(body):
            return body, given
        born = self.now()
        with made_to_publish(url) as reads:
            made = body()
        return made, _completed(given, born, reads)

    async def _rendered_async(
        self, url: str, body: AsyncBody, given: PublishArguments
    ) -> tuple[Rendered, PublishArguments]:
        if not callable(body):
            return body, given
        born = self.now()
        with made_to_publish(url) as reads:
            made = body()
            if isawaitable(made):
                made = await made
        return made, _completed(given, born, reads)

    def _publication(self, url: str, body: Rendered, arguments: PublishArguments) -> Publication:
        parse_url(url)
        for name, value in arguments.items():
            if name in _PUBLISHED_TYPES:
                check_type(name, value, *_PUBLISHED_TYPES[name])
        for name in ("headers", "request_headers"):
            check_header_fields(name, arguments.get(name, {}))
        born = self._birth(arguments)
        content, media_type = encoded(body, url)
        headers = dict(arguments.get("headers", {}))
        if media_type and "content-type" not in {name.lower() for name in headers}:
            headers["content-type"] = media_type
        groups = map(text, texts(arguments.get("groups", ())))
        return Publication(
            url=url,
            body=content,
            birth_ms=round(born.timestamp() * 1000),
            status=arguments.get("status", 200),
            fields=tuple(headers.items()),
            groups=tuple(groups),
            request_headers=arguments.get("request_headers", {}),
            identity=arguments.get("identity", {}),
            method=arguments.get("method", "GET"),
            content=arguments.get("content", b""),
        )

    def _birth(self, arguments: PublishArguments) -> datetime:
        if "born" not in arguments:
            raise InvalidRequest(
                "publish can't know when this body was rendered, and a purge since then must win: pass a "
                "function that renders it, or born=client.now() taken before rendering"
            )
        born = arguments["born"]
        if born.tzinfo is None:
            raise InvalidRequest(f"born = {born}: has no time zone; take it from client.now()")
        if "after" in arguments:
            born = max(born, arguments["after"].latest_moment + timedelta(milliseconds=1))
        return born

    async def _audited(self, action: str, details: dict[str, Any], flow: Flow[_Result]) -> _Result:
        try:
            result = await flow
        except BaseException as error:
            receipt = error.receipt if isinstance(error, PartialPurgeError) else None
            self._tell(action, details, receipt, outcome_of(error))
            raise
        self._tell(action, details, result, "done")
        return result

    def _tell(self, action: str, details: dict[str, Any], result: object, outcome: str) -> None:
        rules, summary = self.project.rules, dict(details)
        if "url" in summary:
            summary["url"] = shown_url(summary["url"], rules)
        if "urls" in summary:
            summary["urls"] = [shown_url(url, rules) for url in summary["urls"]]
        match result:
            case Receipt():
                summary |= {
                    "id": result.id,
                    "marks": len(result.marks),
                    "requests": result.requests,
                    "deleted": result.deleted,
                    **({"log": len(result.log), "told": result.told} if result.log else {}),
                }
            case ApiKeysReceipt():
                counts = {name: len(getattr(result, name)) for name in ("added", "changed", "revoked")}
                written = (*result.added, *result.changed, *result.revoked)
                summary |= {**counts, "digests": list(written[:_TOLD_DIGESTS]), "requests": result.requests}
            case SwitchRecord():
                summary |= {"id": result.id, "told": result.told}
            case Published():
                summary |= {"key": result.key, "requests": result.requests}
        _log.info("%s %s: %s", action, summary.get("id", summary.get("url", "")), outcome)
        if not self._audit:
            return
        now = datetime.fromtimestamp(self.options.clock.now(), UTC)
        try:
            self._audit(AuditEvent(now, action, self.settings.actor, outcome, summary))
        except Exception:  # noqa: BLE001 - an auditor is anyone's code
            # What is purged is purged: an audit that can't be written must not make it look undone.
            _log.exception("the audit of %s isn't written", action)


def _as_proxy(values: dict[Any, Any]) -> MappingProxyType[Any, Any]:
    return MappingProxyType(values)


def _proxied(
    proxy: MappingProxyType[Any, Any],
) -> tuple[Callable[..., MappingProxyType[Any, Any]], tuple[Any, ...]]:
    return _as_proxy, (dict(proxy),)


# A project's rules hold such, which pickle leaves out.
copyreg.pickle(MappingProxyType, _proxied)


def _made_again(
    kind: Callable[..., object],
    settings: Settings,
    project: Project,
    options: Options,
    transports: Mapping[str, object],
) -> object:
    return kind(settings, project=project, options=options, **transports)


def _completed(given: PublishArguments, born: datetime, reads: Reads) -> PublishArguments:
    groups = (*texts(given.get("groups", ())), *reads.groups)
    return {"born": born, **given, "groups": groups}


def resolved(
    settings: Settings | None, project: Project | None, arguments: Mapping[str, Any]
) -> tuple[Settings, Project]:
    """Return settings and project from what a client was given, else from the environment."""
    project = project or DEFAULT_PROJECT
    if settings is None:
        settings = Settings.from_environment(default_namespace_id=project.namespace_id, **arguments)
    if settings.mark_interval < project.mark_interval:
        settings = replace(settings, mark_interval=project.mark_interval)
    return settings, project
