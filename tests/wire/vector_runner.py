"""Runs golden vectors without a test framework, so that the same ones run in CPython and in workerd.

A vector is ``{"id", "says", "section", "check", "given", "expected"}``. ``check`` names a function of
``CHECKS`` and ``given`` its arguments; an ``expected`` of ``{"error": NAME}`` is the class that must be
raised. Inside both, ``{"repeat": TEXT, "times": N}`` and ``{"join": [...]}`` write long texts.
"""

import json
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from origin_sdk_wire import (
    WireError,
    directives,
    freshness,
    key,
    key_rule_tables,
    marks,
    prepared,
    record,
    rules,
    seals,
    settings,
    signed_requests,
    structured,
    vary,
)
from origin_sdk_wire.api_keys import key_digest
from origin_sdk_wire.content import content_key
from origin_sdk_wire.key_entries import kv_key, read_entry
from origin_sdk_wire.purge_log import entries as log_entries
from origin_sdk_wire.purge_log import messages as log_messages
from origin_sdk_wire.purge_log import metadata as log_metadata

__all__ = ["CHECKS", "run_vectors"]

Json = Any


def run_vectors(text: str) -> list[str]:
    """Run the vectors of a file's text; return a line for each that fails."""
    return [failure for vector in json.loads(text)["vectors"] if (failure := _failure(vector))]


def _failure(vector: dict[str, Json]) -> str:
    expected = _expanded(vector["expected"])
    try:
        actual = json.loads(json.dumps(CHECKS[vector["check"]](**_expanded(vector["given"]))))
    except ValueError as error:
        actual = {"error": type(error).__name__ if isinstance(error, WireError) else "ValueError"}
    # 1, 1.0 and true are equal to Python, and not the same here.
    same = json.dumps(actual, sort_keys=True) == json.dumps(expected, sort_keys=True)
    return "" if same else f"{vector['id']}: {vector['says']}: expected {expected!r}, got {actual!r}"


def _expanded(value: Json) -> Json:
    match value:
        case {"repeat": str(part), "times": int(times)}:
            return part * times
        case {"join": [*parts]}:
            return "".join(map(_expanded, parts))
        case dict():
            return {name: _expanded(member) for name, member in value.items()}
        case list():
            return [_expanded(member) for member in value]
    return value


def _target(url: str) -> Json:
    return str(key.parse_target(url))


def _record_key(url: str) -> Json:
    return key.record_key(key.parse_target(url))


def _variant_key(url: str, parts: list[list[str | None]]) -> Json:
    return key.variant_key(_record_key(url), [(str(name), value) for name, value in parts])


def _content_parts(method: str, kind: str, fields: dict[str, str], content: str) -> Json:
    parts = content_key(method, rules.KeyBody(kind), fields, content.encode()).parts
    return parts and [list(part) for part in parts]


def _selecting(vary_value: str, request: dict[str, str]) -> Json:
    return vary.selecting_values(vary.selecting_names({"vary": vary_value}), request)


def _key_target(rule: dict[str, Json], url: str) -> Json:
    return str(rules.key_target(key_rule_tables.parse_key_rule(rule, "RULES[0]"), key.parse_target(url)))


def _first_match(tables: list[dict[str, Json]], method: str, url: str) -> Json:
    read = [key_rule_tables.parse_key_rule(table, f"RULES[{number}]") for number, table in enumerate(tables)]
    rule = rules.first_match(read, method, key.parse_target(url))
    return rule.name if rule else None


def _mark_names(url: str) -> Json:
    target = key.parse_target(url)
    return {
        "everything": marks.EVERYTHING,
        "host": marks.host_mark(target.host),
        "url": marks.url_mark(target),
        "prefix index": marks.prefix_index_mark(target.host),
        "prefix": marks.prefix_mark(target),
        "prefixes": list(marks.prefix_marks(target)),
    }


def _prefix_mark(url: str) -> Json:
    return marks.prefix_mark(key.parse_target(url))


def _prefix_marks(url: str) -> Json:
    return list(marks.prefix_marks(key.parse_target(url)))


def _shared_names(url: str, *, has_groups: bool) -> Json:
    return list(marks.shared_names(key.parse_target(url), has_groups=has_groups))


