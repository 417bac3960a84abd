"""The command `origin-sdk`."""

import signal
import sys
from collections.abc import Sequence

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command and exit with a code that scripts can use."""
    try:
        from origin_sdk.cli.app import run  # noqa: PLC0415 - the extra may be missing
    except ModuleNotFoundError as error:
        if error.name not in {"httpx", "rich", "typer"}:
            raise
        sys.exit(f"origin-sdk: {error.name} is missing: pip install 'origin-sdk[cli]'")
    except KeyboardInterrupt:
        sys.exit(130)
    try:
        run(sys.argv[1:] if arguments is None else arguments)
    finally:
        if arguments is None:
            # The process is about to end: another Ctrl-C has nothing more to interrupt.
            signal.signal(signal.SIGINT, signal.SIG_DFL)
