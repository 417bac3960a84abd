"""Is everything as it must be?

Token, namespace, wire version, clock, and settings that make no sense together.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from origin_sdk._cloudflare.effects import Call
from origin_sdk._cloudflare.exchange import envelope
from origin_sdk._cloudflare.kv import Pair
from origin_sdk._edge.api_keys import read_keys_page
from origin_sdk._edge.purge import Operation
from origin_sdk._edge.switches import SwitchRecord, read_state
from origin_sdk._edge.unlogged import unlogged
from origin_sdk._values.errors import AuthenticationFailed, CloudflareError, NamespaceNotFound, OriginSdkError
from origin_sdk._values.project import Project
from origin_sdk_wire import WIRE_VERSION
from origin_sdk_wire.errors import BrokenSeal
from origin_sdk_wire.key import BODY_PREFIXES, RECORD_PREFIX
from origin_sdk_wire.marks import MARK_PREFIX
from origin_sdk_wire.purge_log.messages import LogState
from origin_sdk_wire.seals import note_of

__all__ = ["Finding", "Grade", "examine", "require_namespace"]

_PROBE_KEY = "probe/origin-sdk-doctor"
_PROBE_SECONDS = 60
_GREATEST_SKEW_SECONDS = 30.0
_NAMED = 5
_SAMPLED_KEYS = 100
_KNOWN_PREFIXES = ((RECORD_PREFIX,), BODY_PREFIXES, (MARK_PREFIX,))


class Grade(StrEnum):
    """How bad a finding is."""

    GOOD = "ok"
    WARNING = "warning"
    BAD = "problem"


@dataclass(frozen=True, slots=True)
class Finding:
    """What was examined, how it stands, and what to do."""

    check: str
    verdict: Grade
    message: str

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON types."""
        return {"check": self.check, "verdict": self.verdict.value, "message": self.message}


async def examine(operation: Operation, project: Project, *, may_write: bool = True) -> list[Finding]:
    """Examine everything that can be seen from here; writes one key that lives a minute, if it may."""
    findings: list[Finding] = list(_settings(operation, project))
    checks = {
        "token": _token,
        "namespace": _namespace,
        **({"write permission": _writing} if may_write else {}),
    }
    for name, check in checks.items():
        try:
            finding = await check(operation)
        except OriginSdkError as error:
            finding = Finding(name, Grade.BAD, str(error))
        findings.append(finding)
        if finding.verdict is Grade.BAD and name != "token":
            # Of an API that wasn't reached nothing is known.
            return [*findings, *([_clock(operation)] if operation.exchange.skew.is_known else [])]
    findings += await _wire_version(operation)
    findings += await _seals(operation)
    findings += await _api_keys(operation) if project.api_keys_in_kv else []
    findings += await _purge_log(operation, project)
    return [*findings, _clock(operation)]


def _settings(operation: Operation, project: Project) -> Iterator[Finding]:
    settings = operation.settings
    differences = list(project.differences(settings.namespace_id, settings.mark_interval))
    for difference in differences:
        yield Finding("settings", Grade.BAD, difference)
    if project.stale_if_error > project.retention:
        yield Finding(
            "settings",
            Grade.WARNING,
            f"STALE_IF_ERROR = {project.stale_if_error} s is longer than RETENTION = "
            f"{project.retention} s: raise RETENTION, "
            "so that KV doesn't drop what is to stand in for the origin",
        )
    if not differences:
        yield Finding("settings", Grade.GOOD, f"namespace {settings.namespace_id} at {settings.account_url}")


async def _token(operation: Operation) -> Finding:
    """Ask what the token is: an account's own token, else a user's."""
    if not operation.settings.is_cloudflare:
        return Finding("token", Grade.GOOD, "not needed: the API isn't Cloudflare's own")
    base = operation.settings.base_url.rstrip("/")
    for url in (f"{operation.settings.account_url}/tokens/verify", f"{base}/user/tokens/verify"):
        try:
            reply = await operation.exchange.send(Call("GET", url))
            status = (envelope(reply).get("result") or {}).get("status", "unknown")
        except CloudflareError:
            continue
        verdict = Grade.GOOD if status == "active" else Grade.BAD
        return Finding("token", verdict, f"Cloudflare says: {status}")
    return Finding(
        "token", Grade.BAD, "Cloudflare doesn't know the token: create one with Workers KV Storage Write"
    )


async def _namespace(operation: Operation) -> Finding:
    keys, _ = await operation.namespace.page(operation.exchange, "", "", 10)
    if operation.settings.is_cloudflare:
        return Finding("namespace", Grade.GOOD, "it is there, and the token may list it")
    known = await _known_namespaces(operation)
    if problem := _unknown(operation.settings.namespace_id, known):
        return Finding("namespace", Grade.BAD, problem)
    holds = "it holds keys" if keys else "it is empty"
    if known:
        return Finding("namespace", Grade.GOOD, f"the Worker that runs there has it; {holds}")
    return Finding(
        "namespace",
        Grade.WARNING,
        f"the API answers for any name, and doesn't say which the Worker has; {holds}",
    )


