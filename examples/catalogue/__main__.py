"""Command line: `python -m examples.catalogue --port 8000`."""

import argparse
import signal
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import uvicorn

from examples.catalogue.app import create_app
from examples.catalogue.context import Context
from examples.catalogue.database import open_database
from examples.catalogue.purging import purging

# Long enough for an ordinary answer; what is slow or hangs on purpose is cut off.
_SHUTDOWN_SECONDS = 2


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve the catalogue until SIGINT or SIGTERM."""
    options = _parser().parse_args(arguments)
    # Uvicorn raises the signal again when it has stopped; unhandled, it would leave the database behind.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    if options.database is not None:
        serve(options.host, options.port, options.database, drains=options.drain)
        return
    with tempfile.TemporaryDirectory(prefix="catalogue-") as directory:
        serve(options.host, options.port, Path(directory) / "catalogue.sqlite3", drains=options.drain)


def serve(host: str, port: int, path: Path, *, drains: bool = True) -> None:
    """Serve the database at `path`, which is made if it isn't there."""
    database = open_database(path)
    try:
        with purging(database, drains=drains):
            uvicorn.run(
                create_app(Context(database)),
                host=host,
                port=port,
                # The client's address decides who may switch faults on, so no field may change it.
                proxy_headers=False,
                timeout_graceful_shutdown=_SHUTDOWN_SECONDS,
            )
    except KeyboardInterrupt:
        pass
    finally:
        database.close()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m examples.catalogue", description="Serve the demo catalogue."
    )
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument(
        "--database", type=Path, help="SQLite file to keep (default: a new one, gone at exit)"
    )
    parser.add_argument(
        "--no-drain",
        dest="drain",
        action="store_false",
        help="leave the purges of what changes in the database, for `origin-sdk drain`",
    )
    return parser


if __name__ == "__main__":
    main()
