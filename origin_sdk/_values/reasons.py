"""What each detail of Cache-Status means and what to do about it: the table of ``docs/cache-status.md`` as data.

A test holds the two equal, and both against :class:`origin_sdk_wire.facts.Reason`.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["REASONS", "Explained", "plain"]

_LINK = re.compile(r"\[([^]]+)\]\([^)]*\)")


@dataclass(frozen=True, slots=True)
class Explained:
    """What happened and the remedy, as Markdown: code in backticks, and links into ``docs/``."""

    what: str
    remedy: str

    @property
    def has_remedy(self) -> bool:
        """Whether there is anything to do."""
        return not self.remedy.startswith("Nothing")


def plain(markdown: str) -> str:
    """Return the text of a line of Markdown, for a terminal."""
    return _LINK.sub(r"\1", markdown).replace("`", "")


REASONS: Mapping[str, Explained] = {
    "method": Explained(
        "The method is neither GET nor HEAD, so the request bypasses the cache.",
        "Nothing. Reading by GET can be cached, and by QUERY and POST under a rule with `key_body`.",
    ),
    "bypass-rule": Explained(
        "A rule with `bypass = true` matches.",
        "Narrow the rule, if this request should be cached.",
    ),
    "bypass-cookie": Explained(
        "The request has a cookie that `bypass_cookies` of its rule names.",
        "Nothing, if that is the session of a logged-in user. Otherwise name fewer.",
    ),
    "bypass-switch": Explained(
        "A [switch](wire-format.md#the-purge-log) makes requests bypass the cache for a while.",
        "Nothing. It ends by itself, or once it is undone.",
    ),
    "class-never": Explained(
        'A rule with `data_class = "never"` matches, perhaps only under another spelling of the path.',
        "Narrow the rule, if this request may be cached.",
    ),
    "precondition": Explained(
        "The client sent If-Match or If-Unmodified-Since, or with a POST any precondition or range, which the origin decides.",
        "Nothing.",
    ),
    "upgrade": Explained(
        "The request asks for another protocol, such as WebSocket.",
        "Nothing.",
    ),
    "hook-failed": Explained(
        "A hook of yours raised. The response is passed on, and not stored.",
        "Look at the log: it names the hook and what it raised.",
    ),
    "hook-timeout": Explained(
        "An `async` hook of yours took longer than `HOOK_TIMEOUT`, or 32 calls in the last ten seconds did and "
        "still run; or a body that it is to see kept coming for longer than `BETWEEN_BYTES_TIMEOUT`. The response "
        "is passed on, and not stored.",
        "Give what the hook waits for a shorter time, or raise `HOOK_TIMEOUT`; for a body, have the origin send it "
        "sooner, or raise `BETWEEN_BYTES_TIMEOUT`.",
    ),
    "identity-missing": Explained(
        "A rule of the class `private` matches, and the request doesn't have the identity that it declares, or no valid token.",
        "Nothing, if the client isn't logged in. Otherwise compare `key_cookies`, `key_fields`, `key_claims` and `revoked_by` with what clients send.",
    ),
    "revoked": Explained(
        "The token or API key is valid, and was revoked: a group that the rule's `revoked_by` makes of its claims was purged since it was issued, or `origin-sdk keys revoke` was told of the key. The origin answers.",
        "Nothing, if that was intended. Otherwise issue a new token or key to the client, or give the key a later `begins`.",
    ),
    "key-unread": Explained(
        "KV, which says whose the API key is (`API_KEYS_IN_KV`), couldn't be read, or the isolate was asked for too many keys of late that KV doesn't know. The origin answers.",
        "See [API keys in KV](configuration.md#api-keys-in-kv): while it is a flood of unknown keys, refuse it before the Worker.",
    ),
    "undeclared-credential": Explained(
        "A rule of the class `private` matches, and the request proves whose it is by something else, too: a cookie beside a token, a token beside an API key. Or its query has, perhaps spelt otherwise, a parameter that only another rule's `key_parameters` or `api_key_in` names. The answer may be for that identity; the origin gives it.",
        "Put it into the key (`key_cookies`, `key_fields`, `key_parameters`); or, if no response depends on it, say so: `ignore_cookies = true`, or `PASSED_FIELDS` for a field.",
    ),
    "malformed-cookie": Explained(
        "The rule has `key_cookies`, and the Cookie field can be read in two ways.",
        "Correct the client: no spaces around the name, each cookie once.",
    ),
    "request-body": Explained(
        "A GET or HEAD with a body, which isn't in the key; or a QUERY or POST whose content is above `KEY_BODY_BYTES`, or doesn't say its length. It is passed on; with 411, it had no Content-Length, and the runtime can't pass such a body on; with 400, it broke off; with 408, it wasn't there within `BETWEEN_BYTES_TIMEOUT`.",
        "Send what selects the response in the query, or with Content-Length.",
    ),
    "not-a-query": Explained(
        'The rule has `key_body = "graphql"`, and the content isn\'t surely one GraphQL query: a mutation, a batch, a hash alone by POST, or its URL names an operation, too.',
        "Nothing for a mutation. Send persisted queries by GET or QUERY.",
    ),
    "cache-fault": Explained(
        "The cache itself failed, and the origin answered.",
        "Look at the log, and report it.",
    ),
    "bad-url": Explained(
        "The URL can't be read; the answer is 400.",
        "Correct the client.",
    ),
    "fresh": Explained(
        "The stored response is fresh.",
        "Nothing.",
    ),
    "stale-while-revalidate": Explained(
        "It is stale, and refreshed behind the answer.",
        "Nothing.",
    ),
    "stale-if-error": Explained(
        "The origin failed (no answer, a 5xx, or 429), and the stale response stands in.",
        "`fwd-status` says what the origin answered.",
    ),
    "max-stale": Explained(
        "The client takes what is stale.",
        "Nothing.",
    ),
    "validated": Explained(
        "The origin said 304: what is stored is still current.",
        "Nothing.",
    ),
    "slow-origin": Explained(
        "The origin took longer than `SOFT_TIMEOUT`; its late answer is stored when it comes.",
        "Raise `SOFT_TIMEOUT`, if you would rather wait.",
    ),
    "throttled": Explained(
        "The origin failed, asks to be left alone, or was asked a moment ago, and isn't asked again yet.",
        "See `REFRESH_THROTTLE`, `CLIENT_REFRESH_INTERVAL` and the origin's Retry-After.",
    ),
    "breaker-open": Explained(
        "The origin failed to answer several times in a row, so it is only tried now and then.",
        "See `BREAKER_FAILURES`.",
    ),
    "absent": Explained(
        "Nothing was stored.",
        "Nothing, the first time.",
    ),
    "broken-seal": Explained(
        "What lies in KV isn't sealed by one of `STORE_KEYS`, or was changed, and counts as absent.",
        "[Find out who wrote it](sealed-store.md#what-is-broken): a key may be missing here or there.",
    ),
    "other-variant": Explained(
        "Something is stored, but for other values of the fields in Vary.",
        "Vary by fewer fields, or by fields with fewer values.",
    ),
    "stale": Explained(
        "What is stored is stale, and there is no window to serve it in.",
        "Set `stale-while-revalidate`, if a stale response is better than waiting.",
    ),
    "no-cache": Explained(
        "The response says `no-cache`: it is validated each time, or, without ETag and Last-Modified, not stored at all.",
        "Say `max-age`, or send an ETag.",
    ),
    "request-no-cache": Explained(
        "The client sent `Cache-Control: no-cache` or Pragma.",
        "Set `HONOUR_REQUEST_DIRECTIVES = false`, if clients shouldn't.",
    ),
    "request-max-age": Explained(
        "The client wants a younger response.",
        "The same.",
    ),
    "request-min-fresh": Explained(
        "The client wants one that stays fresh for longer.",
        "The same.",
    ),
    "purged-soft": Explained(
        "A purge made it stale.",
        "Nothing.",
    ),
    "purged-hard": Explained(
        "A purge, or an answer of the origin that withdrew it, ended it.",
        "Nothing.",
    ),
    "marks-unknown": Explained(
        "The purge marks couldn't be read, so that the origin was asked.",
        "Look at the log: KV failed, or took longer than `KV_TIMEOUT`.",
    ),
    "shield-refused": Explained(
        "Said by a shield to an edge, and never to a client: it was deployed with other settings.",
        "Deploy edge and shield with the same settings.",
    ),
    "credentials": Explained(
        "The request has Authorization, and what is stored doesn't say that it is for everyone.",
        "Say `public` or `s-maxage`, if it is.",
    ),
    "partial": Explained(
        "Only a part is stored, or was asked for.",
        "Nothing.",
    ),
    "only-if-cached": Explained(
        "The client wants no answer from the origin, and nothing that may be used is stored; the answer is 504.",
        "Nothing.",
    ),
    "stored": Explained(
        "The response is stored.",
        "Nothing.",
    ),
    "request-no-store": Explained(
        'The client sent `no-store` (`PROFILE = "rfc9111"` alone keeps to it).',
        "Nothing.",
    ),
    "no-store": Explained(
        "The response says so.",
        "Remove it, if the response may be kept.",
    ),
    "private": Explained(
        "The response says so.",
        'Declare the identity in a rule with `data_class = "private"`.',
    ),
    "authorization": Explained(
        "The request has Authorization, and the response doesn't say that it is for everyone.",
        "Say `public` or `s-maxage`, or declare the identity in a rule.",
    ),
    "cookie": Explained(
        "The request has cookies, and the response doesn't say that it is for everyone.",
        "Say `public` or `s-maxage`, `Vary: Cookie`, `ignore_cookies = true` or `key_cookies` in a rule.",
    ),
    "set-cookie": Explained(
        "The response sets a cookie, which would reach everyone.",
        "Set cookies in a separate response.",
    ),
    "vary-any": Explained(
        "`Vary: *`, or a member of Vary that isn't a field's name.",
        "Name the fields.",
    ),
    "unkeyed-field": Explained(
        "The origin saw a field of the request that isn't in the key.",
        "See [what the origin sees](configuration.md#what-the-origin-sees).",
    ),
    "shown-parameter": Explained(
        "A field such as Location or Link repeats a parameter of `key_parameters` or `api_key_in`.",
        "Leave it out of links, or let clients send the key in a field.",
    ),
    "status": Explained(
        "This status code is never stored (428, 429, 431, 511), or only with a lifetime of its own; or it is none of HTTP's (600), in whose place the client gets 502.",
        "Give a lifetime: `max-age`, or `negative_lifetimes` in a rule.",
    ),
    "no-freshness": Explained(
        "The response gives no lifetime, or one of 0, and nothing to validate it with.",
        "Say `max-age`, or set `default_lifetime` in a rule.",
    ),
    "expired": Explained(
        "The response was as old as its lifetime when it was sent (Age, Date), or when it came, and may not be used "
        "stale.",
        "Look for another cache on the way, or a clock that is wrong.",
    ),
    "body-awaited": Explained(
        "The body comes without a length, or is large: it is stored once it is there, unless it is too large.",
        "Nothing. With Content-Length a small body is stored immediately.",
    ),
    "too-large": Explained(
        "The body is above `MAX_BODY_BYTES` (at most 25 MiB), or the fields above 64 KiB.",
        "Make it smaller.",
    ),
    "stream": Explained(
        "Server-sent events are each client's own, and never end.",
        "Nothing.",
    ),
    "too-many-groups": Explained(
        "The response is in more than 256 groups.",
        "Use coarser groups: see [groups](policy.md#groups).",
    ),
    "graphql-errors": Explained(
        'The rule has `key_body = "graphql"`, and the answer has `errors`.',
        "Look at the answer: it says what failed.",
    ),
    "answer-unread": Explained(
        'The rule has `groups_from` or `key_body = "graphql"`, and the body isn\'t JSON, is more than 128 deep, is coded by something else than gzip or Brotli, or is above `MEMORY_ITEM_BYTES`.',
        "Narrow the rule, or name the groups in `Cache-Groups`.",
    ),
    "not-understood": Explained(
        "`must-understand`, and a status code that this cache doesn't implement.",
        "Nothing.",
    ),
    "client-error": Explained(
        "A 4xx other than 404 and 410, which may be one client's; or it would have replaced a good response.",
        "Name it in `negative_lifetimes`, or say `public`, if it is everyone's.",
    ),
    "server-error": Explained(
        "A 5xx isn't stored, and never replaces a good response.",
        "Name it in `negative_lifetimes`, if it is to be.",
    ),
    "bad-field": Explained(
        "A field's value isn't UTF-8, and the runtime has lost what it was.",
        "Send ASCII or UTF-8, or the encoding of RFC 8187 (`filename*=UTF-8''…`).",
    ),
    "dictionary": Explained(
        "The body is coded by a dictionary that one client has (RFC 9842: `dcb`, `dcz`). It is passed on.",
        "Nothing. The Worker never asks for such a coding on a cacheable request.",
    ),
    "origin-unreachable": Explained(
        "There was no connection, or it broke; the answer is 502.",
        "Check that the origin is up, and that `ORIGIN` is right.",
    ),
    "origin-timeout": Explained(
        "The origin took longer than `ORIGIN_TIMEOUT`; the answer is 504.",
        "Raise it, or make the origin faster.",
    ),
    "origin-truncated": Explained(
        "The origin's response broke off; the answer is 502.",
        "Look at the origin's log.",
    ),
}