def _indexed_names(index: str, url: str, groups: list[str]) -> Json:
    return list(marks.indexed_names(index, key.parse_target(url), groups))


def _written_keys(names: list[str], lane: str) -> Json:
    return list(marks.written_keys(names, marks.Lane(lane)))


def _mark_value(key: str, moment_ms: int, purge_id: str) -> Json:
    return marks.value_of(key, marks.Mark(moment_ms, purge_id))


def _mark_key(name: str, lane: str) -> Json:
    return marks.mark_key(name, marks.Lane(lane))


def _read_mark(value: str) -> Json:
    mark = marks.parse_mark(value)
    return {"moment_ms": mark.moment_ms, "purge_id": mark.purge_id}


def _log_entries(purge_id: str, moment_ms: int, names: list[str], **said: Json) -> Json:
    entries = log_metadata.purged(purge_id, moment_ms, names, **said)
    return {log_entries.entry_key(entry): log_metadata.metadata_of(entry) for entry in entries}


def _log_sizes(purge_id: str, moment_ms: int, names: list[str], **said: Json) -> Json:
    entries = log_metadata.purged(purge_id, moment_ms, names, **said)
    fit = all(len(json.dumps(log_metadata.metadata_of(entry))) <= 1024 for entry in entries)
    return {"entries": len(entries), "fit": fit, "names": sum(len(entry.names) for entry in entries)}


def _read_log_entry(key: str, metadata: Json) -> Json:
    entry = log_metadata.parse_entry(log_entries.id_of(key), metadata)
    return {name: getattr(entry, name) for name in entry.__slots__}


def _log_prefixes(since_ms: int, until_ms: int) -> Json:
    return list(log_entries.listing_prefixes(since_ms, until_ms))


def _log_page(page: Json) -> Json:
    return json.loads(str(log_messages.parse_page(json.dumps(page))))


def _log_key(key_id: str, **table: Json) -> signed_requests.LogKey:
    return signed_requests.parse_keys({key_id: table})[key_id]


def _signed(key_id: str, secret: str, path: str, body: str, time_ms: int, nonce: str) -> Json:
    return signed_requests.sign(_log_key(key_id, secret=secret), path, body.encode(), time_ms, nonce)


def _may_purge(scope: Json, name: str) -> Json:
    return _log_key("k", secret="s" * 32, **scope).covers(name)


def _head(**members: Json) -> Json:
    return record.head_of(_record(members))


def _read_head(head: str) -> Json:
    read = record.parse_head(head)
    return {name: getattr(read, name) for name in record.Record.__dataclass_fields__}


def _record(members: dict[str, Json]) -> record.Record:
    fields = tuple((name, value) for name, value in members.pop("fields", []))
    return record.Record(fields=fields, groups=tuple(members.pop("groups", [])), **members)


def _metadata(head: str, prepared: str = "") -> Json:
    metadata, is_in_front = record.metadata_for(head, prepared)
    return {"metadata": json.loads(metadata), "in front of the body": is_in_front}


def _read_metadata(metadata: Json) -> Json:
    read = record.read_metadata(metadata)
    return {"sets": read.sets} if isinstance(read, record.Index) else read


def _prepared(given: Json) -> Json:
    rule, configured = _of_lifetimes(given)
    fields = tuple((name, value) for name, value in given["fields"].items())
    stored = record.Record(200, given["birth_ms"], given["birth_ms"], 0, fields)
    found = freshness.freshness_of(stored, given["fields"], rule, configured)
    return prepared.prepared_for(found, rule, configured)


def _read_prepared(line: str, given: Json) -> Json:
    found = prepared.read_prepared(line, *_of_lifetimes(given))
    return found and asdict(found)


def _of_lifetimes(given: Json) -> tuple[settings.Rule, settings.Settings]:
    return settings.Rule(**given.get("rule", {})), settings.Settings(**given.get("settings", {}))


def _index(sets: list[list[str]], latest: list[str]) -> Json:
    index = record.Index(tuple(map(tuple, sets))).including(tuple(latest))
    return json.loads(index.metadata())


