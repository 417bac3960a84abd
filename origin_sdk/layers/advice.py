"""Settings that are possible and make no sense together."""

from collections.abc import Iterator

from origin_sdk.layers.base_cache import BaseCache
from origin_sdk.layers.values.families import DataClass, Family
from origin_sdk.layers.values.policy import Policy

__all__ = ["advise"]


def advise(cache: BaseCache) -> list[str]:
    """Return advice on a cache and the families that it knows; call it at start, and log what it says."""
    return [
        *_on_the_cache(cache),
        *(line for family in cache.families.values() for line in _on(cache, family)),
    ]


def _on_the_cache(cache: BaseCache) -> Iterator[str]:
    options = cache.redis_options
    if options is None:
        return
    if options.url.startswith("redis://") and "@" not in options.url and "127.0.0.1" not in options.url:
        yield "Redis is asked without TLS and without a user: rediss:// and an ACL user keep others out"
    if options.timeout > 1:
        yield f"timeout is {options.timeout} s: a call waits so long before Redis is left out"
    if options.prefix == "cache":
        yield "prefix is 'cache', the default: two applications on one Redis would share their values"


def _on(cache: BaseCache, family: Family[object]) -> Iterator[str]:
    policy = cache.judge.families.policy_of(family)
    seal = cache.judge.wrapping.seal
    if family.data_class is DataClass.RESTRICTED and cache.link and not (seal and seal.hides):
        yield f"{family.name}: restricted values stay in memory alone, since the cache doesn't encrypt"
    for line in _on_policy(policy, has_redis=cache.link is not None):
        yield f"{family.name}: {line}"
    if cache.redis_options and policy.lifetime > cache.redis_options.horizon:
        yield f"{family.name}: its lifetime is above the horizon, after which Redis counts records as invalid"


def _on_policy(policy: Policy, *, has_redis: bool) -> Iterator[str]:
    if policy.soft_timeout is not None and not (policy.stale or policy.fail_safe):
        yield "soft_timeout does nothing without stale or fail_safe: there is no older value to answer with"
    if (
        policy.soft_timeout is not None
        and policy.hard_timeout is not None
        and policy.soft_timeout >= policy.hard_timeout
    ):
        yield "soft_timeout isn't below hard_timeout, and so does nothing"
    if policy.errors and not policy.error_lifetime:
        yield "errors are named, but error_lifetime is 0: they aren't cached"
    if policy.memory_lifetime is not None and not has_redis:
        yield "memory_lifetime without Redis is a shorter lifetime by another name"
    if policy.fail_safe and policy.throttle > policy.fail_safe:
        yield "throttle is above fail_safe: a loader that failed isn't tried again in time"
    if policy.refresh_ahead is not None and policy.xfetch:
        yield "refresh_ahead and xfetch both refresh early: one of them is enough"
