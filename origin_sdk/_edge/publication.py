"""Update instead of purge: write a response into KV before anyone requests it, as the Worker itself would."""

import gzip
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

from origin_sdk._cloudflare.effects import Work
from origin_sdk._cloudflare.kv import Namespace, Pair
from origin_sdk._edge.candidate import Candidate, Publication
from origin_sdk._edge.purge import Operation
from origin_sdk._edge.seals import ClientSeals
from origin_sdk._edge.stored_responses import read_listed
from origin_sdk._values.brotli import brotli_module
from origin_sdk._values.errors import InvalidRequest, NotCacheable
from origin_sdk._values.header_fields import combined
from origin_sdk._values.project import Project
from origin_sdk._values.targets import parse_url
from origin_sdk_wire.bounds import MAX_RECORD_SECONDS, purge_bound_seconds
from origin_sdk_wire.choices import PublishCoding
from origin_sdk_wire.disguise import applied_rule
from origin_sdk_wire.errors import WireError
from origin_sdk_wire.freshness import freshness_of
from origin_sdk_wire.layout import (
    COMPRESSION_LEVEL,
    apart_key,
    apart_seconds,
    is_apart,
    is_compressible,
    is_smaller,
)
from origin_sdk_wire.marks import group_mark
from origin_sdk_wire.parameters import without_parameters
from origin_sdk_wire.prepared import prepared_for
from origin_sdk_wire.record import Index, Record, head_of, metadata_for
from origin_sdk_wire.seals import SEAL_BYTES, Seal
from origin_sdk_wire.settings import DEFAULT_RULE

__all__ = ["Published", "compressed", "publish"]

_BEST_BYTES, _BEST_QUALITY, _QUICK_QUALITY = 64 * 1024, 11, 9
"""Brotli's best quality takes some 0.8 ms a KB; larger bodies get one that takes a twentieth of that."""
_NONE_NOMINATED = ("",)
"""As the Worker keeps the plain response beside others in the profile `rfc9111`."""