async def require_namespace(operation: Operation) -> None:
    """Ask a local API, which takes marks for any namespace, whether a Worker there has this one.

    Raises NamespaceNotFound if another one runs there; Cloudflare says so itself.
    """
    if operation.settings.is_cloudflare:
        return
    if problem := _unknown(operation.settings.namespace_id, await _known_namespaces(operation)):
        raise NamespaceNotFound(problem)


def _unknown(name: str, known: Sequence[str]) -> str:
    """Say what is wrong with a namespace of which the local API doesn't know; nothing if it lists none."""
    if not known or name in known:
        return ""
    return (
        f"the local API answers for any name, but the Worker that runs there has {', '.join(known)}, not "
        f"{name}: set EDGE_CACHE_NAMESPACE_ID, or --namespace, to it"
    )


async def _known_namespaces(operation: Operation) -> list[str]:
    """Return the namespaces that a local API lists; none where it lists nothing."""
    url = f"{operation.settings.account_url}/storage/kv/namespaces"
    try:
        listed = envelope(await operation.exchange.send(Call("GET", url))).get("result")
    except OriginSdkError:  # what is asked for next says it better
        return []
    entries = listed if isinstance(listed, list) else []
    return [str(each["id"]) for each in entries if isinstance(each, dict) and "id" in each]


async def _writing(operation: Operation) -> Finding:
    pair = Pair(_PROBE_KEY, "", _PROBE_SECONDS)
    try:
        await operation.namespace.write(operation.exchange, [pair.key], lambda _: [pair])
        await operation.namespace.delete(operation.exchange, [pair.key])
    except AuthenticationFailed as error:
        return Finding(
            "write permission", Grade.BAD, f"the token may read but not write, so it can't purge: {error}"
        )
    return Finding("write permission", Grade.GOOD, "the token may write and delete")


async def _wire_version(operation: Operation) -> list[Finding]:
    """Tell by the keys' prefixes which versions of the wire contract write into the namespace."""
    findings: list[Finding] = []
    seen: set[str] = set()
    for kind, known in zip("rbm", _KNOWN_PREFIXES, strict=True):
        versions = await _versions(operation, kind)
        seen |= versions
        if foreign := sorted(versions.difference(known)):
            findings.append(
                Finding(
                    "wire version",
                    Grade.BAD,
                    f"keys begin with {', '.join(foreign)}, this SDK writes {' and '.join(known)}: another "
                    "version of the Worker stores there; install the SDK of the Worker's version",
                )
            )
    if findings:
        return findings
    if RECORD_PREFIX in seen:
        good = f"what is stored there is of version {WIRE_VERSION}, this SDK's"
        return [Finding("wire version", Grade.GOOD, good)]
    # Marks prove nothing: anyone who purges writes them, this SDK included.
    what = "only purge marks are there, no response" if MARK_PREFIX in seen else "nothing is stored there yet"
    remedy = "send a request through the Worker, then ask again"
    return [Finding("wire version", Grade.WARNING, f"{what}: {remedy}")]


async def _seals(operation: Operation) -> list[Finding]:
    """Tell by which keys is sealed what lies there, and whether this machine has them."""
    own = {key.id for key in operation.seals.keys}
    sealed_by: set[str] = set()
    unsealed: Counter[str] = Counter()
    for prefix in (RECORD_PREFIX, MARK_PREFIX):
        listed, _ = await operation.namespace.page(operation.exchange, prefix, "", _SAMPLED_KEYS)
        for key in listed:
            with suppress(BrokenSeal):
                note = note_of(key.metadata)
                sealed_by |= {note.key_id} if note else set()
                unsealed[_author(key.metadata)] += note is None and prefix == MARK_PREFIX
    if unknown := sorted(sealed_by - own):
        message = (
            f"what lies there is sealed by {', '.join(unknown)}, which EDGE_CACHE_STORE_KEYS doesn't have: "
            "what this machine purges and publishes may not count; give it the Worker's STORE_KEYS"
        )
        return [Finding("seals", Grade.WARNING if own & sealed_by else Grade.BAD, message)]
    if own and not sealed_by:
        message = "nothing that was looked at is sealed: set STORE_KEYS at the Worker, too"
        return [Finding("seals", Grade.WARNING, message)]
    if own and unsealed.total():
        by = ", ".join(f"{name} ({count})" for name, count in unsealed.most_common(_NAMED) if count)
        message = (
            f"{unsealed.total()} of the marks that were looked at aren't sealed, by {by}: the Worker counts "
            "none of these purges; unless they are older than its STORE_KEYS, give those who purge "
            "EDGE_CACHE_STORE_KEYS, and purge again"
        )
        return [Finding("seals", Grade.WARNING, message)]
    good = f"what lies there is sealed by {', '.join(sorted(sealed_by))}"
    return [Finding("seals", Grade.GOOD, good)] if own else []


