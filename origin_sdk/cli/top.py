"""`origin-sdk top`."""

import sys
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from time import sleep
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from origin_sdk._values.errors import ConnectionFailed
from origin_sdk._values.reasons import plain
from origin_sdk.cli.context import AsJson
from origin_sdk.cli.count_sources import (
    AnalyticsUrl,
    Dataset,
    DebugSecret,
    EdgeUrl,
    ServiceUrls,
    Sources,
    observatory,
)
from origin_sdk.cli.screen import Screen, as_json, printable

if TYPE_CHECKING:
    from origin_sdk.dashboard.observatory import Observatory

__all__ = ["drawn", "top"]

_RECENT_SECONDS = 10.0
_SPARK = " ▁▂▃▄▅▆▇█"
_TIERS = {
    "memory": "green",
    "kv": "cyan",
    "stale": "yellow",
    "validated": "blue",
    "collapsed": "magenta",
    "miss": "red",
    "pass": "bright_black",
    "own": "white",
}
_LEAST_WIDTH = 60
_FIXED_LINES = 12
"""What stands around the tables: numbers at a glance, and headings."""


def top(
    edge: EdgeUrl = None,
    debug_secret: DebugSecret = "",
    dataset: Dataset = None,
    service: ServiceUrls = None,
    range_: Annotated[
        str,
        typer.Option(
            "--range", help="10m, 1h, 6h, 24h, 7d, 30d or 90d; of the Worker's route: since it began."
        ),
    ] = "1h",
    interval: Annotated[
        float, typer.Option("--interval", min=0.5, max=86400, help="Seconds between updates.")
    ] = 2.0,
    as_json_: AsJson = False,
    analytics_url: AnalyticsUrl = None,
) -> None:
    """Show the cache live in the terminal until Ctrl-C: hits, why the rest missed, rules, the origin.

    Where standard output is no terminal, it prints what was counted so far, and ends.

        origin-sdk top --edge http://127.0.0.1:8787
    """
    given = Sources(edge, debug_secret, dataset, analytics_url, service or ())
    with observatory(given, young_seconds=float("inf")) as watched:
        board = _looked(watched, range_)
        if as_json_ or not sys.stdout.isatty():
            _refuse_failing(board)
            if as_json_:
                typer.echo(as_json(board))
            else:
                Screen().print(drawn(board, {}, Screen().width, 0))
            return
        with Live(console=Screen(), screen=True, auto_refresh=False) as live:
            try:
                for board, rates in _looks(watched, range_, interval):
                    live.update(drawn(board, rates, live.console.width, live.console.height), refresh=True)
            except KeyboardInterrupt:
                return


def _looked(watched: "Observatory", range_: str) -> dict[str, Any]:
    watched.poll()
    return watched.board(range_)


def _looks(
    watched: "Observatory", range_: str, interval: float
) -> Iterator[tuple[dict[str, Any], dict[str, float]]]:
    totals: deque[tuple[float, dict[str, float]]] = deque()
    while True:
        board = _looked(watched, range_)
        now = board["now"]
        totals.append((now, {name: board["totals"][name] for name in ("requests", "origin_requests")}))
        while len(totals) > 2 and totals[0][0] < now - _RECENT_SECONDS:
            totals.popleft()
        since, first = totals[0]
        last = totals[-1][1]
        seconds = now - since
        yield board, {name: (last[name] - first[name]) / seconds for name in last} if seconds else {}
        sleep(interval)


def _refuse_failing(board: Mapping[str, Any]) -> None:
    failing = [each["health"]["message"] for each in board["sources"] if each["health"]["state"] == "failing"]
    if failing:
        raise ConnectionFailed("\n".join(failing))


