"""What to do about what Redis, or the way to it, refuses."""

from collections.abc import Iterator

__all__ = ["remedy_for"]

_CERTIFICATE = "the server wants a client's certificate: arguments={'ssl_certfile': …, 'ssl_keyfile': …}"
_CLOSED = (
    "reset by peer",
    "connection reset",
    "broken pipe",
    "closed by server",
    "connection lost",
    "eof occurred",
)
_REMEDIES = (
    (
        ("hostname mismatch", "ip address mismatch"),
        "the server's certificate is for another name: put the name that it is for into the URL",
    ),
    (
        ("certificate verify failed",),
        "the server's certificate isn't trusted: RedisOptions(arguments={'ssl_ca_certs': 'authority.pem'})",
    ),
    (
        ("certificate required", "certificate_required", "handshake failure", "bad certificate"),
        _CERTIFICATE,
    ),
    (
        ("authenticationerror", "wrongpass", "noauth", "authentication required"),
        "the user or password isn't accepted: redis://user:password@… in the URL, special characters as %xx",
    ),
    (
        (
            "noperm",
            "no permissions",
            "acl failure",
            "can't run this command",
            "can't access at least one of the keys",
        ),
        "the ACL user lacks a right: docs/layers.md lists those that it needs",
    ),
    (
        ("out of memory", "oom command", "maxmemory"),
        "Redis is full: give it more memory, or set its maxmemory-policy to allkeys-lru",
    ),
    (
        ("cluster support disabled", "cluster mode is not enabled"),
        "the server isn't part of a cluster: redis:// instead of redis+cluster://",
    ),
    (
        ("unexpected reply",),
        "what answers isn't what Redis would: look for a proxy in between, or another server at that address",
    ),
    (("moved ",), "the server is part of a cluster: redis+cluster:// instead of redis://"),
    (
        ("no master found",),
        "no sentinel knows the service: the URL ends in its name; sentinel_arguments say TLS and account",
    ),
)


def remedy_for(error: BaseException, *, may_want_certificate: bool = False) -> str:
    """Return what to do about an error; nothing where waiting is all there is to do.

    ``may_want_certificate`` tells that TLS is spoken without a client's certificate, and never with success.
    """
    text = " ".join(f"{type(each).__name__} {each}" for each in _chain(error)).lower()
    for signs, remedy in _REMEDIES:
        if any(sign in text for sign in signs):
            return remedy
    # Under TLS 1.3 a client has shaken hands before the server looks for its certificate (RFC 8446 section
    # 2): the alert that says what is missing is lost if the client writes first, by a connection's reset.
    if may_want_certificate and any(sign in text for sign in _CLOSED):
        return _CERTIFICATE
    return ""


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
