"""A B2B API: tokens by a JWK Set, what is stored is a tenant's own, and a user can be signed off at once."""

import base64
import json
import time

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

__all__ = ["ISSUER", "app", "token_of"]

ISSUER, AUDIENCE = "http://127.0.0.1:8000", "reports"
_KEY = Ed25519PrivateKey.generate()
_CONTROL = {"Cache-Control": "private, max-age=60"}


def _encoded(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode()


def token_of(tenant: str, user: str) -> str:
    """Sign a user of a tenant in: in earnest an identity provider's business."""
    now = int(time.time())  # noqa: TID251 - tokens are dated
    head = {"alg": "EdDSA", "kid": "1", "typ": "at+jwt"}
    claims = {"iss": ISSUER, "aud": AUDIENCE, "sub": user, "tenant": tenant, "iat": now, "exp": now + 600}
    message = ".".join(_encoded(json.dumps(part).encode()) for part in (head, claims))
    return f"{message}.{_encoded(_KEY.sign(message.encode()))}"


def _claims(request: Request) -> dict[str, str]:
    """Return what a request's token says; raises :class:`ValueError`."""
    message, _, signature = request.headers.get("authorization", "").removeprefix("Bearer ").rpartition(".")
    try:
        _KEY.public_key().verify(base64.urlsafe_b64decode(signature + "=="), message.encode())
    except InvalidSignature as error:
        raise ValueError("no valid token") from error
    claims: dict[str, str] = json.loads(base64.urlsafe_b64decode(message.partition(".")[2] + "=="))
    return claims


async def _keys(_: Request) -> JSONResponse:
    raw = _KEY.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    return JSONResponse({"keys": [{"kty": "OKP", "crv": "Ed25519", "kid": "1", "x": _encoded(raw)}]})


async def _token(request: Request) -> JSONResponse:
    return JSONResponse(token_of(request.path_params["tenant"], request.path_params["user"]))


async def _report(request: Request) -> JSONResponse:
    try:
        tenant = _claims(request)["tenant"]
    except (ValueError, KeyError):
        return JSONResponse({"error": "sign in"}, 401)
    number = request.path_params["number"]
    rows = [{"month": month, "total": hash((tenant, number, month)) % 1000} for month in range(1, 13)]
    return JSONResponse({"tenant": tenant, "report": number, "rows": rows}, headers=_CONTROL)


_ROUTES = [
    Route("/.well-known/jwks.json", _keys),
    Route("/token/{tenant}/{user}", _token),
    Route("/reports/{number:int}", _report),
]
app = Starlette(routes=_ROUTES)
