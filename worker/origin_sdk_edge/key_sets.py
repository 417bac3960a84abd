"""Verifying tokens by the keys of their issuers: fetched, kept, refreshed, used on while they can't be had.

No client decides how often: an issuer is asked once in ``KEY_SET_LIFETIME``, and for what that didn't bring,
such as the key of a ``kid`` that nobody knows, once in a while at most.
"""

from dataclasses import dataclass

from origin_sdk_edge.claims import Expected, verified_claims
from origin_sdk_edge.policy.facts import CheckedToken
from origin_sdk_edge.policy.tokens import (
    Jwk,
    SignedToken,
    accepted_claims,
    candidates,
    read_key_set,
    signed_token,
)
from origin_sdk_edge.ports import Background, Keys, KeysError, Report, Signal, Timing
from origin_sdk_edge.storage.memory import Memory, Table
from origin_sdk_wire.issuers import Issuer
from origin_sdk_wire.key import digest
from origin_sdk_wire.settings import Settings

__all__ = ["Verifier"]

_RETRY_MS = 30_000
"""The least time from a fetch to one for what it didn't bring: a key, or any keys at all."""
_VERIFIED_MS = 60_000
"""For how long a signature that was right needn't be verified again."""
_PATIENCE_SECONDS = 5.0


@dataclass(slots=True)
class _KeySet:
    keys: tuple[Jwk, ...] = ()
    fetched_ms: int | None = None
    tried_ms: int | None = None
    coming: Signal | None = None
    """What those who need it now wait for."""


class Verifier:
    """Verifies tokens. One for each isolate."""

    def __init__(
        self, settings: Settings, keys: Keys, timing: Timing, memory: Memory, report: Report
    ) -> None:
        self._settings = settings
        self._keys = keys
        self._timing = timing
        self._report = report
        self._sets = {each.issuer: _KeySet() for each in settings.token_issuers}
        self._verified_until_ms: Table[int] = memory.table(1 / 64)

    async def verify(self, text: str, background: Background) -> CheckedToken:
        """Verify a token in compact form. What isn't valid has no claims."""
        settings, now_ms = self._settings, self._timing.now_ms()
        expected = Expected(settings.token_audience, settings.token_issuer, settings.token_claims)
        shared = verified_claims(text, settings.token_secret, now_ms // 1000, expected, settings.token_leeway)
        if shared is not None:
            # Who knows the secret isn't one of the issuers that have keys of their own.
            return CheckedToken(None if shared.get("iss") in self._sets else shared)
        token = signed_token(text, settings.token_issuers)
        if token is None:
            return CheckedToken(None)
        claims = accepted_claims(token, now_ms // 1000, settings.token_leeway)
        if claims is None:
            return CheckedToken(None)
        name = digest("token", text)
        if now_ms >= (self._verified_until_ms.get(name) or 0):
            if not await self._is_signed(token, background):
                return CheckedToken(None)
            self._verified_until_ms.set(name, now_ms + _VERIFIED_MS)
        return CheckedToken(claims)

    async def _is_signed(self, token: SignedToken, background: Background) -> bool:
        issuer = token.issuer
        key_set = self._sets[issuer.issuer]
        if not self._is_usable(key_set):
            await self._fetched(issuer, key_set)
        elif self._age_ms(key_set) >= self._settings.key_set_lifetime * 1000 and self._may_fetch(key_set):
            background.run(self._fetch(issuer, key_set))
        if not candidates(key_set.keys, token):
            await self._fetched(issuer, key_set)
        keys = candidates(key_set.keys, token) if self._is_usable(key_set) else []
        for key in keys:
            if await self._keys.verify(token.algorithm, key.members, token.signature, token.message):
                return True
        return False

    def _age_ms(self, key_set: _KeySet) -> int:
        return self._timing.now_ms() - (key_set.fetched_ms or 0)

    def _is_usable(self, key_set: _KeySet) -> bool:
        longest_ms = (self._settings.key_set_lifetime + self._settings.key_set_stale) * 1000
        return key_set.fetched_ms is not None and self._age_ms(key_set) < longest_ms

    def _may_fetch(self, key_set: _KeySet) -> bool:
        return key_set.tried_ms is None or self._timing.now_ms() - key_set.tried_ms >= _RETRY_MS

    async def _fetched(self, issuer: Issuer, key_set: _KeySet) -> None:
        """Have the keys fetched, if they may be, or wait for who does."""
        if self._may_fetch(key_set):
            await self._fetch(issuer, key_set)
        elif key_set.coming:
            await key_set.coming.wait(_PATIENCE_SECONDS)

    async def _fetch(self, issuer: Issuer, key_set: _KeySet) -> None:
        key_set.tried_ms = self._timing.now_ms()
        key_set.coming = coming = self._timing.signal()
        try:
            key_set.keys = read_key_set(await self._keys.fetch(issuer.keys, _PATIENCE_SECONDS))
            key_set.fetched_ms = self._timing.now_ms()
        except (KeysError, ValueError) as error:
            self._report("keys", error)
        finally:
            key_set.coming = None
            coming.set()