@dataclass(frozen=True, slots=True)
class Published:
    """What was written: ``key`` lives ``seconds`` in KV; from ``visible_by`` on every location has it.

    ``coding`` is how the body is compressed in the store: ``br``, ``gzip`` or ``""`` for not at all.
    """

    url: str
    key: str
    groups: tuple[str, ...]
    fresh_seconds: int
    seconds: int
    stored_bytes: int
    requests: int
    visible_by: datetime
    coding: str = ""

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON types."""
        values = {name: getattr(self, name) for name in self.__slots__}
        return values | {"groups": list(self.groups), "visible_by": self.visible_by.isoformat()}


async def publish(operation: Operation, publication: Publication, project: Project) -> Published:
    """Write a response, with its index of variants where it varies.

    Raises :class:`NotCacheable` for what the Worker would not store.
    """
    rule = applied_rule(publication.method, parse_url(publication.url), project)
    now_ms = max(round(operation.cloudflare_now() * 1000), publication.birth_ms)
    candidate = Candidate(publication, rule, project, now_ms)
    _check(candidate)
    # While keys of the store are changed, each side may look by another one of them first.
    count = len(project.store_keys) if rule and project.conceals(rule) else 1
    stored_bytes, unwritten = 0, replace(candidate, stored_body=await _coded(candidate))
    for number in reversed(range(count)):
        candidate, written_bytes = await _written(operation, replace(unwritten, concealed_by=number))
        stored_bytes += written_bytes
    bound = timedelta(seconds=purge_bound_seconds(project.mark_interval))
    return Published(
        url=_shown(candidate),
        key=candidate.key,
        groups=candidate.groups,
        fresh_seconds=candidate.freshness.lifetime_ms // 1000,
        seconds=candidate.ttl_seconds,
        stored_bytes=stored_bytes,
        requests=operation.exchange.requests,
        visible_by=datetime.fromtimestamp(operation.cloudflare_now(), UTC) + bound,
        coding=candidate.stored_body[0],
    )


async def _coded(candidate: Candidate) -> tuple[str, bytes]:
    """Return the coding in which the body is stored, "" if none pays, and the body so coded."""
    status, body = candidate.publication.status, candidate.publication.body
    if is_compressible(status, candidate.by_name, len(body), candidate.project):
        work: Work[tuple[str, bytes]] = Work(partial(compressed, body, candidate.project.publish_coding))
        coding, smaller = await work
        if is_smaller(len(smaller), len(body)):
            return coding, smaller
    return "", body


async def _written(operation: Operation, candidate: Candidate) -> tuple[Candidate, int]:
    """Write a response under one name, and return how it lies there, and how many bytes that takes."""
    pairs: list[Pair] = []
    index = await _index(operation, candidate)
    if index:
        candidate = replace(candidate, selected_by=_selected_by(candidate, index))
        # The other responses that it leads to may be kept for as long.
        told = json.loads(index.metadata())
        metadata, _ = operation.seals.closed(candidate.seal.of_index, candidate.index_key, told, b"")
        pairs.append(Pair(candidate.index_key, "", MAX_RECORD_SECONDS, metadata))
    apart, stored = _record_pairs(candidate, operation.seals)
    pairs.append(stored)
    if apart:
        await _write(operation, [apart])  # before the record, which must never name a body that isn't there
    await _write(operation, pairs)
    return candidate, sum(len(pair.value) for pair in (*pairs, *([apart] if apart else [])))


def _check(candidate: Candidate) -> None:
    if problems := list(candidate.problems()):
        raise NotCacheable(f"{_shown(candidate)} can't be published: {'; '.join(problems)}")
    try:
        for group in candidate.groups:
            group_mark(group)
        head_of(candidate.record())
    except (WireError, ValueError) as error:
        raise InvalidRequest(f"{_shown(candidate)} can't be published: {error}") from error


def _shown(candidate: Candidate) -> str:
    return str(without_parameters(parse_url(candidate.publication.url), candidate.project.hidden_parameters))


async def _write(operation: Operation, pairs: Sequence[Pair]) -> None:
    by_key = {pair.key: pair for pair in pairs}
    namespace: Namespace = operation.namespace
    await namespace.write(operation.exchange, list(by_key), lambda keys: [by_key[key] for key in keys])


async def _index(operation: Operation, candidate: Candidate) -> Index | None:
    """Return the index that is to lie there: what does, with the names that this response varies by."""
    listed, _ = await operation.namespace.page(operation.exchange, candidate.index_key, "", 10)
    known = next((read_listed(key).index for key in listed if key.name == candidate.index_key), None)
    if not candidate.vary:
        return known
    return known.including(candidate.vary) if known else Index((candidate.vary,))


def _selected_by(candidate: Candidate, index: Index) -> tuple[str, ...]:
    """Return what selects a response, as the Worker has it: where it names nothing, what the others named."""
    if candidate.vary:
        return candidate.vary
    # RFC 9111 section 4.1: the plain response must not take the others' place.
    return index.names if candidate.project.is_safe else _NONE_NOMINATED


def _record_pairs(candidate: Candidate, seals: ClientSeals) -> tuple[Pair | None, Pair]:
    """Return the pair of the body, if it is to lie apart, and that of the record."""
    record, apart = candidate.record(), None
    is_sealed = candidate.seal is not Seal.NONE
    record, body = replace(record, coding=candidate.stored_body[0]), candidate.stored_body[1]
    if is_apart(len(body), candidate.project):
        record = replace(record, body_key=apart_key(candidate.key, record, is_sealed=is_sealed))
        if is_sealed:
            body = seals.closed_body(candidate.seal, record.body_key, body)
        apart = Pair(record.body_key, body, apart_seconds(candidate.ttl_seconds))
        body = b""
    head = head_of(record)
    reserved_bytes = SEAL_BYTES if is_sealed else 0
    text, is_in_front = metadata_for(head, _prepared(candidate, record), reserved_bytes=reserved_bytes)
    value = head.encode() + body if is_in_front else body
    metadata, value = seals.closed(candidate.seal, candidate.key, json.loads(text), value)
    return apart, Pair(candidate.key, value, candidate.ttl_seconds, metadata)


def _prepared(candidate: Candidate, record: Record) -> str:
    rule = candidate.rule or DEFAULT_RULE
    freshness = freshness_of(record, combined(record.fields), rule, candidate.project)
    return prepared_for(freshness, rule, candidate.project)


def compressed(body: bytes, wanted: PublishCoding) -> tuple[str, bytes]:
    """Return a body with the coding that is wanted, or with gzip where Brotli isn't installed, and which."""
    brotli = brotli_module() if wanted is PublishCoding.BR else None
    if brotli is None:
        return "gzip", gzip.compress(body, COMPRESSION_LEVEL, mtime=0)
    quality = _BEST_QUALITY if len(body) <= _BEST_BYTES else _QUICK_QUALITY
    return "br", bytes(brotli.compress(body, mode=brotli.MODE_TEXT, quality=quality))
