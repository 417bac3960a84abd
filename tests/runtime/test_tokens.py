"""Tokens that issuers sign with keys of their own: whose they let in, and what they are attacked with."""

from __future__ import annotations

import base64
import hmac
import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa, utils
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from scripts.runtime.workerd import Workerd
from scripts.runtime.workerd_config import Json
from tests.runtime.client import Response
from tests.runtime.edge import Variables, detail, get, is_hit, new_path, running
from tests.runtime.origin import Request, ScriptedOrigin
from tests.runtime.replies import Reply, reply

LOGIN, OTHER = "https://login.example.com", "https://other.example.com"
AUDIENCE = "https://api.example.com"
SECRET = "a secret of the tests that has thirty-two bytes"  # noqa: S105 - a test's
RULE: Json = {"path": "/mine/**", "data_class": "private", "key_claims": ["sub"], "default_lifetime": "10m"}

RSA = rsa.generate_private_key(65537, 2048)
SMALL_RSA = rsa.generate_private_key(65537, 1024)  # noqa: S505 - too small, as it is to be
P256, ED25519 = ec.generate_private_key(ec.SECP256R1()), ed25519.Ed25519PrivateKey.generate()
FOREIGN = rsa.generate_private_key(65537, 2048)
"""A key of nobody that is configured."""

Sign = Callable[[bytes], bytes]


