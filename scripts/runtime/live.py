"""Deploy the edge cache with its purge log to a scratch Worker at Cloudflare, try it, measure it, remove it.

The trial is that of `origin-sdk doctor --live`, of which one deployed Worker of your own takes no more.

**This was never run against Cloudflare**: its authors have no account, and ran it on one machine (`--local`).
It takes CLOUDFLARE_API_TOKEN (Workers Scripts: Edit, Workers KV Storage: Edit) and CLOUDFLARE_ACCOUNT_ID,
makes two Workers on your workers.dev subdomain and a KV namespace, and removes all three at the end, also
after Ctrl-C; `--clean NAME` removes what a killed run has left. It costs some thousand requests.

`--dry-run` deploys nothing: wrangler checks the configurations, and what would be done is shown.
"""

from __future__ import annotations

import argparse
import os
import secrets
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from origin_sdk._development.local import interrupted_by_signals
from scripts.runtime.live_measures import Measured, measure
from scripts.runtime.live_place import Account, LiveError, Place, checked, local, scratch

__all__ = ["main"]

_UNPROVEN = "Never run against Cloudflare by the authors: please tell what you find.\n"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run; return 0 if all was measured and nothing is left behind."""
    parser = argparse.ArgumentParser(
        prog="scripts/live", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--purges", type=int, default=50, metavar="N", help="how many (default: 50)")
    parser.add_argument("--requests", type=int, default=100, metavar="N", help="of each kind (default: 100)")
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--local", action="store_true", help="on this machine, by wrangler dev")
    where.add_argument("--dry-run", action="store_true", help="deploy nothing, say what would be done")
    where.add_argument("--clean", metavar="NAME", help="remove what a run of this name has left")
    options = parser.parse_args(arguments)
    try:
        with interrupted_by_signals(), tempfile.TemporaryDirectory(prefix="live-") as folder:
            return _run(options, Path(folder))
    except KeyboardInterrupt:
        return 130
    except LiveError as error:
        print(f"scripts/live: {error}", file=sys.stderr)
        return 1


def _run(options: argparse.Namespace, folder: Path) -> int:
    name = options.clean or f"edge-cache-live-{secrets.token_hex(4)}"
    if options.dry_run:
        print("\n".join(checked(folder, name)))
        return 0
    if options.local:
        with local(folder) as place:
            return _tried(place, options)
    print(_UNPROVEN, file=sys.stderr)
    account = Account.of(os.environ)
    if options.clean:
        return _left(account.clean(folder, name))
    print(f"scratch Workers {name} and {name}-origin; `scripts/live --clean {name}` removes them, too")
    with scratch(folder, account, name) as place:
        code = _tried(place, options)
    return max(code, _left(account.left))


def _tried(place: Place, options: argparse.Namespace) -> int:
    """Measure, then examine as a user would; return 1 if that finds a problem."""
    measured = measure(place, options.requests, options.purges)
    _show(place, measured)
    url = f"{place.url}/doctor"
    command = [sys.executable, "-m", "origin_sdk.cli", "doctor", "--config", str(place.config), "--live", url]
    print(f"origin-sdk doctor --live {url}", flush=True)
    return subprocess.run(command, env={**os.environ, **place.variables}, check=False).returncode  # noqa: S603 - our own


def _show(place: Place, measured: Measured) -> None:
    print(f"{place.url}, from here:")
    for what, value in measured.rows():
        print(f"  {what:<34}{value}")


def _left(problems: Sequence[str]) -> int:
    for problem in problems:
        print(f"scripts/live: still there: {problem}", file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
