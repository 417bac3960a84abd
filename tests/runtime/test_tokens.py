"""Tokens that issuers sign with keys of their own: whose they let in, and what they are attacked with."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa, utils
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from scripts.runtime.workerd import Workerd
from scripts.runtime.workerd_config import Json
from tests.runtime.client import Response
from tests.runtime.edge import HOST, Variables, detail, eventually, get, is_hit, new_path, running
from tests.runtime.origin import Request, ScriptedOrigin
from tests.runtime.replies import Reply, chunked, reply

LOGIN, OTHER = "https://login.example.com", "https://other.example.com"
AUDIENCE = "https://api.example.com"
SECRET = "a secret of the tests that has thirty-two bytes"  # noqa: S105 - a test's
RULE: Mapping[str, Json] = {
    "path": "/mine/**",
    "data_class": "private",
    "key_claims": ["sub"],
    "default_lifetime": "10m",
}
BILLING = "https://billing.example.com"

RSA = rsa.generate_private_key(65537, 2048)
SMALL_RSA = rsa.generate_private_key(65537, 1024)  # noqa: S505 - too small, as it is to be
P256, ED25519 = ec.generate_private_key(ec.SECP256R1()), ed25519.Ed25519PrivateKey.generate()
FOREIGN = rsa.generate_private_key(65537, 2048)
"""A key of nobody that is configured."""
THIRD = rsa.generate_private_key(65537, 2048)

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
        rsa_jwk(RSA, "secret", d=number(RSA.private_numbers().d)),
        rsa_jwk(RSA, "operations", key_ops=["sign"]),
        rsa_jwk(RSA, "used", use=["sig"]),
        {**rsa_jwk(RSA, "one"), "e": "AQ"},
        {"kty": "EC", "kid": "curve", "crv": "P-256", "x": number(point.y, 32), "y": number(point.x, 32)},
        {"kty": "OKP", "kid": "weak", "crv": "Ed25519", "x": b64(b"\1" + b"\0" * 31)},
        # Two keys of one id: RFC 7517 section 4.5 only advises against it.
        rsa_jwk(THIRD, "two"),
        rsa_jwk(RSA, "two"),
        {"kty": "EC", "kid": "ec", "crv": "P-256", "x": number(point.x, 32), "y": number(point.y, 32)},
        {"kty": "OKP", "kid": "ed", "crv": "Ed25519", "x": b64(raw)},
    ]
    return {"/keys-login": {"keys": login}, "/keys-other": {"keys": [rsa_jwk(FOREIGN, "theirs")]}}


def poisoned_sets() -> Mapping[str, Reply]:
    """Answers in place of a set with the key that is asked for, and one that is such a set."""
    key = json.dumps(rsa_jwk(RSA, "rsa"))
    good = f'{{"keys": [{key}]}}'
    texts = {
        "good": good,
        "large": f'{{"keys": [{key}], "pad": "{"x" * (1 << 18)}"}}',
        "many": f'{{"keys": [{"7, " * 64}{key}]}}',
        "deep": f'{{"keys": [{key}], "x": {"[" * 50_000}{"]" * 50_000}}}',
        "twice": f'{{"keys": [], "keys": [{key}]}}',
        "member-twice": f'{{"keys": [{{"kid": "other", {key[1:]}]}}',
        "list": f"[{key}]",
        "table": f'{{"keys": {{"rsa": {key}}}}}',
        "behind": f"{good} {good}",
        "utf-16": good.encode("utf-16-le").decode("latin-1"),
        "page": f"<html>{good}</html>",
    }
    answers = {name: reply(200, [], text.encode("latin-1")) for name, text in texts.items()}
    pieces = [b"x" * 4096] * 99
    return {
        **answers,
        "redirect": reply(302, [("Location", "/keys-login")]),
        "elsewhere": reply(307, [("Location", "{origin}/keys-evil")]),
        "error": reply(404, [], good.encode()),
        "endless": chunked(200, [], [good[:-1].encode(), b', "pad": "', *pieces]),
    }


@pytest.fixture(scope="module")
def edge(running_origin: ScriptedOrigin, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workerd]:
    folder: Path = tmp_path_factory.mktemp("tokens")
    logins: Mapping[str, Json] = {
        "issuer": LOGIN,
        "keys": f"{running_origin.url}/keys-login",
        "audience": AUDIENCE,
    }
    issuers: list[Json] = [
        logins,
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
        "two hosts": {
            "RULES": [{**RULE, "host": "billing.test", "audience": BILLING}, {**RULE, "audience": AUDIENCE}],
            "TOKEN_ISSUERS": [{**logins, "audience": [AUDIENCE, BILLING]}],
        },
        "poisoned": {
            "RULES": [RULE],
            "TOKEN_ISSUERS": [
                {"issuer": f"{LOGIN}/{name}", "keys": f"{running_origin.url}/{name}", "audience": AUDIENCE}
                for name in poisoned_sets()
            ],
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
    said: Callable[[str], str] = str
    """What becomes of the claims, as JSON, before they are signed."""
    whole: Callable[[str], str] = str
    """What becomes of the whole token."""

    def text(self, sub: str) -> str:
        now = int(time.time())  # noqa: TID251 - tokens are dated
        times = {} if self.ends is None else {"exp": now + self.ends, "nbf": now + self.starts}
        claims = {"iss": LOGIN, "aud": AUDIENCE, "sub": sub, **times, **self.claims}
        header = {"alg": self.alg, **({} if self.kid is None else {"kid": self.kid}), **self.header}
        said = json.dumps(header), self.said(json.dumps(claims))
        message = ".".join(b64(part.encode()) for part in said)
        return self.whole(f"{message}.{b64(self.signature(self.sign(message.encode())))}")


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


_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


def _other_s(signature: bytes) -> bytes:
    return signature[:32] + (_ORDER - int.from_bytes(signature[32:])).to_bytes(32)


VALID = [
    pytest.param(Token(kid="two"), id="one of two keys of an id"),
    pytest.param(Token(alg="ES256", sign=es256, kid="ec", signature=_other_s), id="ES256 by the other s"),
    pytest.param(Token(claims={"exp": 4e9 + 0.5, "nbf": 0.5}), id="times with fractions"),
    pytest.param(Token(claims={"aud": [1, None, AUDIENCE]}), id="audiences that aren't texts beside it"),
    pytest.param(Token(header={"jku": "{origin}/keys-evil", "b64": True}), id="more in its header"),
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


def _time(name: str, value: str) -> Callable[[str], str]:
    """Have a claim say a time in these very characters."""
    return lambda text: re.sub(rf'"{name}": [0-9.]+', f'"{name}": {value}', text)


def _twice(name: str) -> Callable[[str], str]:
    return lambda text: f'{{"{name}": "mallory", {text[1:]}'


def _as_json(text: str) -> str:
    return json.dumps(dict(zip(("protected", "payload", "signature"), text.split("."), strict=True)))


CLAIMS: Mapping[str, Callable[[str], str]] = {
    "a name twice": _twice("sub"),
    "an issuer twice": _twice("iss"),
    "a name twice, once escaped": _twice("s\\u0075b"),
    "a name in two cases": _twice("SUB"),
    "a name twice in a table": lambda text: f'{{"x": {{"a": 1, "a": 2}}, {text[1:]}',
    "NaN": _time("exp", "NaN"),
    "an infinite end": _time("exp", "Infinity"),
    "an end beyond all numbers": _time("exp", "1e400"),
    "an end of 400 digits": _time("exp", "9" * 400),
    "a beginning of 400 digits": _time("nbf", "9" * 400),
    "a beginning before all time": _time("nbf", "-" + "9" * 400),
    "an end of 5000 digits": _time("exp", "9" * 5000),
    "a deep nest": lambda text: f'{{"x": {"[" * 2500}{"]" * 2500}, {text[1:]}',
    "brackets alone": lambda _: "[" * 5900,
    "a list around them": lambda text: f"[{text}]",
    "more behind them": lambda text: f"{text}{{}}",
    "a BOM": lambda text: f"\ufeff{text}",
}
WHOLE: Mapping[str, Callable[[str], str]] = {
    "without a signature": lambda text: text.rpartition(".")[0],
    "with an empty signature": lambda text: text.rpartition(".")[0] + ".",
    "with a part more": lambda text: f"{text}.e30",
    "in five parts, as if encrypted": lambda text: f"{text}.e30.e30",
    "cut short": lambda text: text[:-20],
    "with padding": lambda text: f"{text}==",
    "with a space in it": lambda text: text.replace(".", ". ", 1),
    "in JSON": _as_json,
    "twice": lambda text: f"{text}, Bearer {text}",
    "with bits behind its end": lambda text: text[:-1] + chr(ord(text[-1]) + 1),
}


def _padded(message: bytes) -> bytes:
    """Return what a signature by RSA comes to where the exponent is 1: anybody can make it."""
    told = bytes.fromhex("3031300d060960864801650304020105000420") + hashlib.sha256(message).digest()
    return b"\0\1" + b"\xff" * (256 - 3 - len(told)) + b"\0" + told


KIDS = (
    "{origin}/keys-evil", "file:///dev/null", "/dev/null", "rsa\0", "x' UNION SELECT 'rsa", "|id", "", "RSA",
    "k" * 4000, "__proto__", "\ud800",
)  # fmt: skip


def _flipped(signature: bytes) -> bytes:
    return bytes([signature[0] ^ 1, *signature[1:]])


PUBLIC_PEM = RSA.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
PUBLIC_DER = RSA.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
INVALID = [
    pytest.param(Token(alg="none", sign=lambda _: b""), id="alg none"),
    *[
        pytest.param(Token(alg=alg, sign=lambda _: b""), id=f"alg {alg!r}")
        for alg in ("None", "NONE", "nOnE", "", " none", "none\0", "\u043done")
    ],
    *[
        pytest.param(Token(header={"alg": alg}), id=f"alg {alg!r}, well signed")
        for alg in (None, ["RS256"], {"RS256": 1}, True, "rs256", "RS256 ", "RSA", "HS256")
    ],
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
    pytest.param(Token(kid={"rsa": 1}), id="a kid that is a table"),
    pytest.param(Token(kid=0), id="a kid that is a number"),
    *[pytest.param(Token(sign=EVIL, kid=kid), id=f"kid {kid[:20]!r}") for kid in KIDS],
    pytest.param(Token(kid="secret"), id="a key that is published with its private part"),
    pytest.param(Token(kid="operations"), id="a key that may only sign"),
    pytest.param(Token(kid="used"), id="a key whose use isn't a text"),
    pytest.param(Token(kid="one", sign=_padded), id="an exponent of 1"),
    pytest.param(Token(sign=EVIL, kid=None, header={"jwk": rsa_jwk(FOREIGN, "rsa")}), id="a key of its own"),
    pytest.param(Token(sign=EVIL, header={"jku": "{origin}/keys-evil"}), id="a place of keys of its own"),
    pytest.param(Token(sign=EVIL, header={"x5u": "{origin}/keys-evil"}), id="a place of certificates"),
    pytest.param(Token(sign=EVIL, header={"x5c": [b64(PUBLIC_DER)]}), id="a certificate of its own"),
    pytest.param(Token(sign=EVIL, header={"jwk": rsa_jwk(FOREIGN, "rsa")}), id="a key beside a kid"),
    pytest.param(Token(header={"crit": ["exp"]}), id="a critical extension"),
    pytest.param(Token(header={"crit": []}), id="no critical extension"),
    pytest.param(Token(header={"crit": ["b64"], "b64": False}), id="a payload that isn't encoded"),
    pytest.param(Token(header={"b64": False}), id="b64 that isn't critical"),
    pytest.param(Token(header={"b64": "true"}), id="b64 that is a text"),
    pytest.param(Token(header={"typ": "JOSE"}), id="no type of tokens"),
    pytest.param(Token(header={"typ": ["JWT"]}), id="a type that is a list"),
    *[pytest.param(Token(whole=whole), id=f"a token {how}") for how, whole in WHOLE.items()],
    *[pytest.param(Token(said=said), id=f"claims with {what}") for what, said in CLAIMS.items()],
    pytest.param(
        Token(alg="ES256", kid="ec", sign=lambda _: b"\0" * 31 + b"\1" + b"\0" * 32), id="an s of zero"
    ),
    pytest.param(
        Token(alg="ES256", kid="ec", sign=lambda _: _ORDER.to_bytes(32) * 2), id="r and s of the order"
    ),
    pytest.param(Token(alg="ES256", kid="ec", sign=lambda _: b""), id="ES256 by nothing"),
    pytest.param(Token(alg="ES256", kid="rsa"), id="ES256 by a key of RSA"),
    pytest.param(Token(alg="ES256", kid="curve", sign=es256), id="a point that isn't on the curve"),
    pytest.param(Token(alg="EdDSA", kid="ed", sign=lambda _: b"\0" * 64), id="EdDSA by zeros"),
    pytest.param(
        Token(alg="EdDSA", kid="weak", sign=lambda _: b"\1" + b"\0" * 63), id="a point of small order"
    ),
    pytest.param(Token(claims={"exp": [4_000_000_000]}), id="an end that is a list"),
    pytest.param(Token(claims={"exp": True}), id="an end that is true"),
    pytest.param(Token(claims={"exp": 0.5}), id="an end of half a second"),
    pytest.param(Token(claims={"nbf": "0"}), id="a beginning that is a text"),
    pytest.param(Token(claims={"nbf": None}), id="a beginning that is null"),
    pytest.param(Token(claims={"aud": [[AUDIENCE]]}), id="an audience in a list in a list"),
    pytest.param(Token(claims={"aud": {AUDIENCE: 1}}), id="an audience that is a table"),
    pytest.param(Token(claims={"aud": None}), id="an audience that is null"),
    pytest.param(Token(claims={"aud": f"{AUDIENCE}/"}), id="an audience with a slash"),
    pytest.param(Token(claims={"iss": [LOGIN]}), id="an issuer in a list"),
    pytest.param(Token(claims={"iss": f"{LOGIN}/"}), id="an issuer with a slash"),
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


@pytest.mark.parametrize("name", poisoned_sets())
def test_what_is_no_set_of_keys_verifies_nothing(edge: Workerd, origin: ScriptedOrigin, name: str) -> None:
    path = new_path("mine/t")
    serve(origin, path)
    origin.on(f"/{name}", poisoned_sets()[name])
    token = Token(claims={"iss": f"{LOGIN}/{name}"})

    told = [ask(edge, path, token.text("alice"), "poisoned") for _ in range(2)]

    assert [is_hit(each) for each in told] == [False, name == "good"]
    assert len(origin.requests(f"/{name}")) == 1
    assert not origin.requests("/keys-login")


def test_a_token_for_one_host_opens_nothing_of_another(edge: Workerd, origin: ScriptedOrigin) -> None:
    path, url = new_path("mine/t"), edge.url("two hosts")
    serve(origin, path)
    hosts = {AUDIENCE: HOST, BILLING: "billing.test"}

    def asked(audience: str, host: str) -> Response:
        bearer = Token(claims={"aud": audience}).text("alice")
        return get(url, path, ("Authorization", f"Bearer {bearer}"), host=host)

    for audience, host in hosts.items():
        assert [is_hit(asked(audience, host)) for _ in range(2)] == [False, True]

    told = [asked(AUDIENCE, hosts[BILLING]), asked(BILLING, hosts[AUDIENCE])]

    assert [detail(each) for each in told] == ["identity-missing"] * 2


@pytest.mark.parametrize(
    "token",
    [
        pytest.param(Token(ends=3), id="an issuer's"),
        pytest.param(
            Token(alg="HS256", sign=hs256(SECRET.encode()), claims={"iss": "me"}, ends=3), id="by the secret"
        ),
    ],
)
def test_a_token_that_ends_gets_nothing_more_that_is_stored(
    edge: Workerd, origin: ScriptedOrigin, token: Token
) -> None:
    path = new_path("mine/t")
    serve(origin, path)
    text = token.text("alice")
    ask(edge, path, token.text("alice"))

    eventually(lambda: detail(ask(edge, path, text)) == "identity-missing", "the end of the token")

    assert not is_hit(ask(edge, path, text))
    lasting = replace(token, ends=3600).text("alice")
    assert is_hit(ask(edge, path, lasting))  # what is stored is her other tokens' still


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
