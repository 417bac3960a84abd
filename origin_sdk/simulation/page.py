"""A report as one HTML file: tables, and plots as SVG; it asks no other host."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from html import escape

from origin_sdk.simulation.counts import Timeline
from origin_sdk.simulation.edge import TIERS
from origin_sdk.simulation.report import Report, RuleReport, VariantReport

__all__ = ["page_of"]

_STYLE = """
:root { color-scheme: light dark; --text: #1c2024; --dim: #60646c; --line: #dcdfe3; --back: #fff;
  --memory: #0d74ce; --kv: #5eb1ef; --stale: #46a758; --validated: #ac4d9f; --collapsed: #8e8c99;
  --miss: #e5484d; --pass: #d6a35c; }
@media (prefers-color-scheme: dark) {
  :root { --text: #edeef0; --dim: #b0b4ba; --line: #363a3f; --back: #111113; }
}
body { font: 15px/1.5 system-ui, sans-serif; color: var(--text); background: var(--back);
  max-width: 68rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.1rem; margin-top: 2.2rem; }
p, .dim { color: var(--dim); }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { padding: .3rem .6rem; border-bottom: 1px solid var(--line); text-align: right; white-space: nowrap; }
th:first-child, td:first-child { text-align: left; }
svg { width: 100%; height: auto; } svg text { fill: var(--dim); font-size: 11px; }
.legend span { margin-right: 1rem; } .legend i { display: inline-block; width: .8rem; height: .8rem;
  margin-right: .35rem; border-radius: 2px; vertical-align: -1px; }
""" + "".join(f".{tier} {{ fill: var(--{tier}); background: var(--{tier}); }}\n" for tier in TIERS)

_WIDTH, _HEIGHT = 960, 200
_LEFT, _BOTTOM = 44, 24


def page_of(report: Report) -> str:
    """Write the page."""
    replay, (first, last) = report.replay, report.times
    body = [
        "<h1>What the edge cache would do with this traffic</h1>",
        f"<p>{replay.log.lines:,} lines of {escape(replay.log.place)}, {first:%F %T} to {last:%F %T} UTC</p>",
        *(f"<p><b>Note:</b> {escape(note)}.</p>" for note in report.notes()),
    ]
    for variant in report.variants:
        body += _variant(variant)
    body += ["<h2>Over time</h2>", _course(replay.first.ledger.timeline)]
    body += ["<h2>Why</h2>", _reasons(report.first.overall)]
    body += ["<h2>Hit ratio if responses stayed fresh for …</h2>", _lifetimes(report)]
    body += ["<h2>What an isolate's memory would still hold, if nothing expired</h2>", _memory(report)]
    if report.parameters():
        body += ["<h2>Query parameters with the most values</h2>", _parameters(report)]
    told = ((name, str(value)) for name, value in replay.assumptions.told().items())
    body += ["<h2>Assumed</h2>", _table(("what", "value"), told)]
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta http-equiv="Content-Security-Policy" content="'
        "default-src 'none'; style-src 'unsafe-inline'\">"
        f"<title>Edge cache simulation</title><style>{_STYLE}</style><body>{''.join(body)}</body></html>"
    )


def _variant(variant: VariantReport) -> Iterable[str]:
    low, high = variant.hit_ratio_range
    ratio = f"{variant.overall.counts.hit_ratio:.1%}"
    if low != high:
        ratio += f" ({low:.1%} to {high:.1%})"
    yield f"<h2>{escape(variant.name)}: {ratio} answered without waiting for the origin</h2>"
    yield (
        '<p class="legend">'
        + "".join(f'<span><i class="{tier}"></i>{tier}</span>' for tier in TIERS)
        + "</p>"
    )
    yield _bars([*variant.rules[:20], variant.overall])
    yield _table(tuple(_COLUMNS), [_row(rule) for rule in (*variant.rules, variant.overall)])


def _row(rule: RuleReport) -> tuple[str, ...]:
    return tuple(shown(rule) for shown in _COLUMNS.values())


def _stale(rule: RuleReport) -> str:
    stale_ms = rule.counts.stale_ms
    return f"{stale_ms.quantile(0.95) / 1000:,.1f} s" if stale_ms.count else "none"


_COLUMNS: Mapping[str, Callable[[RuleReport], str]] = {
    "rule": lambda rule: rule.name,
    "requests": lambda rule: f"{rule.counts.requests:,.0f}",
    "hits": lambda rule: f"{rule.counts.hit_ratio:.1%}",
    "origin": lambda rule: f"{rule.counts.origin_requests:,.0f}",
    "peak/s": lambda rule: f"{rule.counts.origin_peak:,.0f}",
    "KV keys": lambda rule: f"{rule.kv_keys:.2f}",
    "stale, p95": _stale,
    "$ a million": lambda rule: f"{rule.as_json()['dollars_per_million']}",
    "$ a month": lambda rule: f"{rule.month_dollars:,.2f}",
}


def _bars(rules: Sequence[RuleReport]) -> str:
    height, parts = 26, []
    for place, rule in enumerate(rules):
        left, y = 160.0, place * height
        parts.append(f'<text x="0" y="{y + 15}">{escape(rule.name[:24])}</text>')
        total = rule.counts.requests or 1.0
        for tier in TIERS:
            width = (_WIDTH - 160) * rule.counts.by_tier[tier] / total
            title = f"{tier} {rule.counts.by_tier[tier] / total:.1%}"
            parts.append(
                f'<rect class="{tier}" x="{left:.1f}" y="{y + 3}" width="{width:.1f}" height="16">'
                f"<title>{title}</title></rect>"
            )
            left += width
    return (
        f'<svg viewBox="0 0 {_WIDTH} {len(rules) * height}" role="img" '
        f'aria-label="What answered, by rule">{"".join(parts)}</svg>'
    )


def _course(timeline: Timeline) -> str:
    steps = timeline.steps
    if len(steps) < 2:
        return "<p>The log is too short for a curve.</p>"
    seconds = timeline.step_ms / 1000
    most = max(step.requests for step in steps) / seconds or 1.0
    rates = [step.requests / seconds / most for step in steps]
    origin = [step.origin_requests / seconds / most for step in steps]
    ratios = [step.hits / step.requests if step.requests else 0.0 for step in steps]
    lines = (
        ("memory", ratios, "hit ratio, of 100%"),
        ("pass", rates, f"requests, of {most:,.1f} a second"),
        ("miss", origin, f"origin requests, of {most:,.1f} a second"),
    )
    drawn = "".join(
        f'<polyline fill="none" style="stroke: var(--{name}); fill: none" stroke-width="1.8" '
        f'points="{_points(values)}"><title>{told}</title></polyline>'
        for name, values, told in lines
    )
    legend = "".join(f'<span><i class="{name}"></i>{told}</span>' for name, _, told in lines)
    return (
        f'<p class="legend">{legend}</p><svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" '
        f'aria-label="Hit ratio, requests and origin requests over time">{_axes()}{drawn}</svg>'
    )


def _points(values: Sequence[float]) -> str:
    step = (_WIDTH - _LEFT) / max(1, len(values) - 1)
    height = _HEIGHT - _BOTTOM
    return " ".join(
        f"{_LEFT + place * step:.1f},{height - value * (height - 8):.1f}"
        for place, value in enumerate(values)
    )


def _axes() -> str:
    height = _HEIGHT - _BOTTOM
    parts = []
    for share in (0.0, 0.5, 1.0):
        y = height - share * (height - 8)
        parts.append(
            f'<line x1="{_LEFT}" x2="{_WIDTH}" y1="{y:.1f}" y2="{y:.1f}" style="stroke: var(--line)"/>'
            f'<text x="0" y="{y + 4:.1f}">{share:.0%}</text>'
        )
    return "".join(parts)


def _reasons(overall: RuleReport) -> str:
    rows = ((tier, reason, f"{share:.1%}") for tier, reason, share in overall.reasons)
    return _table(("answered by", "reason", "share"), rows)


def _lifetimes(report: Report) -> str:
    curves = sorted(report.replay.lifetimes.items(), key=lambda each: -each[1].requests)
    rows = ((rule, *(f"{ratio:.1%}" for ratio in curve.ratios().values())) for rule, curve in curves)
    return _table(("rule", "1 s", "10 s", "1 min", "10 min", "1 h", "1 d"), rows)


def _memory(report: Report) -> str:
    ratios: Mapping[int, float] = report.replay.memory.ratios()
    names = tuple(f"{size // 1024 // 1024} MiB" for size in ratios)
    return _table(("", *names), [("share of requests", *(f"{ratio:.1%}" for ratio in ratios.values()))])


def _parameters(report: Report) -> str:
    rows = (
        (name, rule, f"{each.requests:,.0f}", f"{each.distinct:,}{'+' if each.distinct >= 1000 else ''}")
        for (rule, name), each in report.parameters()
    )
    return _table(("parameter", "rule", "requests", "values"), rows)


def _table(names: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    head = "".join(f"<th>{escape(name)}</th>" for name in names)
    body = "".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in rows)
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'