def _dictionary(value: str) -> Json:
    return {name: _item(item) for name, item in structured.parse_dictionary(value).items()}


def _item(item: structured.BareItem) -> Json:
    if isinstance(item, tuple):
        return [_item(member) for member in item]
    return {"bytes": item.decode()} if isinstance(item, bytes) else item


def _cache_control(value: str) -> Json:
    return directives.parse_cache_control(value).arguments


def _store_keys(keys: str) -> Json:
    return [key.id for key in seals.parse_store_keys(keys)]


def _derived(keys: str, purpose: str) -> Json:
    return seals.derived(seals.parse_store_keys(keys)[0], seals.Purpose(purpose)).hex()


def _api_key_place(key: str, secret: str) -> Json:
    return kv_key(key_digest(key, secret))


def _api_key_entry(metadata: Json) -> Json:
    entry = read_entry(metadata)
    key = entry.api_key
    return {
        "claims": dict(key.claims),
        "begins": key.begins_seconds,
        "ends": key.ends_seconds,
        "revoked": key.is_revoked,
        "written": entry.metadata(),
    }


def _sealed_text(keys: str, key: str, text: str) -> Json:
    return seals.sealed_text(seals.parse_store_keys(keys)[0], key, text)


def _opened_text(keys: str, key: str, value: str) -> Json:
    return seals.opened_text(seals.parse_store_keys(keys), key, value)


def _authenticated(keys: str, key: str, metadata: Json, value: str) -> Json:
    return seals.authenticated(seals.parse_store_keys(keys)[0], key, metadata, value.encode())


def _verified(keys: str, key: str, metadata: Json, value: str) -> Json:
    return seals.verified(seals.parse_store_keys(keys), key, metadata, value.encode())


def _bound_to_value(key_id: str, key: str, metadata: Json) -> Json:
    return seals.bound_to_value(key_id, key, metadata).decode()


def _parts(header: str) -> Json:
    parts = seals.parse_parts(bytes.fromhex(header))
    return {
        "seal": parts.seal.value,
        "key_id": parts.key_id,
        "size_bytes": parts.size_bytes,
        "count": parts.count,
        "sealed_bytes": parts.sealed_bytes,
        "bound": seals.bound_to_body(parts, "b2/0f3c", 1).decode(),
    }


def _concealed(keys: str, parts: list[list[str | None]]) -> Json:
    read = [(str(name), value) for name, value in parts]
    return [list(part) for part in seals.concealed(read, seals.parse_store_keys(keys)[0])]


CHECKS: dict[str, Callable[..., Json]] = {
    "authenticated": _authenticated,
    "body key": key.body_key,
    "bound to value": _bound_to_value,
    "cache control": _cache_control,
    "concealed": _concealed,
    "content parts": _content_parts,
    "derived key": _derived,
    "dictionary": _dictionary,
    "first match": _first_match,
    "group mark": marks.group_mark,
    "head": _head,
    "index": _index,
    "key target": _key_target,
    "shared names": _shared_names,
    "indexed names": _indexed_names,
    "written keys": _written_keys,
    "log entries": _log_entries,
    "log name": log_entries.logged_name,
    "log page": _log_page,
    "log prefixes": _log_prefixes,
    "log sizes": _log_sizes,
    "mark value": _mark_value,
    "may purge": _may_purge,
    "mark key": _mark_key,
    "mark names": _mark_names,
    "metadata": _metadata,
    "opened text": _opened_text,
    "parts": _parts,
    "prefix mark": _prefix_mark,
    "prepared": _prepared,
    "read prepared": _read_prepared,
    "prefix marks": _prefix_marks,
    "read head": _read_head,
    "read log entry": _read_log_entry,
    "read mark": _read_mark,
    "read metadata": _read_metadata,
    "record key": _record_key,
    "API key's place": _api_key_place,
    "API key's entry": _api_key_entry,
    "sealed text": _sealed_text,
    "selecting": _selecting,
    "serialised strings": structured.serialise_strings,
    "signed request": _signed,
    "store keys": _store_keys,
    "strings": structured.parse_strings,
    "target": _target,
    "variant key": _variant_key,
    "verified": _verified,
}
