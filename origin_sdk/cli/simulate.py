"""`origin-sdk simulate`."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from origin_sdk._cloudflare.effects import Progress
from origin_sdk._values.project import read_configuration
from origin_sdk.cli.context import AsJson, ConfigFile, Context, Environment, config_file
from origin_sdk.cli.screen import Screen
from origin_sdk.errors import InvalidRequest
from origin_sdk.simulation.accesslog import FORMATS, AccessLog
from origin_sdk.simulation.assumptions import Assumptions, parse_region, parse_response_fields
from origin_sdk.simulation.page import page_of
from origin_sdk.simulation.replay import Replay, read_purges
from origin_sdk.simulation.report import Report, RuleReport, VariantReport
from origin_sdk.simulation.what_if import varied

__all__ = ["Log", "LogFormat", "Mapped", "Responses", "bar", "mapping_of", "simulate", "variables_of"]

_ASSUMED = "What no log contains"
_MAX_MILLISECONDS = 86_400_000
_SHOWN_RULES = 20
_NAME_CHARACTERS = 20
_SHARES = {
    "memory": ("memory",),
    "KV": ("kv",),
    "stale": ("stale",),
    "miss": ("validated", "collapsed", "miss"),
    "pass": ("pass",),
}
"""Columns, and the tiers that each adds up."""

Log = Annotated[
    str, typer.Argument(help="An access log, also one compressed with gzip; - for standard input.")
]
LogFormat = Annotated[
    str, typer.Option("--format", help=f"Its format: {', '.join(FORMATS)}. Default: detected.")
]
Mapped = Annotated[
    list[str] | None,
    typer.Option("--map", help="Where a value is in a JSON log: --map time=meta.at --map url=req.target."),
]
Responses = Annotated[
    list[str] | None,
    typer.Option(
        "--response",
        help="A field of responses, where the log has none: '/products/** Cache-Control: max-age=60'.",
        rich_help_panel=_ASSUMED,
    ),
]
BaseUrl = Annotated[
    str,
    typer.Option(
        "--base-url",
        help="Scheme and host, where the log has only paths.",
        rich_help_panel=_ASSUMED,
    ),
]


def simulate(
    log: Log,
    log_format: LogFormat = "",
    mapped: Mapped = None,
    what_if: Annotated[
        list[str] | None,
        typer.Option(
            "--what-if",
            help="Other settings to compare: MEMORY_BYTES=64MiB, products.default_lifetime=10m, "
            "`'*.query_drop=utm_*'`; several joined by ;.",
        ),
    ] = None,
    purges: Annotated[
        Path | None, typer.Option("--purges", help="An audit file (EDGE_CACHE_AUDIT_FILE) of that time.")
    ] = None,
    html: Annotated[
        Path | None, typer.Option("--html", help="Write the report, with plots, to a file.")
    ] = None,
    responses: Responses = None,
    base_url: BaseUrl = "https://localhost",
    locations: Annotated[
        int, typer.Option("--locations", min=1, help="Cloudflare locations.", rich_help_panel=_ASSUMED)
    ] = 1,
    isolates: Annotated[
        int, typer.Option("--isolates", min=1, help="Isolates at each.", rich_help_panel=_ASSUMED)
    ] = 1,
    isolate_minutes: Annotated[
        float, typer.Option("--isolate-minutes", min=0, help="How long one lives.", rich_help_panel=_ASSUMED)
    ] = 15.0,
    origin_ms: Annotated[
        float,
        typer.Option(
            "--origin-ms",
            min=0,
            max=_MAX_MILLISECONDS,
            help="What the origin takes, where not logged.",
            rich_help_panel=_ASSUMED,
        ),
    ] = 50.0,
    purge_log: Annotated[
        bool, typer.Option("--purge-log", help="As if purges were read from a log.", rich_help_panel=_ASSUMED)
    ] = False,
    shield: Annotated[
        bool, typer.Option("--shield", help="Run it once more, with a shield near the origin.")
    ] = False,
    regions: Annotated[
        list[str] | None,
        typer.Option(
            "--region",
            metavar="NAME=MS",
            help="How far the origin is from some of the locations, there and back: asia=220. They are "
            "shared out evenly.",
            rich_help_panel=_ASSUMED,
        ),
    ] = None,
    keys: Annotated[
        int, typer.Option("--keys", min=1000, help="How many URLs to follow; beyond that, they are sampled.")
    ] = 100_000,
    config: ConfigFile = None,
    environment: Environment = "",
    as_json: AsJson = False,
) -> None:
    """Run an access log through the Worker's rules, keys, lifetimes and purges, and report the result.

    Works offline. Reads combined, JSON lines (nginx, Caddy, Traefik, Logpush …), W3C and CloudFront, ALB,
    HAR. Put it before the edge cache exists to see what it would bring, or after, to see what to tune.

        origin-sdk simulate access.log.gz --base-url https://api.example.com --locations 20 --isolates 3
        origin-sdk simulate access.log --what-if '*.default_lifetime=1m' --html report.html
    """
    context = Context(config, environment, as_json=as_json)
    assumptions = Assumptions(
        locations=locations,
        isolates=isolates,
        isolate_minutes=isolate_minutes,
        origin_ms=origin_ms,
        base_url=base_url,
        purge_log=purge_log,
        regions=dict(map(parse_region, regions or ())),
        responses=[parse_response_fields(each) for each in responses or ()],
    )
    replay = Replay(
        AccessLog(log, log_format, mapping_of(mapped or ())),
        varied(variables_of(context), what_if or ()),
        assumptions,
        list(read_purges(purges)) if purges else (),
        keys,
        shield,
    )
    with bar(context, f"replaying {log}") as on_progress:
        replay.run(on_progress)
    report = Report(replay)
    if html:
        _write(html, page_of(report))
        context.note(f"the report with plots is in {html}")
    context.show(report.as_json(), lambda screen: _draw(screen, report))


@contextmanager
def bar(context: Context, label: str) -> Iterator[Callable[[int, int], None] | None]:
    """Show a bar that is told of bytes."""
    with context.progress(label) as on_progress:
        if on_progress is None:
            yield None
            return
        show = on_progress
        yield lambda done, total: show(Progress(done // 1024, total // 1024))


def variables_of(context: Context) -> Mapping[str, Any]:
    """Return the Worker's variables; none if there is no wrangler.toml here and none is named."""
    if context.config is None and not context.environment and not config_file(None).exists():
        return {}
    return read_configuration(config_file(context.config), context.environment).variables


