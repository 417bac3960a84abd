"""Bearer tokens of the bench: one user's, all different, signed by each algorithm; and the public keys."""

from __future__ import annotations

import hmac
import json
import time
from base64 import urlsafe_b64encode
from collections.abc import Mapping

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa, utils
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from scripts.runtime.workerd_config import Json

__all__ = ["ALGORITHMS", "AUDIENCE", "ISSUER", "SECRET", "Signers"]

ISSUER, AUDIENCE = "https://login.example.com", "https://api.example.com"
SECRET = "a secret of the bench that has thirty-two bytes"  # noqa: S105 - a bench's
ALGORITHMS = ("HS256", "RS256", "PS256", "ES256", "EdDSA")
_PSS = padding.PSS(padding.MGF1(hashes.SHA256()), 32)


class Signers:
    """Keys of an issuer, made anew, and the shared secret."""

    def __init__(self) -> None:
        self._rsa = rsa.generate_private_key(65537, 2048)
        self._ec = ec.generate_private_key(ec.SECP256R1())
        self._ed = ed25519.Ed25519PrivateKey.generate()

    def tokens(self, algorithm: str, count: int) -> list[str]:
        """Return tokens of one user for an hour, each another. Those by HS256 name no issuer."""
        issuer = {} if algorithm == "HS256" else {"iss": ISSUER}
        ends = int(time.time()) + 3600  # noqa: TID251 - tokens are dated
        claims: Mapping[str, Json] = {**issuer, "aud": AUDIENCE, "sub": "alice", "exp": ends}
        return [self._token(algorithm, {**claims, "jti": number}) for number in range(count)]

    def _token(self, algorithm: str, claims: Mapping[str, Json]) -> str:
        header: Mapping[str, Json] = {"alg": algorithm, "typ": "at+jwt"}
        message = ".".join(_base64(json.dumps(part).encode()) for part in (header, claims))
        return f"{message}.{_base64(self._signature(algorithm, message.encode()))}"

    def _signature(self, algorithm: str, message: bytes) -> bytes:
        match algorithm:
            case "HS256":
                return hmac.digest(SECRET.encode(), message, "sha256")
            case "RS256":
                return self._rsa.sign(message, padding.PKCS1v15(), hashes.SHA256())
            case "PS256":
                return self._rsa.sign(message, _PSS, hashes.SHA256())
            case "ES256":
                # RFC 7518 section 3.4: both numbers, 32 bytes each.
                both = utils.decode_dss_signature(self._ec.sign(message, ec.ECDSA(hashes.SHA256())))
                return b"".join(number.to_bytes(32) for number in both)
            case _:
                return self._ed.sign(message)

    def key_set(self) -> list[Json]:
        """Return the public keys as JWKs (RFC 7517), one of each kind."""
        rsa_key, ec_key = self._rsa.public_key().public_numbers(), self._ec.public_key().public_numbers()
        ed_key = self._ed.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        x, y = (_base64(number.to_bytes(32)) for number in (ec_key.x, ec_key.y))
        n, e = _base64(rsa_key.n.to_bytes(256)), _base64(rsa_key.e.to_bytes(3))
        return [
            {"kty": "RSA", "n": n, "e": e},
            {"kty": "EC", "crv": "P-256", "x": x, "y": y},
            {"kty": "OKP", "crv": "Ed25519", "x": _base64(ed_key)},
        ]


def _base64(value: bytes) -> str:
    return urlsafe_b64encode(value).rstrip(b"=").decode()