def b64(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode()


def number(value: int, size: int | None = None) -> str:
    return b64(value.to_bytes(size or (value.bit_length() + 7) // 8))


def rs256(key: rsa.RSAPrivateKey) -> Sign:
    return lambda message: key.sign(message, padding.PKCS1v15(), hashes.SHA256())


def ps256(key: rsa.RSAPrivateKey) -> Sign:
    return lambda message: key.sign(message, padding.PSS(padding.MGF1(hashes.SHA256()), 32), hashes.SHA256())


def es256_der(message: bytes) -> bytes:
    return P256.sign(message, ec.ECDSA(hashes.SHA256()))


def es256(message: bytes) -> bytes:
    r, s = utils.decode_dss_signature(es256_der(message))
    return r.to_bytes(32) + s.to_bytes(32)


def hs256(secret: bytes) -> Sign:
    return lambda message: hmac.digest(secret, message, "sha256")


def rsa_jwk(key: rsa.RSAPrivateKey, kid: str, **others: Json) -> Mapping[str, Json]:
    public = key.public_key().public_numbers()
    return {"kty": "RSA", "kid": kid, "n": number(public.n), "e": number(public.e), **others}


def key_sets() -> Mapping[str, Mapping[str, Json]]:
    point = P256.public_key().public_numbers()
    raw = ED25519.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    login: list[Json] = [
        {"kty": "oct", "kid": "shared", "k": b64(b"shared secrets have no place in a public set")},
        "no key",
        {"kty": "RSA", "kid": "broken", "n": 7},
        rsa_jwk(RSA, "rsa"),
        rsa_jwk(RSA, "rsa-ps", alg="PS256"),
        rsa_jwk(RSA, "rsa-enc", use="enc"),
        rsa_jwk(SMALL_RSA, "small"),
        {"kty": "EC", "kid": "ec", "crv": "P-256", "x": number(point.x, 32), "y": number(point.y, 32)},
        {"kty": "OKP", "kid": "ed", "crv": "Ed25519", "x": b64(raw)},
    ]
    return {"/keys-login": {"keys": login}, "/keys-other": {"keys": [rsa_jwk(FOREIGN, "theirs")]}}


@pytest.fixture(scope="module")
def edge(running_origin: ScriptedOrigin, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workerd]:
    folder: Path = tmp_path_factory.mktemp("tokens")
    issuers: list[Json] = [
        {"issuer": LOGIN, "keys": f"{running_origin.url}/keys-login", "audience": AUDIENCE},
        {
            "issuer": OTHER,
            "keys": f"{running_origin.url}/keys-other",
            "audience": AUDIENCE,
            "algorithms": ["RS256"],
            "claims": {"use": "access"},
        },
    ]
    safe: Mapping[str, Json] = {"RULES": [RULE], "TOKEN_ISSUERS": issuers}
    workers: Variables = {
        "safe": {**safe, "TOKEN_SECRET": SECRET, "TOKEN_AUDIENCE": AUDIENCE},
        "lenient": {**safe, "TOKEN_LEEWAY": "1m"},
        "without keys": {
            "RULES": [RULE],
            "TOKEN_ISSUERS": [{"issuer": LOGIN, "keys": f"{running_origin.url}/none", "audience": AUDIENCE}],
        },
    }
    with running(folder, running_origin, workers) as workerd:
        yield workerd


THEIRS: Mapping[str, Json] = {"iss": OTHER, "use": "access"}
BY_RSA, EVIL = rs256(RSA), rs256(FOREIGN)


@dataclass(frozen=True, kw_only=True, slots=True)
class Token:
    """A token of LOGIN for AUDIENCE that is valid for an hour, but for what is given."""

    sign: Sign = BY_RSA
    alg: str = "RS256"
    kid: Json = "rsa"
    header: Mapping[str, Json] = field(default_factory=dict)
    claims: Mapping[str, Json] = field(default_factory=dict)
    starts: float = 0
    ends: float | None = 3600
    signature: Callable[[bytes], bytes] = bytes
    """What becomes of the signature."""

    def text(self, sub: str) -> str:
        now = int(time.time())  # noqa: TID251 - tokens are dated
        times = {} if self.ends is None else {"exp": now + self.ends, "nbf": now + self.starts}
        claims = {"iss": LOGIN, "aud": AUDIENCE, "sub": sub, **times, **self.claims}
        header = {"alg": self.alg, **({} if self.kid is None else {"kid": self.kid}), **self.header}
        message = ".".join(b64(json.dumps(part).encode()) for part in (header, claims))
        return f"{message}.{b64(self.signature(self.sign(message.encode())))}"


def ask(edge: Workerd, path: str, token: str, worker: str = "safe") -> Response:
    return get(edge.url(worker), path, ("Authorization", f"Bearer {token}"))


def serve(origin: ScriptedOrigin, path: str) -> None:
    """Let the origin serve key sets, and under a path what it was asked, for one user each."""
    for name, keys in key_sets().items():
        origin.on(name, reply(200, [], json.dumps(keys).encode()))
    origin.on("/none", reply(500))

    def answer(request: Request) -> Reply:
        return reply(200, [("Cache-Control", "private")], (request.value("Authorization") or "").encode())

    origin.decide(path, answer)


VALID = [
    pytest.param(Token(), id="RS256"),
    pytest.param(Token(alg="PS256", sign=ps256(RSA)), id="PS256"),
    pytest.param(Token(alg="PS256", sign=ps256(RSA), kid="rsa-ps"), id="PS256 by a key for that"),
    pytest.param(Token(alg="ES256", sign=es256, kid="ec"), id="ES256"),
    pytest.param(Token(alg="EdDSA", sign=ED25519.sign, kid="ed"), id="EdDSA"),
    pytest.param(Token(alg="EdDSA", sign=ED25519.sign, kid=None), id="no kid, and one key that fits"),
    pytest.param(Token(header={"typ": "at+jwt"}), id="an access token by its type"),
    pytest.param(Token(claims={"aud": ["x", AUDIENCE]}), id="one of several audiences"),
    pytest.param(Token(claims=THEIRS, kid="theirs", sign=EVIL), id="another issuer"),
    pytest.param(
        Token(alg="HS256", sign=hs256(SECRET.encode()), claims={"iss": "me"}), id="the shared secret"
    ),
]


@pytest.mark.parametrize("token", VALID)
def test_a_valid_token_gets_what_is_stored_for_its_user_alone(
    edge: Workerd, origin: ScriptedOrigin, token: Token
) -> None:
    path = new_path("mine/t")
    serve(origin, path)
    told = [ask(edge, path, token.text(sub)) for sub in ("alice", "bob", "alice")]

    assert [is_hit(each) for each in told] == [False, False, True], told[-1].fields
    assert told[0].body == told[2].body != told[1].body


def _flipped(signature: bytes) -> bytes:
    return bytes([signature[0] ^ 1, *signature[1:]])


PUBLIC_PEM = RSA.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
PUBLIC_DER = RSA.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
INVALID = [
    pytest.param(Token(alg="none", sign=lambda _: b""), id="alg none"),
    pytest.param(Token(alg="None", sign=lambda _: b""), id="alg None"),
    pytest.param(Token(sign=lambda _: b""), id="no signature"),
    pytest.param(Token(signature=_flipped), id="a flipped bit"),
    pytest.param(Token(signature=lambda signature: signature[:-1]), id="a byte too few"),
    pytest.param(Token(alg="HS256", sign=hs256(PUBLIC_PEM)), id="HS256 by the public key in PEM"),
    pytest.param(Token(alg="HS256", sign=hs256(PUBLIC_DER)), id="HS256 by the public key in DER"),
    pytest.param(Token(alg="HS256", sign=hs256(b"")), id="HS256 by nothing"),
    pytest.param(Token(alg="HS256", sign=hs256(SECRET.encode())), id="the shared secret in an issuer's name"),
    pytest.param(
        Token(alg="HS256", kid="shared", sign=hs256(b"shared secrets have no place in a public set")),
        id="a shared secret in the set of keys",
    ),
    pytest.param(Token(alg="RS256", sign=ps256(RSA)), id="another padding"),
    pytest.param(Token(alg="RS384"), id="an algorithm of no list"),
    pytest.param(Token(kid="rsa-ps"), id="a key for another algorithm"),
    pytest.param(Token(kid="rsa-enc"), id="a key for encryption"),
    pytest.param(Token(kid="small", sign=rs256(SMALL_RSA)), id="a key of 1024 bits"),
    pytest.param(Token(alg="ES256", sign=es256_der, kid="ec"), id="a signature in DER"),
    pytest.param(Token(alg="ES256", sign=lambda _: b"\0" * 64, kid="ec"), id="a signature of zeros"),
    pytest.param(Token(sign=EVIL), id="another's signature"),
    pytest.param(Token(sign=EVIL, kid="theirs"), id="another issuer's key"),
    pytest.param(Token(sign=EVIL, kid="unknown"), id="an unknown kid"),
    pytest.param(Token(sign=EVIL, kid="../../keys-other"), id="a kid that is a path"),
    pytest.param(Token(kid=["rsa"]), id="a kid that is a list"),
    pytest.param(Token(sign=EVIL, kid=None, header={"jwk": rsa_jwk(FOREIGN, "rsa")}), id="a key of its own"),
    pytest.param(Token(sign=EVIL, header={"jku": "{origin}/keys-evil"}), id="a place of keys of its own"),
    pytest.param(Token(sign=EVIL, header={"x5u": "{origin}/keys-evil"}), id="a place of certificates"),
    pytest.param(Token(header={"crit": ["exp"]}), id="a critical extension"),
    pytest.param(Token(header={"typ": "refresh+jwt"}), id="a token to refresh others"),
    pytest.param(Token(ends=-1), id="expired"),
    pytest.param(Token(ends=None), id="without an end"),
    pytest.param(Token(starts=60), id="not yet valid"),
    pytest.param(Token(claims={"exp": "2999"}), id="an end that isn't a number"),
    pytest.param(Token(claims={"aud": "https://else.example.com"}), id="for another audience"),
    pytest.param(Token(claims={"aud": []}), id="for no audience"),
    pytest.param(Token(claims={"iss": "https://nobody.example.com"}), id="by an unknown issuer"),
    pytest.param(Token(claims={"iss": None}), id="by nobody"),
    pytest.param(Token(claims=THEIRS), id="in another issuer's name"),
    pytest.param(Token(claims={"iss": OTHER}, kid="theirs", sign=EVIL), id="without its claim"),
    pytest.param(
        Token(claims=THEIRS, alg="PS256", kid="theirs", sign=ps256(FOREIGN)),
        id="an algorithm that its issuer hasn't",
    ),
    pytest.param(Token(claims={"pad": "x" * 9000}), id="a token that is too long"),
]


@pytest.mark.parametrize("token", INVALID)
def test_an_invalid_token_never_gets_what_is_stored(
    edge: Workerd, origin: ScriptedOrigin, token: Token
) -> None:
    path = new_path("mine/t")
    serve(origin, path)
    origin.on("/keys-evil", reply(200, [], json.dumps({"keys": [rsa_jwk(FOREIGN, "rsa")]}).encode()))
    assert not is_hit(ask(edge, path, Token().text("alice")))

    told = [ask(edge, path, token.text("alice")) for _ in range(2)]

    assert [detail(each) for each in told] == ["identity-missing"] * 2
    assert len(origin.requests(path)) == 3
    assert not origin.requests("/keys-evil")
    assert is_hit(ask(edge, path, Token().text("alice")))


def test_one_subject_of_two_issuers_is_two_users(edge: Workerd, origin: ScriptedOrigin) -> None:
    path = new_path("mine/t")
    serve(origin, path)
    theirs = Token(claims=THEIRS, kid="theirs", sign=EVIL)

    told = [ask(edge, path, token.text("alice")) for token in (Token(), theirs)]

    assert not is_hit(told[1])
    assert told[0].body != told[1].body


@pytest.mark.parametrize(("ends", "is_valid"), [(-30, True), (-90, False)])
def test_leeway_is_for_clocks_that_differ(
    edge: Workerd, origin: ScriptedOrigin, ends: int, *, is_valid: bool
) -> None:
    path = new_path("mine/t")
    serve(origin, path)
    told = [ask(edge, path, Token(ends=ends).text("alice"), "lenient") for _ in range(2)]

    assert [is_hit(each) for each in told] == [False, is_valid]


def test_without_the_keys_requests_pass_by_the_cache_and_the_issuer_is_left_alone(
    edge: Workerd, origin: ScriptedOrigin
) -> None:
    path = new_path("mine/t")
    serve(origin, path)
    told = [ask(edge, path, Token(kid=f"k{n}").text("alice"), "without keys") for n in range(3)]

    assert [(each.status, detail(each)) for each in told] == [(200, "identity-missing")] * 3
    assert len(origin.requests("/none")) == 1


def test_keys_are_asked_for_once_whatever_kids_come(edge: Workerd, origin: ScriptedOrigin) -> None:
    path = new_path("mine/t")
    serve(origin, path)
    for n in range(5):
        ask(edge, path, Token(kid=f"unknown-{n}", sign=EVIL).text("alice"))

    assert len(origin.requests("/keys-login")) <= 1