def mapping_of(pairs: Sequence[str]) -> Mapping[str, str]:
    """Read the values of --map; raises :class:`InvalidRequest`."""
    mapping = {}
    for pair in pairs:
        fact, separator, place = pair.partition("=")
        if not separator or not place:
            raise InvalidRequest(f"--map {pair!r}: write FACT=NAME, such as --map time=meta.at")
        mapping[fact] = place
    return mapping


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise InvalidRequest(f"--html {path}: can't be written: {error.strerror or error}") from error


def _draw(screen: Screen, report: Report) -> None:
    replay, (first, last) = report.replay, report.times
    screen.print(
        f"{replay.log.lines:,} lines of {replay.log.place} ({replay.log.format}), "
        f"{first:%Y-%m-%d %H:%M:%S} to {last:%Y-%m-%d %H:%M:%S} UTC"
    )
    for note in report.notes():
        screen.print(f"note: {note}", style="yellow")
    for variant in report.variants:
        _draw_variant(screen, variant, several=len(report.variants) > 1)
    _draw_reasons(screen, report.first.overall)
    _draw_lifetimes(screen, report)
    _draw_memory(screen, report)
    screen.print(
        "assumed: " + "; ".join(f"{name} {value}" for name, value in replay.assumptions.told().items())
    )


def _draw_variant(screen: Screen, variant: VariantReport, *, several: bool) -> None:
    table = Table(box=None, pad_edge=False, title=variant.name if several else None, title_justify="left")
    table.add_column("rule")
    for name in ("asked", "hits", *_SHARES, "origin", "KV keys", "$/month"):
        table.add_column(name, justify="right")
    for rule in (*variant.rules[:_SHOWN_RULES], variant.overall):
        counts = rule.counts
        total = counts.requests or 1.0
        table.add_row(
            rule.name[:_NAME_CHARACTERS],
            _short(counts.requests),
            f"{counts.hit_ratio:.1%}",
            *(f"{sum(counts.by_tier[tier] for tier in tiers) / total:.0%}" for tiers in _SHARES.values()),
            _short(counts.origin_requests),
            f"{rule.kv_keys:.2f}",
            f"{rule.month_dollars:,.0f}",
            style="bold" if rule is variant.overall else None,
        )
    screen.print(table)
    peak = variant.overall.counts
    screen.print(
        f"at most {_short(peak.request_peak)} requests a second, {_short(peak.origin_peak)} of the origin"
    )
    if peak.shield_answers:
        screen.print(f"{_short(peak.shield_answers)} were answered by the shield, without the origin")
    if variant.waits_ms:
        waits = "  ".join(f"{name} {each:.1f} ms" for name, each in variant.waits_ms.items())
        screen.print(f"waits for the origin or the shield, hits included: {waits}")


def _draw_reasons(screen: Screen, overall: RuleReport) -> None:
    table = Table(box=None, pad_edge=False, title="why", title_justify="left")
    table.add_column("answered by")
    table.add_column("reason")
    table.add_column("share", justify="right")
    for tier, reason, share in overall.reasons:
        table.add_row(tier, reason, f"{share:.1%}")
    screen.print(table)


def _draw_lifetimes(screen: Screen, report: Report) -> None:
    table = Table(
        box=None, pad_edge=False, title="hit ratio if responses stayed fresh for", title_justify="left"
    )
    table.add_column("rule")
    names = ("1 s", "10 s", "1 min", "10 min", "1 h", "1 d")
    for name in names:
        table.add_column(name, justify="right")
    curves = sorted(report.replay.lifetimes.items(), key=lambda each: -each[1].requests)
    for rule, curve in curves[:_SHOWN_RULES]:
        table.add_row(rule, *(f"{ratio:.0%}" for ratio in curve.ratios().values()))
    if curves:
        screen.print(table)


def _draw_memory(screen: Screen, report: Report) -> None:
    ratios = report.replay.memory.ratios()
    told = "  ".join(f"{size // 1024 // 1024} MiB {ratio:.0%}" for size, ratio in ratios.items())
    screen.print(f"still in an isolate's memory, if nothing expired: {told}")


def _short(number: float) -> str:
    for unit, size in (("M", 1e6), ("k", 1e4)):
        if number >= size:
            return f"{number / (1e6 if unit == 'M' else 1e3):.1f}{unit}"
    return f"{number:,.0f}"
