"""The table of advice: a signal in what was counted, and what to do about it.

Each function looks for one signal and yields what it found; nothing here asks anybody.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from origin_sdk._values.prices import MONTH_SECONDS, PRICES
from origin_sdk._values.reasons import REASONS, plain
from origin_sdk.advice.evidence import Evidence
from origin_sdk.simulation.curves import LIFETIMES, at_least
from origin_sdk_wire.bounds import purge_bound_seconds
from origin_sdk_wire.choices import StoreOn
from origin_sdk_wire.settings import DEFAULT_RULE

__all__ = ["FINDERS", "Advice", "advice_of"]

_LEAST_SHARE = 0.02
"""Of a rule's requests: below, a reason isn't worth advice."""
_LEAST_REQUESTS = 100
"""Of a rule: below, nothing follows from shares."""
_MIB = 1024 * 1024
_LARGEST_MEMORY = 64 * _MIB
_NAMES = {1: "1s", 10: "10s", 60: "1m", 600: "10m", 3600: "1h", 86_400: "1d"}


@dataclass(frozen=True, slots=True)
class Advice:
    """One thing to change.

    ``weight`` orders advice: about how many requests it concerns. ``what_if`` are the settings that it
    proposes, as ``origin-sdk simulate --what-if`` takes them; ``gain`` is what it would bring.
    """

    signal: str
    title: str
    evidence: str
    snippet: str = ""
    gain: str = ""
    what_if: str = ""
    weight: float = 0.0


def advice_of(evidence: Evidence) -> list[Advice]:
    """Return all advice, the weightiest first."""
    found = [advice for finder in FINDERS for advice in finder(evidence)]
    return sorted(found, key=lambda advice: -advice.weight)


def _busy_rules(evidence: Evidence) -> Iterator[str]:
    return (rule for rule in evidence.rules if evidence.requests(rule) >= _LEAST_REQUESTS)


def _in_rule(rule: str, setting: str) -> str:
    """Return a setting of a rule as one pastes it."""
    if rule == DEFAULT_RULE.name:
        return f'[[vars.RULES]]\nname = "rest"  # the last rule, for what no other matches\n{setting}'
    return f'[[vars.RULES]]\nname = "{rule}"\n# …                    as it is, and:\n{setting}'


def _place(rule: str) -> str:
    return "*" if rule == DEFAULT_RULE.name else rule


def _requests_a_month(evidence: Evidence, requests: float) -> str:
    return f"{requests * MONTH_SECONDS / evidence.seconds:,.0f} requests a month"


def _no_lifetime(evidence: Evidence) -> Iterator[Advice]:
    for rule in _busy_rules(evidence):
        share = evidence.share(rule, "no-freshness")
        if share < _LEAST_SHARE:
            continue
        curve = evidence.lifetimes.get(rule)
        ratios = dict(curve.ratios()) if curve else {}
        # A minute is a beginning that few APIs mind; a longer one has to bring much more.
        lifetime = max(60, at_least(ratios, 0.8) or 60) if ratios else 60
        told = ", ".join(f"{_NAMES[step]} {ratios[step]:.0%}" for step in LIFETIMES) if ratios else ""
        yield Advice(
            "no-freshness",
            f"Give responses of {rule} a lifetime",
            f"{share:.0%} of its requests got a response that doesn't say how long it is fresh"
            + (f"; fresh for so long, so many would be hits: {told}" if told else ""),
            _in_rule(rule, f'default_lifetime = "{_NAMES[lifetime]}"')
            + "\n# or, better, Cache-Control: max-age in the API's responses",
            _requests_a_month(evidence, share * evidence.requests(rule) * ratios.get(lifetime, 0.0))
            + " less at the origin"
            if ratios
            else "",
            f"{_place(rule)}.default_lifetime={_NAMES[lifetime]}",
            share * evidence.requests(rule),
        )


_REMEDIES = {
    "set-cookie": ("ignore_cookies = true", "only if the cookie that it sets belongs to nobody"),
    "cookie": ("ignore_cookies = true", "only if its responses don't depend on cookies"),
    "authorization": (
        'data_class = "private"\nkey_claims = ["sub"]',
        "keeps a copy for each user; or let the API say public, if everybody gets the same",
    ),
    "private": (
        'data_class = "private"\nkey_claims = ["sub"]',
        "keeps a copy for each user; or let the API not say private, if everybody gets the same",
    ),
    "vary-any": ("", "let the API name in Vary the fields that its responses depend on, instead of *"),
    "unkeyed-field": (
        'key_fields = ["…"]',
        "name the request field that its responses depend on; or, if they don't, PASSED_FIELDS",
    ),
    "no-store": ("", "let the API send max-age instead of no-store where a response isn't secret"),
    "request-body": ("", "let clients not send a body with GET"),
}


def _unshared(evidence: Evidence) -> Iterator[Advice]:
    for rule in _busy_rules(evidence):
        for reason, (setting, condition) in _REMEDIES.items():
            share = evidence.share(rule, reason)
            if share < _LEAST_SHARE:
                continue
            yield Advice(
                reason,
                f"Let responses of {rule} be shared",
                f"{share:.0%} of its requests: {plain(REASONS[reason].what)}",
                _in_rule(rule, f"{setting}  # {condition}") if setting else f"# {condition}",
                f"up to {_requests_a_month(evidence, share * evidence.requests(rule))} that may be hits",
                weight=share * evidence.requests(rule),
            )


def _stale_misses(evidence: Evidence) -> Iterator[Advice]:
    for rule in _busy_rules(evidence):
        known = evidence.rule(rule)
        if known and known.stale_while_revalidate is not None:
            continue
        tiers = ("miss", "validated")
        waits = sum(
            evidence.counts.total("requests", rule=rule, tier=tier, reason=reason)
            for tier in tiers
            for reason in ("stale", "validated")
        )
        share = waits / evidence.requests(rule)
        if share < _LEAST_SHARE:
            continue
        slow = evidence.quantile("origin_seconds", 0.95, rule=rule)
        took = f", {slow * 1000:,.0f} ms at p95," if slow else ""
        yield Advice(
            "stale",
            f"Refresh {rule} behind the response",
            f"{share:.0%} of its requests waited for the origin{took} "
            "although a response was stored, which had just become stale",
            _in_rule(rule, 'stale_while_revalidate = "1m"'),
            f"{_requests_a_month(evidence, waits)} that no longer wait",
            f"{_place(rule)}.stale_while_revalidate=1m",
            waits,
        )


def _parameters(evidence: Evidence) -> Iterator[Advice]:
    for (rule, name), parameter in evidence.parameters.items():
        if parameter.distinct < 50 or parameter.distinct < parameter.requests * 0.01:
            continue
        many = "a thousand or more" if parameter.distinct >= 1000 else f"{parameter.distinct:,}"
        yield Advice(
            "cardinality",
            f"Does the response depend on ?{name}=?",
            f"{parameter.requests:,.0f} requests of {rule} had {many} values of it, "
            "each a response of its own",
            _in_rule(rule, f'query_drop = ["{name}"]     # only if responses don\'t depend on it'),
            what_if=f'{_place(rule)}.query_drop=["{name}"]',
            weight=parameter.requests,
        )


def _memory(evidence: Evidence) -> Iterator[Advice]:
    held = evidence.settings.memory_bytes
    now = max((ratio for size, ratio in evidence.memory.items() if size <= held), default=0.0)
    best_size = at_least(evidence.memory, 0.95)
    if best_size and held < best_size <= _LARGEST_MEMORY and evidence.memory[best_size] > now + 0.02:
        yield Advice(
            "memory",
            "Give the isolate's memory more room",
            f"{held // _MIB} MiB could answer {now:.0%} of an isolate's requests, {best_size // _MIB} MiB "
            f"{evidence.memory[best_size]:.0%}, if nothing expired",
            f'[vars]\nMEMORY_BYTES = "{best_size // _MIB}MiB"',
            what_if=f"MEMORY_BYTES={best_size // _MIB}MiB",
            weight=evidence.counts.total("requests") * (evidence.memory[best_size] - now),
        )
        return
    age = evidence.quantile("eviction_seconds", 0.5)
    evicted = evidence.counts.total("eviction_seconds")
    if age is not None and age < 300 and held < _LARGEST_MEMORY and evicted > _LEAST_REQUESTS:
        yield Advice(
            "memory",
            "Give the isolate's memory more room",
            f"it dropped {evicted:,.0f} responses to make room, half of them within {age:,.0f} s",
            f'[vars]\nMEMORY_BYTES = "{min(2 * held, _LARGEST_MEMORY) // _MIB}MiB"',
            f"up to {_dollars(evidence, evicted)} of KV reads a month",
            weight=evicted,
        )


def _dollars(evidence: Evidence, keys: float) -> str:
    return f"${PRICES['kv_reads'].of(keys) * MONTH_SECONDS / evidence.seconds:,.2f}"


def _hard_purges(evidence: Evidence) -> Iterator[Advice]:
    for rule in _busy_rules(evidence):
        share = evidence.share(rule, "purged-hard")
        if share >= _LEAST_SHARE:
            yield Advice(
                "purged-hard",
                f"Purge {rule} softly, or in narrower groups",
                f"{share:.0%} of its requests found a response that a hard purge had taken away, "
                "so that they waited for the origin, and would have failed with it",
                'edge.purge(groups=["…"])        # soft, the default: stale, and there if the origin fails',
                f"{_requests_a_month(evidence, share * evidence.requests(rule))} that needn't wait",
                weight=share * evidence.requests(rule),
            )


def _ill_origin(evidence: Evidence) -> Iterator[Advice]:
    for rule in _busy_rules(evidence):
        failed = evidence.counts.total("origin_requests", rule=rule, status="5xx")
        failed += evidence.counts.total("origin_errors", rule=rule)
        asked = evidence.counts.total("origin_requests", rule=rule)
        asked += evidence.counts.total("origin_errors", rule=rule)
        stood_in = evidence.share(rule, "stale-if-error", "breaker-open")
        if not asked or failed / asked < 0.01 or failed < 10:
            continue
        yield Advice(
            "stale-if-error",
            f"Look at the origin behind {rule}",
            f"{failed / asked:.1%} of what it was asked for failed; "
            f"a stale response stood in for {stood_in:.1%} of the requests",
            _in_rule(rule, 'stale_if_error = "1d"') if stood_in < failed / asked / 2 else "",
            weight=failed,
        )


def _too_large(evidence: Evidence) -> Iterator[Advice]:
    remedies = {
        "too-large": "# above MAX_BODY_BYTES (25 MiB at most) nothing is stored: page lists",
        "too-many-groups": "# a response has 256 groups at most: name the list, not each of what it lists",
    }
    for rule in _busy_rules(evidence):
        for reason, snippet in remedies.items():
            if (share := evidence.share(rule, reason)) >= _LEAST_SHARE:
                yield Advice(
                    reason,
                    f"Make responses of {rule} smaller"
                    if reason == "too-large"
                    else f"Give {rule} fewer groups",
                    f"{share:.0%} of its requests: {plain(REASONS[reason].what)}",
                    snippet,
                    weight=share * evidence.requests(rule),
                )


def _costly_reads(evidence: Evidence) -> Iterator[Advice]:
    requests = evidence.counts.total("requests")
    reads = evidence.counts.total("kv_keys", operation="read")
    if requests < _LEAST_REQUESTS or reads / requests < 1:
        return
    interval = evidence.settings.mark_interval
    yield Advice(
        "kv-keys",
        "Read fewer marks",
        f"each request read {reads / requests:.1f} keys of KV: {_dollars(evidence, reads)} a month",
        f'[vars]\nMARK_INTERVAL = "{interval * 6:g}s"  # purges are seen that much later; {interval:g}s now',
        what_if=f"MARK_INTERVAL={interval * 6:g}s",
        weight=reads / 10,
    )


def _slow_origin(evidence: Evidence) -> Iterator[Advice]:
    for rule in _busy_rules(evidence):
        slow = evidence.quantile("origin_seconds", 0.95, rule=rule)
        if slow is None or slow < 1:
            continue
        yield Advice(
            "slow-origin",
            f"Don't let clients wait for {rule}",
            f"the origin took {slow:.1f} s at p95",
            "[vars]\nSOFT_TIMEOUT = 1               # then what is stored goes out, though stale\n\n"
            + _in_rule(rule, 'stale_while_revalidate = "10m"\nstale_if_error = "1d"'),
            weight=evidence.counts.total("origin_seconds", rule=rule),
        )


def _purge_lag(evidence: Evidence) -> Iterator[Advice]:
    bound = purge_bound_seconds(evidence.settings.mark_interval)
    lag = evidence.quantile("purge_lag_seconds", 0.95)
    if lag is not None and lag > bound:
        yield Advice(
            "purge-lag",
            "Purges are seen too late",
            f"p95 of {lag:.0f} s, and the bound is {bound:.0f} s: `origin-sdk doctor` looks "
            "for a wrong clock, and for another namespace",
            weight=evidence.counts.total("purge_lag_seconds") * 100,
        )


def _faults(evidence: Evidence) -> Iterator[Advice]:
    for (where,), cells in evidence.counts.by("faults", "where").items():
        yield Advice(
            "faults",
            f"Look into the Worker's log for faults of the kind {where}",
            f"{cells[0]:,.0f} of them",
            "$ wrangler tail",
            weight=cells[0] * 10,
        )


def _one_hit_wonders(evidence: Evidence) -> Iterator[Advice]:
    for rule, share in evidence.once.items():
        known = evidence.rule(rule)
        if share < 0.5 or evidence.requests(rule) < _LEAST_REQUESTS:
            continue
        if known is None or known.store_on is not StoreOn.FIRST_MISS:
            continue
        yield Advice(
            "one-hit-wonders",
            f"Store {rule} when it is asked for again",
            f"{share:.0%} of its URLs were asked for once, and each was written to KV",
            _in_rule(rule, 'store_on = "second-miss"'),
            what_if=f"{_place(rule)}.store_on=second-miss",
            weight=share * evidence.requests(rule) / 10,
        )


FINDERS: tuple[Callable[[Evidence], Iterator[Advice]], ...] = (
    _no_lifetime,
    _unshared,
    _stale_misses,
    _parameters,
    _memory,
    _hard_purges,
    _ill_origin,
    _too_large,
    _costly_reads,
    _slow_origin,
    _purge_lag,
    _faults,
    _one_hit_wonders,
)
"""What looks for advice."""
