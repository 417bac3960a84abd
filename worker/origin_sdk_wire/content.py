"""The content of a request as a part of the key: of QUERY (RFC 10008 section 2.7), and of POST by a rule.

"The cache key for a QUERY request MUST incorporate the request content and related metadata." Values are only
ever kept as a digest. What is normalised is so for the key alone: the origin gets the bytes that came.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256

from origin_sdk_wire.key import KeyParts, Target
from origin_sdk_wire.parameters import has_undeclared
from origin_sdk_wire.rules import CONTENT_METHODS, KeyBody
from origin_sdk_wire.strict_json import strictly_read

__all__ = ["ContentKey", "content_key", "is_query_document", "may_do_otherwise"]

_METADATA = ("content-encoding", "content-language")
_JSON = re.compile(r"application/(?:[!#$&^_.+a-z0-9-]+\+)?json", re.ASCII)
_DIGEST = re.compile(r"[0-9a-f]{64}")
# The quantifiers are possessive: a string that isn't closed must not be read as one that ends earlier.
_LEXEME = re.compile(
    r'"""(?:\\"""|(?!""").)*+"""|"(?:\\.|[^"\\\n\r])*+"|#[^\n\r]*+|(?P<name>[_A-Za-z][_0-9A-Za-z]*+)'
    r'|(?P<open>[{(\[])|(?P<close>[})\]])|(?P<stray>")',
    re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class ContentKey:
    """What a content adds to the key; ``parts`` are ``None`` if it can't be told to be a query."""

    parts: KeyParts | None
    is_write: bool = False
    """Whether it says itself that it changes something, or can't be read."""


def content_key(method: str, kind: KeyBody, fields: Mapping[str, str], content: bytes) -> ContentKey:
    """Return what the content of a request adds to its key.

    ``fields`` are the request's, names in lower case. The method is a part, so that no two methods share a
    stored response.
    """
    media_type = _media_type(fields.get("content-type", ""))
    told: str | None = f"raw {sha256(content).hexdigest()}"
    if kind is not KeyBody.RAW:
        value = _json_of(media_type, fields, content)
        if kind is KeyBody.GRAPHQL:
            if _is_write(value):
                return ContentKey(None, is_write=True)
            told = _operation(method, value)
        elif value is not None:
            told = f"json {_digest(value[0])}"
    if told is None:
        return ContentKey(None)
    metadata = ((name, fields.get(name)) for name in _METADATA)
    return ContentKey((("method", method), ("content-type", media_type), *metadata, ("content", told)))


def _media_type(value: str) -> str:
    """Return a media type without what RFC 9110 section 8.3.1 calls equivalent."""
    kind, *parameters = (part.strip() for part in value.split(";"))
    return ";".join([kind.lower(), *parameters])


# JSON, read so that no two texts are taken for one that some parser tells apart


class _Number(str):
    """A number as it is written: parsers differ in how many digits count."""

    __slots__ = ()


def _json_of(media_type: str, fields: Mapping[str, str], content: bytes) -> tuple[object] | None:
    """Return the value of a JSON content in a tuple; ``None`` if it isn't JSON, or parsers may differ."""
    if fields.get("content-encoding", "identity") != "identity":
        return None
    kind, *parameters = media_type.split(";")
    # RFC 8259 section 8.1 has UTF-8 alone; an origin that goes by another charset reads other texts.
    if not _JSON.fullmatch(kind) or any(_names_charset(each) for each in parameters):
        return None
    try:
        return (strictly_read(content.decode(), _Number),)
    except ValueError:
        return None


def _names_charset(parameter: str) -> bool:
    name, _, value = parameter.lower().partition("=")
    return name.strip().startswith("charset") and value.strip(' "') not in {"utf-8", "utf8"}


def _digest(value: object) -> str:
    return sha256(json.dumps(_tagged(value), separators=(",", ":")).encode()).hexdigest()


def _tagged(value: object) -> object:
    """Return a value in which members have an order, and a number isn't the text of its digits."""
    match value:
        case dict():
            return {"o": sorted((name, _tagged(each)) for name, each in value.items())}
        case list():
            return [_tagged(each) for each in value]
        case _Number():
            return {"n": str(value)}
        case _:
            return value


# GraphQL over HTTP


_OPERATION = frozenset({"query", "operationName", "variables", "extensions"})


def may_do_otherwise(method: str, kind: KeyBody, target: Target) -> bool:
    """Whether the URL of a request may have the origin do another thing than its content says.

    express-graphql goes by the parameters of GraphQL there, whatever the content says.
    """
    is_graphql = kind is KeyBody.GRAPHQL and method in CONTENT_METHODS
    return is_graphql and has_undeclared(target, (), _OPERATION)


def _operation(method: str, value: tuple[object] | None) -> str | None:
    """Return what tells a GraphQL request from others; ``None`` if it isn't surely a query.

    That is the digest of its document, and all other members: operation name, variables, extensions. By its
    digest alone a document can be told to be a query where the method is safe.
    """
    if value is None or not isinstance(value[0], dict):
        return None  # a batch, a form with files
    members = dict(value[0])
    document, extensions = members.pop("query", None), members.pop("extensions", None)
    extensions = dict(extensions) if isinstance(extensions, dict) else {}
    persisted = _persisted(extensions.pop("persistedQuery", None))
    if isinstance(document, str) and document:
        digest = sha256(document.encode("utf-8", "surrogatepass")).hexdigest()
        if persisted not in {None, digest} or not is_query_document(document):
            return None
    elif document is None and persisted and _DIGEST.fullmatch(persisted) and method == "QUERY":
        digest = persisted
    else:
        return None
    # GraphQL over HTTP section 5.4: null, and no variables at all, are as if the member were left out.
    others = {name: each for name, each in members.items() if each is not None}
    if others.get("variables") == {}:
        del others["variables"]
    return f"graphql {_digest([digest, others, extensions])}"


def _persisted(entry: object) -> str | None:
    if entry is None:
        return None
    digest = entry.get("sha256Hash") if isinstance(entry, dict) else None
    return digest.lower() if isinstance(digest, str) else ""


def _is_write(value: tuple[object] | None) -> bool:
    """Whether a request has a document that isn't of queries alone; a batch, whether any of its has.

    So has, for all that is known, what can't be read, such as a form with files. What names its document by a
    hash alone mostly is a query.
    """
    requests = value[0] if value and isinstance(value[0], list) else value or (None,)
    documents = [(each.get("query") or "") if isinstance(each, dict) else None for each in requests]
    return not all(isinstance(each, str) and (not each or is_query_document(each)) for each in documents)


def is_query_document(document: str) -> bool:
    """Whether a GraphQL document surely has queries and fragments alone (its specification, section 2.2).

    It is read as far as that needs: strings, comments, brackets, and the word that begins a definition.
    """
    depth, is_open, has_query = 0, False, False
    for lexeme in _LEXEME.finditer(document):
        kind = lexeme.lastgroup
        if kind == "stray":
            return False
        if depth == 0 and not is_open and kind is not None:
            word = lexeme[0]
            if word not in {"query", "fragment", "{"}:
                return False
            is_open, has_query = True, has_query or word != "fragment"
        if kind == "open":
            depth += 1
        elif kind == "close":
            depth -= 1
            if depth == 0 and lexeme[0] == "}":
                is_open = False
    return has_query and depth == 0 and not is_open
