"""The command `origin-sdk`."""

import signal
import sys
from collections.abc import Sequence

from origin_sdk.cli.extra import exit_without

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command and exit with a code that scripts can use."""
    try:
        from origin_sdk.cli.app import run  # noqa: PLC0415 - the extra may be missing
    except ModuleNotFoundError as error:
        exit_without(error)
    except KeyboardInterrupt:
        sys.exit(130)
    try:
        run(sys.argv[1:] if arguments is None else arguments)
    except ModuleNotFoundError as error:
        exit_without(error)
    finally:
        if arguments is None:
            # The process is about to end: another Ctrl-C has nothing more to interrupt.
            signal.signal(signal.SIGINT, signal.SIG_DFL)
