"""What comes back instead of a reply of Redis. Known to who never imports redis-py."""

from typing import Final

__all__ = ["FAILED", "Failed"]


class Failed:
    """No answer, or an error: the layer is left out."""


FAILED: Final = Failed()
