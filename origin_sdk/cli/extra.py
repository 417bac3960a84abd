"""What comes with the extra `cli`, and what is said where it is missing."""

import sys
from typing import NoReturn

__all__ = ["OF_EXTRA", "exit_without"]

OF_EXTRA = frozenset({"httpx", "rich", "typer"})


def exit_without(error: ModuleNotFoundError) -> NoReturn:
    """Say what to install, and end the process; raises the error where that isn't of the extra."""
    if error.name not in OF_EXTRA:
        raise error
    sys.exit(f"origin-sdk: {error.name} is missing: pip install 'origin-sdk[cli]'")
