"""Measure, print a table, and write it down: `scripts/bench NAME [--json FILE] [--quick]`."""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

from origin_sdk._development.process import ProcessError
from scripts.benches import rows

_HERE = Path(__file__).parent
BENCHES = {
    "edge": "the Worker in workerd against the least that could do its job",
    "comparisons": "the Worker beside Varnish and nginx",
    "purge": "purges by the SDK",
    "log": "the purge log: how soon purges are honoured, and what a request reads",
    "layers": "the SDK's layers of cache at the origin",
    "scale": "what the edge costs at the size of the internet, simulated",
    "apis": "what the traffic of the examples costs at the edge, simulated",
    "codings": "what gzip and Brotli save of a published body, and take",
    "eviction": "what the layers' memory keeps",
}
"""Each is a module of this package with `add_arguments(parser)` and `measure(options) -> list[Row]`."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one bench. Return 1 where it could not run; an aim that isn't met is a row, not a failure."""
    options = _parser().parse_args(arguments)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # whatever was started is stopped
    try:
        measured = import_module(f"scripts.benches.{options.bench}").measure(options)
    except ProcessError as error:
        print(f"scripts/bench: {error}", file=sys.stderr)
        return 1
    rows.show(measured)
    if options.json:
        rows.write(measured, options.json)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="scripts/bench", description=__doc__)
    commands = parser.add_subparsers(dest="bench", required=True)
    for name, text in BENCHES.items():
        if not (_HERE / f"{name}.py").exists():
            continue
        command = commands.add_parser(name, help=text, description=f"Measure {text}.")
        command.add_argument("--json", type=Path, metavar="FILE", help="write the rows to FILE")
        command.add_argument("--quick", action="store_true", help="try it out: too short to be believed")
        import_module(f"scripts.benches.{name}").add_arguments(command)
    return parser


if __name__ == "__main__":
    sys.exit(main())