def drawn(board: Mapping[str, Any], rates: Mapping[str, float], width: int, height: int) -> RenderableType:
    """Return a board for a terminal; ``height`` 0 for as many lines as there are.

    ``rates`` are requests and origin requests a second at present, where they are known.
    """
    width = max(width, _LEAST_WIDTH)
    room = max(3, (height - _FIXED_LINES) // 2) if height else 1000
    parts: list[RenderableType] = [_heading(board, width), _numbers(board, rates), _tiers(board, width)]
    parts += [_blank(), _rules(board["rules"][:room])]
    parts += [_blank(), _reasons(board["reasons"][: max(2, room // 2)])]
    if board["purges"]:
        parts += [_blank(), _purges(board, 3 if height else 20)]
    parts += [_away(each) for each in board["away"]]
    parts += [_service(each) for each in board["services"]]
    return Group(*parts)


def _blank() -> Text:
    return Text("")


def _line(*parts: tuple[str, str]) -> Text:
    """Return a line that is cut where it is too long; parts are texts with their styles."""
    return Text.assemble(
        *((printable(text), style) for text, style in parts), no_wrap=True, overflow="ellipsis"
    )


def _heading(board: Mapping[str, Any], width: int) -> Text:
    source = next(each for each in board["sources"] if each["name"] == board["source"])
    state = source["health"]["state"]
    hosts = ", ".join(host["name"] for host in board["hosts"][:2])
    style = {"ok": "green", "failing": "bold red"}.get(state, "yellow")
    told = (
        f"failing: {source['health']['message']}"
        if state == "failing"
        else "live"
        if state == "ok"
        else state
    )
    line = _line(
        ("edge cache  ", "bold"), (hosts, ""), ("  ", ""), (told, style), (f"  {source['title']}", "dim")
    )
    line.truncate(width, overflow="ellipsis")
    return line


def _numbers(board: Mapping[str, Any], rates: Mapping[str, float]) -> RenderableType:
    totals, cost = board["totals"], board["cost"]
    overall = {name: totals[name] / board["seconds"] for name in ("requests", "origin_requests")}
    shown = rates or overall
    table = Table.grid(padding=(0, 2))
    labels = ("hit ratio", "requests", "to the origin", "p95", "errors", "stale", "a month")
    table.add_row(*(Text(label, style="dim") for label in labels))
    table.add_row(
        Text(percent(totals["hit_ratio"]), style="bold green"),
        f"{shown['requests']:.1f}/s",
        f"{shown['origin_requests']:.1f}/s",
        seconds(totals["origin"]["p95"]),
        Text(count(totals["origin_errors"]), style="red" if totals["origin_errors"] else ""),
        count(totals["stale"]),
        f"${cost['month']:.2f}",
    )
    line = spark(board["series"]["hit_ratio"], 1.0)
    return Group(table, _line((f"{line}  ", "green"), ("hits over time", "dim"))) if line else table


def _tiers(board: Mapping[str, Any], width: int) -> RenderableType:
    totals = board["totals"]
    if not totals["requests"]:
        return _line(("Nothing was counted yet.", "dim"))
    bar, legend = Text(no_wrap=True), []
    for tier, style in _TIERS.items():
        share = totals["tiers"][tier] / totals["requests"]
        bar.append("█" * round(share * (width - len(_TIERS))), style=style)
        if share:
            legend += [(tier, style), (f" {share * 100:.0f}%  ", "")]
    return Group(bar, _line(*legend))


def _table(*columns: str) -> Table:
    table = Table(box=None, padding=(0, 1), pad_edge=False, header_style="dim", expand=False)
    for column in columns:
        if column.startswith("#"):
            table.add_column(column[1:], justify="right", no_wrap=True)
        else:
            table.add_column(column, no_wrap=True, overflow="ellipsis", max_width=26)
    return table


def _rules(rules: Sequence[Mapping[str, Any]]) -> Table:
    table = _table("rule", "#requests", "#hits", "#origin", "#errors", "#p50", "#p95", "#stale")
    for rule in rules:
        errors = rule["origin_errors"]
        table.add_row(
            rule["name"],
            count(rule["requests"]),
            percent(rule["hit_ratio"]),
            count(rule["origin_requests"]),
            Text(count(errors), style="red" if errors else "dim"),
            seconds(rule["origin"]["p50"]),
            seconds(rule["origin"]["p95"]),
            count(rule["stale"]),
        )
    return table


def _reasons(reasons: Sequence[Mapping[str, Any]]) -> RenderableType:
    lines = [_line(("why the rest didn't hit", "dim"))]
    for each in reasons:
        remedy = plain(each["remedy"])
        lines.append(
            _line(
                (f"{percent(each['share']):>7} ", "bold"),
                (f"{each['reason']:20} ", _TIERS.get(each["tier"], "")),
                (f"→ {remedy}" if remedy else plain(each["what"]), "" if remedy else "dim"),
            )
        )
    return Group(*lines)


def _purges(board: Mapping[str, Any], most: int) -> RenderableType:
    lines = [_line(("purges", "dim"))]
    for purge in board["purges"][:most]:
        lag = "" if purge["lag"] is None else f"  seen after {seconds(purge['lag'])}"
        ago = f"{seconds(max(0.0, board['now'] - purge['at']))} ago"
        lines.append(
            _line(
                (f"{ago:>12} ", ""),
                (f"{purge['kind']:5}", "red" if purge["kind"] == "hard" else "cyan"),
                (f"{purge['target'] or '(not shown)'}  {purge['by']}{lag}", ""),
            )
        )
    return Group(*lines)


def _away(origin: Mapping[str, Any]) -> RenderableType:
    since = datetime.fromtimestamp(origin["since_ms"] / 1000, UTC)
    told = f"no answer since {since:%Y-%m-%d %H:%M:%S} UTC, {origin['tries']} tries: {origin['why']}"
    return _line((f"{origin['origin']}  ", "bold red"), (told, "red"))


def _service(service: Mapping[str, Any]) -> RenderableType:
    name = (f"{service['url']}  ", "bold")
    health = service["health"]
    if health["state"] != "ok":
        return _line(name, (health["message"] or health["state"], "red"))
    parts = [_of_layers(service["layers"])] if service["layers"] else []
    parts += [_of_outbox(service["outbox"])] if service["outbox"] else []
    return _line(name, *parts)


def _of_layers(layers: Mapping[str, Any]) -> tuple[str, str]:
    hits = sum(each["memory"] + each["redis"] for each in layers["families"])
    gets = sum(each["gets"] for each in layers["families"])
    redis = "up" if layers["redis_up"] else "left out"
    return f"layers {percent(hits / gets if gets else None)} of {count(gets)}, Redis {redis}  ", ""


def _of_outbox(outbox: Mapping[str, Any]) -> tuple[str, str]:
    text = f"outbox {count(outbox['waiting'])} waiting, {count(outbox['dead'])} dead"
    return f"{text}, oldest {seconds(outbox['oldest'])}", "red" if outbox["dead"] else ""


def spark(values: Sequence[float | None], most: float) -> str:
    """Return a line of blocks for the latest values, ``""`` if there are none."""
    known = values[-60:]
    if all(value is None for value in known):
        return ""
    return "".join(
        " " if value is None else _SPARK[1 + min(7, int(value / most * 7.999))] for value in known
    ).strip()


def percent(share: float | None) -> str:
    """Return a share, never all for what isn't."""
    if share is None:
        return "-"
    shown = share * 100
    return "99.9 %" if 99.9 < shown < 100 else f"{shown:.1f} %"


def count(number: float) -> str:
    """Return a count in at most six characters."""
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if number >= size:
            return f"{number / (1e3 if unit == 'k' else size):.1f}{unit}"
    return f"{number:,.0f}"


def seconds(value: float | None) -> str:
    """Return a time in its own unit."""
    if value is None:
        return "-"
    if value < 1:
        return f"{value * 1000:.0f} ms"
    for size, unit in ((86_400, "d"), (3600, "h"), (60, "min")):
        if value >= size:
            return f"{value / size:.1f} {unit}"
    return f"{value:.1f} s"
