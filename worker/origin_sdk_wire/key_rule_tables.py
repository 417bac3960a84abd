"""Reads the part of a rule's table that matches requests and makes keys."""

import re
from collections.abc import Mapping

from origin_sdk_wire.errors import InvalidRule
from origin_sdk_wire.fields import TOKEN
from origin_sdk_wire.key import escape_path
from origin_sdk_wire.rules import KeyBody, KeyRule
from origin_sdk_wire.values import shown_value

__all__ = ["parse_key_rule"]

_LANGUAGE = re.compile(r"[A-Za-z]{1,8}(?:-[A-Za-z0-9]{1,8})*")
_MEDIA_TYPE = re.compile(r"[!#$&^_.+A-Za-z0-9-]+/[!#$&^_.+A-Za-z0-9-]+")
_HOST_PATTERN = re.compile(r"[a-z0-9._~%*:\[\]-]+")


def parse_key_rule(table: Mapping[str, object], where: str) -> KeyRule:
    """Read a rule's table; ``where`` names it in errors, such as ``RULES[2]``.

    Raises :class:`InvalidRule`, which names the setting, the value and the remedy.
    """
    device = _device_field(table, where)
    fields, parameters = _api_key(table, where)
    return KeyRule(
        name=_text(table, "name", where) or where,
        hosts=_hosts(table, where),
        paths=_paths(table, where),
        methods=_methods(table, where),
        query_keep=_texts(table, "query_keep", where) if "query_keep" in table else None,
        query_drop=_texts(table, "query_drop", where),
        query_sort=_flag(table, "query_sort", where),
        no_vary_search=_flag(table, "no_vary_search", where),
        fields=_fields(table, where, device),
        cookies=_tokens(table, "key_cookies", where),
        claims=_texts(table, "key_claims", where),
        parameters=_texts(table, "key_parameters", where),
        api_key_fields=fields,
        api_key_parameters=parameters,
        body=_key_body(table, where),
        preflight=_flag(table, "key_preflight", where),
        languages=_matching(table, "languages", where, _LANGUAGE, "a language tag, such as en or pt-BR"),
        media_types=_matching(table, "media_types", where, _MEDIA_TYPE, "a media type, such as text/html"),
        device_field=device,
    )


def _paths(table: Mapping[str, object], where: str) -> tuple[str, ...]:
    paths = _texts(table, "path", where)
    for path in paths:
        if not path.startswith(("/", "*")):
            raise InvalidRule(
                f"{where}.path = {shown_value(path)}: a path pattern begins with /, such as /products/**"
            )
        if "?" in path:
            raise InvalidRule(
                f"{where}.path = {shown_value(path)}: a pattern sees the path only; "
                "use query_keep or query_drop for parameters"
            )
    return tuple(map(escape_path, paths))


def _hosts(table: Mapping[str, object], where: str) -> tuple[str, ...]:
    hosts = tuple(host.lower() for host in _texts(table, "host", where))
    for host in hosts:
        if not _HOST_PATTERN.fullmatch(host):
            raise InvalidRule(
                f"{where}.host = {shown_value(host)}: isn't a host in ASCII, without scheme and path; "
                "write it as api.example.com or *.example.com"
            )
    return hosts


def _methods(table: Mapping[str, object], where: str) -> frozenset[str]:
    methods = _tokens(table, "methods", where)
    for method in methods:
        # RFC 9110 section 9.1: methods are case-sensitive, and the standard ones are in upper case.
        if method != method.upper():
            raise InvalidRule(
                f"{where}.methods = {shown_value(method)}: methods are case-sensitive; write {method.upper()}"
            )
    return frozenset(methods)


def _device_field(table: Mapping[str, object], where: str) -> str:
    names = _tokens(table, "device_field", where)
    if len(names) > 1:
        raise InvalidRule(f"{where}.device_field = {shown_value(names)}: give one name, such as X-Device")
    return names[0].lower() if names else ""


def _fields(table: Mapping[str, object], where: str, device: str) -> tuple[str, ...]:
    names = [name.lower() for name in _tokens(table, "key_fields", where)]
    return tuple(dict.fromkeys([*names, device] if device else names))


def _api_key(table: Mapping[str, object], where: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the request fields and the query parameters in which there may be an API key."""
    places = _texts(table, "api_key_in", where)
    fields = tuple(place.lower() for place in places if not place.startswith("?"))
    for name in (*fields, *(place for place in places if place == "?")):
        if not TOKEN.fullmatch(name):
            raise InvalidRule(
                f"{where}.api_key_in = {shown_value(name)}: isn't the name of a request field, such as "
                "X-API-Key, or of a query parameter, such as ?api_key"
            )
    return fields, tuple(place[1:] for place in places if place.startswith("?"))


def _matching(
    table: Mapping[str, object], setting: str, where: str, pattern: re.Pattern[str], expects: str
) -> tuple[str, ...]:
    values = _texts(table, setting, where)
    for value in values:
        if not pattern.fullmatch(value):
            raise InvalidRule(f"{where}.{setting} = {shown_value(value)}: isn't {expects}")
    return values


def _key_body(table: Mapping[str, object], where: str) -> KeyBody:
    value = table.get("key_body", False)
    if isinstance(value, bool):
        return KeyBody.RAW if value else KeyBody.NONE
    try:
        return KeyBody(str(value))
    except ValueError as error:
        raise InvalidRule(
            f"{where}.key_body = {shown_value(value)}: write true for the content's bytes, or one of "
            f"{', '.join(KeyBody)}"
        ) from error


def _text(table: Mapping[str, object], setting: str, where: str) -> str:
    value = table.get(setting, "")
    if not isinstance(value, str):
        raise InvalidRule(
            f'{where}.{setting} = {shown_value(value)}: give one string, such as {setting} = "..."'
        )
    return value


def _texts(table: Mapping[str, object], setting: str, where: str) -> tuple[str, ...]:
    value = table.get(setting, ())
    values = [value] if isinstance(value, str) else value
    if not isinstance(values, list | tuple) or not all(isinstance(item, str) and item for item in values):
        raise InvalidRule(
            f"{where}.{setting} = {shown_value(value)}: give a string or a list of strings, "
            f'such as {setting} = ["..."]'
        )
    return tuple(values)


def _tokens(table: Mapping[str, object], setting: str, where: str) -> tuple[str, ...]:
    values = _texts(table, setting, where)
    for value in values:
        if not TOKEN.fullmatch(value):
            raise InvalidRule(
                f"{where}.{setting} = {shown_value(value)}: isn't a name that HTTP "
                "allows; use letters, digits and -"
            )
    return values


def _flag(table: Mapping[str, object], setting: str, where: str) -> bool:
    value = table.get(setting, False)
    if not isinstance(value, bool):
        raise InvalidRule(
            f"{where}.{setting} = {shown_value(value)}: write {setting} = true or {setting} = false"
        )
    return value