async def _api_keys(operation: Operation) -> list[Finding]:
    """Tell what a page of the API keys in KV shows, where the Worker looks for some."""
    keys, cursor = await read_keys_page(operation, "")
    count, forged = len(keys), sum(key.is_forged for key in keys)
    if not keys:
        message = "API_KEYS_IN_KV is set, and KV has no key: add some with `origin-sdk keys`"
        return [Finding("API keys", Grade.WARNING, message)]
    if forged:
        message = (
            f"{forged} of {count} entries aren't sealed by any of the keys, or can't be read: the Worker "
            "counts none of these; `origin-sdk keys list` names them, and adding such a key again mends it"
        )
        return [Finding("API keys", Grade.BAD, message)]
    revoked, more = sum(key.revoked is not None for key in keys), " at least" if cursor else ""
    return [Finding("API keys", Grade.GOOD, f"KV has {count}{more}, {revoked} of them revoked")]


def _author(metadata: object) -> str:
    """Return who wrote a mark, by what lies beside it."""
    by = metadata.get("by") if isinstance(metadata, Mapping) else None
    return str(by or "somebody")


async def _purge_log(operation: Operation, project: Project) -> list[Finding]:
    """Ask how the purge log is, if there is one; a switch that is on is something to know of."""
    log, check = operation.log, "purge log"
    if log is None:
        return []
    if not log.can_tell:
        missing = (
            "the Worker has one, and isn't told of purges: it finds them in KV within about a minute; set "
            "EDGE_CACHE_LOG_URL and EDGE_CACHE_LOG_KEY"
        )
        return [Finding(check, Grade.WARNING, missing)]
    if project.namespace_id and not project.purge_log:
        unbound = "EDGE_CACHE_LOG_URL is set, but wrangler.toml binds no PURGE_LOG: see docs/purge-log.md"
        return [Finding(check, Grade.WARNING, unbound)]
    try:
        state = await read_state(operation)
    except OriginSdkError as error:
        return [Finding(check, Grade.BAD, f"{error}; purges are seen as late as without it")]
    covers_from = datetime.fromtimestamp(state.covers_from_ms / 1000, UTC)
    good = (
        f"it knows all purges since {covers_from:%Y-%m-%d %H:%M} UTC, {state.entries} of them; "
        f"locations that read it lately: {', '.join(sorted(state.readers)) or 'none'}"
    )
    on = [Finding("switch", Grade.WARNING, str(SwitchRecord.of(each))) for each in state.switches]
    return [Finding(check, Grade.GOOD, good), *await _unlogged(operation, state), *on]


async def _unlogged(operation: Operation, state: LogState) -> list[Finding]:
    """Name those whose purges are in no entry of the log."""
    try:
        made = await unlogged(operation, state.covers_from_ms)
    except OriginSdkError as error:
        return [Finding("purge log", Grade.WARNING, f"can't tell whether all purges are in it: {error}")]
    if not made:
        return []
    by = ", ".join(f"{name} ({count})" for name, count in made.most_common(_NAMED))
    missing = (
        f"{made.total()} recent purges are in no entry of it, by {by}: what was young then may be served "
        "until PURGE_LOG_WINDOW is over; give these clients EDGE_CACHE_LOG_KEY or your wrangler.toml, and "
        "purge again"
    )
    return [Finding("purge log", Grade.BAD, missing)]


async def _versions(operation: Operation, kind: str) -> set[str]:
    found: set[str] = set()
    for digit in "123456789":
        keys, _ = await operation.namespace.page(operation.exchange, f"{kind}{digit}", "", 10)
        found |= {key.name.partition("/")[0] + "/" for key in keys}
        if not keys and int(digit) > WIRE_VERSION:
            break
    return found


def _clock(operation: Operation) -> Finding:
    skew = operation.exchange.skew
    if not skew.is_known:
        return Finding("clock", Grade.GOOD, "the API sends no Date: this machine's clock is used")
    if abs(skew.seconds) > _GREATEST_SKEW_SECONDS:
        return Finding(
            "clock",
            Grade.WARNING,
            f"this machine's clock is {abs(skew.seconds):.0f} s "
            f"{'behind' if skew.seconds > 0 else 'ahead'}: purges correct "
            "for it, but set it (NTP)",
        )
    return Finding("clock", Grade.GOOD, f"within {abs(skew.seconds) + 1:.0f} s of Cloudflare's")
