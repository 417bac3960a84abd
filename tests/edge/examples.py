"""How many examples a property test tries: a few with each run, many by `scripts/fuzz --sequences`."""

from __future__ import annotations

import os

__all__ = ["examples"]


def examples(usual: int) -> int:
    """Return ``usual``, or what ``scripts/fuzz --sequences`` asks for."""
    return int(os.environ.get("SEQUENCES", usual))
